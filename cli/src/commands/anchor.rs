//! `anchor status` and `anchor prove`, on a local log.

use std::path::PathBuf;

use clap::Subcommand;
use countermark::io::log::Log;

use crate::print::{self, Result};

/// Look at a local log
#[derive(Subcommand)]
pub enum Anchor {
    /// Size, root and verifier key of a log
    Status {
        #[arg(value_name = "DIR")]
        log: PathBuf,
    },
    /// Print the inclusion proof of an entry, as C2SP tlog-proof
    Prove {
        #[arg(value_name = "DIR")]
        log: PathBuf,
        index: u64,
    },
}

pub fn run(args: Anchor) -> Result<u8> {
    match args {
        Anchor::Status { log } => {
            let log = Log::open(&log)?;
            let head = log.head()?;
            print::line(format_args!("vkey  {}", log.verifier()))?;
            print::line(format_args!("size  {}", head.size))?;
            print::line(format_args!("root  {}", head.root))?;
        }
        Anchor::Prove { log, index } => {
            let log = Log::open(&log)?;
            for proof in log.prove(&[index])? {
                print::text(&proof.to_text())?;
            }
        }
    }
    Ok(0)
}
