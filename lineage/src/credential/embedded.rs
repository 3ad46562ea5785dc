//! A manifest inside the file that it is about.
//!
//! The file was changed when the manifest came into it. So the manifest's hash covers the file at hand without the manifest's
//! own text, and the statement's root covers the file as it was before; both come from one read. C2PA's libraries take the
//! excluded range from the manifest and never ask what stands there: whoever writes other metadata over the text is
//! trusted. Here the range must be exactly that of the text which a parser of our own found, and the text must decode to
//! exactly the store that was checked.

use std::ops::Range;

use countermark_formats::manifest::{self, Format, Undo};
use countermark_formats::{Source, Tensors};

use super::assertions::{self, Bound, lineage, ours};
use super::c2pa::{self, BINDING, Refusal};
use super::manifest::{Claim, Store};
use crate::Error;
use crate::cbor::Value;
use crate::digest::{Hash, blob};
use crate::verdict::{Check, State};

/// Label of the assertion that says what the file was before.
pub const EMBEDDING: &str = "dev.countermark.embedding";
/// Schema in [`EMBEDDING`].
pub const EMBEDDING_SCHEMA: &str = "countermark.dev/c2pa/embedding/v1";

/// What [`EMBEDDING`] says: how to get the file back that there was before, and its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Format of the file.
    pub format: Format,
    /// What the file itself does not tell.
    pub undo: Undo,
    /// Plain BLAKE3 of the file as it was before.
    pub root: Hash,
}

/// Where a manifest stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside the bytes that it is about: it covers all of them.
    Beside,
    /// Inside, and this is the range of its text: it covers all the rest.
    Inside(Range<u64>),
    /// Inside a file which is not at hand as a whole.
    Elsewhere,
}

/// What the manifest's hash must be over a file with this manifest in it: SHA-256 of all bytes but its text, in one read.
///
/// # Errors
/// When the file cannot be read, or changed meanwhile.
pub fn sha256(
    source: &Source,
    embedded: &manifest::Embedded,
    progress: &(dyn Fn(u64) + Sync),
) -> std::io::Result<Hash> {
    let splice = embedded.without_value();
    let wants = blob::Wants { spliced: Some(&splice), ..blob::Wants::default() };
    Ok(blob::digests(&**source, wants, progress)?.spliced.unwrap_or_default())
}

/// Why the file called `name` is not the whole model, when it is an ONNX model whose weights lie in other files: no manifest
/// inside it covers those. Reads the model's structure only.
pub fn lies_elsewhere(name: &str, source: &Source) -> Option<String> {
    let is_onnx = name.to_ascii_lowercase().ends_with(".onnx");
    let opened = is_onnx.then(|| Tensors::open(&[("model.onnx".to_owned(), source.clone())]));
    opened.and_then(Result::err).map(|error| error.to_string())
}

/// Judges an embedded manifest by itself, without a statement: the rows of [`c2pa::inspect`], and the binding. `sha256` is
/// that of the file without the manifest's text, which stands at `span`.
pub fn check_alone(store: &[u8], span: &Range<u64>, sha256: Hash, anchors: &[Vec<u8>], now: i64) -> Vec<Check> {
    let mut rows = c2pa::inspect(store, anchors, now);
    let bound = Store::parse(store).and_then(|store| {
        let found = placed(&store.active.claim()?, &Place::Inside(span.clone()))?;
        compare(found, sha256)
    });
    let (state, detail) = match bound {
        Ok(()) => (State::Verified, "it is about this file, all but its own text".to_owned()),
        Err(refusal) => refusal.into_parts(),
    };
    rows.push(Check::new(BINDING, state, detail));
    rows
}

/// What the active manifest says of the file that it is embedded in, or `None` when it is not made to be embedded. Nothing
/// is verified.
///
/// # Errors
/// [`Error::Input`] when these bytes are no store, or the assertion cannot be read.
pub fn embedding(store: &[u8]) -> Result<Option<Embedding>, Error> {
    Ok(read(&Store::parse(store)?.active.claim()?)?)
}

fn read(claim: &Claim<'_, '_>) -> Result<Option<Embedding>, Refusal> {
    let fields = ["format", "made", "header", "root"];
    let Some(value) = ours(claim, EMBEDDING, EMBEDDING_SCHEMA, &fields)? else { return Ok(None) };
    let refuse = || Refusal::invalid(format!("assertion {EMBEDDING} cannot be read"));
    let text = |key| value.field(key).and_then(Value::as_text);
    let format = text("format").and_then(|text| text.parse().ok()).ok_or_else(refuse)?;
    let root = text("root").and_then(Hash::parse).ok_or_else(refuse)?;
    let made = match value.field("made") {
        Some(Value::Bool(made)) => *made,
        _ => return Err(refuse()),
    };
    let header = match value.field("header") {
        None => None,
        Some(Value::Unsigned(length)) => Some(*length),
        Some(_) => return Err(refuse()),
    };
    Ok(Some(Embedding { format, undo: Undo { made, header }, root }))
}

/// The hash that the manifest states, when what it leaves out is what it may leave out at this place; `None` for a file that
/// is not at hand. What [`EMBEDDING`] and the lineage say of the file before must be the same.
pub(super) fn placed(claim: &Claim<'_, '_>, place: &Place) -> Result<Option<[u8; 32]>, Refusal> {
    let Bound { sha256, excluded } = assertions::binding(claim)?;
    if let Some(embedding) = read(claim)?
        && let Some(named) = lineage(claim)?
        && embedding.root.0 != named.root
    {
        return Err(Refusal::invalid("it names two roots for the file before it was embedded".into()));
    }
    let shown = |range: &Range<u64>| format!("{} to {}", range.start, range.end);
    match (place, &*excluded) {
        (Place::Beside, []) => Ok(Some(sha256)),
        (Place::Beside, _) => Err(Refusal::invalid("the binding of a sidecar excludes bytes".into())),
        (Place::Inside(_) | Place::Elsewhere, []) => {
            Err(Refusal::invalid("the binding of an embedded manifest does not exclude its own text".into()))
        }
        (Place::Inside(span), [range]) if range == span => Ok(Some(sha256)),
        (Place::Inside(span), [range]) => Err(Refusal::invalid(format!(
            "the binding excludes bytes {}, and exactly the manifest's own text at {} must be",
            shown(range),
            shown(span)
        ))),
        (Place::Elsewhere, [_]) => Ok(None),
        (_, many) => Err(Refusal::invalid(format!(
            "the binding excludes {} ranges, and exactly the manifest's own text must be",
            many.len()
        ))),
    }
}

/// Is the stated hash the one found?
pub(super) fn compare(stated: Option<[u8; 32]>, found: Hash) -> Result<(), Refusal> {
    match stated {
        Some(stated) if stated != found.0 => Err(Refusal::invalid(format!(
            "the manifest is about bytes with SHA-256 {}, these have {found}",
            Hash(stated)
        ))),
        _ => Ok(()),
    }
}
