//! Tests whether two models on disk share training history.

use std::path::PathBuf;

use countermark_io::files;
use countermark_watermark::Compute;
use countermark_watermark::derivation::{DerivationOptions, DerivationReport, derivation as test};

use crate::Error;
use crate::mark::open_model;

/// Which models.
#[derive(Clone, Debug)]
pub struct Request {
    /// The model that may have been made from the other.
    pub child: PathBuf,
    /// The model that it may have been made from.
    pub parent: PathBuf,
    /// Another parent, to see whether the child is a merge of the two.
    pub second_parent: Option<PathBuf>,
    /// Number of models that were considered as parents, this one included: the odds pay for all of them.
    pub candidates: u64,
}

impl Request {
    /// Was `child` made from `parent`?
    pub fn new(child: impl Into<PathBuf>, parent: impl Into<PathBuf>) -> Self {
        Request { child: child.into(), parent: parent.into(), second_parent: None, candidates: 1 }
    }
}

/// Tests, and describes what was done to the parent when the two are not independent.
///
/// # Errors
/// When a model cannot be read.
pub fn derivation(request: &Request) -> Result<DerivationReport, Error> {
    let open = |path: &PathBuf| open_model(path, &files::open(path)?);
    let (child, parent) = (open(&request.child)?, open(&request.parent)?);
    let second = request.second_parent.as_ref().map(open).transpose()?;
    let options = DerivationOptions {
        candidates: request.candidates,
        second_parent: second.as_ref(),
        ..DerivationOptions::default()
    };
    Ok(test(&child, &parent, &options, Compute::cpu().device())?)
}
