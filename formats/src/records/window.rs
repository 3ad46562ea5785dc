//! A sliding window over text whose records are contiguous bytes.

use std::io::Read;

use super::{Batch, Error, MAX_RECORD};

/// What a look at the bytes from a record's start on tells.
pub(super) enum Split {
    /// The record's length, and the bytes used up with its line end.
    Record(usize, usize),
    /// Its end is not in sight.
    More,
}

/// Reads ahead, and keeps what follows the last complete record for the next batch.
pub(super) struct Window<R> {
    source: R,
    /// The begun record at the end of the last batch.
    carry: Vec<u8>,
    /// Offset of `carry` in the file.
    pub offset: u64,
    at_end: bool,
    batch: usize,
}

impl<R: Read> Window<R> {
    pub fn new(source: R, batch: usize) -> Self {
        Window { source, carry: vec![], offset: 0, at_end: false, batch: batch.max(1) }
    }

    /// Fills `batch` with the records that `split` finds. It is called with the bytes from a record's start on, never
    /// none, the record's offset, and whether the file ends with them; then it must not answer [`Split::More`].
    pub fn fill(
        &mut self,
        batch: &mut Batch,
        split: impl Fn(&[u8], u64, bool) -> Result<Split, Error>,
    ) -> Result<bool, Error> {
        batch.forget();
        let mut target = self.batch.max(self.carry.len() + 1);
        grow(&mut batch.bytes, target);
        batch.bytes[..self.carry.len()].copy_from_slice(&self.carry);
        let (mut begin, mut filled) = (0, self.carry.len());
        loop {
            while filled < target && !self.at_end {
                match self.source.read(&mut batch.bytes[filled..target]) {
                    Ok(0) => self.at_end = true,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            while begin < filled {
                let offset = self.offset + begin as u64;
                match split(&batch.bytes[begin..filled], offset, self.at_end)? {
                    Split::Record(length, _) if length > MAX_RECORD => return Err(Error::too_long(offset)),
                    Split::Record(length, used) => {
                        batch.mark(begin..begin + length);
                        begin += used;
                    }
                    Split::More => break,
                }
            }
            if !batch.is_empty() || self.at_end {
                break;
            }
            // One record fills the window. Twice as much each time: what is looked at again stays in proportion.
            if filled > MAX_RECORD {
                return Err(Error::too_long(self.offset));
            }
            target = (target * 2).min(MAX_RECORD + 3);
            grow(&mut batch.bytes, target);
        }
        self.carry.clear();
        self.carry.extend_from_slice(&batch.bytes[begin..filled]);
        self.offset += begin as u64;
        Ok(!batch.is_empty())
    }
}

/// Zeroes new bytes once, and never the old ones again.
fn grow(bytes: &mut Vec<u8>, length: usize) {
    if bytes.len() < length {
        bytes.resize(length, 0);
    }
}
