//! Checks on a machine with an NVIDIA GPU that every hot loop gives the processor's bits and that marking, detection and
//! the derivation test come to the same results, and prints how fast they are.
//!
//! Exits with 1 when a bit differs, and with 3 when there is no device: then only the kernels are compiled, where NVRTC
//! is found, and detection runs on the processor. Run it through `watermark/cuda/check.sh`, which finds the libraries.

use std::process::ExitCode;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use countermark_formats::Checkpoint;
use countermark_watermark::attack::write_safetensors;
use countermark_watermark::derivation::{DerivationOptions, derivation};
use countermark_watermark::hot::{Carrier, bytes, compiled_kernels, row_squares};
use countermark_watermark::*;

/// Rows, columns, slots of a group, first row.
const SHAPES: [(usize, usize, usize, u64); 7] = [
    (16, 256, 144, 0),
    (37, 1003, 166, 64),
    (70, 530, 16, 4096),
    (9, 48, 16, 12),
    (5, 70_000, 144, 8),
    (4099, 2048, 64, 1 << 20),
    (20_000, 64, 48, 4),
];
const RUNS: usize = 10;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn key() -> MarkKey {
    MarkKey::derive(&MarkSecret::from_bytes([1; 32]), [2; 32], [3; 16], None)
}

/// Random numbers that are the same everywhere.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn weight(&mut self) -> f32 {
        (0..4).map(|_| (self.bits() % 65536) as f32 / 65536.0 - 0.5).sum::<f32>() * 0.05
    }
}

/// Weights of every kind: ordinary, tiny, large, zero, NaN, infinite, and rows that are or count as zero.
fn wild_weights(rows: usize, columns: usize, seed: u64) -> Result<Tensor> {
    let mut random = Random(seed);
    let mut weights = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for _ in 0..columns {
            let plain = random.weight();
            weights.push(match random.bits() % 64 {
                _ if row % 13 == 5 => 0.0,
                _ if row % 13 == 7 => plain * 1e-40,
                _ if row % 13 == 9 => 65_504.0 - (random.bits() % 64) as f32,
                _ if row % 13 == 11 => f32::MAX / 257.0 * (256 - random.bits() % 4) as f32,
                0 if row % 2 == 0 => f32::NAN,
                1 if row % 3 == 0 => f32::NEG_INFINITY,
                2 => -0.0,
                3 => plain * 1e-6,
                4 => plain * 30.0,
                5 => plain * 1e-39,
                _ => plain,
            });
        }
    }
    Ok(Tensor::from_vec(weights, (rows, columns), &Device::Cpu)?)
}

/// Says whether two results are the same, and returns the number of differences: 0 or 1.
fn compare<T: PartialEq>(what: &str, cpu: T, gpu: T) -> usize {
    println!("{} {what}", if cpu == gpu { "same     " } else { "DIFFERENT" });
    usize::from(cpu != gpu)
}

/// Every loop on weights of every kind: carriers are right when slot sums and marked bytes are.
fn check_loops(device: &Device) -> Result<usize> {
    let mut different = 0;
    for (number, (rows, columns, slots, first_row)) in SHAPES.into_iter().enumerate() {
        let carrier = Carrier::new(&key(), &format!("layer.{number}"), slots);
        let amplitudes: Vec<f32> = (0..4 * slots).map(|slot| (slot % 7) as f32 * 0.004 - 0.01).collect();
        let values = wild_weights(rows, columns, number as u64)?;
        for dtype in [DType::BF16, DType::F16, DType::F32] {
            let cpu = values.to_dtype(dtype)?;
            let gpu = cpu.to_device(device)?;
            let name = format!("{dtype:?} {rows} x {columns}, {slots} slots");
            let sums = |block: &Tensor| carrier.project(block, first_row);
            different += compare(&format!("slot sums, {name}"), sums(&cpu)?, sums(&gpu)?);
            let sums = |block: &Tensor| carrier.survey(block, first_row);
            different += compare(&format!("survey, {name}"), sums(&cpu)?, sums(&gpu)?);
            let sums = |block: &Tensor| carrier.trial(block, first_row, &amplitudes);
            different += compare(&format!("trial, {name}"), sums(&cpu)?, sums(&gpu)?);
            let mark = |block: &Tensor| carrier.mark(block, first_row, &amplitudes);
            let (cpu_marked, gpu_marked) = (mark(&cpu)?, mark(&gpu)?);
            different += compare(&format!("marked bytes, {name}"), bytes(&cpu_marked)?, bytes(&gpu_marked)?);
            let bits = |squares: Vec<f64>| squares.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            let (cpu, gpu) = (row_squares(&cpu_marked, &cpu)?, row_squares(&gpu_marked, &gpu)?);
            different += compare(&format!("squares, {name}"), bits(cpu), bits(gpu));
        }
    }
    Ok(different)
}

/// A safetensors file of BF16 tensors by name and shape: random matrices, and norms of ones.
fn file(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    let mut random = Random(1);
    for (name, shape) in tensors {
        let begin = data.len();
        let mut weight = || if shape.len() == 1 { 1.0 } else { random.weight() };
        data.extend((0..shape.iter().product()).flat_map(|_| half::bf16::from_f32(weight()).to_le_bytes()));
        let end = data.len();
        entries.push(format!(r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// Matrices of 4096 × 4096.
fn large(matrices: usize) -> Vec<u8> {
    file(&(0..matrices).map(|number| (format!("layer.{number}.weight"), vec![4096, 4096])).collect::<Vec<_>>())
}

/// The embedding and the gated MLPs of a decoder, large enough for every band.
fn decoder() -> Vec<u8> {
    let (layers, tokens, width, units) = (4, 1024, 512, 2048);
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![tokens, width])];
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        tensors.push((name("mlp.down_proj"), vec![width, units]));
        tensors.push((name("mlp.gate_proj"), vec![units, width]));
        tensors.push((name("mlp.up_proj"), vec![units, width]));
        tensors.push((name("post_attention_layernorm"), vec![width]));
    }
    file(&tensors)
}

fn open(file: Vec<u8>) -> Result<Checkpoint> {
    Ok(Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))])?)
}

fn secret() -> MarkSecret {
    MarkSecret::from_bytes([1; 32])
}

/// Marks a model; `marked` is a copy of its file, whose weights are replaced.
fn embed_on(compute: &Compute, model: &Checkpoint, marked: &mut [u8]) -> Result<EmbedReport> {
    let options = EmbedOptions { compute: compute.clone(), ..EmbedOptions::default() };
    Ok(embed(model, &key(), &options, &|_| (), &mut |tensor, bytes| {
        let range = &model.tensors()[tensor].info.range;
        marked[range.start as usize..range.end as usize].copy_from_slice(bytes);
        Ok(())
    })?)
}

/// Marks a model on both. Returns the number of differences, the marked file and the record.
fn check_marking(gpu: &Compute, file: &[u8], what: &str) -> Result<(usize, Vec<u8>, Commitment)> {
    let (model, mut on_cpu, mut on_gpu) = (open(file.to_vec())?, file.to_vec(), file.to_vec());
    let cpu_report = embed_on(&Compute::cpu(), &model, &mut on_cpu)?;
    let gpu_report = embed_on(gpu, &model, &mut on_gpu)?;
    let mut different = compare(&format!("marked bytes, {what}"), &on_cpu, &on_gpu);
    let json = [serde_json::to_string(&cpu_report)?, serde_json::to_string(&gpu_report)?];
    different += compare(&format!("embedding report, {what}"), &json[0], &json[1]);
    Ok((different, on_cpu, cpu_report.commitment))
}

/// Looks for a mark on both, without and with the base.
fn check_detection(
    gpu: &Compute,
    model: &Checkpoint,
    record: &Commitment,
    base: &Checkpoint,
    what: &str,
) -> Result<usize> {
    let mut different = 0;
    for base in [None, Some(base)] {
        let detect = |compute| detect_on(compute, model, &secret(), std::slice::from_ref(record), base, &|_| ());
        let (cpu, gpu) = (detect(&Compute::cpu())?, detect(gpu)?);
        let how = if base.is_some() { "with the base" } else { "blind" };
        let by = cpu.records[0].bands[0].name;
        let what = format!("detection {how}, {what}: {:?}, best by {by}", cpu.verdict);
        different += compare(&what, serde_json::to_string(&cpu)?, serde_json::to_string(&gpu)?);
    }
    Ok(different)
}

/// Gated MLPs: the gauge band, the difference to the base, hidden units put back into its order, and the derivation
/// test. What matrix products decide is clear here, so that their rounding does not show.
fn check_decoder(gpu: &Compute) -> Result<usize> {
    let file = decoder();
    let base = open(file.clone())?;
    let (mut different, marked, record) = check_marking(gpu, &file, "decoder")?;
    let marked = open(marked)?;
    for attack in ["noise:0.01", "permute", "rotate", "cast:f64"] {
        let mut suspect = Vec::new();
        write_safetensors(&attack.parse()?, &marked, None, 1, &mut suspect, &|_| ())?;
        let suspect = open(suspect)?;
        different += check_detection(gpu, &suspect, &record, &base, &format!("decoder, {attack}"))?;
        let test = |compute: &Compute| derivation(&suspect, &base, &DerivationOptions::default(), compute.device());
        let (cpu, gpu) = (test(&Compute::cpu())?, test(gpu)?);
        let what = format!("derivation, decoder, {attack}: {}", cpu.verdict);
        different += compare(&what, serde_json::to_string(&cpu)?, serde_json::to_string(&gpu)?);
    }
    Ok(different)
}

/// The best of several runs in GB/s.
fn rate<T>(bytes: usize, device: &Device, mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        device.synchronize()?;
        let start = Instant::now();
        drop(work()?);
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(bytes as f64 / best / 1e9)
}

/// The loops on weights that lie on the device, beside a copy there.
fn print_loops(device: &Device) -> Result<()> {
    let (rows, columns) = (32_768, 16_384);
    let size = rows * columns * 2;
    let block = Tensor::randn(0f32, 0.02, (rows, columns), device)?.to_dtype(DType::BF16)?;
    let carrier = Carrier::new(&key(), "layer.0", 144);
    let amplitudes = vec![0.004; 576];
    // A copy reads and writes.
    let copy = rate(2 * size, device, || Ok(block.copy()?))?;
    println!("{:28} {copy:9.1} GB/s read and written", "copy on the device");
    let print = |name: &str, rate: f64| println!("{name:28} {rate:9.1} GB/s {:6.1} % of the copy", 100.0 * rate / copy);
    print("slot sums on the device", rate(size, device, || Ok(carrier.project(&block, 0)?))?);
    print("mark on the device", rate(size, device, || Ok(carrier.mark(&block, 0, &amplitudes)?))?);
    Ok(())
}

/// A large model, from memory: same bytes, same reports; and the speed of both.
fn check_model(gpu: &Compute, device: &Device) -> Result<usize> {
    let mut file = large(16);
    let size = file.len();
    let model = open(file.clone())?;
    let (mut different, marked, record) = check_marking(gpu, &file, "large model")?;
    let marked = open(marked)?;
    different += check_detection(gpu, &marked, &record, &model, "large model")?;
    let records = [record];
    for (name, compute) in [("processor", &Compute::cpu()), ("GPU", gpu)] {
        let detect = |base| detect_on(compute, &marked, &secret(), &records, base, &|_| ());
        let blind = rate(size, device, || Ok(detect(None)?))?;
        let with_base = rate(size, device, || Ok(detect(Some(&model))?))?;
        let embedded = rate(size, device, || embed_on(compute, &model, &mut file))?;
        print!("{name:12} from memory: detect {blind:7.2} GB/s, ");
        println!("with the base {with_base:7.2} GB/s, embed {embedded:7.2} GB/s");
    }
    Ok(different)
}

fn run() -> Result<ExitCode> {
    match compiled_kernels() {
        Ok(code) => println!("kernels compiled: {} bytes of code for the driver", code.len()),
        Err(error) => println!("kernels not compiled: {error}"),
    }
    let gpu = match Compute::cuda(0) {
        Ok(gpu) => gpu,
        Err(error) => {
            println!("{error}");
            let model = open(large(1))?;
            let record = embed(&model, &key(), &EmbedOptions::default(), &|_| (), &mut |_, _| Ok(()))?.commitment;
            let verdict = detect(&model, &secret(), &[record], None, &|_| ())?.verdict;
            println!("fell back to the processor: the unmarked model is {verdict:?}");
            return Ok(ExitCode::from(3));
        }
    };
    let device = Device::new_cuda(0)?;
    let different = check_loops(&device)? + check_decoder(&gpu)? + check_model(&gpu, &device)?;
    print_loops(&device)?;
    println!("{different} differences");
    Ok(ExitCode::from(u8::from(different > 0)))
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
