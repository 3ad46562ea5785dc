//! A source made of ranges of another source and of bytes in memory, in any order, without copying the other one.

use std::io;
use std::ops::Range;

use crate::{ReadAt, Source};

/// One piece of [`Pieces`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes in memory.
    Held(Vec<u8>),
    /// Bytes of the source.
    From(Range<u64>),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Piece::Held(bytes) => bytes.len() as u64,
            Piece::From(range) => range.end.saturating_sub(range.start),
        }
    }
}

/// Pieces one after the other, read as one source.
#[derive(Clone)]
pub struct Pieces {
    source: Source,
    /// Each with the place where it begins; none is empty.
    pieces: Vec<(u64, Piece)>,
    length: u64,
}

impl Pieces {
    /// Joins `pieces`; ranges are of `source`.
    pub fn new(source: Source, pieces: Vec<Piece>) -> Self {
        let mut length = 0_u64;
        let mut placed = Vec::with_capacity(pieces.len());
        for piece in pieces.into_iter().filter(|piece| piece.length() > 0) {
            let begin = length;
            length = length.saturating_add(piece.length());
            placed.push((begin, piece));
        }
        Pieces { source, pieces: placed, length }
    }

    fn read(&self, source: &dyn ReadAt, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut next = self.pieces.partition_point(|(begin, _)| *begin <= offset).saturating_sub(1);
        while !buffer.is_empty() {
            let (begin, piece) = self.pieces.get(next).ok_or(io::ErrorKind::UnexpectedEof)?;
            let inside = offset - begin;
            let size = (piece.length() - inside).min(buffer.len() as u64) as usize;
            let (now, rest) = buffer.split_at_mut(size);
            match piece {
                Piece::Held(bytes) => now.copy_from_slice(&bytes[inside as usize..][..size]),
                Piece::From(range) => source.read_exact_at(now, range.start + inside)?,
            }
            (buffer, offset, next) = (rest, offset + size as u64, next + 1);
        }
        Ok(())
    }
}

impl ReadAt for Pieces {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read(&*self.source, buffer, offset)
    }

    fn for_one_pass(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        let opened = self.source.for_one_pass()?;
        Ok(opened.map(|opened| Box::new(Pass { pieces: self, opened }) as Box<dyn ReadAt + '_>))
    }

    fn unchanged(&self) -> io::Result<()> {
        self.source.unchanged()
    }
    // `as_any` stays silent: who knows the file knows nothing of these bytes.
}

/// The pieces over a source that was opened for one pass.
struct Pass<'a> {
    pieces: &'a Pieces,
    opened: Box<dyn ReadAt + 'a>,
}

impl ReadAt for Pass<'_> {
    fn len(&self) -> u64 {
        self.pieces.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.pieces.read(&*self.opened, buffer, offset)
    }

    fn unchanged(&self) -> io::Result<()> {
        self.opened.unchanged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_range_is_that_of_the_joined_bytes() {
        let source: Vec<u8> = (0..50).collect();
        let pieces = vec![
            Piece::Held(vec![]),
            Piece::From(3..9),
            Piece::Held(vec![200, 201]),
            Piece::From(9..9),
            Piece::From(0..50),
            Piece::Held(vec![202]),
        ];
        let whole = [&source[3..9], &[200, 201], &source, &[202]].concat();
        let joined = Pieces::new(Arc::new(source), pieces);
        assert_eq!(joined.len(), whole.len() as u64);
        for begin in 0..=whole.len() {
            for end in begin..=whole.len() {
                let mut read = vec![0; end - begin];
                joined.read_exact_at(&mut read, begin as u64).unwrap();
                assert_eq!(read, whole[begin..end]);
            }
            assert!(joined.read_exact_at(&mut vec![0; whole.len() - begin + 1], begin as u64).is_err());
        }
        assert!(joined.read_exact_at(&mut [0], u64::MAX).is_err());
    }
}
