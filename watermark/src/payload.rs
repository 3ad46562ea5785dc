//! 128 bits, guarded by CRC-32 and a convolutional code, as 664 coded bits.
//!
//! Information: 16 payload bytes, then their CRC-32 (ISO-HDLC) big-endian, most significant bit first: 160 bits, and
//! six zeros that end the trellis. Code: constraint length 7, rate 1/4, generators 173, 167, 135, 111 (octal, top bit
//! for the newest bit). Decoding: Viterbi on soft values, from state 0 to state 0; bit 0 corresponds to +1.

/// Coded bits of a payload.
pub const CODED_BITS: usize = 4 * (INFORMATION_BITS + TAIL);

const INFORMATION_BITS: usize = 160;
const TAIL: usize = 6;
const STATES: usize = 1 << TAIL;
const GENERATORS: [u8; 4] = [0o173, 0o167, 0o135, 0o111];

/// What the decoder found nearest to the soft values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The 16 bytes.
    pub payload: [u8; 16],
    /// Whether their CRC-32 matches. A match alone is weak evidence: one in 2³² by chance.
    pub crc_ok: bool,
    /// The codeword of the decoded information bits.
    pub codeword: Vec<bool>,
}

/// The codeword of a payload, [`CODED_BITS`] long.
pub fn encode(payload: &[u8; 16]) -> Vec<bool> {
    let information = payload.iter().copied().chain(crc32(payload).to_be_bytes());
    convolve(information.flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)))
}

/// The likeliest codeword for soft values, positive for bit 0, one for each coded bit.
///
/// # Panics
/// When the number of values is not [`CODED_BITS`].
pub fn decode(soft: &[f64]) -> Decoded {
    assert_eq!(soft.len(), CODED_BITS, "one soft value for each coded bit");
    let information = viterbi(soft);
    let mut bytes = [0u8; INFORMATION_BITS / 8];
    for (position, &bit) in information.iter().enumerate() {
        bytes[position / 8] |= u8::from(bit) << (7 - position % 8);
    }
    let mut payload = [0; 16];
    payload.copy_from_slice(&bytes[..16]);
    let crc_ok = crc32(&payload).to_be_bytes() == bytes[16..];
    Decoded { payload, crc_ok, codeword: convolve(information.into_iter()) }
}

/// Bits packed eight to a byte, most significant first; the last byte is filled with zeros.
pub fn pack(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |all, (i, &bit)| all | u8::from(bit) << (7 - i)))
        .collect()
}

fn convolve(information: impl Iterator<Item = bool>) -> Vec<bool> {
    let mut state = 0u8;
    let mut coded = Vec::with_capacity(CODED_BITS);
    for bit in information.chain([false; TAIL]) {
        let register = u8::from(bit) << TAIL | state;
        coded.extend(outputs(register));
        state = register >> 1;
    }
    coded
}

/// The four coded bits for a register of seven bits, the newest on top.
fn outputs(register: u8) -> [bool; 4] {
    GENERATORS.map(|generator| (register & generator).count_ones() % 2 == 1)
}

/// The information bits, without the tail, of the path that correlates best.
fn viterbi(soft: &[f64]) -> Vec<bool> {
    let mut metric = [f64::NEG_INFINITY; STATES];
    metric[0] = 0.0;
    // For each step, one bit per state: the bit that fell out of the register on the way there.
    let mut dropped: Vec<u64> = Vec::with_capacity(soft.len() / 4);
    for step in soft.chunks_exact(4) {
        let mut next = [f64::NEG_INFINITY; STATES];
        let mut choices = 0;
        for (state, best) in next.iter_mut().enumerate() {
            for oldest in 0..2 {
                let register = (state << 1 | oldest) as u8;
                let gain: f64 = outputs(register).iter().zip(step).map(|(&bit, &y)| if bit { -y } else { y }).sum();
                let candidate = metric[register as usize & (STATES - 1)] + gain;
                if candidate > *best {
                    *best = candidate;
                    choices = choices & !(1 << state) | (oldest as u64) << state;
                }
            }
        }
        metric = next;
        dropped.push(choices);
    }
    let mut state = 0;
    let mut information: Vec<bool> = dropped
        .iter()
        .rev()
        .map(|choices| {
            let newest = state >> (TAIL - 1) == 1;
            state = (state << 1 | (choices >> state & 1) as usize) & (STATES - 1);
            newest
        })
        .collect();
    information.reverse();
    information.truncate(INFORMATION_BITS);
    information
}

/// CRC-32 as in ISO-HDLC, zip and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::key::hex;

    fn bits(text: &str) -> Vec<bool> {
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c == '1').collect()
    }

    #[test]
    fn known_answers() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(convolve(bits("1").into_iter()), bits("1111 1100 1110 1011 0110 1100 1111"));
        let coded = convolve(bits("1011").into_iter());
        assert_eq!(coded, bits("1111 1100 0001 1000 0100 1001 0010 1010 0011 1111"));

        let payload: [u8; 16] = std::array::from_fn(|i| i as u8);
        assert_eq!(crc32(&payload), 0xcece_e288);
        let codeword = encode(&payload);
        assert_eq!(codeword.len(), 664);
        assert_eq!(codeword.iter().filter(|&&bit| bit).count(), 306);
        let digest = hex(&Sha256::digest(pack(&codeword)));
        assert_eq!(digest, "2bd90f5cd751b6229132b8216c4cf35634a602c574c626c54a37fc6c8993458b");
    }

    #[test]
    fn noise_without_a_codeword_fails_the_check() {
        let soft: Vec<f64> = (0..CODED_BITS).map(|j| ((j * 7919 % 101) as f64 - 50.0) / 25.0).collect();
        assert!(!decode(&soft).crc_ok);
    }

    proptest! {
        #[test]
        fn every_payload_survives_15_percent_of_flipped_bits(payload: [u8; 16], seed: u64) {
            let codeword = encode(&payload);
            let mut state = seed | 1;
            let soft: Vec<f64> = codeword.iter().map(|&bit| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let flipped = state % 100 < 15;
                if bit != flipped { -1.0 } else { 1.0 }
            }).collect();
            let decoded = decode(&soft);
            // At this rate about one frame in a thousand is beyond the code; then the check must say so.
            prop_assert!(decoded.payload == payload || !decoded.crc_ok);
            let clean: Vec<f64> = codeword.iter().map(|&bit| if bit { -0.1 } else { 0.1 }).collect();
            let decoded = decode(&clean);
            prop_assert_eq!(decoded, Decoded { payload, crc_ok: true, codeword });
        }
    }
}
