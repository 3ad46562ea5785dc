//! Web archives, ISO 28500 (WARC 1.0 and 1.1): one record of the archive is one record here.
//!
//! Its bytes, with lengths little-endian; a header that is not there counts as empty:
//!
//! ```text
//! u32 length ‖ WARC-Type ‖ u32 length ‖ WARC-Target-URI ‖ u32 length ‖ WARC-Date ‖ u64 length ‖ block
//! ```
//!
//! The other headers, such as ids and digests, vary from copy to copy of the same capture and are left to the file's own
//! root.

use std::io::{BufRead, BufReader, Read};

use super::{BATCH, Batch, Error, MAX_RECORD, ReadRecords};

/// The headers of one record together.
const MAX_HEADERS: usize = 64 << 10;
const HELP: &str = "the archive is damaged or no WARC file; fetch it again";

/// Reads the records of an archive.
pub struct Warc<R> {
    source: BufReader<R>,
    offset: u64,
    batch: usize,
}

/// Type, target and date, each once.
#[derive(Default)]
struct Headers {
    length: Option<u64>,
    named: [Option<Vec<u8>>; 3],
}

const NAMED: [&str; 3] = ["WARC-Type", "WARC-Target-URI", "WARC-Date"];

impl<R: Read> Warc<R> {
    /// Records of `source`.
    pub fn new(source: R) -> Self {
        Warc::with_batch(source, BATCH)
    }

    /// As [`Warc::new`], in batches of about `batch` bytes.
    pub fn with_batch(source: R, batch: usize) -> Self {
        Warc { source: BufReader::with_capacity(256 << 10, source), offset: 0, batch }
    }

    /// One line without its end; `None` at the end of the file.
    fn line(&mut self, budget: &mut usize) -> Result<Option<Vec<u8>>, Error> {
        let mut line = Vec::new();
        let read = (&mut self.source).take(*budget as u64 + 1).read_until(b'\n', &mut line)?;
        if read > *budget {
            return Err(Error::bad(self.offset, "headers of more than 64 KiB", HELP));
        }
        *budget -= read;
        let begin = self.offset;
        self.offset += read as u64;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => {
                line.pop_if(|byte| *byte == b'\r');
                Ok(Some(line))
            }
            Some(_) => Err(Error::bad(begin, "the file ends inside the headers", HELP)),
        }
    }

    fn headers(&mut self) -> Result<Option<Headers>, Error> {
        let mut budget = MAX_HEADERS;
        let begin = self.offset;
        let Some(version) = self.line(&mut budget)? else { return Ok(None) };
        if !matches!(&*version, b"WARC/1.0" | b"WARC/1.1") {
            let problem =
                "no WARC/1.0 or WARC/1.1 record begins here; a lying Content-Length before it can be the cause";
            return Err(Error::bad(begin, problem, HELP));
        }
        let mut headers = Headers::default();
        loop {
            let at = self.offset;
            let Some(line) = self.line(&mut budget)? else {
                return Err(Error::bad(at, "the file ends inside the headers", HELP));
            };
            if line.is_empty() {
                return Ok(Some(headers));
            }
            if matches!(line[0], b' ' | b'\t') {
                return Err(Error::bad(at, "a folded header line, which WARC 1.1 gave up", HELP));
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                return Err(Error::bad(at, "a header line without colon", HELP));
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.trim_ascii().len() < name.len() {
                // Trimmed by some readers, and then another header of a name that stands there already.
                return Err(Error::bad(at, "a header name with white space around it", HELP));
            }
            if name.eq_ignore_ascii_case(b"Content-Length") {
                let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let Some(length) = digits.and_then(|text| text.parse().ok()) else {
                    return Err(Error::bad(at, "an unreadable Content-Length", HELP));
                };
                if headers.length.replace(length).is_some() {
                    return Err(Error::bad(at, "two Content-Length headers", HELP));
                }
            }
            for (slot, known) in headers.named.iter_mut().zip(NAMED) {
                if name.eq_ignore_ascii_case(known.as_bytes()) && slot.replace(value.to_vec()).is_some() {
                    return Err(Error::bad(at, format!("two {known} headers"), HELP));
                }
            }
        }
    }

    fn record(&mut self, headers: Headers, begin: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(length) = headers.length else { return Err(Error::bad(begin, "no Content-Length", HELP)) };
        if length > (MAX_RECORD - MAX_HEADERS) as u64 {
            return Err(Error::too_long(begin));
        }
        for value in headers.named {
            let value = value.unwrap_or_default();
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(&value);
        }
        out.extend_from_slice(&length.to_le_bytes());
        let read = (&mut self.source).take(length).read_to_end(out)? as u64;
        self.offset += read;
        if read < length {
            let problem = format!("Content-Length says {length} bytes, and {read} are left");
            return Err(Error::bad(begin, problem, HELP));
        }
        let mut end = [0; 4];
        let whole = self.source.read_exact(&mut end).is_ok();
        self.offset += 4;
        if !whole || end != *b"\r\n\r\n" {
            let problem = format!("after the {length} bytes that Content-Length says, the record does not end");
            return Err(Error::bad(begin, problem, HELP));
        }
        Ok(())
    }
}

impl<R: Read + Send> ReadRecords for Warc<R> {
    fn next(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        while batch.bytes.len() < self.batch {
            let begin = self.offset;
            let Some(headers) = self.headers()? else { break };
            batch.append(begin, |out| self.record(headers, begin, out))?;
        }
        Ok(!batch.is_empty())
    }
}

/// The parts of a record's bytes: type, target, date, block; `None` when they are not one.
pub fn parts(record: &[u8]) -> Option<[&[u8]; 4]> {
    let mut rest = record;
    let mut parts: [&[u8]; 4] = [&[]; 4];
    for part in &mut parts[..3] {
        let (length, after) = rest.split_first_chunk()?;
        (*part, rest) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    }
    let (length, block) = rest.split_first_chunk()?;
    parts[3] = block;
    (u64::from_le_bytes(*length) == block.len() as u64).then_some(parts)
}
