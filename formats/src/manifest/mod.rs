//! C2PA manifests inside model files: found, put in, and taken out again.
//!
//! The rules are those that the C2PA specification's embedding is drafted with. The key is [`KEY`], the value the standard
//! Base64 of the whole manifest store, and there is one such entry: in `__metadata__` of safetensors, in `metadata_props` of
//! ONNX, in the footer's key-value metadata of Parquet. Nothing else of the file changes, so the file as it was before can
//! be read through a view of the one at hand ([`Embedded::take_out`]). For GGUF nothing is specified: a value under this key
//! is reported and never read.
//!
//! Two readers must never see two manifests, so what they could understand differently is refused as soon as the key is
//! there: it stands there twice, in whatever spelling, the Base64 has more than one reading, bytes belong to nothing.

mod onnx;
mod parquet;
mod safetensors;
mod thrift;

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, ReadAt, Result, Source, gguf, read_at};

pub use crate::pieces::{Piece, Pieces};

/// The key of the entry.
pub const KEY: &str = "c2pa:manifest";

/// Longest Base64 text that is read, in bytes.
pub const MAX_VALUE: u64 = 64 << 20;

/// A format that a manifest can be embedded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `__metadata__` of the header.
    Safetensors,
    /// `metadata_props` of the `ModelProto`.
    Onnx,
    /// `key_value_metadata` of the footer.
    Parquet,
}

impl Format {
    /// Its name in assertions and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Onnx => "onnx",
            Format::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        [Format::Safetensors, Format::Onnx, Format::Parquet]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or(())
    }
}

/// What is in a file under [`KEY`].
pub enum Found {
    /// A manifest where the drafted rules put it.
    Embedded(Embedded),
    /// Something at a place for which nothing is specified. It is not read.
    Unspecified {
        /// The place, for people.
        place: String,
    },
}

/// A manifest in a file.
pub struct Embedded {
    /// The file's format.
    pub format: Format,
    /// Where the Base64 text is: what the manifest's exclusion must name.
    pub span: Range<u64>,
    /// The manifest store that it decodes to.
    pub store: Vec<u8>,
    entry: Entry,
}

/// What each format must know to take the entry out.
enum Entry {
    Safetensors(safetensors::Entry),
    Onnx(onnx::Entry),
    Parquet(parquet::Entry),
}

/// What a file with a manifest does not tell of the file that it was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// The list or object around the entry was made for it. Always false for ONNX.
    pub made: bool,
    /// Length of a safetensors header, as its first eight bytes had it: the trailing spaces are written anew.
    pub header: Option<u64>,
}

/// The file as it was before.
pub struct Original {
    /// Its bytes, read from the file at hand.
    pub view: Pieces,
    /// What makes it the file at hand without the Base64 text, which is what a manifest's hash covers.
    pub splice: Splice,
}

/// One change of a stream: the bytes in `at` are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Which bytes go. Empty when nothing goes.
    pub at: Range<u64>,
    /// What comes in their place.
    pub bytes: Vec<u8>,
}

/// A file with room for a manifest.
pub struct Insertion {
    /// The format that it was taken for.
    pub format: Format,
    /// The file's bytes. In [`Insertion::span`] stand as many `A`.
    pub view: Pieces,
    /// Where the Base64 text goes.
    pub span: Range<u64>,
    /// What to record for taking it out again.
    pub undo: Undo,
}

/// Why a manifest that may be in a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Problem {
    /// What is wrong.
    pub error: Error,
    /// True when the key was met: somebody may read a manifest there. Else the file is merely malformed.
    pub met: bool,
}

impl Problem {
    fn met(error: Error) -> Self {
        Problem { error, met: true }
    }

    fn unmet(error: Error) -> Self {
        Problem { error, met: false }
    }
}

/// Looks for a manifest in the file called `name`. Only headers, footers and the fields of an ONNX model's top level are
/// read. `expected` is the format that it must have, when that is known from elsewhere: ONNX has no mark of its own, and a
/// file may have been renamed.
///
/// # Errors
/// [`Problem`] when there is one that could be read in two ways, or the file is malformed where it may be.
pub fn find(name: &str, source: &dyn ReadAt, expected: Option<Format>) -> std::result::Result<Option<Found>, Problem> {
    let embedded = |found: Option<Embedded>| Ok(found.map(Found::Embedded));
    match expected.or(format(name, source).map_err(Problem::unmet)?) {
        Some(Format::Safetensors) => embedded(safetensors::find(source)?),
        Some(Format::Onnx) => embedded(onnx::find(source)?),
        Some(Format::Parquet) => embedded(parquet::find(source)?),
        None => in_gguf(source),
    }
}

/// The place for a manifest store of `length` bytes in the file called `name`.
///
/// # Errors
/// When its format has none, it is malformed, or something stands under the key already.
pub fn insert(name: &str, source: &Source, length: usize) -> Result<Insertion> {
    let Some(format) = format(name, &**source)? else {
        return Err(fail("file", 0, "is neither safetensors nor ONNX nor Parquet, and only those can hold a manifest"));
    };
    if find(name, &**source, Some(format)).map_err(|problem| problem.error)?.is_some() {
        return Err(fail(format.as_str(), 0, "holds a C2PA manifest already"));
    }
    let value = base64_length(length);
    if value > MAX_VALUE {
        return Err(fail(format.as_str(), 0, format!("a manifest of {length} bytes is too long to embed")));
    }
    match format {
        Format::Safetensors => safetensors::insert(source, value),
        Format::Onnx => onnx::insert(source, value),
        Format::Parquet => parquet::insert(source, value),
    }
}

impl Embedded {
    /// The file as it was before the manifest was put in. Whether it is, only its digest tells.
    ///
    /// # Errors
    /// When `undo` cannot be true of this file.
    pub fn take_out(&self, source: &Source, undo: &Undo) -> Result<Original> {
        match &self.entry {
            Entry::Safetensors(entry) => entry.take_out(source, undo),
            Entry::Onnx(entry) => entry.take_out(source, undo),
            Entry::Parquet(entry) => entry.take_out(source, undo),
        }
    }

    /// The change that makes the file at hand what a manifest's hash covers: the Base64 text goes.
    pub fn without_value(&self) -> Splice {
        Splice { at: self.span.clone(), bytes: Vec::new() }
    }
}

/// Base64 text of a store, as it is embedded.
pub fn encode(store: &[u8]) -> String {
    STANDARD.encode(store)
}

fn base64_length(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(3) * 4
}

/// The one store that a text can stand for: this alphabet, this padding, unused bits zero.
fn decode(format: Format, text: &[u8], at: u64) -> std::result::Result<Vec<u8>, Problem> {
    let refuse = |reason: String| Problem::met(fail(format.as_str(), at, reason));
    if text.is_empty() {
        return Err(refuse("the embedded manifest is empty".into()));
    }
    let strange = |byte: &&u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    if let Some(byte) = text.iter().find(strange) {
        let byte = byte.escape_ascii();
        return Err(refuse(format!("the embedded manifest holds '{byte}', which is not plain Base64")));
    }
    STANDARD.decode(text).map_err(|error| refuse(format!("the embedded manifest is not canonical Base64: {error}")))
}

/// Which of the three formats a file has, by its first bytes and, as ONNX has none that tell, by its name.
fn format(name: &str, source: &dyn ReadAt) -> Result<Option<Format>> {
    let name = name.to_ascii_lowercase();
    let mut magic = [0; 9];
    let length = source.len().min(9) as usize;
    read_at::read(source, &mut magic[..length], 0)?;
    let header = u64::from_le_bytes(magic[..8].try_into().unwrap_or_default());
    let braced = magic[8] == b'{' && header <= crate::safetensors::MAX_HEADER;
    Ok(if magic[..4] == parquet::MAGIC {
        Some(Format::Parquet)
    } else if magic[..4] == gguf::MAGIC {
        None
    } else if braced || name.ends_with(".safetensors") {
        Some(Format::Safetensors)
    } else if name.ends_with(".onnx") {
        Some(Format::Onnx)
    } else {
        None
    })
}

fn in_gguf(source: &dyn ReadAt) -> std::result::Result<Option<Found>, Problem> {
    let mut magic = [0; 4];
    if source.len() < 4 || source.read_exact_at(&mut magic, 0).is_err() || magic != gguf::MAGIC {
        return Ok(None);
    }
    // A header that cannot be read is the business of whoever needs its tensors.
    let there = gguf::parse(source).is_ok_and(|header| header.metadata.contains_key(KEY));
    Ok(there.then(|| Found::Unspecified { place: format!("key {KEY} of the GGUF header") }))
}

fn fail(format: &'static str, offset: u64, reason: impl Into<String>) -> Error {
    Error::Malformed { format, offset, reason: reason.into() }
}
