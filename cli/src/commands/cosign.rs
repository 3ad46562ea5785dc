//! `cosign`.

use std::path::PathBuf;

use clap::Args;
use countermark::cosign::{self, Request};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Add a signature to a bundle, for policies that ask for several signers
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark cosign model.provenance.json --key second/owner.key --artifact model --policy policy.toml
  countermark cosign model.provenance.json --key second/owner.key --out both.provenance.json

Everything in the bundle is checked first, and with --artifact the bytes that it speaks for.")]
pub struct Cosign {
    pub bundle: PathBuf,
    /// The key that signs beside those that did
    #[arg(long)]
    pub key: PathBuf,
    /// The file or folder that the bundle speaks for
    #[arg(long, value_name = "PATH")]
    pub artifact: Option<PathBuf>,
    /// Whom you believe
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Where the bundle goes [default: the same file, which then holds one signature more]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

pub fn run(args: Cosign) -> Result<u8> {
    let Cosign { bundle, key, artifact, policy, out, format } = args;
    let bar = Bar::new();
    let request = Request { bundle, key, artifact, policy, out };
    let made = cosign::cosign(&request, &bar)?;
    drop(bar);
    if format == Format::Json {
        print::json(&made)?;
        return Ok(0);
    }
    print::line(format_args!("statement  {}", made.statement))?;
    for key in &made.keys {
        print::line(format_args!("signed by  {key}"))?;
    }
    print::line(format_args!("bundle     {}", made.bundle.display()))?;
    if request.artifact.is_none() {
        eprintln!("help: add --artifact PATH to check the bytes that you vouch for");
    }
    let path = request.artifact.map_or("PATH".to_owned(), |path| path.display().to_string());
    eprintln!("next: countermark verify {path} --bundle {} --policy policy.toml", made.bundle.display());
    Ok(0)
}
