//! Leaves sorted by hash, in bounded memory: sorted runs spill to temporary files and are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};

use countermark_lineage::digest::Hash;
use rayon::prelude::*;

/// A leaf, and the index of its record in the data. Sorted by leaf, then by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The leaf.
    pub leaf: Hash,
    /// The record's index.
    pub index: u64,
}

/// Entries in memory before they spill: 160 MiB of them.
const SPILL: usize = 4 << 20;

/// Takes leaves in any order.
pub struct Sorter {
    entries: Vec<Entry>,
    runs: Vec<File>,
    spill: usize,
}

impl Default for Sorter {
    fn default() -> Self {
        Sorter::new(SPILL)
    }
}

impl Sorter {
    /// Spills whenever `spill` entries are in memory, 40 bytes each.
    pub fn new(spill: usize) -> Self {
        Sorter { entries: vec![], runs: vec![], spill: spill.max(1) }
    }

    /// Takes the leaves of consecutive records, `first` the index of the first.
    ///
    /// # Errors
    /// When the temporary folder is full or cannot be written.
    pub fn extend(&mut self, first: u64, leaves: &[Hash]) -> io::Result<()> {
        for (index, leaf) in (first..).zip(leaves) {
            self.entries.push(Entry { leaf: *leaf, index });
            if self.entries.len() == self.spill {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.entries.par_sort_unstable();
        // Without a name: it is gone when the process is.
        let mut run = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
        for entry in self.entries.drain(..) {
            run.write_all(&entry.leaf.0)?;
            run.write_all(&entry.index.to_le_bytes())?;
        }
        self.runs.push(run.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(())
    }

    /// All entries in order. May be asked for again.
    ///
    /// # Errors
    /// When a temporary file cannot be read.
    pub fn merge(&mut self) -> io::Result<Merge<'_>> {
        self.entries.par_sort_unstable();
        let mut merge = Merge { memory: self.entries.iter(), runs: vec![], heads: BinaryHeap::new() };
        if let Some(entry) = merge.memory.next() {
            merge.heads.push(Reverse((*entry, usize::MAX)));
        }
        for (number, run) in self.runs.iter_mut().enumerate() {
            run.rewind()?;
            merge.runs.push(BufReader::with_capacity(256 << 10, run));
            if let Some(entry) = merge.after(number)? {
                merge.heads.push(Reverse((entry, number)));
            }
        }
        Ok(merge)
    }
}

/// Entries in order.
pub struct Merge<'a> {
    memory: std::slice::Iter<'a, Entry>,
    runs: Vec<BufReader<&'a mut File>>,
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Merge<'_> {
    /// The next entry of a run, or of what is in memory.
    fn after(&mut self, number: usize) -> io::Result<Option<Entry>> {
        let Some(run) = self.runs.get_mut(number) else { return Ok(self.memory.next().copied()) };
        let mut bytes = [0; 40];
        match run.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let (mut leaf, mut index) = ([0; 32], [0; 8]);
        leaf.copy_from_slice(&bytes[..32]);
        index.copy_from_slice(&bytes[32..]);
        Ok(Some(Entry { leaf: Hash(leaf), index: u64::from_le_bytes(index) }))
    }
}

impl Iterator for Merge<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        let Reverse((entry, number)) = *self.heads.peek()?;
        match self.after(number) {
            Err(error) => return Some(Err(error)),
            Ok(Some(after)) => {
                if let Some(mut head) = self.heads.peek_mut() {
                    *head = Reverse((after, number));
                }
            }
            Ok(None) => {
                self.heads.peek_mut().map(PeekMut::pop);
            }
        }
        Some(Ok(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilled_runs_merge_into_what_sorting_gives() {
        let leaves: Vec<Hash> = (0..1000_u32).map(|i| Hash::sha256(&(i % 300).to_le_bytes())).collect();
        let mut expected: Vec<Entry> = (0..).zip(&leaves).map(|(index, leaf)| Entry { leaf: *leaf, index }).collect();
        expected.sort();
        for spill in [1, 7, 64, 1000, 5000] {
            let mut sorter = Sorter::new(spill);
            sorter.extend(0, &leaves[..400]).unwrap();
            sorter.extend(400, &leaves[400..]).unwrap();
            for _ in 0..2 {
                let merged: Vec<Entry> = sorter.merge().unwrap().map(Result::unwrap).collect();
                assert_eq!(merged, expected, "spilling at {spill}");
            }
        }
    }
}
