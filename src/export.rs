//! Writes what a bundle's signed statements say in the formats that other tools read.

use std::path::PathBuf;

use countermark_io::{files, keys};
use countermark_lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark_lineage::credential::dsse::Envelope;
use countermark_lineage::export::{Answers, Facts, Measured};
use countermark_lineage::export::{answers, croissant, cyclonedx, eu_summary, openlineage, slsa, spdx};

use crate::trust::Trust;
use crate::{Error, Progress, keyset};
use countermark_lineage::verify as judge;

/// Larger answers files are refused.
const MAX_ANSWERS: u64 = 4 << 20;

/// What to export, and from what.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bundle.
    pub bundle: PathBuf,
    /// In which format.
    pub format: Format,
    /// What a person adds.
    pub answers: Option<PathBuf>,
    /// Whom to believe. Without it everything is exported that its own signer signed.
    pub policy: Option<PathBuf>,
    /// The artifact's bytes, for SHA-256 of its files and the columns of its tables. They must be those that were signed.
    pub path: Option<PathBuf>,
    /// Signs the document, in a DSSE envelope; only for [`Format::Slsa`].
    pub key: Option<PathBuf>,
}

impl Request {
    /// Export `bundle` as `format`, with nothing added.
    pub fn new(bundle: impl Into<PathBuf>, format: Format) -> Self {
        Request { bundle: bundle.into(), format, answers: None, policy: None, path: None, key: None }
    }
}

/// A format of other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Croissant 1.1, for datasets.
    Croissant,
    /// SPDX 3.0.1 as JSON-LD, AI and Dataset profiles.
    Spdx,
    /// CycloneDX 1.6 ML-BOM, JSON.
    Cyclonedx,
    /// OpenLineage events, one per line.
    Openlineage,
    /// SLSA provenance v1 in an in-toto statement.
    Slsa,
    /// Summary of training content under Article 53(1)(d) of the EU AI Act, Markdown.
    EuSummary,
    /// The same as JSON.
    EuSummaryJson,
}

impl Format {
    /// Every format and the word for it, on the command line and in Python.
    pub const ALL: &[(&str, Format)] = &[
        ("croissant", Format::Croissant),
        ("spdx", Format::Spdx),
        ("cyclonedx", Format::Cyclonedx),
        ("openlineage", Format::Openlineage),
        ("slsa", Format::Slsa),
        ("eu-summary", Format::EuSummary),
        ("eu-summary-json", Format::EuSummaryJson),
    ];
}

impl std::str::FromStr for Format {
    type Err = countermark_lineage::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Format::ALL.iter().find(|(word, _)| *word == text).map(|(_, format)| *format).ok_or_else(|| {
            let all: Vec<&str> = Format::ALL.iter().map(|(word, _)| *word).collect();
            countermark_lineage::Error::usage(
                format!("unknown format {text:?}"),
                format!("use one of {}", all.join(", ")),
            )
        })
    }
}

/// The document, as text.
///
/// # Errors
/// When a statement of the bundle does not verify, the policy does not vouch for one, the bytes are not those that were
/// signed, or the format requires what nobody stated.
pub fn export(request: &Request, progress: &impl Progress) -> Result<String, Error> {
    let facts = open(request)?;
    let answers = read_answers(request.answers.as_deref(), &facts)?;
    let measured = match &request.path {
        Some(path) => {
            let artifact = files::open(path)?;
            progress.begin("re-hash", artifact.total_size());
            Some(Measured::of(&artifact, facts.statement(), &|bytes| progress.advance(bytes))?)
        }
        None => None,
    };
    let files = measured.as_ref();
    if let Some(key) = &request.key {
        if request.format != Format::Slsa {
            let problem = "only SLSA provenance has an envelope to sign";
            return Err(countermark_lineage::Error::usage(problem, "leave --key out, or use --format slsa").into());
        }
        let key = keys::load(key)?;
        let signer = facts.statement().predicate.signer;
        if key.public() != signer {
            // The document names the signer of the release as the builder, and nobody else can say so.
            let problem = format!("the release was signed by {signer}, and this is another key");
            let help = "sign the provenance with the key that signed the release, or leave --key out";
            return Err(countermark_lineage::Error::usage(problem, help).into());
        }
        let envelope = Envelope::sign(slsa::export(&facts, files).trim_end().as_bytes(), &*key)?;
        // An envelope's keys are strings, so this cannot fail.
        return Ok(serde_json::to_string_pretty(&envelope).unwrap_or_default() + "\n");
    }
    Ok(match request.format {
        Format::Croissant => croissant::export(&facts, &answers, files)?,
        Format::Spdx => spdx::export(&facts, &answers, files),
        Format::Cyclonedx => cyclonedx::export(&facts, &answers, files),
        Format::Openlineage => openlineage::export(&facts),
        Format::Slsa => slsa::export(&facts, files),
        Format::EuSummary => eu_summary::to_markdown(&facts, &answers)?,
        Format::EuSummaryJson => eu_summary::to_json(&facts, &answers)?,
    })
}

/// An answers file for this bundle, with every key empty and what each is for.
///
/// # Errors
/// As [`export`], for the bundle and the policy.
pub fn answers_template(request: &Request) -> Result<String, Error> {
    Ok(answers::template(&open(request)?))
}

fn open(request: &Request) -> Result<Facts, Error> {
    let bytes = files::read(&request.bundle, MAX_BUNDLE)?;
    let facts = Facts::of(&Bundle::parse(&bytes)?)?;
    if request.policy.is_some() {
        let trust = Trust::load(request.policy.as_deref(), &[], &[])?;
        judge::vouched_for(&bytes, &trust.belief(keyset::now()))?;
    }
    Ok(facts)
}

/// The answers about these facts; none without a file.
pub(crate) fn read_answers(path: Option<&std::path::Path>, facts: &Facts) -> Result<Answers, Error> {
    match path {
        Some(path) => Ok(Answers::parse(&files::read_text(path, MAX_ANSWERS)?, facts)?),
        None => Ok(Answers::default()),
    }
}
