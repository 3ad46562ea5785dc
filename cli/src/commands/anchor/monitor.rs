//! `anchor monitor`.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use countermark::Progress as _;
use countermark::io::anchor::monitor::{self, Finding, Source};
use countermark::lineage::anchor::note::VerifierKey;

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, BOLD, RED, RESET, Result};

/// Watch a log: is what it shows now a continuation of what it showed before?
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor monitor https://log.example --vkey log.example+5e680137+AQOh… --state log.seen
  countermark anchor monitor log --vkey \"$(cat log.vkey)\" --state log.seen --all
The first look remembers the head; later ones recompute from tiles that it is the beginning of the head shown then. Take the
verifier key from where you trust it, never from the log itself.
Exit codes: 0 consistent, 1 forked, shrunk or damaged (heads that contradict each other are kept beside the state file as
evidence), 3 the log could not be seen.")]
pub struct Monitor {
    /// URL or folder of the log
    #[arg(value_name = "URL|DIR")]
    log: String,
    /// The log's verifier key, as `anchor status` prints it
    #[arg(long, value_name = "KEY")]
    vkey: String,
    /// What was seen; made by the first look
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Fetch every entry as well: hash it, compare it with every tile, check its signature
    #[arg(long)]
    all: bool,
    /// How long one answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

pub fn run(args: &Monitor) -> Result<u8> {
    let log = VerifierKey::parse(&args.vkey)?;
    let source = Source { place: args.log.clone(), timeout: Duration::from_secs(args.timeout) };
    let bar = Bar::new();
    let done = Cell::new(None);
    let progress = |now: u64, total: u64| {
        if done.get().is_none() {
            bar.begin("audit", total);
        }
        bar.advance(now - done.replace(Some(now)).unwrap_or(0));
    };
    let report = monitor::watch(&source, &log, &args.state, args.all, &progress)?;
    drop(bar);
    match args.format {
        Format::Json => print::json(&report)?,
        Format::Human => {
            let colour = if report.state == Finding::Consistent { "" } else { RED };
            let detail = print::foreign(&report.detail);
            print::line(format_args!("{BOLD}{colour}{}{RESET} {}: {detail}", report.state.as_str(), report.log))?;
            if let Some(entries) = report.entries {
                print::line(format_args!("all {entries} entries are signed and are what the head says"))?;
            }
            for extension in &report.extensions {
                let extension = print::foreign(extension);
                print::line(format_args!("the checkpoint says as well, without a meaning here: {extension}"))?;
            }
            if let Some(evidence) = &report.evidence {
                print::line(format_args!("evidence: {}", evidence.display()))?;
            }
        }
    }
    Ok(match report.state {
        Finding::Consistent => 0,
        Finding::Forked | Finding::Shrunk | Finding::Damaged => 1,
        Finding::Unknown => 3,
    })
}
