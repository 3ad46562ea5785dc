//! Arrow IPC, files and streams.
//!
//! The crate `arrow-ipc` reserves what a compressed buffer says it will be, so every message is looked at first: its body
//! must lie in the file, and all of it decompressed is at most [`MOST`] bytes.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::{Message, MessageHeader, RecordBatch as Header, root_as_footer, root_as_message};
use arrow_schema::SchemaRef;
use countermark_formats::ReadAt;
use countermark_formats::records::Error;

use super::{Batches, bad};

/// One message, decompressed: 1 GiB.
const MOST: u64 = 1 << 30;
/// The description of one message.
const MAX_HEADER: u64 = 16 << 20;
const MAGIC: &[u8; 6] = b"ARROW1";
/// A length of -1 stands for bytes that are not compressed.
const AS_IT_IS: i64 = -1;

/// The columns, and the rows in batches.
pub(super) fn open(source: &Arc<dyn ReadAt>) -> Result<(SchemaRef, Batches), Error> {
    let mut magic = [0; 6];
    let cursor = io::BufReader::with_capacity(256 << 10, Cursor { source: source.clone(), at: 0 });
    if source.len() >= 8 && source.read_exact_at(&mut magic, 0).is_ok() && magic == *MAGIC {
        check_file(&**source)?;
        let reader = FileReader::try_new(cursor, None).map_err(bad)?;
        return Ok((reader.schema(), Box::new(reader.map(|batch| batch.map_err(bad)))));
    }
    check_stream(&**source)?;
    let reader = StreamReader::try_new(cursor, None).map_err(bad)?;
    Ok((reader.schema(), Box::new(reader.map(|batch| batch.map_err(bad)))))
}

fn read(source: &dyn ReadAt, at: u64, length: u64) -> Result<Vec<u8>, Error> {
    if at.checked_add(length).is_none_or(|end| end > source.len()) {
        return Err(bad(format!("{length} bytes should stand at byte {at}: the file is cut short")));
    }
    let mut bytes = vec![0; length as usize];
    source.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Looks at every message that the footer names.
fn check_file(source: &dyn ReadAt) -> Result<(), Error> {
    let length = source.len();
    let tail = read(source, length.saturating_sub(10), 10)?;
    let (size, magic) = tail.split_at(4);
    let size = i32::from_le_bytes([size[0], size[1], size[2], size[3]]);
    let size = u64::try_from(size).ok().filter(|size| magic == MAGIC && *size <= MAX_HEADER && size + 18 <= length);
    let size = size.ok_or_else(|| bad("no footer: the file is cut short"))?;
    let footer = read(source, length - 10 - size, size)?;
    let footer = root_as_footer(&footer).map_err(bad)?;
    for block in footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten()) {
        let at = u64::try_from(block.offset()).map_err(|_| bad("a batch before the file"))?;
        let header = u64::try_from(block.metaDataLength()).ok().filter(|size| (8..=MAX_HEADER).contains(size));
        let header = header.ok_or_else(|| bad("a batch with a wrong length"))?;
        let bytes = read(source, at, header)?;
        let skipped = if bytes[..4] == [0xff; 4] { 8 } else { 4 };
        let message = root_as_message(&bytes[skipped..]).map_err(bad)?;
        if message.bodyLength() != block.bodyLength() {
            return Err(bad("footer and batch disagree about a length"));
        }
        check_body(source, &message, at + header)?;
    }
    Ok(())
}

/// Looks at every message up to the end mark or the end of the stream. Nothing may follow the end mark.
fn check_stream(source: &dyn ReadAt) -> Result<(), Error> {
    let mut at = 0;
    while at < source.len() {
        let number = |at| -> Result<u32, Error> {
            let bytes = read(source, at, 4)?;
            Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let mut size = number(at)?;
        at += 4;
        if size == u32::MAX {
            size = number(at)?;
            at += 4;
        }
        if size == 0 {
            if at != source.len() {
                return Err(bad("something stands behind the end of the stream"));
            }
            return Ok(());
        }
        if u64::from(size) > MAX_HEADER {
            return Err(bad("no Arrow stream: a message description of more than 16 MiB"));
        }
        let bytes = read(source, at, size.into())?;
        at += u64::from(size);
        let message = root_as_message(&bytes).map_err(bad)?;
        at = check_body(source, &message, at)?;
    }
    // The format allows a stream without end mark; then a cut between two batches would go unseen.
    Err(bad("the stream has no end mark: it is cut short"))
}

/// Checks the buffers of a message whose body begins at `at`; answers where it ends.
fn check_body(source: &dyn ReadAt, message: &Message<'_>, at: u64) -> Result<u64, Error> {
    let length = u64::try_from(message.bodyLength()).ok();
    let end = length.and_then(|length| at.checked_add(length)).filter(|end| *end <= source.len());
    let end = end.ok_or_else(|| bad(format!("the batch at byte {at} lies outside the file")))?;
    let batch: Option<Header<'_>> = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()),
        _ => return Ok(end),
    };
    let Some(batch) = batch else { return Err(bad("a message without content")) };
    // Rows of nulls or runs take no bytes, so their number needs a bound of its own.
    if u64::try_from(batch.length()).is_ok_and(|rows| rows > MOST) {
        return Err(bad(format!("a batch of {} rows", batch.length())));
    }
    let mut total = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let range = u64::try_from(buffer.offset()).ok().zip(u64::try_from(buffer.length()).ok());
        let begin = range.and_then(|(offset, length)| {
            let begin = at.checked_add(offset)?;
            (begin.checked_add(length)? <= end).then_some((begin, length))
        });
        let Some((begin, length)) = begin else { return Err(bad("a buffer lies outside its batch")) };
        let mut size = length;
        if batch.compression().is_some() && length > 0 {
            let bytes = read(source, begin, 8.min(length))?;
            let prefix = bytes.try_into().map_err(|_| bad("a compressed buffer without length"))?;
            match i64::from_le_bytes(prefix) {
                AS_IT_IS => {}
                said => size = u64::try_from(said).map_err(|_| bad("a compressed buffer of negative length"))?,
            }
        }
        total = total.saturating_add(size);
    }
    if total > MOST {
        return Err(bad(format!("a batch of more than {} MiB; write it with fewer rows in a batch", MOST >> 20)));
    }
    Ok(end)
}

/// A position in a file.
struct Cursor {
    source: Arc<dyn ReadAt>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.len().saturating_sub(self.at).min(buffer.len() as u64) as usize;
        self.source.read_exact_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.source.len().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
