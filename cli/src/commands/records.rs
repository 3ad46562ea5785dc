//! `lineage prove-record`, `check-record`, `prove-absence` and `duplicates`, and how other verbs ask for record trees.

use std::path::{Path, PathBuf};

use clap::Args;
use countermark::formats::records::Format as Records;
use countermark::io::files;
use countermark::lineage::verdict::printable;
use countermark::records::{self, CheckRequest, ProveRequest, Proved, Tree, Which};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// A record given in a file is at most so long.
const MAX_RECORD: u64 = 32 << 20;

/// Flags of `digest` and `sign`.
#[derive(Args)]
pub struct RecordTree {
    /// Also the tree over all records, of the format that the names tell or of FORMAT: jsonl, text, csv, parquet,
    /// arrow, webdataset, warc
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true)]
    records: Option<Option<Records>>,
    /// Sort the records' leaves: their order does not matter then, and absence can be proven
    #[arg(long, requires = "records")]
    sorted: bool,
}

impl RecordTree {
    pub fn tree(&self) -> Option<Tree> {
        self.records.map(|format| Tree { format, sorted: self.sorted })
    }
}

/// Prove that a record is in a signed dataset
#[derive(Args)]
#[command(after_help = "\
Example: countermark lineage prove-record data --bundle data.provenance.json --match 'Ada Lovelace' --out proof.json
The proof holds the record, and nothing else of the dataset: check-record needs no data.
Exit codes: 0 proven, 1 no record matches.")]
pub struct ProveRecord {
    /// The dataset, as it was signed
    pub path: PathBuf,
    /// The bundle that signs its record tree
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    #[command(flatten)]
    pub which: WhichRecord,
    /// The secret of a dataset signed with --salt
    #[arg(long, value_name = "FILE")]
    pub salt: Option<PathBuf>,
    /// Where the proof goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct WhichRecord {
    /// The record at this place, from 0
    #[arg(long)]
    index: Option<u64>,
    /// The first record that holds this text
    #[arg(long = "match", value_name = "TEXT")]
    containing: Option<String>,
    /// The record in this file; a line feed at its end does not count for lines and rows
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Check a proof that a record is in a dataset, or is not
#[derive(Args)]
#[command(after_help = "\
Example: countermark lineage check-record proof.json --bundle data.provenance.json --policy policy.toml
The bundle of a model answers for the data that it was trained on, when that data's statement is in it.
Exit codes: those of verify.")]
pub struct CheckRecord {
    /// What prove-record or prove-absence wrote
    pub proof: PathBuf,
    /// The bundle of the dataset, or of something made from it
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    /// Whom to believe; without it nobody is known
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Prove that a record is not in a dataset that was signed with --records --sorted
#[derive(Args)]
#[command(after_help = "\
Example: countermark lineage prove-absence data --bundle data.provenance.json --record line.txt --out proof.json
Exit codes: 0 proven, 1 the record is there.")]
pub struct ProveAbsence {
    /// The dataset, as it was signed
    pub path: PathBuf,
    /// The bundle that signs its record tree
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    /// The record; a line feed at its end does not count for lines and rows
    #[arg(long, value_name = "FILE")]
    pub record: PathBuf,
    /// Where the proof goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Find the records that are in both of two datasets
#[derive(Args)]
#[command(after_help = "\
Example: countermark lineage duplicates train.jsonl test.jsonl
Records are the same when all their bytes are. Needs 40 bytes a record in the temporary folder, and little memory.")]
pub struct FindDuplicates {
    /// A dataset: a file or a folder
    pub first: PathBuf,
    /// Another one, or the same
    pub second: PathBuf,
    /// What both are cut into, instead of what the names tell
    #[arg(long = "as", value_name = "FORMAT")]
    pub records: Option<Records>,
    /// Name at most so many of them
    #[arg(long, default_value_t = 10)]
    pub examples: usize,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

pub fn prove_record(args: ProveRecord) -> Result<u8> {
    let ProveRecord { path, bundle, which, salt, out } = args;
    let which = match which {
        WhichRecord { index: Some(index), .. } => Which::Index(index),
        WhichRecord { containing: Some(text), .. } => Which::Containing(text.into_bytes()),
        WhichRecord { record: Some(file), .. } => Which::Exactly(files::read(&file, MAX_RECORD)?),
        _ => return Err("name a record with --index, --match or --record".into()),
    };
    let request = ProveRequest { path, bundle, salt };
    let bar = Bar::new();
    let proved = records::prove(&request, &which, &bar)?;
    drop(bar);
    let Some(proved) = proved else {
        print::line(format_args!("not found: no record of {} matches", request.path.display()))?;
        eprintln!(
            "help: this proves nothing to others; `lineage prove-absence` does, for datasets signed with --sorted"
        );
        return Ok(1);
    };
    write(&out, &proved)?;
    let index = proved.index.unwrap_or_default();
    print::line(format_args!("record  {index} of {}", proved.count))?;
    if proved.matches > 1 {
        eprintln!("{} records match; the first one is proven", proved.matches);
    }
    next(&out, &request.bundle)
}

pub fn prove_absence(args: ProveAbsence) -> Result<u8> {
    let ProveAbsence { path, bundle, record, out } = args;
    let record = files::read(&record, MAX_RECORD)?;
    let request = ProveRequest { path, bundle, salt: None };
    let bar = Bar::new();
    let proved = records::prove_absence(&request, &record, &bar)?;
    drop(bar);
    let Some(proved) = proved else {
        print::line(format_args!("present: the record is in {}", request.path.display()))?;
        return Ok(1);
    };
    write(&out, &proved)?;
    print::line(format_args!("absent  from {} records", proved.count))?;
    next(&out, &request.bundle)
}

fn write(out: &Path, proved: &Proved) -> Result<()> {
    Ok(files::write(out, proved.proof.to_json().as_bytes(), files::PUBLIC)?)
}

fn next(out: &Path, bundle: &Path) -> Result<u8> {
    print::line(format_args!("proof   {}", out.display()))?;
    let (out, bundle) = (out.display(), bundle.display());
    eprintln!("next: countermark lineage check-record {out} --bundle {bundle} --policy policy.toml");
    Ok(0)
}

pub fn check_record(args: CheckRecord) -> Result<u8> {
    let CheckRecord { proof, bundle, policy, format } = args;
    let checked = records::check(&CheckRequest { proof, bundle, policy })?;
    let code = checked.verdict.state.exit_code();
    if format == Format::Json {
        print::json(&checked)?;
        return Ok(code);
    }
    let record = match &checked.record {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    print::line(printable(&record, 4000))?;
    print::verdict(&checked.verdict)?;
    Ok(code)
}

pub fn duplicates(args: FindDuplicates) -> Result<u8> {
    let bar = Bar::new();
    let found = records::duplicates(&args.first, &args.second, args.records, args.examples, &bar)?;
    drop(bar);
    if args.format == Format::Json {
        print::json(&found)?;
        return Ok(0);
    }
    let mut rows = vec![["dataset", "records", "different", "in both"].map(str::to_owned).to_vec()];
    for (path, side) in [(&args.first, &found.first), (&args.second, &found.second)] {
        let numbers = [side.records, side.distinct, side.shared].map(|number| number.to_string());
        rows.push([vec![path.display().to_string()], numbers.to_vec()].concat());
    }
    print::table(&rows)?;
    print::line(format_args!("{} different {} records are in both", found.shared, found.format))?;
    for example in &found.examples {
        let (a, b) = (&example.first, &example.second);
        let line = format!("{}  {} {}  {} {}", example.leaf.short(), a.file, a.record, b.file, b.record);
        print::line(printable(&line, 400))?;
    }
    Ok(0)
}
