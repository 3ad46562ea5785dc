//! Positioned reads: the one way in which the libraries see bytes.

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
}

/// Fills `buffer` from `offset`, with an error that says what was read.
pub(crate) fn read(source: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> crate::Result<()> {
    let length = buffer.len() as u64;
    source.read_exact_at(buffer, offset).map_err(|source| crate::Error::Read { offset, length, source })
}
