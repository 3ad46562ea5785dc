//! Merkle-Patricia tries (yellow paper, appendix D) whose keys are the RLP of 0, 1, 2 …: transactions and receipts of a block.
//!
//! No key is the beginning of another, so that values stand in leaves alone, and a branch's seventeenth slot is empty.

use super::hex::Word;
use super::{HELP, keccak256, rlp};
use crate::Error;
use crate::bundle::Bytes;

/// Nodes of a proof, together, in bytes. One receipt with very many events is larger, and no anchor.
pub const MAX_NODES: usize = 256 << 10;

/// Below it, a node stands in its parent as it is; from it on, its hash does.
const HASHED: usize = 32;

/// A root, and the nodes that lead from it to one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Hash of the first node.
    pub root: Word,
    /// From the root down; those that stand in their parents are left out.
    pub nodes: Vec<Bytes>,
}

/// Root of the trie of these values.
pub fn root(values: &[Vec<u8>]) -> Word {
    if values.is_empty() {
        return keccak256(&rlp::bytes(&[]));
    }
    keccak256(&encode(&sorted(values), 0, None, &mut vec![]))
}

/// Proves that a value has this index. `None` when there is no such value.
pub fn prove(values: &[Vec<u8>], index: u64) -> Option<Proof> {
    usize::try_from(index).ok().filter(|index| *index < values.len())?;
    let mut nodes = vec![];
    let top = encode(&sorted(values), 0, Some(&nibbles_of(index)), &mut nodes);
    let root = keccak256(&top);
    nodes.push(Bytes(top));
    nodes.reverse();
    Some(Proof { root, nodes })
}

/// The value with this index in the trie with this root.
///
/// # Errors
/// [`Error::Input`] with the node that does not lead there, or that is not needed.
pub fn verify<'a>(root: &Word, index: u64, nodes: &'a [Bytes]) -> Result<&'a [u8], Error> {
    let key = nibbles_of(index);
    let refuse = |place: usize, problem: &str| Error::input(format!("trie node {place}"), problem, HELP);
    if nodes.iter().map(|node| node.0.len()).sum::<usize>() > MAX_NODES {
        return Err(Error::input("trie nodes", format!("are above {MAX_NODES} bytes"), HELP));
    }
    let mut expected = root.0;
    let mut key = &*key;
    for (place, node) in nodes.iter().enumerate() {
        if keccak256(&node.0).0 != expected {
            return Err(refuse(place, "is not the one that its hash names"));
        }
        // The root is hashed whatever its length; any other node of this length stands in its parent.
        if place > 0 && node.0.len() < HASHED {
            return Err(refuse(place, "is too short to be named by a hash"));
        }
        let item = rlp::decode(&format!("trie node {place}"), &node.0)?;
        match follow(&item, &mut key).map_err(|problem| refuse(place, problem))? {
            Step::Value(value) if place + 1 == nodes.len() => return Ok(value),
            Step::Value(_) => return Err(refuse(place + 1, "is not needed")),
            Step::Hash(hash) => expected = hash,
        }
    }
    Err(refuse(nodes.len(), "is missing"))
}

enum Step<'a> {
    Value(&'a [u8]),
    Hash([u8; 32]),
}

/// Goes through a node, and through those that stand in it, along the key. The depth is bounded by the depth of the RLP.
fn follow<'a>(node: &rlp::Item<'a>, key: &mut &[u8]) -> Result<Step<'a>, &'static str> {
    let items = node.list().ok_or("is no list")?;
    let child = match items {
        [(path, _), (next, raw)] => {
            let (path, is_leaf) = unpack(path.bytes().ok_or("its path is no string")?)?;
            let rest = key.strip_prefix(&*path).ok_or("leads to another key")?;
            *key = rest;
            if is_leaf {
                if !rest.is_empty() {
                    return Err("is a leaf, and the key goes on");
                }
                return match next.bytes() {
                    Some(value) if !value.is_empty() => Ok(Step::Value(value)),
                    _ => Err("holds no value"),
                };
            }
            if path.is_empty() {
                return Err("is an extension by nothing");
            }
            (next, *raw)
        }
        [children @ .., (value, _)] if children.len() == 16 => {
            if value.bytes() != Some(&[]) {
                return Err("is a branch with a value, though no key ends there");
            }
            let (nibble, rest) = key.split_first().ok_or("is a branch, and the key has ended")?;
            *key = rest;
            let (next, raw) = &children[usize::from(*nibble)];
            (next, *raw)
        }
        _ => return Err("has neither 2 nor 17 items"),
    };
    match child {
        (rlp::Item::List(_), raw) if raw.len() < HASHED => follow(child.0, key),
        (rlp::Item::List(_), _) => Err("holds a node that is too long to stand in it"),
        (rlp::Item::Bytes([]), _) => Err("has nothing at this key"),
        (hash, _) => hash.fixed().map(Step::Hash).ok_or("names a node by something that is no hash"),
    }
}

/// The nibbles of a path, and whether it ends in a leaf (hex-prefix encoding, appendix C).
fn unpack(packed: &[u8]) -> Result<(Vec<u8>, bool), &'static str> {
    let (first, rest) = packed.split_first().ok_or("has an empty path")?;
    let mut path = match first >> 4 {
        0 | 2 if first & 15 == 0 => vec![],
        1 | 3 => vec![first & 15],
        _ => return Err("has a path with a wrong prefix"),
    };
    path.extend(rest.iter().flat_map(|byte| [byte >> 4, byte & 15]));
    Ok((path, first >> 5 == 1))
}

fn pack(path: &[u8], is_leaf: bool) -> Vec<u8> {
    let flag = if is_leaf { 0x20 } else { 0 };
    let (first, rest) = match path {
        [odd, rest @ ..] if path.len() % 2 == 1 => (flag | 0x10 | odd, rest),
        _ => (flag, path),
    };
    std::iter::once(first).chain(rest.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1])).collect()
}

/// The key of an index: the nibbles of its RLP.
fn nibbles_of(index: u64) -> Vec<u8> {
    rlp::number(index.into()).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect()
}

/// All values by their keys, in the order of the keys.
fn sorted(values: &[Vec<u8>]) -> Vec<(Vec<u8>, &[u8])> {
    let mut entries: Vec<_> = (0..).zip(values).map(|(index, value)| (nibbles_of(index), &**value)).collect();
    entries.sort_unstable();
    entries
}

/// RLP of the node over these values, whose keys agree in their first `depth` nibbles. The nodes below it on the way to
/// `target` that are named by a hash go to `path`, the deepest first.
fn encode(entries: &[(Vec<u8>, &[u8])], depth: usize, target: Option<&[u8]>, path: &mut Vec<Bytes>) -> Vec<u8> {
    let (first, last) = (&entries[0], &entries[entries.len() - 1]);
    if entries.len() == 1 {
        return rlp::list(&[rlp::bytes(&pack(&first.0[depth..], true)), rlp::bytes(first.1)]);
    }
    // Sorted: what the first and the last have in common, all have.
    let common = first.0[depth..].iter().zip(&last.0[depth..]).take_while(|(a, b)| a == b).count();
    if common > 0 {
        let child = reference(entries, depth + common, target, path);
        return rlp::list(&[rlp::bytes(&pack(&first.0[depth..depth + common], false)), child]);
    }
    let mut slots = vec![rlp::bytes(&[]); 17];
    for group in entries.chunk_by(|a, b| a.0[depth] == b.0[depth]) {
        slots[usize::from(group[0].0[depth])] = reference(group, depth + 1, target, path);
    }
    rlp::list(&slots)
}

/// The node over these values as its parent names it.
fn reference(entries: &[(Vec<u8>, &[u8])], depth: usize, target: Option<&[u8]>, path: &mut Vec<Bytes>) -> Vec<u8> {
    let node = encode(entries, depth, target, path);
    if node.len() < HASHED {
        return node;
    }
    let name = rlp::bytes(&keccak256(&node).0);
    if target.is_some_and(|target| target.get(..depth) == Some(&entries[0].0[..depth])) {
        path.push(Bytes(node));
    }
    name
}
