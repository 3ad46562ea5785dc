//! A page of the cache: the entries of up to 256 neighbouring inodes, and a checksum.
//!
//! `inode size mtime ctime` as little-endian 64-bit numbers, BLAKE3, a byte that says whether SHA-256 follows, the number
//! of ranges in 32 bits and each range as `begin end BLAKE3`; after the last entry 16 bytes of checksum.

use std::collections::BTreeMap;

use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::Known;

use super::{Stamp, checksum, is_same};

/// Which page an inode is in.
pub(super) fn number(inode: u64) -> u64 {
    inode >> 8
}

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    stamp: Stamp,
    known: Known,
}

impl Entry {
    pub fn new(stamp: &Stamp, known: &Known) -> Self {
        // The device is the page's.
        Entry { stamp: Stamp { device: 0, ..*stamp }, known: known.clone() }
    }

    pub fn inode(&self) -> u64 {
        self.stamp.inode
    }

    pub fn is_of(&self, stamp: &Stamp) -> bool {
        is_same(&self.stamp, stamp)
    }

    pub fn known(&self) -> Known {
        self.known.clone()
    }
}

/// Entries by inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page(BTreeMap<u64, Entry>);

impl Page {
    pub fn find(&self, inode: u64) -> Option<&Entry> {
        self.0.get(&inode)
    }

    /// Adds entries. What is known of the same bytes already stays known.
    pub fn extend(&mut self, entries: Vec<Entry>) {
        for mut entry in entries {
            if let Some(old) = self.0.get(&entry.inode())
                && old.stamp == entry.stamp
                && old.known.blake3 == entry.known.blake3
            {
                entry.known.sha256 = entry.known.sha256.or(old.known.sha256);
                if entry.known.ranges.is_empty() {
                    entry.known.ranges.clone_from(&old.known.ranges);
                }
            }
            self.0.insert(entry.inode(), entry);
        }
    }

    pub fn to_bytes(&self, device: u64, number: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 80 + 16);
        for Entry { stamp, known } in self.0.values() {
            bytes.extend(stamp.inode.to_le_bytes());
            bytes.extend(stamp.size.to_le_bytes());
            bytes.extend(stamp.mtime.to_le_bytes());
            bytes.extend(stamp.ctime.to_le_bytes());
            bytes.extend(known.blake3.0);
            bytes.push(u8::from(known.sha256.is_some()));
            known.sha256.iter().for_each(|hash| bytes.extend(hash.0));
            bytes.extend((known.ranges.len() as u32).to_le_bytes());
            for (begin, end, hash) in &known.ranges {
                bytes.extend(begin.to_le_bytes());
                bytes.extend(end.to_le_bytes());
                bytes.extend(hash.0);
            }
        }
        bytes.extend(checksum(device, number, &bytes));
        bytes
    }

    /// `None` for anything but what [`Page::to_bytes`] wrote for this place.
    pub fn parse(bytes: &[u8], device: u64, number: u64) -> Option<Self> {
        let (mut body, check) = bytes.split_at_checked(bytes.len().checked_sub(16)?)?;
        if check != checksum(device, number, body) {
            return None;
        }
        let mut page = Page::default();
        while !body.is_empty() {
            let entry = entry(&mut body)?;
            page.0.insert(entry.inode(), entry);
        }
        Some(page)
    }
}

fn entry(body: &mut &[u8]) -> Option<Entry> {
    let (inode, size) = (u64::from_le_bytes(take(body)?), u64::from_le_bytes(take(body)?));
    let (mtime, ctime) = (i64::from_le_bytes(take(body)?), i64::from_le_bytes(take(body)?));
    let blake3 = Hash(take(body)?);
    let sha256 = if take(body)? == [1] { Some(Hash(take(body)?)) } else { None };
    let count = u32::from_le_bytes(take(body)?);
    let mut ranges = Vec::new();
    for _ in 0..count {
        ranges.push((u64::from_le_bytes(take(body)?), u64::from_le_bytes(take(body)?), Hash(take(body)?)));
    }
    let stamp = Stamp { device: 0, inode, size, mtime, ctime };
    Some(Entry { stamp, known: Known { size, blake3, sha256, ranges } })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(inode: u64, sha256: bool, ranges: usize) -> Entry {
        let stamp = Stamp { device: 7, inode, size: 3, mtime: -5, ctime: i64::MAX };
        let known = Known {
            size: 3,
            blake3: Hash([inode as u8; 32]),
            sha256: sha256.then_some(Hash([9; 32])),
            ranges: (0..ranges as u64).map(|at| (at, at + 1, Hash([8; 32]))).collect(),
        };
        Entry::new(&stamp, &known)
    }

    #[test]
    fn a_page_comes_back_and_no_flipped_bit_does() {
        let mut page = Page::default();
        page.extend(vec![entry(513, true, 2), entry(512, false, 0), entry(600, true, 0)]);
        let bytes = page.to_bytes(7, 2);
        assert_eq!(Page::parse(&bytes, 7, 2), Some(page.clone()));
        assert_eq!((Page::parse(&bytes, 8, 2), Page::parse(&bytes, 7, 3)), (None, None), "moved to another place");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(Page::parse(&flipped, 7, 2), None, "byte {at}");
            assert_eq!(Page::parse(&bytes[..at], 7, 2), None, "cut at {at}");
        }
        page.extend(vec![entry(513, false, 0)]);
        assert_eq!(page.find(513), Some(&entry(513, true, 2)), "more was known of the same bytes");
    }
}
