//! `badge.svg`, `badge.json` and `badge.markdown`, from the JSON document of a verdict.

use countermark::badge;
use countermark::lineage::verdict::Verdict;
use pyo3::prelude::*;

use crate::errors;

#[pyfunction]
pub fn badge_svg(verdict: &str) -> PyResult<String> {
    Ok(badge::svg(&parse(verdict)?))
}

#[pyfunction]
pub fn badge_json(verdict: &str) -> PyResult<String> {
    Ok(badge::shields(&parse(verdict)?).to_string())
}

#[pyfunction]
pub fn badge_markdown(verdict: &str, image: &str, link: &str) -> PyResult<String> {
    Ok(badge::markdown(&parse(verdict)?, image, link))
}

fn parse(verdict: &str) -> PyResult<Verdict> {
    let help = "give what Verification.to_json() returned";
    serde_json::from_str(verdict).map_err(|error| errors::raise(errors::usage(format!("not a verdict: {error}"), help)))
}
