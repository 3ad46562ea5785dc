//! Recursive Length Prefix (Ethereum yellow paper, appendix B): one encoding for each value, and nothing laxer is read.

use crate::Error;

/// Deeper values are in no header, receipt or transaction.
const MAX_DEPTH: usize = 32;

/// A string of bytes, or a list, borrowed from what was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A string.
    Bytes(&'a [u8]),
    /// A list: its items, and the bytes of each with its prefix.
    List(Vec<(Item<'a>, &'a [u8])>),
}

impl<'a> Item<'a> {
    /// The string.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Item::Bytes(bytes) => Some(bytes),
            Item::List(_) => None,
        }
    }

    /// The items of the list.
    pub fn list(&self) -> Option<&[(Item<'a>, &'a [u8])]> {
        match self {
            Item::Bytes(_) => None,
            Item::List(items) => Some(items),
        }
    }

    /// A string of exactly `N` bytes.
    pub fn fixed<const N: usize>(&self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    /// A number in its one spelling: big-endian without a zero in front.
    pub fn number(&self) -> Option<u64> {
        let bytes = self.bytes()?;
        if bytes.len() > 8 || bytes.first() == Some(&0) {
            return None;
        }
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// Reads one value that takes all bytes.
///
/// # Errors
/// [`Error::Input`] with the byte at which `what` breaks the rules.
pub fn decode<'a>(what: &str, bytes: &'a [u8]) -> Result<Item<'a>, Error> {
    let mut reader = Reader { bytes, at: 0 };
    let refuse = |at: usize, problem: &str| {
        Error::input(format!("{what} byte {at}"), problem, "fetch the receipt again from where it was published")
    };
    match reader.item(0) {
        Ok(item) if reader.at == bytes.len() => Ok(item),
        Ok(_) => Err(refuse(reader.at, "bytes behind the value")),
        Err(problem) => Err(refuse(reader.at, problem)),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or("cut short")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// The length that follows a long prefix.
    fn length(&mut self, digits: usize) -> Result<usize, &'static str> {
        let digits = self.take(digits)?;
        if digits[0] == 0 {
            return Err("a length with zeros in front");
        }
        let length = digits.iter().try_fold(0_usize, |length, digit| {
            length.checked_mul(256).map(|length| length | usize::from(*digit)).ok_or("a length beyond all bytes")
        })?;
        if length < 56 { Err("a long prefix of a short value") } else { Ok(length) }
    }

    fn item(&mut self, depth: usize) -> Result<Item<'a>, &'static str> {
        if depth > MAX_DEPTH {
            return Err("too deep");
        }
        let prefix = self.take(1)?[0];
        let length = match prefix {
            0..=0x7f => return Ok(Item::Bytes(&self.bytes[self.at - 1..self.at])),
            0x80..=0xb7 => usize::from(prefix - 0x80),
            0xb8..=0xbf => self.length(usize::from(prefix - 0xb7))?,
            0xc0..=0xf7 => usize::from(prefix - 0xc0),
            0xf8..=0xff => self.length(usize::from(prefix - 0xf7))?,
        };
        if prefix < 0xc0 {
            let bytes = self.take(length)?;
            return if length == 1 && bytes[0] < 0x80 {
                Err("a prefix of a single byte")
            } else {
                Ok(Item::Bytes(bytes))
            };
        }
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or("cut short")?;
        let mut items = Vec::new();
        while self.at < end {
            let start = self.at;
            let item = self.item(depth + 1)?;
            if self.at > end {
                return Err("an item that ends behind its list");
            }
            items.push((item, &self.bytes[start..self.at]));
        }
        Ok(Item::List(items))
    }
}

/// A string of bytes, encoded.
pub fn bytes(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [byte] if *byte < 0x80 => vec![*byte],
        _ => [prefix(0x80, bytes.len()), bytes.to_vec()].concat(),
    }
}

/// A number, encoded: big-endian without zeros in front.
pub fn number(number: u128) -> Vec<u8> {
    let digits = number.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    bytes(&digits[zeros..])
}

/// A list of encoded items.
pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let body = items.concat();
    [prefix(0xc0, body.len()), body].concat()
}

fn prefix(base: u8, length: usize) -> Vec<u8> {
    if length < 56 {
        return vec![base + length as u8];
    }
    let digits = length.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[zeros..];
    [&[base + 55 + digits.len() as u8], digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any value, encoded.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let leaf = proptest::collection::vec(any::<u8>(), 0..80).prop_map(|content| bytes(&content));
        leaf.prop_recursive(4, 40, 6, |inner| proptest::collection::vec(inner, 0..6).prop_map(|items| list(&items)))
    }

    fn encode(item: &Item<'_>) -> Vec<u8> {
        match item {
            Item::Bytes(content) => bytes(content),
            Item::List(items) => list(&items.iter().map(|(item, _)| encode(item)).collect::<Vec<_>>()),
        }
    }

    #[test]
    fn known_answers() {
        assert_eq!(bytes(b"dog"), b"\x83dog");
        assert_eq!(list(&[bytes(b"cat"), bytes(b"dog")]), b"\xc8\x83cat\x83dog");
        assert_eq!(
            (bytes(b""), list(&[]), bytes(&[0x0f]), number(0)),
            (vec![0x80], vec![0xc0], vec![0x0f], vec![0x80])
        );
        assert_eq!(number(1024), [0x82, 0x04, 0x00]);
        assert_eq!(bytes(&[b'a'; 56])[..2], [0xb8, 56]);
        assert_eq!(decode("x", &[0x82, 0x04, 0x00]).unwrap().number(), Some(1024));
        assert_eq!(decode("x", &[0x82, 0x00, 0x01]).unwrap().number(), None);
    }

    #[test]
    fn one_spelling_only() {
        let wrong: [&[u8]; 9] = [
            &[],
            &[0x81, 0x7f],
            &[0xb8, 0x01, 0xff],
            &[0xb9, 0x00, 0x38],
            &[0xf8, 0x01, 0x01],
            &[0x83, 1, 2],
            &[0xc2, 0x83, 1, 2, 3],
            &[0x01, 0x02],
            &[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ];
        for bytes in wrong {
            assert!(decode("x", bytes).is_err(), "{bytes:02x?}");
        }
        assert!(decode("x", &(0..40).fold(vec![0xc0], |inner, _| list(&[inner]))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(encoded in value()) {
            prop_assert_eq!(encode(&decode("x", &encoded).unwrap()), encoded);
        }

        #[test]
        fn any_bytes_are_answered(content in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(item) = decode("x", &content) {
                prop_assert_eq!(encode(&item), content);
            }
        }
    }
}
