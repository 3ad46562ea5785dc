//! Synthetic models: safetensors bytes made in the test, marked copies, and attacks on them.
#![allow(dead_code)] // Each test program uses a part of this.

use countermark_formats::{Checkpoint, Dtype};
use countermark_watermark::{EmbedOptions, EmbedReport, MarkKey, MarkSecret, embed};
use half::{bf16, f16};

/// A tensor with its weights as `f32`.
#[derive(Clone)]
pub struct Part {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub weights: Vec<f32>,
}

/// Random numbers that are the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About standard normal, with tails somewhat heavier: a sum of four uniform numbers, of a random width.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: f32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as f32 / 65536.0 - 0.5).sum();
        let width = 0.8 + 0.8 * ((self.bits() & 0xff) as f32 / 256.0).powi(3);
        sum * 1.732 * width
    }
}

/// A matrix of random weights with rows of different scale.
pub fn matrix(name: &str, dtype: Dtype, rows: usize, columns: usize, seed: u64) -> Part {
    let mut random = Random(seed);
    let mut weights = Vec::with_capacity(rows * columns);
    for _ in 0..rows {
        let scale = 0.02 * (0.3 * random.normal()).exp();
        weights.extend((0..columns).map(|_| random.normal() * scale));
    }
    Part { name: name.into(), dtype, shape: vec![rows, columns], weights }
}

/// Matrices of odd shapes, with norms and biases between them.
pub fn parts(dtype: Dtype, matrices: usize, rows: usize, columns: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    for layer in 0..matrices {
        parts.push(matrix(&format!("layer.{layer}.weight"), dtype, rows, columns, layer as u64 + 1));
        let norm = vec![1.0; columns];
        parts.push(Part { name: format!("layer.{layer}.norm"), dtype, shape: vec![columns], weights: norm });
    }
    parts
}

/// The bytes of a weight in a dtype, rounded to nearest.
pub fn cast(value: f32, dtype: Dtype, bytes: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 => bytes.extend(value.to_le_bytes()),
        Dtype::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
        Dtype::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
        other => panic!("{other} is not used here"),
    }
}

/// A safetensors file of these tensors.
pub fn file(parts: &[Part]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut entries = Vec::new();
    for part in parts {
        let begin = data.len();
        part.weights.iter().for_each(|&weight| cast(weight, part.dtype, &mut data));
        entries.push(format!(
            r#""{}":{{"dtype":"{}","shape":{:?},"data_offsets":[{begin},{}]}}"#,
            part.name,
            part.dtype,
            part.shape,
            data.len()
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    file
}

pub fn open(file: Vec<u8>) -> Checkpoint {
    Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))]).unwrap()
}

/// Reads a one-file checkpoint back into tensors.
pub fn read(file: &[u8]) -> Vec<Part> {
    let model = open(file.to_vec());
    let read = |index: usize| {
        let info = &model.tensors()[index].info;
        let mut bytes = Vec::new();
        model.read(index, &mut bytes).unwrap();
        let weights = match info.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            _ => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        };
        let shape = info.shape.iter().map(|&extent| extent as usize).collect();
        Part { name: info.name.clone(), dtype: info.dtype, shape, weights }
    };
    (0..model.tensors().len()).map(read).collect()
}

pub fn secret() -> MarkSecret {
    MarkSecret::from_bytes([0x5a; 32])
}

pub fn key() -> MarkKey {
    MarkKey::derive(&secret(), [1; 32], [2; 16], None)
}

/// A marked copy of a one-file checkpoint.
pub fn marked(file: &[u8], options: &EmbedOptions) -> (Vec<u8>, EmbedReport) {
    let model = open(file.to_vec());
    let mut copy = file.to_vec();
    let report = embed(&model, &key(), options, &|_| (), &mut |index, bytes| {
        let range = &model.tensors()[index].info.range;
        copy[range.start as usize..range.end as usize].copy_from_slice(bytes);
        Ok(())
    });
    (copy, report.unwrap())
}

/// Changes every matrix, row by row.
pub fn attack(file: &[u8], mut change: impl FnMut(&mut [f32])) -> Vec<u8> {
    let mut parts = read(file);
    for part in parts.iter_mut().filter(|part| part.shape.len() == 2) {
        part.weights.chunks_mut(part.shape[1]).for_each(&mut change);
    }
    self::file(&parts)
}
