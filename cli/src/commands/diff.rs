//! `diff`.

use std::path::PathBuf;

use clap::Args;
use countermark::digest;

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Say in which files and tensors two artifacts differ
#[derive(Args)]
#[command(after_help = "Example: countermark diff base fine-tuned")]
pub struct Diff {
    pub first: PathBuf,
    pub second: PathBuf,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Exit 0 when nothing differs, 1 when something does, as `diff` and `cmp` do.
pub fn run(args: Diff) -> Result<u8> {
    let bar = Bar::new();
    let diff = digest::diff(&args.first, &args.second, &bar)?;
    drop(bar);
    let code = u8::from(!diff.identical);
    if args.format == Format::Json {
        print::json(&diff)?;
        return Ok(code);
    }
    if diff.identical {
        print::line("identical")?;
        return Ok(0);
    }
    let rows =
        [("only in first", &diff.only_in_first), ("only in second", &diff.only_in_second), ("changed", &diff.changed)];
    for (what, paths) in rows {
        for path in paths {
            print::line(format_args!("{what}: {path}"))?;
        }
    }
    let mut rows = vec![vec!["tensor".to_owned(), "change".to_owned(), "drift".to_owned()]];
    for tensor in diff.tensors.iter().filter(|tensor| tensor.change != "identical") {
        let drift = tensor.drift.map_or_else(String::new, |drift| format!("{drift:.6}"));
        rows.push(vec![tensor.name.clone(), tensor.change.to_owned(), drift]);
    }
    if rows.len() > 1 {
        print::table(&rows)?;
    }
    let same = diff.tensors.len() + 1 - rows.len();
    if same > 0 {
        print::line(format_args!("{same} tensors identical"))?;
    }
    Ok(code)
}
