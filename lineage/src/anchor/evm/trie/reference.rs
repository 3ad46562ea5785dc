//! The trie as one grows it by hand, value by value: slow, obvious, and another way to the same root.

use super::super::{keccak256, rlp};
use crate::anchor::evm::hex::Word;

enum Node {
    Empty,
    Leaf(Vec<u8>, Vec<u8>),
    Extension(Vec<u8>, Box<Node>),
    Branch(Vec<Node>),
}

/// Root of the trie of these values, put in one after the other in this order of their indices.
pub fn root(values: &[Vec<u8>], order: impl IntoIterator<Item = usize>) -> Word {
    let mut top = Node::Empty;
    for index in order {
        let key: Vec<u8> = rlp::number(index as u128).iter().flat_map(|byte| [byte / 16, byte % 16]).collect();
        top = insert(top, &key, &values[index]);
    }
    keccak256(&encode(&top))
}

fn insert(node: Node, key: &[u8], value: &[u8]) -> Node {
    match node {
        Node::Empty => Node::Leaf(key.to_vec(), value.to_vec()),
        Node::Leaf(path, old) => {
            let branch = insert_all(empty_branch(), &[(&path, &old), (key, value)], shared(&path, key));
            extend(&key[..shared(&path, key)], branch)
        }
        Node::Extension(path, child) => {
            let common = shared(&path, key);
            if common == path.len() {
                return Node::Extension(path, Box::new(insert(*child, &key[common..], value)));
            }
            let mut slots = empty_branch();
            slots[usize::from(path[common])] = extend(&path[common + 1..], *child);
            extend(&key[..common], insert_all(slots, &[(key, value)], common))
        }
        Node::Branch(mut slots) => {
            let slot = usize::from(key[0]);
            let old = std::mem::replace(&mut slots[slot], Node::Empty);
            slots[slot] = insert(old, &key[1..], value);
            Node::Branch(slots)
        }
    }
}

fn insert_all(slots: Vec<Node>, entries: &[(&[u8], &[u8])], skip: usize) -> Node {
    entries.iter().fold(Node::Branch(slots), |branch, (key, value)| insert(branch, &key[skip..], value))
}

fn empty_branch() -> Vec<Node> {
    (0..16).map(|_| Node::Empty).collect()
}

fn extend(path: &[u8], child: Node) -> Node {
    if path.is_empty() { child } else { Node::Extension(path.to_vec(), Box::new(child)) }
}

fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn encode(node: &Node) -> Vec<u8> {
    match node {
        Node::Empty => rlp::bytes(&[]),
        Node::Leaf(path, value) => rlp::list(&[rlp::bytes(&hex_prefix(path, 2)), rlp::bytes(value)]),
        Node::Extension(path, child) => rlp::list(&[rlp::bytes(&hex_prefix(path, 0)), name(child)]),
        Node::Branch(slots) => {
            let mut items: Vec<Vec<u8>> = slots.iter().map(name).collect();
            items.push(rlp::bytes(&[]));
            rlp::list(&items)
        }
    }
}

fn name(node: &Node) -> Vec<u8> {
    let bytes = encode(node);
    if bytes.len() < 32 { bytes } else { rlp::bytes(&keccak256(&bytes).0) }
}

/// Appendix C, word by word: the flag and, when the path is even, a zero go before it.
fn hex_prefix(path: &[u8], flag: u8) -> Vec<u8> {
    let mut nibbles = if path.len() % 2 == 1 { vec![flag + 1] } else { vec![flag, 0] };
    nibbles.extend(path);
    nibbles.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}
