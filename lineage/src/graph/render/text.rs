//! DOT for Graphviz, and Mermaid as code hosts and notebooks render it.

use std::fmt::Write as _;

use crate::graph::node::{Graph, Node};
use crate::verdict::printable;

impl Graph {
    /// Graphviz.
    pub fn to_dot(&self) -> String {
        let mut text = "digraph lineage {\n  rankdir=BT;\n  node [shape=box, style=rounded];\n".to_owned();
        for node in &self.nodes {
            // A quoted string of DOT ends at a quote and knows backslashes, and nothing else.
            let name = printable(&node.name, 255).replace('\\', "\\\\").replace('"', "\\\"");
            let _ = writeln!(text, "  \"{}\" [label=\"{name}\\n{}\"];", node.id, what(node));
        }
        for edge in &self.edges {
            let _ = writeln!(text, "  \"{}\" -> \"{}\" [label=\"{}\"];", edge.child, edge.parent, edge.relation);
        }
        text + "}\n"
    }

    /// Mermaid.
    pub fn to_mermaid(&self) -> String {
        let mut text = "graph BT\n".to_owned();
        for node in &self.nodes {
            let _ = writeln!(text, "  n{}[\"{}<br/>{}\"]", node.id, mermaid(&printable(&node.name, 255)), what(node));
        }
        for edge in &self.edges {
            let _ = writeln!(text, "  n{} -->|{}| n{}", edge.child, edge.relation, edge.parent);
        }
        text
    }
}

/// Labels of Mermaid pass through several parsers, so every ASCII sign becomes its number.
fn mermaid(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || !c.is_ascii() || " -_.".contains(c) => text.push(c),
            c => drop(write!(text, "#{};", u32::from(c))),
        }
    }
    text
}

/// What a node is, for people.
pub(super) fn what(node: &Node) -> String {
    if node.marked { format!("{}, marked", node.what()) } else { node.what().to_owned() }
}
