//! `anchor`: the log, and what holds its checkpoints. One file per verb.

mod chain;
mod deploy;
mod export;
mod look;
mod monitor;
mod receipt;
mod serve;
mod submit;
mod witness;

use clap::Subcommand;

use crate::print::Result;

/// The log of releases, and what anchors it to the outside world
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  countermark anchor submit log --rfc3161 https://authority.example/tsa
  countermark anchor submit log --evm https://node.example --chain-key chain.key --contract 0x…
  countermark anchor upgrade log model.provenance.json keys/marks
  countermark anchor status log")]
pub enum Anchor {
    Submit(submit::Submit),
    Upgrade(submit::Upgrade),
    Deploy(deploy::Deploy),
    Policy(look::Policy),
    Status(look::Status),
    Prove(look::Prove),
    Witness(witness::Witness),
    Export(export::Export),
    Receipt(receipt::Receipt),
    Verify(receipt::Verify),
    Serve(serve::Serve),
    Monitor(monitor::Monitor),
}

pub fn run(args: Anchor) -> Result<u8> {
    match args {
        Anchor::Submit(args) => submit::submit(&args),
        Anchor::Upgrade(args) => submit::upgrade(&args),
        Anchor::Deploy(args) => deploy::run(&args),
        Anchor::Policy(args) => look::policy(&args),
        Anchor::Status(args) => look::status(&args),
        Anchor::Prove(args) => look::prove(&args),
        Anchor::Witness(args) => witness::run(args),
        Anchor::Export(args) => export::run(&args),
        Anchor::Receipt(args) => receipt::receipt(&args),
        Anchor::Verify(args) => receipt::verify(args),
        Anchor::Serve(args) => serve::run(&args),
        Anchor::Monitor(args) => monitor::run(&args),
    }
}
