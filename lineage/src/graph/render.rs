//! The lineage of an artifact as a picture or as text: self-contained SVG, DOT, Mermaid, JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Kind, Node};
use crate::digest::Hash;

pub use super::node::Graph;

impl Graph {
    /// Graphviz.
    pub fn to_dot(&self) -> String {
        let mut text = "digraph lineage {\n  rankdir=BT;\n  node [shape=box, style=rounded];\n".to_owned();
        for node in &self.nodes {
            let _ = writeln!(text, "  \"{}\" [label={:?}];", node.id.short(), format!("{}\n{}", node.name, what(node)));
        }
        for edge in &self.edges {
            let (child, parent) = (edge.child.short(), edge.parent.short());
            let _ = writeln!(text, "  \"{child}\" -> \"{parent}\" [label=\"{}\"];", edge.relation);
        }
        text + "}\n"
    }

    /// Mermaid, as code hosts and notebooks render it.
    pub fn to_mermaid(&self) -> String {
        let mut text = "graph BT\n".to_owned();
        for node in &self.nodes {
            let label = format!("{}<br/>{}", node.name, what(node)).replace('"', "#quot;");
            let _ = writeln!(text, "  n{}[\"{label}\"]", node.id.short());
        }
        for edge in &self.edges {
            let _ = writeln!(text, "  n{} -->|{}| n{}", edge.child.short(), edge.relation, edge.parent.short());
        }
        text
    }

    /// A picture: parents on top, children below, one box per artifact.
    pub fn to_svg(&self) -> String {
        let layers = self.layers();
        let widest = layers.iter().map(Vec::len).max().unwrap_or(1) as u32;
        let width = MARGIN * 2 + widest * BOX_WIDTH + (widest - 1) * GAP_X;
        let height = MARGIN * 2 + layers.len() as u32 * BOX_HEIGHT + (layers.len() as u32 - 1) * GAP_Y;
        let mut places = BTreeMap::new();
        for (row, layer) in layers.iter().enumerate() {
            let used = layer.len() as u32 * BOX_WIDTH + (layer.len() as u32 - 1) * GAP_X;
            for (column, &index) in layer.iter().enumerate() {
                let x = (width - used) / 2 + column as u32 * (BOX_WIDTH + GAP_X);
                places.insert(self.nodes[index].id, (x, MARGIN + row as u32 * (BOX_HEIGHT + GAP_Y)));
            }
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"system-ui,sans-serif\">\n<title>Lineage of {}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fbfaf7\"/>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" \
             refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" \
             fill=\"#6b6459\"/></marker></defs>\n",
            escape(&self.nodes[0].name)
        );
        for edge in &self.edges {
            let (Some(&(px, py)), Some(&(cx, cy))) = (places.get(&edge.parent), places.get(&edge.child)) else {
                continue;
            };
            let (x1, y1, x2, y2) = (px + BOX_WIDTH / 2, py + BOX_HEIGHT, cx + BOX_WIDTH / 2, cy - 2);
            let bend = (y1 + y2) / 2;
            let (label_x, label_y) = ((x1 + x2) / 2, bend);
            let _ = writeln!(
                svg,
                "<path d=\"M{x1} {y1}C{x1} {bend} {x2} {bend} {x2} {y2}\" fill=\"none\" stroke=\"#6b6459\" \
                 stroke-width=\"1.5\" marker-end=\"url(#tip)\"/>\n<text x=\"{label_x}\" y=\"{label_y}\" \
                 text-anchor=\"middle\" font-size=\"12\" fill=\"#3d372e\" stroke=\"#fbfaf7\" stroke-width=\"5\" \
                 paint-order=\"stroke\">{}</text>",
                edge.relation
            );
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(&(x, y)) = places.get(&node.id) else { continue };
            let (fill, stroke) = match node.kind {
                Some(Kind::Dataset | Kind::Shard) => ("#e3eef7", "#3b6f99"),
                Some(_) => ("#f6edd2", "#a67c1a"),
                None => ("#ffffff", "#b0463c"),
            };
            let stroke_width = if index == 0 { 2.5 } else { 1.5 };
            let middle = x + BOX_WIDTH / 2;
            let _ = writeln!(
                svg,
                "<g><title>statement {}\nroot {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" \
                 height=\"{BOX_HEIGHT}\" rx=\"8\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{stroke_width}\"/>\
                 <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"15\" font-weight=\"600\" \
                 fill=\"#26221b\">{}</text><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"12\" \
                 fill=\"#4d463b\">{}</text><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" \
                 font-family=\"ui-monospace,monospace\" fill=\"#6b6459\">{}</text></g>",
                node.id,
                node.root,
                y + 24,
                escape(&shorten(&node.name)),
                y + 43,
                what(node),
                y + 61,
                node.root.short(),
            );
        }
        svg + "</svg>\n"
    }

    /// Indices of the nodes in rows from top to bottom: each parent just above the highest of its children.
    fn layers(&self) -> Vec<Vec<usize>> {
        let position: BTreeMap<Hash, usize> = self.nodes.iter().enumerate().map(|(i, node)| (node.id, i)).collect();
        let mut height = vec![0; self.nodes.len()];
        // The graph has no cycle, so as many passes as there are nodes reach every end.
        for _ in 0..self.nodes.len() {
            let mut changed = false;
            for edge in &self.edges {
                let (Some(&child), Some(&parent)) = (position.get(&edge.child), position.get(&edge.parent)) else {
                    continue;
                };
                if height[parent] <= height[child] {
                    height[parent] = height[child] + 1;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let tallest = height.iter().max().copied().unwrap_or(0);
        let mut layers = vec![Vec::new(); tallest + 1];
        height.iter().enumerate().for_each(|(index, height)| layers[tallest - height].push(index));
        layers
    }
}

const MARGIN: u32 = 28;
const BOX_WIDTH: u32 = 190;
const BOX_HEIGHT: u32 = 74;
const GAP_X: u32 = 40;
const GAP_Y: u32 = 76;

fn what(node: &Node) -> String {
    if node.marked { format!("{}, marked", node.what()) } else { node.what().to_owned() }
}

fn shorten(name: &str) -> String {
    const LONGEST: usize = 22;
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    name.chars().take(LONGEST - 1).chain(['…']).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
