//! `verify`.

use std::path::PathBuf;

use clap::Args;
use countermark::verify::{self, Request};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Re-hash an artifact and check everything that speaks for it
#[derive(Args)]
#[command(after_help = "\
Example: countermark verify model --policy policy.toml
Exit codes: 0 verified or unanchored, 1 invalid or revoked, 3 signer unknown, stale or something could not be
checked, 4 no provenance found.")]
pub struct Verify {
    pub path: PathBuf,
    /// The bundle [default: NAME.provenance.json beside the path]
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Whom to believe; without it nobody is known
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Ask for an anchor on a chain that is included
    #[arg(long)]
    pub require_anchor: bool,
    /// Ask for the release of this name, whatever the path is called
    #[arg(long)]
    pub name: Option<String>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

pub fn run(args: Verify) -> Result<u8> {
    let bar = Bar::new();
    let Verify { path, bundle, policy, require_anchor, name, format } = args;
    let request = Request { path, bundle, policy, require_anchor, name };
    let verdict = verify::verify(&request, &bar)?;
    drop(bar);
    match format {
        Format::Human => print::verdict(&verdict)?,
        Format::Json => print::json(&verdict)?,
    }
    Ok(verdict.state.exit_code())
}
