//! Headers of Bitcoin blocks, and what a policy says of them.
//!
//! A header of 80 bytes: version, hash of the block before, Merkle root, time, target, nonce, all with the lowest byte
//! first. Anybody can make one that fits its own target, when the target is easy; so a block counts when the policy pins
//! its hash or that of a block built upon it, or when it and those upon it each have the work that the policy asks for.

use std::fmt;

use sha2::Digest as _;

use crate::Error;
use crate::credential::policy::Bitcoin;
use crate::digest::Hash;

/// Bytes of a header.
pub const HEADER: usize = 80;
/// Blocks, its own included, after which a block is final when the policy does not say.
pub const CONFIRMATIONS: u32 = 6;

/// A header that fits its own target. Whether that target is hard is another question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER],
    hash: Hash,
    target: Target,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Error::Input`] when it has another length, its target is none, or its hash is above the target.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |problem: &str| {
            Err(Error::input("Bitcoin header", problem, "take the header again from a node with `anchor upgrade`"))
        };
        let Ok(bytes) = <[u8; HEADER]>::try_from(bytes) else {
            return refuse(&format!("has {} bytes and not {HEADER}", bytes.len()));
        };
        let mut hash: [u8; 32] = sha2::Sha256::digest(sha2::Sha256::digest(bytes)).into();
        // As a number, and on every explorer, the last byte is the highest.
        hash.reverse();
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let Some(target) = Target::from_bits(word(72)) else {
            return refuse("its target is zero, negative or above 256 bits");
        };
        if Target::from_big_endian(&hash) > target {
            return refuse("its hash is above its target: it carries no work");
        }
        Ok(Header { bytes, hash: Hash(hash), target })
    }

    /// The 80 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The block's hash as explorers write it, the zeros in front.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Root of the block's transactions, as it stands in the header.
    pub fn merkle_root(&self) -> &[u8] {
        &self.bytes[36..68]
    }

    /// Unix seconds by the miner's clock.
    pub fn time(&self) -> i64 {
        let [a, b, c, d] = [68, 69, 70, 71].map(|at| self.bytes[at]);
        i64::from(u32::from_le_bytes([a, b, c, d]))
    }

    /// True when this block was built upon `other`.
    pub fn is_upon(&self, other: &Header) -> bool {
        self.bytes[4..36].iter().rev().eq(&other.hash.0)
    }

    /// True when the block's difficulty, as explorers write it, is at least this.
    pub fn has_difficulty(&self, least: u64) -> bool {
        self.target.times(least) <= Target::EASIEST.times(1)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.hash)
    }
}

/// A number of 256 bits, the highest first, that a block's hash may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target([u64; 4]);

impl Target {
    /// Target of difficulty 1: 0xffff · 2^208.
    const EASIEST: Target = Target([0x0000_0000_ffff_0000, 0, 0, 0]);

    /// From the compact form: one byte for the length in bytes, three for the highest of them, of which the first bit is a
    /// sign. Nothing when the number is zero, negative or above 256 bits.
    fn from_bits(bits: u32) -> Option<Self> {
        let (length, mantissa) = ((bits >> 24) as usize, bits & 0x007f_ffff);
        if bits & 0x0080_0000 != 0 {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in mantissa.to_be_bytes()[1..].iter().enumerate() {
            // Which byte of the number this is, counted from the lowest.
            match (length + 2).checked_sub(index + 3).map(|place| 31_usize.checked_sub(place)) {
                Some(Some(at)) => bytes[at] = *byte,
                // Above 256 bits.
                Some(None) if *byte != 0 => return None,
                // Below one.
                Some(None) | None => {}
            }
        }
        let target = Target::from_big_endian(&bytes);
        (target != Target([0; 4])).then_some(target)
    }

    fn from_big_endian(bytes: &[u8; 32]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Target([words[0], words[1], words[2], words[3]].map(u64::from_be_bytes))
    }

    /// The product, with 64 bits more in front.
    fn times(&self, factor: u64) -> [u64; 5] {
        let mut product = [0; 5];
        let mut carry = 0_u128;
        for index in (0..4).rev() {
            let sum = u128::from(self.0[index]) * u128::from(factor) + carry;
            product[index + 1] = sum as u64;
            carry = sum >> 64;
        }
        product[0] = carry as u64;
        product
    }
}

/// Why a policy counts a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// It pins the hash of the block, or of one built upon it.
    Pinned,
    /// So many blocks, its own included, each have the work that it asks for.
    Work(u32),
}

/// Why the policy counts the first of `blocks`, the others being built upon it one after the other; nothing when it does
/// not.
pub fn ground(blocks: &[Header], policy: &Bitcoin) -> Option<Ground> {
    // A hash binds everything before it, so a pinned block vouches for those that it was built upon.
    if blocks.iter().any(|block| policy.blocks.contains(&block.hash())) {
        return Some(Ground::Pinned);
    }
    // A difficulty of zero would let anything pass.
    let least = policy.min_difficulty.filter(|least| *least > 0)?;
    let work = blocks.iter().take_while(|block| block.has_difficulty(least)).count();
    (work > 0).then(|| Ground::Work(u32::try_from(work).unwrap_or(u32::MAX)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn unhex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// The first three blocks of Bitcoin.
    pub fn first_blocks() -> [Vec<u8>; 3] {
        [
            concat!(
                "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61",
                "7fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
            ),
            concat!(
                "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744bbbe680e1fee1467",
                "7ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299"
            ),
            concat!(
                "010000004860eb18bf1b1620e37e9490fc8a427514416fd75159ab86688e9a8300000000d5fdcc541e25de1c7a5addedf24858b8",
                "bb665c9f36ef744ee42c316022c90f9bb0bc6649ffff001d08d2bd61"
            ),
        ]
        .map(unhex)
    }

    fn blocks() -> Vec<Header> {
        first_blocks().iter().map(|bytes| Header::parse(bytes).unwrap()).collect()
    }

    #[test]
    fn known_answers_of_the_first_blocks() {
        let blocks = blocks();
        let genesis = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
        assert_eq!(blocks[0].hash().to_string(), genesis);
        assert_eq!(blocks[0].time(), 1_231_006_505);
        assert_eq!(blocks[2].hash().to_string(), "000000006a625f06636b8bb6ac7b960a8d03705d1ace08b1a19da3fdcc99ddbd");
        assert!(blocks[1].is_upon(&blocks[0]) && blocks[2].is_upon(&blocks[1]) && !blocks[2].is_upon(&blocks[0]));
        assert!(blocks[0].has_difficulty(1) && !blocks[0].has_difficulty(2) && !blocks[0].has_difficulty(u64::MAX));
    }

    #[test]
    fn a_policy_pins_a_block_or_one_upon_it_or_asks_for_work() {
        let blocks = blocks();
        let pins = |at: usize| Bitcoin { blocks: vec![blocks[at].hash()], ..Bitcoin::default() };
        assert_eq!(ground(&blocks, &pins(0)), Some(Ground::Pinned));
        assert_eq!(ground(&blocks, &pins(2)), Some(Ground::Pinned));
        assert_eq!(ground(&blocks[1..], &pins(0)), None);
        let asks = |least| Bitcoin { min_difficulty: Some(least), ..Bitcoin::default() };
        assert_eq!(ground(&blocks, &asks(1)), Some(Ground::Work(3)));
        assert_eq!(ground(&blocks, &asks(2)), None);
        assert_eq!(ground(&blocks, &asks(0)), None);
        assert_eq!(ground(&blocks, &Bitcoin::default()), None);
    }

    #[test]
    fn every_flipped_bit_is_refused_or_is_another_block() {
        let bytes = &first_blocks()[1];
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match Header::parse(&flipped) {
                Err(_) => {}
                // An easier target makes another block of the same bytes, with no work to speak of.
                Ok(header) => assert!(!header.has_difficulty(1), "bit {bit}"),
            }
        }
        for length in [0, 79, 81] {
            assert!(Header::parse(&vec![0; length]).is_err());
        }
    }

    #[test]
    fn compact_targets_have_no_sign_no_overflow_and_are_not_zero() {
        let target = |bits| Target::from_bits(bits);
        for bad in
            [0, 0x1d00_0000, 0x0400_0000, 0x0180_0001, 0x1d80_ffff, 0x2200_ffff, 0x2300_0001, 0xff00_0001, 0x0000_ffff]
        {
            assert_eq!(target(bad), None, "{bad:#x}");
        }
        assert_eq!(target(0x1d00_ffff), Some(Target::EASIEST));
        assert_eq!(target(0x0112_3456), Some(Target([0, 0, 0, 0x12])));
        assert_eq!(target(0x0300_0001), Some(Target([0, 0, 0, 1])));
        assert_eq!(target(0x0412_3456), Some(Target([0, 0, 0, 0x1234_5600])));
        assert_eq!(target(0x207f_ffff), Some(Target([0x7fff_ff00_0000_0000, 0, 0, 0])));
        assert_eq!(target(0x2100_ffff), Some(Target([0xffff_0000_0000_0000, 0, 0, 0])));
        assert_eq!(target(0x2200_00ff), Some(Target([0xff00_0000_0000_0000, 0, 0, 0])));
    }
}
