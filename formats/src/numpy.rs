//! NumPy's `.npy` arrays and `.npz` archives of them (NEP 1, format versions 1 to 3).
//!
//! A file is the magic `\x93NUMPY`, a version, the length of the header (u16, from version 2 on u32), the header, and
//! the array's bytes. The header is a Python dictionary with exactly the keys `descr`, `fortran_order` and `shape`; it is
//! read by a small reader of its own and never evaluated.
//!
//! Dtypes that safetensors knows get its names (`<f4` is `F32`), so that the same array has the same digest in both. All
//! others keep NumPy's text: `>f4` is big-endian, digested as stored. An array in Fortran order is digested as stored as
//! well, and its dtype says so: `F32 fortran`. An array of objects is a pickle and stays opaque: dtype `|O`.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use crate::inflate::{Inflated, Stored};
use crate::tensors::{Place, StoredTensor};
use crate::{Dtype, Error, ReadAt, Result, zip};

/// The first six bytes.
pub(crate) const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// NumPy itself refuses headers of more than 10,000 bytes unless told otherwise.
const MAX_HEADER: usize = 1 << 20;

const MAX_DIMENSIONS: usize = 64;

/// What an array's header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    dtype: String,
    shape: Vec<u64>,
    /// Where the bytes begin.
    start: u64,
    /// What they must be together, when the dtype tells.
    bytes: Option<u64>,
}

/// The one array of an `.npy` file.
pub(crate) fn array(source: &Arc<dyn ReadAt>, file: usize, name: String) -> Result<StoredTensor> {
    let length = source.len();
    let header = header(&mut Stored::new(&**source, 0..length), length)?;
    Ok(StoredTensor {
        name,
        dtype: header.dtype,
        shape: header.shape,
        bytes: length - header.start,
        place: Place::Plain { file, range: header.start..length },
    })
}

/// The arrays of an `.npz` file, each named after its member without `.npy`. A member that is no array stays opaque.
pub(crate) fn archive(source: &Arc<dyn ReadAt>, file: usize) -> Result<Vec<StoredTensor>> {
    let mut tensors = Vec::new();
    let members = zip::parse(&**source)?.members;
    let whole: BTreeSet<String> = members.iter().map(|member| member.name.clone()).collect();
    for member in members {
        // NumPy looks a key up as a whole name first, and only then with the ending.
        let stem = member.name.strip_suffix(".npy");
        if let Some(stem) = stem.filter(|stem| stem.is_empty() || whole.contains(*stem)) {
            let problem = if stem.is_empty() { "has no name before its ending" } else { "is one key for two members" };
            let reason = format!("member {:?} {problem}; give each array a name of its own", member.name);
            return Err(fail(0, reason));
        }
        let Some(name) = stem else {
            tensors.push(StoredTensor::opaque(member.name.clone(), file, member));
            continue;
        };
        let header = if member.deflated {
            header(&mut Inflated::new(&**source, &member), member.size)
        } else {
            header(&mut Stored::new(&**source, member.range.clone()), member.size)
        };
        let Header { dtype, shape, start, .. } = header.map_err(|error| match error {
            Error::Malformed { format, offset, reason } => {
                let offset = member.range.start + if member.deflated { 0 } else { offset };
                Error::Malformed { format, offset, reason: format!("member {:?}: {reason}", member.name) }
            }
            other => other,
        })?;
        let (name, bytes) = (name.to_owned(), member.size - start);
        let place = if member.deflated {
            Place::Deflated { file, member, skip: start }
        } else {
            Place::Plain { file, range: member.range.start + start..member.range.end }
        };
        tensors.push(StoredTensor { name, dtype, shape, bytes, place });
    }
    Ok(tensors)
}

fn fail(offset: usize, reason: impl Into<String>) -> Error {
    Error::Malformed { format: "NumPy array", offset: offset as u64, reason: reason.into() }
}

/// Reads the header of an array of `length` bytes, header included, and checks that its shape fits.
fn header(reader: &mut dyn Read, length: u64) -> Result<Header> {
    let mut fill = |size: usize, offset: usize| -> Result<Vec<u8>> {
        if (offset + size) as u64 > length {
            return Err(fail(offset, format!("{size} bytes of header are needed, and the file ends before")));
        }
        let mut bytes = vec![0; size];
        reader.read_exact(&mut bytes).map_err(|source| Error::Read {
            offset: offset as u64,
            length: size as u64,
            source,
        })?;
        Ok(bytes)
    };
    let front = fill(8, 0)?;
    if front[..6] != MAGIC {
        return Err(fail(0, "does not begin with \"\\x93NUMPY\""));
    }
    let field = match front[6] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(fail(6, format!("version {other} is not supported, only 1 to 3 are"))),
    };
    let mut size = [0; 4];
    size[..field].copy_from_slice(&fill(field, 8)?);
    let size = u32::from_le_bytes(size) as usize;
    if size > MAX_HEADER {
        return Err(fail(8, format!("a header of {size} bytes; at most {MAX_HEADER} are read")));
    }
    let start = 8 + field;
    let text = fill(size, start)?;
    let text = std::str::from_utf8(&text).map_err(|_| fail(start, "the header is not UTF-8"))?;
    // Older headers are Latin-1 to NumPy, so the same bytes would name other fields.
    if front[6] < 3 && !text.is_ascii() {
        return Err(fail(start, "a header beyond ASCII, which only version 3 writes in UTF-8"));
    }
    let mut header = dictionary(text).map_err(|(at, reason)| fail(start + at, reason))?;
    header.start = (start + size) as u64;
    let data = length - header.start;
    let elements = header.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    let elements = elements.ok_or_else(|| fail(start, "the product of the shape exceeds 64 bits"))?;
    let fits = match header.bytes {
        Some(size) => elements.checked_mul(size) == Some(data),
        // A structured dtype's size is the writer's matter; an opaque pickle has none.
        None => header.dtype.contains("|O") || (elements == 0) == (data == 0) && data.is_multiple_of(elements),
    };
    if !fits {
        let Header { dtype, shape, .. } = header;
        return Err(fail(start, format!("shape {shape:?} of {dtype} does not fit {data} bytes of data")));
    }
    Ok(header)
}

/// A broken rule: where in the header's text, and which.
type Broken = (usize, String);

/// `{'descr': …, 'fortran_order': …, 'shape': (…), }`, each key once.
fn dictionary(text: &str) -> std::result::Result<Header, Broken> {
    let mut reader = Text { text, position: 0 };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    reader.expect("{")?;
    while !reader.take("}") {
        let at = reader.position;
        let key = reader.string()?;
        reader.expect(":")?;
        let repeated = match key {
            "descr" => descr.replace(reader.descr()?).is_some(),
            "fortran_order" => fortran.replace(reader.boolean()?).is_some(),
            "shape" => shape.replace(reader.shape()?).is_some(),
            other => return Err((at, format!("unknown key {other:?}"))),
        };
        if repeated {
            return Err((at, format!("the key {key:?} appears twice")));
        }
        if !reader.take(",") {
            reader.expect("}")?;
            break;
        }
    }
    if !reader.rest().trim_end_matches([' ', '\n', '\0']).is_empty() {
        return Err((reader.position, "something follows the dictionary".into()));
    }
    let missing = |key: &str| (0, format!("the key {key:?} is missing"));
    let descr = descr.ok_or_else(|| missing("descr"))?;
    let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
    let shape = shape.ok_or_else(|| missing("shape"))?;
    let (dtype, bytes) = dtype(descr).map_err(|reason| (0, reason))?;
    // With one dimension or none, or an extent that makes the array empty, both orders are the same bytes.
    let dtype = if fortran && shape.len() > 1 { format!("{dtype} fortran") } else { dtype };
    Ok(Header { dtype, shape, start: 0, bytes })
}

/// The dtype's text, and its size in bytes when that is known.
fn dtype(descr: &str) -> std::result::Result<(String, Option<u64>), String> {
    let known = match descr {
        "|b1" => Dtype::Bool,
        "|u1" => Dtype::U8,
        "|i1" => Dtype::I8,
        "<u2" => Dtype::U16,
        "<i2" => Dtype::I16,
        "<f2" => Dtype::F16,
        "<u4" => Dtype::U32,
        "<i4" => Dtype::I32,
        "<f4" => Dtype::F32,
        "<u8" => Dtype::U64,
        "<i8" => Dtype::I64,
        "<f8" => Dtype::F64,
        "<c8" => Dtype::C64,
        structured if structured.starts_with('[') => return Ok((structured.to_owned(), None)),
        _ => return Ok((descr.to_owned(), size(descr)?)),
    };
    Ok((known.as_str().to_owned(), known.bytes(1)))
}

/// Size of `<f4` and its kind: order, letter, digits; of text (`U`) four bytes a character; dates may add a unit. NumPy
/// writes no other text, and one without order, such as `U8`, could be taken for safetensors' name of another type.
fn size(descr: &str) -> std::result::Result<Option<u64>, String> {
    let refuse =
        || format!("{descr:?} is not a dtype that NumPy writes: it begins with <, >, | or =, then letter and size");
    let rest = descr.strip_prefix(['<', '>', '|', '=']).ok_or_else(refuse)?;
    let kind = rest.chars().next().filter(char::is_ascii_alphabetic).ok_or_else(refuse)?;
    let digits = rest[1..].split('[').next().unwrap_or_default();
    // Objects and texts of any length are pickles.
    if matches!(kind, 'O' | 'T') {
        return Ok(None);
    }
    let count = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let count: u64 = count.and_then(|digits| digits.parse().ok()).ok_or_else(refuse)?;
    match kind {
        'U' => count.checked_mul(4).map(Some).ok_or_else(refuse),
        'b' | 'i' | 'u' | 'f' | 'c' | 'm' | 'M' | 'S' | 'V' => Ok(Some(count)),
        _ => Err(refuse()),
    }
}

/// The few Python literals that a header may hold.
struct Text<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Text<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\n']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.blank();
        let found = self.rest().starts_with(token);
        if found {
            self.position += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> std::result::Result<(), Broken> {
        if self.take(token) { Ok(()) } else { Err((self.position, format!("{token:?} is expected here"))) }
    }

    /// A quoted text without escapes.
    fn string(&mut self) -> std::result::Result<&'a str, Broken> {
        self.blank();
        let at = self.position;
        let broken = || (at, "a quoted text without escapes is expected here".to_owned());
        let quote = self.rest().chars().next().filter(|quote| matches!(quote, '\'' | '"')).ok_or_else(broken)?;
        let body = &self.rest()[1..];
        let body = &body[..body.find(quote).ok_or_else(broken)?];
        if body.contains('\\') || body.chars().any(char::is_control) {
            return Err(broken());
        }
        self.position += body.len() + 2;
        Ok(body)
    }

    /// A quoted dtype, or the whole text of a structured one.
    fn descr(&mut self) -> std::result::Result<&'a str, Broken> {
        self.blank();
        if !self.rest().starts_with('[') {
            return self.string();
        }
        let begin = self.position;
        let mut depth = 0u32;
        loop {
            match self.rest().chars().next() {
                Some('\'' | '"') => {
                    self.string()?;
                    continue;
                }
                Some('[' | '(') => depth += 1,
                Some(']' | ')') => depth -= 1,
                Some(',' | ' ' | '0'..='9') => {}
                _ => return Err((self.position, "a structured dtype is expected here".into())),
            }
            self.position += 1;
            if depth == 0 {
                return Ok(&self.text[begin..self.position]);
            }
        }
    }

    fn boolean(&mut self) -> std::result::Result<bool, Broken> {
        if self.take("True") {
            Ok(true)
        } else {
            self.expect("False").map(|()| false).map_err(|(at, _)| (at, "True or False is expected here".into()))
        }
    }

    fn shape(&mut self) -> std::result::Result<Vec<u64>, Broken> {
        self.expect("(")?;
        let mut shape = Vec::new();
        while !self.take(")") {
            let rest = self.rest();
            let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
            let extent =
                rest[..digits].parse().map_err(|_| (self.position, "an extent is expected here".to_owned()))?;
            if shape.len() == MAX_DIMENSIONS {
                return Err((self.position, format!("more than {MAX_DIMENSIONS} dimensions")));
            }
            shape.push(extent);
            self.position += digits;
            // `(3)` would be a number to Python.
            if !self.take(",") {
                self.expect(")")?;
                if shape.len() == 1 {
                    return Err((self.position, "a tuple of one extent needs a comma".into()));
                }
                break;
            }
        }
        Ok(shape)
    }
}
