//! Numbers as chains with Ethereum's machine write them: `0x` and lower-case hexadecimal.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `N` bytes, written as `0x` and two digits for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed<const N: usize>(pub [u8; N]);

/// Of an account or a contract.
pub type Address = Fixed<20>;

/// A hash, or a slot of a log.
pub type Word = Fixed<32>;

impl<const N: usize> Fixed<N> {
    /// Reads the text form; digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Fixed(decode(text)?.try_into().ok()?))
    }
}

impl<const N: usize> Default for Fixed<N> {
    fn default() -> Self {
        Fixed([0; N])
    }
}

/// The bytes of `0x…`; both cases, an even number of digits.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// `0x` and the digits.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// A quantity of the JSON-RPC: no zero in front, and `0x0` for zero.
pub fn quantity(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let canonical = digits == "0" || !(digits.is_empty() || digits.starts_with('0'));
    (canonical && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Fixed::parse(&text).ok_or_else(|| de::Error::custom(format!("expected 0x and {} hexadecimal digits", 2 * N)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_a_quantity() {
        assert_eq!(quantity("0x0"), Some(0));
        assert_eq!(quantity("0x1f"), Some(31));
        for wrong in ["", "0x", "0x00", "0x01", "1", "0x+1", "0xg", "0x10000000000000000"] {
            assert_eq!(quantity(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_have_two_digits_each() {
        assert_eq!(decode("0x00fF"), Some(vec![0, 255]));
        assert_eq!(decode("0x"), Some(vec![]));
        for wrong in ["00", "0x0", "0x+1", "0xzz"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
        assert_eq!(Address::parse("0x00"), None);
    }
}
