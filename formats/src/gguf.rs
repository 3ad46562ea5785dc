//! The GGUF header, versions 2 and 3, read strictly.
//!
//! A file is, all little-endian: the magic `GGUF`, the version (u32), the number of tensors and of metadata entries (u64
//! each); the metadata; the tensors' entries; zeros up to the alignment (`general.alignment`, 32 unless said); the
//! tensors' bytes, each tensor beginning at a multiple of the alignment. A string is its length (u64) and its bytes. An
//! entry of metadata is a key, a type (u32) and a value; a tensor's entry is a name, the number of dimensions (u32), the
//! dimensions (u64, the fastest first), ggml's type number (u32) and the offset (u64) into the data.
//!
//! What two readers could understand differently is refused: repeated keys and names, arrays in arrays, tensors that
//! overlap or leave more than the alignment between them, bytes behind the last. Shapes are turned round, so that the
//! last dimension is the fastest, as in safetensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{Dtype, Error, ReadAt, Result, TensorInfo, read_at};

/// The first four bytes of a GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The longest header accepted, in bytes. The largest vocabularies in use take about a tenth.
pub const MAX_HEADER: u64 = 1 << 28;

/// Integer arrays up to this length are kept: one number for each layer fits, a vocabulary does not.
const MAX_KEPT: u64 = 4096;

/// ggml's own limit.
const MAX_DIMENSIONS: u32 = 4;

/// Keys and tensor names longer than this are refused; the specification gives keys this length.
const MAX_NAME: u64 = 65_535;

/// What a GGUF file says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors in the order of their bytes. Empty tensors come before the one that begins at the same byte.
    pub tensors: Vec<TensorInfo>,
    /// Where the tensors' bytes begin.
    pub data_start: u64,
    /// Every tensor begins at a multiple of this.
    pub alignment: u64,
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any of the integer types.
    Integer(i128),
    /// A 32-bit float.
    Single(f32),
    /// A 64-bit float.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// A string.
    Text(String),
    /// A short array of integers.
    Integers(Vec<i128>),
    /// Any other array: read over, not kept.
    Array {
        /// Number of its elements.
        length: u64,
    },
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(value) => value.fmt(f),
            Value::Single(value) => value.fmt(f),
            Value::Double(value) => value.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::Text(value) => f.write_str(value),
            Value::Integers(values) => write!(f, "{values:?}"),
            Value::Array { length } => write!(f, "array of {length}"),
        }
    }
}

/// Reads and checks the header of a GGUF file. Memory is bounded by the file's length and by [`MAX_HEADER`].
///
/// # Errors
/// Every broken rule, with the tensor's name or the byte where it shows.
pub fn parse(source: &dyn ReadAt) -> Result<Header> {
    let file = source.len();
    let mut reader = Reader { source, limit: file.min(MAX_HEADER), position: 0, buffer: Vec::new(), start: 0 };
    if reader.take()? != MAGIC {
        return Err(reader.fail_at(0, "the file does not begin with \"GGUF\"".into()));
    }
    let version = reader.u32()?;
    if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
        return Err(reader.fail_at(4, "the file is big-endian, which only big-endian machines read".into()));
    }
    if !(2..=3).contains(&version) {
        return Err(reader.fail_at(4, format!("version {version} is not supported, only 2 and 3 are")));
    }
    let (tensors, entries) = (reader.u64()?, reader.u64()?);
    let metadata = metadata(&mut reader, entries)?;
    let alignment = alignment(&reader, &metadata)?;
    let entries = tensor_entries(&mut reader, tensors)?;
    let data_start = reader.position.next_multiple_of(alignment);
    if file < data_start && !entries.is_empty() {
        let reason = format!("the data should begin at byte {data_start}, but the file has only {file} bytes");
        return Err(reader.fail_at(reader.position, reason));
    }
    let end = if entries.is_empty() { reader.position } else { data_start };
    let tensors = lay_out(entries, data_start, end, alignment, file)?;
    Ok(Header { metadata, tensors, data_start, alignment })
}

fn metadata(reader: &mut Reader<'_>, entries: u64) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..entries {
        let begin = reader.position;
        let key = reader.name("key")?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        if metadata.contains_key(&key) {
            return Err(reader.fail_at(begin, format!("the key {key:?} appears twice")));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(reader: &Reader<'_>, metadata: &BTreeMap<String, Value>) -> Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(Value::Integer(value @ 1..=0x1_0000)) if value.count_ones() == 1 => Ok(*value as u64),
        Some(other) => {
            let reason = format!("general.alignment is {other}, not a power of two up to 65536");
            Err(reader.fail_at(reader.position, reason))
        }
    }
}

/// A tensor's entry as written, before its place is checked.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
    offset: u64,
    bytes: u64,
}

fn tensor_entries(reader: &mut Reader<'_>, tensors: u64) -> Result<Vec<Entry>> {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for _ in 0..tensors {
        let begin = reader.position;
        let entry = tensor_entry(reader)?;
        if !seen.insert(entry.name.clone()) {
            return Err(reader.fail_at(begin, format!("the tensor {:?} appears twice", entry.name)));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn tensor_entry(reader: &mut Reader<'_>) -> Result<Entry> {
    let name = reader.name("tensor's name")?;
    let begin = reader.position;
    let fail = |reader: &Reader<'_>, reason: String| reader.fail_at(begin, format!("tensor {name:?}: {reason}"));
    let dimensions = reader.u32()?;
    if dimensions > MAX_DIMENSIONS {
        return Err(fail(reader, format!("{dimensions} dimensions, but at most {MAX_DIMENSIONS} are possible")));
    }
    let mut shape = Vec::with_capacity(dimensions as usize);
    for _ in 0..dimensions {
        shape.push(reader.u64()?);
    }
    shape.reverse();
    let number = reader.u32()?;
    let Some(dtype) = Dtype::from_ggml(number) else {
        return Err(fail(reader, format!("ggml's type {number} is unknown or was withdrawn")));
    };
    let offset = reader.u64()?;
    let Some(elements) = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent)) else {
        return Err(fail(reader, format!("the product of the shape {shape:?} exceeds 64 bits")));
    };
    let row = shape.last().copied().unwrap_or(1);
    let bytes = dtype.bytes(row).and_then(|_| dtype.bytes(elements));
    let Some(bytes) = bytes else {
        return Err(fail(reader, format!("rows of {row} elements of {dtype} are no whole number of blocks")));
    };
    Ok(Entry { name, dtype, shape, offset, bytes })
}

/// Checks the places: the tensors' bytes follow each other, with less than the alignment between them and behind.
fn lay_out(mut entries: Vec<Entry>, start: u64, mut end: u64, alignment: u64, file: u64) -> Result<Vec<TensorInfo>> {
    entries.sort_by(|a, b| (a.offset, a.bytes, &a.name).cmp(&(b.offset, b.bytes, &b.name)));
    let mut tensors = Vec::with_capacity(entries.len());
    for Entry { name, dtype, shape, offset, bytes } in entries {
        let begin = start.checked_add(offset);
        let fail = |reason: String| Error::GgufTensor { name: name.clone(), offset: begin.unwrap_or(offset), reason };
        let Some((begin, past)) = begin.and_then(|begin| Some((begin, begin.checked_add(bytes)?))) else {
            return Err(fail(format!("offset {offset} and {bytes} bytes exceed 64 bits")));
        };
        if !offset.is_multiple_of(alignment) {
            return Err(fail(format!("offset {offset} is no multiple of the alignment {alignment}")));
        }
        if begin < end {
            return Err(fail(format!("overlaps the tensor before it, which ends at byte {end}")));
        }
        if begin - end >= alignment {
            return Err(Error::Unclaimed { begin: end, end: begin });
        }
        if past > file {
            return Err(fail(format!("needs the bytes up to {past}, but the file has only {file}")));
        }
        end = past;
        tensors.push(TensorInfo { name, dtype, shape, range: begin..past });
    }
    if file - end >= alignment {
        return Err(Error::Unclaimed { begin: end, end: file });
    }
    Ok(tensors)
}

/// Reads the header from front to back through a small buffer.
struct Reader<'a> {
    source: &'a dyn ReadAt,
    /// One past the last byte that the header may have.
    limit: u64,
    position: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
}

impl Reader<'_> {
    fn fail_at(&self, offset: u64, reason: String) -> Error {
        Error::Gguf { offset, reason }
    }

    /// The next `length` bytes must exist.
    fn check(&self, length: u64) -> Result<()> {
        let left = self.limit - self.position;
        if length > left {
            let reason = format!("{length} bytes are needed here, but the header can have only {left} more");
            return Err(self.fail_at(self.position, reason));
        }
        Ok(())
    }

    fn skip(&mut self, length: u64) -> Result<()> {
        self.check(length)?;
        self.position += length;
        Ok(())
    }

    /// Fills `target` and moves on. The caller has checked that the bytes exist.
    fn fill(&mut self, target: &mut [u8]) -> Result<()> {
        const AHEAD: u64 = 1 << 16;
        let end = self.position + target.len() as u64;
        if target.len() as u64 > AHEAD {
            read_at::read(self.source, target, self.position)?;
        } else {
            if self.position < self.start || end > self.start + self.buffer.len() as u64 {
                self.start = self.position;
                self.buffer.resize(AHEAD.min(self.limit - self.start) as usize, 0);
                read_at::read(self.source, &mut self.buffer, self.start)?;
            }
            let from = (self.position - self.start) as usize;
            target.copy_from_slice(&self.buffer[from..from + target.len()]);
        }
        self.position = end;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.check(N as u64)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn text(&mut self) -> Result<String> {
        let begin = self.position;
        let length = self.u64()?;
        self.check(length)?;
        // The check has bounded the length by MAX_HEADER.
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.fail_at(begin, "a string is not UTF-8".into()))
    }

    /// A key or a tensor's name.
    fn name(&mut self, what: &str) -> Result<String> {
        let begin = self.position;
        let length = self.u64()?;
        if length == 0 || length > MAX_NAME {
            let reason = format!("a {what} has {length} bytes, not 1 to {MAX_NAME}");
            return Err(self.fail_at(begin, reason));
        }
        self.position = begin;
        let name = self.text()?;
        if name.chars().any(char::is_control) {
            return Err(self.fail_at(begin, format!("the {what} {name:?} has control characters")));
        }
        Ok(name)
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        let begin = self.position;
        Ok(match kind {
            0..=5 | 10 | 11 => Value::Integer(self.integer(kind)?),
            6 => Value::Single(f32::from_le_bytes(self.take()?)),
            7 => match self.take()? {
                [flag @ 0..=1] => Value::Bool(flag == 1),
                [other] => return Err(self.fail_at(begin, format!("a boolean is {other}, not 0 or 1"))),
            },
            8 => Value::Text(self.text()?),
            9 => self.array()?,
            12 => Value::Double(f64::from_le_bytes(self.take()?)),
            _ => return Err(self.fail_at(begin, format!("unknown metadata type {kind}"))),
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i128> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.take()?).into(),
            1 => i8::from_le_bytes(self.take()?).into(),
            2 => u16::from_le_bytes(self.take()?).into(),
            3 => i16::from_le_bytes(self.take()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.take()?).into(),
            10 => self.u64()?.into(),
            _ => i64::from_le_bytes(self.take()?).into(),
        })
    }

    fn array(&mut self) -> Result<Value> {
        let begin = self.position;
        let kind = self.u32()?;
        let length = self.u64()?;
        let size: u64 = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..length {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
                return Ok(Value::Array { length });
            }
            9 => return Err(self.fail_at(begin, "an array in an array".into())),
            _ => return Err(self.fail_at(begin, format!("unknown metadata type {kind} in an array"))),
        };
        let Some(bytes) = length.checked_mul(size) else {
            return Err(self.fail_at(begin, format!("an array of {length} elements exceeds 64 bits")));
        };
        self.check(bytes)?;
        if length <= MAX_KEPT && matches!(kind, 0..=5 | 10 | 11) {
            return Ok(Value::Integers((0..length).map(|_| self.integer(kind)).collect::<Result<_>>()?));
        }
        self.skip(bytes)?;
        Ok(Value::Array { length })
    }
}
