//! Fetches what a verdict needs, and has `countermark-lineage` come to it.

use std::path::{Path, PathBuf};

use countermark_io::files;
use countermark_lineage::bundle::MAX_BUNDLE;
use countermark_lineage::verdict::Verdict;
use countermark_lineage::verify as judge;

use crate::{Error, Progress, keyset};

const MAX_MANIFEST: u64 = 64 << 20;

/// What to verify, and against what.
#[derive(Clone, Debug)]
pub struct Request {
    /// A file, or the folder of a model or dataset.
    pub path: PathBuf,
    /// The bundle; when left out, looked for beside the path.
    pub bundle: Option<PathBuf>,
    /// Whom to believe. Without it nobody is known.
    pub policy: Option<PathBuf>,
    /// Ask for an anchor that is included, whatever the policy says.
    pub require_anchor: bool,
}

impl Request {
    /// Verify `path` with the bundle beside it and no policy.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Request { path: path.into(), bundle: None, policy: None, require_anchor: false }
    }
}

/// Re-hashes the artifact and checks everything that its bundle holds.
///
/// # Errors
/// When the path, the policy or a bundle that was named cannot be read. Evidence that is wrong is a verdict, not an error.
pub fn verify(request: &Request, progress: &impl Progress) -> Result<Verdict, Error> {
    let policy = request.policy.as_deref().map(keyset::load_policy).transpose()?;
    let bundle = match &request.bundle {
        Some(path) => Some(files::read(path, MAX_BUNDLE)?),
        None => find_bundle(&request.path).map(|path| files::read(&path, MAX_BUNDLE)).transpose()?,
    };
    let artifact = files::open(&request.path)?;
    progress.begin("re-hash", artifact.total_size());
    let judged = judge::Request {
        artifact: &artifact,
        bundle: bundle.as_deref(),
        sidecars: &sidecars(&request.path, &artifact.name)?,
        policy: policy.as_ref(),
        require_anchor: request.require_anchor,
        now: keyset::now(),
    };
    Ok(judge::verify(&judged, &|bytes| progress.advance(bytes)))
}

/// `NAME.EXT.provenance.json` or `NAME.provenance.json` beside the path, or inside a folder.
pub fn find_bundle(path: &Path) -> Option<PathBuf> {
    let folder = files::parent(path);
    let name = path.file_name()?.to_str()?;
    let stem = path.file_stem()?.to_str()?;
    let candidates = [
        folder.join(format!("{name}.provenance.json")),
        folder.join(format!("{stem}.provenance.json")),
        path.join(format!("{name}.provenance.json")),
        path.join("model.provenance.json"),
    ];
    candidates.into_iter().find(|path| path.is_file())
}

/// Manifests beside the artifact, under the name that we write and the one that the C2PA specification looks for.
fn sidecars(path: &Path, name: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let folder = files::parent(path);
    let mut found = Vec::new();
    let candidates = [folder.join(format!("{name}.c2pa")), path.with_extension("c2pa")];
    for candidate in &candidates {
        let is_new = found.iter().all(|(other, _)| *other != candidate.display().to_string());
        if candidate.is_file() && is_new {
            found.push((candidate.display().to_string(), files::read(candidate, MAX_MANIFEST)?));
        }
    }
    Ok(found)
}
