//! Models with something wrong in them: nothing that reads them may panic, whatever it answers.

mod common;

use candle_core::Device;
use common::{Random, key, open, secret};
use countermark_formats::{Checkpoint, Dtype};
use countermark_watermark::attack::{self, Attack};
use countermark_watermark::derivation::{DerivationOptions, derivation};
use countermark_watermark::*;
use proptest::prelude::*;

const WIDTH: u64 = 64;
const UNITS: u64 = 128;
const TOKENS: u64 = 96;

#[derive(Clone)]
struct Stored {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

fn floats(name: &str, shape: &[u64], random: &mut Random) -> Stored {
    let count: u64 = shape.iter().product();
    let bytes = (0..count).flat_map(|_| (random.normal() * 0.02).to_le_bytes()).collect();
    Stored { name: name.into(), dtype: "F32", shape: shape.to_vec(), bytes }
}

fn codes(name: &str, dtype: &'static str, shape: &[u64], random: &mut Random) -> Stored {
    let size = if dtype == "I32" { 4 } else { 1 };
    let bytes = (0..shape.iter().product::<u64>() * size).map(|_| random.bits() as u8).collect();
    Stored { name: name.into(), dtype, shape: shape.to_vec(), bytes }
}

/// A decoder: two plain layers, one in GPTQ, one in AWQ, one in int8 and 8-bit floats, and a stack of experts.
fn decoder(seed: u64) -> Vec<Stored> {
    let random = &mut Random(seed);
    let mut parts = vec![floats("model.embed_tokens.weight", &[TOKENS, WIDTH], random)];
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        for part in ["q", "k", "v", "o"] {
            parts.push(floats(&name(&format!("self_attn.{part}_proj.weight")), &[WIDTH, WIDTH], random));
            parts.push(floats(&name(&format!("self_attn.{part}_proj.bias")), &[WIDTH], random));
        }
        for part in ["up", "gate"] {
            parts.push(floats(&name(&format!("mlp.{part}_proj.weight")), &[UNITS, WIDTH], random));
            parts.push(floats(&name(&format!("mlp.{part}_proj.bias")), &[UNITS], random));
        }
        parts.push(floats(&name("mlp.down_proj.weight"), &[WIDTH, UNITS], random));
        parts.push(floats(&name("input_layernorm.weight"), &[WIDTH], random));
        parts.push(floats(&name("post_attention_layernorm.weight"), &[WIDTH], random));
    }
    let gptq = "model.layers.2.mlp.up_proj";
    parts.push(codes(&format!("{gptq}.qweight"), "I32", &[WIDTH / 8, UNITS], random));
    parts.push(codes(&format!("{gptq}.qzeros"), "I32", &[2, UNITS / 8], random));
    parts.push(floats(&format!("{gptq}.scales"), &[2, UNITS], random));
    let groups = (0..WIDTH as u32).flat_map(|input| (input / 32).to_le_bytes()).collect();
    parts.push(Stored { name: format!("{gptq}.g_idx"), dtype: "I32", shape: vec![WIDTH], bytes: groups });
    let awq = "model.layers.3.mlp.up_proj";
    parts.push(codes(&format!("{awq}.qweight"), "I32", &[WIDTH, UNITS / 8], random));
    parts.push(codes(&format!("{awq}.qzeros"), "I32", &[2, UNITS / 8], random));
    parts.push(floats(&format!("{awq}.scales"), &[2, UNITS], random));
    parts.push(codes("model.layers.4.mlp.up_proj.weight", "I8", &[UNITS, WIDTH], random));
    parts.push(floats("model.layers.4.mlp.up_proj.weight_scale", &[UNITS, 2], random));
    parts.push(codes("model.layers.4.mlp.up_proj.weight_zero_point", "I8", &[UNITS, 2], random));
    parts.push(codes("model.layers.4.mlp.down_proj.weight", "F8_E4M3", &[WIDTH, UNITS], random));
    parts.push(floats("model.layers.4.mlp.down_proj.weight_scale_inv", &[1, 1], random));
    parts.push(floats("model.layers.5.mlp.experts.gate_up_proj", &[3, WIDTH, UNITS], random));
    parts
}

/// Does something bad to one tensor.
fn spoil(parts: &mut Vec<Stored>, random: &mut Random) {
    let which = random.bits() as usize % parts.len();
    let other = parts[random.bits() as usize % parts.len()].clone();
    let stored = &mut parts[which];
    let pick = random.bits() as usize;
    match random.bits() % 12 {
        0 => stored.shape.reverse(),
        1 => (stored.shape, stored.bytes, stored.dtype) = (other.shape, other.bytes, other.dtype),
        2 => stored.shape = vec![stored.shape.iter().product()],
        3 => stored.shape = vec![1, stored.shape.iter().product()],
        4 => stored.shape = vec![stored.shape.iter().product(), 1],
        5 => {
            let last = stored.shape.len() - 1;
            let keep = 1 + random.bits() % stored.shape[0];
            let row = stored.bytes.len() as u64 / stored.shape[0];
            stored.bytes.truncate((keep * row) as usize);
            stored.shape[0] = keep;
            if pick.is_multiple_of(2) {
                stored.shape.swap(0, last);
            }
        }
        6 => {
            stored.shape = [vec![0], vec![0, 7], vec![7, 0], vec![1 << 40, 0, 1 << 40]][pick % 4].clone();
            stored.bytes.clear();
        }
        7 => drop(parts.remove(which)),
        8 => stored.name = format!("{}.x", stored.name),
        9 => {
            let value = [f32::NAN, f32::INFINITY, f32::MAX, f32::from_bits(1), 0.0, -1e30][pick % 6].to_le_bytes();
            let width = if pick.is_multiple_of(3) { usize::MAX } else { 256 };
            stored.bytes.chunks_exact_mut(4).take(width).for_each(|word| word.copy_from_slice(&value));
        }
        10 => stored.bytes.iter_mut().for_each(|byte| *byte = random.bits() as u8),
        _ => {
            let at = stored.shape.len() - 1;
            if stored.shape[at].is_multiple_of(2) {
                stored.shape[at] /= 2;
                stored.shape.insert(at, 2);
            }
        }
    }
}

fn written(parts: &[Stored]) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for Stored { name, dtype, shape, bytes } in parts {
        let begin = data.len();
        data.extend_from_slice(bytes);
        let end = data.len();
        entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn record() -> Commitment {
    let mut record = Commitment::new(&key(), Rung::Presence, 1, [0; 32], None).0;
    let gauge = Gauge { bits: 16, layers: 2, tokens: TOKENS as u32, version: "gated-mlp-v1".into() };
    record.transcript.algorithm.gauge = Some(gauge);
    record
}

/// Marks a model, and checks what an edit may change: nothing in scales, zero points, groups and vectors.
fn mark(model: &Checkpoint) {
    let options = EmbedOptions { strength: Strength::Decibel(-12.0), ..EmbedOptions::default() };
    let mut copies = vec![];
    let result = embed(model, &key(), &options, &|_| (), &mut |index, bytes| {
        copies.push((index, bytes.to_vec()));
        Ok(())
    });
    if result.is_err() {
        return;
    }
    let marked: Vec<usize> = model.matrices().iter().map(|matrix| matrix.tensor).collect();
    for (index, bytes) in copies {
        let mut stored = Vec::new();
        model.read(index, &mut stored).unwrap();
        assert_eq!(stored.len(), bytes.len());
        let info = &model.tensors()[index].info;
        let name = &info.name;
        let is_scale = [".scales", "_scale", "_scale_inv"].iter().any(|end| name.ends_with(end));
        let is_beside = info.dtype == Dtype::I32 && !name.ends_with(".qweight");
        if !marked.contains(&index) || is_scale || is_beside {
            assert!(stored == bytes, "{name} has changed");
        }
    }
}

fn try_all(file: Vec<u8>, intact: &[u8]) {
    let Ok(model) = Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))]) else { return };
    let base = open(intact.to_vec());
    for (suspect, base) in [(&model, &base), (&base, &model), (&model, &model)] {
        if let Ok(found) = detect(suspect, &secret(), &[record()], Some(base), &|_| ()) {
            assert!(found.log10_p > -12.0, "{}", found.log10_p);
            assert_ne!(found.verdict, Verdict::Detected);
        }
        let options = DerivationOptions { describe_always: true, second_parent: Some(&model), ..Default::default() };
        let _ = derivation(suspect, base, &options, &Device::Cpu);
    }
    mark(&model);
    let examples = Attack::ALL_KINDS.iter().map(|(_, example, _)| *example).filter(|example| *example != "overwrite");
    for kind in examples.chain(["permute:16", "sign-flip:16", "crop-vocabulary:9", "prune-units:1"]) {
        let attack: Attack = kind.parse().unwrap();
        let _ = attack::config_changes(&attack, &model);
        let mut write = |outline: &attack::Outline, bytes: &[u8]| {
            assert_eq!(outline.bytes(), bytes.len() as u64, "{kind} {}", outline.name);
            Ok(())
        };
        let _ = attack::apply(&attack, &model, Some(&base), 1, &mut write, &|_| ());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("CASES").map_or(12, |n| n.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn spoiled_models_never_panic(seed: u64, spoils in 1..4usize) {
        let random = &mut Random(seed);
        let intact = decoder(1);
        let mut parts = intact.clone();
        (0..spoils).for_each(|_| spoil(&mut parts, random));
        try_all(written(&parts), &written(&intact));
    }

    #[test]
    fn spoiled_headers_never_panic(seed: u64, spoils in 1..6usize) {
        let random = &mut Random(seed);
        let intact = written(&decoder(1));
        let mut file = intact.clone();
        for _ in 0..spoils {
            let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let at = 8 + random.bits() as usize % header;
            if file[at].is_ascii_digit() {
                file[at] = b'0' + (random.bits() % 10) as u8;
            } else if file[at].is_ascii_alphabetic() {
                file[at] = b'a' + (random.bits() % 26) as u8;
            }
        }
        try_all(file, &intact);
    }
}
