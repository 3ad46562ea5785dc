//! The protocol buffer wire format, as far as ONNX files need it: fields of a message, one after the other, from a source
//! that is never held in memory.
//!
//! Groups, which were withdrawn before ONNX existed, and overlong numbers are refused.

use std::ops::Range;

use crate::{Error, ReadAt, Result};

/// Bytes per read of small things. Large ones are skipped, not read.
const WINDOW: u64 = 4096;

/// One field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// Where the bytes of a string, message or packed list are.
    Bytes(Range<u64>),
}

/// Bytes of a source through a small window.
pub(crate) struct Wire<'a> {
    source: &'a dyn ReadAt,
    window: Vec<u8>,
    start: u64,
}

/// A place in a message, and its end.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub at: u64,
    pub end: u64,
}

impl From<Range<u64>> for Cursor {
    fn from(range: Range<u64>) -> Self {
        Cursor { at: range.start, end: range.end }
    }
}

impl Cursor {
    pub fn is_at_end(&self) -> bool {
        self.at >= self.end
    }
}

pub(crate) fn fail(offset: u64, reason: impl Into<String>) -> Error {
    Error::Malformed { format: "ONNX model", offset, reason: reason.into() }
}

impl<'a> Wire<'a> {
    pub fn new(source: &'a dyn ReadAt) -> Self {
        Wire { source, window: Vec::new(), start: 0 }
    }

    /// The next `N` bytes.
    pub fn take<const N: usize>(&mut self, cursor: &mut Cursor) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte(cursor)?;
        }
        Ok(bytes)
    }

    fn byte(&mut self, cursor: &mut Cursor) -> Result<u8> {
        if cursor.is_at_end() {
            return Err(fail(cursor.at, "the message ends inside a field"));
        }
        let inside = cursor.at.checked_sub(self.start).filter(|&offset| offset < self.window.len() as u64);
        let offset = match inside {
            Some(offset) => offset,
            None => {
                let size = WINDOW.min(self.source.len().saturating_sub(cursor.at));
                self.window.resize(size as usize, 0);
                // A failed read must not leave a window that claims to hold these bytes.
                self.start = u64::MAX;
                crate::read_at::read(self.source, &mut self.window, cursor.at)?;
                self.start = cursor.at;
                0
            }
        };
        let byte = self.window.get(offset as usize).ok_or_else(|| fail(cursor.at, "beyond the end of the file"))?;
        cursor.at += 1;
        Ok(*byte)
    }

    /// A number of one to ten bytes, seven bits in each.
    pub fn varint(&mut self, cursor: &mut Cursor) -> Result<u64> {
        let begin = cursor.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(cursor)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(fail(begin, "a number of more than 64 bits"))
    }

    /// The next field of a message, or `None` at its end.
    pub fn field(&mut self, cursor: &mut Cursor) -> Result<Option<(u64, Value)>> {
        if cursor.is_at_end() {
            return Ok(None);
        }
        let begin = cursor.at;
        let key = self.varint(cursor)?;
        let number = key >> 3;
        if number == 0 || number >= 1 << 29 {
            return Err(fail(begin, format!("{number} is no field number")));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint(cursor)?),
            1 => Value::Fixed64(self.take(cursor)?),
            2 => {
                let length = self.varint(cursor)?;
                let past = cursor.at.checked_add(length).filter(|&past| past <= cursor.end);
                let past = past.ok_or_else(|| fail(begin, format!("field {number} of {length} bytes is cut short")))?;
                Value::Bytes(std::mem::replace(&mut cursor.at, past)..past)
            }
            5 => Value::Fixed32(self.take(cursor)?),
            kind => return Err(fail(begin, format!("field {number} has the wire type {kind}"))),
        };
        Ok(Some((number, value)))
    }

    /// A string of at most `most` bytes, without control characters.
    pub fn text(&mut self, range: &Range<u64>, most: u64) -> Result<String> {
        let length = range.end - range.start;
        if length > most {
            return Err(fail(range.start, format!("a name of {length} bytes; at most {most} are read")));
        }
        let mut bytes = vec![0; length as usize];
        let mut cursor = Cursor::from(range.clone());
        for byte in &mut bytes {
            *byte = self.byte(&mut cursor)?;
        }
        let text = String::from_utf8(bytes).map_err(|_| fail(range.start, "a name is not UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(fail(range.start, format!("the name {text:?} has control characters")));
        }
        Ok(text)
    }
}
