//! `anchor export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countermark::io::files;
use countermark::io::log::Log;

use crate::print::Result;

/// Write what the log says of an entry in the formats of others
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor export log 3 --format scitt --out statement.cose
  countermark anchor export log 3 --format tlog-proof --out model.tlog-proof
  countermark anchor export log 3 --format cose-consistency --out from-3.cose
cose-receipt and scitt hold no word of witnesses and no anchor: the C2SP proof says more, and verdicts rest on that.")]
pub struct Export {
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Position of the entry, from 0; for cose-consistency the older size
    index: u64,
    #[arg(long, value_enum)]
    format: Kind,
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// COSE receipt of inclusion (RFC 9942), signed by the log
    CoseReceipt,
    /// COSE receipt that the log of INDEX entries is the beginning of today's (RFC 9942)
    CoseConsistency,
    /// The entry as a SCITT transparent statement (RFC 9943): as it was logged, with its receipt
    Scitt,
    /// The entry as it was logged: a SCITT signed statement
    Entry,
    /// C2SP tlog-proof, with the cosignatures of the newest checkpoint
    TlogProof,
}

pub fn run(args: &Export) -> Result<u8> {
    let log = Log::open(&args.log)?;
    let bytes = match args.format {
        Kind::CoseReceipt => log.cose_receipt(args.index)?,
        Kind::CoseConsistency => log.cose_consistency(args.index)?,
        Kind::Scitt => log.transparent(args.index)?,
        Kind::Entry => log.entry(args.index)?,
        Kind::TlogProof => log.prove(&[args.index])?.iter().map(|proof| proof.to_text()).collect::<String>().into(),
    };
    files::write(&args.out, &bytes, files::PUBLIC)?;
    Ok(0)
}
