//! One file per verb: arguments to a request of the library, its answer to stdout and an exit code.

pub mod anchor;
pub mod badge;
pub mod card;
pub mod cosign;
pub mod declared;
pub mod demo;
pub mod derivation;
pub mod diff;
pub mod digest;
pub mod embed;
pub mod export;
pub mod hand_over;
pub mod key;
pub mod keygen;
pub mod lineage;
pub mod manifest;
pub mod oms;
pub mod policy;
pub mod records;
pub mod revoke;
pub mod sign;
pub mod slice;
pub mod store;
pub mod verify;
pub mod watermark;

use clap::CommandFactory as _;

use crate::args::{Arguments, Command};
use crate::print::Result;

/// Runs a verb and answers its exit code.
pub fn run(command: Command) -> Result<u8> {
    match command {
        Command::Keygen(args) => keygen::run(args),
        Command::Key(args) => key::run(args),
        Command::Digest(args) => digest::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Watermark(args) => watermark::run(args),
        Command::Derivation(args) => derivation::run(args),
        Command::Sign(args) => sign::run(args),
        Command::Lineage(args) => lineage::run(args),
        Command::Anchor(args) => anchor::run(args),
        Command::Manifest(args) => manifest::run(args),
        Command::Oms(args) => oms::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Cosign(args) => cosign::run(args),
        Command::HandOver(args) => hand_over::run(args),
        Command::Revoke(args) => revoke::run(*args),
        Command::Policy(args) => policy::run(args),
        Command::Badge(args) => badge::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut Arguments::command(), "countermark", &mut std::io::stdout());
            Ok(0)
        }
    }
}
