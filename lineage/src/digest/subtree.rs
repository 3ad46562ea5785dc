//! Pieces of a BLAKE3 tree: where an object may be cut, and how chaining values fold into its root.
//!
//! BLAKE3 is a binary tree over chunks of 1024 bytes, whose left subtree is the largest power of two of chunks below the
//! whole (BLAKE3 paper, section 2.1). A run of bytes is a subtree when it begins at a multiple of its own length, which is
//! a power of two of chunks; only the object's end may cut one short.

use std::ops::Range;

use blake3::hazmat::{self, ChainingValue, HasherExt as _, Mode};
use blake3::{CHUNK_LEN, Hasher};

use super::Hash;

/// Bytes of a chunk.
pub(super) const CHUNK: u64 = CHUNK_LEN as u64;

/// Chaining values of consecutive subtrees of one object from its first byte on, folded as they come: memory grows with
/// the logarithm of the object.
///
/// Two equal subtrees are joined only when a third follows, because the last join of all makes the root, and that is
/// computed in another way.
#[derive(Clone, Default)]
pub(super) struct Fold(Vec<(u64, ChainingValue)>);

impl Fold {
    /// Adds the next subtree of so many bytes.
    pub fn push(&mut self, length: u64, value: ChainingValue) {
        while let [.., (first, left), (second, right)] = self.0[..]
            && first == second
        {
            let joined = (first + second, hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash));
            self.0.truncate(self.0.len() - 2);
            self.0.push(joined);
        }
        self.0.push((length, value));
    }

    /// The root, or `None` when fewer than two subtrees were added: one alone does not tell it.
    pub fn root(mut self) -> Option<Hash> {
        let first = (self.0.len() >= 2).then(|| self.0.remove(0).1)?;
        let rest = self.value()?;
        Some(Hash(hazmat::merge_subtrees_root(&first, &rest, Mode::Hash).into()))
    }

    /// The chaining value of everything that was added, as a part of something larger; `None` for nothing.
    pub fn value(self) -> Option<ChainingValue> {
        let join = |right, left| hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash);
        self.0.into_iter().rev().map(|(_, value)| value).reduce(join)
    }
}

/// Chaining value of the subtree `bytes` at `offset` of its object. Both must be legal, see [`subtree_length`].
pub(super) fn chaining_value(bytes: &[u8], offset: u64) -> ChainingValue {
    Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

/// Length of the largest subtree at `offset`, a multiple of [`CHUNK`], that ends at `end` or before.
fn subtree_length(offset: u64, end: u64) -> u64 {
    let room = 1 << (end - offset).ilog2();
    if offset == 0 { room } else { room.min(1 << offset.trailing_zeros()) }
}

/// What a block of bytes holds of one object: the end of a chunk, whole subtrees, and the beginning of a chunk.
#[derive(Default)]
pub(super) struct Cut {
    head: Vec<u8>,
    subtrees: Vec<(u64, ChainingValue)>,
    tail: Vec<u8>,
}

impl Cut {
    /// Cuts `bytes`, which lie at `offset` of an object of `length` bytes and are not the whole of it.
    pub fn new(bytes: &[u8], offset: u64, length: u64) -> Self {
        let end = offset + bytes.len() as u64;
        let slice = |range: Range<u64>| &bytes[(range.start - offset) as usize..(range.end - offset) as usize];
        let mut at = offset.next_multiple_of(CHUNK).min(end);
        let head = slice(offset..at).to_vec();
        let mut subtrees = Vec::new();
        let last_chunk = end - end % CHUNK;
        while at < last_chunk {
            let size = subtree_length(at, last_chunk);
            subtrees.push((size, chaining_value(slice(at..at + size), at)));
            at += size;
        }
        if at < end && end == length {
            subtrees.push((end - at, chaining_value(slice(at..end), at)));
            at = end;
        }
        Cut { head, subtrees, tail: slice(at..end).to_vec() }
    }
}

/// Joins the cuts of one object, in order, into its plain BLAKE3.
pub(super) struct Stitch {
    length: u64,
    done: u64,
    chunk: Vec<u8>,
    fold: Fold,
}

impl Stitch {
    /// An object of `length` bytes, none of which was seen.
    pub fn new(length: u64) -> Self {
        Stitch { length, done: 0, chunk: Vec::new(), fold: Fold::default() }
    }

    /// Adds the next cut. Answers the object's BLAKE3 when it was the last.
    pub fn add(&mut self, cut: &Cut) -> Option<Hash> {
        self.chunk.extend_from_slice(&cut.head);
        let reached = self.done + self.chunk.len() as u64;
        if reached == self.length && self.length <= CHUNK {
            return Some(Hash::blake3(&self.chunk));
        }
        if self.chunk.len() == CHUNK_LEN || (reached == self.length && !self.chunk.is_empty()) {
            self.fold.push(self.chunk.len() as u64, chaining_value(&self.chunk, self.done));
            self.done = reached;
            self.chunk.clear();
        }
        for (size, value) in &cut.subtrees {
            self.fold.push(*size, *value);
            self.done += size;
        }
        self.chunk.extend_from_slice(&cut.tail);
        if self.done == self.length { std::mem::take(&mut self.fold).root() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, slowly: split at the largest power of two of chunks below the length.
    fn slow(bytes: &[u8], offset: u64, is_root: bool) -> [u8; 32] {
        if bytes.len() <= CHUNK_LEN {
            return if is_root { Hash::blake3(bytes).0 } else { chaining_value(bytes, offset) };
        }
        let chunks = bytes.len().div_ceil(CHUNK_LEN);
        let (left, right) = bytes.split_at(chunks.next_power_of_two() / 2 * CHUNK_LEN);
        let values = (slow(left, offset, false), slow(right, offset + left.len() as u64, false));
        if is_root {
            hazmat::merge_subtrees_root(&values.0, &values.1, Mode::Hash).into()
        } else {
            hazmat::merge_subtrees_non_root(&values.0, &values.1, Mode::Hash)
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Wherever the object is cut, down to single bytes.
        #[test]
        fn any_cuts_stitch_to_the_plain_hash(
            length in 1_usize..20_000,
            cuts in proptest::collection::vec(0_usize..20_000, 1..40),
        ) {
            let bytes = pattern(length);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % length).chain([0, length / 2, length]).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let mut stitch = Stitch::new(length as u64);
            let mut root = None;
            if cuts.len() == 2 {
                return Ok(()); // A single byte in one piece is the whole.
            }
            for pair in cuts.windows(2) {
                prop_assert_eq!(root, None);
                root = stitch.add(&Cut::new(&bytes[pair[0]..pair[1]], pair[0] as u64, length as u64));
            }
            prop_assert_eq!(root, Some(Hash::blake3(&bytes)));
            prop_assert_eq!(root, Some(Hash(slow(&bytes, 0, true))));
        }

        /// Folding chunk by chunk, as a part of something larger.
        #[test]
        fn a_fold_is_the_subtree(log in 1_u32..7, position in 0_u64..9) {
            let bytes = pattern(CHUNK_LEN << log);
            let offset = position * bytes.len() as u64;
            let mut fold = Fold::default();
            for (index, chunk) in bytes.chunks(CHUNK_LEN).enumerate() {
                fold.push(CHUNK, chaining_value(chunk, offset + index as u64 * CHUNK));
            }
            prop_assert_eq!(fold.value(), Some(slow(&bytes, offset, false)));
        }
    }
}
