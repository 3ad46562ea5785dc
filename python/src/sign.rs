//! `keygen` and `sign`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use countermark::keyset;
use countermark::lineage::graph::statement::Process;
use countermark::sign::{ParentRequest, Request};
use pyo3::prelude::*;
use serde_json::json;

use crate::interrupt;

/// The public key of the owner.
#[pyfunction]
pub fn keygen(py: Python<'_>, folder: PathBuf, name: String) -> PyResult<String> {
    let key = interrupt::run(py, |_| keyset::generate(&folder, &name))?;
    Ok(key.to_string())
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the Python function has keyword arguments")]
pub fn sign(
    py: Python<'_>,
    path: PathBuf,
    key: PathBuf,
    parents: Vec<(String, PathBuf, Option<PathBuf>)>,
    log: Option<PathBuf>,
    out: Option<PathBuf>,
    kind: Option<String>,
    marks: Vec<PathBuf>,
    parameters: BTreeMap<String, String>,
    revision: Option<String>,
) -> PyResult<String> {
    let signed = interrupt::run(py, |watch| {
        let parent = |(relation, bundle, path): (String, _, _)| {
            Ok::<_, countermark::Error>(ParentRequest { relation: relation.parse()?, bundle, path })
        };
        let process = !parameters.is_empty() || revision.is_some();
        let request = Request {
            path,
            key,
            parents: parents.into_iter().map(parent).collect::<Result<_, _>>()?,
            log,
            out,
            kind: kind.map(|kind| kind.parse()).transpose()?,
            marks,
            process: process.then_some(Process { parameters, revision }),
            tree: None,
            salt: None,
        };
        countermark::sign::sign(&request, watch)
    })?;
    let log = signed.log.map(|log| json!({ "index": log.index, "vkey": log.vkey }));
    let document = json!({
        "bundle": signed.bundle.to_string_lossy(),
        "manifest": signed.manifest.to_string_lossy(),
        "statement": signed.statement,
        "root": signed.root,
        "log": log,
    });
    Ok(document.to_string())
}
