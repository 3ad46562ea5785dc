//! The safetensors header, read strictly.
//!
//! A file is eight bytes of little-endian header length, the header as JSON, and the tensors' bytes. The upstream
//! library's rules hold, and some that it leaves open: no key may appear twice, at any level and after unescaping; no
//! unknown members; no control characters in names; no bytes that belong to no tensor. What two readers could
//! understand differently is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use crate::{Dtype, Error, ReadAt, Result, TensorInfo, read_at};

/// The longest header that upstream accepts, in bytes.
pub const MAX_HEADER: u64 = 100_000_000;

/// Bytes of the length field before the header.
const LENGTH_FIELD: u64 = 8;

/// What a safetensors file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The free text under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// The tensors in the order of their bytes. Empty tensors come before the one that begins at the same byte.
    pub tensors: Vec<TensorInfo>,
    /// Where the tensors' bytes begin: 8 plus the header's length.
    pub data_start: u64,
}

/// Reads and checks the header of a safetensors file. Memory is bounded by the file's length.
///
/// # Errors
/// Every broken rule, with the tensor's name or the byte where it shows.
pub fn parse(source: &dyn ReadAt) -> Result<Header> {
    let length = source.len();
    if length < LENGTH_FIELD + 2 {
        return Err(Error::TooShort { length });
    }
    let mut field = [0; 8];
    read_at::read(source, &mut field, 0)?;
    let claimed = u64::from_le_bytes(field);
    let limit = MAX_HEADER.min(length - LENGTH_FIELD);
    if claimed > limit || claimed < 2 {
        return Err(Error::HeaderLength { claimed, limit });
    }
    let mut bytes = vec![0; usize::try_from(claimed).map_err(|_| Error::HeaderLength { claimed, limit })?];
    read_at::read(source, &mut bytes, LENGTH_FIELD)?;

    let (metadata, entries) = parse_text(&bytes)?;
    let data_start = LENGTH_FIELD + claimed;
    let tensors = lay_out(entries, data_start, length)?;
    Ok(Header { metadata, tensors, data_start })
}

/// A tensor's entry as written, before its numbers are checked.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
    begin: u64,
    end: u64,
}

fn parse_text(bytes: &[u8]) -> Result<(BTreeMap<String, String>, Vec<Entry>)> {
    let fail = |position: usize, reason: String| Error::Header { offset: LENGTH_FIELD + position as u64, reason };
    if bytes.first() != Some(&b'{') {
        return Err(fail(0, "the header must start with '{'".into()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| fail(e.valid_up_to(), "the header is not UTF-8".into()))?;
    let trimmed = text.trim_end_matches(' ');
    if !trimmed.ends_with('}') {
        return Err(fail(trimmed.len(), "only spaces may follow the closing '}'".into()));
    }
    let mut reader = serde_json::Deserializer::from_str(trimmed);
    let parsed = HeaderSeed.deserialize(&mut reader).and_then(|parsed| reader.end().map(|()| parsed));
    parsed.map_err(|error| {
        let before: usize = trimmed.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let reason = error.to_string();
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        fail((before + error.column()).saturating_sub(1).min(trimmed.len()), reason.to_owned())
    })
}

/// Checks shapes and offsets: the tensors' bytes follow each other without gap or overlap and fill the file.
fn lay_out(mut entries: Vec<Entry>, data_start: u64, file: u64) -> Result<Vec<TensorInfo>> {
    entries.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    let mut tensors = Vec::with_capacity(entries.len());
    let mut next = 0;
    for Entry { name, dtype, shape, begin, end } in entries {
        let fail =
            |reason: String| Error::Tensor { name: name.clone(), offset: data_start.saturating_add(begin), reason };
        if end < begin {
            return Err(fail(format!("data_offsets end at {end}, before they begin at {begin}")));
        }
        let elements = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
        let Some(elements) = elements else {
            return Err(fail(format!("the product of the shape {shape:?} exceeds 64 bits")));
        };
        let Some(bytes) = dtype.bytes(elements) else {
            return Err(fail(format!("{elements} elements of {dtype} are no whole number of bytes")));
        };
        if bytes != end - begin {
            return Err(fail(format!(
                "data_offsets span {} bytes, but shape {shape:?} of {dtype} needs {bytes}",
                end - begin
            )));
        }
        if begin < next {
            return Err(fail(format!("overlaps the tensor before it, which ends at {next} in the data")));
        }
        if begin > next {
            return Err(Error::Unclaimed {
                begin: data_start.saturating_add(next),
                end: data_start.saturating_add(begin),
            });
        }
        if end > file - data_start {
            return Err(fail(format!(
                "needs data up to byte {end}, but the file has only {} of it",
                file - data_start
            )));
        }
        next = end;
        let range = data_start + begin..data_start + end;
        tensors.push(TensorInfo { name, dtype, shape, range });
    }
    if data_start + next != file {
        return Err(Error::Unclaimed { begin: data_start + next, end: file });
    }
    Ok(tensors)
}

/// The whole header: an object of tensors, and perhaps `__metadata__`.
struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = (BTreeMap<String, String>, Vec<Entry>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = (BTreeMap<String, String>, Vec<Entry>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut seen = BTreeSet::new();
        let mut metadata = BTreeMap::new();
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.is_empty() {
                return Err(de::Error::custom("a tensor's name is empty"));
            }
            if name.chars().any(char::is_control) {
                return Err(de::Error::custom(format_args!("the name {name:?} has control characters")));
            }
            if !seen.insert(name.clone()) {
                return Err(de::Error::custom(format_args!("the name {name:?} appears twice")));
            }
            if name == "__metadata__" {
                metadata = map.next_value_seed(MetadataSeed)?;
            } else {
                entries.push(map.next_value_seed(EntrySeed { name })?);
            }
        }
        Ok((metadata, entries))
    }
}

/// `__metadata__`: strings under distinct keys.
struct MetadataSeed;

impl<'de> DeserializeSeed<'de> for MetadataSeed {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("__metadata__ as an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if members.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} appears twice in __metadata__")));
            }
            members.insert(key, value);
        }
        Ok(members)
    }
}

/// One tensor: `dtype`, `shape` and `data_offsets`, each exactly once and nothing else.
struct EntrySeed {
    name: String,
}

impl<'de> DeserializeSeed<'de> for EntrySeed {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Entry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {:?} as an object with dtype, shape and data_offsets", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entry, A::Error> {
        let name = self.name;
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(member) = map.next_key::<String>()? {
            let repeated = match member.as_str() {
                "dtype" => {
                    let text: String = map.next_value()?;
                    let parsed = text.parse::<Dtype>().map_err(|()| {
                        de::Error::custom(format_args!("tensor {name:?} has the unknown dtype {text:?}"))
                    })?;
                    dtype.replace(parsed).is_some()
                }
                "shape" => shape.replace(map.next_value::<Vec<u64>>()?).is_some(),
                "data_offsets" => offsets.replace(map.next_value::<(u64, u64)>()?).is_some(),
                unknown => {
                    return Err(de::Error::custom(format_args!("tensor {name:?} has the unknown member {unknown:?}")));
                }
            };
            if repeated {
                return Err(de::Error::custom(format_args!("tensor {name:?} has {member:?} twice")));
            }
        }
        let missing = |member| de::Error::custom(format_args!("tensor {name:?} lacks {member:?}"));
        let dtype = dtype.ok_or_else(|| missing("dtype"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        let (begin, end) = offsets.ok_or_else(|| missing("data_offsets"))?;
        Ok(Entry { name, dtype, shape, begin, end })
    }
}
