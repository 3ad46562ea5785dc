//! `sign`.

use std::path::PathBuf;

use clap::Args;
use countermark::lineage::graph::Kind;
use countermark::lineage::graph::statement::Process;
use countermark::sign::{self, ParentRequest, Request};

use super::records::RecordTree;
use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Sign a release: statement, C2PA manifest, log entry, bundle
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark sign data --key keys/owner.key --log log --out data.provenance.json
  countermark sign model --key keys/owner.key --log log \\
      --parent trained-on=data.provenance.json@data --out model.provenance.json
  countermark sign model --key keys/owner.key --log log --reuse model.provenance.json
  countermark sign model --key keys/owner.key --timestamp http://timestamp.example.com
  countermark sign model --key signer.toml --certificate keys/owner.crt")]
pub struct Sign {
    /// A file, or the folder of a model or dataset
    pub path: PathBuf,
    /// owner.key, with owner.crt beside it; `countermark keygen --out keys` makes both. Also the file of a signer, or a
    /// pkcs11: URI
    #[arg(long)]
    pub key: PathBuf,
    /// Certificates of the key, the leaf first [default: owner.crt beside it]
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Have an authority stamp the manifest with the time (RFC 3161)
    #[arg(long, value_name = "URL")]
    pub timestamp: Option<String>,
    /// What it was made from: RELATION=BUNDLE[@PATH]; may be given several times
    #[arg(long = "parent", value_name = "RELATION=BUNDLE[@PATH]")]
    pub parents: Vec<ParentRequest>,
    /// Log the release there; the log is made when it is not there yet
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Where the bundle goes [default: NAME.provenance.json beside the artifact]
    #[arg(long, value_name = "NAME.provenance.json")]
    pub out: Option<PathBuf>,
    /// model, adapter, dataset, …; told from the files when left out
    #[arg(long)]
    pub kind: Option<Kind>,
    /// Commitment record of a mark in it, beside those that embed left for this very model
    #[arg(long = "mark", value_name = "FILE")]
    pub marks: Vec<PathBuf>,
    /// How it was made: NAME=VALUE; may be given several times
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// Revision of the code that made it
    #[arg(long)]
    pub revision: Option<String>,
    /// Sign anew what was signed before, with its parents and process: after a changed card, or to add a parent. Files
    /// that nothing wrote to since keep their digests
    #[arg(long, value_name = "OLD.provenance.json", conflicts_with = "no_cache")]
    pub reuse: Option<PathBuf>,
    /// Hash every byte, whatever the cache knows
    #[arg(long)]
    pub no_cache: bool,
    #[command(flatten)]
    pub tree: RecordTree,
    /// Salt the records with this secret, made when it is not there: whoever sees one record learns nothing of others
    #[arg(long, value_name = "FILE", requires = "records", conflicts_with = "sorted")]
    pub salt: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

fn parameter(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub fn run(args: Sign) -> Result<u8> {
    let process = (!args.parameters.is_empty() || args.revision.is_some())
        .then(|| Process { parameters: args.parameters.into_iter().collect(), revision: args.revision });
    let request = Request {
        path: args.path,
        key: args.key,
        parents: args.parents,
        log: args.log,
        out: args.out,
        kind: args.kind,
        marks: args.marks,
        process,
        cache: !args.no_cache,
        cache_at: None,
        reuse: args.reuse,
        tree: args.tree.tree(),
        salt: args.salt,
        certificate: args.certificate,
        timestamp: args.timestamp,
    };
    let bar = Bar::new();
    let signed = sign::sign(&request, &bar)?;
    drop(bar);
    print::warnings(&signed.warnings);
    if args.format == Format::Json {
        print::json(&signed)?;
        return Ok(0);
    }
    print::line(format_args!("root       {}", signed.root))?;
    print::line(format_args!("statement  {}", signed.statement))?;
    print::line(format_args!("bundle     {}", signed.bundle.display()))?;
    print::line(format_args!("manifest   {}", signed.manifest.display()))?;
    if signed.recalled > 0 {
        let (read, recalled) = (signed.bytes_read, signed.recalled);
        print::line(format_args!("read       {read} bytes; {recalled} untouched files kept their digests"))?;
    }
    match &signed.log {
        Some(log) => print::line(format_args!("log        entry {} of {}", log.index, log.vkey))?,
        None => eprintln!("help: add --log DIR to log the release"),
    }
    // The policy that keygen wrote, where it lies.
    let policy = request.key.with_file_name("policy.toml");
    let policy = if policy.is_file() { policy } else { "policy.toml".into() };
    eprintln!("next: countermark verify {} --policy {}", request.path.display(), policy.display());
    Ok(0)
}
