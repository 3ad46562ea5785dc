//! OpenSSF Model Signing (OMS) v1.0: a Sigstore bundle around a DSSE envelope around an in-toto statement that lists
//! the files of one model.
//!
//! ```text
//! bundle      what carries the signature, and what its signer is recognised by: bundle.rs
//! statement   the signed payload: resources, how they were hashed, the root over them: statement.rs
//! names       what a file may be called, and what is left out: names.rs
//! measure     a model's files into a statement to sign: measure.rs
//! check       signer, signature, statement, in this order: check.rs
//! sigstore    keyless signatures: a short-lived certificate and an entry in a public log: sigstore/
//! ```
//!
//! Only [`measure`] looks at the model; [`crate::verify::oms`] compares it with the statement of somebody else.

mod bundle;
mod check;
mod json;
mod measure;
mod names;
pub mod sigstore;
mod statement;

pub use bundle::{Bundle, KeyHint, MAX_BUNDLE, Material, hint};
pub use check::{Opened, Trust, check_chain, open};
pub use measure::{Sources, measure, shards};
pub use names::{DEFAULT_IGNORED, check_ignored, check_name, is_ignored};
pub use statement::{DEFAULT_SHARD_SIZE, Method, Resource, Statement};

/// Row: the file is one bundle with one kind of material.
pub const BUNDLE: &str = "oms bundle";
/// Row: somebody who was asked for signed it.
pub const SIGNER: &str = "oms signer";
/// Row: the signature covers the payload.
pub const SIGNATURE: &str = "oms signature";
/// Row: the signature stands in a transparency log.
pub const LOG: &str = "oms log";
/// Row: when it was signed, by somebody else's clock.
pub const TIME: &str = "oms time";
/// Row: the payload is a statement about a model, and its root is that of its resources.
pub const STATEMENT: &str = "oms statement";
/// Row: the files are those of the statement.
pub const FILES: &str = "oms files";
