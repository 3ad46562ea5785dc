//! The verbs. What each takes stands beside what it does, in `commands/`.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::anchor::Anchor;
use crate::commands::badge::Badge;
use crate::commands::cosign::Cosign;
use crate::commands::demo::Demo;
use crate::commands::derivation::Derivation;
use crate::commands::diff::Diff;
use crate::commands::digest::Digest;
use crate::commands::hand_over::HandOver;
use crate::commands::key::Key;
use crate::commands::keygen::Keygen;
use crate::commands::lineage::Lineage;
use crate::commands::manifest::Manifest;
use crate::commands::oms::Oms;
use crate::commands::policy::Policy;
use crate::commands::revoke::Revoke;
use crate::commands::sign::Sign;
use crate::commands::verify::Verify;
use crate::commands::watermark::Watermark;

/// Strike a mark into model weights, sign where they came from, and let anybody check it.
#[derive(Parser)]
#[command(
    name = "countermark",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes: 0 good, 1 something checked is wrong (or no mark found), 2 could not be done as asked,
3 signer unknown or something could not be checked, 4 no provenance found.

Start with `countermark demo`."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Keygen(Keygen),
    #[command(subcommand)]
    Key(Key),
    Digest(Digest),
    Diff(Diff),
    #[command(subcommand)]
    Watermark(Watermark),
    Derivation(Derivation),
    Sign(Sign),
    #[command(subcommand)]
    Lineage(Lineage),
    #[command(subcommand)]
    Anchor(Anchor),
    #[command(subcommand)]
    Manifest(Manifest),
    #[command(subcommand)]
    Oms(Oms),
    Verify(Verify),
    Cosign(Cosign),
    HandOver(HandOver),
    Revoke(Box<Revoke>),
    #[command(subcommand)]
    Policy(Policy),
    #[command(subcommand)]
    Badge(Badge),
    Demo(Demo),
    Completions(Completions),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

/// Print completions for a shell
#[derive(Args)]
pub struct Completions {
    pub shell: clap_complete::Shell,
}
