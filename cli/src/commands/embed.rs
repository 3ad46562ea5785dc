//! `manifest embed`.

use std::path::PathBuf;

use clap::Args;
use countermark::embed::{self, Request};
use countermark::lineage::graph::Kind;

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Write a copy of a safetensors, ONNX or Parquet file with its manifest inside; `sign --embed` does so for a release
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark manifest embed model.safetensors --key keys/owner.key --out dist/model.safetensors
  countermark sign model.safetensors --key keys/owner.key --embed dist/model.safetensors

A reader of such a file sees one more entry in its metadata, c2pa:manifest, and the same tensors or rows.")]
pub struct Embed {
    /// The file; it stays as it is
    pub path: PathBuf,
    /// owner.key, with owner.crt beside it; `countermark keygen --out keys` makes both
    #[arg(long)]
    pub key: PathBuf,
    /// Certificates of the key, the leaf first [default: owner.crt beside it]
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Where the copy goes; nothing may be there
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// model, adapter, dataset, …; told from the name when left out
    #[arg(long)]
    pub kind: Option<Kind>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

pub fn run(args: Embed) -> Result<u8> {
    let Embed { path, key, certificate, out, kind, format } = args;
    let bar = Bar::new();
    let written = embed::embed(&Request { path, key, certificate, out, kind }, &bar)?;
    drop(bar);
    if format == Format::Json {
        print::json(&written)?;
        return Ok(0);
    }
    print::line(format_args!("root       {} before", written.root))?;
    print::line(format_args!("copy       {}", written.path.display()))?;
    let (start, end) = written.span;
    print::line(format_args!("manifest   sha256 {}, bytes {start} to {end}", written.manifest))?;
    Ok(0)
}
