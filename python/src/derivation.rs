//! `derivation`.

use std::path::PathBuf;

use countermark::derivation::Request;
use pyo3::prelude::*;

use crate::{document, interrupt};

#[pyfunction]
pub fn derivation(
    py: Python<'_>,
    child: PathBuf,
    parent: PathBuf,
    second_parent: Option<PathBuf>,
    candidates: u64,
) -> PyResult<String> {
    let request = Request { child, parent, second_parent, candidates };
    document(&interrupt::run(py, |_| countermark::derivation::derivation(&request))?)
}
