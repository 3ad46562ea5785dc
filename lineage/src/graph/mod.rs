//! Artifacts, the edges between them, the signed statements that hold both, and what a store of them answers.

pub mod check;
pub mod memory;
pub mod node;
pub mod query;
pub mod render;
pub mod select;
pub mod statement;
pub mod store;
mod words;

pub use node::{Edge, Graph, Node};
pub(crate) use words::words;
pub use words::{Kind, Relation};
