//! `digest`.

use std::path::PathBuf;

use clap::Args;
use countermark::digest::{self, Options};
use countermark::lineage::digest::listing::Listing;
use countermark::lineage::verdict::printable;

use super::records::RecordTree;
use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Hash a file or a folder: the root first, then what was asked for
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark digest model --tensors
  countermark digest huge.bin --part 0:68719476736 > 0.json             on one machine
  countermark digest huge.bin --part 68719476736:68719476736 > 1.json   on another
  countermark digest --merge 0.json 1.json

The root of a single file is its plain BLAKE3, so b3sum agrees. Parts are multiples of one power of two of at least 1024 \
bytes; the last one may be shorter.")]
pub struct Digest {
    /// A file or a folder
    #[arg(required_unless_present = "merge")]
    pub path: Option<PathBuf>,
    /// Also the tensors root and every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Also SHA-256, of the file or of a folder's listing
    #[arg(long)]
    pub sha256: bool,
    /// Also the hash by which model hubs know a file (Xet), of every file
    #[arg(long)]
    pub xet: bool,
    #[command(flatten)]
    pub tree: RecordTree,
    /// Print a folder's listing, whose BLAKE3 is the root
    #[arg(long, conflicts_with_all = ["tensors", "sha256", "xet", "records", "format"])]
    pub listing: bool,
    /// Hash only this part of a file and print it as JSON, for --merge
    #[arg(long, value_name = "OFFSET:LENGTH", value_parser = part, conflicts_with_all = ["tensors", "sha256", "xet", "records", "listing"])]
    pub part: Option<(u64, u64)>,
    /// Join the parts of a file
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["path", "tensors", "sha256", "xet", "records", "listing", "part"])]
    pub merge: Vec<PathBuf>,
    /// Hash every byte again. Otherwise files that nothing wrote to since are taken from the cache, which is
    /// $COUNTERMARK_CACHE or countermark/digests.sqlite in your cache folder
    #[arg(long)]
    pub no_cache: bool,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

fn part(text: &str) -> std::result::Result<(u64, u64), String> {
    let numbers = text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    numbers.ok_or_else(|| "write OFFSET:LENGTH in bytes, such as 0:1073741824".to_owned())
}

pub fn run(args: Digest) -> Result<u8> {
    let Some(path) = &args.path else { return merge(&args) };
    let bar = Bar::new();
    if let Some((offset, length)) = args.part {
        let document = digest::part(path, offset, length, &bar)?;
        drop(bar);
        print::json(&document)?;
        return Ok(0);
    }
    let options = Options {
        tensors: args.tensors,
        sha256: args.sha256,
        xet: args.xet,
        records: args.tree.tree(),
        cache: !args.no_cache,
    };
    let digest = digest::digest(path, options, &bar)?;
    drop(bar);
    print::warnings(&digest.warnings);
    if args.listing {
        print::text(&Listing::new(digest.files)?.to_text())?;
        return Ok(0);
    }
    if args.format == Format::Json {
        print::json(&digest)?;
        return Ok(0);
    }
    print::line(format_args!("{}  {}", digest.root, path.display()))?;
    if let Some(sha256) = &digest.sha256 {
        print::line(format_args!("sha256   {sha256}"))?;
    }
    for (hash, file) in digest.xet.iter().zip(&digest.files) {
        print::line(format_args!("xet      {hash}  {}", printable(&file.path, 1000)))?;
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
            let what = printable(&format!("{} {:?} {}", tensor.dtype, tensor.shape, tensor.name), 4000);
            print::line(format_args!("{}  {what}", tensor.blake3))?;
        }
    }
    Ok(0)
}

fn merge(args: &Digest) -> Result<u8> {
    let (name, root) = digest::merge(&args.merge)?;
    match args.format {
        Format::Human => print::line(format_args!("{root}  {}", printable(&name, 255)))?,
        Format::Json => print::json(&serde_json::json!({"root": root, "name": name}))?,
    }
    Ok(0)
}
