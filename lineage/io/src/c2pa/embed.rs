//! Writes a copy of a model or dataset file with its manifest inside: safetensors, ONNX, Parquet.
//!
//! The manifest covers the copy without the manifest's own text, so the copy is written first, with room for a text whose
//! length is known, and hashed while it is written. Then the manifest is signed and its text put into that room. The copy
//! gets its name only when [`Prepared::commit`] is called, so that whatever else belongs to a release can be done before.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use c2pa::HashRange;
use c2pa::assertions::DataHash;
use countermark_formats::manifest::{self, Undo};
use countermark_formats::{ReadAt as _, Source};
use countermark_lineage::credential::c2pa as checker;
use countermark_lineage::credential::declared::Declared;
use countermark_lineage::credential::embedded::{self, EMBEDDING, EMBEDDING_SCHEMA, Place};
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::Kind;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{C2paError, Release, Signer, accept, builder, expected_parents, now};
use crate::Error;
use crate::files::{PUBLIC, Replacement};

/// Bytes per read.
const BLOCK: usize = 4 << 20;

/// Checks a store whose text stands at this range, given SHA-256 of all other bytes.
type Accept<'a> = dyn Fn(&[u8], &Range<u64>, [u8; 32]) -> Result<(), C2paError> + 'a;

const SIDECAR: &str = "application/c2pa";

/// A copy with its manifest inside that does not have its name yet.
pub struct Prepared {
    copy: Replacement,
    store: Vec<u8>,
    span: Range<u64>,
}

impl Prepared {
    /// The manifest store.
    pub fn store(&self) -> &[u8] {
        &self.store
    }

    /// Where its text is in the copy.
    pub fn span(&self) -> Range<u64> {
        self.span.clone()
    }

    /// Gives the copy its name. What was there before is replaced.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there before stays.
    pub fn commit(self) -> Result<(), Error> {
        self.copy.commit(PUBLIC)
    }
}

/// Prepares the copy at `out` of the file of a release, whose bytes are `source`. [`Release::root`] is that of these bytes,
/// and [`Release::asset_sha256`] is not looked at.
///
/// # Errors
/// As [`super::create`]; [`C2paError::Place`] when a manifest cannot be put into this file, [`C2paError::Write`].
pub fn prepare(
    release: Release<'_>,
    source: &Source,
    out: &Path,
    signer: &Signer,
    progress: &dyn Fn(u64),
) -> Result<Prepared, C2paError> {
    let Release { statement, root, marks, .. } = release;
    let parents = expected_parents(&release);
    let check = |store: &[u8], span: &Range<u64>, asset_sha256: [u8; 32]| {
        let expected = checker::Expected { asset_sha256, statement, root, marks, parents: &parents };
        accept(&checker::check_at(store, &Place::Inside(span.clone()), &expected, signer.anchor(), now()))
    };
    write(release, true, source, out, signer, progress, &check)
}

/// Prepares the copy at `out` of the file called `name`, with a manifest that names no statement. `root` is the plain BLAKE3
/// of `source`.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_alone(
    name: &str,
    kind: Kind,
    root: Hash,
    source: &Source,
    out: &Path,
    signer: &Signer,
    progress: &dyn Fn(u64),
) -> Result<Prepared, C2paError> {
    let nothing = [0; 32];
    let release = Release {
        name,
        kind,
        generated: false,
        asset_sha256: nothing,
        statement: nothing,
        root: root.0,
        marks: &[],
        listing: None,
        parents: vec![],
        declared: &Declared::default(),
    };
    let check = |store: &[u8], span: &Range<u64>, sha256: [u8; 32]| {
        accept(&embedded::check_alone(store, span, Hash(sha256), signer.anchor(), now()))
    };
    write(release, false, source, out, signer, progress, &check)
}

fn write(
    release: Release<'_>,
    is_named: bool,
    source: &Source,
    out: &Path,
    signer: &Signer,
    progress: &dyn Fn(u64),
    check: &Accept<'_>,
) -> Result<Prepared, C2paError> {
    let name = release.name.to_owned();
    let place = |length| {
        let place = manifest::insert(&name, source, length);
        place.map_err(|source| C2paError::Place { name: name.clone(), source })
    };
    // What must be recorded does not depend on the manifest's length.
    let first = place(1)?;
    let Undo { made, header } = first.undo;
    let mut data = json!({
        "schema": EMBEDDING_SCHEMA, "format": first.format.as_str(), "made": made, "root": Hash(release.root).to_string(),
    });
    if let Some(header) = header {
        data["header"] = header.into();
    }
    let embedding = json!({"label": EMBEDDING, "created": true, "data": data});
    let mut builder = builder(release, vec![embedding], is_named, signer)?;
    let length = builder.data_hashed_placeholder(c2pa::Signer::reserve_size(signer), SIDECAR)?.len();
    let place = place(length)?;

    let mut copy = Replacement::new(out)?;
    let io = |what: &Path, source| C2paError::Io { what: what.display().to_string(), source };
    let sha256 = write_around(&place, &mut copy, progress).map_err(|error| io(out, error))?;
    source.unchanged().map_err(|error| io(&PathBuf::from(&name), error))?;

    let mut binding = DataHash::new("jumbf manifest", "sha256");
    binding.add_exclusion(HashRange::new(place.span.start, place.span.end - place.span.start));
    binding.set_hash(sha256.to_vec());
    let store = builder.sign_data_hashed_embeddable(signer, &binding, SIDECAR)?;
    check(&store, &place.span, sha256)?;
    let text = manifest::encode(&store);
    if text.len() as u64 != place.span.end - place.span.start {
        return Err(C2paError::Verify("it does not have the length that was reserved for it".into()));
    }
    let file = copy.file();
    let patched = file.seek(SeekFrom::Start(place.span.start)).and_then(|_| file.write_all(text.as_bytes()));
    patched.map_err(|error| io(out, error))?;
    Ok(Prepared { copy, store, span: place.span })
}

/// Writes the whole copy, and answers SHA-256 of all but the manifest's text.
fn write_around(
    place: &manifest::Insertion,
    copy: &mut Replacement,
    progress: &dyn Fn(u64),
) -> std::io::Result<[u8; 32]> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; BLOCK];
    let (length, span) = (place.view.len(), &place.span);
    let mut at = 0;
    while at < length {
        // No block goes over an end of the text.
        let next = [span.start, span.end, length].into_iter().find(|end| *end > at).unwrap_or(length);
        let size = (next - at).min(BLOCK as u64) as usize;
        let block = &mut buffer[..size];
        place.view.read_exact_at(block, at)?;
        copy.file().write_all(block)?;
        if !span.contains(&at) {
            sha256.update(block);
        }
        progress(size as u64);
        at += size as u64;
    }
    Ok(sha256.finalize().into())
}
