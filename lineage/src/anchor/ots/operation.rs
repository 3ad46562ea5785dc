//! Operations: the edges of a proof. Each makes a longer message, or the hash of one.

use std::cmp::Ordering;

use sha2::Digest as _;

use super::file::{Reader, varbytes};
use crate::Error;

/// The longest message, before and after an operation, and the longest argument, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// One step from a message to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// SHA-1.
    Sha1,
    /// RIPEMD-160.
    Ripemd160,
    /// SHA-256.
    Sha256,
    /// Keccak-256, with the padding from before the standard: not SHA3-256.
    Keccak256,
    /// Puts bytes behind the message; at least one.
    Append(Vec<u8>),
    /// Puts bytes before the message; at least one.
    Prepend(Vec<u8>),
    /// Turns the order of the bytes round.
    Reverse,
    /// Lower-case hexadecimal digits.
    Hexlify,
}

impl Operation {
    /// The byte that stands for it.
    pub fn tag(&self) -> u8 {
        match self {
            Operation::Sha1 => 0x02,
            Operation::Ripemd160 => 0x03,
            Operation::Sha256 => 0x08,
            Operation::Keccak256 => 0x67,
            Operation::Append(_) => 0xf0,
            Operation::Prepend(_) => 0xf1,
            Operation::Reverse => 0xf2,
            Operation::Hexlify => 0xf3,
        }
    }

    fn argument(&self) -> &[u8] {
        match self {
            Operation::Append(argument) | Operation::Prepend(argument) => argument,
            _ => &[],
        }
    }

    /// Length of a hash over a file, for the three hashes that may stand at the head of a proof.
    pub(super) fn file_digest_length(&self) -> Option<usize> {
        match self {
            Operation::Sha1 | Operation::Ripemd160 => Some(20),
            Operation::Sha256 => Some(32),
            _ => None,
        }
    }

    pub(super) fn read(tag: u8, reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match tag {
            0x02 => Operation::Sha1,
            0x03 => Operation::Ripemd160,
            0x08 => Operation::Sha256,
            0x67 => Operation::Keccak256,
            0xf0 => Operation::Append(reader.varbytes(1, MAX_MESSAGE)?.to_vec()),
            0xf1 => Operation::Prepend(reader.varbytes(1, MAX_MESSAGE)?.to_vec()),
            0xf2 => Operation::Reverse,
            0xf3 => Operation::Hexlify,
            _ => return Err(reader.refuse(format!("operation {tag:#04x} is not known"))),
        })
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.push(self.tag());
        if !self.argument().is_empty() {
            varbytes(self.argument(), to);
        }
    }

    /// What it makes of a message; nothing when message or result would be empty or too long.
    pub fn apply(&self, message: &[u8]) -> Option<Vec<u8>> {
        if message.is_empty() || message.len() > MAX_MESSAGE {
            return None;
        }
        let result = match self {
            Operation::Sha1 => sha1::Sha1::digest(message).to_vec(),
            Operation::Ripemd160 => ripemd::Ripemd160::digest(message).to_vec(),
            Operation::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Operation::Keccak256 => sha3::Keccak256::digest(message).to_vec(),
            Operation::Append(argument) => [message, argument].concat(),
            Operation::Prepend(argument) => [argument, message].concat(),
            Operation::Reverse => message.iter().rev().copied().collect(),
            Operation::Hexlify => message.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
        };
        (result.len() <= MAX_MESSAGE).then_some(result)
    }
}

/// The order in which a proof lists them: by tag, then by argument.
impl Ord for Operation {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.tag(), self.argument()).cmp(&(other.tag(), other.argument()))
    }
}

impl PartialOrd for Operation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the Python library `opentimestamps` 0.4.5 makes of the message `countermark`.
    #[test]
    fn known_answers() {
        let hex = |operation: &Operation| {
            let result = operation.apply(b"countermark").unwrap();
            result.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        for (operation, expected) in [
            (Operation::Sha1, "832e52ae2a0d2d51115e9fe1ffbd82cf458108e1"),
            (Operation::Ripemd160, "ddd59521db9c8f381ba4f18b6f54274332fdc3bf"),
            (Operation::Sha256, "004de383fa93d33da10aa50d2466a3e503e37e9579bfa3192ba706f0a44693fb"),
            (Operation::Keccak256, "52df87368c6e4ba9732621cd438d4abe64ddd15bae413e0900cb57e91aa0095c"),
            (Operation::Append(b"\x00\xff".to_vec()), "636f756e7465726d61726b00ff"),
            (Operation::Prepend(b"\x00\xff".to_vec()), "00ff636f756e7465726d61726b"),
            (Operation::Reverse, "6b72616d7265746e756f63"),
            (Operation::Hexlify, "36333666373536653734363537323664363137323662"),
        ] {
            assert_eq!(hex(&operation), expected, "{operation:?}");
        }
    }

    #[test]
    fn messages_stay_between_one_byte_and_the_longest() {
        assert_eq!(Operation::Sha256.apply(b""), None);
        assert_eq!(Operation::Reverse.apply(&[1; MAX_MESSAGE + 1]), None);
        assert_eq!(Operation::Hexlify.apply(&[1; MAX_MESSAGE / 2 + 1]), None);
        assert_eq!(Operation::Append(vec![1]).apply(&[1; MAX_MESSAGE]), None);
        for operation in [Operation::Hexlify, Operation::Append(vec![1; MAX_MESSAGE / 2])] {
            assert_eq!(operation.apply(&[1; MAX_MESSAGE / 2]).unwrap().len(), MAX_MESSAGE);
        }
    }
}
