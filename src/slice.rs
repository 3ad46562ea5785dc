//! Proves that some bytes, or one tensor, belong to a file, and checks such a proof: a few kilobytes and the bytes
//! themselves instead of the whole file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermark_formats::ReadAt as _;
use countermark_io::Error as IoError;
use countermark_io::files::{self, OpenFile, Replacement};
use countermark_lineage::bundle::MAX_BUNDLE;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::slice::{self, Claim, Proved, Proven};
use countermark_lineage::verdict::Verdict;
use countermark_lineage::verify::slice as judge;
use serde::Serialize;

use crate::trust::Trust;
use crate::{Error, Progress, keyset};

const HELP: &str = "nothing was replaced; free some space and try again";

/// What to prove, and where the proof goes.
#[derive(Clone, Debug)]
pub struct ProveRequest {
    /// The file.
    pub path: PathBuf,
    /// Which bytes, or which tensor.
    pub claim: Claim,
    /// Where the proof goes.
    pub out: PathBuf,
    /// Inner nodes of the file's tree. Used when the file is there, else made, so that the next proof reads little.
    pub outboard: Option<PathBuf>,
}

/// Makes a proof and writes it.
///
/// # Errors
/// When the file cannot be read, holds no such range or tensor, or the proof cannot be written.
pub fn prove(request: &ProveRequest, progress: &impl Progress) -> Result<Proved, Error> {
    let source: Arc<OpenFile> = Arc::new(OpenFile::open(&request.path)?);
    let hash = |bytes| progress.advance(bytes);
    let outboard = match &request.outboard {
        Some(path) if !path.exists() => {
            progress.begin("hash", source.len());
            make_outboard(&source, path, &hash)?;
            Some(OpenFile::open(path)?)
        }
        Some(path) => Some(OpenFile::open(path)?),
        None => None,
    };
    progress.begin("hash", source.len());
    let mut proof = Replacement::new(&request.out)?;
    let shared: countermark_formats::Source = source;
    let outboard = outboard.as_ref().map(|outboard| outboard as &dyn countermark_formats::ReadAt);
    let mut out = BufWriter::new(proof.file());
    let proved = slice::prove(&shared, &request.claim, outboard, &mut out, &hash)?;
    out.flush().map_err(IoError::io(&request.out, HELP))?;
    drop(out);
    proof.commit(files::PUBLIC)?;
    Ok(proved)
}

/// Writes the outboard of a file: 64 bytes for each 16 KiB.
fn make_outboard(source: &OpenFile, path: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
    use std::io::{Seek as _, SeekFrom};
    let mut outboard = Replacement::new(path)?;
    let file = outboard.file();
    let mut write = |at: u64, piece: &[u8]| file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(piece));
    slice::outboard(source, &mut write, progress).map_err(IoError::io(path, HELP))?;
    outboard.commit(files::PUBLIC)?;
    Ok(())
}

/// What a proof must hold against.
#[derive(Clone, Debug)]
pub enum Against {
    /// The BLAKE3 of the whole file.
    Root(Hash),
    /// The file's digest in a signed statement.
    Bundle {
        /// The bundle.
        bundle: PathBuf,
        /// Which file of the artifact; may be left out when there is only one.
        file: Option<String>,
        /// Whom to believe. Without it nobody is known.
        policy: Option<PathBuf>,
    },
}

/// A proof to check.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The proof.
    pub proof: PathBuf,
    /// What it must hold against.
    pub against: Against,
    /// Where the proven bytes go, once all of the proof holds and, with a bundle, everything in that is good.
    pub out: Option<PathBuf>,
}

/// What a proof came to.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// What was proven; nothing when the proof does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven: Option<Proven>,
    /// Why it does not hold against the given root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What the bundle came to, the slice included, when one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// Checks a proof. The proven bytes are written only when it holds, and everything in the bundle is good.
///
/// # Errors
/// When the proof, the bundle or the policy cannot be read, or the bytes not be written. A proof that does not hold is an
/// answer, not an error.
pub fn check(request: &CheckRequest) -> Result<Checked, Error> {
    let path = &request.proof;
    let file = File::open(path).map_err(IoError::io(path, "name the file that prove-slice wrote"))?;
    let mut proof = BufReader::new(file);
    let mut out = request.out.as_deref().map(Replacement::new).transpose()?;
    let mut sink = |bytes: &[u8]| -> io::Result<()> { out.as_mut().map_or(Ok(()), |out| out.file().write_all(bytes)) };
    let checked = match &request.against {
        Against::Root(root) => match slice::check(&mut proof, *root, &mut sink) {
            Ok(proven) => Checked { proven: Some(proven), problem: None, verdict: None },
            Err(error @ countermark_lineage::Error::Io { .. }) => return Err(error.into()),
            Err(error) => Checked { proven: None, problem: Some(error.problem()), verdict: None },
        },
        Against::Bundle { bundle, file, policy } => {
            let bundle = files::read(bundle, MAX_BUNDLE)?;
            let trust = Trust::load(policy.as_deref(), &[], &[])?;
            let belief = trust.belief(keyset::now());
            let request = judge::Request { bundle: &bundle, file: file.as_deref(), belief };
            let (verdict, proven) = judge::verify(&request, &mut proof, &mut sink)?;
            Checked { proven, problem: None, verdict: Some(verdict) }
        }
    };
    // Bytes that were proven against what an unknown or false signer says are no answer to anybody.
    let good = checked.verdict.as_ref().is_none_or(|verdict| verdict.state.exit_code() == 0);
    if let Some(out) = out.filter(|_| checked.proven.is_some() && good) {
        out.commit(files::PUBLIC)?;
    }
    Ok(checked)
}
