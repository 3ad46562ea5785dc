//! `diff`.

use std::path::PathBuf;

use clap::Args;
use countermark::diff::{self, Change, ChunkDiff, Diff as Answer, Options, Summary, TensorDiff};

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Say in which files and tensors two artifacts differ
#[derive(Args)]
#[command(after_help = "\
Example: countermark diff base fine-tuned
         countermark diff model.safetensors https://HUB/ORG/MODEL/resolve/main/model.safetensors
Drift is ‖second − first‖ / ‖first‖. A file is compared with a hub's copy by the hash that the hub names, without \
downloading it.
Exit codes: 0 nothing differs, 1 something does.")]
pub struct Diff {
    /// A file or a folder
    pub first: PathBuf,
    /// A file, a folder, or the http(s) address of a file on a model hub
    pub second: PathBuf,
    /// Also compare by content-defined chunks: how much both share
    #[arg(long)]
    pub chunks: bool,
    /// Also list the tensors that are identical
    #[arg(long)]
    pub all: bool,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Exit 0 when nothing differs, 1 when something does, as `diff` and `cmp` do.
pub fn run(args: Diff) -> Result<u8> {
    if let Some(url) = args.second.to_str().filter(|text| text.starts_with("http://") || text.starts_with("https://")) {
        return against_hub(&args, url);
    }
    let bar = Bar::new();
    let answer = diff::diff(&args.first, &args.second, Options { chunks: args.chunks }, &bar)?;
    drop(bar);
    let code = u8::from(!answer.identical);
    if args.format == Format::Json {
        print::json(&answer)?;
        return Ok(code);
    }
    if answer.identical {
        print::line("identical")?;
    }
    files(&answer)?;
    tensors(&answer.tensors, args.all)?;
    if let Some(counts) = &answer.summary {
        summary(counts)?;
    }
    if let Some(shared) = &answer.chunks {
        chunks(shared)?;
    }
    Ok(code)
}

fn against_hub(args: &Diff, url: &str) -> Result<u8> {
    let bar = Bar::new();
    let answer = diff::against_hub(&args.first, url, &bar)?;
    drop(bar);
    let code = u8::from(!answer.identical);
    if args.format == Format::Json {
        print::json(&answer)?;
        return Ok(code);
    }
    let word = if answer.identical { "same" } else { "differs" };
    print::line(format_args!("{word} by {} hash; what the hub says is not signed", answer.hash))?;
    print::line(format_args!("here   {}", answer.here))?;
    print::line(format_args!("there  {}", answer.there))?;
    Ok(code)
}

fn files(answer: &Answer) -> Result<()> {
    let rows = [
        ("only in first", &answer.only_in_first),
        ("only in second", &answer.only_in_second),
        ("changed", &answer.changed),
    ];
    for (what, paths) in rows {
        for path in paths {
            print::line(format_args!("{what}: {path}"))?;
        }
    }
    Ok(())
}

/// By what became of them; what moved most comes first.
fn tensors(list: &[TensorDiff], all: bool) -> Result<()> {
    let mut list: Vec<&TensorDiff> = list.iter().filter(|row| all || row.change != Change::Identical).collect();
    let drift = |row: &TensorDiff| row.drift.and_then(|drift| drift.drift).unwrap_or(0.0);
    list.sort_by(|a, b| a.change.cmp(&b.change).then(drift(b).total_cmp(&drift(a))).then_with(|| a.name.cmp(&b.name)));
    if list.is_empty() {
        return Ok(());
    }
    let head = ["tensor", "change", "drift", "‖first‖", "‖second‖", "max |Δ|", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for row in list {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6e}"));
        let moved = |value: fn(&diff::Drift) -> f64| number(row.drift.as_ref().map(value));
        rows.push(vec![
            row.name.clone(),
            row.change.as_str().to_owned(),
            number(row.drift.and_then(|drift| drift.drift)),
            moved(|drift| drift.norm_first),
            moved(|drift| drift.norm_second),
            moved(|drift| drift.max_difference),
            note(row),
        ]);
    }
    print::table(&rows)
}

/// The old name, and both number formats and extents where they differ.
fn note(row: &TensorDiff) -> String {
    let mut notes = Vec::new();
    if let Some(name) = &row.renamed_from {
        notes.push(format!("was {name}"));
    }
    if let (Some(first), Some(second)) = (&row.first, &row.second)
        && first != second
    {
        notes.push(format!("{} {:?} → {} {:?}", first.dtype, first.shape, second.dtype, second.shape));
    }
    notes.join(", ")
}

fn summary(counts: &Summary) -> Result<()> {
    let Summary { identical, changed, renamed, added, removed, drift } = counts;
    let drift = drift.map_or_else(String::new, |drift| format!("; drift of the changed ones together {drift:.6e}"));
    print::line(format_args!(
        "tensors: {identical} identical, {changed} changed, {renamed} renamed, {added} added, {removed} removed{drift}"
    ))
}

fn chunks(diff: &ChunkDiff) -> Result<()> {
    let rows =
        [("shared", diff.shared), ("only in first", diff.only_in_first), ("only in second", diff.only_in_second)];
    let mut table = vec![["chunks", "count", "bytes"].map(str::to_owned).to_vec()];
    table.extend(rows.map(|(what, count)| vec![what.to_owned(), count.chunks.to_string(), count.bytes.to_string()]));
    print::table(&table)?;
    let (first, second) = diff.bytes;
    print::line(format_args!("{first} and {second} bytes, stored together {:.3} to 1", diff.dedup_ratio))
}
