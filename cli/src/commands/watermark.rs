//! `watermark embed`, `detect`, `trace`, `disclose` and `attack`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countermark::attack;
use countermark::detect::{self, DetectRequest, With};
use countermark::disclose;
use countermark::mark::{self, EmbedRequest};
use countermark::watermark::{Strength, Verdict};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, BOLD, RESET, Result};

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

pub fn run(args: Watermark) -> Result<u8> {
    match args {
        Watermark::Embed(args) => embed(args),
        Watermark::Detect(args) => detect(args),
        Watermark::Trace(args) => trace(args),
        Watermark::Disclose(args) => disclose(args),
        Watermark::Attack(args) => attack(args),
    }
}

fn embed(args: Embed) -> Result<u8> {
    let request = EmbedRequest {
        model: args.model,
        key: args.key,
        out: args.out,
        log: args.log,
        strength: args.strength.map_or(Strength::Auto, Strength::Decibel),
        payload: args.payload.as_deref().map(payload).transpose()?,
        recipient: args.recipient,
    };
    let bar = Bar::new();
    let embedded = mark::embed(&request, &bar)?;
    drop(bar);
    if args.format == Format::Json {
        print::json(&embedded)?;
        return Ok(0);
    }
    print::line(format_args!("mark        {}", embedded.mark_id))?;
    print::line(format_args!("weights     {} marked", embedded.report.weights))?;
    print::line(format_args!("distortion  {:.2} dB over all matrices, after the cast", embedded.report.distortion_db))?;
    print::line(format_args!("commitment  {}", embedded.record.display()))?;
    match embedded.entry {
        Some(index) => print::line(format_args!("log         entry {index}"))?,
        None => eprintln!("help: add --log DIR to commit to the mark before the model is released"),
    }
    print::line(format_args!("model       {}", request.out.display()))?;
    let (out, key) = (request.out.display(), request.key.display());
    eprintln!("next: countermark watermark detect {out} --key {key}");
    Ok(0)
}

fn payload(text: &str) -> std::result::Result<Vec<u8>, String> {
    let byte = |pair: &[u8]| match pair {
        [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| format!("--payload {text:?} is not hexadecimal\nhelp: write 32 digits, two for each byte"))
}

fn detect(args: Detect) -> Result<u8> {
    let with = match (args.key, args.disclosure) {
        (Some(key), _) => With::Key { key, commitment: args.commitment },
        (None, Some(disclosure)) => With::Disclosure(disclosure),
        (None, None) => return Err("give --key or --disclosure".into()),
    };
    let request = DetectRequest { model: args.model, with, base: args.base };
    let bar = Bar::new();
    let detection = detect::detect(&request, &bar)?;
    drop(bar);
    let report = &detection.report;
    let (word, code) = match report.verdict {
        Verdict::Detected => ("detected", 0),
        Verdict::NotDetected => ("not detected", 1),
        Verdict::TooSmall => ("too small to tell", 3),
    };
    if args.format == Format::Json {
        print::json(&detection)?;
        return Ok(code);
    }
    print::line(format_args!("{BOLD}{word}{RESET} in {}", request.model.display()))?;
    let odds = format!("log10 p = {:.2}, needs {:.2}", report.log10_p, report.threshold_log10_p);
    print::line(format_args!("odds        {odds}, after paying for {} hypotheses", report.hypotheses))?;
    if let Some(best) = report.records.iter().find(|record| record.mark_id == report.mark_id) {
        for band in &best.bands {
            print::line(format_args!("{:11} {}", band.name, band_line(band)))?;
        }
    }
    print::line(format_args!("weights     {}", report.weights))?;
    if let Some(payload) = &report.payload {
        let check = if report.payload_ok == Some(true) { "as committed" } else { "not the committed one" };
        let payload: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        print::line(format_args!("payload     {payload} ({check})"))?;
    }
    print::line(format_args!("commitment  {}", detection.commitment))?;
    match &detection.committed_before {
        Some(bound) => print::line(format_args!("committed   before {}: {}", bound.time, bound.source))?,
        None if detection.commitment == "logged" => {
            print::line("committed   at a time that no anchor shows; see `countermark anchor upgrade`")?
        }
        None => {}
    }
    if let Some(recipient) = &detection.recipient {
        print::line(format_args!("copy of     {recipient}"))?;
    }
    if let Some(distortion) = report.distortion_db {
        print::line(format_args!("distortion  {distortion:.2} dB against the base"))?;
    }
    if detection.base_is_committed == Some(false) {
        eprintln!("help: the mark's record names another base, so the difference to this one says nothing about it");
    }
    if report.verdict == Verdict::NotDetected {
        eprintln!("help: a missing detection proves nothing");
    }
    Ok(code)
}

fn band_line(band: &countermark::watermark::BandReport) -> String {
    let tests: Vec<String> =
        band.statistics.iter().map(|statistic| format!("{} {:.2}", statistic.name, statistic.log10_p)).collect();
    format!("{} of {} slots agree; {}", band.slots_agreeing, band.slots, tests.join(", "))
}

fn trace(args: Trace) -> Result<u8> {
    let with = With::Key { key: args.key, commitment: None };
    let request = DetectRequest { model: args.model, with, base: args.base };
    let bar = Bar::new();
    let trace = detect::trace(&request, &bar)?;
    drop(bar);
    let code = u8::from(trace.leaked.is_empty());
    if args.format == Format::Json {
        print::json(&trace)?;
        return Ok(code);
    }
    let names: Vec<&str> = trace.leaked.iter().map(|copy| &*copy.recipient).collect();
    match names.as_slice() {
        [] => print::line(format_args!("{BOLD}no copy found{RESET} in {}", request.model.display()))?,
        names => print::line(format_args!("{BOLD}copy of {}{RESET}", names.join(" and ")))?,
    }
    let tried = trace.copies.len();
    print::line(format_args!("needs {:.2} after paying for {tried} copies", trace.threshold_log10_p))?;
    for copy in &trace.copies {
        print::line(format_args!("{:>10.2}  {}", copy.log10_p, copy.recipient))?;
    }
    Ok(code)
}

fn disclose(args: Disclose) -> Result<u8> {
    let request = disclose::Request {
        key: args.key,
        commitment: args.commitment,
        group: args.group,
        payload: args.payload.as_deref().map(payload).transpose()?,
        out: args.out,
    };
    disclose::disclose(&request)?;
    print::line(format_args!("disclosed   group {} in {}", request.group, request.out.display()))?;
    eprintln!("next: countermark watermark detect MODEL --disclosure {}", request.out.display());
    eprintln!("help: whoever holds it can erase that group's slots, so your own searches leave it out from now on");
    Ok(0)
}

fn attack(args: Attack) -> Result<u8> {
    let request = attack::Request {
        model: args.model,
        attack: args.kind.parse().map_err(|error: countermark::watermark::Error| error.to_string())?,
        with: args.with,
        seed: args.seed,
        out: args.out,
    };
    let bar = Bar::new();
    attack::attack(&request, &bar)?;
    drop(bar);
    print::line(format_args!("{} into {}", request.attack, request.out.display()))?;
    eprintln!("next: countermark watermark detect {} --key owner.mark.key", request.out.display());
    Ok(0)
}
