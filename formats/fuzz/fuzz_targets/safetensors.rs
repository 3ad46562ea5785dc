//! Safetensors files: the header's text up to the first zero byte, then the tensors' bytes.
#![no_main]

mod use_up;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (header, tensors) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    use_up::use_up([&(header.len() as u64).to_le_bytes(), header, tensors].concat());
});
