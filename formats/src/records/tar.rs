//! WebDataset shards: samples in tar archives (POSIX ustar and pax, GNU long names).
//!
//! A sample is a run of consecutive files whose names agree up to the first dot of the last part. Its bytes, with
//! lengths little-endian:
//!
//! ```text
//! for each file, in order:  u32 length of the name ‖ name as stored ‖ u64 length ‖ bytes
//! ```
//!
//! Folders are passed over. Links, devices, sparse files, names that climb or are absolute, a name that stands twice in
//! a sample, and anything behind the end of the archive are refused; so is an archive without its end.

use std::io::{self, BufReader, Read};

use super::{BATCH, Batch, Error, MAX_RECORD, ReadRecords};

const BLOCK: usize = 512;
/// Long names and pax headers are at most this long.
const MAX_HEADER: u64 = 64 << 10;
const HELP: &str = "write the archive again with tar or the webdataset package";

/// Reads samples.
pub struct Tar<R> {
    source: BufReader<R>,
    /// Bytes read so far.
    offset: u64,
    batch: usize,
    /// The sample being put together: where it begins, its key, the names in it, its bytes.
    sample: Option<Sample>,
    ended: bool,
}

struct Sample {
    offset: u64,
    key: Vec<u8>,
    names: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

/// A file's header.
struct Member {
    offset: u64,
    name: Vec<u8>,
    size: u64,
}

impl<R: Read> Tar<R> {
    /// Samples of `source`.
    pub fn new(source: R) -> Self {
        Tar::with_batch(source, BATCH)
    }

    /// As [`Tar::new`], in batches of about `batch` bytes.
    pub fn with_batch(source: R, batch: usize) -> Self {
        let source = BufReader::with_capacity(256 << 10, source);
        Tar { source, offset: 0, batch, sample: None, ended: false }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += filled as u64;
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(Error::bad(self.offset, "the archive is cut short", HELP)),
        }
    }

    /// Appends `size` bytes of data to `out`, and passes over the padding.
    fn data(&mut self, size: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let begin = self.offset;
        let read = (&mut self.source).take(size).read_to_end(out)? as u64;
        self.offset += read;
        let mut padding = [0; BLOCK];
        let padding = &mut padding[..(size.next_multiple_of(BLOCK as u64) - size) as usize];
        let cut = |_| Error::bad(begin, format!("{size} bytes should follow, and the archive is cut short"), HELP);
        if read < size {
            return Err(cut(io::ErrorKind::UnexpectedEof.into()));
        }
        self.source.read_exact(padding).map_err(cut)?;
        self.offset += padding.len() as u64;
        Ok(())
    }

    /// The next regular file's header, extensions applied.
    fn member(&mut self) -> Result<Option<Member>, Error> {
        let (mut long_name, mut pax) = (None, Pax::default());
        loop {
            let offset = self.offset;
            let Some(block) = self.block()? else {
                return Err(Error::bad(offset, "the archive ends without its end mark: it is cut short", HELP));
            };
            let extended = long_name.is_some() || !pax.is_empty();
            if block == [0; BLOCK] {
                if extended {
                    return Err(Error::bad(offset, "an extended header belongs to no file", HELP));
                }
                self.tail()?;
                return Ok(None);
            }
            let header = Header::parse(&block, offset)?;
            match header.kind {
                b'L' | b'K' | b'x' | b'g' => {
                    if header.size > MAX_HEADER {
                        return Err(Error::bad(offset, "an extended header of more than 64 KiB", HELP));
                    }
                    let mut data = Vec::new();
                    self.data(header.size, &mut data)?;
                    match header.kind {
                        b'L' if long_name.is_none() => long_name = Some(until_zero(&data).to_vec()),
                        b'L' => return Err(Error::bad(offset, "two long names for one file", HELP)),
                        // The target of a link; the link itself is refused.
                        b'K' => {}
                        b'x' => pax.read(&data, offset, true)?,
                        _ => Pax::default().read(&data, offset, false)?,
                    }
                }
                // Old archives mark a folder by a slash alone.
                0 if !extended && header.size == 0 && header.name.last() == Some(&b'/') => {}
                0 if header.name.last() == Some(&b'/') => {
                    // To some readers a folder, to others the file that the extended header names.
                    let problem = format!("{:?} is a folder with data or a name of a file", lossy(&header.name));
                    return Err(Error::bad(offset, problem, "write the archive again with plain files only"));
                }
                b'0' | 0 | b'7' => {
                    // Readers differ in which of the two counts.
                    if pax.path.is_some() && long_name.is_some() {
                        return Err(Error::bad(offset, "two names for one file, by pax and by GNU", HELP));
                    }
                    let name = pax.path.take().or(long_name).unwrap_or(header.name);
                    check_name(&name, offset)?;
                    return Ok(Some(Member { offset, name, size: pax.size.unwrap_or(header.size) }));
                }
                b'5' if header.size == 0 => (long_name, pax) = (None, Pax::default()),
                other => {
                    let what = match other {
                        b'1' | b'2' => "a link",
                        b'S' => "a sparse file",
                        b'5' => "a folder with data",
                        _ => "neither a file nor a folder",
                    };
                    let problem = format!("{:?} is {what}", lossy(&header.name));
                    return Err(Error::bad(offset, problem, "write the archive again with plain files only"));
                }
            }
        }
    }

    /// Behind the end mark there are only zeros.
    fn tail(&mut self) -> Result<(), Error> {
        while let Some(block) = self.block()? {
            if block != [0; BLOCK] {
                let problem = "something stands behind the end of the archive";
                return Err(Error::bad(self.offset - BLOCK as u64, problem, HELP));
            }
        }
        self.ended = true;
        Ok(())
    }
}

impl<R: Read + Send> ReadRecords for Tar<R> {
    fn next(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        while !self.ended && batch.bytes.len() < self.batch {
            let member = self.member()?;
            let key = member.as_ref().map(|member| key(&member.name).to_vec());
            if let Some(sample) = self.sample.take_if(|sample| Some(&sample.key) != key.as_ref()) {
                batch.append(sample.offset, |bytes| {
                    bytes.extend_from_slice(&sample.bytes);
                    Ok(())
                })?;
            }
            let (Some(member), Some(key)) = (member, key) else { break };
            let mut sample = self.sample.take().unwrap_or_else(|| Sample {
                offset: member.offset,
                key,
                names: vec![],
                bytes: vec![],
            });
            if sample.names.contains(&member.name) {
                let problem = format!("{:?} stands twice in one sample", String::from_utf8_lossy(&member.name));
                return Err(Error::bad(member.offset, problem, HELP));
            }
            if sample.names.len() == MAX_FILES {
                return Err(Error::bad(member.offset, format!("more than {MAX_FILES} files in one sample"), HELP));
            }
            let length = sample.bytes.len() as u64 + member.size;
            if member.size > MAX_RECORD as u64 || length + member.name.len() as u64 + 12 > MAX_RECORD as u64 {
                return Err(Error::too_long(sample.offset));
            }
            sample.bytes.extend_from_slice(&(member.name.len() as u32).to_le_bytes());
            sample.bytes.extend_from_slice(&member.name);
            sample.bytes.extend_from_slice(&member.size.to_le_bytes());
            self.data(member.size, &mut sample.bytes)?;
            sample.names.push(member.name);
            self.sample = Some(sample);
        }
        Ok(!batch.is_empty())
    }
}

/// Files in one sample. Each new name is compared with all of them.
const MAX_FILES: usize = 1000;

/// The name up to the first dot of its last part; all of it when that would leave nothing.
fn key(name: &[u8]) -> &[u8] {
    let base = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    match name[base..].iter().position(|byte| *byte == b'.') {
        Some(dot) if dot > 0 => &name[..base + dot],
        _ => name,
    }
}

fn check_name(name: &[u8], offset: u64) -> Result<(), Error> {
    let climbs = name.split(|byte| *byte == b'/').any(|part| part == b"..");
    if name.is_empty() || name[0] == b'/' || name.contains(&0) || climbs || name.last() == Some(&b'/') {
        let problem = format!("{:?} is no name of a file inside the archive", String::from_utf8_lossy(name));
        return Err(Error::bad(offset, problem, HELP));
    }
    Ok(())
}

fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

/// The fields of a header block (POSIX.1-1988 ustar) that matter here.
struct Header {
    name: Vec<u8>,
    size: u64,
    kind: u8,
}

impl Header {
    fn parse(block: &[u8; BLOCK], offset: u64) -> Result<Self, Error> {
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        if octal(&block[148..156]) != Some(sum) {
            return Err(Error::bad(offset, "no tar header, or one with a wrong checksum", HELP));
        }
        // Mode, owner, group, time and device, of which nothing is used: Python takes a header with another text there for
        // the end of the archive, and says nothing.
        let unused = [100..108, 108..116, 116..124, 136..148, 329..337, 337..345];
        if !unused.into_iter().all(|field| is_number(&block[field])) {
            return Err(Error::bad(offset, "a field of the header that is no number", HELP));
        }
        let size = number(&block[124..136]).ok_or_else(|| Error::bad(offset, "an unreadable size", HELP))?;
        let mut name = until_zero(&block[..100]).to_vec();
        // GNU headers say "ustar  \0" and may keep times and sparse maps where ustar has the prefix.
        let prefix = until_zero(&block[345..500]);
        if !prefix.is_empty() {
            // Python's reader takes any bytes there for a part of the name, except before a long name.
            if &block[257..263] != b"ustar\0" && !matches!(block[156], b'L' | b'K') {
                return Err(Error::bad(offset, "a name with a prefix, which only ustar headers have", HELP));
            }
            name = [prefix, b"/", &name].concat();
        }
        Ok(Header { name, size, kind: block[156] })
    }
}

/// Octal digits, or GNU's base 256 for large files.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] != 0x80 {
        return octal(field);
    }
    let (high, low) = field[1..].split_at(field.len() - 9);
    let low: [u8; 8] = low.try_into().ok()?;
    high.iter().all(|byte| *byte == 0).then_some(u64::from_be_bytes(low))
}

/// True for what [`number`] reads, for nothing, and for negative numbers of base 256.
fn is_number(field: &[u8]) -> bool {
    matches!(field[0], 0x80 | 0xff) || until_zero(field).iter().all(|byte| *byte == b' ') || octal(field).is_some()
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(until_zero(field)).ok()?.trim_matches(' ');
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    u64::from_str_radix(text, 8).ok()
}

/// Digits and nothing else: a sign is no digit to other readers, who then pass over the record.
fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// What a pax header (POSIX.1-2001) says of the next file.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Pax {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.size.is_none()
    }

    /// Reads `LENGTH KEYWORD=VALUE\n` records. A global header may not name or size files.
    fn read(&mut self, mut data: &[u8], offset: u64, is_local: bool) -> Result<(), Error> {
        let refuse = |problem: &str| Err(Error::bad(offset, format!("pax header: {problem}"), HELP));
        while !data.is_empty() {
            let space = data.iter().take(8).position(|byte| *byte == b' ');
            let length = space.and_then(|space| decimal(&data[..space]));
            let length = length.and_then(|length| usize::try_from(length).ok());
            let (Some(space), Some(length)) = (space, length) else { return refuse("a record without length") };
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return refuse("a record with a wrong length");
            }
            let record = &data[space + 1..length - 1];
            data = &data[length..];
            let Some(equals) = record.iter().position(|byte| *byte == b'=') else {
                return refuse("a record without value");
            };
            let (keyword, value) = (&record[..equals], &record[equals + 1..]);
            if keyword.starts_with(b"GNU.sparse") {
                return refuse("a sparse file; write the archive again with plain files only");
            }
            match keyword {
                b"path" | b"size" if !is_local => return refuse("names or sizes every file"),
                b"path" if self.path.is_some() => return refuse("two names for one file"),
                b"size" if self.size.is_some() => return refuse("two sizes for one file"),
                b"path" => self.path = Some(value.to_vec()),
                b"size" => {
                    let Some(size) = decimal(value) else { return refuse("an unreadable size") };
                    self.size = Some(size);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The files of a sample's bytes, as (name, data), or `None` when they are not one.
pub fn files(mut sample: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut files = Vec::new();
    while !sample.is_empty() {
        let (length, rest) = sample.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (length, rest) = rest.split_first_chunk()?;
        let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        files.push((name, data));
        sample = rest;
    }
    Some(files)
}
