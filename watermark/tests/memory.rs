//! Memory is bounded by the largest tensor, not by the model: a model made on the fly while it is read.
#![cfg(target_os = "linux")]

use std::io;

use countermark_formats::{Checkpoint, ReadAt};
use countermark_watermark::*;

const TENSORS: u64 = 96;
const TENSOR_BYTES: u64 = 4 << 20;

/// A header in memory, and data that is computed from its position.
struct Endless {
    header: Vec<u8>,
}

impl Endless {
    fn new() -> Endless {
        let entries: Vec<String> = (0..TENSORS)
            .map(|number| {
                let (begin, end) = (number * TENSOR_BYTES, (number + 1) * TENSOR_BYTES);
                format!(r#""t{number:03}":{{"dtype":"BF16","shape":[2048,1024],"data_offsets":[{begin},{end}]}}"#)
            })
            .collect();
        let text = format!("{{{}}}", entries.join(","));
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.extend(text.bytes());
        // A word never straddles a position.
        header.extend(std::iter::repeat_n(b' ', (8 - header.len() % 8) % 8));
        let length = header.len() as u64 - 8;
        header[..8].copy_from_slice(&length.to_le_bytes());
        Endless { header }
    }
}

impl ReadAt for Endless {
    fn len(&self) -> u64 {
        self.header.len() as u64 + TENSORS * TENSOR_BYTES
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = self.header.len() as u64;
        if offset < start {
            return self.header.read_exact_at(buffer, offset);
        }
        for (number, word) in buffer.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let position = (offset - start) / 2 + number as u64;
            let bits = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            // Sign, one of four binades, significand.
            *word = ((bits & 0x8000 | 0x3c00 | bits & 0x01ff) as u16).to_le_bytes();
        }
        Ok(())
    }
}

/// The most memory that this process has ever held, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn memory_does_not_grow_with_the_model() {
    let model = Checkpoint::open(vec![("model.safetensors".into(), Box::new(Endless::new()))]).unwrap();
    let secret = MarkSecret::from_bytes([1; 32]);
    let key = MarkKey::derive(&secret, [1; 32], [2; 16], None);
    let mut written = 0;
    let report = embed(&model, &key, &EmbedOptions::default(), &|_| (), &mut |_, bytes| {
        written += bytes.len() as u64;
        Ok(())
    });
    let report = report.unwrap();
    assert_eq!(report.slots_reached, 576);
    detect(&model, &secret, &[report.commitment], None, &|_| ()).unwrap();
    let (size, peak) = (TENSORS * TENSOR_BYTES, peak());
    println!("{} MiB of weights, {} MiB at the peak", size >> 20, peak >> 20);
    assert_eq!(written, size);
    assert!(peak < 96 << 20, "{} MiB at the peak", peak >> 20);
}
