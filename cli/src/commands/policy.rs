//! `policy check` and `policy show`.

use std::path::PathBuf;

use clap::Subcommand;
use countermark::keyset;
use countermark::lineage::credential::policy::Policy as Rules;
use serde_json::json;

use crate::args::Format;
use crate::print::{self, Result};

/// Look at a policy: whom it believes, and for what
#[derive(Subcommand)]
pub enum Policy {
    /// Say in plain words what a policy means, and warn of what its author may not have meant; exit 3 with warnings
    #[command(after_help = "Example: countermark policy check keys/policy.toml")]
    Check {
        file: PathBuf,
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
    },
    /// Print what is in a policy, as tables or as JSON
    #[command(after_help = "Example: countermark policy show keys/policy.toml --format json")]
    Show {
        file: PathBuf,
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
    },
}

pub fn run(args: Policy) -> Result<u8> {
    match args {
        Policy::Check { file, format } => {
            let remarks = keyset::load_policy(&file)?.review(keyset::now());
            let warnings = remarks.iter().filter(|remark| remark.warning).count();
            let code = if warnings == 0 { 0 } else { 3 };
            if format == Format::Json {
                print::json(&json!({ "policy": file, "warnings": warnings, "remarks": remarks }))?;
                return Ok(code);
            }
            for remark in &remarks {
                let mark = if remark.warning { "?" } else { "·" };
                print::line(print::foreign(&format!("{mark} {}: {}", remark.part, remark.text)))?;
            }
            if warnings > 0 {
                eprintln!("help: {warnings} lines marked ? may not be what was meant");
            } else {
                eprintln!("next: countermark verify PATH --policy {}", file.display());
            }
            Ok(code)
        }
        Policy::Show { file, format } => {
            let policy = keyset::load_policy(&file)?;
            match format {
                Format::Json => print::json(&policy)?,
                Format::Human => show(&policy)?,
            }
            Ok(0)
        }
    }
}

fn show(policy: &Rules) -> Result<()> {
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut rows = vec![row(&["signer", "key", "names", "relations", "from", "until"])];
    for signer in &policy.signers {
        let time = |time: Option<countermark::lineage::credential::policy::Time>| {
            time.map_or_else(String::new, |time| time.to_string())
        };
        let (key, names, relations) = (signer.key.to_string(), signer.names_text(), signer.relations_text());
        rows.push(row(&[&signer.name, &key, &names, &relations, &time(signer.from), &time(signer.until)]));
    }
    print::table(&rows)?;
    let mut rows = vec![row(&["threshold", "required", "of"])];
    for threshold in &policy.thresholds {
        let of = threshold.signers.as_ref().map_or("all signers".to_owned(), |signers| signers.join(", "));
        rows.push(row(&[&threshold.names.join(", "), &threshold.required.to_string(), &of]));
    }
    table(rows)?;
    let mut rows = vec![row(&["revocation list of", "file", "required"])];
    for list in &policy.revocation_lists {
        let required = if list.required { "yes" } else { "no" };
        rows.push(row(&[&list.key.to_string(), list.file.as_deref().unwrap_or("revocations.json"), required]));
    }
    table(rows)?;
    let mut rows = vec![row(&["revoked here", "reason"])];
    for entry in &policy.revoked {
        let what = [
            entry.key.map(|key| key.to_string()),
            entry.statement.map(|id| format!("statement {id}")),
            entry.mark.map(|mark| format!("mark {mark}")),
            entry.certificate.map(|certificate| format!("certificate {certificate}")),
        ];
        rows.push(row(&[&what.into_iter().flatten().collect::<Vec<_>>().join(", "), &entry.reason]));
    }
    table(rows)?;
    let mut rows = vec![row(&["certificate root"])];
    rows.extend(policy.certificate_roots.iter().map(|root| row(&[&root.name])));
    table(rows)?;
    let mut rows = vec![row(&["log"])];
    rows.extend(policy.logs.iter().map(|log| row(&[&log.vkey])));
    table(rows)?;
    let Some(witnessed) = &policy.tlog_policy else { return Ok(()) };
    let mut rows = vec![row(&["log with witnesses"])];
    rows.extend(witnessed.logs.iter().map(|log| row(&[&log.vkey])));
    table(rows)?;
    let mut rows = vec![row(&["witness", "key", "url"])];
    rows.extend(
        witnessed
            .witnesses()
            .map(|(_, name, witness)| row(&[&name, &witness.vkey, witness.url.as_deref().unwrap_or_default()])),
    );
    table(rows)?;
    table(vec![row(&["quorum"]), row(&[&witnessed.describe()])])
}

/// A table that has rows beside its head.
fn table(rows: Vec<Vec<String>>) -> Result<()> {
    if rows.len() > 1 {
        print::line("")?;
        print::table(&rows)?;
    }
    Ok(())
}
