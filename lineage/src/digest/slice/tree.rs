//! The shape of the BLAKE3 tree over groups, and which parts of it a proof needs.

use blake3::Hasher;
use blake3::hazmat::{self, ChainingValue, HasherExt as _, Mode};

/// Bytes of a group, the leaf of a proof's tree: 16 chunks of BLAKE3. Also `bao-tree`'s choice.
pub const GROUP: u64 = 16 << 10;

/// Bytes of an inner node in an encoding: two chaining values.
pub(super) const PAIR: usize = 64;

/// A subtree: where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub start: u64,
    pub length: u64,
    pub is_root: bool,
}

impl Node {
    pub fn root(length: u64) -> Self {
        Node { start: 0, length, is_root: true }
    }

    pub fn end(self) -> u64 {
        self.start + self.length
    }

    pub fn is_leaf(self) -> bool {
        self.length <= GROUP
    }

    /// The two halves of an inner node: the left one is the largest whole tree that leaves something to the right.
    pub fn children(self) -> (Node, Node) {
        let left = hazmat::left_subtree_len(self.length);
        (
            Node { length: left, is_root: false, ..self },
            Node { start: self.start + left, length: self.length - left, is_root: false },
        )
    }

    /// Inner nodes of this subtree: one less than its groups.
    pub fn pairs(self) -> u64 {
        self.length.div_ceil(GROUP).saturating_sub(1)
    }

    /// The value of a leaf with these bytes; of the root, its hash.
    pub fn leaf_value(self, bytes: &[u8]) -> ChainingValue {
        if self.is_root {
            return blake3::hash(bytes).into();
        }
        let mut hasher = Hasher::new();
        hasher.set_input_offset(self.start).update(bytes);
        hasher.finalize_non_root()
    }

    /// The value of an inner node with these children.
    pub fn join(self, left: &ChainingValue, right: &ChainingValue) -> ChainingValue {
        if self.is_root {
            hazmat::merge_subtrees_root(left, right, Mode::Hash).into()
        } else {
            hazmat::merge_subtrees_non_root(left, right, Mode::Hash)
        }
    }
}

/// The groups that a proof holds: those of the claimed ranges, and the last one, which fixes the length.
#[derive(Debug)]
pub(super) struct Wanted(Vec<(u64, u64)>);

impl Wanted {
    pub fn new(ranges: &[(u64, u64)], length: u64) -> Self {
        let last = length.saturating_sub(1) / GROUP * GROUP;
        let whole = |&(begin, end): &(u64, u64)| (begin / GROUP * GROUP, end.next_multiple_of(GROUP));
        let mut ranges: Vec<(u64, u64)> = ranges.iter().filter(|(begin, end)| begin < end).map(whole).collect();
        ranges.push((last, last + GROUP));
        ranges.sort_unstable();
        Wanted(ranges)
    }

    /// True when a subtree holds a wanted group. There are three ranges at most.
    pub fn meets(&self, node: Node) -> bool {
        self.0.iter().any(|(begin, end)| *begin < node.end().max(1) && node.start < *end)
    }
}
