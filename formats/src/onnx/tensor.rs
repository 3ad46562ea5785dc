//! One tensor of an ONNX model: `TensorProto`, and where its bytes are.

use std::collections::BTreeMap;
use std::ops::Range;

use super::typed::{Typed, kind};
use super::walk::MAX_NAME;
use crate::protobuf::{Cursor, Value, Wire, fail};
use crate::tensors::{Place, StoredTensor};
use crate::{Error, Result, Source};

const MAX_DIMENSIONS: usize = 64;

/// Longest entry of `external_data`.
const MAX_ENTRY: u64 = 4096;

/// The model's file among all files, and its folder with the `/` at its end.
pub(super) struct Home<'a> {
    pub files: &'a [(String, Source)],
    /// Number of each file.
    pub paths: BTreeMap<&'a str, usize>,
    pub file: usize,
    pub folder: &'a str,
}

/// The fields of the message, before they are understood.
#[derive(Default)]
struct Fields {
    shape: Vec<u64>,
    data_type: Option<u64>,
    name: Option<Range<u64>>,
    raw: Option<Range<u64>>,
    /// Number of the typed field that holds values.
    typed: Option<u64>,
    /// The one packed list of the typed field, as long as there is one.
    packed: Option<Range<u64>>,
    external: Vec<Range<u64>>,
    location: Option<u64>,
}

/// Appends the dimensions of a packed or single field.
pub(super) fn dimensions(wire: &mut Wire<'_>, value: Value, shape: &mut Vec<u64>, at: u64) -> Result<()> {
    let mut push = |extent: u64| match i64::try_from(extent) {
        Ok(_) if shape.len() < MAX_DIMENSIONS => {
            shape.push(extent);
            Ok(())
        }
        _ => Err(fail(at, format!("a negative extent, or more than {MAX_DIMENSIONS} dimensions"))),
    };
    match value {
        Value::Varint(extent) => push(extent),
        Value::Bytes(range) => {
            let mut cursor = Cursor::from(range);
            while !cursor.is_at_end() {
                push(wire.varint(&mut cursor)?)?;
            }
            Ok(())
        }
        _ => Err(fail(at, "a dimension is no number")),
    }
}

fn fields(wire: &mut Wire<'_>, range: Range<u64>) -> Result<Fields> {
    let mut cursor = Cursor::from(range);
    let mut fields = Fields::default();
    while let Some((number, value)) = wire.field(&mut cursor)? {
        let at = cursor.at;
        let repeated = match (number, value) {
            (1, value) => {
                dimensions(wire, value, &mut fields.shape, at)?;
                false
            }
            (2, Value::Varint(value)) => fields.data_type.replace(value).is_some(),
            (3, _) => return Err(fail(at, "a tensor in segments, which nothing writes")),
            (4 | 5 | 6 | 7 | 10 | 11, value) => {
                let packed = if let Value::Bytes(range) = value { Some(range) } else { None };
                fields.packed = if fields.typed.is_none() { packed } else { None };
                fields.typed.replace(number).is_some_and(|other| other != number)
            }
            (8, Value::Bytes(range)) => fields.name.replace(range).is_some(),
            (9, Value::Bytes(range)) => fields.raw.replace(range).is_some(),
            (13, Value::Bytes(range)) if fields.external.len() < 16 => {
                fields.external.push(range);
                false
            }
            (14, Value::Varint(value)) => fields.location.replace(value).is_some(),
            (2 | 8 | 9 | 13 | 14, _) => {
                return Err(fail(at, format!("field {number} of a tensor is not as it must be")));
            }
            _ => false,
        };
        if repeated {
            return Err(fail(
                at,
                format!("field {number} of a tensor appears twice, or beside another one with values"),
            ));
        }
    }
    Ok(fields)
}

/// Reads a tensor's message. Ranges of external files are added to `external`.
pub(super) fn read(
    wire: &mut Wire<'_>,
    home: &Home<'_>,
    range: Range<u64>,
    prefix: &str,
    name: Option<String>,
    external: &mut Vec<(usize, Range<u64>)>,
) -> Result<StoredTensor> {
    let begin = range.start;
    let fields = fields(wire, range.clone())?;
    let name = match (name, fields.name) {
        (Some(name), _) => name,
        (None, Some(own)) if !own.is_empty() => format!("{prefix}{}", wire.text(&own, MAX_NAME)?),
        _ => return Err(fail(begin, "an initializer has no name")),
    };
    let refuse = |reason: String| fail(begin, format!("tensor {name:?}: {reason}"));
    if name.len() as u64 > 2 * MAX_NAME {
        return Err(refuse(format!("a name of more than {} bytes", 2 * MAX_NAME)));
    }
    let kind = kind(fields.data_type.unwrap_or(0)).ok_or_else(|| refuse("its data type is unknown".into()))?;
    let elements = fields.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    let elements =
        elements.ok_or_else(|| refuse(format!("the product of the shape {:?} exceeds 64 bits", fields.shape)))?;
    let bytes = kind.bytes(elements).ok_or_else(|| refuse("its length exceeds 64 bits".into()))?;
    let sources = [fields.raw.is_some(), fields.typed.is_some(), fields.location == Some(1)];
    if sources.iter().filter(|there| **there).count() > 1 {
        return Err(refuse("has values in two places".into()));
    }
    let length = |found: u64| match bytes {
        Some(bytes) if bytes != found => Err(refuse(format!("{found} bytes of data, but its shape needs {bytes}"))),
        _ => Ok(found),
    };
    let place = match (fields.location, fields.raw, fields.typed) {
        (Some(1), ..) => {
            let wanted = bytes.ok_or_else(|| refuse("strings are never external".into()))?;
            let (file, range) = outside(wire, home, &fields.external, wanted, &name)?;
            external.push((file, range.clone()));
            Place::Plain { file, range }
        }
        (Some(2..), ..) => return Err(refuse("its data location is unknown".into())),
        (_, Some(_), _) if kind.is_text() => return Err(refuse("strings are never raw".into())),
        (_, Some(raw), _) => Place::Plain { file: home.file, range: raw },
        (_, _, Some(field)) if field != kind.field => {
            return Err(refuse(format!("its values stand in field {field}, which is for other types")));
        }
        // Packed floats are the bytes that raw_data would have.
        (_, _, Some(4 | 10)) if fields.packed.is_some() => {
            Place::Plain { file: home.file, range: fields.packed.unwrap_or_default() }
        }
        (_, _, Some(field)) => {
            let typed = Typed { message: range, field, width: kind.width };
            let found = typed.measure(wire, elements, &name)?;
            length(found)?;
            let place = Place::Typed { file: home.file, field: typed };
            return Ok(StoredTensor { dtype: kind.dtype.to_owned(), shape: fields.shape, bytes: found, place, name });
        }
        (_, None, None) if elements == 0 => Place::Plain { file: home.file, range: begin..begin },
        _ => return Err(refuse("has no data".into())),
    };
    let found = match &place {
        Place::Plain { range, .. } => length(range.end - range.start)?,
        _ => 0,
    };
    Ok(StoredTensor { dtype: kind.dtype.to_owned(), shape: fields.shape, bytes: found, place, name })
}

/// `external_data`: a file below the model's folder, and a range of it.
fn outside(
    wire: &mut Wire<'_>,
    home: &Home<'_>,
    entries: &[Range<u64>],
    bytes: u64,
    name: &str,
) -> Result<(usize, Range<u64>)> {
    let begin = entries.first().map_or(0, |range| range.start);
    let refuse = |reason: String| fail(begin, format!("tensor {name:?}: {reason}"));
    let (mut location, mut offset, mut length) = (None, None, None);
    for range in entries {
        let (mut key, mut text) = (None, None);
        let mut cursor = Cursor::from(range.clone());
        while let Some((number, value)) = wire.field(&mut cursor)? {
            if let (1 | 2, Value::Bytes(range)) = (number, value) {
                let slot = if number == 1 { &mut key } else { &mut text };
                if slot.replace(wire.text(&range, MAX_ENTRY)?).is_some() {
                    return Err(refuse("an entry of external_data says something twice".into()));
                }
            }
        }
        let text = text.unwrap_or_default();
        let repeated = match key.as_deref() {
            Some("location") => location.replace(text).is_some(),
            Some("offset") => offset.replace(text).is_some(),
            Some("length") => length.replace(text).is_some(),
            _ => false,
        };
        if repeated {
            return Err(refuse("external_data says something twice".into()));
        }
    }
    let number = |text: Option<String>, default: u64| match text {
        None => Ok(default),
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| refuse(format!("{text:?} exceeds 64 bits")))
        }
        Some(text) => Err(refuse(format!("{text:?} is no number of bytes"))),
    };
    let (offset, length) = (number(offset, 0)?, number(length, bytes)?);
    let location = location.unwrap_or_default();
    let climbs = location.split('/').any(|part| matches!(part, "" | "." | ".."));
    if climbs || location.contains(['\\', ':']) {
        return Err(refuse(format!("its data lies at {location:?}, which is not a file below the model's folder")));
    }
    let path = format!("{}{location}", home.folder);
    let file = home.paths.get(path.as_str()).copied();
    let file =
        file.ok_or_else(|| refuse(format!("its data lies in {path:?}, which is not here; name the whole folder")))?;
    if length != bytes {
        return Err(refuse(format!("{length} bytes of external data, but its shape needs {bytes}")));
    }
    let end = offset.checked_add(length).filter(|&end| end <= home.files[file].1.len());
    let end = end.ok_or_else(|| refuse(format!("bytes {offset} and on of {path:?} are not there")))?;
    Ok((file, offset..end))
}

/// Tensors may share their external bytes wholly, and never in part.
pub(super) fn refuse_overlaps(mut external: Vec<(usize, Range<u64>)>) -> Result<()> {
    external.retain(|(_, range)| !range.is_empty());
    external.sort_by_key(|(file, range)| (*file, range.start, range.end));
    external.dedup();
    match external.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[1].1.start < pair[0].1.end) {
        None => Ok(()),
        Some(pair) => Err(Error::Malformed {
            format: "external data of the ONNX model",
            offset: pair[1].1.start,
            reason: "two tensors overlap in part".into(),
        }),
    }
}
