//! `watermark.embed`, `detect`, `trace` and `disclose`.

use std::path::PathBuf;

use countermark::detect::{self, DetectRequest, With};
use countermark::disclose;
use countermark::mark::{self, EmbedRequest};
use countermark::watermark::Strength;
use pyo3::prelude::*;

use crate::{document, errors, interrupt};

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the Python function has keyword arguments")]
pub fn watermark_embed(
    py: Python<'_>,
    model: PathBuf,
    key: PathBuf,
    out: PathBuf,
    log: Option<PathBuf>,
    strength: Option<f64>,
    payload: Option<Vec<u8>>,
    recipient: Option<String>,
) -> PyResult<String> {
    let embedded = interrupt::run(py, |watch| {
        let request = EmbedRequest {
            model,
            key,
            out,
            log,
            strength: strength.map_or(Strength::Auto, Strength::Decibel),
            payload,
            recipient,
        };
        mark::embed(&request, watch)
    })?;
    document(&embedded)
}

#[pyfunction]
pub fn watermark_detect(
    py: Python<'_>,
    model: PathBuf,
    key: Option<PathBuf>,
    commitment: Option<PathBuf>,
    disclosure: Option<PathBuf>,
    base: Option<PathBuf>,
) -> PyResult<String> {
    let detection = interrupt::run(py, |watch| {
        let with = match (key, disclosure) {
            (Some(key), None) => With::Key { key, commitment },
            (None, Some(disclosure)) => With::Disclosure(disclosure),
            _ => return Err(errors::usage("both a key and a disclosure, or neither", "give one of them")),
        };
        detect::detect(&DetectRequest { model, with, base }, watch)
    })?;
    document(&detection)
}

#[pyfunction]
pub fn watermark_trace(py: Python<'_>, model: PathBuf, key: PathBuf, base: Option<PathBuf>) -> PyResult<String> {
    let request = DetectRequest { model, with: With::Key { key, commitment: None }, base };
    document(&interrupt::run(py, |watch| detect::trace(&request, watch))?)
}

#[pyfunction]
pub fn watermark_disclose(
    py: Python<'_>,
    key: PathBuf,
    commitment: PathBuf,
    group: usize,
    out: PathBuf,
    payload: Option<Vec<u8>>,
) -> PyResult<()> {
    let request = disclose::Request { key, commitment, group, payload, out };
    interrupt::run(py, |_| disclose::disclose(&request)).map(|_| ())
}
