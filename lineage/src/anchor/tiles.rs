//! Tiles (C2SP tlog-tiles v0.1.0): the log as immutable static files.
//!
//! Tile (L, N) holds the roots of 256 consecutive complete subtrees of height 8·L. Roots and proofs at any past size are
//! folded from complete subtrees only, so a later, fuller tile serves an earlier checkpoint.

use super::checkpoint::decimal;
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

/// What a path below a log names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Hashes of a level.
    Tile {
        /// 0 for leaves.
        level: u8,
        /// Number of the tile in its level.
        index: u64,
        /// Hashes in it, 1 to 256.
        width: u64,
    },
    /// Entries under a tile of level 0.
    Bundle {
        /// Number of the tile.
        index: u64,
        /// Entries in it, 1 to 256.
        width: u64,
    },
}

impl Name {
    /// Reads a path as [`tile_path`] and [`bundle_path`] write it, and in no other spelling.
    pub fn parse(path: &str) -> Option<Self> {
        // The longest index has seven groups, so a path is never long.
        let (kind, rest) = path.strip_prefix("tile/").filter(|_| path.len() < 64)?.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, decimal(width).filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let mut index = 0_u64;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let is_number = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let value: u64 = digits.parse().ok().filter(|_| is_number)?;
            index = index.checked_mul(1000)?.checked_add(value)?;
        }
        let name = match kind {
            "entries" => Name::Bundle { index, width },
            level => Name::Tile { level: decimal(level).filter(|level| *level < 64)? as u8, index, width },
        };
        // Whatever is not written this way is another spelling.
        (name.path() == path).then_some(name)
    }

    /// The path below the log's folder or URL.
    pub fn path(&self) -> String {
        match *self {
            Name::Tile { level, index, width } => tile_path(level, index, width),
            Name::Bundle { index, width } => bundle_path(index, width),
        }
    }

    /// The same tile or bundle when it is full.
    pub fn full(self) -> Self {
        match self {
            Name::Tile { level, index, .. } => Name::Tile { level, index, width: WIDTH },
            Name::Bundle { index, .. } => Name::Bundle { index, width: WIDTH },
        }
    }

    /// How many hashes or entries.
    pub fn width(&self) -> u64 {
        match *self {
            Name::Tile { width, .. } | Name::Bundle { width, .. } => width,
        }
    }

    /// The first [`Name::width`] hashes or entries of the bytes of a tile or bundle that may hold more.
    ///
    /// # Errors
    /// [`Error::Input`] when it holds fewer, or is no tile or bundle.
    pub fn cut(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let length = match *self {
            Name::Tile { width, .. } => bytes.len().is_multiple_of(32).then_some(width as usize * 32),
            Name::Bundle { width, .. } => {
                let entries = decode_bundle(&bytes)?;
                let first = entries.get(..width as usize);
                first.map(|entries| entries.iter().map(|entry| 2 + entry.len()).sum())
            }
        };
        let Some(length) = length.filter(|length| *length <= bytes.len()) else {
            return refuse(&self.path(), &format!("does not hold {} of them", self.width()));
        };
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// How many hashes tile `index` of `level` has in a log of `size`: 0 when it has no such tile, up to 256.
pub fn width_at(level: u8, index: u64, size: u64) -> u64 {
    // 256^8 is above every size.
    let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    hashes.saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH)
}

/// The hashes of a tile that holds `width` of them and nothing else.
///
/// # Errors
/// [`Error::Input`] naming the tile.
pub fn decode_tile(name: &Name, bytes: &[u8]) -> Result<Vec<Hash>, Error> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() as u64 != name.width() {
        let problem = format!("has {} bytes instead of {} hashes of 32", bytes.len(), name.width());
        return refuse(&name.path(), &problem);
    }
    Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// The entries of a bundle, which must be those under the leaf hashes of its tile.
///
/// # Errors
/// [`Error::Input`] naming the bundle, and the entry when one is not what its tile says.
pub fn check_bundle<'a>(name: &Name, bytes: &'a [u8], leaves: &[Hash]) -> Result<Vec<&'a [u8]>, Error> {
    let entries = decode_bundle(bytes)?;
    if entries.len() != leaves.len() {
        let problem = format!("holds {} entries, and its tile {} hashes", entries.len(), leaves.len());
        return refuse(&name.path(), &problem);
    }
    match entries.iter().zip(leaves).position(|(entry, leaf)| tree::leaf(entry) != *leaf) {
        Some(at) => refuse(&name.path(), &format!("has an entry {at} that its tile does not have")),
        None => Ok(entries),
    }
}

fn refuse<T>(path: &str, problem: &str) -> Result<T, Error> {
    Err(Error::input(path, problem, "fetch it again from the log, or restore the log from a copy"))
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

/// A tile that is to be written: level, index, hashes.
pub type Changed = (u8, u64, Vec<Hash>);

/// Tiles that change when `leaves` are appended to a tree of `old_size`, lowest level first.
///
/// # Errors
/// What reading the old partial tiles answers: one at each level.
pub fn append(old: &impl ReadTile, old_size: u64, leaves: &[Hash]) -> Result<Vec<Changed>, Error> {
    append_from(old, 0, old_size, leaves.to_vec())
}

/// As [`append`], from a level upwards: `fresh` are the new hashes of `level`, each of a complete subtree.
///
/// # Errors
/// As [`append`].
pub fn append_from(
    old: &impl ReadTile,
    mut level: u8,
    old_size: u64,
    mut fresh: Vec<Hash>,
) -> Result<Vec<Changed>, Error> {
    let mut tiles = Vec::new();
    while !fresh.is_empty() {
        let there = old_size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let (mut index, width) = (there / WIDTH, there % WIDTH);
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
        (level, fresh) = (level + 1, next);
    }
    Ok(tiles)
}

/// Root of the first `size` leaves.
///
/// # Errors
/// What reading the tiles answers.
pub fn root(tiles: &impl ReadTile, size: u64) -> Result<Hash, Error> {
    match size {
        0 => Ok(tree::empty_root()),
        1..=tree::MAX_SIZE => range_root(tiles, 0, size),
        _ => Err(Error::usage(format!("no log holds {size} entries"), "a size is at most 2^63 - 1")),
    }
}

/// Path that proves leaf `index` in the tree of the first `size` leaves (RFC 9162, section 2.1.3.1).
///
/// # Errors
/// [`Error::Usage`] when there is no such leaf; what reading the tiles answers.
pub fn inclusion(tiles: &impl ReadTile, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    if index >= size || size > tree::MAX_SIZE {
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

/// Path that proves that the first `old_size` leaves are a prefix of the first `new_size` (RFC 9162, section 2.1.4.1).
///
/// # Errors
/// [`Error::Usage`] when the old tree is empty, which proves nothing, or the larger one; what reading the tiles answers.
pub fn consistency(tiles: &impl ReadTile, old_size: u64, new_size: u64) -> Result<Vec<Hash>, Error> {
    if old_size == 0 || old_size > new_size || new_size > tree::MAX_SIZE {
        return Err(Error::usage(
            format!("nothing proves that a log of {old_size} is the beginning of one of {new_size}"),
            "ask for an older size from 1 up, and a newer one that is no smaller",
        ));
    }
    let (mut start, mut end) = (0, new_size);
    let mut path = Vec::new();
    while old_size < end {
        let middle = start + left_half(end - start);
        if old_size <= middle {
            path.push(range_root(tiles, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(tiles, start, middle)?);
            start = middle;
        }
    }
    // A whole left edge is the old root itself, which the verifier has.
    if start > 0 {
        path.push(range_root(tiles, start, end)?);
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
    match hashes.get((start % WIDTH) as usize..(start % WIDTH + width) as usize) {
        Some(hashes) => Ok(tree::root(hashes)),
        None => refuse(&tile_path(level as u8, start / WIDTH, WIDTH), "is shorter than was asked for"),
    }
}

/// The largest power of two below `count`. Needs `count >= 2`.
fn left_half(count: u64) -> u64 {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
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

    fn memory(leaves: &[Hash]) -> Memory {
        let tiles = append(&Memory::default(), 0, leaves).unwrap();
        Memory(tiles.into_iter().map(|(level, index, hashes)| ((level, index), hashes)).collect())
    }

    #[test]
    fn every_consistency_proof_of_small_trees_is_the_reference_s() {
        let all = leaves(40);
        let tiles = memory(&all);
        for new in 1..=all.len() {
            for old in 1..=new {
                let path = consistency(&tiles, old as u64, new as u64).unwrap();
                assert_eq!(path, tree::reference::consistency(old, &all[..new]), "{old} to {new}");
            }
        }
        for (old, new) in [(0, 5), (6, 5), (1, u64::MAX)] {
            assert!(consistency(&tiles, old, new).is_err(), "{old} to {new}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn proofs_at_any_two_sizes_are_the_reference_s(new in 1_usize..70_000, part in 0.0..1.0_f64, at in 0.0..1.0_f64) {
            let all = leaves(new as u64);
            let tiles = memory(&all);
            let old = ((new as f64 * part) as usize).max(1);
            let index = (old as f64 * at) as usize;
            let (old_root, new_root) = (tree::root(&all[..old]), tree::root(&all));
            // From tiles of the newer size, which serve the older one as well.
            prop_assert_eq!(root(&tiles, old as u64).unwrap(), old_root);
            let path = consistency(&tiles, old as u64, new as u64).unwrap();
            prop_assert_eq!(&path, &tree::reference::consistency(old, &all));
            prop_assert!(tree::is_consistent(old as u64, &old_root, new as u64, &new_root, &path));
            let path = inclusion(&tiles, index as u64, old as u64).unwrap();
            prop_assert_eq!(path, tree::reference::inclusion(index, &all[..old]));
        }

        #[test]
        fn a_path_has_one_spelling(path in "tile/(entries|[0-9]{1,3})/(x?[0-9]{2,4}/){0,3}x?[0-9]{2,4}(\\.p/[0-9]{1,4})?") {
            if let Some(name) = Name::parse(&path) {
                prop_assert_eq!(name.path(), path);
            }
        }

        #[test]
        fn a_name_is_read_as_written(level in 0_u8..64, index in any::<u64>(), width in 1..=WIDTH) {
            for name in [Name::Tile { level, index, width }, Name::Bundle { index, width }] {
                prop_assert_eq!(Name::parse(&name.path()), Some(name));
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300), width in 1..=WIDTH) {
            let name = Name::Bundle { index: 0, width };
            if let Ok(cut) = name.cut(bytes.clone()) {
                prop_assert_eq!(decode_bundle(&cut).unwrap().len() as u64, width);
            }
            let _ = decode_tile(&name, &bytes);
        }
    }

    #[test]
    fn paths_in_another_spelling_name_nothing() {
        for path in [
            "tile/0/5",
            "tile/0/0005",
            "tile/00/005",
            "tile/64/005",
            "tile/-1/005",
            "tile/0/x005",
            "tile/0/x000/005",
            "tile/0/001/005",
            "tile/0/x001/x005",
            "tile/0/005.p/0",
            "tile/0/005.p/256",
            "tile/0/005.p/01",
            "tile/0/005.p/",
            "tile/0/005.p",
            "tile/0/005/",
            "/tile/0/005",
            "tile//005",
            "tile/0/../0/005",
            "tile/entries/+05",
            "tile/entries/005.p/1/2",
            "tile/Entries/005",
            "tile/0/x01/005",
            "tile/0/\u{661}05",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "checkpoint",
            "",
        ] {
            assert_eq!(Name::parse(path), None, "{path}");
        }
    }

    #[test]
    fn widths_follow_from_the_size() {
        for (level, index, size, width) in [
            (0, 0, 0, 0),
            (0, 0, 1, 1),
            (0, 0, 256, 256),
            (0, 1, 256, 0),
            (1, 0, 256, 1),
            (0, 273, 70_000, 112),
            (1, 1, 70_000, 17),
            (2, 0, 70_000, 1),
            (3, 0, 70_000, 0),
            (63, 0, u64::MAX, 0),
            (0, u64::MAX, u64::MAX, 0),
        ] {
            assert_eq!(width_at(level, index, size), width, "tile {level}/{index} of {size}");
        }
    }

    #[test]
    fn a_tile_of_another_length_is_refused() {
        let name = Name::Tile { level: 0, index: 0, width: 2 };
        assert_eq!(decode_tile(&name, &[7; 64]).unwrap(), [Hash([7; 32]); 2]);
        for length in [0, 31, 32, 63, 65, 96] {
            assert!(decode_tile(&name, &vec![7; length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_bundle_that_is_not_its_tile_is_refused() {
        let name = Name::Bundle { index: 0, width: 2 };
        let bytes = encode_bundle([b"a".as_slice(), b"b"]).unwrap();
        let (a, b, c) = (tree::leaf(b"a"), tree::leaf(b"b"), tree::leaf(b"c"));
        assert_eq!(check_bundle(&name, &bytes, &[a, b]).unwrap(), [b"a", b"b"]);
        for (leaves, why) in [
            (vec![a], "fewer hashes"),
            (vec![a, b, c], "more hashes"),
            (vec![b, a], "another order"),
            (vec![a, c], "another entry"),
        ] {
            assert!(check_bundle(&name, &bytes, &leaves).is_err(), "{why}");
        }
        let left_over = [&bytes[..], &[0]].concat();
        assert!(check_bundle(&name, &left_over, &[a, b]).is_err());
        assert!(check_bundle(&name, &bytes[..bytes.len() - 1], &[a, b]).is_err());
    }

    #[test]
    fn a_fuller_tile_is_cut_to_what_was_asked_for() {
        let tile = Name::Tile { level: 0, index: 0, width: 2 };
        assert_eq!(tile.cut(vec![7; 96]).unwrap().len(), 64);
        assert!(tile.cut(vec![7; 32]).is_err() && tile.cut(vec![7; 65]).is_err());
        let bundle = Name::Bundle { index: 0, width: 1 };
        let bytes = encode_bundle([b"one".as_slice(), b"two"]).unwrap();
        assert_eq!(bundle.cut(bytes).unwrap(), encode_bundle([b"one".as_slice()]).unwrap());
        assert!(bundle.cut(vec![]).is_err());
    }

    #[test]
    fn a_tile_shorter_than_asked_for_is_an_error_and_no_panic() {
        struct Short;
        impl ReadTile for Short {
            fn read_tile(&self, _: u8, _: u64, _: u64) -> Result<Vec<Hash>, Error> {
                Ok(vec![])
            }
        }
        assert!(root(&Short, 5).is_err() && inclusion(&Short, 1, 5).is_err() && consistency(&Short, 3, 5).is_err());
    }

    #[test]
    fn bundles_round_trip_and_cut_ones_are_refused() {
        let bytes = encode_bundle([b"one".as_slice(), b"", b"three"]).unwrap();
        assert_eq!(decode_bundle(&bytes).unwrap(), [b"one".as_slice(), b"", b"three"]);
        assert!(decode_bundle(&bytes[..bytes.len() - 1]).is_err());
        assert!(encode_bundle([vec![0; 70_000].as_slice()]).is_err());
    }
}
