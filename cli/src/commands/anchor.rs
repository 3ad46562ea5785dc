//! `anchor status` and `anchor prove`, on a local log.

use countermark::io::log::Log;

use crate::args::Anchor;
use crate::print::{self, Result};

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
