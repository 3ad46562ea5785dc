//! Digests of files or of ranges of them, with one of the hash functions that OpenSSF Model Signing knows.
//!
//! SHA-256 and BLAKE2b are sequential: a file by itself keeps one thread busy, so threads share out files and ranges,
//! and in a large one the next window is read while the last is hashed. BLAKE3 is parallel in itself.

use std::fmt;
use std::io;
use std::ops::Range;

use blake2::Blake2b512;
use countermark_formats::ReadAt;
use rayon::prelude::*;
use sha2::Sha256;

use super::blob;

/// Bytes per read.
const WINDOW: usize = 1 << 20;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// FIPS 180-4, 32 bytes.
    Sha256,
    /// RFC 7693 with 64 bytes, unkeyed.
    Blake2b,
    /// Plain BLAKE3, 32 bytes.
    Blake3,
}

impl Function {
    /// All of them.
    pub const ALL: [Function; 3] = [Function::Sha256, Function::Blake2b, Function::Blake3];

    /// The word in a statement.
    pub fn as_str(self) -> &'static str {
        match self {
            Function::Sha256 => "sha256",
            Function::Blake2b => "blake2b",
            Function::Blake3 => "blake3",
        }
    }

    /// The function of this name.
    pub fn parse(word: &str) -> Option<Self> {
        Function::ALL.into_iter().find(|function| function.as_str() == word)
    }

    /// Bytes of a digest.
    pub fn length(self) -> usize {
        if self == Function::Blake2b { 64 } else { 32 }
    }

    /// Reads a digest of this function: lower-case hexadecimal digits, and nothing else.
    pub fn parse_digest(self, text: &str) -> Option<Vec<u8>> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        if pairs.len() != self.length() {
            return None;
        }
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The digest of each of `ranges`, which are sorted and not one over another; the source is opened once and each byte
/// of them read once. `progress` hears of bytes as they are done.
///
/// # Errors
/// Whatever the source answers to a read, and when it changed meanwhile.
pub fn digests(
    source: &(impl ReadAt + ?Sized),
    function: Function,
    ranges: &[Range<u64>],
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Vec<Vec<u8>>> {
    if function == Function::Blake3 {
        let whole = matches!(ranges, [range] if *range == (0..source.len()));
        let wants = blob::Wants { sha256: false, ranges: if whole { &[] } else { ranges }, spliced: None };
        let found = blob::digests(source, wants, progress)?;
        return Ok(if whole {
            vec![found.blake3.0.to_vec()]
        } else {
            found.ranges.iter().map(|hash| hash.0.to_vec()).collect()
        });
    }
    match source.for_one_pass()? {
        Some(opened) => sequential(&*opened, function, ranges, progress),
        None => sequential(source, function, ranges, progress),
    }
}

/// The digest of the whole source.
///
/// # Errors
/// As [`digests`].
pub fn digest(
    source: &(impl ReadAt + ?Sized),
    function: Function,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Vec<u8>> {
    let whole = 0..source.len();
    Ok(digests(source, function, std::slice::from_ref(&whole), progress)?.pop().unwrap_or_default())
}

fn sequential(
    source: &(impl ReadAt + ?Sized),
    function: Function,
    ranges: &[Range<u64>],
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Vec<Vec<u8>>> {
    let one = |range: &Range<u64>| match function {
        Function::Blake2b => stream::<Blake2b512>(source, range.clone(), progress),
        _ => stream::<Sha256>(source, range.clone(), progress),
    };
    let found = match ranges {
        [range] => vec![one(range)?],
        _ => ranges.par_iter().map(one).collect::<io::Result<_>>()?,
    };
    source.unchanged()?;
    Ok(found)
}

/// Hashes `range` front to back.
fn stream<D: sha2::Digest + Send>(
    source: &(impl ReadAt + ?Sized),
    range: Range<u64>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Vec<u8>> {
    let length = range.end.saturating_sub(range.start);
    if length <= WINDOW as u64 {
        return blob::with_buffer(length, |bytes| {
            progress(0);
            source.read_exact_at(bytes, range.start)?;
            let digest = D::digest(&bytes).to_vec();
            progress(length);
            Ok(digest)
        });
    }
    let mut hasher = D::new();
    let (mut ready, mut filling) = (vec![0; WINDOW], vec![0; WINDOW]);
    let (mut is_ready, mut at) = (0, range.start);
    while at < range.end || is_ready > 0 {
        let size = (range.end - at).min(WINDOW as u64) as usize;
        let (_, read) = rayon::join(
            || hasher.update(&ready[..is_ready]),
            || {
                progress(0);
                source.read_exact_at(&mut filling[..size], at)
            },
        );
        read?;
        progress(size as u64);
        at += size as u64;
        std::mem::swap(&mut ready, &mut filling);
        is_ready = size;
    }
    Ok(hasher.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    use crate::digest::Hash;

    #[test]
    fn known_answers() {
        let blake2b = "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419\
                       d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce";
        assert_eq!(hex(&digest(&[][..], Function::Blake2b, &|_| ()).unwrap()), blake2b);
        for function in Function::ALL {
            let found = digest(&b"abc"[..], function, &|_| ()).unwrap();
            assert_eq!(function.parse_digest(&hex(&found)), Some(found.clone()));
            assert_eq!((Function::parse(function.as_str()), found.len()), (Some(function), function.length()));
            assert_eq!(function.parse_digest(&hex(&found).to_uppercase()), None);
            assert_eq!(function.parse_digest(&hex(&found)[1..]), None);
        }
        assert_eq!(digest(&b"abc"[..], Function::Sha256, &|_| ()).unwrap(), Hash::sha256(b"abc").0);
        assert_eq!(digest(&b"abc"[..], Function::Blake3, &|_| ()).unwrap(), Hash::blake3(b"abc").0);
    }

    #[test]
    fn ranges_are_hashed_as_if_they_were_files() {
        let bytes: Vec<u8> = (0..(3 << 20) + 17).map(|i| (i % 251) as u8).collect();
        let ranges = [0..10, 10..11, 4096..(2 << 20) + 5, (2 << 20) + 5..bytes.len() as u64];
        for function in Function::ALL {
            let found = digests(&bytes, function, &ranges, &|_| ()).unwrap();
            for (range, found) in ranges.iter().zip(found) {
                let slice = &bytes[range.start as usize..range.end as usize];
                let expected = match function {
                    Function::Sha256 => Sha256::digest(slice).to_vec(),
                    Function::Blake2b => Blake2b512::digest(slice).to_vec(),
                    Function::Blake3 => Hash::blake3(slice).0.to_vec(),
                };
                assert_eq!(found, expected, "{function} {range:?}");
            }
        }
        assert!(digests(&bytes[..10], Function::Sha256, std::slice::from_ref(&(0..11)), &|_| ()).is_err());
    }
}
