//! `watermark.embed` and `watermark.detect`.

use std::path::PathBuf;

use countermark::mark::{self, DetectRequest, EmbedRequest};
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
        let payload = payload.map(|bytes| {
            <[u8; 16]>::try_from(bytes)
                .map_err(|bytes| errors::usage(format!("the payload has {} bytes", bytes.len()), "give 16 bytes"))
        });
        let request = EmbedRequest {
            model,
            key,
            out,
            log,
            strength: strength.map_or(Strength::Auto, Strength::Decibel),
            payload: payload.transpose()?,
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
    key: PathBuf,
    commitment: Option<PathBuf>,
    base: Option<PathBuf>,
) -> PyResult<String> {
    let request = DetectRequest { model, key, commitment, base };
    let detection = interrupt::run(py, |watch| mark::detect(&request, watch))?;
    document(&detection)
}
