//! Slice proofs: a true proof that was tampered with proves the true bytes or nothing, and no proof panics.
#![no_main]

use std::io::Cursor;
use std::sync::Arc;

use countermark_formats::Source;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::slice::{self, Claim};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let root = Hash::blake3(b"abc");
    let _ = slice::check(&mut Cursor::new(data), root, &mut |_| Ok(()));

    let Some((head, rest)) = data.split_first_chunk::<8>() else { return };
    let [length, begin, size, at] = [0, 2, 4, 6].map(|i| usize::from(u16::from_le_bytes([head[i], head[i + 1]])));
    let file: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let begin = begin.min(length);
    let end = (begin + size).min(length);
    let source: Source = Arc::new(file.clone());
    let mut proof = Vec::new();
    slice::prove(&source, &Claim::Range(begin as u64..end as u64), None, &mut proof, &|_| ()).expect("a range in it");
    let at = at.min(proof.len());
    proof.splice(at..(at + rest.len()).min(proof.len()), rest.iter().copied());
    let mut bytes = Vec::new();
    let checked = slice::check(&mut Cursor::new(&proof), Hash::blake3(&file), &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    if let Ok(proven) = checked {
        assert_eq!(proven.length, length as u64);
        assert_eq!(bytes, file[proven.range.0 as usize..proven.range.1 as usize]);
    }
});
