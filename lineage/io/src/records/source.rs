//! The bytes of one file from the first to the last, hashed while they are read, and decompressed.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countermark_formats::ReadAt;
use countermark_lineage::digest::Hash;

/// Reads a file from its beginning, and keeps count and hash where [`Watch`] can see them.
pub(super) struct Sequential<'a> {
    source: Arc<dyn ReadAt>,
    seen: Arc<Mutex<Seen>>,
    progress: &'a (dyn Fn(u64) + Sync),
}

struct Seen {
    offset: u64,
    hasher: Option<blake3::Hasher>,
}

/// Tells whether the bytes that were read are those that were hashed before.
pub(super) struct Watch {
    source: Arc<dyn ReadAt>,
    seen: Arc<Mutex<Seen>>,
}

/// Nothing panics while the lock is held, so what a poisoned one holds is whole.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to read `source`; hashes it when `hashed`.
pub(super) fn open<'a>(
    source: &Arc<dyn ReadAt>,
    hashed: bool,
    progress: &'a (dyn Fn(u64) + Sync),
) -> (Sequential<'a>, Watch) {
    let seen = Arc::new(Mutex::new(Seen { offset: 0, hasher: hashed.then(blake3::Hasher::new) }));
    let watch = Watch { source: source.clone(), seen: seen.clone() };
    (Sequential { source: source.clone(), seen, progress }, watch)
}

/// Bytes per read at most, so that progress is heard of.
const MOST: u64 = 4 << 20;

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut seen = lock(&self.seen);
        let left = self.source.len() - seen.offset;
        let count = left.min(buffer.len() as u64).min(MOST) as usize;
        self.source.read_exact_at(&mut buffer[..count], seen.offset)?;
        seen.offset += count as u64;
        if let Some(hasher) = &mut seen.hasher {
            hasher.update_rayon(&buffer[..count]);
        }
        drop(seen);
        (self.progress)(count as u64);
        Ok(count)
    }
}

impl Watch {
    /// Hash of the whole file as it was read, when it was asked for. What no reader wanted is read now.
    pub fn hash(&self) -> io::Result<Option<Hash>> {
        let mut seen = lock(&self.seen);
        let Seen { offset, hasher: Some(hasher) } = &mut *seen else { return Ok(None) };
        let mut buffer = vec![0; 256 << 10];
        while *offset < self.source.len() {
            let count = (self.source.len() - *offset).min(buffer.len() as u64) as usize;
            self.source.read_exact_at(&mut buffer[..count], *offset)?;
            hasher.update(&buffer[..count]);
            *offset += count as u64;
        }
        Ok(Some(Hash(hasher.finalize().into())))
    }
}

/// Undoes the compression that the name tells of. A file of several members or frames is one text; a cut or something
/// foreign behind the last is an error.
pub(super) fn decompressed<'a>(path: &str, source: Sequential<'a>) -> io::Result<Box<dyn Read + Send + 'a>> {
    let path = path.to_ascii_lowercase();
    if path.ends_with(".gz") || path.ends_with(".tgz") {
        let source = io::BufReader::with_capacity(256 << 10, source);
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(source)))
    } else if path.ends_with(".zst") {
        // Frames that ask for a window of more than 128 MiB are refused by the library itself.
        Ok(Box::new(zstd::stream::read::Decoder::new(source)?))
    } else {
        Ok(Box::new(source))
    }
}
