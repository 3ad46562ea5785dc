//! Embedding and detection on 100 million BF16 weights in a file that the page cache holds, beside a plain copy of the
//! same bytes.
//!
//!     RAYON_NUM_THREADS=1 cargo bench -p countermark-watermark
//!
//! Prints the best of several runs: GB/s by the clock, GB/s per core (by the processor time of all threads, which other
//! programs on the machine disturb less), and the latter as a share of the copy's.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use countermark_formats::{Checkpoint, ReadAt};
use countermark_watermark::*;

/// 24 matrices of 2048 × 2048: 100,663,296 weights.
const TENSORS: usize = 24;
const TENSOR_BYTES: usize = 2048 * 2048 * 2;
const RUNS: usize = 7;

/// A file, and its length.
struct Cached(Mutex<File>, u64);

impl ReadAt for Cached {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }
}

fn model() -> Vec<u8> {
    let entry = |number: usize| {
        let (begin, end) = (number * TENSOR_BYTES, (number + 1) * TENSOR_BYTES);
        format!(r#""layer.{number}.weight":{{"dtype":"BF16","shape":[2048,2048],"data_offsets":[{begin},{end}]}}"#)
    };
    let entries: Vec<String> = (0..TENSORS).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    let mut state = 1u64;
    file.extend((0..TENSORS * TENSOR_BYTES / 2).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let sum: f32 = (0..4).map(|i| ((state >> (16 * i)) & 0xffff) as f32 / 65536.0 - 0.5).sum();
        half::bf16::from_f32(sum * 0.03).to_le_bytes()
    }));
    file
}

/// Nanoseconds that all threads of this process have run for; nothing outside Linux.
fn processor_time() -> Option<u64> {
    let time = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Some(std::fs::read_dir("/proc/self/task").ok()?.flatten().filter_map(time).sum())
}

/// Prints the throughput of the best of several runs, and returns it per core.
fn measure(name: &str, copy: Option<f64>, mut work: impl FnMut()) -> f64 {
    let (mut clock, mut processor) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        let (start, start_time) = (Instant::now(), processor_time());
        work();
        let seconds = start.elapsed().as_secs_f64();
        clock = clock.min(seconds);
        let used = start_time.zip(processor_time()).map(|(start, end)| (end - start) as f64 / 1e9);
        processor = processor.min(used.unwrap_or(seconds));
    }
    let rate = |seconds: f64| (TENSORS * TENSOR_BYTES) as f64 / seconds / 1e9;
    let share = copy.map_or(String::new(), |copy| format!("{:8.1} % of the copy", 100.0 * rate(processor) / copy));
    println!("{name:12} {:8.2} GB/s {:8.2} GB/s per core {share}", rate(clock), rate(processor));
    rate(processor)
}

fn main() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("throughput.safetensors");
    let bytes = model();
    File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("room for the model");
    let mut target = vec![0; bytes.len()];
    let copy = Some(measure("memory copy", None, || target.copy_from_slice(black_box(&bytes))));
    drop(bytes);
    let file = Cached(Mutex::new(File::open(&path).expect("just written")), target.len() as u64);
    measure("file read", copy, || file.read_exact_at(&mut target, 0).expect("the whole file"));
    drop(target);

    let model = Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))]).expect("a valid file");
    let secret = MarkSecret::from_bytes([1; 32]);
    let key = MarkKey::derive(&secret, [2; 32], [3; 16], None);
    let embed = || embed(&model, &key, &EmbedOptions::default(), &|_| (), &mut |_, _| Ok(())).expect("room for a mark");
    let records = [embed().commitment];
    measure("detect", copy, || {
        detect(&model, &secret, &records, None, &|_| ()).expect("a known record");
    });
    measure("embed", copy, || {
        embed();
    });
    let _ = std::fs::remove_file(path);
}
