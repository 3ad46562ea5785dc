//! The bytes at hand against the signed listing: files, tensors, and what lies in the folder beside them.

use std::collections::BTreeMap;

use countermark_formats::ReadAt;

use super::{Request, Rows};
use crate::bundle::Record;
use crate::digest::artifact::{Artifact, CARD};
use crate::digest::checkpoint::Tensor;
use crate::digest::listing::Listing;
use crate::graph::Kind;
use crate::graph::statement::Statement;
use crate::verdict::State;

/// Compares the bytes at hand with the signed listing, and names what differs. Answers whether the tensors are worth a
/// look: nothing is hashed that has a name or a size which was not signed.
pub(super) fn files(
    request: &Request<'_>,
    statement: &Statement,
    progress: &(dyn Fn(u64) + Sync),
    rows: &mut Rows,
) -> bool {
    let (artifact, predicate) = (request.artifact, &statement.predicate);
    if artifact.is_folder != predicate.folder {
        rows.add("files", State::Invalid, "a folder was signed and a file is here, or the other way round");
        return false;
    }
    let sizes = artifact.files.iter().map(|(path, source)| (path.clone(), source.len())).collect();
    let signed_sizes = predicate.listing.files().iter().map(|file| (file.path.clone(), file.size)).collect();
    let found = differences(&signed_sizes, &sizes, artifact.is_folder);
    if !found.is_empty() {
        rows.add("files", State::Invalid, found);
        return false;
    }
    let measured = match artifact.measure(progress) {
        Ok(measured) => measured,
        Err(error) => {
            rows.add("files", State::Invalid, error.problem());
            return false;
        }
    };
    let hashes = |listing: &Listing| listing.files().iter().map(|file| (file.path.clone(), file.blake3)).collect();
    let found = differences(&hashes(&predicate.listing), &hashes(&measured.listing), artifact.is_folder);
    if !found.is_empty() {
        rows.add("files", State::Invalid, found);
        return true;
    }
    if statement.sha256() != measured.manifest_asset {
        rows.add("files", State::Invalid, "the signed SHA-256 is not that of the bytes, though their BLAKE3 is");
        return false;
    }
    let count = artifact.files.len();
    let plural = if count == 1 { "file" } else { "files" };
    let mut detail = format!("{count} {plural} re-hashed, root {}", measured.root.short());
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
    true
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

/// Recomputes the tensor digests that the statement quotes, and names the tensors that differ.
pub(super) fn tensors(artifact: &Artifact, statement: &Statement, rows: &mut Rows) {
    let Some(signed) = &statement.predicate.tensors else { return };
    let here = match artifact.tensors(&|_| ()) {
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
