//! `digest` and `diff`.

use std::path::PathBuf;

use countermark::digest::Options;
use pyo3::prelude::*;

use crate::{document, interrupt};

#[pyfunction]
pub fn digest(py: Python<'_>, path: PathBuf, tensors: bool, sha256: bool) -> PyResult<String> {
    let digest = interrupt::run(py, |watch| {
        countermark::digest::digest(&path, Options { tensors, sha256, records: None }, watch)
    })?;
    document(&digest)
}

#[pyfunction]
pub fn diff(py: Python<'_>, first: PathBuf, second: PathBuf) -> PyResult<String> {
    let diff = interrupt::run(py, |watch| countermark::digest::diff(&first, &second, watch))?;
    document(&diff)
}
