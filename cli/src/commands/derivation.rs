//! `derivation`.

use std::path::PathBuf;

use clap::Args;
use std::collections::BTreeMap;

use countermark::derivation::{self, Request};
use countermark::watermark::derivation::{DerivationReport, TensorReport};

use crate::args::Format;
use crate::print::{self, BOLD, DIM, RESET, Result};

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

pub fn run(args: Derivation) -> Result<u8> {
    let request =
        Request { child: args.child, parent: args.parent, second_parent: args.second, candidates: args.candidates };
    let report = derivation::derivation(&request)?;
    let code = match (report.related, report.statistic) {
        (true, _) => 0,
        (false, Some(_)) => 1,
        (false, None) => 3,
    };
    if args.format == Format::Json {
        print::json(&report)?;
        return Ok(code);
    }
    human(&request, &report)?;
    Ok(code)
}

fn human(request: &Request, report: &DerivationReport) -> Result<()> {
    let (child, parent) = (request.child.display(), request.parent.display());
    print::line(format_args!("{BOLD}{}{RESET}: {child} and {parent}", report.verdict))?;
    let odds = format!("log10 p = {:.2}, needs {:.2}", report.log10_p, report.threshold_log10_p);
    let counted = format!("{} of {} units match in {} layers", report.matches, report.units, report.layers);
    print::line(format_args!("odds        {odds}; {counted}"))?;
    if let Some(agreement) = &report.agreement {
        let found = format!("{} of {} units agree with themselves", agreement.agreeing, agreement.units);
        print::line(format_args!("empirical   {found}, where about {} are chance", agreement.layers))?;
    }
    if let Some(relation) = report.relation_hint {
        let relation = serde_json::to_value(relation)?;
        print::line(format_args!("looks like  {}", relation.as_str().unwrap_or_default()))?;
    }
    for finding in &report.findings {
        print::line(format_args!("            {finding}"))?;
    }
    if let Some(merge) = &report.merge {
        let spread = format!("{:.4} ± {:.4}", merge.lambda, merge.lambda_deviation);
        print::line(format_args!("merge       {spread} of the other parent, {:.3} unexplained", merge.residual))?;
    }
    for (kind, count, drift) in by_kind(&report.tensors) {
        let drift = drift.map_or(String::new(), |drift| format!(", median drift {:.3} %", drift * 100.0));
        print::line(format_args!("{count:>5} matrices {kind}{drift}"))?;
    }
    for limit in &report.limits {
        print::line(format_args!("{DIM}limit       {limit}{RESET}"))?;
    }
    Ok(())
}

/// How many matrices of each kind, with the median of their drifts.
fn by_kind(tensors: &[TensorReport]) -> Vec<(String, usize, Option<f64>)> {
    let mut kinds: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    for tensor in tensors {
        let kind = serde_json::to_value(tensor.kind).ok();
        let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("unknown").to_owned();
        kinds.entry(kind).or_default().push(tensor.drift);
    }
    let median = |drifts: &[Option<f64>]| {
        let mut known: Vec<f64> = drifts.iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        known.get(known.len() / 2).copied()
    };
    kinds.into_iter().map(|(kind, drifts)| (kind, drifts.len(), median(&drifts))).collect()
}
