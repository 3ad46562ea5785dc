//! Makes a proof.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blake3::hazmat::ChainingValue;
use countermark_formats::{Checkpoint, ReadAt, Source};

use super::outboard::nodes;
use super::tree::{Node, PAIR, Wanted};
use super::{Head, MAX_HEAD, MAX_LENGTH, SCHEMA};
use crate::Error;
use crate::digest::Hash;

/// What is to be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// These bytes of the file.
    Range(Range<u64>),
    /// The tensor of this name in a safetensors or GGUF file.
    Tensor(String),
}

/// A proof that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The file's root, against which the proof holds.
    pub root: Hash,
    /// What the proof says.
    pub head: Head,
    /// Length of the proof in bytes.
    pub bytes: u64,
}

/// Writes the proof of `claim` about `source` to `out`. Reads the file once, and the claimed bytes a second time; with its
/// outboard (see [`super::outboard`]) only the claimed bytes.
///
/// # Errors
/// [`Error::Usage`] for a range outside the file or a tensor that is not in it; [`Error::Input`] for a file that holds no
/// readable tensors, changed while it was read, or is not that of the outboard; [`Error::Io`].
pub fn prove(
    source: &Source,
    claim: &Claim,
    outboard: Option<&dyn ReadAt>,
    out: &mut dyn Write,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Proved, Error> {
    let head = head(source, claim)?;
    let ranges = head.ranges().map_err(|problem| Error::usage(problem, "name bytes of the file, as BEGIN:END"))?;
    let wanted = Wanted::new(&ranges, head.length);
    let top = Node::root(head.length);
    let line = serde_json::to_string(&head).map_err(|error| Error::usage(error.to_string(), "use another name"))?;
    if line.len() >= MAX_HEAD {
        return Err(Error::usage("the tensor's name is too long for a proof", "prove its range instead"));
    }
    let pairs = match outboard {
        None => Pairs::Computed(nodes(&**source, top, Some(&wanted), progress).map_err(Error::io("file"))?.1, 0),
        Some(outboard) if outboard.len() == top.pairs() * PAIR as u64 => Pairs::Outboard(outboard),
        Some(_) => return Err(foreign()),
    };
    let mut proof = Encoder { source, wanted, pairs, out, bytes: line.len() as u64 + 1 };
    proof.out.write_all(line.as_bytes()).and_then(|()| proof.out.write_all(b"\n")).map_err(Error::io("proof"))?;
    let root = proof.node(top, None, 0)?;
    Ok(Proved { root: Hash(root), bytes: proof.bytes, head })
}

fn foreign() -> Error {
    let help = "make the outboard again (remove its file), and leave the file alone meanwhile";
    Error::input("file", "changed while it was read, or the outboard is that of another file", help)
}

fn head(source: &Source, claim: &Claim) -> Result<Head, Error> {
    let length = source.len();
    if length > MAX_LENGTH {
        return Err(Error::usage(format!("a file of {length} bytes"), "prove a part of it"));
    }
    let schema = SCHEMA.to_owned();
    match claim {
        Claim::Range(range) => Ok(Head { schema, length, range: (range.start, range.end), tensor: None, front: None }),
        Claim::Tensor(name) => {
            let front = Arc::new(Front { source: source.clone(), read: AtomicU64::new(0) });
            let opened = Checkpoint::open(vec![("file".to_owned(), Box::new(front.clone()))]);
            let model = opened.map_err(|error| {
                // The path is the caller's to name.
                let problem = match error {
                    countermark_formats::Error::Shard { source, .. } => source.to_string(),
                    other => other.to_string(),
                };
                Error::input("file", problem, "name a safetensors or GGUF file, or prove a range of bytes")
            })?;
            let Some((_, tensor)) = model.find(name) else {
                return Err(Error::usage(
                    format!("the file holds no tensor {name:?}"),
                    "`countermark digest --tensors` lists them",
                ));
            };
            let Range { start, end } = tensor.info.range;
            let front = front.read.load(Ordering::Relaxed);
            Ok(Head { schema, length, range: (start, end), tensor: Some(name.clone()), front: Some(front) })
        }
    }
}

/// Tells how much of a file's front a parser reads.
struct Front {
    source: Source,
    read: AtomicU64,
}

impl ReadAt for Front {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_max(offset + buffer.len() as u64, Ordering::Relaxed);
        self.source.read_exact_at(buffer, offset)
    }
}

/// Inner nodes: those above the wanted groups in pre-order, with the place of the next; or all of them in a file.
enum Pairs<'a> {
    Computed(Vec<u8>, usize),
    Outboard(&'a dyn ReadAt),
}

impl Pairs<'_> {
    /// The node that is `index`th of all in pre-order, and the next of those that a proof needs.
    fn next(&mut self, index: u64) -> io::Result<[ChainingValue; 2]> {
        let mut pair = [0; PAIR];
        match self {
            Pairs::Computed(pairs, at) => {
                pair.copy_from_slice(pairs.get(*at..*at + PAIR).ok_or(io::ErrorKind::UnexpectedEof)?);
                *at += PAIR;
            }
            Pairs::Outboard(outboard) => outboard.read_exact_at(&mut pair, index * PAIR as u64)?,
        }
        let (mut left, mut right) = ([0; 32], [0; 32]);
        left.copy_from_slice(&pair[..32]);
        right.copy_from_slice(&pair[32..]);
        Ok([left, right])
    }
}

struct Encoder<'a> {
    source: &'a Source,
    wanted: Wanted,
    pairs: Pairs<'a>,
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Encoder<'_> {
    /// Writes a subtree and answers its value, which must be the expected one.
    fn node(&mut self, node: Node, expected: Option<&ChainingValue>, index: u64) -> Result<ChainingValue, Error> {
        let (value, bytes, children) = if node.is_leaf() {
            let mut bytes = vec![0; node.length as usize];
            self.source.read_exact_at(&mut bytes, node.start).map_err(Error::io("file"))?;
            (node.leaf_value(&bytes), bytes, None)
        } else {
            let [left, right] = self.pairs.next(index).map_err(Error::io("outboard"))?;
            (node.join(&left, &right), [left, right].concat(), Some([left, right]))
        };
        if expected.is_some_and(|expected| *expected != value) {
            return Err(foreign());
        }
        self.out.write_all(&bytes).map_err(Error::io("proof"))?;
        self.bytes += bytes.len() as u64;
        if let Some([left_value, right_value]) = children {
            let (left, right) = node.children();
            if self.wanted.meets(left) {
                self.node(left, Some(&left_value), index + 1)?;
            }
            if self.wanted.meets(right) {
                self.node(right, Some(&right_value), index + 1 + left.pairs())?;
            }
        }
        Ok(value)
    }
}
