//! The Merkle tree of RFC 9162, section 2.1, over SHA-256: record trees and the log use the same one.
//!
//! Leaf = SHA-256(00 ‖ entry), node = SHA-256(01 ‖ left ‖ right), the empty tree is SHA-256 of nothing, and a tree of
//! n > 1 leaves splits at the largest power of two below n.

use sha2::digest::generic_array::GenericArray;
use sha2::{Digest as _, Sha256};

use super::Hash;

/// A path holds at most this many hashes, whatever the tree.
pub const MAX_PATH: usize = 63;

/// Trees are at most this large, so that sizes fit the signed integers of other implementations.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// Hash of the leaf that holds `entry`.
pub fn leaf(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// Hash of an inner node.
///
/// A tree hashes as many nodes as leaves. The 65 bytes are always two blocks, so they are padded here (FIPS 180-4, sections
/// 5.1.1 and 5.3.3) instead of going through a buffer.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [GenericArray::default(); 2];
    blocks[0][0] = 1;
    blocks[0][1..33].copy_from_slice(&left.0);
    blocks[0][33..].copy_from_slice(&right.0[..31]);
    blocks[1][0] = right.0[31];
    blocks[1][1] = 0x80;
    blocks[1][62..].copy_from_slice(&(65_u16 * 8).to_be_bytes());
    let mut state = INITIAL;
    sha2::compress256(&mut state, &blocks);
    let mut hash = [0; 32];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    Hash(hash)
}

/// What SHA-256 begins with (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Root of the empty tree.
pub fn empty_root() -> Hash {
    Hash::sha256(b"")
}

/// Root over leaf hashes, level by level: an odd last node moves up unchanged, which gives the tree of the RFC.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    if level.is_empty() {
        return empty_root();
    }
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(left, right),
                odd => odd[0],
            })
            .collect();
    }
    level[0]
}

/// Folds an inclusion path (RFC 9162, section 2.1.3.2) into the root it leads to.
///
/// `None` when the path cannot belong to a leaf `index` of a tree of `size` leaves.
pub fn root_from_path(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    if index >= size || size > MAX_SIZE || path.len() > MAX_PATH {
        return None;
    }
    let (mut fn_, mut sn) = (index, size - 1);
    let mut root = leaf;
    for sibling in path {
        if sn == 0 {
            return None;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            root = node(sibling, &root);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            root = node(&root, sibling);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    (sn == 0).then_some(root)
}

/// True when `path` proves that the leaf is the one at `index` in the tree of `size` leaves under `root`.
pub fn includes(index: u64, size: u64, leaf: Hash, path: &[Hash], root: &Hash) -> bool {
    root_from_path(index, size, leaf, path).as_ref() == Some(root)
}

/// True when `path` proves that the tree `(old_size, old_root)` is a prefix of `(new_size, new_root)`
/// (RFC 9162, section 2.1.4.2). An empty old tree proves nothing and is refused.
pub fn is_consistent(old_size: u64, old_root: &Hash, new_size: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old_size == 0 || old_size > new_size || new_size > MAX_SIZE || path.len() > MAX_PATH {
        return false;
    }
    if old_size == new_size {
        return path.is_empty() && old_root == new_root;
    }
    let mut hashes = path.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let Some(first) = first else { return false };
    if path.is_empty() {
        return false;
    }
    let (mut fn_, mut sn) = (old_size - 1, new_size - 1);
    while fn_ & 1 == 1 {
        fn_ >>= 1;
        sn >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for hash in hashes {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            old = node(hash, &old);
            new = node(hash, &new);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            new = node(&new, hash);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    sn == 0 && old == *old_root && new == *new_root
}

/// The recursive definitions of RFC 9162, word for word: slow, obvious, and what tests compare with.
#[doc(hidden)]
pub mod reference {
    use super::*;

    fn split(count: usize) -> usize {
        count.next_power_of_two() / 2
    }

    /// MTH of section 2.1.1.
    pub fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node(&root(left), &root(right))
            }
        }
    }

    /// PATH of section 2.1.3.1.
    pub fn inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return vec![];
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut path, sibling) = if index < left.len() {
            (inclusion(index, left), root(right))
        } else {
            (inclusion(index - left.len(), right), root(left))
        };
        path.push(sibling);
        path
    }

    /// PROOF of section 2.1.4.1.
    pub fn consistency(old_size: usize, leaves: &[Hash]) -> Vec<Hash> {
        fn subproof(old_size: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
            if old_size == leaves.len() {
                return if whole { vec![] } else { vec![root(leaves)] };
            }
            let (left, right) = leaves.split_at(split(leaves.len()));
            let (mut path, last) = if old_size <= left.len() {
                (subproof(old_size, left, whole), root(right))
            } else {
                (subproof(old_size - left.len(), right, false), root(left))
            };
            path.push(last);
            path
        }
        subproof(old_size, leaves, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight leaves of the Certificate Transparency tests.
    fn ct_leaves() -> Vec<Hash> {
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        entries.iter().map(|entry| leaf(entry)).collect()
    }

    #[test]
    fn known_roots() {
        for (count, expected) in [
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(root(&ct_leaves()[..count]).to_string(), expected, "{count} leaves");
        }
    }

    #[test]
    fn a_node_is_the_hash_of_its_bytes() {
        for seed in 0..=u8::MAX {
            let (left, right) = (leaf(&[seed]), leaf(&[seed, seed]));
            assert_eq!(node(&left, &right), Hash::sha256(&[&[1][..], &left.0, &right.0].concat()));
        }
    }

    #[test]
    fn every_proof_of_small_trees_holds_and_no_other_does() {
        let leaves: Vec<Hash> = (0..40_u8).map(|i| leaf(&[i])).collect();
        for size in 1..=leaves.len() {
            let head = root(&leaves[..size]);
            assert_eq!(head, reference::root(&leaves[..size]));
            for index in 0..size {
                let path = reference::inclusion(index, &leaves[..size]);
                assert!(includes(index as u64, size as u64, leaves[index], &path, &head));
                assert!(!includes(index as u64 + 1, size as u64, leaves[index], &path, &head) || size == 1);
                assert!(!includes(index as u64, size as u64, leaf(b"other"), &path, &head));
            }
            for old in 1..=size {
                let path = reference::consistency(old, &leaves[..size]);
                let old_root = root(&leaves[..old]);
                assert!(is_consistent(old as u64, &old_root, size as u64, &head, &path));
                assert!(!is_consistent(old as u64, &leaf(b"fork"), size as u64, &head, &path));
            }
        }
    }
}
