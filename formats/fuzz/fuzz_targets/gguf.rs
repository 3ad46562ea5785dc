//! GGUF files: the bytes behind the magic and the version.
#![no_main]

mod use_up;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| use_up::use_up([b"GGUF\x03\0\0\0", data].concat()));
