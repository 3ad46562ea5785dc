//! `lineage export`.

use std::path::PathBuf;

use clap::Args;
use countermark::export::{self, Format, Request};
use countermark::io::files;

use crate::bar::Bar;
use crate::print::{self, Result};

/// Write the signed lineage in a format that other tools read
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark lineage export model.provenance.json --format spdx > model.spdx.json
  countermark lineage export model.provenance.json --answers-template > answers.toml
  countermark lineage export model.provenance.json --format eu-summary --answers answers.toml --out summary.md
  countermark lineage export data.provenance.json --format croissant --answers answers.toml --path data
  countermark lineage export model.provenance.json --format slsa --key keys/owner.key

Formats: croissant (1.1, datasets), spdx (3.0.1), cyclonedx (1.6), openlineage (one event per line),
slsa (provenance v1, in-toto), eu-summary and eu-summary-json (Article 53(1)(d) of the EU AI Act).
Every statement's signature is checked first; what nobody stated is marked \"not stated\".")]
pub struct Export {
    /// NAME.provenance.json, as `sign` writes it
    pub bundle: PathBuf,
    /// croissant, spdx, cyclonedx, openlineage, slsa, eu-summary, eu-summary-json
    #[arg(long, required_unless_present = "answers_template")]
    pub format: Option<Format>,
    /// What no statement can know: licence, provider, addresses (TOML)
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Print an answers file for this bundle, with every key and what it is for
    #[arg(long, conflicts_with_all = ["format", "answers", "path", "key"])]
    pub answers_template: bool,
    /// The artifact itself: adds SHA-256 of its files and the columns of its tables
    #[arg(long, value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// Export only what signers of this policy signed
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Sign the SLSA provenance with owner.key, in a DSSE envelope
    #[arg(long, value_name = "KEY")]
    pub key: Option<PathBuf>,
    /// Where the document goes [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub fn run(args: Export) -> Result<u8> {
    let Export { bundle, format, answers, answers_template, path, policy, key, out } = args;
    let request = Request { bundle, format: format.unwrap_or(Format::Spdx), answers, policy, path, key };
    let text = if answers_template {
        export::answers_template(&request)?
    } else {
        let bar = Bar::new();
        export::export(&request, &bar)?
    };
    match out {
        Some(out) => files::write(&out, text.as_bytes(), files::PUBLIC)?,
        None => print::text(&text)?,
    }
    Ok(0)
}
