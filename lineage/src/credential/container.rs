//! What the hash of a medium leaves out: exactly the manifest store, in the framing of its container, and nothing else.
//!
//! C2PA 2.2, 15.12.1 asks for this. Libraries only hash what is outside the ranges that the manifest names, so a store
//! without its padding would leave room for unsigned bytes beside it.

use countermark_formats::ReadAt;

use super::c2pa::Refusal;
use super::manifest::Claim;
use crate::cbor::Value;

/// Ranges longer than this hold more than any store.
const MAX_EXCLUDED: u64 = 128 << 20;

/// What a medium's manifest binds.
pub(super) enum Hard {
    /// `c2pa.hash.data`: all bytes but these, as offset and length.
    Data(Vec<(u64, u64)>),
    /// `c2pa.hash.bmff`: all boxes of an ISO base media file but these paths.
    Boxes(Vec<String>),
}

/// Boxes that C2PA leaves out of an ISO base media file (2.2, 18.7): its own, the brand, free space, the index of
/// fragments.
const LEFT_OUT: [&str; 5] = ["/uuid", "/ftyp", "/mfra", "/free", "/skip"];

/// The user type of the box that holds a manifest store.
const C2PA_UUID: [u8; 16] =
    [0xd8, 0xfe, 0xc3, 0xd6, 0x1b, 0x0e, 0x48, 0x3c, 0x92, 0x97, 0x58, 0x28, 0x87, 0x7e, 0xc4, 0x81];

/// The one hard binding of a medium.
pub(super) fn hard(claim: &Claim<'_, '_>) -> Result<Hard, Refusal> {
    let mut bindings = claim.assertions.iter().filter(|assertion| assertion.label.starts_with("c2pa.hash."));
    let Some(binding) = bindings.next() else {
        return Err(Refusal::invalid("the manifest is not bound to any bytes".into()));
    };
    if let Some(second) = bindings.next() {
        return Err(Refusal::invalid(format!("two bindings: {} and {}", binding.label, second.label)));
    }
    if !binding.created {
        return Err(Refusal::invalid("the binding is gathered, not the signer's own".into()));
    }
    let value = binding.cbor()?;
    match binding.label {
        "c2pa.hash.data" => ranges(&value).map(Hard::Data),
        "c2pa.hash.bmff.v2" | "c2pa.hash.bmff.v3" => boxes(&value).map(Hard::Boxes),
        other => Err(Refusal::unsupported(format!("binding {other} is not checked"))),
    }
}

fn ranges(value: &Value) -> Result<Vec<(u64, u64)>, Refusal> {
    let Some(exclusions) = value.field("exclusions") else { return Ok(vec![]) };
    let number = |range: &Value, key| range.field(key).and_then(Value::as_int).and_then(|n| u64::try_from(n).ok());
    let exclusions = exclusions.as_array().unwrap_or_default().iter();
    let ranges = exclusions.map(|range| Some((number(range, "start")?, number(range, "length")?)));
    ranges.collect::<Option<_>>().ok_or_else(|| Refusal::invalid("the binding's exclusions cannot be read".into()))
}

fn boxes(value: &Value) -> Result<Vec<String>, Refusal> {
    let mut paths = Vec::new();
    for exclusion in value.field("exclusions").and_then(Value::as_array).unwrap_or_default() {
        let path = exclusion.field("xpath").and_then(Value::as_text).unwrap_or_default();
        if !LEFT_OUT.contains(&path) {
            return Err(Refusal::invalid(format!(
                "the binding leaves out boxes {path:?}, which hold more than C2PA's"
            )));
        }
        if path == "/uuid" {
            let data = exclusion.field("data").and_then(Value::as_array).unwrap_or_default();
            let is_ours = |data: &Value| {
                data.field("offset").and_then(Value::as_int) == Some(8)
                    && data.field("value").and_then(Value::as_bytes) == Some(&C2PA_UUID[..])
            };
            if !matches!(data, [data] if is_ours(data)) {
                return Err(Refusal::invalid("the binding leaves out boxes uuid other than C2PA's".into()));
            }
        }
        paths.push(path.to_owned());
    }
    Ok(paths)
}

/// Checks that what is left out of the hash of `source` is `store` alone.
///
/// `format` is the MIME type of the medium. Reads the excluded bytes once.
pub(super) fn only_store(hard: &Hard, store: &[u8], format: &str, source: &dyn ReadAt) -> Result<String, Refusal> {
    let ranges = match hard {
        Hard::Boxes(paths) => return Ok(format!("boxes left out: {}", paths.join(" "))),
        Hard::Data(ranges) => ranges,
    };
    // A store and, in TIFF, its length: nothing here leaves out more, in whatever text it is written.
    let longest = 2 * store.len() as u64 + (1 << 16);
    if ranges.len() > 2 || ranges.iter().any(|(_, length)| *length > longest) {
        return Err(Refusal::invalid("the binding leaves out more than the manifest".into()));
    }
    let mut excluded = Vec::new();
    for (start, length) in ranges {
        let end = start.checked_add(*length).filter(|end| *end <= source.len());
        let (Some(_), true) = (end, *length <= MAX_EXCLUDED) else {
            return Err(Refusal::invalid(format!("the binding leaves out {length} bytes at {start}, past the end")));
        };
        let mut bytes = vec![0; usize::try_from(*length).unwrap_or_default()];
        source
            .read_exact_at(&mut bytes, *start)
            .map_err(|error| Refusal::unsupported(format!("bytes at {start} cannot be read: {error}")))?;
        excluded.push(bytes);
    }
    let held = match (format, &*excluded) {
        // The tag's count of bytes changes with the store, and only tells its length (TIFF 6.0, section 2).
        ("image/tiff", [a, b]) if [4, 8].contains(&a.len()) && is_count(a, store.len()) => Some(b.clone()),
        ("image/tiff", [a, b]) if [4, 8].contains(&b.len()) && is_count(b, store.len()) => Some(a.clone()),
        (_, [bytes]) => held(format, bytes),
        _ => None,
    };
    match held {
        Some(held) if held == store => Ok(format!("{} bytes left out, which are the manifest", ranges[0].1)),
        Some(_) => Err(Refusal::invalid("the hash leaves out bytes that are not the manifest".into())),
        None if ranges.is_empty() => Err(Refusal::invalid("the hash does not leave out the manifest".into())),
        None => Err(Refusal::invalid("the hash leaves out more than the manifest in its container".into())),
    }
}

fn is_count(bytes: &[u8], length: usize) -> bool {
    let little = bytes.iter().rev().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    let big = bytes.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    [little, big].contains(&(length as u128))
}

/// The store in the excluded bytes, when they are nothing but its container's framing of it.
fn held(format: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    match format {
        // PNG, 5.3: length, type, data, CRC.
        "image/png" => {
            let (head, rest) = bytes.split_at_checked(8)?;
            let store = rest.get(..rest.len().checked_sub(4)?)?;
            let length = (store.len() as u32).to_be_bytes();
            (head == [&length[..], b"caBX"].concat()).then(|| store.to_vec())
        }
        // RIFF: type, length; an odd chunk is followed by a zero.
        "audio/wav" | "image/webp" | "video/avi" => {
            let (head, rest) = bytes.split_at_checked(8)?;
            let length = u32::from_le_bytes(head.get(4..)?.try_into().ok()?) as usize;
            let (store, pad) = rest.split_at_checked(length)?;
            (head.starts_with(b"C2PA") && (pad.is_empty() || (length % 2 == 1 && pad == [0]))).then(|| store.to_vec())
        }
        "image/jpeg" => held_in_jpeg(bytes),
        "image/gif" => held_in_gif(bytes),
        "image/svg+xml" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(bytes).ok()
        }
        // A whole object of an ID3 tag, a TIFF tag's value, a box of JPEG XL: the store as it is.
        "audio/mpeg" | "audio/flac" | "image/tiff" | "image/jxl" => Some(bytes.to_vec()),
        _ => None,
    }
}

/// JPEG XT (ISO 18477-3, annex B): segments APP11, each with a repeat of the box's header after the first.
fn held_in_jpeg(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut store: Vec<u8> = Vec::new();
    let (mut instance, mut sequence) = (None, 0_u32);
    while !bytes.is_empty() {
        let (marker, rest) = bytes.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes(marker.get(2..)?.try_into().ok()?)).checked_sub(2)?;
        let (segment, rest) = rest.split_at_checked(length)?;
        let (head, data) = segment.split_at_checked(8)?;
        sequence = sequence.checked_add(1)?;
        let is_next = marker.starts_with(b"\xff\xeb")
            && head.starts_with(b"JP")
            && instance.get_or_insert(&head[2..4]) == &&head[2..4]
            && head[4..] == sequence.to_be_bytes();
        if !is_next {
            return None;
        }
        let data = if store.is_empty() { data } else { data.strip_prefix(store.get(..8)?)? };
        store.extend(data);
        bytes = rest;
    }
    Some(store)
}

/// GIF89a, 26: an application extension, whose data lies in blocks of at most 255 bytes.
fn held_in_gif(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(b"\x21\xff\x0bC2PA_GIF\x01\0\0")?;
    let mut store = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        let (block, after) = after.split_at_checked(usize::from(*length))?;
        if block.is_empty() {
            return after.is_empty().then_some(store);
        }
        store.extend(block);
        rest = after;
    }
}
