//! `manifest create|read`; `manifest embed` has its own file.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use countermark::content::{self, Chained, InputRequest, PromptAs, Reading, Request};
use countermark::keyset;
use countermark::lineage::credential::c2pa::Summary;
use countermark::lineage::credential::declared::{AssetType, Oversight};
use countermark::lineage::graph::Kind;
use countermark::lineage::graph::statement::rfc3339;
use countermark::sign::ParentRequest;

use super::declared::Declarations;
use super::verify::time;
use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, BOLD, DIM, RESET, Result};

/// Make C2PA manifests and look at them
#[derive(Subcommand)]
pub enum Manifest {
    Create(Box<Create>),
    Embed(super::embed::Embed),
    Read(Read),
}

/// Sign a C2PA manifest: into a copy of an image, sound or film, or beside anything else
#[derive(Args)]
#[command(after_help = "\
Images, sounds and films (PNG, JPEG, GIF, WebP, TIFF, SVG, WAV, MP3, FLAC, MP4, MOV, AVI and more) are copied, with the
manifest in the copy. PDF, text, models, datasets and folders get a sidecar, NAME.EXT.c2pa.

Examples:
  countermark manifest create cat.png --key keys/owner.key --model model.provenance.json
  countermark manifest create answer.txt --key keys/owner.key --model model.provenance.json \\
      --prompt prompt.txt --prompt-as hash --oversight human_validated
  countermark manifest create photo.jpg --key keys/owner.key --source-type digitalCapture \\
      --training-mining ai-training=not-allowed
  countermark manifest create data.csv --key keys/owner.key
  countermark manifest create weights.gguf --key keys/owner.key --parent trained-on=data.csv.c2pa@data.csv")]
pub struct Create {
    /// What the manifest is about: a file or a folder
    pub path: PathBuf,
    /// owner.key; `countermark keygen --out keys` makes one
    #[arg(long)]
    pub key: PathBuf,
    /// Its certificate and root in PEM [default: owner.crt beside the key]
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// The model that produced it, by its bundle; a model of a single file needs that file after an @. May be given
    /// several times
    #[arg(long = "model", value_name = "BUNDLE[@PATH]", value_parser = model)]
    pub models: Vec<InputRequest>,
    /// What else it was made from: RELATION=SOURCE[@PATH], where SOURCE is a bundle, a sidecar (with @PATH) or a medium
    /// that carries its manifest; may be given several times
    #[arg(long = "parent", value_name = "RELATION=SOURCE[@PATH]")]
    pub parents: Vec<ParentRequest>,
    /// Where it goes [default: NAME.signed.EXT for a copy, NAME.EXT.c2pa for a sidecar; a name in .c2pa asks for a
    /// sidecar]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// model, adapter, dataset, generated-content, …; told from the files when left out
    #[arg(long)]
    pub kind: Option<Kind>,
    /// Tell the prompt that is in this file; never told unless asked
    #[arg(long, value_name = "FILE", requires = "prompt_as")]
    pub prompt: Option<PathBuf>,
    /// Tell the prompt itself, or its SHA-256, which whoever guesses the prompt can confirm
    #[arg(long, value_enum, requires = "prompt")]
    pub prompt_as: Option<PromptWord>,
    /// What made it [default: the name of the model]
    #[arg(long, value_name = "NAME")]
    pub software: Option<String>,
    /// What the model is, for the disclosure, such as c2pa.types.model.pytorch [default: c2pa.types.model]
    #[arg(long, value_name = "TYPE")]
    pub model_type: Option<AssetType>,
    /// How far a person watched: fully_autonomous, prompt_guided or human_validated
    #[arg(long, value_name = "WORD")]
    pub oversight: Option<Oversight>,
    #[command(flatten)]
    pub declarations: Declarations,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PromptWord {
    Hash,
    Text,
}

/// Check a manifest by itself and show what it says, with the chain of its inputs
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark manifest read model.c2pa --policy policy.toml
  countermark manifest read cat.signed.png --format json

A sidecar is checked without the bytes that it is about; `countermark verify PATH` binds it to them.")]
pub struct Read {
    /// A .c2pa file, or an image, sound or film that carries a manifest
    pub file: PathBuf,
    /// Whom to believe; without it nobody is known
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Judge as of this time, for example 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<i64>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

fn model(text: &str) -> std::result::Result<InputRequest, String> {
    Ok(InputRequest::model(text))
}

pub fn run(args: Manifest) -> Result<u8> {
    match args {
        Manifest::Create(args) => create(*args),
        Manifest::Embed(args) => super::embed::run(args),
        Manifest::Read(args) => read(args),
    }
}

fn create(args: Create) -> Result<u8> {
    let prompt = args.prompt.zip(args.prompt_as.map(|word| match word {
        PromptWord::Hash => PromptAs::Hash,
        PromptWord::Text => PromptAs::Text,
    }));
    let request = Request {
        path: args.path,
        key: args.key,
        certificate: args.certificate,
        inputs: args.models.into_iter().chain(args.parents.into_iter().map(InputRequest::from)).collect(),
        out: args.out,
        kind: args.kind,
        prompt,
        software: args.software,
        model_type: args.model_type,
        oversight: args.oversight,
        declared: args.declarations.declared(),
    };
    let bar = Bar::new();
    let created = content::create(&request, &bar)?;
    drop(bar);
    print::warnings(&created.notes);
    if args.format == Format::Json {
        print::json(&created)?;
        return Ok(0);
    }
    let what = if created.embedded { "copy" } else { "manifest" };
    print::line(format_args!("{what:<10} {}", created.out.display()))?;
    print::line(format_args!("manifests  {}", created.manifests))?;
    print::line(format_args!("store      {}", created.store))?;
    let policy = request.key.with_file_name("policy.toml");
    let policy = if policy.is_file() { policy } else { "policy.toml".into() };
    let about = if created.embedded { &created.out } else { &request.path };
    eprintln!("next: countermark verify {} --policy {}", about.display(), policy.display());
    Ok(0)
}

fn read(args: Read) -> Result<u8> {
    let reading = content::read(&args.file, args.policy.as_deref(), args.at.unwrap_or_else(keyset::now))?;
    match args.format {
        Format::Json => print::json(&reading)?,
        Format::Human => show(&reading)?,
    }
    Ok(reading.state.exit_code())
}

/// What it says, then how far that holds, then the chain.
fn show(reading: &Reading) -> Result<()> {
    if let Some(summary) = &reading.manifest {
        said(summary)?;
    }
    let widest = reading.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    for check in &reading.checks {
        let (mark, colour) = print::sign(check.state);
        print::line(format_args!("{colour}{mark}{RESET} {:widest$}  {}", check.name, check.detail))?;
    }
    if !reading.chain.is_empty() {
        print::line(format_args!("{BOLD}made from{RESET}"))?;
        chain(&reading.chain)?;
    }
    let (_, colour) = print::sign(reading.state);
    let bytes = if reading.bound { "with the bytes that carry it" } else { "by itself, without the bytes it is about" };
    print::line(format_args!("{BOLD}{colour}{}{RESET} {bytes}", reading.state))?;
    if !reading.bound {
        print::line(format_args!("{DIM}help: `countermark verify PATH` checks it against what it is about{RESET}"))?;
    }
    Ok(())
}

fn said(summary: &Summary) -> Result<()> {
    let declared = &summary.declared;
    let short = |url: &str| url.rsplit('/').next().unwrap_or(url).to_owned();
    let pairs = |pairs: &[(String, String)]| -> Option<String> {
        let texts: Vec<String> = pairs.iter().map(|(name, value)| format!("{name} {value}")).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    };
    let (from, to) = summary.valid;
    let rows: [(&str, Option<String>); 11] = [
        ("title", summary.title.clone()),
        ("signer", Some(format!("{} ({})", summary.signer, summary.key.short()))),
        ("valid", Some(format!("{} to {}", rfc3339(from), rfc3339(to)))),
        ("source", declared.source_type.as_deref().map(short)),
        ("made by", declared.software.clone()),
        ("actions", (!declared.actions.is_empty()).then(|| declared.actions.join(", "))),
        ("type", (!declared.asset_types.is_empty()).then(|| declared.asset_types.join(", "))),
        ("disclosure", pairs(&declared.disclosure)),
        ("others may", pairs(&declared.training_mining)),
        ("statement", summary.statement.map(|id| id.to_string())),
        ("written by", summary.generator.clone()),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            print::line(format_args!("{DIM}{name:<10}{RESET}  {}", print::foreign(&value)))?;
        }
    }
    Ok(())
}

/// Each link under the one that names it.
fn chain(links: &[Chained]) -> Result<()> {
    for link in links {
        let (mark, colour) = print::sign(link.state);
        let indent = "  ".repeat(link.depth.min(20));
        let of = link.of.as_deref().filter(|_| link.depth > 1).map(|of| format!(" of {of}")).unwrap_or_default();
        let (title, detail) = (print::foreign(&format!("{}{of}", link.title)), print::foreign(&link.detail));
        print::line(format_args!("{colour}{mark}{RESET}{indent}{BOLD}{title}{RESET}  {detail}"))?;
    }
    Ok(())
}
