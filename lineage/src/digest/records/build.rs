//! Builds the tree over leaves that come in order, and keeps one hash for each bit of their number.

use countermark_formats::records::Batch;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::Salt;
use crate::digest::{Hash, tree};

/// The leaf of a record, salted or not.
pub fn leaf(salt: Option<&[u8; 32]>, record: &[u8]) -> Hash {
    match salt {
        None => tree::leaf(record),
        Some(salt) => Hash(Sha256::new().chain_update([0]).chain_update(salt).chain_update(record).finalize().into()),
    }
}

/// The leaves of a batch whose first record has the index `first`, on all cores.
pub fn leaves(batch: &Batch, first: u64, salt: Option<&Salt>) -> Vec<Hash> {
    // Pieces of about the same work, several for each core.
    let piece = (batch.len() / (8 * rayon::current_num_threads())).clamp(1, 1024);
    let one = |index: usize| {
        let salt = salt.map(|salt| salt.of(first + index as u64));
        leaf(salt.as_ref(), batch.get(index))
    };
    (0..batch.len()).into_par_iter().with_min_len(piece).map(one).collect()
}

/// Leaves per piece that is folded on one core; a power of two.
const PIECE: u64 = 1024;

/// A complete subtree of 2^level leaves.
struct Subtree {
    level: u32,
    hash: Hash,
    /// True when the wanted leaf is in it.
    holds: bool,
}

/// Takes leaves in order and gives the root, and the path of one of them.
#[derive(Default)]
pub struct TreeBuilder {
    /// Subtrees from the left, each smaller than the one before it: the bits of `count`.
    stack: Vec<Subtree>,
    count: u64,
    wanted: Option<u64>,
    /// The wanted leaf and its siblings so far, from the bottom.
    leaf: Option<Hash>,
    path: Vec<Hash>,
}

/// A tree, and the path to the leaf that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Number of leaves.
    pub count: u64,
    /// Root.
    pub root: Hash,
    /// The wanted leaf with its inclusion path, when the tree has it.
    pub wanted: Option<(Hash, Vec<Hash>)>,
}

impl TreeBuilder {
    /// Builds the root only.
    pub fn new() -> Self {
        TreeBuilder::default()
    }

    /// Builds the root and the path of leaf `index`.
    pub fn proving(index: u64) -> Self {
        TreeBuilder { wanted: Some(index), ..TreeBuilder::default() }
    }

    /// Number of leaves so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Appends leaves.
    pub fn extend(&mut self, leaves: &[Hash]) {
        let mut pieces = Vec::new();
        let mut rest = leaves;
        let mut at = self.count;
        while !rest.is_empty() {
            // The largest subtree that may begin here and fits.
            let aligned = 1 << at.trailing_zeros().min(PIECE.trailing_zeros());
            let size = prev_power_of_two(rest.len() as u64).min(aligned);
            let (piece, after) = rest.split_at(size as usize);
            let wanted = self.wanted.and_then(|index| index.checked_sub(at)).filter(|inside| *inside < size);
            pieces.push((piece, wanted));
            rest = after;
            at += size;
        }
        let folded: Vec<_> = pieces
            .into_par_iter()
            .with_min_len(2)
            .map(|(piece, wanted)| (piece.len().trailing_zeros(), fold(piece, wanted)))
            .collect();
        for (level, (hash, wanted)) in folded {
            let holds = wanted.is_some();
            if let Some((leaf, path)) = wanted {
                (self.leaf, self.path) = (Some(leaf), path);
            }
            self.push(Subtree { level, hash, holds });
        }
        self.count = at;
    }

    fn push(&mut self, mut right: Subtree) {
        while let Some(left) = self.stack.pop_if(|left| left.level == right.level) {
            right = self.join(&left, &right);
        }
        self.stack.push(right);
    }

    fn join(&mut self, left: &Subtree, right: &Subtree) -> Subtree {
        if left.holds {
            self.path.push(right.hash);
        } else if right.holds {
            self.path.push(left.hash);
        }
        Subtree { level: left.level + 1, hash: tree::node(&left.hash, &right.hash), holds: left.holds || right.holds }
    }

    /// The root over all leaves.
    pub fn finish(mut self) -> Built {
        let mut root = self.stack.pop();
        while let (Some(left), Some(right)) = (self.stack.pop(), &root) {
            root = Some(self.join(&left, right));
        }
        let root = root.map_or_else(tree::empty_root, |root| root.hash);
        Built { count: self.count, root, wanted: self.leaf.map(|leaf| (leaf, self.path)) }
    }
}

fn prev_power_of_two(number: u64) -> u64 {
    1 << number.ilog2()
}

/// Root of a power of two of leaves, and the path of one of them.
fn fold(leaves: &[Hash], wanted: Option<u64>) -> (Hash, Option<(Hash, Vec<Hash>)>) {
    let mut level = leaves.to_vec();
    let mut at = wanted.unwrap_or(0) as usize;
    let mut path = Vec::new();
    while level.len() > 1 {
        if wanted.is_some() {
            path.push(level[at ^ 1]);
            at /= 2;
        }
        for pair in 0..level.len() / 2 {
            level[pair] = tree::node(&level[2 * pair], &level[2 * pair + 1]);
        }
        level.truncate(level.len() / 2);
    }
    (level[0], wanted.map(|at| (leaves[at as usize], path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::tree::reference;
    use proptest::prelude::*;

    fn some_leaves(count: usize) -> Vec<Hash> {
        (0..count as u64).map(|index| tree::leaf(&index.to_le_bytes())).collect()
    }

    #[test]
    fn small_trees_and_all_their_paths_are_those_of_the_rfc() {
        for count in 0..70 {
            let leaves = some_leaves(count);
            let mut builder = TreeBuilder::new();
            leaves.iter().for_each(|leaf| builder.extend(&[*leaf]));
            assert_eq!(builder.finish().root, reference::root(&leaves), "{count} leaves");
            for index in 0..count {
                let mut builder = TreeBuilder::proving(index as u64);
                builder.extend(&leaves);
                let (leaf, path) = builder.finish().wanted.unwrap();
                assert_eq!((leaf, path), (leaves[index], reference::inclusion(index, &leaves)), "{index} of {count}");
            }
            assert_eq!(TreeBuilder::proving(count as u64).finish().wanted, None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn however_the_leaves_come(cuts in proptest::collection::vec(0_usize..3000, 0..6), wanted in 0_usize..9000) {
            let count: usize = cuts.iter().sum();
            let leaves = some_leaves(count);
            let mut builder = TreeBuilder::proving(wanted as u64);
            let mut rest = &*leaves;
            for cut in cuts {
                let (now, later) = rest.split_at(cut);
                builder.extend(now);
                rest = later;
            }
            let built = builder.finish();
            prop_assert_eq!(built.count, count as u64);
            prop_assert_eq!(built.root, reference::root(&leaves));
            let expected = (wanted < count).then(|| (leaves[wanted], reference::inclusion(wanted, &leaves)));
            prop_assert_eq!(built.wanted, expected);
        }
    }
}
