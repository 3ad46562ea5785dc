//! The entry in the header of a safetensors file: a member of `__metadata__`, first in it when we write it.
//!
//! The tensors' offsets count from the end of the header, so the header may grow without any of them changing. Its length
//! is padded with spaces to a multiple of eight.

use std::ops::Range;

use super::{
    Embedded, Format, Insertion, KEY, MAX_VALUE, Original, Piece, Pieces, Problem, Splice, Undo, decode, fail,
};
use crate::safetensors::{self, MAX_HEADER};
use crate::{Error, ReadAt, Result, Source, read_at};

const METADATA: &str = "__metadata__";

/// Bytes of the length field before the header.
const FIELD: u64 = 8;

/// The header with the entry in it. Ranges count from the header's first byte.
pub(super) struct Entry {
    header: Vec<u8>,
    /// All members of the header.
    members: Vec<Member>,
    /// Which of them is `__metadata__`.
    metadata: usize,
    /// The members of that.
    inner: Vec<Member>,
    /// Which of those is the manifest.
    manifest: usize,
    /// The Base64 text.
    value: Range<usize>,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    /// With its quotes.
    key: Range<usize>,
    value: Range<usize>,
}

impl Member {
    fn whole(&self) -> Range<usize> {
        self.key.start..self.value.end
    }
}

pub(super) fn find(source: &dyn ReadAt) -> std::result::Result<Option<Embedded>, Problem> {
    let header = header(source).map_err(Problem::unmet)?;
    // A value that is searched for is cheaper than a header that is parsed, and most hold none.
    if !mentions(&header) {
        return Ok(None);
    }
    // With the key there, everything must hold that makes readers agree on the header.
    safetensors::parse(source).map_err(Problem::met)?;
    let members = members(&header, 0);
    let Some(metadata) = members.iter().position(|member| is_key(&header, member, METADATA)) else { return Ok(None) };
    let inner = self::members(&header, members[metadata].value.start);
    let Some(manifest) = inner.iter().position(|member| is_key(&header, member, KEY)) else { return Ok(None) };
    // The value is a string, quotes included.
    let value = inner[manifest].value.start + 1..inner[manifest].value.end - 1;
    let span = FIELD + value.start as u64..FIELD + value.end as u64;
    if span.end - span.start > MAX_VALUE {
        return Err(Problem::met(fail("safetensors", span.start, "the embedded manifest is too long")));
    }
    let store = decode(Format::Safetensors, &header[value.clone()], span.start)?;
    let entry = Entry { header, members, metadata, inner, manifest, value };
    Ok(Some(Embedded { format: Format::Safetensors, span, store, entry: super::Entry::Safetensors(entry) }))
}

pub(super) fn insert(source: &Source, value: u64) -> Result<Insertion> {
    // Strictly, so that no reader sees another header than we do.
    safetensors::parse(&**source)?;
    let header = header(&**source)?;
    let text = trimmed(&header);
    let members = members(text, 0);
    let comma = |others: usize| if others > 0 { "," } else { "" };
    let (at, before, after, made) = match members.iter().find(|member| is_key(text, member, METADATA)) {
        Some(metadata) => {
            let others = self::members(text, metadata.value.start).len();
            (metadata.value.start + 1, format!("\"{KEY}\":\""), format!("\"{}", comma(others)), false)
        }
        None => {
            let before = format!("\"{METADATA}\":{{\"{KEY}\":\"");
            (1, before, format!("\"}}{}", comma(members.len())), true)
        }
    };
    let used = (text.len() + before.len() + after.len()) as u64 + value;
    let length = (FIELD + used).next_multiple_of(8) - FIELD;
    if length > MAX_HEADER {
        return Err(fail("safetensors", 0, format!("with a manifest its header would exceed {MAX_HEADER} bytes")));
    }
    let mut first = length.to_le_bytes().to_vec();
    first.extend_from_slice(&text[..at]);
    first.extend_from_slice(before.as_bytes());
    let span = first.len() as u64..first.len() as u64 + value;
    first.resize(span.end as usize, b'A');
    first.extend_from_slice(after.as_bytes());
    first.extend_from_slice(&text[at..]);
    first.resize((FIELD + length) as usize, b' ');
    let old = header.len() as u64;
    let view = Pieces::new(source.clone(), vec![Piece::Held(first), Piece::From(FIELD + old..source.len())]);
    Ok(Insertion { format: Format::Safetensors, view, span, undo: Undo { made, header: Some(old) } })
}

impl Entry {
    pub fn take_out(&self, source: &Source, undo: &Undo) -> Result<Original> {
        let refuse = |reason: &str| fail("safetensors", 0, reason);
        let Some(length) = undo.header else {
            return Err(refuse("the manifest does not say how long the header was before it came"));
        };
        let (list, index) = if undo.made {
            if self.inner.len() != 1 {
                return Err(refuse("__metadata__ was made for the manifest, but holds more"));
            }
            (&self.members, self.metadata)
        } else {
            (&self.inner, self.manifest)
        };
        let gone = with_comma(&self.header, list, index);
        let mut text = self.header[..gone.start].to_vec();
        text.extend_from_slice(&self.header[gone.end..]);
        text.truncate(trimmed(&text).len());
        if length < text.len() as u64 || length > MAX_HEADER {
            return Err(refuse("the header cannot have had the length that the manifest says"));
        }
        text.resize(length as usize, b' ');
        let first = [&length.to_le_bytes(), &*text].concat();
        let old = FIELD + self.header.len() as u64;
        let mut bytes = (self.header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.header[..self.value.start]);
        bytes.extend_from_slice(&self.header[self.value.end..]);
        let splice = Splice { at: 0..first.len() as u64, bytes };
        let view = Pieces::new(source.clone(), vec![Piece::Held(first), Piece::From(old..source.len())]);
        Ok(Original { view, splice })
    }
}

/// A member with the comma that goes with it.
fn with_comma(header: &[u8], list: &[Member], index: usize) -> Range<usize> {
    let whole = list[index].whole();
    match (list.get(index + 1), index.checked_sub(1).and_then(|before| list.get(before))) {
        (Some(next), _) => {
            let comma = (whole.end..next.key.start).find(|&at| header[at] == b',').unwrap_or(whole.end);
            whole.start..comma + 1
        }
        (None, Some(before)) => {
            let comma = (before.value.end..whole.start).find(|&at| header[at] == b',').unwrap_or(whole.start);
            comma..whole.end
        }
        (None, None) => whole,
    }
}

/// The bytes of the header.
fn header(source: &dyn ReadAt) -> Result<Vec<u8>> {
    let length = source.len();
    if length < FIELD + 2 {
        return Err(Error::TooShort { length });
    }
    let mut field = [0; 8];
    read_at::read(source, &mut field, 0)?;
    let claimed = u64::from_le_bytes(field);
    let limit = MAX_HEADER.min(length - FIELD);
    if claimed > limit || claimed < 2 {
        return Err(Error::HeaderLength { claimed, limit });
    }
    let mut bytes = vec![0; claimed as usize];
    read_at::read(source, &mut bytes, FIELD)?;
    Ok(bytes)
}

/// Can any reader find the key in these bytes? Looks at every string, whatever stands around it.
fn mentions(header: &[u8]) -> bool {
    if memchr::memmem::find(header, KEY.as_bytes()).is_some() {
        return true;
    }
    // Behind the last escape there is no other spelling.
    let Some(last) = memchr::memrchr(b'\\', header) else { return false };
    let mut at = 0;
    while at <= last {
        let Some(begin) = memchr::memchr(b'"', &header[at..]).map(|found| at + found) else { return false };
        let end = string_end(header, begin);
        if spells(&header[begin..end], KEY) {
            return true;
        }
        at = end;
    }
    false
}

/// Is this member's key `key`, in whatever spelling?
fn is_key(header: &[u8], member: &Member, key: &str) -> bool {
    spells(&header[member.key.clone()], key)
}

/// Is this string, with its quotes, `text` after unescaping?
fn spells(string: &[u8], text: &str) -> bool {
    // Every byte may be written as \uXXXX, and no longer than that.
    string.len() <= 2 + 6 * text.len() && serde_json::from_slice::<String>(string).is_ok_and(|found| found == text)
}

fn trimmed(text: &[u8]) -> &[u8] {
    let spaces = text.iter().rev().take_while(|byte| **byte == b' ').count();
    &text[..text.len() - spaces]
}

/// One past the string that begins at `begin` with its quote.
fn string_end(text: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if text[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    text.len()
}

/// The members of the object whose brace stands at `begin`, in text that is known to be JSON; elsewhere the result is of no
/// use, and harmless.
fn members(text: &[u8], begin: usize) -> Vec<Member> {
    let mut found = Vec::new();
    let mut at = begin + 1;
    // Between members, and after the key, nothing but white space, commas and colons is passed.
    while let Some(quote) = (at..text.len()).find(|&at| !matches!(text[at], b' ' | b'\t' | b'\n' | b'\r' | b',')) {
        if text[quote] != b'"' {
            break;
        }
        let key = quote..string_end(text, quote);
        let passed = |&at: &usize| !matches!(text[at], b' ' | b'\t' | b'\n' | b'\r' | b':');
        let Some(value) = (key.end..text.len()).find(passed) else { break };
        let end = value_end(text, value);
        found.push(Member { key, value: value..end });
        at = end;
    }
    found
}

/// One past the value that begins at `begin`.
fn value_end(text: &[u8], begin: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = begin;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}
