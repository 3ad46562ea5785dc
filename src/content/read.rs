//! What a manifest says, with how far it holds: for sidecars, and for what media carry.

use std::path::Path;

use countermark_formats::manifest::{self, Found};
use countermark_io::files;
use countermark_lineage::credential::alone::{Asset, Judged, without_zeros};
use countermark_lineage::credential::c2pa::{self, Summary};
use countermark_lineage::credential::embedded;
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::digest::Hash;
use countermark_lineage::verdict::{Check, State};
use countermark_lineage::verify::Belief;
use countermark_lineage::verify::manifest::inspect;
use serde::Serialize;

use super::{carried, refuse};
use crate::{Error, keyset};

/// A manifest by itself.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// The worst state of all rows and links.
    pub state: State,
    /// True when the file carries the manifest and its bytes were checked; a sidecar alone binds nothing at hand.
    pub bound: bool,
    /// The rows of the manifest.
    pub checks: Vec<Check>,
    /// Every input, and theirs.
    pub chain: Vec<Chained>,
    /// What it says, when it can be read.
    pub manifest: Option<Summary>,
}

/// A link of the chain.
#[derive(Clone, Debug, Serialize)]
pub struct Chained {
    /// What it is called.
    pub title: String,
    /// Which artifact names it; nothing for the manifest's own inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// 1 for the manifest's own inputs.
    pub depth: usize,
    /// `parentOf`, `componentOf` or `inputTo`.
    pub relationship: String,
    /// Label of its own manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Who signed that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Id of its statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Hash>,
    /// Its root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// What came of it.
    pub state: State,
    /// Why.
    pub detail: String,
}

/// Reads a sidecar, or what a medium carries, and checks it by itself. `now` is the time to judge by, in Unix seconds.
///
/// # Errors
/// When the file cannot be read, or is no manifest and carries none.
pub fn read(path: &Path, policy: Option<&Path>, now: i64) -> Result<Reading, Error> {
    let policy = policy.map(keyset::load_policy).transpose()?.unwrap_or_else(Policy::default);
    let artifact = files::open(path)?;
    let help = "name a .c2pa file, or a file that carries a manifest";
    if artifact.is_folder {
        return Err(refuse(path, "is a folder", help));
    }
    let found = carried(&artifact).map_err(|problem| refuse(path, &problem, help))?;
    let (name, source) = &artifact.files[0];
    let belief = Belief { policy: Some(&policy), revocations: &[], hand_overs: &[], blocks: None, now };
    let ((judged, others), store, bound) = match found {
        Some(carried) => (inspect(&carried.store, Some(&carried.asset(&**source)), &belief), carried.store, true),
        None => match manifest::find(name, &**source, None) {
            Ok(Some(Found::Embedded(found))) => {
                let sha256 = embedded::sha256(source, &found, &|_| ())
                    .map_err(countermark_io::Error::io(path, "check that the file is still there"))?;
                let asset = Asset::Around(found.span.clone(), sha256.0);
                (inspect(&found.store, Some(&asset), &belief), found.store, true)
            }
            Err(problem) if problem.met => return Err(refuse(path, &problem.to_string(), help)),
            Ok(_) | Err(_) => {
                let store = files::read(path, 64 << 20)?;
                (inspect(&store, None, &belief), store, false)
            }
        },
    };
    let said = if bound { without_zeros(&store).0 } else { &store };
    let Judged { rows: mut checks, links, .. } = judged;
    checks.extend(others);
    let chain: Vec<Chained> = links
        .into_iter()
        .map(|link| Chained {
            title: link.title,
            of: link.of,
            depth: link.depth,
            relationship: link.relationship,
            manifest: link.manifest,
            signer: link.signer,
            statement: link.statement,
            root: link.root,
            state: link.state,
            detail: link.detail,
        })
        .collect();
    let states = checks.iter().map(|row| row.state).chain(chain.iter().map(|link| link.state));
    let state = states.max().unwrap_or(State::Unknown);
    Ok(Reading { state, bound, checks, chain, manifest: c2pa::read(said).ok() })
}
