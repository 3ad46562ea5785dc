//! Verdicts and tables for people. Colour is left out by `anstream` where it is not wanted (NO_COLOR, pipes).

use std::io::Write as _;

use countermark::lineage::verdict::{SCHEMA_OF_OMS, SCHEMA_OF_RECEIPT, State, Verdict, printable};
use serde::Serialize;

pub const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
pub const BOLD: &str = "\x1b[1m";
pub const DIM: &str = "\x1b[2m";
pub const RESET: &str = "\x1b[0m";

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One JSON document on stdout.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Text on stdout, as it is.
pub fn text(text: &str) -> Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Text that may quote foreign bytes, as it may be shown on a terminal. Its lines stay apart.
pub fn foreign(text: &str) -> String {
    text.lines().map(|line| printable(line, 4000)).collect::<Vec<_>>().join("\n")
}

/// What went wrong and does not matter to the result, on stderr.
pub fn warnings(warnings: &[String]) {
    for warning in warnings {
        anstream::eprintln!("{YELLOW}warning:{RESET} {}", foreign(warning));
    }
}

/// A line on stdout, with colours where they are wanted.
pub fn line(line: impl std::fmt::Display) -> Result<()> {
    writeln!(anstream::stdout().lock(), "{line}")?;
    Ok(())
}

/// A mark and a colour for a state, so that colour is not the only carrier.
pub fn sign(state: State) -> (&'static str, &'static str) {
    match state {
        State::Verified => ("✓", GREEN),
        State::Unanchored => ("·", GREEN),
        State::Stale | State::UnknownSigner | State::Unknown | State::Absent => ("?", YELLOW),
        State::Invalid | State::Revoked => ("✗", RED),
    }
}

/// One line per check, one for the verdict, one for what to do next.
pub fn verdict(verdict: &Verdict) -> Result<()> {
    let widest = verdict.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0).min(48);
    for check in &verdict.checks {
        let (mark, colour) = sign(check.state);
        line(format_args!("{colour}{mark}{RESET} {:widest$}  {}", check.name, check.detail))?;
    }
    let (_, colour) = sign(verdict.state);
    let (_, meaning) = match verdict.state {
        State::Verified if verdict.schema == SCHEMA_OF_OMS => {
            (verdict.state, "signed by whom it was asked for, and the files are those that were signed")
        }
        State::Verified if verdict.schema == SCHEMA_OF_RECEIPT => {
            (verdict.state, "all that it says holds; what it is about was not looked at")
        }
        state => meaning(state),
    };
    if let Some(scope) = &verdict.scope {
        line(format_args!("{BOLD}only {scope}{RESET} was looked at; the verdict says nothing of the rest"))?;
    }
    line(format_args!("{BOLD}{colour}{}{RESET} {}: {meaning}", verdict.state, verdict.name))?;
    if let Some(help) = help(verdict.state) {
        line(format_args!("{DIM}help: {help}{RESET}"))?;
    }
    Ok(())
}

fn meaning(state: State) -> (State, &'static str) {
    let text = match state {
        State::Verified => "every check that the policy asks for passed",
        State::Unanchored => "every check passed; no anchor bounds the time",
        State::Stale => "older than the policy allows",
        State::UnknownSigner => "the signatures hold, and nobody in the policy vouches for the signer",
        State::Unknown => "something could not be checked",
        State::Absent => "no provenance found",
        State::Invalid => "something that was checked is wrong",
        State::Revoked => "the signer, the statement, a mark or a certificate was revoked",
    };
    (state, text)
}

fn help(state: State) -> Option<&'static str> {
    match state {
        State::Verified | State::Unanchored => None,
        State::Stale => {
            Some("the rows marked ? say what is too old: ask for a newer release, or for the newest revocation list")
        }
        State::UnknownSigner => Some(
            "name the policy of somebody you trust with --policy FILE; the rows marked ? say whose word is missing",
        ),
        State::Unknown => Some("the rows marked ? say what is missing; ask the maker for the complete bundle"),
        State::Absent => Some("name the bundle with --bundle FILE, or ask the maker for one"),
        State::Invalid => Some("do not use it; the rows marked ✗ say what differs from what was signed"),
        State::Revoked => Some("do not use it; ask the maker for a newer release"),
    }
}

/// A table: the first row is the head, columns are padded.
pub fn table(rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0).min(72)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let row: Vec<String> = row.iter().map(|cell| printable(cell, 1000)).collect();
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let text = cells.join("  ");
        if index == 0 {
            line(format_args!("{DIM}{}{RESET}", text.trim_end()))?;
        } else {
            line(text.trim_end())?;
        }
    }
    Ok(())
}
