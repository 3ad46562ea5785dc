//! `anchor receipt` and `anchor verify`.

use std::path::PathBuf;

use clap::Args;
use countermark::anchor::{self, VerifyRequest};
use countermark::io::files;

use crate::args::Format;
use crate::commands::verify::time;
use crate::print::{self, Result};

/// Write the receipt of one entry: a file that proves its place and time without the log
#[derive(Args)]
#[command(after_help = "\
Example:
  countermark anchor receipt log 17 --out entry-17.receipt.json
The entry is proved under a checkpoint that somebody holds, where there is one; `anchor submit` and `anchor upgrade` see \
to that.")]
pub struct Receipt {
    #[arg(value_name = "DIR")]
    log: PathBuf,
    index: u64,
    /// Where it goes; a file that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Check a receipt, or an anchor of a log's folder, without the log and without what it is about
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor verify entry-17.receipt.json --policy policy.toml
  countermark anchor verify log/anchors/18/opentimestamps.json --policy policy.toml --require-anchor
Exit codes: 0 verified or unanchored, 1 invalid or revoked, 3 signer or log unknown, or something could not be checked.")]
pub struct Verify {
    /// The receipt or anchor
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Whom to believe; without it nobody is known
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A revocation list; those named in the policy, and revocations.json beside it, are found without this
    #[arg(long, value_name = "FILE")]
    revocations: Vec<PathBuf>,
    /// A hand-over from a key of the policy to the one that signed the entry
    #[arg(long = "hand-over", value_name = "FILE")]
    hand_overs: Vec<PathBuf>,
    /// Ask for an anchor that is included
    #[arg(long)]
    require_anchor: bool,
    /// Ask the nodes that the policy names about blocks; without this nobody is asked
    #[arg(long)]
    online: bool,
    /// Judge as of this time, for example 2027-01-31T12:00:00Z; the verdict says so
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<i64>,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

pub fn receipt(args: &Receipt) -> Result<u8> {
    let receipt = anchor::receipt(&args.log, args.index)?;
    files::write(&args.out, receipt.to_json().as_bytes(), files::PUBLIC)?;
    let anchors = receipt.anchors.len();
    let s = if anchors == 1 { "" } else { "s" };
    print::line(format_args!("{}: entry {} with {anchors} anchor{s}", args.out.display(), args.index))?;
    if anchors == 0 {
        eprintln!("next: countermark anchor submit DIR, and write it again once that is included");
    }
    Ok(0)
}

pub fn verify(args: Verify) -> Result<u8> {
    let Verify { path, policy, revocations, hand_overs, require_anchor, online, at, format } = args;
    let request = VerifyRequest { path, policy, revocations, hand_overs, require_anchor, online, at };
    let verdict = anchor::verify(&request)?;
    match format {
        Format::Human => print::verdict(&verdict)?,
        Format::Json => print::json(&verdict)?,
    }
    Ok(verdict.state.exit_code())
}
