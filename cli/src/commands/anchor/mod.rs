//! `anchor`: the log, and what holds its checkpoints. One file per verb.

mod look;
mod monitor;
mod serve;
mod submit;

use clap::Subcommand;

use crate::print::Result;

/// The log of releases, and what anchors it to the outside world
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  countermark anchor submit log --rfc3161 https://authority.example/tsa
  countermark anchor upgrade log model.provenance.json keys/marks
  countermark anchor status log")]
pub enum Anchor {
    Submit(submit::Submit),
    Upgrade(submit::Upgrade),
    Status(look::Status),
    Prove(look::Prove),
    Serve(serve::Serve),
    Monitor(monitor::Monitor),
}

pub fn run(args: Anchor) -> Result<u8> {
    match args {
        Anchor::Submit(args) => submit::submit(&args),
        Anchor::Upgrade(args) => submit::upgrade(&args),
        Anchor::Status(args) => look::status(&args),
        Anchor::Prove(args) => look::prove(&args),
        Anchor::Serve(args) => serve::run(&args),
        Anchor::Monitor(args) => monitor::run(&args),
    }
}
