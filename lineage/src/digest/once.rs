//! A source of which no byte is read twice: what was looked at before a pass, such as a header, is kept for the pass.
//!
//! It also means that what was understood and what is hashed are the same bytes, even if a file changes in between.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countermark_formats::ReadAt;

/// Most bytes that are kept of one file. Headers are shorter; beyond it bytes are read again.
const MOST: u64 = 256 << 20;

/// Remembers what is read of a source until a pass over it begins.
pub struct Once {
    source: Arc<dyn ReadAt>,
    kept: Mutex<Arc<Kept>>,
    is_passing: AtomicBool,
}

/// Bytes by the place where they begin, none over another.
#[derive(Clone, Default)]
struct Kept {
    pieces: BTreeMap<u64, Vec<u8>>,
    length: u64,
}

impl Once {
    pub fn new(source: Arc<dyn ReadAt>) -> Self {
        Once { source, kept: Mutex::default(), is_passing: AtomicBool::new(false) }
    }

    fn kept(&self) -> Arc<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Kept {
    /// Fills `buffer` with what is kept, and answers what is missing.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> Vec<Range<u64>> {
        let end = offset.saturating_add(buffer.len() as u64);
        let mut missing = Vec::new();
        let mut at = offset;
        let before = self.pieces.range(..=offset).next_back();
        let within = self.pieces.range(offset.saturating_add(1)..end.max(offset.saturating_add(1)));
        for (begin, bytes) in before.into_iter().chain(within) {
            let past = begin + bytes.len() as u64;
            let (from, to) = ((*begin).max(at), past.min(end));
            if from >= to {
                continue;
            }
            if at < from {
                missing.push(at..from);
            }
            let inside = &bytes[(from - begin) as usize..(to - begin) as usize];
            buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(inside);
            at = to;
        }
        if at < end {
            missing.push(at..end);
        }
        missing
    }

    fn read(&self, source: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> io::Result<Vec<Range<u64>>> {
        let missing = self.fill(buffer, offset);
        for range in &missing {
            let inside = (range.start - offset) as usize..(range.end - offset) as usize;
            source.read_exact_at(&mut buffer[inside], range.start)?;
        }
        Ok(missing)
    }
}

impl ReadAt for Once {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.is_passing.load(Ordering::Acquire) {
            return self.kept().read(&*self.source, buffer, offset).map(drop);
        }
        // Whoever reads headers reads alone, so nobody waits here.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = kept.read(&*self.source, buffer, offset)?;
        let kept = Arc::make_mut(&mut kept);
        for range in missing.into_iter().filter(|range| !range.is_empty()) {
            if kept.length + (range.end - range.start) <= MOST {
                kept.length += range.end - range.start;
                let bytes = &buffer[(range.start - offset) as usize..(range.end - offset) as usize];
                kept.pieces.insert(range.start, bytes.to_vec());
            }
        }
        Ok(())
    }

    fn for_one_pass(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        self.is_passing.store(true, Ordering::Release);
        let opened = self.source.for_one_pass()?;
        Ok(Some(Box::new(Pass { source: &*self.source, opened, kept: self.kept() })))
    }

    fn unchanged(&self) -> io::Result<()> {
        self.source.unchanged()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.source.as_any()
    }
}

/// The pass.
struct Pass<'a> {
    source: &'a dyn ReadAt,
    opened: Option<Box<dyn ReadAt + 'a>>,
    kept: Arc<Kept>,
}

impl Pass<'_> {
    fn inner(&self) -> &dyn ReadAt {
        self.opened.as_deref().unwrap_or(self.source)
    }
}

impl ReadAt for Pass<'_> {
    fn len(&self) -> u64 {
        self.inner().len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.kept.read(self.inner(), buffer, offset).map(drop)
    }

    fn unchanged(&self) -> io::Result<()> {
        self.inner().unchanged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU32;

    /// Counts how often each byte is read.
    struct Counting(Vec<u8>, Vec<AtomicU32>);

    impl ReadAt for Counting {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(buffer, offset)?;
            let counts = &self.1[offset as usize..offset as usize + buffer.len()];
            for count in counts {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn no_byte_is_read_twice(
            length in 0_usize..300,
            looks in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 0..12),
            step in 1_usize..80,
        ) {
            let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let source = Arc::new(Counting(bytes.clone(), (0..length).map(|_| AtomicU32::new(0)).collect()));
            let once = Once::new(source.clone());
            for (begin, size) in looks {
                let begin = (begin * length as f64) as usize;
                let size = (size * (length - begin) as f64) as usize;
                let mut found = vec![0; size];
                once.read_exact_at(&mut found, begin as u64).unwrap();
                prop_assert_eq!(&found, &bytes[begin..begin + size]);
            }
            let pass = once.for_one_pass().unwrap().unwrap();
            let mut whole = vec![0; length];
            for (index, chunk) in whole.chunks_mut(step).enumerate() {
                pass.read_exact_at(chunk, (index * step) as u64).unwrap();
            }
            prop_assert_eq!(whole, bytes);
            prop_assert!(source.1.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            prop_assert!(once.read_exact_at(&mut [0], length as u64).is_err());
        }
    }
}
