//! The detached file (`.ots`): magic, version, the hash over a file, and the tree of what is known of it.
//!
//! ```text
//! 00 "OpenTimestamps" 00 00 "Proof" 00 bf 89 e2 e8 84 e8 92 94    01    08 digest    tree
//! ```

use super::operation::Operation;
use super::tree::Node;
use crate::Error;
use crate::digest::Hash;

const MAGIC: &[u8] = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94";
const VERSION: u64 = 1;

/// A longer file is refused before it is read. Real ones have less than 4 KiB.
pub const MAX_FILE: usize = 128 << 10;
/// All operations of a proof together may go over so many bytes: a tree of many branches over one long message must not
/// cost more than reading it should.
const MAX_WORK: usize = 1 << 20;

/// A digest of some file, and what is known of its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The hash over the file: SHA-1, RIPEMD-160 or SHA-256.
    pub hash: Operation,
    /// What it came to.
    pub digest: Vec<u8>,
    /// What is known of the digest.
    pub tree: Node,
}

impl File {
    /// A proof about a SHA-256.
    pub fn new(digest: &Hash, tree: Node) -> Self {
        File { hash: Operation::Sha256, digest: digest.0.to_vec(), tree }
    }

    /// Reads a file. Nothing is verified by this but that the operations can be done.
    ///
    /// # Errors
    /// [`Error::Input`] with the byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > MAX_FILE {
            return Err(reader.refuse(format!("is above {} KiB", MAX_FILE >> 10)));
        }
        if reader.take(MAGIC.len()).ok() != Some(MAGIC) {
            return Err(Reader::new(bytes).refuse("is no OpenTimestamps proof"));
        }
        if reader.varuint()? != VERSION {
            return Err(reader.refuse("version is not 1"));
        }
        let tag = reader.byte()?;
        let hash = Operation::read(tag, &mut reader)?;
        let Some(length) = hash.file_digest_length() else {
            return Err(reader.refuse("a file is hashed by SHA-1, RIPEMD-160 or SHA-256, not by this operation"));
        };
        let digest = reader.take(length)?.to_vec();
        let tree = Node::read(&mut reader, &digest)?;
        reader.finish()?;
        Ok(File { hash, digest, tree })
    }

    /// The bytes: one proof has one spelling.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        varuint(VERSION, &mut bytes);
        self.hash.write(&mut bytes);
        bytes.extend(&self.digest);
        self.tree.write(&mut bytes);
        bytes
    }
}

/// Reads one byte after the other, and knows where it is.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` begin in the whole.
    start: usize,
    work: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0, start: 0, work: 0 }
    }

    /// A reader of bytes that were just read by this one.
    pub fn inside(&self, bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0, start: self.start + self.at - bytes.len(), work: 0 }
    }

    /// What is wrong at the byte that comes next.
    pub fn refuse(&self, problem: impl Into<String>) -> Error {
        let place = format!("OpenTimestamps proof, byte {}", self.start + self.at);
        Error::input(place, problem, "take the proof again from where it was published")
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        let Some(bytes) = rest.get(..length) else {
            return Err(self.refuse(format!("ends {} bytes too early", length - rest.len())));
        };
        self.at += length;
        Ok(bytes)
    }

    pub fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A number in groups of seven bits, the lowest first; in its shortest form, and below 2^64.
    pub fn varuint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.refuse("a number is longer than it must be"));
                }
                return Ok(value);
            }
        }
        Err(self.refuse("a number is above 64 bits"))
    }

    /// A length, and so many bytes.
    pub fn varbytes(&mut self, least: usize, most: usize) -> Result<&'a [u8], Error> {
        let length = self.varuint()?;
        match usize::try_from(length).ok().filter(|length| (least..=most).contains(length)) {
            Some(length) => self.take(length),
            None => Err(self.refuse(format!("a length of {length} is not between {least} and {most}"))),
        }
    }

    /// Counts an operation over a message of so many bytes.
    pub fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.work += bytes;
        if self.work > MAX_WORK {
            return Err(self.refuse(format!("its operations go over more than {} KiB", MAX_WORK >> 10)));
        }
        Ok(())
    }

    pub fn finish(&self) -> Result<(), Error> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.refuse("more bytes follow than belong to it")) }
    }
}

pub(super) fn varuint(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7f {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

pub(super) fn varbytes(bytes: &[u8], to: &mut Vec<u8>) {
    varuint(bytes.len() as u64, to);
    to.extend(bytes);
}
