//! `anchor submit`, `anchor upgrade` and `anchor status`.

use std::path::PathBuf;

use countermark::anchor;
use countermark::io::anchor::Order;
use pyo3::prelude::*;

use crate::errors::InputError;
use crate::{document, interrupt};

#[pyfunction]
pub fn anchor_submit(py: Python<'_>, log: PathBuf, orders: &str) -> PyResult<String> {
    let orders: Vec<Order> =
        serde_json::from_str(orders).map_err(|error| InputError::new_err(format!("orders: {error}")))?;
    document(&interrupt::run(py, |_| anchor::submit(&log, orders))?)
}

#[pyfunction]
pub fn anchor_upgrade(py: Python<'_>, log: PathBuf, files: Vec<PathBuf>) -> PyResult<String> {
    let upgrade = || {
        let reports = anchor::upgrade(&log)?;
        files.iter().try_for_each(|path| anchor::attach(&log, path).map(drop))?;
        Ok(reports)
    };
    document(&interrupt::run(py, |_| upgrade())?)
}

#[pyfunction]
pub fn anchor_status(py: Python<'_>, log: PathBuf) -> PyResult<String> {
    document(&interrupt::run(py, |_| anchor::status(&log))?)
}
