//! `anchor status` and `anchor prove`, on a local log.

use std::path::PathBuf;

use clap::Args;
use countermark::anchor;
use countermark::io::log::Log;

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

pub fn prove(args: &Prove) -> Result<u8> {
    let log = Log::open(&args.log)?;
    for proof in log.prove(&[args.index])? {
        print::text(&proof.to_text())?;
    }
    Ok(0)
}
