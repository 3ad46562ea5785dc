//! The bytes at hand against the signed listing: files, tensors, and what lies in the folder beside them.
//!
//! A manifest may be embedded in a single file. The statement then speaks of the file as it was before, which is read
//! through a view of the one at hand, and the manifest of the one at hand without its own text: one read gives both.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use countermark_formats::ReadAt;
use countermark_formats::manifest::{self, Found, Splice};

use super::manifest::Judge;
use super::trust::Trust;
use super::{Request, Rows};
use crate::Error;
use crate::bundle::Record;
use crate::credential::alone::Asset;
use crate::credential::embedded;
use crate::digest::artifact::{Artifact, CARD, Cache, Measured, Reading, Sha256, Wants};
use crate::digest::checkpoint::Tensor;
use crate::digest::listing::Listing;
use crate::digest::{Hash, blob};
use crate::graph::Kind;
use crate::graph::statement::Statement;
use crate::verdict::State;

/// Row: there is a manifest inside the file, and it is the one that was checked.
const EMBEDDED: &str = "embedded manifest";

/// What is around a manifest inside the file at hand.
pub(super) struct Around {
    /// The range of the manifest's text.
    pub span: Range<u64>,
    /// SHA-256 of all other bytes.
    pub sha256: Hash,
}

/// What was read of an artifact, and is what was signed.
pub(super) struct Read {
    /// What is around the bundle's manifest, when that is inside the file.
    pub around: Option<Around>,
    /// Root and listing, and SHA-256 of each file if that was wanted; nothing where they are of other bytes than those at
    /// hand.
    pub measured: Option<(Measured, Vec<Hash>)>,
}

/// The file at hand, looked at for a manifest.
#[derive(Default)]
struct Inside {
    /// The file as it was before, when the bundle's manifest is made to be inside.
    before: Option<Artifact>,
    /// What makes SHA-256 cover what an embedded manifest covers.
    splice: Option<Splice>,
    /// The embedded manifest and the range of its text.
    found: Option<(Vec<u8>, Range<u64>)>,
}

/// Compares the bytes at hand with the signed listing and tensors, in one read, and names what differs. Nothing is hashed
/// when there is a file whose name or size was not signed. Answers what was read, when it is what was signed.
pub(super) fn files(
    request: &Request<'_>,
    (record, statement): (&Record, &Statement),
    trust: &Trust<'_>,
    (sha256, cache): (Sha256, Option<&dyn Cache>),
    progress: &(dyn Fn(u64) + Sync),
    rows: &mut Rows,
) -> Option<Read> {
    if request.artifact.is_folder != statement.predicate.folder {
        let problem = "a folder was signed and a file is here, or the other way round";
        rows.add("files", State::Invalid, problem);
        return None;
    }
    let once = request.artifact.once();
    let Inside { before, splice, found } = inside(&once, record, rows)?;
    let is_inside = before.is_some();
    let artifact = before.unwrap_or(once);
    let sizes = artifact.files.iter().map(|(path, source)| (path.clone(), source.len())).collect();
    let signed = statement.predicate.listing.files();
    let signed_sizes = signed.iter().map(|file| (file.path.clone(), file.size)).collect();
    let differs = differences(&signed_sizes, &sizes, artifact.is_folder);
    if !differs.is_empty() {
        rows.add("files", State::Invalid, differs);
        return None;
    }
    // A manifest inside takes the place of the SHA-256 that was signed: that one is of bytes which are not here as such.
    let sha256 = if is_inside { Sha256::No } else { sha256 };
    let wants = Wants { sha256, tensors: statement.predicate.tensors.is_some(), cache };
    let reading = match artifact.read_spliced(&wants, splice.as_ref(), progress) {
        Ok(reading) => reading,
        Err(error) => {
            rows.add("files", State::Invalid, error.problem());
            return None;
        }
    };
    let around = found.zip(reading.spliced);
    // Whoever signed files one by one signed this one with its manifest inside.
    let measured = compare(&artifact, reading, statement, is_inside, rows).filter(|_| !is_inside);
    let Some(((store, span), sha256)) = around else { return Some(Read { around: None, measured }) };
    if is_inside {
        return Some(Read { around: Some(Around { span, sha256 }), measured });
    }
    // The statement is about the file with this manifest in it, so the manifest speaks for itself.
    let judged = Judge::new(trust, rows).judge(&store, &Asset::Around(span, sha256.0));
    for row in judged.rows {
        rows.add(&format!("embedded {}", row.name), row.state, row.detail);
    }
    for link in &judged.links {
        rows.add(&format!("embedded manifest: {}", link.row()), link.state, &*link.detail);
    }
    Some(Read { around: None, measured })
}

/// Looks for a manifest inside a single file. `None` when nothing may be read because of it; a row then says why.
fn inside(artifact: &Artifact, record: &Record, rows: &mut Rows) -> Option<Inside> {
    let [(name, source)] = &*artifact.files else { return Some(Inside::default()) };
    if artifact.is_folder {
        return Some(Inside::default());
    }
    // What the bundle's manifest says of itself is verified later, by the rows on the manifest.
    let expected = record.manifest.as_ref().and_then(|store| embedded::embedding(&store.0).ok().flatten());
    let found = manifest::find(name, &**source, expected.map(|expected| expected.format));
    let (found, expected) = match (found, expected) {
        (Ok(Some(Found::Embedded(found))), Some(expected)) => (found, expected),
        (Ok(Some(Found::Embedded(found))), None) => {
            let splice = Some(found.without_value());
            return Some(Inside { before: None, splice, found: Some((found.store, found.span)) });
        }
        (Ok(Some(Found::Unspecified { place })), _) => {
            let detail = format!("found at an unspecified place ({place}), not checked");
            rows.add(EMBEDDED, State::Unknown, detail);
            return Some(Inside::default());
        }
        (Ok(None), Some(expected)) => {
            let detail = format!("belongs inside this {} file and is not there", expected.format);
            rows.add(EMBEDDED, State::Unknown, detail);
            return Some(Inside::default());
        }
        (Err(problem), Some(_)) => {
            rows.add(EMBEDDED, State::Invalid, problem.to_string());
            return None;
        }
        (Err(problem), None) if problem.met => {
            rows.add(EMBEDDED, State::Invalid, problem.to_string());
            return Some(Inside::default());
        }
        (Ok(None) | Err(_), None) => return Some(Inside::default()),
    };
    if record.manifest.as_ref().is_some_and(|store| store.0 == found.store) {
        let (format, Range { start, end }) = (found.format, &found.span);
        let detail = format!("bytes {start} to {end} of the {format} file are that of the bundle");
        rows.add(EMBEDDED, State::Verified, detail);
    } else {
        rows.add(EMBEDDED, State::Invalid, "the manifest inside the file is not that of the bundle");
    }
    let original = match found.take_out(source, &expected.undo) {
        Ok(original) => original,
        Err(error) => {
            rows.add(EMBEDDED, State::Invalid, error.to_string());
            return None;
        }
    };
    let view = vec![(name.clone(), Arc::new(original.view) as Arc<dyn ReadAt>)];
    let found = Some((found.store, found.span));
    Some(Inside { before: Some(artifact.with_files(view)), splice: Some(original.splice), found })
}

/// Compares what was read with what was signed. `is_inside`: without the manifest, which is inside the file.
fn compare(
    artifact: &Artifact,
    reading: Reading,
    statement: &Statement,
    is_inside: bool,
    rows: &mut Rows,
) -> Option<(Measured, Vec<Hash>)> {
    let predicate = &statement.predicate;
    let measured = reading.measured;
    let hashes = |listing: &Listing| listing.files().iter().map(|file| (file.path.clone(), file.blake3)).collect();
    let found = differences(&hashes(&predicate.listing), &hashes(&measured.listing), artifact.is_folder);
    if !found.is_empty() {
        rows.add("files", State::Invalid, found);
        tensors(reading.tensors, statement, rows);
        return None;
    }
    if !is_inside && statement.sha256() != measured.manifest_asset {
        let problem = "the signed SHA-256 is not that of the bytes, though their BLAKE3 is";
        rows.add("files", State::Invalid, problem);
        return None;
    }
    let hashed = artifact.files.len() - reading.recalled;
    let plural = if hashed == 1 { "file" } else { "files" };
    let without = if is_inside { " without its manifest" } else { "" };
    let mut detail = format!("{hashed} {plural} re-hashed{without}, root {}", measured.root.short());
    if reading.recalled > 0 {
        detail += &format!("; {} digests came from the cache, not from the bytes", reading.recalled);
    }
    if artifact.name != statement.name() {
        detail += &format!("; signed under the name {}", statement.name());
    }
    if !artifact.ignored.is_empty() {
        detail += &format!("; not looked at: {}", artifact.ignored.join(", "));
    }
    if predicate.card != measured.card {
        // A loader takes the configuration of a dataset from its card, so there the card is as good as data.
        if matches!(predicate.kind, Kind::Dataset | Kind::Shard) {
            rows.add("card", State::Invalid, format!("{CARD} of a dataset was changed, added or removed"));
        }
        detail += &format!("; {CARD} was changed, added or removed since, which the root does not cover");
    }
    rows.add("files", State::Verified, detail);
    tensors(reading.tensors, statement, rows);
    Some((measured, reading.sha256))
}

/// Compares one file of a folder with the signed listing. No row says anything of the others.
pub(super) fn one_file(
    artifact: &Artifact,
    statement: &Statement,
    path: &str,
    cache: Option<&dyn Cache>,
    progress: &(dyn Fn(u64) + Sync),
    rows: &mut Rows,
) {
    let row = format!("file {path}");
    let signed = statement.predicate.listing.files();
    if !artifact.is_folder || !statement.predicate.folder {
        let problem = "a part of a folder was asked for, and a single file was signed or is here";
        return rows.add(&row, State::Invalid, problem);
    }
    if path == CARD {
        let problem = "the card does not belong to the listing; ask for the whole folder, or for another file";
        return rows.add(&row, State::Unknown, problem);
    }
    let Some(file) = signed.iter().find(|file| file.path == path) else {
        return rows.add(&row, State::Invalid, "was not signed");
    };
    let Some((_, source)) = artifact.files.iter().find(|(here, _)| here == path) else {
        return rows.add(&row, State::Invalid, "is missing");
    };
    if source.len() != file.size {
        return rows.add(&row, State::Invalid, "was changed: it has another size");
    }
    let of = signed.len();
    if let Some(known) = cache.and_then(|cache| cache.recall(&**source)) {
        let (state, detail) = if known.blake3 == file.blake3 {
            (State::Verified, "its digest came from the cache, not from the bytes; the only one looked at")
        } else {
            (State::Invalid, "was changed")
        };
        return rows.add(&row, state, format!("{detail}, of {of} files"));
    }
    match blob::hash_with(&**source, progress) {
        Ok(hash) if hash == file.blake3 => {
            rows.add(&row, State::Verified, format!("re-hashed; the only one looked at, of {of} files"));
        }
        Ok(_) => rows.add(&row, State::Invalid, "was changed"),
        Err(error) => rows.add(&row, State::Invalid, error.to_string()),
    }
}

/// Compares one tensor with the signed list. Its place comes from a header that nobody checked; what is there must be the
/// tensor that was signed under this name, with its dtype and shape.
pub(super) fn one_tensor(
    artifact: &Artifact,
    statement: &Statement,
    name: &str,
    progress: &(dyn Fn(u64) + Sync),
    rows: &mut Rows,
) {
    let row = format!("tensor {name}");
    let Some(signed) = &statement.predicate.tensors else {
        return rows.add(&row, State::Invalid, "no tensors were signed");
    };
    let Ok(index) = signed.list.binary_search_by(|tensor| (*tensor.name).cmp(name)) else {
        return rows.add(&row, State::Invalid, "was not signed");
    };
    // A file that was not signed could hold the tensor in place of the signed one, for us or for a loader.
    let files = statement.predicate.listing.files();
    let is_signed = |path: &str| files.binary_search_by(|file| (*file.path).cmp(path)).is_ok();
    if artifact.is_folder
        && let Some((path, _)) = artifact.files.iter().find(|(path, _)| !is_signed(path))
    {
        let problem = format!("{path} was not signed, and a loader could take the tensor from there");
        return rows.add(&row, State::Invalid, problem);
    }
    match artifact.tensor(name, progress) {
        Ok(Some(tensor)) if tensor == signed.list[index] => {
            let of = signed.list.len();
            rows.add(&row, State::Verified, format!("re-hashed; the only one looked at, of {of} tensors"));
        }
        Ok(Some(_)) => rows.add(&row, State::Invalid, "was changed"),
        Ok(None) => rows.add(&row, State::Invalid, "is missing"),
        Err(error) => rows.add(&row, State::Invalid, error.problem()),
    }
}

/// Which files of a folder are missing, changed or not signed, as text; the name of a single file does not matter.
fn differences<T: PartialEq>(signed: &BTreeMap<String, T>, here: &BTreeMap<String, T>, is_folder: bool) -> String {
    let mut found = Vec::new();
    if is_folder {
        for (path, value) in signed {
            match here.get(path) {
                None => found.push(format!("{path} is missing")),
                Some(other) if other != value => found.push(format!("{path} was changed")),
                Some(_) => {}
            }
        }
        let unsigned = here.keys().filter(|path| !signed.contains_key(*path));
        found.extend(unsigned.map(|path| format!("{path} was not signed")));
    } else if !signed.values().eq(here.values()) {
        found.extend(here.keys().map(|path| format!("{path} is not the file that was signed")));
    }
    let more = found.len().saturating_sub(8);
    found.truncate(8);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found.join("; ")
}

/// Bundles and manifests that lie in the folder must be those that are checked here: a loader may read them as data.
pub(super) fn provenance_files(request: &Request<'_>, record: &Record, rows: &mut Rows) {
    let mut compare = |name: &str, source: &dyn ReadAt| {
        let expected = if name.ends_with(".c2pa") {
            record.manifest.as_ref().map(|store| &*store.0)
        } else if name.ends_with(".provenance.json") {
            request.bundle
        } else {
            return;
        };
        let is_same = expected.is_some_and(|expected| {
            let mut bytes = vec![0; expected.len()];
            source.len() == expected.len() as u64 && source.read_exact_at(&mut bytes, 0).is_ok() && bytes == expected
        });
        if !is_same {
            rows.add(
                "provenance files",
                State::Invalid,
                format!("{name} is not what was checked here, and not signed"),
            );
        }
    };
    for (name, source) in &request.artifact.provenance {
        compare(name, &**source);
    }
    for (name, bytes) in request.sidecars {
        compare(name, bytes);
    }
}

/// Compares the tensors here with those that the statement quotes, and names the ones that differ.
fn tensors(here: Result<Option<Vec<Tensor>>, Error>, statement: &Statement, rows: &mut Rows) {
    let Some(signed) = &statement.predicate.tensors else { return };
    let here = match here {
        Ok(Some(here)) => here,
        Ok(None) => return rows.add("tensors", State::Invalid, "no weights that can be read are here"),
        Err(error) => return rows.add("tensors", State::Invalid, error.problem()),
    };
    if here == signed.list {
        let root = signed.root.short();
        return rows.add("tensors", State::Verified, format!("{} tensors re-hashed, root {root}", here.len()));
    }
    let by_name: BTreeMap<&str, &Tensor> = here.iter().map(|tensor| (&*tensor.name, tensor)).collect();
    let differs = |tensor: &&Tensor| by_name.get(&*tensor.name) != Some(tensor);
    let names: Vec<&str> = signed.list.iter().filter(differs).map(|tensor| &*tensor.name).take(8).collect();
    let detail = if names.is_empty() {
        "tensors were added".to_owned()
    } else {
        format!("changed or missing: {}", names.join(", "))
    };
    rows.add("tensors", State::Invalid, detail);
}
