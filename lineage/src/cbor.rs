//! CBOR (RFC 8949): one value type, an encoder that has one answer, and a decoder that trusts nothing.
//!
//! The encoder is deterministic as section 4.2.1 asks: shortest heads, shortest floats, map keys sorted bytewise by
//! their encodings. The decoder knows definite lengths only and refuses duplicate map keys, bytes after the item, text
//! that is not UTF-8, unassigned simple values, nesting deeper than [`MAX_DEPTH`] and more than [`MAX_ITEMS`] items.

use thiserror::Error;

/// How deep arrays, maps and tags may nest.
pub const MAX_DEPTH: usize = 32;

/// How many data items one input may hold, which bounds memory to about 100 MiB beside the input's own bytes.
pub const MAX_ITEMS: usize = 1 << 20;

/// One CBOR data item.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer from 0 up.
    Unsigned(u64),
    /// The integer -1 - n.
    Negative(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// A map. The decoder keeps the order of the input, the encoder sorts.
    Map(Vec<(Value, Value)>),
    /// A tagged item.
    Tag(u64, Box<Value>),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
    /// Undefined.
    Undefined,
    /// A float; half and single precision are widened, which is exact.
    Float(f64),
}

/// Which encodings [`decode`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Only the one encoding that [`encode`] writes: what we read of our own.
    Deterministic,
    /// Any head length, float width and key order: what others write.
    Lenient,
}

/// Why bytes are not an acceptable data item. Offsets count from the first byte given to [`decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CborError {
    /// The input ends inside an item.
    #[error("CBOR at byte {0}: the input ends inside this item; fetch the whole of it")]
    Truncated(usize),
    /// Bytes follow the item.
    #[error("CBOR at byte {0}: bytes follow the item; remove them")]
    Trailing(usize),
    /// Indefinite length, reserved head, or a simple value other than false, true, null and undefined.
    #[error("CBOR at byte {offset}: head 0x{head:02x} is not supported; write definite lengths and plain types")]
    Unsupported {
        /// Where the head stands.
        offset: usize,
        /// Its first byte.
        head: u8,
    },
    /// A text string is not UTF-8.
    #[error("CBOR at byte {0}: text is not UTF-8; write it as a byte string")]
    NotUtf8(usize),
    /// Arrays, maps or tags nest too deep.
    #[error("CBOR at byte {0}: nested deeper than {MAX_DEPTH} levels; flatten it")]
    TooDeep(usize),
    /// More than [`MAX_ITEMS`] items.
    #[error("CBOR at byte {0}: more than {MAX_ITEMS} items; split it")]
    TooMany(usize),
    /// A map has the same key twice. The offset is that of the map.
    #[error("CBOR at byte {0}: this map has the same key twice; keep one")]
    DuplicateKey(usize),
    /// Valid CBOR, but not the deterministic encoding; the offset is the first byte that differs from it.
    #[error("CBOR at byte {0}: not the deterministic encoding (RFC 8949, 4.2.1); encode it again")]
    NotDeterministic(usize),
}

/// The integer `n`.
pub fn int(n: i64) -> Value {
    // !n is -1 - n, which is not negative where n is.
    if n < 0 { Value::Negative(!n as u64) } else { Value::Unsigned(n as u64) }
}

/// A text string.
pub fn text(s: impl Into<String>) -> Value {
    Value::Text(s.into())
}

/// A byte string.
pub fn bytes(b: impl Into<Vec<u8>>) -> Value {
    Value::Bytes(b.into())
}

impl Value {
    /// The integer, if it is one and fits.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Unsigned(n) => i64::try_from(*n).ok(),
            Value::Negative(n) => i64::try_from(*n).ok().map(|n| !n),
            _ => None,
        }
    }

    /// The byte string, if it is one.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(b) => Some(b),
            _ => None,
        }
    }

    /// The text string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(s) => Some(s),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs, if it is a map.
    pub fn as_map(&self) -> Option<&[(Value, Value)]> {
        match self {
            Value::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// What a map holds under the integer `key`.
    pub fn get(&self, key: i64) -> Option<&Value> {
        self.as_map()?.iter().find(|(k, _)| k.as_int() == Some(key)).map(|(_, v)| v)
    }

    /// What a map holds under the text `key`.
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.as_map()?.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v)
    }
}

/// The deterministic encoding of `value`. A map with equal keys comes out as it is; [`decode`] refuses it.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Unsigned(n) => head(0, *n, out),
        Value::Negative(n) => head(1, *n, out),
        Value::Bytes(b) => {
            head(2, b.len() as u64, out);
            out.extend_from_slice(b);
        }
        Value::Text(s) => {
            head(3, s.len() as u64, out);
            out.extend_from_slice(s.as_bytes());
        }
        Value::Array(items) => {
            head(4, items.len() as u64, out);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Map(pairs) => {
            head(5, pairs.len() as u64, out);
            let mut sorted: Vec<_> = pairs.iter().map(|(k, v)| (encode(k), v)).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, value) in sorted {
                out.extend_from_slice(&key);
                write(value, out);
            }
        }
        Value::Tag(tag, inner) => {
            head(6, *tag, out);
            write(inner, out);
        }
        Value::Bool(b) => out.push(0xf4 + u8::from(*b)),
        Value::Null => out.push(0xf6),
        Value::Undefined => out.push(0xf7),
        Value::Float(x) => {
            if let Some(half) = to_half(*x) {
                out.push(0xf9);
                out.extend_from_slice(&half.to_be_bytes());
            } else if f64::from(*x as f32) == *x {
                out.push(0xfa);
                out.extend_from_slice(&(*x as f32).to_be_bytes());
            } else {
                out.push(0xfb);
                out.extend_from_slice(&x.to_be_bytes());
            }
        }
    }
}

/// Major type and argument, as short as it goes.
fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// IEEE 754 half precision, when it holds `x` exactly; every NaN is the one quiet NaN.
fn to_half(x: f64) -> Option<u16> {
    let bits = x.to_bits();
    let sign = (bits >> 63 << 15) as u16;
    let fraction = bits & ((1 << 52) - 1);
    match ((bits >> 52) & 0x7ff) as i32 - 1023 {
        1024 if fraction == 0 => Some(sign | 0x7c00),
        1024 => Some(0x7e00),
        -1023 if fraction == 0 => Some(sign),
        exponent @ -14..=15 if fraction.trailing_zeros() >= 42 => {
            Some(sign | (((exponent + 15) as u16) << 10) | (fraction >> 42) as u16)
        }
        exponent @ -24..=-15 => {
            let (significand, shift) = (fraction | 1 << 52, (28 - exponent) as u32);
            (significand.trailing_zeros() >= shift).then_some(sign | (significand >> shift) as u16)
        }
        _ => None,
    }
}

fn from_half(half: u16) -> f64 {
    let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f64::from(half & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if half >> 15 == 1 { -magnitude } else { magnitude }
}

/// Reads the one data item that `input` is.
pub fn decode(input: &[u8], rules: Rules) -> Result<Value, CborError> {
    let mut decoder = Decoder { input, at: 0, items: 0 };
    let value = decoder.item(0)?;
    if decoder.at != input.len() {
        return Err(CborError::Trailing(decoder.at));
    }
    if rules == Rules::Deterministic {
        let canonical = encode(&value);
        if canonical != input {
            let same = canonical.iter().zip(input).take_while(|(a, b)| a == b).count();
            return Err(CborError::NotDeterministic(same));
        }
    }
    Ok(value)
}

struct Decoder<'a> {
    input: &'a [u8],
    at: usize,
    items: usize,
}

impl<'a> Decoder<'a> {
    fn take(&mut self, n: u64, start: usize) -> Result<&'a [u8], CborError> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n));
        let taken = end.and_then(|end| self.input.get(self.at..end)).ok_or(CborError::Truncated(start))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn big_endian(&mut self, width: u64, start: usize) -> Result<u64, CborError> {
        Ok(self.take(width, start)?.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn item(&mut self, depth: usize) -> Result<Value, CborError> {
        let start = self.at;
        let head = self.take(1, start)?[0];
        self.items += 1;
        if self.items > MAX_ITEMS {
            return Err(CborError::TooMany(start));
        }
        let (major, info) = (head >> 5, head & 0x1f);
        let unsupported = CborError::Unsupported { offset: start, head };
        let argument = match info {
            0..=23 => u64::from(info),
            24..=27 => self.big_endian(1 << (info - 24), start)?,
            _ => return Err(unsupported),
        };
        if (4..=6).contains(&major) && depth >= MAX_DEPTH {
            return Err(CborError::TooDeep(start));
        }
        // What is left bounds the number of items, so a large count cannot reserve much.
        let left = self.input.len() - self.at;
        Ok(match major {
            0 => Value::Unsigned(argument),
            1 => Value::Negative(argument),
            2 => Value::Bytes(self.take(argument, start)?.to_vec()),
            3 => {
                let raw = self.take(argument, start)?;
                Value::Text(std::str::from_utf8(raw).map_err(|_| CborError::NotUtf8(start))?.to_owned())
            }
            4 => {
                let count = usize::try_from(argument).ok().filter(|n| *n <= left).ok_or(CborError::Truncated(start))?;
                Value::Array((0..count).map(|_| self.item(depth + 1)).collect::<Result<_, _>>()?)
            }
            5 => {
                let count =
                    usize::try_from(argument).ok().filter(|n| *n <= left / 2).ok_or(CborError::Truncated(start))?;
                let pairs: Vec<_> = (0..count)
                    .map(|_| Ok((self.item(depth + 1)?, self.item(depth + 1)?)))
                    .collect::<Result<_, CborError>>()?;
                let mut keys: Vec<_> = pairs.iter().map(|(key, _)| encode(key)).collect();
                keys.sort();
                if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(CborError::DuplicateKey(start));
                }
                Value::Map(pairs)
            }
            6 => Value::Tag(argument, Box::new(self.item(depth + 1)?)),
            _ => match info {
                20 => Value::Bool(false),
                21 => Value::Bool(true),
                22 => Value::Null,
                23 => Value::Undefined,
                25 => Value::Float(from_half(argument as u16)),
                26 => Value::Float(f64::from(f32::from_bits(argument as u32))),
                27 => Value::Float(f64::from_bits(argument)),
                _ => return Err(unsupported),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(s: &str) -> Vec<u8> {
        (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// RFC 8949, appendix A: the rows with definite lengths.
    #[test]
    fn examples_of_the_standard() {
        let nested = Value::Array(vec![int(1), Value::Array(vec![int(2), int(3)])]);
        let rows = [
            ("00", int(0)),
            ("17", int(23)),
            ("1818", int(24)),
            ("1903e8", int(1000)),
            ("1a000f4240", int(1_000_000)),
            ("1bffffffffffffffff", Value::Unsigned(u64::MAX)),
            ("3bffffffffffffffff", Value::Negative(u64::MAX)),
            ("20", int(-1)),
            ("3903e7", int(-1000)),
            ("f90000", Value::Float(0.0)),
            ("f98000", Value::Float(-0.0)),
            ("f93c00", Value::Float(1.0)),
            ("fb3ff199999999999a", Value::Float(1.1)),
            ("f97bff", Value::Float(65504.0)),
            ("fa47c35000", Value::Float(100000.0)),
            ("f90001", Value::Float(5.960464477539063e-8)),
            ("f90400", Value::Float(0.00006103515625)),
            ("f97c00", Value::Float(f64::INFINITY)),
            ("f4", Value::Bool(false)),
            ("f5", Value::Bool(true)),
            ("f6", Value::Null),
            ("f7", Value::Undefined),
            ("4401020304", bytes([1, 2, 3, 4])),
            ("6449455446", text("IETF")),
            ("8201820203", nested),
            ("a201020304", Value::Map(vec![(int(1), int(2)), (int(3), int(4))])),
            ("c11a514b67b0", Value::Tag(1, Box::new(int(1_363_896_240)))),
        ];
        for (encoded, value) in rows {
            assert_eq!(encode(&value), hex(encoded), "{value:?}");
            assert_eq!(decode(&hex(encoded), Rules::Deterministic).unwrap(), value, "{encoded}");
        }
        assert!(matches!(decode(&hex("f97e00"), Rules::Deterministic), Ok(Value::Float(x)) if x.is_nan()));
    }

    #[test]
    fn refusals_name_the_byte() {
        let lenient = |s: &str| decode(&hex(s), Rules::Lenient).unwrap_err();
        assert_eq!(lenient(""), CborError::Truncated(0));
        assert_eq!(lenient("8201"), CborError::Truncated(0));
        assert_eq!(lenient("8143"), CborError::Truncated(1));
        assert_eq!(lenient("830143"), CborError::Truncated(0));
        assert_eq!(lenient("9bffffffffffffffff00"), CborError::Truncated(0));
        assert_eq!(lenient("bb7fffffffffffffff00"), CborError::Truncated(0));
        assert_eq!(lenient("5bffffffffffffffff00"), CborError::Truncated(0));
        assert_eq!(lenient("0000"), CborError::Trailing(1));
        assert_eq!(lenient("9f00ff"), CborError::Unsupported { offset: 0, head: 0x9f });
        assert_eq!(lenient("81f8ff"), CborError::Unsupported { offset: 1, head: 0xf8 });
        assert_eq!(lenient("62c328"), CborError::NotUtf8(0));
        assert_eq!(lenient("81a20000180001"), CborError::DuplicateKey(1));
        assert_eq!(lenient(&("81".repeat(40) + "00")), CborError::TooDeep(32));
        assert_eq!(lenient(&("c1".repeat(40) + "00")), CborError::TooDeep(32));
        let mut many = hex("9a00200000");
        many.resize(5 + (2 << 20), 0);
        assert_eq!(decode(&many, Rules::Lenient), Err(CborError::TooMany(5 + MAX_ITEMS - 1)));
        for loose in ["1800", "a203040102", "fa3f800000", "f97e01", "1b0000000000000001"] {
            assert!(decode(&hex(loose), Rules::Lenient).is_ok());
            assert!(matches!(decode(&hex(loose), Rules::Deterministic), Err(CborError::NotDeterministic(_))));
        }
    }

    #[test]
    fn integers_at_the_edges() {
        for n in [0, 23, 24, 255, 256, 65_535, 65_536, i64::MAX, -1, -24, -25, i64::MIN] {
            assert_eq!(int(n).as_int(), Some(n));
            assert_eq!(decode(&encode(&int(n)), Rules::Deterministic).unwrap().as_int(), Some(n));
        }
        assert_eq!(Value::Unsigned(u64::MAX).as_int(), None);
        assert_eq!(Value::Negative(u64::MAX).as_int(), None);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u64>().prop_map(Value::Unsigned),
            any::<u64>().prop_map(Value::Negative),
            any::<f64>().prop_filter("NaN is not equal to itself", |x| !x.is_nan()).prop_map(Value::Float),
            any::<u16>().prop_map(from_half).prop_filter("as above", |x| !x.is_nan()).prop_map(Value::Float),
            any::<bool>().prop_map(Value::Bool),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
            "[a-zé€]{0,30}".prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::btree_map(any::<i64>(), inner.clone(), 0..6)
                    .prop_map(|map| Value::Map(map.into_iter().map(|(k, v)| (int(k), v)).collect())),
                (any::<u64>(), inner).prop_map(|(tag, value)| Value::Tag(tag, Box::new(value))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            let encoded = encode(&value);
            let read = decode(&encoded, Rules::Deterministic).unwrap();
            prop_assert_eq!(encode(&read), encoded);
        }

        #[test]
        fn any_bytes_are_refused_or_read(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = decode(&input, Rules::Lenient) {
                let canonical = encode(&value);
                prop_assert_eq!(encode(&decode(&canonical, Rules::Deterministic).unwrap()), canonical);
            }
            if let Ok(value) = decode(&input, Rules::Deterministic) {
                prop_assert_eq!(encode(&value), input);
            }
        }
    }
}
