//! Compares a model card with the signed parents, and writes them into it.

use std::path::{Path, PathBuf};

use countermark_io::files;
use countermark_lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark_lineage::digest::artifact::CARD;
use countermark_lineage::export::Facts;
use countermark_lineage::export::hub_card::{self, Comparison, MAX_CARD};
use countermark_lineage::verdict::{Check, State};

use crate::{Error, Progress, export, verify};

/// Which card, and what speaks for its model.
#[derive(Clone, Debug)]
pub struct Request {
    /// The folder of the model; its card is `README.md`.
    pub model: PathBuf,
    /// The bundle; when left out, looked for beside the folder.
    pub bundle: Option<PathBuf>,
    /// Whom to believe. Without it the card is compared with what was signed, whoever signed it.
    pub policy: Option<PathBuf>,
    /// Where the parents are published.
    pub answers: Option<PathBuf>,
}

impl Request {
    /// The card of `model`, with the bundle beside it and nothing else.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Request { model: model.into(), bundle: None, policy: None, answers: None }
    }
}

/// Compares the card's claims with the signed parents, after verifying that the bundle is about this model.
///
/// # Errors
/// When a file cannot be read or the card's front matter could be read in two ways. A card that says something else than
/// what was signed is a finding, not an error.
pub fn check(request: &Request, progress: &impl Progress) -> Result<Comparison, Error> {
    let (facts, verdict) = open(request, progress)?;
    let answers = export::read_answers(request.answers.as_deref(), &facts)?;
    let mut comparison = hub_card::check(&facts, &answers, &read_card(&request.model)?)?;
    comparison.checks.insert(0, verdict);
    Ok(Comparison::new(&comparison.name, comparison.checks))
}

/// Writes the signed parents into the card, and answers whether it changed.
///
/// # Errors
/// As [`check`], when the bundle is not about this model, and when nobody stated where a parent is published. The card is
/// as it was then.
pub fn write(request: &Request, progress: &impl Progress) -> Result<bool, Error> {
    let (facts, verdict) = open(request, progress)?;
    if verdict.state >= State::Invalid {
        let help = "nothing was written; see `countermark verify`";
        return Err(countermark_io::Error::refused(&request.model, verdict.detail, help).into());
    }
    let answers = export::read_answers(request.answers.as_deref(), &facts)?;
    let card = read_card(&request.model)?;
    let written = hub_card::write(&facts, &answers, &card)?;
    if written != card {
        files::write(&request.model.join(CARD), written.as_bytes(), files::PUBLIC)?;
    }
    Ok(written != card)
}

/// The signed facts, and a row that says whether the bundle is about the model at hand.
fn open(request: &Request, progress: &impl Progress) -> Result<(Facts, Check), Error> {
    let help = "name the bundle by --bundle";
    let bundle = request.bundle.clone().or_else(|| verify::find_bundle(&request.model));
    let Some(bundle) = bundle else {
        return Err(countermark_io::Error::refused(&request.model, "has no bundle beside it", help).into());
    };
    let facts = Facts::of(&Bundle::parse(&files::read(&bundle, MAX_BUNDLE)?)?)?;
    let verdict = verify::verify(
        &verify::Request {
            bundle: Some(bundle),
            policy: request.policy.clone(),
            ..verify::Request::new(&request.model)
        },
        progress,
    )?;
    if verdict.state < State::Invalid && verdict.statement != facts.artifact().id.to_string() {
        let problem = "its bundle was replaced while it was read";
        return Err(countermark_io::Error::refused(&request.model, problem, "try again").into());
    }
    // Without a policy nobody is known, and the question is only what was signed.
    let (state, detail) = match verdict.state {
        State::Verified | State::Unanchored => (State::Verified, format!("{} by {}", verdict.state, verdict.signer)),
        State::UnknownSigner if request.policy.is_none() => {
            (State::Verified, format!("signed by {}; without a policy nobody vouches for that key", verdict.signer))
        }
        state => {
            let worst = verdict.checks.iter().find(|row| row.state == state);
            (state, worst.map_or(state.to_string(), |row| format!("{state}: {}: {}", row.name, row.detail)))
        }
    };
    Ok((facts, Check::new("bundle", state, detail)))
}

/// The card's text; empty when there is none.
fn read_card(model: &Path) -> Result<String, Error> {
    let path = model.join(CARD);
    if !model.is_dir() {
        let help = "name the folder that holds the model and its card";
        return Err(countermark_io::Error::refused(model, "is no folder", help).into());
    }
    if path.symlink_metadata().is_err() {
        return Ok(String::new());
    }
    Ok(files::read_text(&path, MAX_CARD)?)
}
