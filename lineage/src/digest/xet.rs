//! The hub's file hash (Xet, specification 1.1.0): what a request for a file carries as `X-Xet-Hash`, so that a file can be
//! compared with a hub's copy without downloading that.
//!
//! The chunks' hashes are joined in groups of two to nine, level by level, until one is left; where a group ends is told by
//! the hashes themselves. The text form is 64 hexadecimal digits of four little-endian words, so bytes are reversed in
//! groups of eight.

use std::fmt;
use std::io;
use std::io::Write as _;

use countermark_formats::ReadAt;
use serde::{Serialize, Serializer};

use super::Hash;
use super::chunks::{self, Chunk};

/// The key under which the hashes of a group are joined.
const NODE_KEY: [u8; 32] = [
    0x01, 0x7e, 0xc5, 0xc7, 0xa5, 0x47, 0x29, 0x96, 0xfd, 0x94, 0x66, 0x66, 0xb4, 0x8a, 0x02, 0xe6, 0x5d, 0xdd, 0x53,
    0x6f, 0x37, 0xc7, 0x6d, 0xd2, 0xf8, 0x63, 0x52, 0xe6, 0x4a, 0x53, 0x71, 0x3f,
];

/// The most members of a group.
const WIDEST: usize = 9;

/// A file's hash on the hub.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct XetHash(pub Hash);

impl XetHash {
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Hash::parse(text).map(|hash| XetHash(swapped(hash)))
    }
}

/// Bytes reversed in groups of eight.
fn swapped(Hash(mut bytes): Hash) -> Hash {
    bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|word| word.reverse());
    Hash(bytes)
}

impl fmt::Display for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&swapped(self.0), f)
    }
}

impl fmt::Debug for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for XetHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The hash of a file, several threads inside one file. Memory is bounded whatever the length.
///
/// # Errors
/// What the source answers to a read.
pub fn hash(source: &(impl ReadAt + ?Sized), progress: &(dyn Fn(u64) + Sync)) -> io::Result<XetHash> {
    let mut tree = Tree::default();
    chunks::each(source, progress, &mut |chunk| tree.push(chunk))?;
    Ok(tree.finish())
}

/// A hash and how many bytes of the file it stands for.
#[derive(Clone, Copy)]
struct Node {
    hash: Hash,
    length: u64,
}

/// Joins chunks as they come. Each level keeps only the members whose group is still open.
#[derive(Default)]
pub struct Tree {
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    open: Vec<Node>,
    /// Nodes that this level ever saw. A level with one is the top.
    seen: u64,
}

impl Tree {
    /// The next chunk of the file.
    pub fn push(&mut self, chunk: Chunk) {
        self.add(0, Node { hash: chunk.hash, length: u64::from(chunk.length) });
    }

    fn add(&mut self, level: usize, node: Node) {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        let here = &mut self.levels[level];
        here.open.push(node);
        here.seen += 1;
        // A group that begins may end at its third member at the earliest, and at its ninth at the latest.
        let closes = here.open.len() >= 3 && node.hash.0[24] & 3 == 0 || here.open.len() == WIDEST;
        if closes {
            let joined = join(&std::mem::take(&mut here.open));
            self.add(level + 1, joined);
        }
    }

    /// The hash of the file of all chunks that were pushed.
    pub fn finish(mut self) -> XetHash {
        let mut level = 0;
        let top = loop {
            let Some(here) = self.levels.get_mut(level) else { return XetHash(Hash::default()) };
            let open = std::mem::take(&mut here.open);
            if here.seen == 1 {
                break open[0];
            }
            if !open.is_empty() {
                let joined = join(&open);
                self.add(level + 1, joined);
            }
            level += 1;
        };
        XetHash(Hash(blake3::keyed_hash(&[0; 32], &top.hash.0).into()))
    }
}

/// One line for each member: `HEX : LENGTH`.
fn join(members: &[Node]) -> Node {
    let mut text = Vec::new();
    for member in members {
        // Writing into memory does not fail.
        let _ = writeln!(text, "{} : {}", XetHash(member.hash), member.length);
    }
    let length = members.iter().map(|member| member.length).sum();
    Node { hash: Hash(blake3::keyed_hash(&NODE_KEY, &text).into()), length }
}

#[cfg(test)]
mod tests {
    use super::super::chunks::tests::random;
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> String {
        hash(bytes, &|_| ()).unwrap().to_string()
    }

    /// Known answers that three implementations agree on, `hf_xet` 1.8.0 among them.
    #[test]
    fn known_answers() {
        let pattern: Vec<u8> = (0..65536_u32).map(|i| (i % 251) as u8).collect();
        for (bytes, expected) in [
            (vec![], "0000000000000000000000000000000000000000000000000000000000000000"),
            (vec![0], "41f5539a8d8bdd7509fd9a319268aca47ea6d40b33394170182e09fa86345c7e"),
            (b"abc".to_vec(), "55b9df318a7c45f470d57b04d8ca79a15b0637ffe94b25041a58d00c3528afff"),
            (vec![0; 131_072], "7a7c18448d7ae35cc61c072281981c565fedb8a079b42c6ef4a0c846bb78c50d"),
            (vec![0; 131_073], "83f8f48adc7310b5748295b256ca24cdce2aac457679c98526e3a19e0388f58a"),
            (vec![0; 1 << 20], "1e671fe124cea35586b1d1c30b9d4fc6b4e05ee60c93406986444f7c23d54056"),
            (pattern, "2f2d6958dcf3a4d1ede26af38cc61c3b2b9732d67cbd0e049b0bbf3c648f829d"),
            (random(100_000), "97412bd05a080104deaccbdb5758e1246d4f75a6711b8c77cec3516c0fb3446c"),
            (random(1 << 20), "6be88463ba34e22917757b106932d68d61b21e564fab9e65dfa558fc58b27020"),
            (random((16 << 20) + 7), "c4bcb8d855de131c3fdcbe9f497da00fe39317ef09db933c9711396d38a4eb82"),
        ] {
            assert_eq!(of(&bytes), expected, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn one_spelling() {
        let hash = hash(b"abc".as_slice(), &|_| ()).unwrap();
        assert_eq!(XetHash::parse(&hash.to_string()), Some(hash));
        assert_eq!(XetHash::parse(&hash.to_string().to_uppercase()), None);
    }

    /// The definition, level by level over whole lists (specification 1.1.0, "Aggregated hash").
    fn slow(mut nodes: Vec<Node>) -> Hash {
        while nodes.len() > 1 {
            let mut rest = &nodes[..];
            let mut next = Vec::new();
            while !rest.is_empty() {
                let last = rest.len().min(WIDEST);
                let cut = if rest.len() <= 2 {
                    rest.len()
                } else {
                    (2..last).find(|i| rest[*i].hash.0[24] & 3 == 0).map_or(last, |i| i + 1)
                };
                next.push(join(&rest[..cut]));
                rest = &rest[cut..];
            }
            nodes = next;
        }
        Hash(blake3::keyed_hash(&[0; 32], &nodes[0].hash.0).into())
    }

    proptest! {
        #[test]
        fn joins_as_the_definition_does(count in 1_usize..400, seed: u64) {
            let chunk = |i: usize| Chunk { hash: Hash::blake3(&[seed.to_le_bytes(), (i as u64).to_le_bytes()].concat()), length: i as u32 };
            let nodes = (0..count).map(chunk).map(|chunk| Node { hash: chunk.hash, length: chunk.length.into() }).collect();
            let mut tree = Tree::default();
            (0..count).map(chunk).for_each(|chunk| tree.push(chunk));
            prop_assert_eq!(tree.finish().0, slow(nodes));
        }
    }
}
