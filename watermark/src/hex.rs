//! Bytes as lower-case hex, in records and reports.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case hex of any number of bytes.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

fn parse_exactly<'de, D: Deserializer<'de>, const N: usize>(text: &str) -> Result<[u8; N], D::Error> {
    let bytes = parse(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| D::Error::custom(format_args!("expected {} lower-case hex digits", 2 * N)))
}

/// A fixed number of bytes.
pub(crate) mod hex_bytes {
    use super::*;

    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        parse_exactly::<D, N>(&String::deserialize(deserializer)?)
    }
}

/// The same, or null.
pub(crate) mod optional_hex_bytes {
    use super::*;

    pub fn serialize<S: Serializer, const N: usize>(bytes: &Option<[u8; N]>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| hex(bytes)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Option<[u8; N]>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| parse_exactly::<D, N>(&text)).transpose()
    }
}

/// Any number of bytes, or null.
pub(crate) mod optional_hex {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(hex).serialize(serializer)
    }
}
