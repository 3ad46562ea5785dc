//! The digests of one file in one read: its BLAKE3 root, and if asked for its SHA-256 and the BLAKE3 of ranges of it.
//!
//! The file is cut into parts. Each part is a whole subtree of the BLAKE3 tree, so its chaining value can be computed by any
//! thread, and folding them gives the root that `b3sum` prints. Threads take the parts in order, so a file is read from
//! front to back and what waits to be folded stays small, whatever the size.
//!
//! A range, such as a tensor, begins anywhere; what each block holds of it is cut and stitched as `subtree` says, from
//! the bytes that are in the block anyway. SHA-256 cannot be split: it follows one window of blocks behind, on another core.
//! A manifest that is embedded in the file covers the same stream with one change in it, so that change is made to what
//! SHA-256 is fed with, and the file is read once all the same.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt as _};
use countermark_formats::ReadAt;
use countermark_formats::manifest::Splice;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::Hash;
use super::subtree::{Cut, Fold, Stitch, chaining_value};

/// Bytes per part. A power of two, so that each part but the last is a complete subtree.
pub const PART: u64 = 4 << 20;

/// Bytes per read: small enough that a thread's buffer stays in its L2 cache, large enough that the kernel copies at full
/// speed. A file of one block is read by one thread: there is work for the others in other files.
const BLOCK: u64 = 1 << 20;

/// Bytes that SHA-256 lags behind; two such windows are in memory.
const WINDOW: u64 = 4 << 20;

/// What to compute beside the BLAKE3 root.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants<'a> {
    /// SHA-256 of the whole.
    pub sha256: bool,
    /// SHA-256 of the whole with this change.
    pub spliced: Option<&'a Splice>,
    /// Plain BLAKE3 of these ranges, sorted, none empty, none over another.
    pub ranges: &'a [Range<u64>],
}

/// What one read gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Length of the source.
    pub size: u64,
    /// Plain BLAKE3.
    pub blake3: Hash,
    /// SHA-256, when it was wanted.
    pub sha256: Option<Hash>,
    /// SHA-256 of the whole with the change, when it was wanted.
    pub spliced: Option<Hash>,
    /// Plain BLAKE3 of each range that was wanted, in the same order.
    pub ranges: Vec<Hash>,
}

/// BLAKE3 of all bytes of `source`.
///
/// # Errors
/// Whatever the source answers to a read, for instance an unexpected end when the file shrank meanwhile.
pub fn hash(source: &(impl ReadAt + ?Sized)) -> io::Result<Hash> {
    hash_with(source, &|_| ())
}

/// As [`hash`], and tells `progress` the number of bytes of each part when it is done, and of none before it is read, so
/// that whoever listens can stop the work.
pub fn hash_with(source: &(impl ReadAt + ?Sized), progress: &(dyn Fn(u64) + Sync)) -> io::Result<Hash> {
    Ok(digests(source, Wants::default(), progress)?.blake3)
}

/// Reads every byte of `source` once, and computes everything that is wanted.
///
/// # Errors
/// As [`hash`], and when the source changed meanwhile.
pub fn digests(
    source: &(impl ReadAt + ?Sized),
    wants: Wants<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<Digests> {
    match source.for_one_pass()? {
        Some(opened) => pass(&*opened, wants, progress),
        None => pass(source, wants, progress),
    }
}

fn pass(source: &(impl ReadAt + ?Sized), wants: Wants<'_>, progress: &(dyn Fn(u64) + Sync)) -> io::Result<Digests> {
    let size = source.len();
    let fits = |pair: &[Range<u64>]| pair[0].end <= pair[1].start;
    let ranges = wants.ranges;
    if !ranges.windows(2).all(fits) || ranges.iter().any(|range| range.is_empty() || range.end > size) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "ranges overlap, are empty or exceed the file"));
    }
    if wants.spliced.is_some_and(|splice| splice.at.start > splice.at.end || splice.at.end > size) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the change exceeds the file"));
    }
    let streams = Streams::new(&wants);
    let reader = Reader { source, size, ranges, progress };
    let found = if size <= BLOCK {
        reader.small(streams)?
    } else if streams.is_empty() {
        reader.parallel(0..size)?.finish()
    } else {
        reader.with_sha256(streams)?
    };
    source.unchanged()?;
    let missing = || io::Error::other("a range was not hashed to its end");
    let ranges = found.ranges.into_iter().collect::<Option<_>>().ok_or_else(missing)?;
    let blake3 = found.root.ok_or_else(|| io::Error::other("too few parts for a root"))?;
    Ok(Digests { size, blake3, sha256: found.sha256, spliced: found.spliced, ranges })
}

/// Chaining value of the subtree at `range`, which must be a legal one, and the plain hash that these bytes have by
/// themselves when they begin the object.
pub(super) fn subtree(
    source: &(impl ReadAt + ?Sized),
    range: Range<u64>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<(ChainingValue, Option<Hash>)> {
    match source.for_one_pass()? {
        Some(opened) => subtree_of(&*opened, range, progress),
        None => subtree_of(source, range, progress),
    }
}

fn subtree_of(
    source: &(impl ReadAt + ?Sized),
    range: Range<u64>,
    progress: &(dyn Fn(u64) + Sync),
) -> io::Result<(ChainingValue, Option<Hash>)> {
    let reader = Reader { source, size: source.len(), ranges: &[], progress };
    let length = range.end - range.start;
    let result = if length <= BLOCK {
        with_buffer(length, |bytes| {
            progress(0);
            source.read_exact_at(bytes, range.start)?;
            progress(length);
            let value = if length == 0 { [0; 32] } else { chaining_value(bytes, range.start) };
            Ok::<_, io::Error>((value, (range.start == 0).then(|| Hash::blake3(bytes))))
        })?
    } else {
        let fold = reader.parallel(range.clone())?.fold;
        let whole = if range.start == 0 { fold.clone().root() } else { None };
        (fold.value().unwrap_or_default(), whole)
    };
    source.unchanged()?;
    Ok(result)
}

/// One pass over a source.
struct Reader<'a, S: ?Sized> {
    source: &'a S,
    size: u64,
    ranges: &'a [Range<u64>],
    progress: &'a (dyn Fn(u64) + Sync),
}

struct Found {
    root: Option<Hash>,
    sha256: Option<Hash>,
    spliced: Option<Hash>,
    ranges: Vec<Option<Hash>>,
}

/// What SHA-256 is computed of: the bytes as they are, and those with a change.
struct Streams<'a> {
    plain: Option<Sha256>,
    spliced: Option<Spliced<'a>>,
}

struct Spliced<'a> {
    hasher: Sha256,
    splice: &'a Splice,
    is_done: bool,
}

impl<'a> Streams<'a> {
    fn new(wants: &Wants<'a>) -> Self {
        let spliced = |splice| Spliced { hasher: Sha256::new(), splice, is_done: false };
        Streams { plain: wants.sha256.then(Sha256::new), spliced: wants.spliced.map(spliced) }
    }

    fn is_empty(&self) -> bool {
        self.plain.is_none() && self.spliced.is_none()
    }

    /// Takes the bytes at `at`, which follow those that came before.
    fn update(&mut self, bytes: &[u8], at: u64) {
        match (&mut self.plain, &mut self.spliced) {
            (Some(plain), Some(spliced)) => drop(rayon::join(|| plain.update(bytes), || spliced.update(bytes, at))),
            (Some(plain), None) => plain.update(bytes),
            (None, Some(spliced)) => spliced.update(bytes, at),
            (None, None) => {}
        }
    }

    /// Of the whole, and of the changed whole.
    fn finish(self) -> (Option<Hash>, Option<Hash>) {
        let spliced = self.spliced.map(|mut spliced| {
            // Of a file without a byte nothing was taken.
            if !spliced.is_done {
                spliced.hasher.update(&spliced.splice.bytes);
            }
            Hash(spliced.hasher.finalize().into())
        });
        (self.plain.map(|plain| Hash(plain.finalize().into())), spliced)
    }
}

impl Spliced<'_> {
    fn update(&mut self, bytes: &[u8], at: u64) {
        let Splice { at: Range { start, end }, bytes: other } = self.splice;
        let past = at + bytes.len() as u64;
        if !self.is_done {
            if *start > past {
                return self.hasher.update(bytes);
            }
            self.hasher.update(&bytes[..(start - at) as usize]);
            self.hasher.update(other);
            self.is_done = true;
        }
        let rest = (*end).max(at);
        if rest < past {
            self.hasher.update(&bytes[(rest - at) as usize..]);
        }
    }
}

/// What one block or part gives: its chaining value, and its share of each range, by index.
struct Done {
    length: u64,
    value: ChainingValue,
    shares: Vec<(usize, Share)>,
}

enum Share {
    Whole(Hash),
    Cut(Cut),
}

thread_local! {
    /// A thread's buffer, kept from file to file. It is taken out while in use.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with the thread's buffer, at least `size` bytes long.
pub(super) fn with_buffer<T>(size: u64, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take();
    if (buffer.len() as u64) < size {
        buffer.resize(size as usize, 0);
    }
    let result = work(&mut buffer[..size as usize]);
    BUFFER.set(buffer);
    result
}

impl<S: ReadAt + ?Sized> Reader<'_, S> {
    /// A file of one read, as most files of a large folder are.
    fn small(&self, mut streams: Streams<'_>) -> io::Result<Found> {
        with_buffer(self.size, |bytes| {
            (self.progress)(0);
            self.source.read_exact_at(bytes, 0)?;
            let whole = |range: &Range<u64>| Some(Hash::blake3(&bytes[range.start as usize..range.end as usize]));
            streams.update(bytes, 0);
            let (sha256, spliced) = streams.finish();
            let found = Found {
                root: Some(Hash::blake3(bytes)),
                sha256,
                spliced,
                ranges: self.ranges.iter().map(whole).collect(),
            };
            (self.progress)(self.size);
            Ok(found)
        })
    }

    /// All parts of `range`, which is longer than [`BLOCK`], by as many threads as there are.
    fn parallel(&self, range: Range<u64>) -> io::Result<Ordered<'_>> {
        let length = range.end - range.start;
        let part_length = if length < 4 * PART { BLOCK } else { PART };
        let parts = length.div_ceil(part_length);
        let next = AtomicU64::new(0);
        let failed = AtomicBool::new(false);
        let ordered = Mutex::new(Ordered::new(self.ranges));
        let work = || -> io::Result<()> {
            with_buffer(BLOCK, |buffer| {
                while !failed.load(Ordering::Relaxed) {
                    let part = next.fetch_add(1, Ordering::Relaxed);
                    if part >= parts {
                        break;
                    }
                    let start = range.start + part * part_length;
                    let end = range.end.min(start + part_length);
                    let mut hasher = Hasher::new();
                    hasher.set_input_offset(start);
                    let mut shares = Vec::new();
                    self.feed(&mut hasher, start..end, buffer, &mut shares)?;
                    let done = Done { length: end - start, value: hasher.finalize_non_root(), shares };
                    ordered.lock().unwrap_or_else(PoisonError::into_inner).add(part, done);
                }
                Ok(())
            })
        };
        let threads = parts.min(rayon::current_num_threads() as u64) as usize;
        (0..threads)
            .into_par_iter()
            .with_max_len(1)
            .try_for_each(|_| work().inspect_err(|_| failed.store(true, Ordering::Relaxed)))?;
        Ok(ordered.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads `range` block by block into `buffer` and hashes it.
    fn feed(
        &self,
        hasher: &mut Hasher,
        range: Range<u64>,
        buffer: &mut [u8],
        shares: &mut Vec<(usize, Share)>,
    ) -> io::Result<()> {
        (self.progress)(0);
        let mut at = range.start;
        while at < range.end {
            let size = (range.end - at).min(buffer.len() as u64) as usize;
            let block = &mut buffer[..size];
            self.source.read_exact_at(block, at)?;
            hasher.update(block);
            self.share(block, at, shares);
            at += block.len() as u64;
        }
        (self.progress)(range.end - range.start);
        Ok(())
    }

    /// What the block at `at` holds of each range.
    fn share(&self, block: &[u8], at: u64, shares: &mut Vec<(usize, Share)>) {
        let end = at + block.len() as u64;
        let first = self.ranges.partition_point(|range| range.end <= at);
        for (index, range) in self.ranges.iter().enumerate().skip(first).take_while(|(_, range)| range.start < end) {
            let (from, to) = (range.start.max(at), range.end.min(end));
            let bytes = &block[(from - at) as usize..(to - at) as usize];
            let share = if bytes.len() as u64 == range.end - range.start {
                Share::Whole(Hash::blake3(bytes))
            } else {
                Share::Cut(Cut::new(bytes, from - range.start, range.end - range.start))
            };
            shares.push((index, share));
        }
    }

    /// The same, and SHA-256 over the window before the one that is read.
    fn with_sha256(&self, mut streams: Streams<'_>) -> io::Result<Found> {
        let mut ordered = Ordered::new(self.ranges);
        let window = || vec![0; WINDOW.min(self.size) as usize];
        let (mut ready, mut filling) = (window(), window());
        let (mut is_ready, mut at, mut part) = (0, 0, 0);
        while at < self.size || is_ready > 0 {
            let size = (self.size - at).min(filling.len() as u64) as usize;
            let (_, blocks) = rayon::join(
                || streams.update(&ready[..is_ready], at - is_ready as u64),
                || -> io::Result<Vec<Done>> {
                    (self.progress)(0);
                    let blocks = filling[..size].par_chunks_mut(BLOCK as usize).enumerate();
                    blocks.map(|(index, block)| self.block(block, at + index as u64 * BLOCK)).collect()
                },
            );
            for done in blocks? {
                ordered.add(part, done);
                part += 1;
            }
            (self.progress)(size as u64);
            at += size as u64;
            std::mem::swap(&mut ready, &mut filling);
            is_ready = size;
        }
        let (sha256, spliced) = streams.finish();
        Ok(Found { sha256, spliced, ..ordered.finish() })
    }

    fn block(&self, block: &mut [u8], at: u64) -> io::Result<Done> {
        self.source.read_exact_at(block, at)?;
        let mut shares = Vec::new();
        self.share(block, at, &mut shares);
        Ok(Done { length: block.len() as u64, value: chaining_value(block, at), shares })
    }
}

/// Puts what the threads did back into order.
struct Ordered<'a> {
    ranges: &'a [Range<u64>],
    next: u64,
    waiting: BTreeMap<u64, Done>,
    fold: Fold,
    open: BTreeMap<usize, Stitch>,
    hashes: Vec<Option<Hash>>,
}

impl<'a> Ordered<'a> {
    fn new(ranges: &'a [Range<u64>]) -> Self {
        let hashes = vec![None; ranges.len()];
        Ordered { ranges, next: 0, waiting: BTreeMap::new(), fold: Fold::default(), open: BTreeMap::new(), hashes }
    }

    fn add(&mut self, part: u64, done: Done) {
        self.waiting.insert(part, done);
        while let Some(done) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.fold.push(done.length, done.value);
            for (index, share) in done.shares {
                self.hashes[index] = match share {
                    Share::Whole(hash) => Some(hash),
                    Share::Cut(cut) => {
                        let length = self.ranges[index].end - self.ranges[index].start;
                        self.open.entry(index).or_insert_with(|| Stitch::new(length)).add(&cut)
                    }
                };
                if self.hashes[index].is_some() {
                    self.open.remove(&index);
                }
            }
        }
    }

    fn finish(self) -> Found {
        Found { root: self.fold.root(), sha256: None, spliced: None, ranges: self.hashes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn known_answers() {
        for (length, expected) in [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
            (3 * 1024 * 1024 + 777, "af47dfe5284779cecdf26b7bb8209b1a4ca1e24bb168adff9f9ee4294a9e52e9"),
        ] {
            assert_eq!(hash(&pattern(length)).unwrap().to_string(), expected, "{length} bytes");
        }
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        let bytes = pattern(100);
        for ranges in [&[0..10, 5..20][..], &[10..10, 20..30], &[0..1, 90..101], &[5..20, 0..5]] {
            let wants = Wants { ranges, ..Wants::default() };
            assert!(digests(&bytes, wants, &|_| ()).is_err(), "{ranges:?}");
        }
        for (start, end) in [(5, 4), (0, 101), (101, 101)] {
            let splice = Splice { at: start..end, bytes: vec![] };
            let wants = Wants { spliced: Some(&splice), ..Wants::default() };
            assert!(digests(&bytes, wants, &|_| ()).is_err(), "{splice:?}");
        }
    }

    /// Hashes everything again from each slice by itself.
    fn slow(bytes: &[u8], ranges: &[Range<u64>], sha256: bool, splice: Option<&Splice>) -> Digests {
        let changed = |splice: &Splice| {
            let (from, to) = (splice.at.start as usize, splice.at.end as usize);
            Hash::sha256(&[&bytes[..from], &splice.bytes, &bytes[to..]].concat())
        };
        Digests {
            spliced: splice.map(changed),
            size: bytes.len() as u64,
            blake3: Hash::blake3(bytes),
            sha256: sha256.then(|| Hash::sha256(bytes)),
            ranges: ranges.iter().map(|range| Hash::blake3(&bytes[range.start as usize..range.end as usize])).collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn agrees_with_hashing_each_slice(
            length in prop_oneof![0_usize..3000, 0_usize..(40 << 20), Just(1 << 20), Just(4 << 20), Just(16 << 20)],
            edges in proptest::collection::vec(0_usize..(40 << 20), 0..40),
            sha256: bool,
            changed: bool,
            splice in (0.0..=1.0_f64, 0.0..=1.0_f64, 0_usize..5000),
        ) {
            let bytes = pattern(length);
            let mut edges: Vec<u64> = edges.into_iter().map(|edge| (edge % (length + 1)) as u64).collect();
            edges.sort_unstable();
            edges.dedup();
            let ranges: Vec<Range<u64>> = edges.windows(2).step_by(1 + length % 2).map(|pair| pair[0]..pair[1]).collect();
            let start = (splice.0 * length as f64) as u64;
            let end = start + (splice.1 * (length as u64 - start) as f64) as u64;
            let splice = Splice { at: start..end, bytes: vec![0xcc; splice.2] };
            let spliced = changed.then_some(&splice);
            let wants = Wants { sha256, spliced, ranges: &ranges };
            prop_assert_eq!(digests(&bytes, wants, &|_| ()).unwrap(), slow(&bytes, &ranges, sha256, spliced));
        }
    }
}
