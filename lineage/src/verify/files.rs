//! The bytes at hand against the signed listing: files, tensors, and what lies in the folder beside them.

use std::collections::BTreeMap;

use countermark_formats::ReadAt;

use super::{Request, Rows};
use crate::Error;
use crate::bundle::Record;
use crate::digest::artifact::{Artifact, CARD, Cache, Measured, Sha256, Wants};
use crate::digest::checkpoint::Tensor;
use crate::digest::listing::Listing;
use crate::digest::{Hash, blob};
use crate::graph::Kind;
use crate::graph::statement::Statement;
use crate::verdict::State;

/// Compares the bytes at hand with the signed listing and tensors, in one read, and names what differs. Nothing is hashed
/// when there is a file whose name or size was not signed.
///
/// Gives what was measured, with the SHA-256 of each file if that was wanted, when the bytes are those that were signed.
pub(super) fn files(
    request: &Request<'_>,
    statement: &Statement,
    (sha256, cache): (Sha256, Option<&dyn Cache>),
    progress: &(dyn Fn(u64) + Sync),
    rows: &mut Rows,
) -> Option<(Measured, Vec<Hash>)> {
    let (artifact, predicate) = (request.artifact, &statement.predicate);
    if artifact.is_folder != predicate.folder {
        rows.add("files", State::Invalid, "a folder was signed and a file is here, or the other way round");
        return None;
    }
    let sizes = artifact.files.iter().map(|(path, source)| (path.clone(), source.len())).collect();
    let signed_sizes = predicate.listing.files().iter().map(|file| (file.path.clone(), file.size)).collect();
    let found = differences(&signed_sizes, &sizes, artifact.is_folder);
    if !found.is_empty() {
        rows.add("files", State::Invalid, found);
        return None;
    }
    let wants = Wants { sha256, tensors: predicate.tensors.is_some(), cache };
    let reading = rows.attempt("files", artifact.read_once(&wants, progress))?;
    let measured = reading.measured;
    let hashes = |listing: &Listing| listing.files().iter().map(|file| (file.path.clone(), file.blake3)).collect();
    let found = differences(&hashes(&predicate.listing), &hashes(&measured.listing), artifact.is_folder);
    if !found.is_empty() {
        rows.add("files", State::Invalid, found);
        tensors(reading.tensors, statement, rows);
        return None;
    }
    if statement.sha256() != measured.manifest_asset {
        let problem = "the signed SHA-256 is not that of the bytes, though their BLAKE3 is";
        rows.add("files", State::Invalid, problem);
        return None;
    }
    let hashed = artifact.files.len() - reading.recalled;
    let plural = if hashed == 1 { "file" } else { "files" };
    let mut detail = format!("{hashed} {plural} re-hashed, root {}", measured.root.short());
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
