//! A self-contained SVG: parents on top, children below, one box per artifact.
//!
//! Kind is shown by shape and colour, relation by colour and dashes and, where there is room, by its word. Colours follow
//! the reader's light or dark setting. Everything there is to know of a box or a line is in its tooltip.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::layout::{BOX, Branch, GAP, Layout, MARGIN, Trunk, layout};
use super::text::what;
use crate::graph::node::{Graph, Node};
use crate::graph::statement::rfc3339;
use crate::graph::{Kind, Relation};
use crate::verdict::printable;

/// Up to so many artifacts the words in boxes and at lines explain themselves.
const SELF_EXPLAINING: usize = 12;
/// Size of a word of the legend.
const LEGEND_COLUMN: f64 = 172.0;
const LEGEND_ROW: f64 = 24.0;
/// Lines that go further sideways run level for a while instead of crossing everything at a slant.
const SLANT: f64 = 260.0;

impl Graph {
    /// A picture.
    pub fn to_svg(&self) -> String {
        let (body, (width, height)) = body(self, false);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"system-ui,sans-serif\">\n<title>{}</title>\n\
             <style>\n{}</style>\n<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n",
            escape(&title(self)),
            style()
        )
    }
}

/// What the picture is about.
pub(super) fn title(graph: &Graph) -> String {
    graph.nodes.first().map_or("Empty lineage".to_owned(), |node| format!("Lineage of {}", node.name))
}

/// Lines, labels, boxes and legend, and the size of all that. For a page that moves parts, each carries its numbers.
pub(super) fn body(graph: &Graph, numbered: bool) -> (String, (f64, f64)) {
    let layout = layout(graph);
    let mut svg = String::new();
    let relations: BTreeSet<Relation> = layout.trunks.iter().map(|trunk| trunk.relation).collect();
    svg.push_str("<defs>");
    for relation in &relations {
        let _ = write!(
            svg,
            "<marker id=\"tip-{relation}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"tip {relation}\" d=\"M0 0L8 4L0 8z\"/></marker>"
        );
    }
    svg.push_str("</defs>\n");
    lines(graph, &layout, numbered, &mut svg);
    for (index, node) in graph.nodes.iter().enumerate() {
        draw_box(index, node, layout.boxes[index], numbered, &mut svg);
    }
    let mut size = layout.size;
    if graph.nodes.len() > SELF_EXPLAINING {
        legend(graph, &relations, &mut size, &mut svg);
    }
    (svg, size)
}

fn lines(graph: &Graph, layout: &Layout, numbered: bool, svg: &mut String) {
    let mut labels = Labels::default();
    // Level stretches in one gap between rows lie beside each other, not on one another.
    let mut lanes: BTreeMap<i64, usize> = BTreeMap::new();
    for (number, trunk) in layout.trunks.iter().enumerate() {
        let Trunk { parent, relation, .. } = *trunk;
        let mut lane = |y: f64| {
            let next = lanes.entry(y as i64).or_default();
            *next += 1;
            *next - 1
        };
        let mut lane_of: BTreeMap<i64, usize> = BTreeMap::new();
        let mut at = |y: f64| *lane_of.entry(y as i64).or_insert_with(|| lane(y));
        if !trunk.passes.is_empty() {
            let (x, y) = layout.boxes[parent];
            let (mut from, mut path) = ((x + BOX.0 / 2.0, y + BOX.1), String::new());
            for &(x, middle) in &trunk.passes {
                path.push_str(&line(from, (x, middle - BOX.1 / 2.0), at(from.1)));
                from = (x, middle + BOX.1 / 2.0);
                let _ = write!(path, "V{}", from.1);
            }
            let data = if numbered { format!(" data-t=\"{number}\"") } else { String::new() };
            let _ = writeln!(svg, "<path class=\"edge {relation}\"{data} d=\"{path}\"/>");
        }
        for Branch { child, from, to, against } in &trunk.branches {
            let lane = at(from.1);
            let path = line(*from, (to.0, to.1 - 2.0), lane);
            let (child, parent) = if *against { (parent, *child) } else { (*child, parent) };
            let data = match numbered {
                true => format!(" data-t=\"{number}\" data-c=\"{child}\" data-p=\"{parent}\""),
                false => String::new(),
            };
            let tip = if *against { String::new() } else { format!(" marker-end=\"url(#tip-{relation})\"") };
            let (child_name, parent_name) = (escape(&graph.nodes[child].name), escape(&graph.nodes[parent].name));
            let _ = writeln!(
                svg,
                "<path class=\"edge {relation}\"{data} d=\"{path}\"{tip}><title>{child_name} {relation} {parent_name}</title></path>"
            );
            let place = label_place(*from, *to);
            if labels.take(place, relation) {
                let data = if numbered { format!(" data-c=\"{child}\" data-p=\"{parent}\"") } else { String::new() };
                let _ =
                    write!(svg, "<text class=\"label\"{data} x=\"{}\" y=\"{}\">{relation}</text>", place.0, place.1);
                svg.push('\n');
            }
        }
    }
}

/// From one end to another below it: a curve, or for a long way sideways a level stretch with rounded corners.
fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64), lane: usize) -> String {
    let start = format!("M{x1} {y1}");
    if x1 == x2 {
        return format!("{start}V{y2}");
    }
    let gap_end = y1 + GAP.1 - 2.0;
    if (x1 - x2).abs() <= SLANT || y2 > gap_end + 2.0 {
        let bend = ((y1 + y2) / 2.0).round();
        return format!("{start}C{x1} {bend} {x2} {bend} {x2} {y2}");
    }
    let level = level(y1, lane);
    let side = if x2 > x1 { 10.0 } else { -10.0 };
    format!(
        "{start}V{}Q{x1} {level} {} {level}H{}Q{x2} {level} {x2} {}V{y2}",
        level - 10.0,
        x1 + side,
        x2 - side,
        level + 10.0
    )
}

fn level(y1: f64, lane: usize) -> f64 {
    y1 + 14.0 + (lane % 7) as f64 * 4.0
}

fn label_place(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    let dx = (from.0 - to.0).abs();
    if dx > SLANT || to.1 > from.1 + GAP.1 {
        return (to.0, to.1 - 16.0);
    }
    (((from.0 + to.0) / 2.0).round(), ((from.1 + to.1) / 2.0).round())
}

/// Labels drawn so far, by the gap between rows that they stand in.
#[derive(Default)]
struct Labels(BTreeMap<i64, Vec<(f64, f64, f64)>>);

impl Labels {
    /// True, and the place is taken, when no other label is near it.
    fn take(&mut self, (x, y): (f64, f64), relation: Relation) -> bool {
        let half = relation.as_str().len() as f64 * 3.3 + 4.0;
        let gap = self.0.entry((y / (BOX.1 + GAP.1)) as i64).or_default();
        // The rows are bounded, so there are few labels in a gap.
        let free = gap.iter().all(|(ox, oy, other)| (ox - x).abs() > half + other || (oy - y).abs() > 15.0);
        if free {
            gap.push((x, y, half));
        }
        free
    }
}

fn draw_box(index: usize, node: &Node, (x, y): (f64, f64), numbered: bool, svg: &mut String) {
    let kind = kind_word(node.kind);
    let subject = if index == 0 { " subject" } else { "" };
    let data = if numbered { format!(" data-n=\"{index}\"") } else { String::new() };
    let middle = x + BOX.0 / 2.0;
    let _ = write!(
        svg,
        "<g class=\"node {kind}{subject}\"{data}><title>{}</title>{}",
        escape(&tooltip(node)),
        shape(node.kind, x, y, BOX.0, BOX.1)
    );
    if node.marked {
        // A struck coin in the corner: these weights carry a mark.
        let (cx, cy) = (x + BOX.0 - 14.0, y + 14.0);
        let _ = write!(
            svg,
            "<circle class=\"coin\" cx=\"{cx}\" cy=\"{cy}\" r=\"7\"/><path class=\"coin\" d=\"M{} {cy}l3 3l4 -6\"/>",
            cx - 3.5
        );
    }
    let name = shorten(&node.name);
    let lid = if matches!(node.kind, Some(Kind::Dataset | Kind::Shard)) { 4.0 } else { 0.0 };
    let long = if width_of(&name) > 18 { " long" } else { "" };
    let _ = writeln!(
        svg,
        "<text class=\"name{long}\" x=\"{middle}\" y=\"{}\">{}</text><text class=\"what\" x=\"{middle}\" y=\"{}\">{}</text>\
         <text class=\"root\" x=\"{middle}\" y=\"{}\">{}</text></g>",
        y + 27.0 + lid,
        escape(&name),
        y + 45.0 + lid,
        what(node),
        y + 62.0 + lid,
        node.root.short(),
    );
}

fn tooltip(node: &Node) -> String {
    let mut text = format!("{}\n{}\nstatement {}\nroot {}", node.name, what(node), node.id, node.root);
    if let Some(signer) = node.signer {
        let _ = write!(text, "\nsigner {signer}");
    }
    if let Some(created) = node.created {
        let _ = write!(text, "\nmade {}", rfc3339(created));
    }
    text
}

fn kind_word(kind: Option<Kind>) -> &'static str {
    kind.map_or("missing", Kind::as_str)
}

/// The outline of a kind.
fn shape(kind: Option<Kind>, x: f64, y: f64, w: f64, h: f64) -> String {
    let rect = |radius: f64| {
        format!("<rect class=\"shape\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"{radius}\"/>")
    };
    let (right, bottom) = (x + w, y + h);
    let e = h / 12.0;
    match kind {
        Some(Kind::Model) | None => rect(h / 9.0),
        Some(Kind::Adapter) => {
            let d = h / 9.0;
            format!("{}<path class=\"line\" d=\"M{} {y}V{bottom}M{} {y}V{bottom}\"/>", rect(d), x + d, right - d)
        }
        // A drum, as data is drawn everywhere.
        Some(Kind::Dataset | Kind::Shard) => format!(
            "<path class=\"shape\" d=\"M{x} {0}A{1} {e} 0 0 1 {right} {0}V{2}A{1} {e} 0 0 1 {x} {2}Z\"/>\
             <path class=\"line\" d=\"M{x} {0}A{1} {e} 0 0 0 {right} {0}\"/>",
            y + e,
            w / 2.0,
            bottom - e
        ),
        Some(Kind::TrainingRun) => {
            let (d, middle) = (h / 4.0, y + h / 2.0);
            let (near, far) = (x + d, right - d);
            format!(
                "<path class=\"shape\" d=\"M{near} {y}H{far}L{right} {middle}L{far} {bottom}H{near}L{x} {middle}Z\"/>"
            )
        }
        // A sheet with a folded corner.
        Some(Kind::Evaluation) => {
            let d = h / 5.0;
            format!(
                "<path class=\"shape\" d=\"M{x} {y}H{0}L{right} {1}V{bottom}H{x}Z\"/><path class=\"line\" d=\"M{0} {y}V{1}H{right}\"/>",
                right - d,
                y + d
            )
        }
        Some(Kind::GeneratedContent) => rect(h / 2.0),
    }
}

/// Kinds and relations that occur, below the picture.
fn legend(graph: &Graph, relations: &BTreeSet<Relation>, size: &mut (f64, f64), svg: &mut String) {
    let kinds: BTreeSet<Option<Kind>> = graph.nodes.iter().map(|node| node.kind).collect();
    let per_row = (((size.0 - MARGIN * 2.0) / LEGEND_COLUMN) as usize).max(1);
    let top = size.1;
    let place = |at: usize| (MARGIN + (at % per_row) as f64 * LEGEND_COLUMN, top + (at / per_row) as f64 * LEGEND_ROW);
    svg.push_str("<g class=\"legend\">\n");
    let mut at = 0;
    for kind in kinds {
        let (x, y) = place(at);
        let word = kind.map_or("statement missing", Kind::as_str);
        let _ = writeln!(
            svg,
            "<g class=\"node {}\">{}</g><text class=\"key\" x=\"{}\" y=\"{}\">{word}</text>",
            kind_word(kind),
            shape(kind, x, y - 12.0, 28.0, 16.0),
            x + 36.0,
            y + 1.0
        );
        at += 1;
    }
    for relation in relations {
        let (x, y) = place(at);
        let _ = writeln!(
            svg,
            "<path class=\"edge {relation}\" d=\"M{x} {0}H{1}\" marker-end=\"url(#tip-{relation})\"/>\
             <text class=\"key\" x=\"{2}\" y=\"{3}\">{relation}</text>",
            y - 4.0,
            x + 28.0,
            x + 36.0,
            y + 1.0
        );
        at += 1;
    }
    svg.push_str("</g>\n");
    size.0 = size.0.max(MARGIN * 2.0 + LEGEND_COLUMN);
    size.1 = place(at.saturating_sub(1)).1 + MARGIN;
}

/// Fill and outline of a kind: light, dark.
const KINDS: [(&str, [&str; 2], [&str; 2]); 8] = [
    ("model", ["#f6edd2", "#a67c1a"], ["#3a321c", "#d9b04f"]),
    ("adapter", ["#fbe6d4", "#b5672a"], ["#3f2c1e", "#e09a63"]),
    ("dataset", ["#e3eef7", "#3b6f99"], ["#1e2f3d", "#7fb2dc"]),
    ("shard", ["#eef4fa", "#6f96b5"], ["#22303a", "#8fb4d0"]),
    ("training-run", ["#e9e4f5", "#6a4fa3"], ["#2d2640", "#b49be6"]),
    ("evaluation", ["#e4f2e6", "#3f7a4a"], ["#1f3324", "#85c493"]),
    ("generated-content", ["#f8e3ea", "#a33f66"], ["#3b222c", "#e08fb0"]),
    ("missing", ["#ffffff", "#b0463c"], ["#1b1a18", "#e8857b"]),
];

/// Line of a relation: light, dark, width, dashes.
const RELATIONS: [(Relation, &str, &str, &str, &str); 10] = [
    (Relation::TrainedOn, "#3b6f99", "#7fb2dc", "1.5", ""),
    (Relation::FineTunedFrom, "#8a6410", "#d9b04f", "1.8", ""),
    (Relation::AdapterOf, "#b5672a", "#e09a63", "1.8", "7 4"),
    (Relation::MergedFrom, "#6a4fa3", "#b49be6", "1.8", ""),
    (Relation::QuantisedFrom, "#3f7a4a", "#85c493", "1.8", "2 3"),
    (Relation::PrunedFrom, "#3f7a4a", "#85c493", "1.8", "8 3 2 3"),
    (Relation::DistilledFrom, "#6a4fa3", "#b49be6", "1.8", "10 4"),
    (Relation::ConvertedFrom, "#6b6459", "#a8a096", "1.5", "4 3"),
    (Relation::DerivedFrom, "#6b6459", "#a8a096", "1.5", ""),
    (Relation::GeneratedBy, "#a33f66", "#e08fb0", "1.5", "3 3"),
];

/// The style sheet, for the picture and the page.
pub(super) fn style() -> String {
    let mut css = "\
.bg{fill:#fbfaf7}.edge{fill:none}.shape{stroke-width:1.5}.line{fill:none;stroke-width:1}.subject .shape{stroke-width:2.8}
.missing .shape{stroke-dasharray:5 4}
text{text-anchor:middle}.key{text-anchor:start;font-size:12px;fill:#3d372e}
.label{font-size:12px;fill:#3d372e;stroke:#fbfaf7;stroke-width:5px;paint-order:stroke}
.name{font-size:15px;font-weight:600;fill:#26221b}.long{font-size:12.5px}.what{font-size:12px;fill:#4d463b}
.root{font-size:11px;font-family:ui-monospace,monospace;fill:#6b6459}
.coin{fill:none;stroke:#a67c1a;stroke-width:1.5}circle.coin{fill:#ffd95e}
"
    .to_owned();
    let kinds = |css: &mut String, dark: bool| {
        for (kind, light_colours, dark_colours) in KINDS {
            let [fill, stroke] = if dark { dark_colours } else { light_colours };
            let _ = writeln!(css, ".{kind} .shape{{fill:{fill};stroke:{stroke}}}.{kind} .line{{stroke:{stroke}}}");
        }
        for (relation, light_colour, dark_colour, ..) in RELATIONS {
            let colour = if dark { dark_colour } else { light_colour };
            let _ = writeln!(css, ".edge.{relation}{{stroke:{colour}}}.tip.{relation}{{fill:{colour}}}");
        }
    };
    kinds(&mut css, false);
    for (relation, _, _, width, dashes) in RELATIONS {
        let dashes = if dashes.is_empty() { String::new() } else { format!(";stroke-dasharray:{dashes}") };
        let _ = writeln!(css, ".edge.{relation}{{stroke-width:{width}{dashes}}}");
    }
    css.push_str(
        "@media (prefers-color-scheme:dark){\n.bg{fill:#1b1a18}.label,.key{fill:#ddd6ca}.label{stroke:#1b1a18}.name{fill:#f5f1e8}\n\
         .what{fill:#cfc7b8}.root{fill:#a8a096}\n",
    );
    kinds(&mut css, true);
    css + "}\n"
}

/// A name that fits into a box.
fn shorten(name: &str) -> String {
    const WIDEST: usize = 25;
    if width_of(name) <= WIDEST {
        return name.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += width(*c);
        used < WIDEST
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// Wide characters count twice.
fn width_of(name: &str) -> usize {
    name.chars().map(width).sum()
}

fn width(c: char) -> usize {
    if u32::from(c) >= 0x1100 && c != '…' { 2 } else { 1 }
}

/// Text for XML and HTML alike: no markup, and no character that XML does not allow.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for line in text.split('\n') {
        if !escaped.is_empty() {
            escaped.push('\n');
        }
        for c in printable(line, 400).chars() {
            match c {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
                c => escaped.push(c),
            }
        }
    }
    escaped
}
