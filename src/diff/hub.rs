//! A file against a hub's copy that is not downloaded: the hub tells the copy's hash in the answer to a HEAD request.

use std::path::Path;

use countermark_io::files;
use countermark_io::hub::{self, Identity};
use countermark_lineage::digest::xet;
use serde::Serialize;

use crate::{Error, Progress};

/// What the comparison with a hub's copy came to.
#[derive(Clone, Debug, Serialize)]
pub struct HubDiff {
    /// Always [`SCHEMA`](super::SCHEMA).
    pub schema: &'static str,
    /// Which hash was compared: `xet` or `sha256`.
    pub hash: &'static str,
    /// True when both are the same.
    pub identical: bool,
    /// The hash of the file here.
    pub here: String,
    /// What the hub says of its copy. Nobody signed that.
    pub there: String,
}

/// Compares a file with the one at a hub's `resolve` address.
///
/// # Errors
/// When the file cannot be read, or the hub cannot be asked or names no hash.
pub fn against_hub(path: &Path, url: &str, progress: &impl Progress) -> Result<HubDiff, Error> {
    let artifact = files::open(path)?;
    let [(name, source)] = &*artifact.files else {
        return Err(countermark_io::Error::refused(path, "holds several files", "name one file").into());
    };
    let identity = hub::identity(url)?;
    progress.begin("hash", source.len());
    let advance = |bytes| progress.advance(bytes);
    let (hash, here, there) = match identity {
        Identity::Xet(there) => {
            let here = xet::hash(&**source, &advance).map_err(countermark_lineage::Error::io(name))?;
            ("xet", here.to_string(), there.to_string())
        }
        Identity::Sha256(there) => {
            ("sha256", artifact.measure(&advance)?.manifest_asset.to_string(), there.to_string())
        }
    };
    Ok(HubDiff { schema: super::SCHEMA, hash, identical: here == there, here, there })
}
