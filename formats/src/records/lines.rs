//! Lines: the bytes between line feeds.

use std::io::Read;

use super::window::{Split, Window};
use super::{BATCH, Batch, Error, ReadRecords};

/// Reads lines. A last line without line feed is a record, an empty line too, and a CR stays in.
pub struct Lines<R>(Window<R>);

impl<R: Read> Lines<R> {
    /// Lines of `source`.
    pub fn new(source: R) -> Self {
        Lines::with_batch(source, BATCH)
    }

    /// As [`Lines::new`], in batches of about `batch` bytes.
    pub fn with_batch(source: R, batch: usize) -> Self {
        Lines(Window::new(source, batch))
    }
}

impl<R: Read + Send> ReadRecords for Lines<R> {
    fn next(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        self.0.fill(batch, |bytes, _, at_end| {
            Ok(match memchr::memchr(b'\n', bytes) {
                Some(end) => Split::Record(end, end + 1),
                None if at_end => Split::Record(bytes.len(), bytes.len()),
                None => Split::More,
            })
        })
    }
}
