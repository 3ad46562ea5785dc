//! One HTML page to look around in: move, zoom, search, follow lines, fold away what was made from something.
//!
//! The page loads nothing and may load nothing: its content security policy allows this one script and this one style
//! sheet, by their hashes.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::svg::{body, escape, style, title};
use crate::digest::Hash;
use crate::graph::node::Graph;

const SCRIPT: &str = include_str!("page.js");
const SHEET: &str = include_str!("page.css");

impl Graph {
    /// A page.
    pub fn to_html(&self) -> String {
        let (body, (width, height)) = body(self, true);
        let sheet = style() + SHEET;
        let hash = |text: &str| STANDARD.encode(Hash::sha256(text.as_bytes()).0);
        let title = escape(&title(self));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{sheet}</style>\n</head>\n<body>\n\
             <header><h1>{title}</h1><input id=\"search\" type=\"search\" placeholder=\"name, id or root\" aria-label=\"Search\"><span id=\"found\"></span>\
             <button id=\"out\" aria-label=\"Zoom out\">−</button><button id=\"in\" aria-label=\"Zoom in\">+</button><button id=\"fit\">Fit</button>\
             <button id=\"unfold\">Unfold all</button></header>\n\
             <svg id=\"picture\" viewBox=\"0 0 {width} {height}\" data-w=\"{width}\" data-h=\"{height}\" role=\"img\" font-family=\"system-ui,sans-serif\">\n{body}</svg>\n\
             <aside id=\"details\" hidden></aside>\n\
             <script id=\"data\" type=\"application/json\">{}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            hash(&sheet),
            hash(SCRIPT),
            self.data()
        )
    }

    /// Nodes, and edges as pairs of their places. No `<`, so that nothing in it ends the element.
    fn data(&self) -> String {
        let place: HashMap<Hash, usize> = self.nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
        let edge = |edge: &super::Edge| Some(json!([place.get(&edge.child)?, place.get(&edge.parent)?, edge.relation]));
        let edges: Vec<_> = self.edges.iter().filter_map(edge).collect();
        json!({ "nodes": self.nodes, "edges": edges }).to_string().replace('<', "\\u003c")
    }
}
