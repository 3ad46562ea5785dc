//! Artifacts, the edges between them, and the signed statements that hold both.

pub mod render;
pub mod statement;
mod words;

pub use words::{Kind, Relation};
