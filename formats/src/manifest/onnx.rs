//! The entry of an ONNX model: one `metadata_props` (field 14 of `ModelProto`) with the key in field 1 and the value in
//! field 2, after the last field of a number up to 14 when we write it.
//!
//! Only the fields of the top level are walked, so a model's graph is not read. What lies in external data files is not
//! covered by the manifest of the model's file.

use std::ops::Range;

use super::thrift::varint;
use super::{
    Embedded, Format, Insertion, KEY, MAX_VALUE, Original, Piece, Pieces, Problem, Splice, Undo, decode, fail,
};
use crate::protobuf::{Cursor, Value, Wire};
use crate::{Error, ReadAt, Result, Source, read_at};

/// `ModelProto.ir_version`, without which no reader takes a model.
const IR_VERSION: u64 = 1;
/// `ModelProto.metadata_props`.
const METADATA_PROPS: u64 = 14;

/// Where the entry is in the file.
pub(super) struct Entry {
    /// The whole field, its tag included.
    field: Range<u64>,
    /// The field's bytes without the Base64 text.
    around: Vec<u8>,
}

/// The top level of a model.
struct Top {
    /// End of the last field of a number up to 14.
    end: u64,
    has_version: bool,
    found: Option<(Range<u64>, Range<u64>)>,
}

pub(super) fn find(source: &dyn ReadAt) -> std::result::Result<Option<Embedded>, Problem> {
    let mut met = false;
    let top = walk(source, &mut met).map_err(|error| Problem { error, met })?;
    let Some((field, span)) = top.found else { return Ok(None) };
    let read = |range: &Range<u64>| -> Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        read_at::read(source, &mut bytes, range.start)?;
        Ok(bytes)
    };
    if !top.has_version {
        return Err(Problem::met(malformed(0, "the model has no ir_version")));
    }
    if field.end - field.start > MAX_VALUE {
        return Err(Problem::met(malformed(field.start, "the embedded manifest is too long")));
    }
    let whole = read(&field).map_err(Problem::met)?;
    let inside = (span.start - field.start) as usize..(span.end - field.start) as usize;
    let store = decode(Format::Onnx, &whole[inside.clone()], span.start)?;
    let around = [&whole[..inside.start], &whole[inside.end..]].concat();
    let entry = super::Entry::Onnx(Entry { field, around });
    Ok(Some(Embedded { format: Format::Onnx, span, store, entry }))
}

pub(super) fn insert(source: &Source, value: u64) -> Result<Insertion> {
    let top = walk(&**source, &mut false)?;
    if !top.has_version {
        return Err(malformed(0, "the model has no ir_version"));
    }
    let mut entry = vec![1 << 3 | 2];
    varint(KEY.len() as u64, &mut entry);
    entry.extend_from_slice(KEY.as_bytes());
    entry.push(2 << 3 | 2);
    varint(value, &mut entry);
    let mut field = vec![(METADATA_PROPS << 3 | 2) as u8];
    varint(entry.len() as u64 + value, &mut field);
    field.extend_from_slice(&entry);
    let begin = top.end + field.len() as u64;
    field.resize(field.len() + value as usize, b'A');
    let pieces = vec![Piece::From(0..top.end), Piece::Held(field), Piece::From(top.end..source.len())];
    let view = Pieces::new(source.clone(), pieces);
    Ok(Insertion { format: Format::Onnx, view, span: begin..begin + value, undo: Undo::default() })
}

impl Entry {
    pub fn take_out(&self, source: &Source, undo: &Undo) -> Result<Original> {
        if *undo != Undo::default() {
            return Err(malformed(self.field.start, "the manifest names a header, and an ONNX model has none"));
        }
        let pieces = vec![Piece::From(0..self.field.start), Piece::From(self.field.end..source.len())];
        let splice = Splice { at: self.field.start..self.field.start, bytes: self.around.clone() };
        Ok(Original { view: Pieces::new(source.clone(), pieces), splice })
    }
}

/// Goes through the top level. `met` becomes true when the key is met.
fn walk(source: &dyn ReadAt, met: &mut bool) -> Result<Top> {
    let mut wire = Wire::new(source);
    let mut cursor = Cursor::from(0..source.len());
    let mut top = Top { end: 0, has_version: false, found: None };
    loop {
        let begin = cursor.at;
        let Some((number, value)) = wire.field(&mut cursor)? else { return Ok(top) };
        match (number, &value) {
            (IR_VERSION, Value::Varint(_)) => top.has_version = true,
            (METADATA_PROPS, Value::Bytes(range)) => {
                if let Some(span) = entry(&mut wire, range.clone(), met)?
                    && top.found.replace((begin..cursor.at, span)).is_some()
                {
                    return Err(malformed(begin, format!("the key {KEY} appears twice in metadata_props")));
                }
            }
            (METADATA_PROPS, _) => return Err(malformed(begin, "metadata_props is no message")),
            _ => {}
        }
        if number <= METADATA_PROPS {
            top.end = cursor.at;
        }
    }
}

/// Where the value is, when this entry is the manifest's: then it holds its key and its value once and nothing else.
fn entry(wire: &mut Wire<'_>, range: Range<u64>, met: &mut bool) -> Result<Option<Range<u64>>> {
    let begin = range.start;
    let mut cursor = Cursor::from(range);
    let (mut keys, mut values, mut others, mut is_ours) = (0, Vec::new(), 0, false);
    while let Some((number, value)) = wire.field(&mut cursor)? {
        match (number, value) {
            (1, Value::Bytes(key)) => {
                keys += 1;
                // Keys of more bytes are others.
                is_ours |= key.end - key.start == KEY.len() as u64
                    && wire.take::<{ KEY.len() }>(&mut Cursor::from(key))? == KEY.as_bytes();
                *met |= is_ours;
            }
            (2, Value::Bytes(value)) => values.push(value),
            _ => others += 1,
        }
        if values.len() > 2 {
            values.truncate(2);
        }
    }
    match (is_ours, &*values) {
        (false, _) => Ok(None),
        (true, [value]) if keys == 1 && others == 0 => Ok(Some(value.clone())),
        (true, []) => Err(malformed(begin, format!("{KEY} has no value, or one that is no text"))),
        (true, _) => Err(malformed(begin, format!("{KEY} does not stand there with one key and one value"))),
    }
}

fn malformed(offset: u64, reason: impl Into<String>) -> Error {
    fail("ONNX model", offset, reason)
}
