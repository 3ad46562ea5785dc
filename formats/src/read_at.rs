//! Positioned reads: the one way in which the libraries see bytes.

use std::any::Any;
use std::io;
use std::sync::Arc;

/// A source of bytes of known length that can be read at any offset, from several threads at once.
///
/// Files are read this way instead of being mapped, because a mapping kills the process when the file shrinks.
pub trait ReadAt: Send + Sync {
    /// Length in bytes, fixed when the source was opened.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset`, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// True when there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A source for one pass over all bytes, roughly in order, when that is not the source itself: a file that keeps no
    /// handle is opened once, a remote object is fetched ahead. Its length counts, and it is asked whether the bytes
    /// were [`ReadAt::unchanged`] when the pass is over.
    ///
    /// # Errors
    /// When it cannot be opened, or is no longer what it was.
    fn for_one_pass(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        Ok(None)
    }

    /// Asked after the last read: are these still the bytes that were there when the source was opened?
    ///
    /// # Errors
    /// When something may have written to it meanwhile. Bytes in memory cannot change.
    fn unchanged(&self) -> io::Result<()> {
        Ok(())
    }

    /// The source itself, for those who know more of it than its bytes.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// A source that several readers share.
pub type Source = Arc<dyn ReadAt>;

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let bytes = start
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }

    fn for_one_pass(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        (**self).for_one_pass()
    }

    fn unchanged(&self) -> io::Result<()> {
        (**self).unchanged()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        (**self).as_any()
    }
}

/// Fills `buffer` from `offset`, with an error that says what was read.
pub(crate) fn read(source: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> crate::Result<()> {
    let length = buffer.len() as u64;
    source.read_exact_at(buffer, offset).map_err(|source| crate::Error::Read { offset, length, source })
}
