//! What the signed statements of a bundle say, in the formats that other tools read.
//!
//! Every export is a pure function of [`Facts`] (what was signed) and [`Answers`] (what a person adds, which no statement
//! can know: licence, provider, address). The same bundle and the same answers give the same bytes: identifiers come from
//! hashes, times from the statements. What nobody stated is said to be *not stated*; it is never filled in, and never
//! called "none". A field that a format cannot do without and that nobody stated is an error that names it.
//!
//! Names in statements are foreign text. They reach a document only as data of its own grammar: as JSON strings, as
//! percent-encoded parts of an IRI, as escaped Markdown, as quoted YAML.

pub mod answers;
pub mod croissant;
pub mod cyclonedx;
pub mod eu_summary;
pub mod facts;
pub mod hub_card;
pub mod measured;
pub mod openlineage;
pub mod slsa;
pub mod spdx;
mod text;

pub use answers::Answers;
pub use facts::{Facts, Node};
pub use measured::Measured;

/// What is written where nobody stated anything.
pub const NOT_STATED: &str = "not stated";

/// The program that made the document, as the formats name tools.
pub const TOOL: &str = "countermark";

/// Its version.
pub const TOOL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A document as text: indented, with a line end.
fn to_text(document: &serde_json::Value) -> String {
    // A value's keys are strings, so this cannot fail.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

/// When the statement says that its artifact was made, in the one spelling `YYYY-MM-DDTHH:MM:SSZ`.
fn utc(statement: &crate::graph::statement::Statement) -> String {
    crate::graph::statement::rfc3339(statement.created().unwrap_or_default())
}
