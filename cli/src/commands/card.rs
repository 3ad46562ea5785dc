//! `lineage card check` and `lineage card write`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countermark::card::{self, Request};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, BOLD, DIM, RESET, Result};

/// Compare a model card with the signed parents, or write them into it
#[derive(Subcommand)]
pub enum Card {
    /// Say whether the card's parents are the signed ones
    #[command(after_help = "\
Example: countermark lineage card check model --answers answers.toml --policy policy.toml
Exit codes: 0 the card agrees, 1 it contradicts what was signed, 3 cannot be told.
Names are compared through [hub] in the answers file, or a parent's signed parameter `hub`.")]
    Check(CardCheck),
    /// Write base_model, base_model_relation, datasets and tags into README.md, and leave the rest as it is
    #[command(after_help = "\
Example: countermark lineage card write model --answers answers.toml
In answers.toml:
  schema = \"countermark.dev/answers/v1\"
  [hub]
  base = \"organisation/base\"     # where the parent named `base` is published
  data = false                   # published nowhere")]
    Write(CardOf),
}

#[derive(Args)]
pub struct CardOf {
    /// The folder of the model
    pub model: PathBuf,
    /// The bundle [default: NAME.provenance.json beside the folder]
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Whom to believe; without it the card is compared with what was signed, whoever signed it
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Where the parents are published: see `lineage export BUNDLE --answers-template`
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
}

#[derive(Args)]
pub struct CardCheck {
    #[command(flatten)]
    pub of: CardOf,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

impl From<CardOf> for Request {
    fn from(of: CardOf) -> Self {
        Request { model: of.model, bundle: of.bundle, policy: of.policy, answers: of.answers }
    }
}

pub fn run(args: Card) -> Result<u8> {
    match args {
        Card::Check(CardCheck { of, format }) => {
            let bar = Bar::new();
            let comparison = card::check(&of.into(), &bar)?;
            drop(bar);
            if format == Format::Json {
                print::json(&comparison)?;
                return Ok(comparison.state.exit_code());
            }
            for row in &comparison.checks {
                let (mark, colour) = print::sign(row.state);
                print::line(format_args!("{colour}{mark}{RESET} {}  {}", row.name, row.detail))?;
            }
            let (word, help) = match comparison.state.exit_code() {
                0 => ("agrees", None),
                1 => ("contradicts", Some("`countermark lineage card write` writes the signed parents into the card")),
                _ => ("cannot be told", Some("name the repositories of the parents in [hub] of an answers file")),
            };
            print::line(format_args!("{BOLD}{word}{RESET} {}", comparison.name))?;
            if let Some(help) = help {
                print::line(format_args!("{DIM}help: {help}{RESET}"))?;
            }
            Ok(comparison.state.exit_code())
        }
        Card::Write(of) => {
            let request = Request::from(of);
            let bar = Bar::new();
            let changed = card::write(&request, &bar)?;
            drop(bar);
            let card = request.model.join("README.md");
            let word = if changed { "wrote" } else { "unchanged" };
            print::line(format_args!("{word} {}", card.display()))?;
            Ok(0)
        }
    }
}
