//! ZIP archives, read strictly: what `.npz` files and PyTorch checkpoints are made of.
//!
//! A member stands in an archive twice: in front of its bytes (local header) and in the directory at the end. Readers
//! differ in which of the two they believe, in what they make of repeated names, and in where they begin. So the two
//! must agree, no name may appear twice, and the archive must be tiled: local header, bytes and data descriptor of each
//! member follow each other from the first byte to the directory without gap or overlap, and nothing follows the end.
//! Section numbers are those of PKWARE's APPNOTE.TXT 6.3.10.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::{Error, ReadAt, Result, read_at};

/// The first four bytes of an archive with at least one member (4.3.7).
pub(crate) const MAGIC: [u8; 4] = *b"PK\x03\x04";

/// The largest directory that is read, in bytes: about a million members.
const MAX_DIRECTORY: u64 = 1 << 26;

/// More inflated bytes than this in one archive are refused: deflate packs up to 1032 to 1, and somebody has to read it.
const MAX_INFLATED: u64 = 1 << 36;

/// Deflate packs no more than this to one byte.
const MAX_RATIO: u64 = 1032;

const END: usize = 22;
const END64: usize = 56;
const LOCATOR: usize = 20;
const CENTRAL: usize = 46;
const LOCAL: usize = 30;

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub name: String,
    /// True when the bytes are deflated, false when they are stored.
    pub deflated: bool,
    /// Where the bytes are, as stored.
    pub range: Range<u64>,
    /// Length when inflated.
    pub size: u64,
    pub crc32: u32,
}

/// An archive that ends at a known byte of a file.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Where it begins.
    pub begin: u64,
    /// In the order of their bytes.
    pub members: Vec<Member>,
}

/// Reads the archive that is the whole of `source`.
pub(crate) fn parse(source: &dyn ReadAt) -> Result<Archive> {
    let archive = parse_before(source, source.len())?;
    if archive.begin != 0 {
        return Err(fail(0, format!("{} bytes stand before the archive", archive.begin)));
    }
    Ok(archive)
}

/// Reads the archive that ends at `end`, wherever it begins.
pub(crate) fn parse_before(source: &dyn ReadAt, end: u64) -> Result<Archive> {
    let directory = find_directory(source, end)?;
    let mut bytes = vec![0; directory.size as usize];
    read_at::read(source, &mut bytes, directory.position)?;
    let mut entries = central(&bytes, &directory)?;
    entries.sort_by_key(|entry| entry.local);
    let mut members = Vec::with_capacity(entries.len());
    let mut next = 0;
    let mut inflated = 0u64;
    for (number, entry) in entries.iter().enumerate() {
        let follows = entries.get(number + 1).map_or(directory.offset, |entry| entry.local);
        if entry.local != next || follows < next || follows > directory.offset {
            let reason = format!("member {:?} overlaps another one, or bytes before it belong to none", entry.name);
            return Err(fail(directory.begin.saturating_add(entry.local), reason));
        }
        if entry.deflated {
            inflated = inflated.saturating_add(entry.size);
        }
        members.push(local(source, &directory, entry, follows)?);
        next = follows;
    }
    if next != directory.offset {
        return Err(fail(directory.begin, "bytes before the directory belong to no member".into()));
    }
    if inflated > MAX_INFLATED {
        let reason = format!("{inflated} bytes when inflated, more than {MAX_INFLATED}; store them uncompressed");
        return Err(fail(directory.position, reason));
    }
    Ok(Archive { begin: directory.begin, members })
}

fn fail(offset: u64, reason: String) -> Error {
    Error::Malformed { format: "ZIP archive", offset, reason }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Where the directory is.
struct Directory {
    /// Where the archive begins in the file.
    begin: u64,
    /// Where the directory begins in the archive.
    offset: u64,
    /// Where it begins in the file.
    position: u64,
    size: u64,
    entries: u64,
}

/// 4.3.14 to 4.3.16: the end record is the last thing, without a comment, so that there is one place to look for it.
fn find_directory(source: &dyn ReadAt, end: u64) -> Result<Directory> {
    let end_at = end.checked_sub(END as u64).ok_or_else(|| fail(0, "too short for an archive".into()))?;
    let mut record = [0; END];
    read_at::read(source, &mut record, end_at)?;
    if record[..4] != *b"PK\x05\x06" || u16_at(&record, 20) != 0 {
        return Err(fail(end_at, "no end record here: the file is cut short, or something was appended".into()));
    }
    if (u16_at(&record, 4), u16_at(&record, 6)) != (0, 0) || record[8..10] != record[10..12] {
        return Err(fail(end_at, "archives of several disks are not read".into()));
    }
    let (mut entries, mut size, mut offset) =
        (u64::from(u16_at(&record, 10)), u64::from(u32_at(&record, 12)), u64::from(u32_at(&record, 16)));
    let mut directory_end = end_at;
    if let Some((at, wide)) = end64(source, end_at)? {
        let narrow = [(entries, 0xffff, wide.0), (size, 0xffff_ffff, wide.1), (offset, 0xffff_ffff, wide.2)];
        if narrow.iter().any(|(small, saturated, large)| small != large && small != saturated) {
            return Err(fail(at, "the two end records contradict each other".into()));
        }
        (entries, size, offset) = wide;
        directory_end = at;
    }
    let begin = directory_end.checked_sub(size).and_then(|position| Some((position, position.checked_sub(offset)?)));
    let Some((position, begin)) = begin.filter(|_| size <= MAX_DIRECTORY && entries <= size / CENTRAL as u64) else {
        let reason = format!("a directory of {size} bytes with {entries} members at byte {offset} is not possible");
        return Err(fail(end_at, reason));
    };
    if let Some(told) = locator(source, end_at)? {
        // The locator counts from the archive's begin, and must lead to the record in front of it.
        if begin.checked_add(told) != Some(directory_end) {
            return Err(fail(end_at, "the locator leads elsewhere than to the end record".into()));
        }
    }
    Ok(Directory { begin, offset, position, size, entries })
}

/// The offset that the locator of a ZIP64 end record gives, when there is one (4.3.15).
fn locator(source: &dyn ReadAt, end_at: u64) -> Result<Option<u64>> {
    let Some(at) = end_at.checked_sub(LOCATOR as u64) else { return Ok(None) };
    let mut record = [0; LOCATOR];
    read_at::read(source, &mut record, at)?;
    Ok((record[..4] == *b"PK\x06\x07").then(|| u64_at(&record, 8)))
}

/// The ZIP64 end record: its place, and number of entries, size and offset of the directory (4.3.14).
#[allow(clippy::type_complexity)]
fn end64(source: &dyn ReadAt, end_at: u64) -> Result<Option<(u64, (u64, u64, u64))>> {
    if locator(source, end_at)?.is_none() {
        return Ok(None);
    }
    let at = end_at.checked_sub((LOCATOR + END64) as u64);
    let at = at.ok_or_else(|| fail(end_at, "no room for the ZIP64 end record".into()))?;
    let mut record = [0; END64];
    read_at::read(source, &mut record, at)?;
    let plain = u64_at(&record, 4) == END64 as u64 - 12 && record[16..24] == [0; 8];
    if record[..4] != *b"PK\x06\x06" || !plain || u64_at(&record, 24) != u64_at(&record, 32) {
        return Err(fail(at, "no ZIP64 end record of the plain kind where the locator says".into()));
    }
    Ok(Some((at, (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48)))))
}

/// A member as the directory describes it.
struct Entry {
    name: String,
    flags: u16,
    deflated: bool,
    crc32: u32,
    packed: u64,
    size: u64,
    /// Where its local header is, from the archive's begin.
    local: u64,
}

/// 4.3.12.
fn central(bytes: &[u8], directory: &Directory) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = directory.position + (bytes.len() - rest.len()) as u64;
        if rest.len() < CENTRAL || rest[..4] != *b"PK\x01\x02" {
            return Err(fail(at, "no directory entry here".into()));
        }
        let [name, extra, comment] = [28, 30, 32].map(|field| usize::from(u16_at(rest, field)));
        let Some(tail) = rest.get(CENTRAL..CENTRAL + name + extra + comment) else {
            return Err(fail(at, "the directory ends inside an entry".into()));
        };
        let name_text = text(&tail[..name]).ok_or_else(|| fail(at, "a name is not plain UTF-8 text".into()))?;
        let refuse = |reason: &str| Err(fail(at, format!("member {name_text:?}: {reason}")));
        let (flags, method) = (u16_at(rest, 8), u16_at(rest, 10));
        // Without bit 11 a name is code page 437 (appendix D): another name to those who follow that.
        if flags & 1 << 11 == 0 && !name_text.is_ascii() {
            return refuse("a name beyond ASCII that is not marked as UTF-8; write the archive again");
        }
        // 4.4.4: bits 1 and 2 tell how hard the writer tried, 3 that a descriptor follows, 11 that names are UTF-8.
        if flags & !0b1000_0000_1110 != 0 {
            return refuse("encrypted or patched members are not read");
        }
        if method != 0 && method != 8 {
            return refuse("neither stored nor deflated");
        }
        if u16_at(rest, 34) != 0 {
            return refuse("is on another disk");
        }
        let mut numbers = [u64::from(u32_at(rest, 24)), u64::from(u32_at(rest, 20)), u64::from(u32_at(rest, 42))];
        if let Err(reason) = widen(&mut numbers, &tail[name..name + extra]) {
            return refuse(reason);
        }
        let [size, packed, local] = numbers;
        let deflated = method == 8;
        if if deflated { size > packed.saturating_mul(MAX_RATIO) } else { size != packed } {
            return refuse("its two sizes are not possible together");
        }
        if !seen.insert(name_text.clone()) {
            return refuse("appears twice");
        }
        entries.push(Entry { name: name_text, flags, deflated, crc32: u32_at(rest, 16), packed, size, local });
        rest = &rest[CENTRAL + name + extra + comment..];
    }
    if entries.len() as u64 != directory.entries {
        return Err(fail(directory.position, format!("{} members, not {}", entries.len(), directory.entries)));
    }
    Ok(entries)
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Replaces the saturated numbers, in order, by those of the one ZIP64 extra field (4.5.3). Refuses Info-ZIP's Unicode
/// path (4.6.9), which is the name to some readers and nothing to others.
fn widen(numbers: &mut [u64], mut extra: &[u8]) -> std::result::Result<(), &'static str> {
    const UNREADABLE: &str = "its ZIP64 sizes cannot be read";
    let mut found = false;
    // Padding of fewer than four bytes cannot be a field.
    while extra.len() >= 4 {
        let (kind, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let mut field = extra.get(4..4 + length).ok_or(UNREADABLE)?;
        if kind == 0x7075 {
            return Err("has a second name in an extra field; write the archive again");
        }
        if kind == 1 {
            if std::mem::replace(&mut found, true) {
                return Err(UNREADABLE);
            }
            for number in numbers.iter_mut().filter(|number| **number == 0xffff_ffff) {
                *number = u64_at(field.get(..8).ok_or(UNREADABLE)?, 0);
                field = &field[8..];
            }
        }
        extra = &extra[4 + length..];
    }
    Ok(())
}

/// Compares the local header and the data descriptor with the directory's entry (4.3.7, 4.3.9).
fn local(source: &dyn ReadAt, directory: &Directory, entry: &Entry, follows: u64) -> Result<Member> {
    let at = directory.begin + entry.local;
    let end = directory.begin + follows;
    let refuse = |reason: &str| fail(at, format!("member {:?}: {reason}", entry.name));
    let mut header = [0; LOCAL];
    if end - at < LOCAL as u64 {
        return Err(refuse("no room for its local header"));
    }
    read_at::read(source, &mut header, at)?;
    let (name, extra) = (usize::from(u16_at(&header, 26)), usize::from(u16_at(&header, 28)));
    let data = at + (LOCAL + name + extra) as u64;
    let packed_end = data.checked_add(entry.packed).filter(|&past| data <= end && past <= end);
    let packed_end = packed_end.ok_or_else(|| refuse("its bytes reach into the next member or the directory"))?;
    let mut tail = vec![0; name + extra];
    read_at::read(source, &mut tail, at + LOCAL as u64)?;
    let mut sizes = [u64::from(u32_at(&header, 22)), u64::from(u32_at(&header, 18))];
    widen(&mut sizes, &tail[name..]).map_err(refuse)?;
    let told = (u32_at(&header, 14), sizes[1], sizes[0]);
    let expected = (entry.crc32, entry.packed, entry.size);
    let described = entry.flags & 8 != 0;
    let method = if entry.deflated { 8 } else { 0 };
    let same = header[..4] == MAGIC
        && u16_at(&header, 6) == entry.flags
        && u16_at(&header, 8) == method
        && tail[..name] == *entry.name.as_bytes()
        && (told == expected || described && told == (0, 0, 0));
    if !same {
        return Err(refuse("its local header is not what the directory says"));
    }
    let mut gap = [0; 24];
    let gap = gap.get_mut(..usize::try_from(end - packed_end).unwrap_or(usize::MAX));
    let gap = gap.ok_or_else(|| refuse("bytes behind it belong to no member"))?;
    read_at::read(source, gap, packed_end)?;
    let fits = match (described, gap.len()) {
        (false, 0) => true,
        (true, 12 | 16) => descriptor32(&gap[gap.len() - 12..]) == expected && signed(gap, 12),
        (true, 20 | 24) => descriptor64(&gap[gap.len() - 20..]) == expected && signed(gap, 20),
        _ => false,
    };
    if !fits {
        return Err(refuse("what stands behind its bytes is not its data descriptor"));
    }
    let Entry { name, deflated, size, crc32, .. } = entry;
    Ok(Member { name: name.clone(), deflated: *deflated, range: data..packed_end, size: *size, crc32: *crc32 })
}

/// A descriptor's signature is optional.
fn signed(gap: &[u8], length: usize) -> bool {
    gap.len() == length || gap[..4] == *b"PK\x07\x08"
}

fn descriptor32(bytes: &[u8]) -> (u32, u64, u64) {
    (u32_at(bytes, 0), u64::from(u32_at(bytes, 4)), u64::from(u32_at(bytes, 8)))
}

fn descriptor64(bytes: &[u8]) -> (u32, u64, u64) {
    (u32_at(bytes, 0), u64_at(bytes, 4), u64_at(bytes, 12))
}
