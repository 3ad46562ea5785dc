//! Checks a proof.

use std::io::{self, Read};

use blake3::hazmat::ChainingValue;
use countermark_formats::{Checkpoint, ReadAt, gguf};
use serde::Serialize;

use super::tree::{GROUP, Node, PAIR, Wanted};
use super::{Head, MAX_HEAD};
use crate::Error;
use crate::digest::Hash;
use crate::digest::checkpoint::Tensor;

/// The longest front of a file that is kept in memory: the longest header that is read, and what a reader looks ahead.
const MAX_FRONT: u64 = gguf::MAX_HEADER + (1 << 20);

/// What a proof has proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// Root of the file.
    pub root: Hash,
    /// Length of the whole file in bytes.
    pub length: u64,
    /// The bytes, from (included) to (not included).
    pub range: (u64, u64),
    /// Plain BLAKE3 of these bytes.
    pub blake3: Hash,
    /// The tensor that these bytes are, as the file's proven header says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<Tensor>,
}

/// Checks a proof against the root of a file. The proven bytes go to `sink` piece by piece, in order; they count only when
/// the answer is not an error, so keep them aside until then. Memory is bounded by the header's length.
///
/// # Errors
/// [`Error::Input`] when the proof does not hold, [`Error::Io`] when it cannot be read or the sink fails.
pub fn check(proof: &mut dyn Read, root: Hash, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<Proven, Error> {
    let head = head(proof)?;
    let ranges = head.ranges().map_err(broken)?;
    if head.front.is_some_and(|front| front > MAX_FRONT) {
        return Err(broken(format!("claims a header of more than {MAX_FRONT} bytes")));
    }
    let wanted = Wanted::new(&ranges, head.length);
    let mut decoder = Decoder { proof, wanted, head: &head, front: vec![], hasher: blake3::Hasher::new(), sink };
    decoder.node(Node::root(head.length), &root.0)?;
    if decoder.proof.read(&mut [0]).map_err(Error::io("proof"))? != 0 {
        return Err(broken("something follows its end"));
    }
    let Decoder { front, hasher, .. } = decoder;
    let blake3 = Hash(hasher.finalize().into());
    let tensor = head.tensor.as_ref().map(|name| tensor(name, &head, front, blake3)).transpose()?;
    Ok(Proven { root, length: head.length, range: head.range, blake3, tensor })
}

fn broken(problem: impl Into<String>) -> Error {
    Error::input("proof", problem, "ask for a proof of this very file; do not use these bytes")
}

/// The first line.
fn head(proof: &mut dyn Read) -> Result<Head, Error> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match proof.read(&mut byte) {
            Ok(0) => return Err(broken("ends inside its first line")),
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == MAX_HEAD => return Err(broken("has no first line of a slice proof")),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("proof")(error)),
        }
    }
    serde_json::from_slice(&line).map_err(|error| broken(format!("its first line: {error}")))
}

/// Finds the tensor in the proven front of the file, and compares its place with the claimed one.
fn tensor(name: &str, head: &Head, front: Vec<u8>, blake3: Hash) -> Result<Tensor, Error> {
    let source = Front { bytes: front, length: head.length };
    let opened = Checkpoint::open(vec![("proven header".to_owned(), Box::new(source))]);
    let model = opened.map_err(|error| broken(error.to_string()))?;
    let (_, found) = model.find(name).ok_or_else(|| broken(format!("the file holds no tensor {name:?}")))?;
    let info = &found.info;
    if (info.range.start, info.range.end) != head.range {
        let (begin, end) = head.range;
        return Err(broken(format!("tensor {name:?} does not lie at bytes {begin} to {end}")));
    }
    let (name, dtype, shape) = (name.to_owned(), info.dtype.as_str().to_owned(), info.shape.clone());
    Ok(Tensor { name, dtype, shape, blake3 })
}

/// The front of a file whose other bytes are not proven.
struct Front {
    bytes: Vec<u8>,
    length: u64,
}

impl ReadAt for Front {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes
            .read_exact_at(buffer, offset)
            .map_err(|_| io::Error::other("the header's end is not part of the proof"))
    }
}

struct Decoder<'a> {
    proof: &'a mut dyn Read,
    wanted: Wanted,
    head: &'a Head,
    /// The proven front of the file, as far as the claim needs it.
    front: Vec<u8>,
    /// Over the claimed bytes.
    hasher: blake3::Hasher,
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl Decoder<'_> {
    fn node(&mut self, node: Node, expected: &ChainingValue) -> Result<(), Error> {
        if node.is_leaf() {
            let mut group = [0; GROUP as usize];
            let bytes = &mut group[..node.length as usize];
            self.fill(bytes)?;
            if node.leaf_value(bytes) != *expected {
                let (begin, end) = (node.start, node.end());
                return Err(broken(format!(
                    "bytes {begin} to {end} are not those of the file with this root and length"
                )));
            }
            return self.take(node.start, bytes);
        }
        let (mut left_value, mut right_value) = ([0; 32], [0; 32]);
        self.fill(&mut left_value)?;
        self.fill(&mut right_value)?;
        if node.join(&left_value, &right_value) != *expected {
            let (begin, end) = (node.start, node.end());
            return Err(broken(format!("the hashes over bytes {begin} to {end} do not lead to this root")));
        }
        let (left, right) = node.children();
        if self.wanted.meets(left) {
            self.node(left, &left_value)?;
        }
        if self.wanted.meets(right) {
            self.node(right, &right_value)?;
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.proof.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => broken("is cut short"),
            _ => Error::io("proof")(error),
        })
    }

    /// A group that has proven to be in the file.
    fn take(&mut self, start: u64, bytes: &[u8]) -> Result<(), Error> {
        let part = |begin: u64, end: u64| {
            let clamp = |at: u64| at.saturating_sub(start).min(bytes.len() as u64) as usize;
            &bytes[clamp(begin)..clamp(end).max(clamp(begin))]
        };
        if let Some(front) = self.head.front {
            self.front.extend_from_slice(part(0, front));
        }
        let claimed = part(self.head.range.0, self.head.range.1);
        self.hasher.update(claimed);
        if claimed.is_empty() { Ok(()) } else { (self.sink)(claimed).map_err(Error::io("proven bytes")) }
    }
}

const _: () = assert!(PAIR == 2 * size_of::<ChainingValue>());
