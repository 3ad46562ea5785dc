//! Content-defined chunks, as the hub's storage (Xet, specification 1.1.0) cuts files: what two files share is found by
//! the chunks that they have in common, wherever these lie.
//!
//! A chunk ends behind the first byte at which a rolling hash over the last 64 bytes has its upper 16 bits all zero, but
//! not before [`LEAST`] bytes, and at [`MOST`] bytes at the latest. Where the next chunk ends depends on the bytes from its
//! beginning only, so cutting may start at any place: as soon as it meets a true boundary, all that follow are true. Blocks
//! of a large file are cut on several threads that way, and stitched.

use std::io;
use std::sync::LazyLock;

use countermark_formats::ReadAt;
use rayon::prelude::*;

use super::Hash;

/// A chunk has at least so many bytes, unless it is the last one.
pub const LEAST: usize = 8192;

/// A chunk has at most so many bytes.
pub const MOST: usize = 131_072;

/// These bits of the rolling hash must be zero at a boundary.
const MASK: u64 = 0xffff_0000_0000_0000;

/// The rolling hash forgets what is further back.
const MEMORY: usize = 64;

/// Bytes that one thread cuts at a time.
const BLOCK: u64 = 8 << 20;

/// The key under which chunks are hashed.
const CHUNK_KEY: [u8; 32] = [
    0x66, 0x97, 0xf5, 0x77, 0x5b, 0x95, 0x50, 0xde, 0x31, 0x35, 0xcb, 0xac, 0xa5, 0x97, 0x18, 0x1c, 0x9d, 0xe4, 0x21,
    0x10, 0x9b, 0xeb, 0x2b, 0x58, 0xb4, 0xd0, 0xb0, 0x4b, 0x93, 0xad, 0xf2, 0x29,
];

/// A hasher under the key, whose set-up is not paid for each chunk.
static KEYED: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_keyed(&CHUNK_KEY));

/// One chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Keyed BLAKE3 of its bytes.
    pub hash: Hash,
    /// Its length in bytes.
    pub length: u32,
}

/// Length of the chunk at the front of `bytes`, which reach to the end of the file or hold at least [`MOST`] bytes.
pub fn cut(bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(MOST)];
    if bytes.len() <= LEAST {
        return bytes.len();
    }
    // Only the last 64 bytes count, so the hash at LEAST bytes is that of those before.
    let mut hasher = gearhash::Hasher::default();
    hasher.update(&bytes[LEAST - MEMORY..LEAST - 1]);
    hasher.next_match(&bytes[LEAST - 1..], MASK).map_or(bytes.len(), |more| LEAST - 1 + more)
}

fn chunk(bytes: &[u8]) -> Chunk {
    let mut hasher = KEYED.clone();
    hasher.update(bytes);
    Chunk { hash: Hash(hasher.finalize().into()), length: bytes.len() as u32 }
}

/// The chunks of a file, each handed to `sink` in order, in bounded memory. `progress` hears of bytes as they are read.
///
/// # Errors
/// What the source answers to a read.
pub fn each(
    source: &(impl ReadAt + ?Sized),
    progress: &(dyn Fn(u64) + Sync),
    sink: &mut dyn FnMut(Chunk),
) -> io::Result<()> {
    let length = source.len();
    let blocks = length.div_ceil(BLOCK);
    let at_once = 2 * rayon::current_num_threads() as u64;
    // The next true boundary.
    let mut at = 0;
    for batch in (0..blocks).step_by(at_once as usize) {
        let cut: Vec<Vec<Chunk>> = (batch..blocks.min(batch + at_once))
            .into_par_iter()
            .map_init(Vec::new, |buffer, block| cut_block(source, block * BLOCK, buffer, progress))
            .collect::<io::Result<_>>()?;
        for (block, chunks) in (batch..).zip(cut) {
            stitch(source, block * BLOCK, &chunks, &mut at, sink)?;
        }
    }
    Ok(())
}

/// Cuts what begins in one block as if a chunk began there. The last chunk may reach into the next block.
fn cut_block(
    source: &(impl ReadAt + ?Sized),
    begin: u64,
    buffer: &mut Vec<u8>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Vec<Chunk>> {
    progress(0);
    let end = source.len().min(begin + BLOCK);
    let ahead = source.len().min(end + MOST as u64);
    buffer.resize((ahead - begin) as usize, 0);
    source.read_exact_at(buffer, begin)?;
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < (end - begin) as usize {
        let length = cut(&buffer[at..]);
        chunks.push(chunk(&buffer[at..at + length]));
        at += length;
    }
    progress(end - begin);
    Ok(chunks)
}

/// Hands on the true chunks that begin in one block: those that were cut from the first boundary on that both agree on.
fn stitch(
    source: &(impl ReadAt + ?Sized),
    begin: u64,
    cut_here: &[Chunk],
    at: &mut u64,
    sink: &mut dyn FnMut(Chunk),
) -> io::Result<()> {
    let end = source.len().min(begin + BLOCK);
    let mut candidate = begin;
    let mut rest = cut_here.iter();
    let mut buffer = Vec::new();
    while *at < end {
        while candidate < *at {
            let Some(chunk) = rest.next() else { break };
            candidate += u64::from(chunk.length);
        }
        if candidate == *at {
            for chunk in rest.by_ref() {
                sink(*chunk);
                *at += u64::from(chunk.length);
            }
            return Ok(());
        }
        // Not met yet: cut one more chunk from the true boundary.
        buffer.resize((source.len() - *at).min(MOST as u64) as usize, 0);
        source.read_exact_at(&mut buffer, *at)?;
        let length = cut(&buffer);
        sink(chunk(&buffer[..length]));
        *at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, byte by byte (specification 1.1.0, "Chunking").
    pub fn slow(bytes: &[u8]) -> Vec<&[u8]> {
        let mut chunks = Vec::new();
        let (mut begin, mut hash) = (0, 0_u64);
        for (at, byte) in bytes.iter().enumerate() {
            if at - begin < LEAST - MEMORY - 1 {
                continue;
            }
            hash = (hash << 1).wrapping_add(gearhash::DEFAULT_TABLE[usize::from(*byte)]);
            let length = at + 1 - begin;
            if length >= LEAST && hash & MASK == 0 || length == MOST {
                chunks.push(&bytes[begin..=at]);
                (begin, hash) = (at + 1, 0);
            }
        }
        if begin < bytes.len() {
            chunks.push(&bytes[begin..]);
        }
        chunks
    }

    /// SplitMix64 from state 0, words little-endian.
    pub fn random(length: usize) -> Vec<u8> {
        let mut state = 0_u64;
        let mut word = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)).to_le_bytes()
        };
        let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| word()).collect();
        bytes.truncate(length);
        bytes
    }

    fn all(bytes: &[u8]) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        each(bytes, &|_| (), &mut |chunk| chunks.push(chunk)).unwrap();
        chunks
    }

    #[test]
    fn lengths_of_the_known_answers() {
        let lengths = |bytes: &[u8]| all(bytes).iter().map(|chunk| chunk.length).collect::<Vec<_>>();
        assert_eq!(lengths(&random(100_000)), [84493, 15507]);
        assert_eq!(lengths(&random(1 << 20))[..4], [84493, 49928, 10432, 98465]);
        assert_eq!(lengths(&random(1 << 20)).len(), 20);
        assert_eq!(lengths(&vec![0; 131_073]), [131_072, 1]);
        assert!(lengths(&[]).is_empty());
    }

    #[test]
    fn blocks_are_stitched_to_the_same_chunks() {
        // Random bytes, then a run without any boundary whose chunks no block begins at, then random bytes again.
        let mut bytes = random(9 << 20);
        bytes.extend(std::iter::repeat_n(0, 27 << 20));
        bytes.extend(random((5 << 20) + 77));
        let expected: Vec<Chunk> = slow(&bytes).into_iter().map(chunk).collect();
        assert_eq!(all(&bytes), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn agrees_with_the_definition(
            length in 0_usize..600_000, zeros in 0_usize..300_000, skip in 0_usize..100_000,
        ) {
            let mut bytes = vec![0; zeros];
            bytes.extend(&random(length + skip)[skip..]);
            let expected: Vec<usize> = slow(&bytes).into_iter().map(<[u8]>::len).collect();
            let mut found = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = cut(rest);
                found.push(length);
                rest = &rest[length..];
            }
            prop_assert_eq!(found, expected);
        }
    }
}
