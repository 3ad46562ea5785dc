//! Data types of ONNX, and tensors whose values stand in typed fields instead of raw bytes.

use std::io::{self, Read};
use std::ops::Range;

use crate::protobuf::{Cursor, Value, Wire, fail};
use crate::{ReadAt, Result};

/// A data type: its name here, and how values are stored.
pub(super) struct Kind {
    /// Safetensors' name, or ONNX's own where there is none. ONNX packs `FLOAT4E2M1` as `raw_data` says, low half first.
    pub dtype: &'static str,
    /// Bits of an element; 0 for strings.
    bits: u64,
    /// The typed field that may hold it.
    pub field: u64,
    /// Bytes that one number of that field gives; 0 where the field's bytes are taken as they are.
    pub width: u8,
}

impl Kind {
    /// Bytes of so many elements: `None` beyond 64 bits, `Some(None)` for strings, whose lengths differ.
    pub fn bytes(&self, elements: u64) -> Option<Option<u64>> {
        if self.is_text() {
            return Some(None);
        }
        // Elements of less than a byte fill whole bytes together.
        let bits = u128::from(elements) * u128::from(self.bits);
        u64::try_from(bits.div_ceil(8)).ok().map(Some)
    }

    pub fn is_text(&self) -> bool {
        self.bits == 0
    }
}

/// The data type of this number in `TensorProto.DataType`.
pub(super) fn kind(number: u64) -> Option<&'static Kind> {
    const fn of(dtype: &'static str, bits: u64, field: u64, width: u8) -> Kind {
        Kind { dtype, bits, field, width }
    }
    const KINDS: [Kind; 26] = [
        of("F32", 32, 4, 0),
        of("U8", 8, 5, 1),
        of("I8", 8, 5, 1),
        of("U16", 16, 5, 2),
        of("I16", 16, 5, 2),
        of("I32", 32, 5, 4),
        of("I64", 64, 7, 8),
        of("STRING", 0, 6, 0),
        of("BOOL", 8, 5, 1),
        of("F16", 16, 5, 2),
        of("F64", 64, 10, 0),
        of("U32", 32, 11, 4),
        of("U64", 64, 11, 8),
        of("C64", 64, 4, 0),
        of("COMPLEX128", 128, 10, 0),
        of("BF16", 16, 5, 2),
        of("F8_E4M3", 8, 5, 1),
        of("F8_E4M3FNUZ", 8, 5, 1),
        of("F8_E5M2", 8, 5, 1),
        of("F8_E5M2FNUZ", 8, 5, 1),
        of("UINT4", 4, 5, 1),
        of("INT4", 4, 5, 1),
        of("FLOAT4E2M1", 4, 5, 1),
        of("F8_E8M0", 8, 5, 1),
        of("UINT2", 2, 5, 1),
        of("INT2", 2, 5, 1),
    ];
    const { &KINDS }.get(usize::try_from(number.checked_sub(1)?).ok()?)
}

/// Values in a typed field, which may be packed, single, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// The tensor's message.
    pub(super) message: Range<u64>,
    pub(super) field: u64,
    pub(super) width: u8,
}

impl Typed {
    /// Reads all values and counts their bytes. `elements` is how many strings there must be.
    pub(super) fn measure(&self, wire: &mut Wire<'_>, elements: u64, name: &str) -> Result<u64> {
        let mut values = Values::new(self);
        let mut total = 0u64;
        let mut count = 0u64;
        let mut bytes = Vec::new();
        while values.next(wire, &mut bytes)? {
            total += bytes.len() as u64 + values.text_left();
            count += 1;
            values.skip_text();
        }
        if self.field == 6 && count != elements {
            return Err(fail(self.message.start, format!("tensor {name:?}: {count} strings, not {elements}")));
        }
        Ok(total)
    }

    /// The values as bytes.
    pub(crate) fn reader<'a>(&self, source: &'a dyn ReadAt) -> impl Read + use<'a> {
        Reader { wire: Wire::new(source), values: Values::new(self), bytes: Vec::new(), used: 0 }
    }
}

/// Goes through the values one by one.
struct Values {
    typed: Typed,
    message: Cursor,
    /// The packed list that is being read; for strings, the rest of the string.
    list: Option<Cursor>,
}

impl Values {
    fn new(typed: &Typed) -> Self {
        Values { typed: typed.clone(), message: Cursor::from(typed.message.clone()), list: None }
    }

    fn text_left(&self) -> u64 {
        self.list.as_ref().filter(|_| self.typed.field == 6).map_or(0, |list| list.end - list.at)
    }

    fn skip_text(&mut self) {
        if self.typed.field == 6 {
            self.list = None;
        }
    }

    /// Replaces `bytes` by those of the next value; of a string by its length, after which its bytes come piece by piece.
    fn next(&mut self, wire: &mut Wire<'_>, bytes: &mut Vec<u8>) -> Result<bool> {
        bytes.clear();
        loop {
            if let Some(list) = self.list.as_mut().filter(|list| !list.is_at_end()) {
                match self.typed.field {
                    4 => bytes.extend(wire.take::<4>(list)?),
                    10 => bytes.extend(wire.take::<8>(list)?),
                    6 => bytes.extend(wire.take::<1>(list)?),
                    _ => {
                        let at = list.at;
                        let number = wire.varint(list)?;
                        self.number(number, at, bytes)?;
                    }
                }
                return Ok(true);
            }
            self.list = None;
            let Some((number, value)) = wire.field(&mut self.message)? else { return Ok(false) };
            if number != self.typed.field {
                continue;
            }
            let at = self.message.at;
            match (number, value) {
                (6, Value::Bytes(range)) => {
                    bytes.extend((range.end - range.start).to_le_bytes());
                    self.list = Some(Cursor::from(range));
                    return Ok(true);
                }
                (_, Value::Bytes(range)) => self.list = Some(Cursor::from(range)),
                (4, Value::Fixed32(value)) => bytes.extend(value),
                (10, Value::Fixed64(value)) => bytes.extend(value),
                (5 | 7 | 11, Value::Varint(value)) => self.number(value, at, bytes)?,
                _ => return Err(fail(at, format!("field {number} of a tensor has the wrong wire type"))),
            }
            if !bytes.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The low bytes of a number, which must not lose anything.
    fn number(&self, number: u64, at: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let width = usize::from(self.typed.width);
        let bits = 8 * width as u32;
        let signed = number as i64;
        if bits < 64 && !(-(1i64 << (bits - 1))..1i64 << bits).contains(&signed) {
            return Err(fail(at, format!("the value {signed} does not fit {width} bytes")));
        }
        bytes.extend(&number.to_le_bytes()[..width]);
        Ok(())
    }
}

struct Reader<'a> {
    wire: Wire<'a>,
    values: Values,
    bytes: Vec<u8>,
    used: usize,
}

impl Read for Reader<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < target.len() {
            if self.used == self.bytes.len() {
                self.used = 0;
                let more = self.values.next(&mut self.wire, &mut self.bytes);
                if !more.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                    break;
                }
            }
            let count = (target.len() - filled).min(self.bytes.len() - self.used);
            target[filled..filled + count].copy_from_slice(&self.bytes[self.used..self.used + count]);
            filled += count;
            self.used += count;
        }
        Ok(filled)
    }
}
