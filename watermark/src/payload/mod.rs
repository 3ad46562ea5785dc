//! Codes of the capacity ladder: how a payload becomes coded bits, and how it is read from soft values.
//!
//! A payload is encoded with a [polar code](polar), most significant bit first, without a check of its own. The decoder
//! keeps a list of the likeliest codewords, and the hash of the codeword in the mark's record tells which of them was
//! committed. So no slot is spent on a checksum, and a wrong codeword passes with a chance of 2⁻²⁵⁶ for each on the
//! list, 2⁻²⁴⁸ in all.
//!
//! The numbers of slots were chosen for equal change of the weights, not for equal slots: see `docs/codes.md`.

mod list;
pub mod polar;

use polar::Polar;

/// Codewords that the decoder keeps. A FULL payload takes 6 ms.
const LIST: usize = 256;

/// A code of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    name: &'static str,
    slots: usize,
    payload_bytes: usize,
}

/// What the decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether its codeword is the committed one. If not, it is merely the likeliest on the list.
    pub committed: bool,
    /// The payload's codeword.
    pub codeword: Vec<bool>,
}

impl Code {
    /// 128 bits in 576 slots. One of four groups has 144 slots, enough to reach 2⁻¹²⁸ alone.
    pub const FULL: Code = Code { name: "polar-v1-576-128", slots: 576, payload_bytes: 16 };
    /// 64 bits in 256 slots: half the weights of [`Code::FULL`] for the same resistance.
    pub const HALF: Code = Code { name: "polar-v1-256-64", slots: 256, payload_bytes: 8 };
    /// 32 bits in 192 slots: three tenths of the weights.
    pub const QUARTER: Code = Code { name: "polar-v1-192-32", slots: 192, payload_bytes: 4 };

    /// Number of slots, each of which carries one coded bit.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes of a payload.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// What a record calls this code.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The codeword of a payload, one bit for each slot.
    ///
    /// # Panics
    /// When the payload has not [`payload_bytes`](Code::payload_bytes).
    pub fn encode(&self, payload: &[u8]) -> Vec<bool> {
        assert_eq!(payload.len(), self.payload_bytes, "bytes of payload");
        self.polar().encode(&unpack(payload))
    }

    /// The committed codeword if it is on the list, else the likeliest, for soft values of any scale, positive for bit
    /// 0, one for each slot. A value of zero, or one that is not finite, counts as unknown.
    ///
    /// # Panics
    /// When the number of values is not that of the slots.
    pub fn decode(&self, soft: &[f64], is_committed: impl Fn(&[bool]) -> bool) -> Decoded {
        let mut candidates = self.polar().decode(soft, LIST);
        let found = candidates.iter().position(|candidate| is_committed(&candidate.codeword));
        let chosen = candidates.swap_remove(found.unwrap_or(0));
        Decoded { payload: pack(&chosen.information), committed: found.is_some(), codeword: chosen.codeword }
    }

    fn polar(&self) -> Polar {
        Polar::new(self.slots, 8 * self.payload_bytes)
    }
}

/// Bits packed eight to a byte, most significant first; the last byte is filled with zeros.
pub fn pack(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |all, (i, &bit)| all | u8::from(bit) << (7 - i)))
        .collect()
}

/// The bits of bytes, most significant first.
fn unpack(bytes: &[u8]) -> Vec<bool> {
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::hex::hex;

    const LADDER: [Code; 3] = [Code::FULL, Code::HALF, Code::QUARTER];

    #[test]
    fn known_answers() {
        let digests = [
            "7ca1f71beff8f9f65e854b49b6c0b97032ba91a912858387eaa7a0bfecd98fe6",
            "98cb0e36b88c9602f6b6c2855739a42047a708318ef65521668af91fd9afc260",
            "528721a7fdebffcddec2ce3604d14039f17778d4d8cf59829d9bfc4b44285ddd",
        ];
        for (code, digest) in LADDER.iter().zip(digests) {
            let payload: Vec<u8> = (0..code.payload_bytes() as u8).collect();
            assert_eq!(hex(&Sha256::digest(pack(&code.encode(&payload)))), digest, "{}", code.name());
        }
    }

    #[test]
    fn names_and_numbers_agree() {
        for code in LADDER {
            assert_eq!(code.name(), format!("polar-v1-{}-{}", code.slots(), 8 * code.payload_bytes()));
            assert!(code.slots().is_multiple_of(4));
        }
    }

    #[test]
    fn without_a_mark_nothing_is_committed() {
        for code in LADDER {
            let committed = code.encode(&vec![0xa5; code.payload_bytes()]);
            let noise: Vec<f64> = (0..code.slots()).map(|j| ((j * 7919 % 101) as f64 - 50.0) / 25.0).collect();
            for soft in [noise, vec![0.0; code.slots()], vec![f64::NAN; code.slots()]] {
                let decoded = code.decode(&soft, |codeword| codeword == committed);
                assert!(!decoded.committed);
                assert_eq!(code.encode(&decoded.payload), decoded.codeword);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_payload_survives_flipped_and_lost_slots(payload: [u8; 16], seed: u64) {
            for code in LADDER {
                let payload = &payload[..code.payload_bytes()];
                let codeword = code.encode(payload);
                let mut state = seed | 1;
                let soft: Vec<f64> = codeword.iter().map(|&bit| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let value = match state % 100 { 0..10 => -1.0, 10..20 => 0.0, _ => 1.0 };
                    if bit { -value } else { value }
                }).collect();
                let decoded = code.decode(&soft, |found| found == codeword);
                prop_assert_eq!(decoded, Decoded { payload: payload.to_vec(), committed: true, codeword });
            }
        }
    }
}
