//! `badge svg`, `badge json`, `badge markdown`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countermark::badge;
use countermark::lineage::verdict::Verdict;
use countermark::verify::{self, Request};

use crate::bar::Bar;
use crate::print::{self, Result};

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
    /// A revocation list; those named in the policy, and revocations.json beside it, are found without this
    #[arg(long, value_name = "FILE")]
    pub revocations: Vec<PathBuf>,
    /// A hand-over from a key of the policy to the one that signed, when the bundle does not carry it
    #[arg(long = "hand-over", value_name = "FILE")]
    pub hand_overs: Vec<PathBuf>,
}

pub fn run(args: Badge) -> Result<u8> {
    match args {
        Badge::Svg(of) => print::text(&badge::svg(&verdict(of)?))?,
        Badge::Json(of) => print::json(&badge::shields(&verdict(of)?))?,
        Badge::Markdown(of) => {
            let bundle = of.bundle.clone().or_else(|| verify::find_bundle(&of.path));
            let bundle =
                bundle.as_deref().unwrap_or(&of.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
            let verdict = verdict(of)?;
            print::line(badge::markdown(&verdict, "badge.svg", &bundle))?;
        }
    }
    Ok(0)
}

fn verdict(of: BadgeOf) -> Result<Verdict> {
    let BadgeOf { path, bundle, policy, revocations, hand_overs } = of;
    let request = Request { bundle, policy, revocations, hand_overs, ..Request::new(path) };
    Ok(verify::verify(&request, &Bar::new())?)
}
