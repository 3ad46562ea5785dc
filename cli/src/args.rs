//! The arguments, one struct per verb.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use countermark::lineage::graph::Kind;
use countermark::sign::ParentRequest;

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
    Verify(Verify),
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

/// Make an owner's keys, certificate and a policy that trusts them
#[derive(Args)]
#[command(after_help = "Example: countermark keygen --out keys --name 'Example Lab'")]
pub struct Keygen {
    /// Folder for the keys; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Who you are, for the certificate and the policy
    #[arg(long, default_value = "owner")]
    pub name: String,
}

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
    /// Print a folder's listing, whose BLAKE3 is the root
    #[arg(long, conflicts_with_all = ["tensors", "sha256", "format"])]
    pub listing: bool,
    /// Hash every byte again (this version keeps no cache, so it always does)
    #[arg(long)]
    pub no_cache: bool,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Say in which files and tensors two artifacts differ
#[derive(Args)]
#[command(after_help = "Example: countermark diff base fine-tuned")]
pub struct Diff {
    pub first: PathBuf,
    pub second: PathBuf,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Strike a mark into weights, or look for one
#[derive(Subcommand)]
pub enum Watermark {
    Embed(Embed),
    Detect(Detect),
    Trace(Trace),
    Disclose(Disclose),
    Attack(Attack),
}

/// Strike a mark into the weights of a model
#[derive(Args)]
#[command(after_help = "\
Example: countermark watermark embed model --key keys/owner.mark.key --out marked --log log
The commitment record goes to marks/ beside the key; log it before you release the model.")]
pub struct Embed {
    /// A .safetensors or .gguf file, or a folder with such files
    pub model: PathBuf,
    /// The secret that keygen made
    #[arg(long, value_name = "DIR/owner.mark.key")]
    pub key: PathBuf,
    /// The marked copy; a folder in gives a folder out
    #[arg(long)]
    pub out: PathBuf,
    /// Log the commitment there, signed by the owner.key beside the mark key
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Distortion of the marked weights in dB, such as -40; chosen for you when left out
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    pub strength: Option<f64>,
    /// 16 bytes to carry instead of the hash of the record; 8 when the model has less than 8 million weights to mark
    #[arg(long, value_name = "HEX")]
    pub payload: Option<String>,
    /// Whose copy this is
    #[arg(long, value_name = "NAME")]
    pub recipient: Option<String>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Look for the marks of a key in the weights of a model
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark watermark detect suspect --key keys/owner.mark.key
  countermark watermark detect suspect.gguf --key keys/owner.mark.key --base base
  countermark watermark detect suspect --disclosure mark.disclosure.json
Exit codes: 0 detected, 1 not detected (which proves nothing), 3 too small to tell.")]
pub struct Detect {
    /// A .safetensors or .gguf file, or a folder with such files
    pub model: PathBuf,
    #[arg(long, value_name = "DIR/owner.mark.key", required_unless_present = "disclosure")]
    pub key: Option<PathBuf>,
    /// The commitment record; all records beside the key when left out
    #[arg(long, value_name = "FILE", conflicts_with = "disclosure")]
    pub commitment: Option<PathBuf>,
    /// Instead of the key: what the owner disclosed of it
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub disclosure: Option<PathBuf>,
    /// The unmarked base that the mark's record names: its weights are subtracted, which finds far weaker traces
    #[arg(long, value_name = "MODEL")]
    pub base: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Find out whose copy a model is, among the copies marked with --recipient
#[derive(Args)]
#[command(after_help = "\
Example: countermark watermark trace leaked --key keys/owner.mark.key --base release
The odds pay for every copy that was tried. Exit codes: 0 a copy was found, 1 none.")]
pub struct Trace {
    pub model: PathBuf,
    #[arg(long, value_name = "DIR/owner.mark.key")]
    pub key: PathBuf,
    /// What the copies were made from
    #[arg(long, value_name = "MODEL")]
    pub base: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Show one of a mark's four groups to somebody, who can then look for it without the key
#[derive(Args)]
#[command(after_help = "\
Example: countermark watermark disclose --key keys/owner.mark.key --commitment keys/marks/ID.json --group 2 --out mark.disclosure.json
Whoever holds the file can also erase that group. The other three stay secret, and your own searches leave it out from now on.")]
pub struct Disclose {
    #[arg(long, value_name = "DIR/owner.mark.key")]
    pub key: PathBuf,
    /// The record of the mark, in marks/ beside the key
    #[arg(long, value_name = "FILE")]
    pub commitment: PathBuf,
    /// Which group, 0 to 3
    #[arg(long)]
    pub group: usize,
    /// The payload in hex, when it was your own
    #[arg(long, value_name = "HEX")]
    pub payload: Option<String>,
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Do to a model what happens to models in the wild, to see what survives
#[derive(Args)]
#[command(after_help = attack_help())]
pub struct Attack {
    /// A .safetensors or .gguf file, or a folder with such files
    pub model: PathBuf,
    /// What to do, as KIND, KIND:NUMBER, or several joined with +
    #[arg(long)]
    pub kind: String,
    /// The other model, for merges
    #[arg(long, value_name = "MODEL")]
    pub with: Option<PathBuf>,
    /// The same seed does the same
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A .safetensors file, or a folder for a folder
    #[arg(long)]
    pub out: PathBuf,
}

fn attack_help() -> String {
    let mut help = String::from(
        "Examples:\n  countermark watermark attack model --kind prune:0.5+int4:128 --out worn\n  \
         countermark watermark attack model --kind soup:0.5 --with base --out soup\n\nKinds:\n",
    );
    for (syntax, _, description) in countermark::watermark::attack::Attack::ALL_KINDS {
        help.push_str(&format!("  {syntax:24} {description}\n"));
    }
    help
}

/// Say whether two checkpoints share training history, with exact odds, and what was done to one of them
#[derive(Args)]
#[command(after_help = "\
Example: countermark derivation fine-tuned base
Exit codes: 0 not independent, 1 no shared history found (which proves nothing), 3 nothing to compare.")]
pub struct Derivation {
    pub child: PathBuf,
    pub parent: PathBuf,
    /// A second parent, to recognise a merge of two
    #[arg(long, value_name = "MODEL")]
    pub second: Option<PathBuf>,
    /// How many models were considered as parents, this one included; the odds pay for all of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub candidates: u64,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Sign a release: statement, C2PA manifest, log entry, bundle
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark sign data --key keys/owner.key --log log --out data.provenance.json
  countermark sign model --key keys/owner.key --log log \\
      --parent trained-on=data.provenance.json@data --out model.provenance.json")]
pub struct Sign {
    /// A file, or the folder of a model or dataset
    pub path: PathBuf,
    /// owner.key, with owner.crt beside it
    #[arg(long)]
    pub key: PathBuf,
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
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Look at the lineage in a bundle
#[derive(Subcommand)]
pub enum Lineage {
    /// List the artifact and its ancestors
    Show(LineageShow),
    /// Draw the lineage
    #[command(after_help = "Example: countermark lineage graph model.provenance.json --format svg > lineage.svg")]
    Graph(LineageGraph),
}

#[derive(Args)]
pub struct LineageShow {
    pub bundle: PathBuf,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

#[derive(Args)]
pub struct LineageGraph {
    pub bundle: PathBuf,
    #[arg(long, value_enum, default_value = "svg")]
    pub format: Picture,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Picture {
    Svg,
    Dot,
    Mermaid,
    Json,
}

/// Look at a local log
#[derive(Subcommand)]
pub enum Anchor {
    /// Size, root and verifier key of a log
    Status {
        #[arg(value_name = "DIR")]
        log: PathBuf,
    },
    /// Print the inclusion proof of an entry, as C2SP tlog-proof
    Prove {
        #[arg(value_name = "DIR")]
        log: PathBuf,
        index: u64,
    },
}

/// Look at a C2PA manifest
#[derive(Subcommand)]
pub enum Manifest {
    /// Check a manifest store by itself and print what it says, as JSON; `verify` binds it to an artifact
    Read {
        file: PathBuf,
        /// Whose certificate roots to believe
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

/// Re-hash an artifact and check everything that speaks for it
#[derive(Args)]
#[command(after_help = "\
Example: countermark verify model --policy policy.toml
Exit codes: 0 verified or unanchored, 1 invalid or revoked, 3 signer unknown, stale or something could not be
checked, 4 no provenance found.")]
pub struct Verify {
    pub path: PathBuf,
    /// The bundle [default: NAME.provenance.json beside the path]
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Whom to believe; without it nobody is known
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Ask for an anchor on a chain that is included
    #[arg(long)]
    pub require_anchor: bool,
    /// Ask for the release of this name, whatever the path is called
    #[arg(long)]
    pub name: Option<String>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Make a badge from a verdict; exit 0 once made, whatever the state
#[derive(Subcommand)]
pub enum Badge {
    /// The picture
    Svg(BadgeOf),
    /// The JSON of a shields.io endpoint
    Json(BadgeOf),
    /// Markdown for a model card
    Markdown(BadgeOf),
}

#[derive(Args)]
pub struct BadgeOf {
    pub path: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

/// The whole path on a small real model: mark, sign, log, verify, and what tampering comes to
#[derive(Args)]
#[command(after_help = "Example: countermark demo --out demo && xdg-open demo/lineage.svg")]
pub struct Demo {
    /// Folder for what the demo makes; must not be there yet
    #[arg(long, default_value = "countermark-demo")]
    pub out: PathBuf,
}

/// Print completions for a shell
#[derive(Args)]
pub struct Completions {
    pub shell: clap_complete::Shell,
}
