//! `lineage prove-slice` and `lineage check-slice`.

use std::ops::Range;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use countermark::lineage::digest::Hash;
use countermark::lineage::digest::slice::{Claim, Proven};
use countermark::lineage::verdict::printable;
use countermark::slice::{self, Against, CheckRequest, ProveRequest};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

#[derive(Args)]
#[command(
    group(ArgGroup::new("claim").required(true).args(["range", "tensor"])),
    after_help = "\
Example: countermark lineage prove-slice model.safetensors --tensor lm_head.weight --out head.slice
The proof holds the bytes, up to 32 KiB around them, the last 16 KiB of the file, and a few kilobytes of hashes; \
for a tensor also the file's header, which says where the tensor lies (with a GGUF file, its vocabulary too)."
)]
pub struct ProveSlice {
    /// The file
    pub path: PathBuf,
    /// Prove these bytes of it, the last one not included
    #[arg(long, value_name = "BEGIN:END", value_parser = range)]
    pub range: Option<Range<u64>>,
    /// Prove this tensor of a safetensors or GGUF file
    #[arg(long, value_name = "NAME")]
    pub tensor: Option<String>,
    /// Where the proof goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Keep the inner hashes of the file in FILE (64 bytes for each 16 KiB), so that further proofs read little
    #[arg(long, value_name = "FILE")]
    pub outboard: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

#[derive(Args)]
#[command(
    group(ArgGroup::new("against").required(true).args(["root", "bundle"])),
    after_help = "\
Example: countermark lineage check-slice head.slice --bundle model.provenance.json --policy policy.toml
Exit codes: 0 proven, 1 not proven or something signed is wrong, 3 signer unknown or something could not be checked.
With --root nothing is said about who released the file."
)]
pub struct CheckSlice {
    /// The proof
    pub proof: PathBuf,
    /// BLAKE3 of the whole file, as `digest` or b3sum prints it
    #[arg(long, value_name = "HEX", value_parser = root)]
    pub root: Option<Hash>,
    /// Take the file's digest from this bundle
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Which file of the artifact, when it has several
    #[arg(long, value_name = "PATH", requires = "bundle")]
    pub file: Option<String>,
    /// Whom to believe; without it nobody is known
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub policy: Option<PathBuf>,
    /// Write the proven bytes here, when everything that was checked is good
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

fn range(text: &str) -> std::result::Result<Range<u64>, String> {
    let parse = || {
        let (begin, end) = text.split_once(':')?;
        Some(begin.parse().ok()?..end.parse().ok()?)
    };
    parse().ok_or_else(|| "write two numbers of bytes, as 0:4096".to_owned())
}

fn root(text: &str) -> std::result::Result<Hash, String> {
    Hash::parse(text).ok_or_else(|| "expected 64 lower-case hexadecimal digits".to_owned())
}

pub fn prove(args: ProveSlice) -> Result<u8> {
    let claim = match (args.range, args.tensor) {
        (Some(range), _) => Claim::Range(range),
        (None, tensor) => Claim::Tensor(tensor.unwrap_or_default()),
    };
    let request = ProveRequest { path: args.path, claim, out: args.out, outboard: args.outboard };
    let bar = Bar::new();
    let proved = slice::prove(&request, &bar)?;
    drop(bar);
    let (begin, end) = proved.head.range;
    if args.format == Format::Json {
        let out = request.out.display().to_string();
        print::json(
            &serde_json::json!({ "root": proved.root, "proof": out, "bytes": proved.bytes, "claim": proved.head }),
        )?;
        return Ok(0);
    }
    print::line(format_args!("{}  {}", proved.root, request.path.display()))?;
    print::line(format_args!(
        "{}: {} bytes prove bytes {begin} to {end} of {}",
        request.out.display(),
        proved.bytes,
        proved.head.length
    ))?;
    eprintln!("next: countermark lineage check-slice {} --root {}", request.out.display(), proved.root);
    Ok(0)
}

pub fn check(args: CheckSlice) -> Result<u8> {
    let against = match (args.root, args.bundle) {
        (Some(root), _) => Against::Root(root),
        (None, bundle) => Against::Bundle { bundle: bundle.unwrap_or_default(), file: args.file, policy: args.policy },
    };
    let checked = slice::check(&CheckRequest { proof: args.proof, against, out: args.out })?;
    let code = match &checked.verdict {
        Some(verdict) => verdict.state.exit_code(),
        None => u8::from(checked.proven.is_none()),
    };
    if args.format == Format::Json {
        print::json(&checked)?;
        return Ok(code);
    }
    if let Some(proven) = &checked.proven {
        proven_lines(proven)?;
    }
    if let Some(problem) = &checked.problem {
        print::line(format_args!("not proven: {}", printable(problem, 2000)))?;
    }
    if let Some(verdict) = &checked.verdict {
        print::verdict(verdict)?;
    }
    Ok(code)
}

fn proven_lines(proven: &Proven) -> Result<()> {
    let (begin, end) = proven.range;
    print::line(format_args!(
        "proven: bytes {begin} to {end} of a file of {} bytes, root {}",
        proven.length, proven.root
    ))?;
    if let Some(tensor) = &proven.tensor {
        let what = format!("{} {:?} {}", tensor.dtype, tensor.shape, tensor.name);
        print::line(format_args!("tensor  {}", printable(&what, 4000)))?;
    }
    print::line(format_args!("blake3  {}", proven.blake3))
}
