//! Small files, built byte by byte.
#![allow(dead_code)] // Each test takes what it needs.

use countermark_formats::{Checkpoint, CodeBlock, Matrix};

/// A tensor to be written: name, dtype, shape (outermost first), bytes.
pub type Part<'a> = (&'a str, &'a str, &'a [u64], Vec<u8>);

/// A safetensors file.
pub fn safetensors(parts: &[Part<'_>]) -> Vec<u8> {
    let mut end = 0;
    let entries: Vec<String> = parts
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            let begin = end;
            end += bytes.len();
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    parts.iter().for_each(|(.., bytes)| file.extend_from_slice(bytes));
    file
}

/// A metadata value: ggml's type number and the bytes.
pub type Value = (u32, Vec<u8>);

pub fn text(value: &str) -> Value {
    (8, string(value.as_bytes()))
}

pub fn number(value: u32) -> Value {
    (4, value.to_le_bytes().to_vec())
}

/// An array of u32.
pub fn numbers(values: &[u32]) -> Value {
    let mut bytes = 4u32.to_le_bytes().to_vec();
    bytes.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    (9, bytes)
}

/// A GGUF string.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = (bytes.len() as u64).to_le_bytes().to_vec();
    string.extend_from_slice(bytes);
    string
}

/// A GGUF file. A part's dtype is ggml's type number as text.
pub fn gguf(metadata: &[(&str, Value)], parts: &[Part<'_>]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend((parts.len() as u64).to_le_bytes());
    file.extend((metadata.len() as u64).to_le_bytes());
    for (key, (kind, bytes)) in metadata {
        file.extend(string(key.as_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend_from_slice(bytes);
    }
    let mut offset = 0u64;
    for (name, kind, shape, bytes) in parts {
        file.extend(string(name.as_bytes()));
        file.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|extent| file.extend(extent.to_le_bytes()));
        file.extend(kind.parse::<u32>().unwrap().to_le_bytes());
        file.extend(offset.to_le_bytes());
        offset = (offset + bytes.len() as u64).next_multiple_of(32);
    }
    for (.., bytes) in parts {
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend_from_slice(bytes);
    }
    file
}

pub fn open(file: Vec<u8>) -> Checkpoint {
    Checkpoint::open(vec![("model".into(), Box::new(file))]).unwrap()
}

/// The matrix of a role.
#[track_caller]
pub fn matrix(model: &Checkpoint, role: &str) -> Matrix {
    let matrices = model.matrices();
    let roles: Vec<&str> = matrices.iter().map(|matrix| matrix.role.as_str()).collect();
    matrices.iter().find(|matrix| matrix.role == role).unwrap_or_else(|| panic!("no {role} in {roles:?}")).clone()
}

pub fn values(model: &Checkpoint, matrix: &Matrix) -> Vec<f32> {
    let mut values = Vec::new();
    model.rows(matrix).unwrap().values(0..matrix.rows, &mut values).unwrap();
    values
}

pub fn codes(model: &Checkpoint, matrix: &Matrix) -> CodeBlock {
    let mut block = CodeBlock::default();
    model.rows(matrix).unwrap().codes(0..matrix.rows, &mut block).unwrap();
    block
}

pub fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

pub fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A file or folder named by an environment variable; without it, says that the test did not run.
pub fn named(variable: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os(variable);
    if path.is_none() {
        eprintln!("SKIPPED: {variable} is not set");
    }
    path.map(Into::into)
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
