//! `anchor status`, `anchor prove` and `anchor policy`, on a local log.

use std::path::PathBuf;

use clap::Args;
use countermark::anchor;
use countermark::io::anchor::State;
use countermark::io::log::Log;
use countermark::lineage::credential::policy::AnchorKind;

use super::submit::table;
use crate::args::Format;
use crate::print::{self, Result};

/// Size, root and verifier key of a log, and how far its anchors are
#[derive(Args)]
pub struct Status {
    #[arg(value_name = "DIR")]
    log: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Print what a policy has to say of chains so that the log's anchors on them count
#[derive(Args)]
#[command(after_help = "\
Example:
  countermark anchor policy log >> policy.toml
A block's hash is what an anchor rests on. Compare it with a node or an explorer of your own before you pin it.")]
pub struct Policy {
    #[arg(value_name = "DIR")]
    log: PathBuf,
}

/// Print the inclusion proof of an entry, as C2SP tlog-proof
#[derive(Args)]
pub struct Prove {
    #[arg(value_name = "DIR")]
    log: PathBuf,
    index: u64,
}

pub fn status(args: &Status) -> Result<u8> {
    let log = Log::open(&args.log)?;
    let jobs = anchor::status(&args.log)?;
    let head = log.head()?;
    if let Format::Json = args.format {
        print::json(&serde_json::json!({
            "vkey": log.verifier().to_string(), "size": head.size, "root": head.root, "anchors": jobs,
        }))?;
        return Ok(0);
    }
    print::line(format_args!("vkey  {}", log.verifier()))?;
    print::line(format_args!("size  {}", head.size))?;
    print::line(format_args!("root  {}", head.root))?;
    table(&jobs)?;
    Ok(0)
}

pub fn policy(args: &Policy) -> Result<u8> {
    let entries = anchor::chain_entries(&anchor::chains(&args.log)?);
    if entries.is_empty() {
        return Err("the log has no anchor on a chain\nhelp: countermark anchor submit LOG --evm URL …".into());
    }
    print::line(entries.trim_end())?;
    let is_block = |kind| matches!(kind, AnchorKind::Evm | AnchorKind::Eas | AnchorKind::Calldata);
    let is_open = |report: &anchor::Report| is_block(report.kind) && report.state == State::Included;
    let open = anchor::status(&args.log)?.iter().filter(|report| is_open(report)).count();
    if open > 0 {
        eprintln!(
            "warning: {open} of the blocks are not final yet, and whoever pins one says that it stays\n\
             help: `countermark anchor upgrade {}` says when they are",
            args.log.display()
        );
    }
    Ok(0)
}

pub fn prove(args: &Prove) -> Result<u8> {
    let log = Log::open(&args.log)?;
    for proof in log.prove(&[args.index])? {
        print::text(&proof.to_text())?;
    }
    Ok(0)
}
