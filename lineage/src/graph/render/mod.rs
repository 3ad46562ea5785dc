//! A graph as a picture or as text: self-contained SVG and HTML, DOT, Mermaid.
//!
//! Names come from strangers. Each format escapes them in one place, and no picture loads anything.

mod html;
mod layers;
mod layout;
mod svg;
mod text;

pub use super::node::{Edge, Graph, Node};
