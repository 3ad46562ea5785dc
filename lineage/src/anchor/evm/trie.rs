//! Merkle-Patricia tries (yellow paper, appendix D) whose keys are the RLP of 0, 1, 2 …: transactions and receipts of
//! a block.
//!
//! No key is the beginning of another, so that values stand in leaves alone, and a branch's seventeenth slot is empty.

#[cfg(test)]
mod reference;

use super::hex::Word;
use super::{HELP, keccak256, rlp};
use crate::Error;
use crate::bundle::Bytes;

/// Nodes of a proof, together, in bytes. One receipt with very many events is larger, and no anchor.
pub const MAX_NODES: usize = 256 << 10;

/// How many they can be: one for each digit of the longest index, and the root.
pub const MAX_PROOF: usize = 64;

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

/// Goes through a node, and through those that stand in it, along the key. The depth is bounded by the depth of the
/// RLP.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values of all the lengths at which something changes: none but the empty one is left out.
    fn values(most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
        let length = prop_oneof![1..4_usize, 24..34_usize, 50..60_usize, 250..260_usize, 0..700_usize];
        let value = (length, any::<u8>()).prop_map(|(length, first)| {
            (0..length.max(1)).map(|at| first.wrapping_add((at * at) as u8)).collect::<Vec<u8>>()
        });
        proptest::collection::vec(value, 1..most)
    }

    fn fails(root: &Word, index: u64, nodes: &[Bytes]) -> String {
        verify(root, index, nodes).expect_err("it must not hold").problem()
    }

    #[test]
    fn known_answers() {
        assert_eq!(
            root(&[]).to_string(),
            "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
            "the root of nothing, which is in every header without withdrawals"
        );
        assert_eq!(prove(&[], 0), None);
        assert_eq!(prove(&[vec![1]], 1), None);
        assert_eq!(prove(&[vec![1]], u64::MAX), None);
    }

    #[test]
    fn every_number_of_values_up_to_300() {
        let values: Vec<Vec<u8>> = (0..300_u32).map(|i| i.to_be_bytes().repeat(1 + i as usize % 40)).collect();
        for count in 1..=values.len() {
            let expected = reference::root(&values[..count], 0..count);
            assert_eq!(root(&values[..count]), expected, "{count}");
            for index in [0, count / 2, count - 1] {
                let proof = prove(&values[..count], index as u64).unwrap();
                assert_eq!(proof.root, expected);
                assert_eq!(
                    verify(&proof.root, index as u64, &proof.nodes).unwrap(),
                    values[index],
                    "{index} of {count}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_order_of_insertion_is_the_same_to_the_root(values in values(300), rotate in any::<usize>()) {
            let order = (0..values.len()).map(|at| (at + rotate % values.len()) % values.len());
            prop_assert_eq!(root(&values), reference::root(&values, order));
        }

        #[test]
        fn a_proof_is_for_one_value_alone(values in values(200), at in any::<prop::sample::Index>(), other in 0..300_u64) {
            let index = at.index(values.len()) as u64;
            let Proof { root, nodes } = prove(&values, index).unwrap();
            prop_assert_eq!(verify(&root, index, &nodes).unwrap(), &*values[index as usize]);
            if let Ok(value) = verify(&root, other, &nodes) {
                // Values that stand in a node with ours are proved by it too.
                prop_assert_eq!(value, &*values[other as usize]);
            }
            for at in 0..nodes.len() {
                let mut fewer = nodes.clone();
                let node = fewer.remove(at);
                fails(&root, index, &fewer);
                let mut more = nodes.clone();
                more.insert(at, node);
                fails(&root, index, &more);
            }
            fails(&root, index, &[nodes.clone(), vec![Bytes(values[index as usize].clone())]].concat());
        }

        #[test]
        fn one_bit_elsewhere_and_it_fails(values in values(150), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let index = at.index(values.len()) as u64;
            let Proof { root, nodes } = prove(&values, index).unwrap();
            for place in 0..nodes.len() {
                let mut bad = nodes.clone();
                let byte = at.index(bad[place].0.len());
                bad[place].0[byte] ^= 1 << bit;
                fails(&root, index, &bad);
            }
            let mut bad = root;
            bad.0[at.index(32)] ^= 1 << bit;
            fails(&bad, index, &nodes);
        }

        #[test]
        fn any_nodes_are_answered(nodes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4)) {
            let nodes: Vec<Bytes> = nodes.into_iter().map(Bytes).collect();
            let root = nodes.first().map_or_else(Word::default, |node| keccak256(&node.0));
            let _ = verify(&root, 1, &nodes);
        }
    }

    /// A chain of nodes, each given what names the next, whose hashes are right: what an attacker with a chain of his
    /// own can make.
    fn chain(makers: &[&dyn Fn(Vec<u8>) -> Vec<u8>]) -> (Word, Vec<Bytes>) {
        let mut nodes = vec![];
        let mut name = vec![];
        for make in makers.iter().rev() {
            let node = make(name);
            name = rlp::bytes(&keccak256(&node).0);
            nodes.push(Bytes(node));
        }
        nodes.reverse();
        (keccak256(&nodes[0].0), nodes)
    }

    /// Why index 1, whose key is the nibbles 0 and 1, is not proved by these.
    fn refused(makers: &[&dyn Fn(Vec<u8>) -> Vec<u8>]) -> String {
        let (root, nodes) = chain(makers);
        fails(&root, 1, &nodes)
    }

    /// A branch with this in one slot and nothing else.
    fn branch(slot: usize, child: &[u8], value: &[u8]) -> Vec<u8> {
        let mut slots = vec![rlp::bytes(&[]); 17];
        slots[slot] = child.to_vec();
        slots[16] = rlp::bytes(value);
        rlp::list(&slots)
    }

    fn short(path: &[u8], value: &[u8]) -> Vec<u8> {
        rlp::list(&[rlp::bytes(path), rlp::bytes(value)])
    }

    const LONG: [u8; 40] = [7; 40];

    #[test]
    fn nodes_of_a_wrong_form() {
        let good: [&dyn Fn(Vec<u8>) -> Vec<u8>; 2] = [&|child| branch(0, &child, &[]), &|_| short(&[0x31], &LONG)];
        let (root, nodes) = chain(&good);
        assert_eq!(verify(&root, 1, &nodes).unwrap(), LONG);

        type Make<'a> = &'a dyn Fn(Vec<u8>) -> Vec<u8>;
        let cases: [(&str, &[Make<'_>]); 22] = [
            ("leaf, and the key goes on", &[&|_| short(&[0x30], &LONG)]),
            ("another key", &[&|_| short(&[0x20, 0x01, 0x00], &LONG)]),
            ("another key", &[good[0], &|_| short(&[0x32], &LONG)]),
            ("another key", &[good[0], &|_| short(&[0x20, 0x11], &LONG)]),
            ("wrong prefix", &[good[0], &|_| short(&[0x51], &LONG)]),
            ("wrong prefix", &[good[0], &|_| short(&[0xb1], &LONG)]),
            ("wrong prefix", &[&|_| short(&[0x2f, 0x01], &LONG)]),
            ("wrong prefix", &[&|child| short(&[0x0f, 0x01], &child), good[1]]),
            ("empty path", &[good[0], &|_| short(&[], &LONG)]),
            ("extension by nothing", &[&|child| rlp::list(&[rlp::bytes(&[0x00]), child]), good[0], good[1]]),
            ("no hash", &[good[0], &|_| short(&[0x11], &LONG)]),
            ("no hash", &[&|_| branch(0, &rlp::bytes(&[7; 31]), &[])]),
            ("no hash", &[&|_| branch(0, &rlp::bytes(&[7; 33]), &[])]),
            ("nothing at this key", &[&|child| branch(1, &child, &[]), good[1]]),
            (
                "the key has ended",
                &[good[0], &|child| branch(1, &child, &[]), &|_| branch(1, &rlp::bytes(&[7; 32]), &[])],
            ),
            ("with a value", &[&|child| branch(0, &child, b"v"), good[1]]),
            ("no value", &[&|_| short(&[0x20, 0x01], &[])]),
            ("no value", &[good[0], &|_| rlp::list(&[rlp::bytes(&[0x31]), rlp::list(&[rlp::bytes(&LONG)])])]),
            ("2 nor 17", &[&|_| rlp::list(&[rlp::bytes(&[0x31]), rlp::bytes(&LONG), rlp::bytes(&LONG)])]),
            ("2 nor 17", &[&|_| rlp::list(&vec![rlp::bytes(&LONG); 16])]),
            ("2 nor 17", &[&|_| branch(0, &rlp::list(&[]), &[])]),
            ("no list", &[&|_| rlp::bytes(&LONG)]),
        ];
        for (place, (reason, makers)) in cases.iter().enumerate() {
            let problem = refused(makers);
            assert!(problem.contains(reason), "case {place}: {problem}");
        }
    }

    #[test]
    fn embedded_nodes_of_a_wrong_form() {
        // A leaf in its parent, as it should be.
        let inner = short(&[0x31], &[9; 5]);
        let (root, nodes) = chain(&[&|_| branch(0, &inner, &[])]);
        assert_eq!(verify(&root, 1, &nodes).unwrap(), [9; 5]);
        // The same leaf behind a hash, although it is short.
        let problem = refused(&[&|child| branch(0, &child, &[]), &|_| inner.clone()]);
        assert!(problem.contains("too short"), "{problem}");
        // And once more beside it.
        let problem = fails(&root, 1, &[nodes[0].clone(), Bytes(inner.clone())]);
        assert!(problem.contains("node 1: is not needed"), "{problem}");
        // A long leaf in its parent.
        let problem = refused(&[&|_| branch(0, &short(&[0x31], &LONG), &[])]);
        assert!(problem.contains("too long"), "{problem}");
        // The bytes of a leaf as a string where a node should be.
        let problem = refused(&[&|_| branch(0, &rlp::bytes(&inner), &[])]);
        assert!(problem.contains("no hash"), "{problem}");
    }

    #[test]
    fn a_value_that_looks_like_a_node_is_a_value() {
        let (_, inside) = chain(&[&|_| short(&[0x20, 0x01], &LONG)]);
        let outer = short(&[0x20, 0x01], &inside[0].0);
        let root = keccak256(&outer);
        assert_eq!(verify(&root, 1, &[Bytes(outer.clone())]).unwrap(), inside[0].0);
        assert!(fails(&root, 1, &[Bytes(outer), inside[0].clone()]).contains("not needed"));
        assert!(fails(&root, 1, &[]).contains("missing"));
    }

    #[test]
    fn too_much_is_refused_before_it_is_hashed() {
        assert!(fails(&Word::default(), 0, &[Bytes(vec![0; MAX_NODES + 1])]).contains("above"));
    }
}
