//! The extension module `countermark._core`: paths and options in, the command line's JSON documents out.
//!
//! It holds no logic of its own. The package's Python files turn the documents into frozen objects, and `_core.pyi`
//! gives the signatures.

#![allow(clippy::result_large_err, reason = "the core library's error, moved once per call at most")]

mod anchor;
mod badge;
mod derivation;
mod digest;
mod errors;
mod interrupt;
mod sign;
mod verify;
mod watermark;

use pyo3::PyResult;
use serde::Serialize;

/// The JSON document of a result.
///
/// # Errors
/// A path in it that is no UTF-8.
fn document(result: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(result).map_err(|error| errors::CountermarkError::new_err(error.to_string()))
}

/// Functions of the core library. Each releases the interpreter's lock and can be interrupted.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use super::anchor::{anchor_status, anchor_submit, anchor_upgrade};
    #[pymodule_export]
    use super::badge::{badge_json, badge_markdown, badge_svg};
    #[pymodule_export]
    use super::derivation::derivation;
    #[pymodule_export]
    use super::digest::{diff, digest};
    #[pymodule_export]
    use super::sign::{keygen, sign};
    #[pymodule_export]
    use super::verify::verify;
    #[pymodule_export]
    use super::watermark::{watermark_detect, watermark_disclose, watermark_embed, watermark_trace};
}
