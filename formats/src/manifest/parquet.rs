//! The entry in the footer of a Parquet file: the last one of `key_value_metadata`, field 5 of `FileMetaData`.
//!
//! A file is `PAR1`, the columns, the footer in Thrift's compact protocol, its length (u32, little-endian) and `PAR1`. Places
//! of columns count from the start of the file, so the footer may grow without any of them changing.

use std::ops::Range;

use super::thrift::{self, BINARY, Field, LIST, Reader, STRUCT};
use super::{
    Embedded, Format, Insertion, KEY, MAX_VALUE, Original, Piece, Pieces, Problem, Splice, Undo, decode, fail,
};
use crate::{Error, ReadAt, Result, Source, read_at};

pub(super) const MAGIC: [u8; 4] = *b"PAR1";
const ENCRYPTED: [u8; 4] = *b"PARE";

/// Longest footer that is read, in bytes.
const MAX_FOOTER: u64 = 100_000_000;

/// Bytes after the footer: its length and the magic.
const TAIL: u64 = 8;

/// Ids of `FileMetaData`.
const KEY_VALUE_METADATA: i16 = 5;
const ENCRYPTION: [i16; 2] = [8, 9];

/// The footer with the entry in it. Ranges count from the footer's first byte.
pub(super) struct Entry {
    /// Where the footer begins in the file.
    begin: u64,
    footer: Vec<u8>,
    list: List,
    /// The entry, with the end of its struct.
    entry: Range<usize>,
    /// The Base64 text.
    value: Range<usize>,
}

/// What is around the metadata.
struct List {
    /// Id of the field before it, or zero.
    before: i16,
    /// Where its field header begins; where it would, when there is none.
    begin: usize,
    /// The list's own header, and how many entries it has.
    header: Range<usize>,
    count: usize,
    /// Where it ends.
    end: usize,
    /// The field after it and the bytes of that field's header, unless the footer ends there.
    after: Option<(Field, Range<usize>)>,
}

impl List {
    /// What follows the metadata. A header that counts from the field before is written anew when that is another one.
    fn rest(&self, footer: &[u8], was: i16, now: i16) -> Vec<u8> {
        match &self.after {
            Some((after, header)) if after.is_short && was != now => {
                let mut rest = thrift::field_header(*after, now);
                rest.extend_from_slice(&footer[header.end..]);
                rest
            }
            _ => footer[self.end..].to_vec(),
        }
    }
}

/// What a walk over the footer gives.
struct Walked {
    list: List,
    found: Vec<(Range<usize>, Range<usize>)>,
}

pub(super) fn find(source: &dyn ReadAt) -> std::result::Result<Option<Embedded>, Problem> {
    let (begin, footer) = footer(source).map_err(Problem::unmet)?;
    let mut met = false;
    let walked = walk(&footer, begin, &mut met).map_err(|error| Problem { error, met })?;
    let (entry, value) = match &*walked.found {
        [] => return Ok(None),
        [(entry, value)] => (entry.clone(), value.clone()),
        [_, (second, _), ..] => {
            let problem = format!("the key {KEY} appears twice in the metadata");
            return Err(Problem::met(malformed(begin + second.start as u64, problem)));
        }
    };
    let span = begin + value.start as u64..begin + value.end as u64;
    if span.end - span.start > MAX_VALUE {
        return Err(Problem::met(malformed(span.start, "the embedded manifest is too long")));
    }
    let store = decode(Format::Parquet, &footer[value.clone()], span.start)?;
    let entry = super::Entry::Parquet(Entry { begin, footer, list: walked.list, entry, value });
    Ok(Some(Embedded { format: Format::Parquet, span, store, entry }))
}

pub(super) fn insert(source: &Source, value: u64) -> Result<Insertion> {
    let (begin, footer) = footer(&**source)?;
    let Walked { list, .. } = walk(&footer, begin, &mut false)?;
    let made = list.count == 0 && list.header.is_empty();
    let header = &footer[list.header.clone()];
    if !made && header != thrift::list_header(list.count) {
        return Err(malformed(begin + list.header.start as u64, "the list of metadata is written in an unusual way"));
    }

    let mut first = footer[..list.begin].to_vec();
    let metadata = Field { id: KEY_VALUE_METADATA, kind: LIST, is_short: true };
    if made {
        first.extend(thrift::field_header(metadata, list.before));
    } else {
        first.extend_from_slice(&footer[list.begin..list.header.start]);
    }
    first.extend(thrift::list_header(list.count + 1));
    first.extend_from_slice(&footer[list.header.end..list.end]);
    // KeyValue: field 1 the key, field 2 the value, both binary.
    for (text, length) in [(KEY.as_bytes(), KEY.len() as u64), (&[], value)] {
        first.push(1 << 4 | BINARY);
        thrift::varint(length, &mut first);
        first.extend_from_slice(text);
    }
    let span = begin + first.len() as u64..begin + first.len() as u64 + value;
    first.resize(first.len() + value as usize, b'A');
    first.push(0);
    let old_before = if made { list.before } else { KEY_VALUE_METADATA };
    first.extend(list.rest(&footer, old_before, KEY_VALUE_METADATA));
    let first = with_tail(first)?;
    let view = Pieces::new(source.clone(), vec![Piece::From(0..begin), Piece::Held(first)]);
    Ok(Insertion { format: Format::Parquet, view, span, undo: Undo { made, header: None } })
}

impl Entry {
    pub fn take_out(&self, source: &Source, undo: &Undo) -> Result<Original> {
        let (list, footer) = (&self.list, &*self.footer);
        if undo.header.is_some() {
            return Err(malformed(self.begin, "the manifest names the length of a header, and Parquet has none"));
        }
        let mut old;
        if undo.made {
            if list.count != 1 {
                return Err(malformed(self.begin, "the metadata was made for the manifest, but holds more"));
            }
            old = footer[..list.begin].to_vec();
            old.extend(list.rest(footer, KEY_VALUE_METADATA, list.before));
        } else {
            old = footer[..list.header.start].to_vec();
            old.extend(thrift::list_header(list.count - 1));
            old.extend_from_slice(&footer[list.header.end..self.entry.start]);
            old.extend_from_slice(&footer[self.entry.end..]);
        }
        let old = with_tail(old)?;
        let mut new = footer[..self.value.start].to_vec();
        new.extend_from_slice(&footer[self.value.end..]);
        new.extend_from_slice(&(footer.len() as u32).to_le_bytes());
        new.extend_from_slice(&MAGIC);
        let splice = Splice { at: self.begin..self.begin + old.len() as u64, bytes: new };
        let view = Pieces::new(source.clone(), vec![Piece::From(0..self.begin), Piece::Held(old)]);
        Ok(Original { view, splice })
    }
}

/// A footer with its length and the magic.
fn with_tail(mut footer: Vec<u8>) -> Result<Vec<u8>> {
    let length = footer.len() as u64;
    if length > MAX_FOOTER {
        return Err(malformed(0, format!("with a manifest the footer would exceed {MAX_FOOTER} bytes")));
    }
    footer.extend_from_slice(&(length as u32).to_le_bytes());
    footer.extend_from_slice(&MAGIC);
    Ok(footer)
}

/// Where the footer begins, and its bytes.
fn footer(source: &dyn ReadAt) -> Result<(u64, Vec<u8>)> {
    let length = source.len();
    let (mut head, mut tail) = ([0; 4], [0; TAIL as usize]);
    if length < MAGIC.len() as u64 + TAIL {
        return Err(malformed(0, "the file is too short"));
    }
    read_at::read(source, &mut head, 0)?;
    read_at::read(source, &mut tail, length - TAIL)?;
    if tail[4..] == ENCRYPTED {
        return Err(malformed(length - 4, "the footer is encrypted, and a manifest in it cannot be read"));
    }
    if head != MAGIC || tail[4..] != MAGIC {
        return Err(malformed(length - 4, "the file does not begin and end with PAR1"));
    }
    let footer = u64::from(u32::from_le_bytes(tail[..4].try_into().unwrap_or_default()));
    let limit = MAX_FOOTER.min(length - TAIL - MAGIC.len() as u64);
    if footer > limit {
        return Err(malformed(length - TAIL, format!("a footer of {footer} bytes, and at most {limit} are possible")));
    }
    let begin = length - TAIL - footer;
    let mut bytes = vec![0; footer as usize];
    read_at::read(source, &mut bytes, begin)?;
    Ok((begin, bytes))
}

/// Goes through `FileMetaData`. `met` becomes true when the key is met.
fn walk(footer: &[u8], base: u64, met: &mut bool) -> Result<Walked> {
    let mut reader = Reader::new(footer, base);
    let mut found = Vec::new();
    let (mut list, mut last) = (None::<List>, 0);
    let mut encrypted = false;
    loop {
        let begin = reader.at;
        let field = reader.field(last)?;
        let here = reader.at;
        if let Some(list) = &mut list
            && list.end == begin
        {
            list.after = field.map(|field| (field, begin..here));
        }
        if list.is_none() && field.is_none_or(|field| field.id > KEY_VALUE_METADATA) {
            let after = field.map(|field| (field, begin..here));
            let header = begin..begin;
            list = Some(List { before: last, begin, header, count: 0, end: begin, after });
        }
        let Some(field) = field else { break };
        if field.id == KEY_VALUE_METADATA {
            if field.kind != LIST {
                return Err(reader.fail("the metadata is no list"));
            }
            let (kind, count) = reader.list()?;
            let header = here..reader.at;
            if kind != STRUCT && count > 0 {
                return Err(reader.fail("the metadata is no list of keys and values"));
            }
            for _ in 0..count {
                found.extend(entry(&mut reader, met)?);
            }
            list = Some(List { before: last, begin, header, count, end: reader.at, after: None });
        } else {
            reader.skip(field.kind)?;
        }
        encrypted |= ENCRYPTION.contains(&field.id);
        last = field.id;
    }
    if !reader.is_at_end() {
        return Err(reader.fail("bytes follow the footer's end, so its length is not what the file says"));
    }
    if encrypted {
        return Err(reader.fail("the file is encrypted, which is not supported with a manifest"));
    }
    let list = list.ok_or_else(|| reader.fail("the footer is empty"))?;
    Ok(Walked { list, found })
}

/// An entry and its value, when it is the manifest's: then it holds its key and its value and nothing else.
fn entry(reader: &mut Reader<'_>, met: &mut bool) -> Result<Option<(Range<usize>, Range<usize>)>> {
    let begin = reader.at;
    let (mut is_ours, mut value, mut others, mut last) = (false, None, 0, 0);
    while let Some(field) = reader.field(last)? {
        last = field.id;
        match (field.id, field.kind) {
            (1, BINARY) => {
                is_ours = reader.binary()? == KEY.as_bytes();
                *met |= is_ours;
            }
            (2, BINARY) => {
                let length = reader.binary()?.len();
                value = Some(reader.at - length..reader.at);
            }
            (_, kind) => {
                others += 1;
                reader.skip(kind)?;
            }
        }
    }
    match (is_ours, value) {
        (false, _) => Ok(None),
        (true, Some(value)) if others == 0 => Ok(Some((begin..reader.at, value))),
        (true, _) => Err(reader.fail(format!("{KEY} does not stand there with one key and one value"))),
    }
}

fn malformed(offset: u64, reason: impl Into<String>) -> Error {
    fail("Parquet file", offset, reason)
}
