//! The inner nodes of a file's tree, computed: all of them for a file beside it, or those that a proof needs.

use std::io;

use blake3::hazmat::ChainingValue;
use countermark_formats::ReadAt;

use super::tree::{GROUP, Node, PAIR, Wanted};
use crate::digest::Hash;

/// Subtrees up to this size are one task, read block by block.
const TASK: u64 = 1 << 20;

/// The inner nodes of subtrees up to this size are kept in memory at a time: 256 KiB of them.
const SPAN: u64 = 64 << 20;

/// Writes the inner nodes of a file's tree in pre-order, 64 bytes each, as `bao-tree` lays out an outboard with groups of
/// 16 KiB. `sink` gets pieces and their offsets, in any order. Answers the file's root.
///
/// With it a proof is made without reading the whole file again. It needs no trust: proofs made from a wrong one fail.
///
/// # Errors
/// What the source or the sink answers.
pub fn outboard(
    source: &(impl ReadAt + ?Sized),
    sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Hash> {
    write(source, Node::root(source.len()), 0, sink, progress).map(Hash)
}

fn write(
    source: &(impl ReadAt + ?Sized),
    node: Node,
    index: u64,
    sink: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<ChainingValue> {
    let at = index * PAIR as u64;
    if node.length <= SPAN {
        let (value, pairs) = nodes(source, node, None, progress)?;
        sink(at, &pairs)?;
        return Ok(value);
    }
    let (left, right) = node.children();
    let left_value = write(source, left, index + 1, sink, progress)?;
    let right_value = write(source, right, index + 1 + left.pairs(), sink, progress)?;
    sink(at, &[left_value, right_value].concat())?;
    Ok(node.join(&left_value, &right_value))
}

/// The value of a subtree and, in pre-order, its inner nodes: all of them, or those above a wanted group.
pub(super) fn nodes(
    source: &(impl ReadAt + ?Sized),
    node: Node,
    wanted: Option<&Wanted>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<(ChainingValue, Vec<u8>)> {
    if node.length <= TASK {
        let mut bytes = vec![0; node.length as usize];
        progress(0);
        source.read_exact_at(&mut bytes, node.start)?;
        let mut pairs = Vec::new();
        let value = in_memory(&bytes, node, wanted, &mut pairs);
        progress(node.length);
        return Ok((value, pairs));
    }
    let (left, right) = node.children();
    let (left, right) =
        rayon::join(|| nodes(source, left, wanted, progress), || nodes(source, right, wanted, progress));
    let ((left_value, left_pairs), (right_value, right_pairs)) = (left?, right?);
    let mut pairs = Vec::new();
    if wanted.is_none_or(|wanted| wanted.meets(node)) {
        pairs.reserve_exact(PAIR + left_pairs.len() + right_pairs.len());
        pairs.extend([left_value, right_value].concat());
        pairs.extend(left_pairs);
        pairs.extend(right_pairs);
    }
    Ok((node.join(&left_value, &right_value), pairs))
}

fn in_memory(bytes: &[u8], node: Node, wanted: Option<&Wanted>, pairs: &mut Vec<u8>) -> ChainingValue {
    let here = wanted.is_none_or(|wanted| wanted.meets(node));
    if node.length <= GROUP || !here {
        return node.leaf_value(bytes);
    }
    let at = pairs.len();
    pairs.resize(at + PAIR, 0);
    let (left, right) = node.children();
    let (left_bytes, right_bytes) = bytes.split_at(left.length as usize);
    let left_value = in_memory(left_bytes, left, wanted, pairs);
    let right_value = in_memory(right_bytes, right, wanted, pairs);
    pairs[at..at + 32].copy_from_slice(&left_value);
    pairs[at + 32..at + PAIR].copy_from_slice(&right_value);
    node.join(&left_value, &right_value)
}
