//! `digest` and `diff`.

use std::path::PathBuf;

use clap::Args;
use countermark::digest::{self, Options};
use countermark::lineage::digest::listing::Listing;

use super::records::RecordTree;
use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Hash a file or a folder: the root first, then what was asked for
#[derive(Args)]
#[command(
    after_help = "Example: countermark digest model --tensors\nThe root of a single file is its plain BLAKE3, so b3sum agrees."
)]
pub struct Digest {
    pub path: PathBuf,
    /// Also the tensors root and every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Also SHA-256, of the file or of a folder's listing
    #[arg(long)]
    pub sha256: bool,
    #[command(flatten)]
    pub tree: RecordTree,
    /// Print a folder's listing, whose BLAKE3 is the root
    #[arg(long, conflicts_with_all = ["tensors", "sha256", "records", "format"])]
    pub listing: bool,
    /// Hash every byte again (this version keeps no cache, so it always does)
    #[arg(long)]
    pub no_cache: bool,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

pub fn run(args: Digest) -> Result<u8> {
    let options = Options { tensors: args.tensors, sha256: args.sha256, records: args.tree.tree() };
    let bar = Bar::new();
    let digest = digest::digest(&args.path, options, &bar)?;
    drop(bar);
    if args.listing {
        print::text(&Listing::new(digest.files)?.to_text())?;
        return Ok(0);
    }
    if args.format == Format::Json {
        print::json(&digest)?;
        return Ok(0);
    }
    print::line(format_args!("{}  {}", digest.root, args.path.display()))?;
    if let Some(sha256) = &digest.sha256 {
        print::line(format_args!("sha256   {sha256}"))?;
    }
    if let Some(card) = &digest.card {
        print::line(format_args!("card     {card}"))?;
    }
    if let Some(records) = &digest.records {
        let sorted = if records.sorted { ", sorted" } else { "" };
        print::line(format_args!("records  {}  {} {}{sorted}", records.root, records.count, records.format))?;
    }
    if let Some(tensors) = &digest.tensors {
        print::line(format_args!("tensors  {}", tensors.root))?;
        for tensor in &tensors.list {
            print::line(format_args!("{}  {} {:?} {}", tensor.blake3, tensor.dtype, tensor.shape, tensor.name))?;
        }
    }
    Ok(0)
}
