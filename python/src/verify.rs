//! `verify`.

use std::path::PathBuf;

use countermark::verify::Request;
use pyo3::prelude::*;

use crate::{document, interrupt};

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the Python function has keyword arguments")]
pub fn verify(
    py: Python<'_>,
    path: PathBuf,
    bundle: Option<PathBuf>,
    policy: Option<PathBuf>,
    revocations: Vec<PathBuf>,
    hand_overs: Vec<PathBuf>,
    require_anchor: bool,
    name: Option<String>,
    at: Option<i64>,
) -> PyResult<String> {
    let request = Request { bundle, policy, revocations, hand_overs, require_anchor, name, at, ..Request::new(path) };
    let verdict = interrupt::run(py, |watch| countermark::verify::verify(&request, watch))?;
    document(&verdict)
}
