//! Says in what two artifacts differ: by file, by tensor, and by content-defined chunk.

mod chunks;
mod drift;
mod hub;
mod tensors;

pub use chunks::{ChunkDiff, Count};
pub use drift::Drift;
pub use hub::{HubDiff, against_hub};
pub use tensors::{Change, Kind, Summary, TensorDiff};

use std::collections::BTreeMap;
use std::path::Path;

use countermark_io::files;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::digest::listing::File;
use serde::Serialize;

use crate::{Error, Progress};

/// Schema of the JSON form.
pub const SCHEMA: &str = "countermark.dev/diff/v1";

/// In what two artifacts differ.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// True when both roots are equal.
    pub identical: bool,
    /// Files that only the first has.
    pub only_in_first: Vec<String>,
    /// Files that only the second has.
    pub only_in_second: Vec<String>,
    /// Files with other bytes.
    pub changed: Vec<String>,
    /// Tensors counted by what became of them, when both are models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// One row per tensor, when both are models.
    pub tensors: Vec<TensorDiff>,
    /// What they share by content, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunkDiff>,
}

/// What to compare beside files and tensors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Content-defined chunks.
    pub chunks: bool,
}

/// Compares two artifacts by file, and two models by tensor, whatever the formats and the sharding. Memory is bounded by
/// the number of tensors (and of chunks), not by their size.
///
/// # Errors
/// When a file cannot be read or a model file is malformed.
pub fn diff(first: &Path, second: &Path, options: Options, progress: &impl Progress) -> Result<Diff, Error> {
    let (a, b) = (files::open(first)?, files::open(second)?);
    progress.begin("hash", a.total_size() + b.total_size());
    let advance = |bytes| progress.advance(bytes);
    let (measured_a, measured_b) = (a.measure_with(&advance, false)?, b.measure_with(&advance, false)?);
    let by_path = |files: &[File]| -> BTreeMap<String, Hash> {
        files.iter().map(|file| (file.path.clone(), file.blake3)).collect()
    };
    let (mut files_a, mut files_b) = (by_path(measured_a.listing.files()), by_path(measured_b.listing.files()));
    if !a.is_folder && !b.is_folder {
        // Two single files are compared whatever they are called.
        files_a = files_a.into_values().map(|hash| (a.name.clone(), hash)).collect();
        files_b = files_b.into_values().map(|hash| (a.name.clone(), hash)).collect();
    }
    let missing = |from: &BTreeMap<String, Hash>, of: &BTreeMap<String, Hash>| -> Vec<String> {
        of.keys().filter(|path| !from.contains_key(*path)).cloned().collect()
    };
    let changed = files_a.iter().filter(|(path, hash)| files_b.get(*path).is_some_and(|other| other != *hash));
    let tensors = tensors::compare(&a, &b, progress)?;
    let chunks = if options.chunks { Some(chunks::compare(&a, &b, progress)?) } else { None };
    Ok(Diff {
        schema: SCHEMA,
        identical: measured_a.root == measured_b.root,
        only_in_first: missing(&files_b, &files_a),
        only_in_second: missing(&files_a, &files_b),
        changed: changed.map(|(path, _)| path.clone()).collect(),
        summary: tensors.as_deref().map(Summary::of),
        tensors: tensors.unwrap_or_default(),
        chunks,
    })
}

/// Bytes of both artifacts.
fn total_size(a: &Artifact, b: &Artifact) -> u64 {
    a.total_size() + b.total_size()
}
