//! The BLAKE3 root of one file, read by positioned reads, several threads inside one file.
//!
//! The file is cut into parts of [`PART`] bytes. Each part is a whole subtree of the BLAKE3 tree, so its chaining value
//! can be computed anywhere, and folding them gives the root that `b3sum` prints.

use std::io;
use std::ops::Range;

use blake3::Hasher;
use blake3::hazmat::{self, ChainingValue, HasherExt as _, Mode};
use countermark_formats::ReadAt;
use rayon::prelude::*;

use super::Hash;

/// Bytes per part. A power of two, so that each part but the last is a complete subtree.
pub const PART: u64 = 4 << 20;

/// Bytes per read: small enough that a thread's buffer stays in its L2 cache, large enough that reads cost little.
const BLOCK: u64 = 256 << 10;

/// BLAKE3 of all bytes of `source`.
///
/// # Errors
/// Whatever the source answers to a read, for instance an unexpected end when the file shrank meanwhile.
pub fn hash(source: &(impl ReadAt + ?Sized)) -> io::Result<Hash> {
    hash_with(source, &|_| ())
}

/// As [`hash`], and tells `progress` the number of bytes of each part when it is done, and of none before it is read, so
/// that whoever listens can stop the work.
pub fn hash_with(source: &(impl ReadAt + ?Sized), progress: &(dyn Fn(u64) + Sync)) -> io::Result<Hash> {
    let length = source.len();
    if length <= PART {
        let mut hasher = Hasher::new();
        feed(&mut hasher, source, 0..length, &mut vec![0; BLOCK.min(length) as usize], progress)?;
        return Ok(Hash(hasher.finalize().into()));
    }
    let values: Vec<ChainingValue> = (0..length.div_ceil(PART))
        .into_par_iter()
        .map_init(
            || vec![0; BLOCK as usize],
            |buffer, part| {
                let offset = part * PART;
                let mut hasher = Hasher::new();
                hasher.set_input_offset(offset);
                feed(&mut hasher, source, offset..length.min(offset + PART), buffer, progress)?;
                Ok(hasher.finalize_non_root())
            },
        )
        .collect::<io::Result<_>>()?;
    Ok(merge(&values))
}

/// Reads `range` block by block into `buffer` and hashes it.
fn feed(
    hasher: &mut Hasher,
    source: &(impl ReadAt + ?Sized),
    range: Range<u64>,
    buffer: &mut [u8],
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<()> {
    progress(0);
    for offset in range.clone().step_by(BLOCK as usize) {
        let block = &mut buffer[..BLOCK.min(range.end - offset) as usize];
        source.read_exact_at(block, offset)?;
        hasher.update(block);
    }
    progress(range.end - range.start);
    Ok(())
}

/// Folds the chaining values of at least two consecutive parts into the root.
fn merge(values: &[ChainingValue]) -> Hash {
    let (left, right) = values.split_at(left_half(values.len()));
    Hash(hazmat::merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).into())
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(left_half(values.len()));
            hazmat::merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The largest power of two below `count`, the size of a BLAKE3 left subtree. Needs `count >= 2`.
fn left_half(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn known_answers() {
        for (length, expected) in [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
            (3 * 1024 * 1024 + 777, "af47dfe5284779cecdf26b7bb8209b1a4ca1e24bb168adff9f9ee4294a9e52e9"),
        ] {
            assert_eq!(hash(&pattern(length)).unwrap().to_string(), expected, "{length} bytes");
        }
    }

    #[test]
    fn part_values_of_the_known_answer() {
        let bytes = pattern(3 * 1024 * 1024 + 777);
        let parts = bytes.chunks(1 << 20).enumerate();
        let values: Vec<ChainingValue> = parts
            .map(|(part, bytes)| Hasher::new().set_input_offset((part as u64) << 20).update(bytes).finalize_non_root())
            .collect();
        assert_eq!(Hash(values[0]).to_string(), "8a576541118ebf5fad8d683c09b63402288a71616ecc72514abf780822136023");
        assert_eq!(merge(&values), Hash::blake3(&bytes));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn agrees_with_the_whole_hash(length in 0_usize..(40 << 20)) {
            let bytes = pattern(length);
            prop_assert_eq!(hash(&bytes).unwrap(), Hash::blake3(&bytes));
        }
    }
}
