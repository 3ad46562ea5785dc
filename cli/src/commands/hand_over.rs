//! `hand-over`.

use std::path::PathBuf;

use clap::Args;
use countermark::hand_over::{self, Request};

use crate::args::Format;
use crate::print::{self, Result};

/// Give the rights of one key to another: both sign, and the new key's releases carry it
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark keygen --out new --name 'Example Lab'
  countermark hand-over --key keys/owner.key --to new/owner.key --log log

The old key stays good until it is revoked: countermark revoke --superseded-key OLD --successor NEW")]
pub struct HandOver {
    /// The key that gives
    #[arg(long)]
    pub key: PathBuf,
    /// The private key that takes
    #[arg(long, value_name = "KEY")]
    pub to: PathBuf,
    /// Where the hand-over goes [default: hand-over.json beside the new key, where `sign` finds it]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Log it there, so that it stays good should the old key be stolen later
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

pub fn run(args: HandOver) -> Result<u8> {
    let HandOver { key, to, out, log, format } = args;
    let request = Request { key, to, out, log };
    let made = hand_over::hand_over(&request)?;
    if format == Format::Json {
        print::json(&made)?;
        return Ok(0);
    }
    print::line(format_args!("from       {}", made.from))?;
    print::line(format_args!("to         {}", made.to))?;
    print::line(format_args!("hand-over  {}", made.hand_over.display()))?;
    for path in &made.earlier {
        print::line(format_args!("and        {}", path.display()))?;
    }
    match &made.log {
        Some(log) => print::line(format_args!("log        entry {} of {}", log.index, log.vkey))?,
        None => eprintln!("help: without --log DIR it no longer counts once the old key is revoked as stolen"),
    }
    eprintln!("next: countermark sign PATH --key {}, which puts it into the bundle", request.to.display());
    Ok(0)
}
