//! Rows of comma-separated values by RFC 4180.
//!
//! A row ends with LF or CRLF outside quotes. A field that begins with a quote ends at the next quote that is not
//! doubled, and then a comma or the row's end must follow. A quote inside an unquoted field is a character like others,
//! as Python's reader has it. A carriage return alone outside quotes ends a row for some readers, and a quote right behind
//! a byte order mark opens a field for some, so both are refused. The first row is the header: no record, but the schema of all of them.

use std::io::Read;

use super::window::{Split, Window};
use super::{BATCH, Batch, Error, ReadRecords};

/// Reads rows.
pub struct Csv<R> {
    window: Window<R>,
    header: Option<Vec<u8>>,
}

impl<R: Read> Csv<R> {
    /// Rows of `source`.
    pub fn new(source: R) -> Self {
        Csv::with_batch(source, BATCH)
    }

    /// As [`Csv::new`], in batches of about `batch` bytes.
    pub fn with_batch(source: R, batch: usize) -> Self {
        Csv { window: Window::new(source, batch), header: None }
    }
}

impl<R: Read + Send> ReadRecords for Csv<R> {
    fn next(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let more = self.window.fill(batch, split)?;
        if self.header.is_some() {
            return Ok(more);
        }
        if !more {
            return Err(Error::bad(0, "no header row", "a CSV file begins with a row that names its columns"));
        }
        self.header = Some(batch.remove_first());
        if batch.is_empty() { self.window.fill(batch, split) } else { Ok(true) }
    }

    fn schema(&self) -> Option<&[u8]> {
        self.header.as_deref()
    }
}

const HELP: &str = "mend the row, or take the file as lines with --records=text";

fn split(bytes: &[u8], offset: u64, at_end: bool) -> Result<Split, Error> {
    let mut at = 0;
    loop {
        let Some(found) = memchr::memchr3(b'"', b'\n', b'\r', &bytes[at..]).map(|found| at + found) else {
            return Ok(if at_end { Split::Record(bytes.len(), bytes.len()) } else { Split::More });
        };
        match (bytes[found], bytes.get(found + 1)) {
            (b'\n', _) => return Ok(Split::Record(found, found + 1)),
            (b'\r', Some(b'\n')) => return Ok(Split::Record(found, found + 2)),
            (b'\r', None) if !at_end => return Ok(Split::More),
            (b'\r', _) => {
                let problem = "a carriage return without line feed, which only some readers take for the row's end";
                return Err(Error::bad(offset + found as u64, problem, HELP));
            }
            _ => {}
        }
        if offset == 0 && found == 3 && bytes.starts_with(b"\xef\xbb\xbf") {
            let problem = "a quote behind a byte order mark, which opens a field for some readers only";
            return Err(Error::bad(3, problem, "remove the byte order mark"));
        }
        at = found + 1;
        if found > 0 && bytes[found - 1] != b',' {
            continue;
        }
        // A quoted field: up to a quote that is not doubled.
        loop {
            let Some(end) = memchr::memchr(b'"', &bytes[at..]) else {
                if at_end {
                    let problem = "a quote is opened here and never closed";
                    return Err(Error::bad(offset + found as u64, problem, HELP));
                }
                return Ok(Split::More);
            };
            at += end + 1;
            match (bytes.get(at), bytes.get(at + 1)) {
                (Some(b'"'), _) => at += 1,
                (Some(b',' | b'\n'), _) | (Some(b'\r'), Some(b'\n')) => break,
                (None, _) | (Some(b'\r'), None) if !at_end => return Ok(Split::More),
                (None, _) => return Ok(Split::Record(bytes.len(), bytes.len())),
                _ => {
                    let problem = "a closing quote is followed by something other than a comma or the row's end";
                    return Err(Error::bad(offset + at as u64, problem, HELP));
                }
            }
        }
    }
}
