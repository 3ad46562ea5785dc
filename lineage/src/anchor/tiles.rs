//! Tiles (C2SP tlog-tiles v0.1.0): the log as immutable static files.
//!
//! Tile (L, N) holds the roots of 256 consecutive complete subtrees of height 8·L. Roots and proofs at any past size are
//! folded from complete subtrees only, so a later, fuller tile serves an earlier checkpoint.

use crate::Error;
use crate::digest::{Hash, tree};

/// Hashes per full tile, entries per full bundle.
pub const WIDTH: u64 = 256;

/// Reads hashes of level `level` from `start` on: what a directory, an object store or memory offers.
pub trait ReadTile {
    /// The first `width` hashes of tile `index` of `level`, from a partial tile of at least that width or the full one.
    fn read_tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, Error>;
}

/// Path of a tile of `width` hashes: `tile/0/x001/x234/067.p/5`.
pub fn tile_path(level: u8, index: u64, width: u64) -> String {
    format!("tile/{level}/{}", numbered(index, width))
}

/// Path of the bundle that holds the entries of level-0 tile `index`.
pub fn bundle_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}", numbered(index, width))
}

fn numbered(index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH { format!("{path}.p/{width}") } else { path }
}

/// Entries as a bundle holds them: big-endian two-byte length, then the entry, repeated.
///
/// # Errors
/// [`Error::Usage`] when an entry is above 65,535 bytes.
pub fn encode_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for entry in entries {
        let Ok(length) = u16::try_from(entry.len()) else {
            return Err(Error::usage("a log entry is above 65,535 bytes", "log a hash of it instead"));
        };
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle.
///
/// # Errors
/// [`Error::Input`] with the byte where an entry is cut short.
pub fn decode_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let entry = rest.split_first_chunk::<2>().and_then(|(length, rest)| {
            let length = usize::from(u16::from_be_bytes(*length));
            rest.split_at_checked(length)
        });
        let Some((entry, after)) = entry else {
            let at = bytes.len() - rest.len();
            return Err(Error::input(format!("entry bundle byte {at}"), "entry cut short", "fetch the bundle again"));
        };
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

/// Tiles that change when `leaves` are appended to a tree of `old_size`, lowest level first, as (level, index, hashes).
///
/// # Errors
/// What reading the old partial tiles answers.
pub fn append(old: &impl ReadTile, old_size: u64, leaves: &[Hash]) -> Result<Vec<(u8, u64, Vec<Hash>)>, Error> {
    let mut tiles = Vec::new();
    let (mut level, mut size, mut fresh) = (0, old_size, leaves.to_vec());
    while !fresh.is_empty() {
        let (mut index, width) = (size / WIDTH, size % WIDTH);
        let mut hashes = if width > 0 { old.read_tile(level, index, width)? } else { vec![] };
        let mut next = Vec::new();
        for hash in fresh {
            hashes.push(hash);
            if hashes.len() as u64 == WIDTH {
                next.push(tree::root(&hashes));
                tiles.push((level, index, std::mem::take(&mut hashes)));
                index += 1;
            }
        }
        if !hashes.is_empty() {
            tiles.push((level, index, hashes));
        }
        (level, size, fresh) = (level + 1, size / WIDTH, next);
    }
    Ok(tiles)
}

/// Root of the first `size` leaves.
///
/// # Errors
/// What reading the tiles answers.
pub fn root(tiles: &impl ReadTile, size: u64) -> Result<Hash, Error> {
    if size == 0 { Ok(tree::empty_root()) } else { range_root(tiles, 0, size) }
}

/// Path that proves leaf `index` in the tree of the first `size` leaves (RFC 9162, section 2.1.3.1).
///
/// # Errors
/// [`Error::Usage`] when there is no such leaf; what reading the tiles answers.
pub fn inclusion(tiles: &impl ReadTile, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    if index >= size {
        return Err(Error::usage(
            format!("no entry {index} in a log of {size}"),
            "entries count from 0; ask for one below the size",
        ));
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + left_half(end - start);
        let (sibling_start, sibling_end);
        if index < middle {
            (sibling_start, sibling_end) = (middle, end);
            end = middle;
        } else {
            (sibling_start, sibling_end) = (start, middle);
            start = middle;
        }
        path.push(range_root(tiles, sibling_start, sibling_end)?);
    }
    path.reverse();
    Ok(path)
}

/// Root of the leaves `start..end`, where `start` is a multiple of the power of two at or above the length.
fn range_root(tiles: &impl ReadTile, start: u64, end: u64) -> Result<Hash, Error> {
    let length = end - start;
    if length.is_power_of_two() {
        return subtree(tiles, length.trailing_zeros(), start / length);
    }
    let middle = start + left_half(length);
    Ok(tree::node(&range_root(tiles, start, middle)?, &range_root(tiles, middle, end)?))
}

/// Root of the complete subtree of `height` at `index`, from one tile.
fn subtree(tiles: &impl ReadTile, height: u32, index: u64) -> Result<Hash, Error> {
    let level = height / 8;
    let width = 1 << (height % 8);
    let start = index * width;
    let hashes = tiles.read_tile(level as u8, start / WIDTH, start % WIDTH + width)?;
    Ok(tree::root(&hashes[(start % WIDTH) as usize..]))
}

/// The largest power of two below `count`. Needs `count >= 2`.
fn left_half(count: u64) -> u64 {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Memory(HashMap<(u8, u64), Vec<Hash>>);

    impl ReadTile for Memory {
        fn read_tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, Error> {
            Ok(self.0[&(level, index)][..width as usize].to_vec())
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| tree::leaf(&i.to_be_bytes())).collect()
    }

    #[test]
    fn paths_as_the_standard_writes_them() {
        assert_eq!(tile_path(0, 5, 256), "tile/0/005");
        assert_eq!(tile_path(3, 1_234_067, 256), "tile/3/x001/x234/067");
        assert_eq!(tile_path(0, 273, 112), "tile/0/273.p/112");
        assert_eq!(bundle_path(0, 1), "tile/entries/000.p/1");
    }

    #[test]
    fn roots_and_paths_agree_with_the_reference_at_every_past_size() {
        let all = leaves(70_000);
        let mut memory = Memory::default();
        let mut size = 0;
        for batch in [1_usize, 2, 252, 1, 1, 254, 1, 187, 69_301] {
            let fresh = &all[size..size + batch];
            for (level, index, hashes) in append(&memory, size as u64, fresh).unwrap() {
                memory.0.insert((level, index), hashes);
            }
            size += batch;
        }
        assert_eq!(size, all.len());
        assert_eq!(memory.0[&(0, 273)].len(), 112);
        assert_eq!(memory.0[&(1, 1)].len(), 17);
        assert_eq!(memory.0[&(2, 0)].len(), 1);
        for size in [0_usize, 1, 2, 255, 256, 257, 511, 512, 513, 699, 700, 70_000] {
            assert_eq!(root(&memory, size as u64).unwrap(), tree::root(&all[..size]), "size {size}");
            for index in [0, 1, size / 2, size.saturating_sub(1)] {
                if index < size {
                    let path = inclusion(&memory, index as u64, size as u64).unwrap();
                    assert_eq!(path, tree::reference::inclusion(index, &all[..size]), "{index} of {size}");
                }
            }
        }
        assert!(inclusion(&memory, 5, 5).is_err());
    }

    #[test]
    fn bundles_round_trip_and_cut_ones_are_refused() {
        let bytes = encode_bundle([b"one".as_slice(), b"", b"three"]).unwrap();
        assert_eq!(decode_bundle(&bytes).unwrap(), [b"one".as_slice(), b"", b"three"]);
        assert!(decode_bundle(&bytes[..bytes.len() - 1]).is_err());
        assert!(encode_bundle([vec![0; 70_000].as_slice()]).is_err());
    }
}
