//! `manifest read`.

use std::path::PathBuf;

use clap::Subcommand;
use countermark::io::files;
use countermark::keyset;
use countermark::lineage::credential::c2pa;
use countermark::lineage::credential::policy::CertificateRoot;
use countermark::lineage::verdict::State;
use serde_json::json;

use crate::print::{self, Result};

const MAX_MANIFEST: u64 = 64 << 20;

/// Look at a C2PA manifest
#[derive(Subcommand)]
pub enum Manifest {
    /// Check a manifest store by itself and print what it says, as JSON; `verify` binds it to an artifact
    Read {
        file: PathBuf,
        /// Whose certificate roots to believe
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

pub fn run(args: Manifest) -> Result<u8> {
    let Manifest::Read { file, policy } = args;
    let store = files::read(&file, MAX_MANIFEST)?;
    let policy = policy.as_deref().map(keyset::load_policy).transpose()?.unwrap_or_default();
    let der =
        |roots: &[CertificateRoot]| roots.iter().map(CertificateRoot::to_der).collect::<std::result::Result<Vec<_>, _>>();
    let (roots, timestamp_roots) = (der(&policy.certificate_roots)?, der(&policy.timestamp_roots)?);
    let trust = c2pa::Trust { roots: &roots, timestamp_roots: &timestamp_roots };
    let checks = c2pa::inspect(&store, trust, keyset::now());
    let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Unknown);
    print::json(&json!({ "state": state, "checks": checks, "manifest": c2pa::read(&store).ok() }))?;
    Ok(state.exit_code())
}
