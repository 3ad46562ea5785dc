//! Consecutive records in one buffer.

use std::ops::Range;

use super::{Error, MAX_RECORD};

/// Consecutive records, their bytes in one buffer that is used again and again.
///
/// A line stays where it was read; what other formats put together is appended.
#[derive(Default)]
pub struct Batch {
    /// May hold bytes beyond the last record, left over from an earlier use.
    pub(super) bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

impl Batch {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True when it holds no record.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The bytes of record `index` of this batch.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn get(&self, index: usize) -> &[u8] {
        let (begin, end) = self.ranges[index];
        &self.bytes[begin as usize..end as usize]
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Bytes of all records together.
    pub fn total(&self) -> usize {
        self.ranges.iter().map(|(begin, end)| (end - begin) as usize).sum()
    }

    /// Forgets the records, and keeps the memory.
    pub(super) fn forget(&mut self) {
        self.ranges.clear();
    }

    /// A record that lies in the buffer.
    pub(super) fn mark(&mut self, range: Range<usize>) {
        self.ranges.push((range.start as u32, range.end as u32));
    }

    /// Takes the first record out. There must be one.
    pub(super) fn remove_first(&mut self) -> Vec<u8> {
        let bytes = self.get(0).to_vec();
        self.ranges.remove(0);
        bytes
    }

    /// Forgets the records and their bytes, before any are appended.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.bytes.clear();
    }

    /// Appends a record that `write` puts together. `offset` is where it begins, for the error.
    ///
    /// # Errors
    /// What `write` answers, and when the record or the batch becomes too long.
    pub fn append(&mut self, offset: u64, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
        let begin = self.bytes.len();
        write(&mut self.bytes)?;
        let end = self.bytes.len();
        if end - begin > MAX_RECORD || u32::try_from(end).is_err() {
            self.bytes.truncate(begin);
            return Err(Error::too_long(offset));
        }
        self.ranges.push((begin as u32, end as u32));
        Ok(())
    }
}
