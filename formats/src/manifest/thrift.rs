//! Thrift's compact protocol, as far as a Parquet footer needs it: structs are walked field by field, and whatever is not
//! asked for is skipped.

use super::fail;
use crate::{Error, Result};

/// Structs in lists in structs: a footer nests about six deep.
const MAX_DEPTH: u32 = 64;

/// Wire types.
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// A place in a footer. `base` is where the footer begins in the file, for messages.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub at: usize,
    base: u64,
}

/// The header of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub id: i16,
    pub kind: u8,
    /// Written as the distance to the field before.
    pub is_short: bool,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], base: u64) -> Self {
        Reader { bytes, at: 0, base }
    }

    pub fn fail(&self, reason: impl Into<String>) -> Error {
        fail("Parquet footer", self.base + self.at as u64, reason)
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.fail("ends inside a value"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fail("a number of more than 64 bits"))
    }

    /// The next field of a struct that is read, or `None` at its end. `last` is the id of the field before, zero at the
    /// start. Ids must ascend, as every writer has them: one field could stand there twice otherwise.
    pub fn field(&mut self, last: i16) -> Result<Option<Field>> {
        match self.any_field(last)? {
            Some(field) if field.id <= last => Err(self.fail("fields are out of order, or one stands there twice")),
            field => Ok(field),
        }
    }

    fn any_field(&mut self, last: i16) -> Result<Option<Field>> {
        let header = self.byte()?;
        let (kind, delta) = (header & 0x0f, header >> 4);
        if kind == 0 {
            return if delta == 0 { Ok(None) } else { Err(self.fail("the end of a struct is written in another way")) };
        }
        let id = if delta > 0 {
            last.checked_add(i16::from(delta))
        } else {
            let zigzag = self.varint()?;
            i16::try_from((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)).ok()
        };
        let id = id.ok_or_else(|| self.fail("the number of a field exceeds 16 bits"))?;
        Ok(Some(Field { id, kind, is_short: delta > 0 }))
    }

    /// The bytes of a string.
    pub fn binary(&mut self) -> Result<&'a [u8]> {
        let length = self.varint()?;
        let bytes =
            usize::try_from(length).ok().and_then(|length| self.bytes.get(self.at..self.at.checked_add(length)?));
        let bytes = bytes.ok_or_else(|| self.fail(format!("a string of {length} bytes is cut short")))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// Type and number of a list's elements.
    pub fn list(&mut self) -> Result<(u8, usize)> {
        let header = self.byte()?;
        let count = if header >> 4 == 15 { self.varint()? } else { u64::from(header >> 4) };
        // Every element takes a byte at least.
        let count = usize::try_from(count).ok().filter(|count| *count <= self.bytes.len() - self.at);
        Ok((header & 0x0f, count.ok_or_else(|| self.fail("a list is longer than the footer"))?))
    }

    /// Passes the value of a field.
    pub fn skip(&mut self, kind: u8) -> Result<()> {
        self.skip_nested(kind, false, 0)
    }

    fn skip_nested(&mut self, kind: u8, is_element: bool, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.fail(format!("values nest deeper than {MAX_DEPTH}")));
        }
        match kind {
            // A field's header holds its truth value, an element has a byte of its own.
            1 | 2 => {
                if is_element {
                    self.byte()?;
                }
            }
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => self.pass(8)?,
            BINARY => drop(self.binary()?),
            LIST | 10 => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    self.skip_nested(kind, true, depth + 1)?;
                }
            }
            11 => {
                let count = self.varint()?;
                if count > 0 {
                    let kinds = self.byte()?;
                    for _ in 0..count {
                        self.skip_nested(kinds >> 4, true, depth + 1)?;
                        self.skip_nested(kinds & 0x0f, true, depth + 1)?;
                    }
                }
            }
            STRUCT => {
                let mut last = 0;
                while let Some(field) = self.any_field(last)? {
                    last = field.id;
                    self.skip_nested(field.kind, false, depth + 1)?;
                }
            }
            13 => self.pass(16)?,
            other => return Err(self.fail(format!("{other} is no type"))),
        }
        Ok(())
    }

    fn pass(&mut self, count: usize) -> Result<()> {
        if self.bytes.len() - self.at < count {
            return Err(self.fail("ends inside a value"));
        }
        self.at += count;
        Ok(())
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// The header of a list of structs.
pub(super) fn list_header(count: usize) -> Vec<u8> {
    if count < 15 {
        return vec![(count as u8) << 4 | STRUCT];
    }
    let mut header = vec![0xf0 | STRUCT];
    varint(count as u64, &mut header);
    header
}

/// The header of a field that comes after the one of id `last`, which is less.
pub(super) fn field_header(field: Field, last: i16) -> Vec<u8> {
    match field.id - last {
        delta @ 1..=15 => vec![(delta as u8) << 4 | field.kind],
        _ => {
            let mut header = vec![field.kind];
            varint(((field.id as i64) << 1 ^ (field.id as i64) >> 63) as u64, &mut header);
            header
        }
    }
}

pub(super) fn varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
