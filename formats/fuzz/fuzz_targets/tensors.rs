//! ONNX models, NumPy files, PyTorch files: the first byte picks the ending, the rest is the file.
#![no_main]

use std::io::{self, Read as _};
use std::sync::Arc;

use countermark_formats::{Source, Tensors};
use libfuzzer_sys::fuzz_target;

const PATHS: [&str; 5] = ["m.onnx", "m.npy", "m.npz", "m.pt", "m.distcp"];

fuzz_target!(|data: &[u8]| {
    let Some((pick, file)) = data.split_first() else { return };
    let path = PATHS[usize::from(*pick) % PATHS.len()].to_owned();
    let files = [(path, Arc::new(file.to_vec()) as Source), ("data.bin".to_owned(), Arc::new(vec![0_u8; 64]) as Source)];
    let Ok(Some(tensors)) = Tensors::open(&files) else { return };
    for (index, tensor) in tensors.list().iter().enumerate() {
        // Deflated bytes may turn out to be others than promised; they must say so, and never be more.
        let Ok(reader) = tensors.reader(index) else { continue };
        if let Ok(read) = io::copy(&mut reader.take(1 << 20), &mut io::sink()) {
            assert_eq!(read, tensor.bytes.min(1 << 20));
        }
        if let Some((source, range)) = tensors.plain(index) {
            assert!(range.end <= source.len() && range.end - range.start == tensor.bytes);
        }
    }
});
