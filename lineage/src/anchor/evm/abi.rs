//! As much of the contracts' encoding of values (Solidity ABI) as the events need, in its one spelling.

use super::hex::{Address, Fixed, Word};
use super::keccak256;

/// The first four bytes of a call to this function.
pub fn selector(signature: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(signature.as_bytes()).0;
    [a, b, c, d]
}

/// A number.
pub fn word(number: u64) -> Vec<u8> {
    [&[0; 24][..], &number.to_be_bytes()].concat()
}

/// An address, as a topic.
pub fn address(address: &Address) -> Word {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&address.0);
    Fixed(word)
}

/// The address in a topic.
pub fn read_address(topic: &Word) -> Option<Address> {
    let (zeros, address) = topic.0.split_at(12);
    zeros.iter().all(|byte| *byte == 0).then(|| address.try_into().ok().map(Fixed)).flatten()
}

/// The number of 64 bits in a topic.
pub fn read_number(topic: &Word) -> Option<u64> {
    let (zeros, number) = topic.0.split_at(24);
    zeros.iter().all(|byte| *byte == 0).then(|| number.try_into().ok().map(u64::from_be_bytes)).flatten()
}

/// A string without the word that says where it begins: its length, and itself with zeros up to a full word.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = [word(text.len() as u64), text.as_bytes().to_vec()].concat();
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

/// The string that is the only value: where it begins, its length, itself, and zeros up to a full word.
pub fn read_string(data: &[u8]) -> Result<&str, &'static str> {
    let number = |at: usize| {
        let word: [u8; 32] =
            data.get(at..at + 32).and_then(|word| word.try_into().ok()).ok_or("its data is cut short")?;
        read_number(&Fixed(word)).ok_or("its data holds a length beyond all bytes")
    };
    if number(0)? != 32 {
        return Err("its data does not begin with the place of one string");
    }
    let rest = &data[64.min(data.len())..];
    let length = usize::try_from(number(32)?).ok().filter(|length| *length <= rest.len());
    let length = length.ok_or("its data is shorter than it says")?;
    let (text, padding) = rest.split_at(length);
    if rest.len() != length.next_multiple_of(32) || padding.iter().any(|byte| *byte != 0) {
        return Err("its data goes on behind the string");
    }
    std::str::from_utf8(text).map_err(|_| "its data is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_a_string() {
        for text in ["", "a", &"b".repeat(31), &"c".repeat(32), &"d".repeat(33)] {
            let good = [word(32), string(text)].concat();
            assert_eq!(read_string(&good), Ok(text));
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x80;
                assert_ne!(read_string(&bad), Ok(text), "{at} of {text:?}");
                assert!(read_string(&good[..at]).is_err(), "cut at {at} of {text:?}");
            }
            assert!(read_string(&[&good[..], &[0; 32]].concat()).is_err());
            assert!(read_string(&[&good[..], &[0]].concat()).is_err());
        }
        assert!(read_string(&[word(64), word(0), word(0)].concat()).is_err());
        assert!(read_string(&[word(32), word(u64::MAX)].concat()).is_err());
    }
}
