//! Fetches what a verdict needs, and has `countermark-lineage` come to it.

use std::fs;
use std::path::{Path, PathBuf};

use countermark_io::anchor::evm::Nodes;
use countermark_io::files;
use countermark_lineage::anchor::evm::Blocks;
use countermark_lineage::bundle::MAX_BUNDLE;
use countermark_lineage::verdict::Verdict;
use countermark_lineage::verify as judge;

use crate::cache::Remembered;
use crate::progress::begin_hashing;
use crate::trust::Trust;
use crate::{Error, Progress, content, keyset, records};

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
    /// Revocation lists, beside those that lie by the policy or are named in it.
    pub revocations: Vec<PathBuf>,
    /// Hand-overs from keys of the policy to others, beside those in the bundle.
    pub hand_overs: Vec<PathBuf>,
    /// Ask for an anchor that is included, whatever the policy says.
    pub require_anchor: bool,
    /// The name that the signer must have given it, whatever it is called here.
    pub name: Option<String>,
    /// Look at one file or tensor only. The verdict is then on this part alone.
    pub part: Option<Part>,
    /// Take digests of untouched files from the user's cache. The row on files then says of how many.
    pub cache: bool,
    /// Judge as of this time, in Unix seconds, and not as of now.
    pub at: Option<i64>,
    /// Ask the nodes that the policy names for its chains about blocks that it does not pin.
    pub online: bool,
}

/// A part of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A file of a folder, by its path in it.
    File(String),
    /// A tensor of a model.
    Tensor(String),
}

impl Request {
    /// Verify `path` with the bundle beside it and no policy.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Request {
            path,
            bundle: None,
            policy: None,
            revocations: vec![],
            hand_overs: vec![],
            require_anchor: false,
            name: None,
            part: None,
            cache: false,
            at: None,
            online: false,
        }
    }
}

/// Re-hashes the artifact and checks everything that its bundle holds.
///
/// # Errors
/// When the path, the policy or a bundle that was named cannot be read. Evidence that is wrong is a verdict, not an error.
pub fn verify(request: &Request, progress: &impl Progress) -> Result<Verdict, Error> {
    let trust = Trust::load(request.policy.as_deref(), &request.revocations, &request.hand_overs)?;
    let path = files::local(&request.path)?;
    let bundle = match &request.bundle {
        Some(path) => Some(files::read(path, MAX_BUNDLE)?),
        None => find_bundle(&path).map(|path| files::read(&path, MAX_BUNDLE)).transpose()?,
    };
    let nodes = match trust.policy.as_ref().filter(|_| request.online) {
        Some(policy) => Some(Nodes::of(policy)?),
        None => None,
    };
    let artifact = files::open(&path)?;
    begin_hashing(progress, "re-hash", &artifact);
    let judged = judge::Request {
        artifact: &artifact,
        bundle: bundle.as_deref(),
        sidecars: &sidecars(&path)?,
        policy: trust.policy.as_ref(),
        revocations: &trust.revocations,
        hand_overs: &trust.hand_overs,
        blocks: nodes.as_ref().map(|nodes| nodes as &dyn Blocks),
        require_anchor: request.require_anchor,
        name: request.name.as_deref(),
        records: Some(&|artifact, signed| records::recompute(artifact, signed, progress)),
        media: Some(&|artifact| content::carried(artifact)),
        now: request.at.unwrap_or_else(keyset::now),
        at: request.at.is_some(),
    };
    let cache = Remembered::open(request.cache, None);
    let part = request.part.as_ref().map(|part| match part {
        Part::File(path) => judge::Part::File(path),
        Part::Tensor(name) => judge::Part::Tensor(name),
    });
    let look = judge::Look { part, cache: cache.as_cache() };
    let verdict = judge::verify_with(&judged, &look, &|bytes| progress.advance(bytes));
    cache.close();
    Ok(verdict)
}

/// `NAME.EXT.provenance.json` or, for a file, `NAME.provenance.json` beside the path; for a folder also inside it.
pub fn find_bundle(path: &Path) -> Option<PathBuf> {
    if files::is_url(path) {
        let beside = PathBuf::from(format!("{}.provenance.json", path.to_str()?.trim_end_matches('/')));
        return files::exists(&beside).then_some(beside);
    }
    let path = fs::canonicalize(path).ok()?;
    let name = path.file_name()?.to_str()?;
    let mut candidates = vec![path.with_file_name(format!("{name}.provenance.json"))];
    if path.is_dir() {
        candidates.extend([path.join(format!("{name}.provenance.json")), path.join("model.provenance.json")]);
    } else {
        candidates.push(path.with_extension("provenance.json"));
    }
    candidates.into_iter().find(|path| path.is_file())
}

/// Manifests beside the artifact, under the name that we write and the one that the C2PA specification looks for, and the OMS
/// bundle of a file.
fn sidecars(path: &Path) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let Ok(path) = fs::canonicalize(path) else { return Ok(vec![]) };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut candidates = vec![path.with_file_name(format!("{name}.c2pa"))];
    if !path.is_dir() {
        candidates.push(path.with_extension("c2pa"));
    }
    candidates.dedup();
    candidates.retain(|candidate| candidate.is_file() && *candidate != path);
    let read = |candidate: PathBuf| {
        let name = candidate.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, files::read(&candidate, MAX_MANIFEST)?))
    };
    let mut found = candidates.into_iter().map(read).collect::<Result<Vec<_>, Error>>()?;
    let signature = path.with_file_name(format!("{name}.sig"));
    if !path.is_dir() && signature.is_file() {
        let (name, bytes) = read(signature)?;
        // Signatures of other kinds have the same name; an OMS bundle is JSON.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
            found.push((name, bytes));
        }
    }
    Ok(found)
}
