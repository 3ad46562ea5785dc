//! `verify`.

use std::path::PathBuf;

use clap::Args;
use countermark::verify::{self, Part, Request};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Re-hash an artifact and check everything that speaks for it
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark verify model --policy policy.toml
  countermark verify model --policy policy.toml --tensor lm_head.weight
  countermark verify model --policy policy.toml --revocations newest.json
  countermark verify model --policy policy.toml --online

An OMS bundle, model.sig in a folder or NAME.sig beside a file, is checked with it.
Exit codes: 0 verified or unanchored, 1 invalid or revoked, 3 signer unknown, stale or something could not be \
checked, 4 no provenance found.")]
pub struct Verify {
    /// The file or folder that was signed
    pub path: PathBuf,
    /// The bundle [default: NAME.provenance.json beside the path]
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Whom to believe; without it nobody is known
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A revocation list; those named in the policy, and revocations.json beside it, are found without this
    #[arg(long, value_name = "FILE")]
    pub revocations: Vec<PathBuf>,
    /// A hand-over from a key of the policy to the one that signed, when the bundle does not carry it
    #[arg(long = "hand-over", value_name = "FILE")]
    pub hand_overs: Vec<PathBuf>,
    /// Ask the nodes that the policy names about blocks that it does not pin; without it nothing leaves this machine
    #[arg(long)]
    pub online: bool,
    /// Ask for an anchor that is included
    #[arg(long)]
    pub require_anchor: bool,
    /// Ask for the release of this name, whatever the path is called
    #[arg(long)]
    pub name: Option<String>,
    /// Check one file of a folder only; the verdict is then on this file alone
    #[arg(long, value_name = "FILE", conflicts_with = "tensor")]
    pub only: Option<String>,
    /// Check one tensor only, by reading nothing but headers and its bytes; the verdict is then on this tensor alone
    #[arg(long, value_name = "NAME")]
    pub tensor: Option<String>,
    /// Take digests of files that nothing wrote to since from the cache; the verdict says of how many
    #[arg(long)]
    pub cache: bool,
    /// Judge as of this time, for example 2027-01-31T12:00:00Z; the verdict says so
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<i64>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// RFC 3339 to Unix seconds.
pub fn time(text: &str) -> std::result::Result<i64, String> {
    countermark::lineage::graph::statement::unix(text).ok_or_else(|| "write it as 2027-01-31T12:00:00Z".to_owned())
}

pub fn run(args: Verify) -> Result<u8> {
    let bar = Bar::new();
    let Verify {
        path,
        bundle,
        policy,
        revocations,
        hand_overs,
        require_anchor,
        name,
        only,
        tensor,
        cache,
        at,
        online,
        format,
    } = args;
    let part = only.map(Part::File).or(tensor.map(Part::Tensor));
    let request =
        Request { path, bundle, policy, revocations, hand_overs, require_anchor, name, part, cache, at, online };
    let verdict = verify::verify(&request, &bar)?;
    drop(bar);
    match format {
        Format::Human => print::verdict(&verdict)?,
        Format::Json => print::json(&verdict)?,
    }
    Ok(verdict.state.exit_code())
}
