//! The bytes of a deflated archive member, one after the other.

use std::io::{self, Read};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use crate::ReadAt;
use crate::zip::Member;

/// Reads a range of a source from front to back through a buffer of its own.
pub(crate) struct Stored<'a> {
    source: &'a dyn ReadAt,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    used: usize,
}

/// Bytes per read.
const BLOCK: u64 = 1 << 16;

impl<'a> Stored<'a> {
    pub fn new(source: &'a dyn ReadAt, range: std::ops::Range<u64>) -> Self {
        Stored { source, position: range.start, end: range.end, buffer: Vec::new(), used: 0 }
    }
}

impl io::BufRead for Stored<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            let size = BLOCK.min(self.end - self.position);
            self.buffer.resize(size as usize, 0);
            self.used = 0;
            self.source.read_exact_at(&mut self.buffer, self.position)?;
            self.position += size;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl Read for Stored<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = io::BufRead::fill_buf(self)?.read(target)?;
        self.used += count;
        Ok(count)
    }
}

/// The inflated bytes of a member. Fails where they are more, fewer or others than the archive says, and the stream of
/// deflate must end where the member ends. A member whose bytes were all read is therefore the one that was packed.
pub(crate) struct Inflated<'a> {
    decoder: DeflateDecoder<Stored<'a>>,
    crc: Crc,
    expected: u32,
    left: u64,
    checked: bool,
}

impl<'a> Inflated<'a> {
    pub fn new(source: &'a dyn ReadAt, member: &Member) -> Self {
        let decoder = DeflateDecoder::new(Stored::new(source, member.range.clone()));
        Inflated { decoder, crc: Crc::new(), expected: member.crc32, left: member.size, checked: false }
    }
}

impl Read for Inflated<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        let wrong = |problem| Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        if self.left == 0 {
            if !self.checked {
                let more = self.decoder.read(&mut [0])? != 0;
                let stored = self.decoder.get_mut();
                if more || stored.used < stored.buffer.len() || stored.position < stored.end {
                    return wrong("inflates to more bytes than the archive says");
                }
                if self.crc.sum() != self.expected {
                    return wrong("the inflated bytes are not those that were packed: their CRC-32 differs");
                }
                self.checked = true;
            }
            return Ok(0);
        }
        let most = target.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.decoder.read(&mut target[..most])?;
        if count == 0 {
            return wrong("inflates to fewer bytes than the archive says");
        }
        self.crc.update(&target[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}
