//! Where everything stands: the layered layout of Sugiyama, Tagawa and Toda (1981), with shared trunks.
//!
//! All edges of one parent and one relation leave it as one trunk, which passes between the boxes of the rows on its way,
//! and each child branches off in the row above it. So a model with hundreds of children has one line through the picture
//! and not hundreds. Rows are ordered by barycentres, and the places along a row are those that lie nearest to the mean
//! of the neighbours, which for a given order is a problem with an exact answer (isotonic regression).

use std::collections::BTreeMap;

use super::layers::{Layers, layers};
use crate::graph::Relation;
use crate::graph::node::Graph;

/// Size of a box, and of the room between boxes and rows.
pub(super) const BOX: (f64, f64) = (190.0, 74.0);
pub(super) const GAP: (f64, f64) = (40.0, 76.0);
pub(super) const MARGIN: f64 = 28.0;
/// Room that a trunk takes in a row.
const TRUNK: f64 = 8.0;
/// Most points where trunks pass rows. A graph made to have more is drawn with straight branches.
const MOST_PASSES: usize = 20_000;
const SWEEPS: usize = 16;

/// A drawn graph.
pub(super) struct Layout {
    /// Upper left corner of each node's box.
    pub boxes: Vec<(f64, f64)>,
    /// The lines.
    pub trunks: Vec<Trunk>,
    /// Size of the whole.
    pub size: (f64, f64),
}

/// The edges of one parent and one relation.
pub(super) struct Trunk {
    pub parent: usize,
    pub relation: Relation,
    /// Where it passes rows: the middle of each, from the top.
    pub passes: Vec<(f64, f64)>,
    pub branches: Vec<Branch>,
}

/// From a parent, or from a pass of its trunk, to one child.
pub(super) struct Branch {
    pub child: usize,
    /// Lower end of the parent's box or of the pass.
    pub from: (f64, f64),
    /// Top of the child's box.
    pub to: (f64, f64),
    pub against: bool,
}

/// A box or a pass in a row.
#[derive(Clone)]
struct Vertex {
    row: usize,
    width: f64,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Before places are known: vertices by number.
struct TrunkPlan {
    parent: usize,
    relation: Relation,
    passes: Vec<usize>,
    /// Child, the vertex above it, against.
    branches: Vec<(usize, usize, bool)>,
}

pub(super) fn layout(graph: &Graph) -> Layout {
    let layers = layers(graph);
    let (mut vertices, plans) = vertices(graph, &layers);
    let mut rows = first_order(&vertices);
    reorder(&vertices, &mut rows);
    place(&mut vertices, &rows);
    close_up(&mut vertices);

    let left = vertices.iter().map(|vertex| vertex.x - vertex.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = vertices.iter().map(|vertex| vertex.x + vertex.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let top = |row: usize| MARGIN + row as f64 * (BOX.1 + GAP.1);
    let x = |vertex: usize| (vertices[vertex].x - left + MARGIN).round();
    let end = |vertex: usize| (x(vertex), top(vertices[vertex].row) + BOX.1);
    let trunk = |plan: TrunkPlan| Trunk {
        parent: plan.parent,
        relation: plan.relation,
        passes: plan.passes.iter().map(|&pass| (x(pass), top(vertices[pass].row) + BOX.1 / 2.0)).collect(),
        branches: plan
            .branches
            .into_iter()
            .map(|(child, from, against)| Branch {
                child,
                from: end(from),
                to: (x(child), top(vertices[child].row)),
                against,
            })
            .collect(),
    };
    let corner = |node: usize| (x(node) - BOX.0 / 2.0, top(vertices[node].row));
    let boxes = (0..graph.nodes.len()).map(corner).collect();
    let size = match rows.len() {
        0 => (MARGIN * 2.0, MARGIN * 2.0),
        count => ((right - left + MARGIN * 2.0).round(), top(count - 1) + BOX.1 + MARGIN),
    };
    Layout { boxes, trunks: plans.into_iter().map(trunk).collect(), size }
}

/// The boxes, then the passes of the trunks.
fn vertices(graph: &Graph, layers: &Layers) -> (Vec<Vertex>, Vec<TrunkPlan>) {
    let vertex = |row: usize, width: f64| Vertex { row, width, x: 0.0, above: vec![], below: vec![] };
    let mut vertices: Vec<Vertex> = layers.layer.iter().map(|&row| vertex(row, BOX.0)).collect();
    let mut groups: BTreeMap<(usize, Relation, bool), Vec<usize>> = BTreeMap::new();
    for (edge, oriented) in graph.edges.iter().zip(&layers.edges) {
        if let Some(oriented) = oriented {
            groups.entry((oriented.upper, edge.relation, oriented.against)).or_default().push(oriented.lower);
        }
    }
    let mut plans = Vec::new();
    let mut passes_left = MOST_PASSES;
    for ((parent, relation, against), mut children) in groups {
        children.sort_by_key(|&child| (layers.layer[child], child));
        children.dedup();
        let first = layers.layer[parent] + 1;
        let last = children.last().map_or(first, |&child| layers.layer[child]);
        let mut passes = Vec::new();
        if last - first <= passes_left {
            passes_left -= last - first;
            for row in first..last {
                let above = passes.last().copied().unwrap_or(parent);
                vertices.push(vertex(row, TRUNK));
                let pass = vertices.len() - 1;
                link(&mut vertices, above, pass);
                passes.push(pass);
            }
        }
        let mut branches = Vec::new();
        for child in children {
            let row = layers.layer[child];
            let from = if row == first { parent } else { passes.get(row - first - 1).copied().unwrap_or(parent) };
            if vertices[from].row + 1 == row {
                link(&mut vertices, from, child);
            }
            branches.push((child, from, against));
        }
        plans.push(TrunkPlan { parent, relation, passes, branches });
    }
    (vertices, plans)
}

fn link(vertices: &mut [Vertex], above: usize, below: usize) {
    vertices[above].below.push(below);
    vertices[below].above.push(above);
}

/// Rows in the order in which a walk from the top, depth first, meets their vertices.
fn first_order(vertices: &[Vertex]) -> Vec<Vec<usize>> {
    let count = vertices.iter().map(|vertex| vertex.row + 1).max().unwrap_or(0);
    let mut rows = vec![Vec::new(); count];
    let mut met = vec![false; vertices.len()];
    let mut tops: Vec<usize> = (0..vertices.len()).collect();
    tops.sort_by_key(|&vertex| (vertices[vertex].row, vertex));
    let mut stack = Vec::new();
    for top in tops {
        stack.push(top);
        while let Some(vertex) = stack.pop() {
            if !std::mem::replace(&mut met[vertex], true) {
                rows[vertices[vertex].row].push(vertex);
                stack.extend(vertices[vertex].below.iter().rev());
            }
        }
    }
    rows
}

/// Sorts each row by the mean place of the neighbours above, then below, again and again; the order with the fewest
/// crossings stays.
fn reorder(vertices: &[Vertex], rows: &mut Vec<Vec<usize>>) {
    let mut place = vec![0; vertices.len()];
    let number = |row: &[usize], place: &mut Vec<usize>| row.iter().enumerate().for_each(|(at, &v)| place[v] = at);
    rows.iter().for_each(|row| number(row, &mut place));
    let mut best = (crossings(vertices, rows, &place), rows.clone());
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        for step in 0..rows.len() {
            let at = if down { step } else { rows.len() - 1 - step };
            let mean = |&vertex: &usize| {
                let neighbours = if down { &vertices[vertex].above } else { &vertices[vertex].below };
                match neighbours.len() {
                    0 => place[vertex] as f64,
                    count => neighbours.iter().map(|&other| place[other] as f64).sum::<f64>() / count as f64,
                }
            };
            // A place in one row is compared with places in another, so both go from 0 to 1.
            let other = if down { at.checked_sub(1) } else { Some(at + 1).filter(|&other| other < rows.len()) };
            let scale = other.map_or(1.0, |other| rows[at].len() as f64 / rows[other].len().max(1) as f64);
            let alone =
                |&vertex: &usize| if down { &vertices[vertex].above } else { &vertices[vertex].below }.is_empty();
            let mut keyed: Vec<(f64, usize)> =
                rows[at].iter().map(|v| (if alone(v) { mean(v) } else { mean(v) * scale }, *v)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[at] = keyed.chunk_by(|a, b| a.0 == b.0).flat_map(|equal| trunks_inside(vertices, equal)).collect();
            number(&rows[at], &mut place);
        }
        let now = crossings(vertices, rows, &place);
        if now <= best.0 {
            best = (now, rows.clone());
        }
        // The first order may have no crossing either, but it has not seen any balance.
        if best.0 == 0 && sweep >= 3 {
            break;
        }
    }
    *rows = best.1;
}

/// Vertices that belong equally far to the left: the trunks among them go into the middle, so that a parent with children
/// in many rows stays above all of them.
fn trunks_inside(vertices: &[Vertex], equal: &[(f64, usize)]) -> Vec<usize> {
    let (trunks, boxes): (Vec<usize>, Vec<usize>) =
        equal.iter().map(|(_, vertex)| *vertex).partition(|&vertex| vertices[vertex].width == TRUNK);
    let (left, right) = boxes.split_at(boxes.len() / 2);
    [left, &trunks, right].concat()
}

/// How many pairs of lines between neighbouring rows cross: inversions, counted with a Fenwick tree.
fn crossings(vertices: &[Vertex], rows: &[Vec<usize>], place: &[usize]) -> u64 {
    let mut total = 0;
    for pair in rows.windows(2) {
        let mut tree = vec![0_u64; pair[1].len() + 1];
        let mut seen = 0;
        for &upper in &pair[0] {
            let mut ends: Vec<usize> = vertices[upper].below.iter().map(|&lower| place[lower]).collect();
            ends.sort_unstable();
            for &end in &ends {
                let (mut at, mut before) = (end + 1, 0);
                while at > 0 {
                    before += tree[at];
                    at &= at - 1;
                }
                total += seen - before;
            }
            for &end in &ends {
                let mut at = end + 1;
                while at < tree.len() {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
                seen += 1;
            }
        }
    }
    total
}

/// Places along the rows: each as near as may be to the mean of its neighbours, in the given order, without overlap.
fn place(vertices: &mut [Vertex], rows: &[Vec<usize>]) {
    for row in rows {
        let mut x = 0.0;
        let mut before: Option<usize> = None;
        for &vertex in row {
            x += before.map_or(0.0, |before| apart(&vertices[before], &vertices[vertex]));
            vertices[vertex].x = x;
            before = Some(vertex);
        }
        row.iter().for_each(|&vertex| vertices[vertex].x -= x / 2.0);
    }
    for sweep in 0..SWEEPS * 2 {
        for step in 0..rows.len() {
            let at = if sweep % 2 == 0 { step } else { rows.len() - 1 - step };
            let wish = |&vertex: &usize| {
                let one = &vertices[vertex];
                let sides: [&[usize]; 2] = match (sweep < SWEEPS, sweep % 2 == 0) {
                    (true, true) => [&one.above, &[]],
                    (true, false) => [&one.below, &[]],
                    (false, _) => [&one.above, &one.below],
                };
                let count = sides[0].len() + sides[1].len();
                let sum: f64 = sides.iter().flat_map(|side| side.iter()).map(|&other| vertices[other].x).sum();
                // Trunks are made straight before boxes are centred.
                let weight = if one.width == TRUNK { 8.0 } else { 1.0 };
                if count == 0 { (one.x, 0.05) } else { (sum / count as f64, weight) }
            };
            let wishes: Vec<(f64, f64)> = rows[at].iter().map(wish).collect();
            let gaps: Vec<f64> =
                rows[at].windows(2).map(|pair| apart(&vertices[pair[0]], &vertices[pair[1]])).collect();
            for (&vertex, x) in rows[at].iter().zip(nearest(&wishes, &gaps)) {
                vertices[vertex].x = x;
            }
        }
    }
}

/// Takes out of the picture what is empty from top to bottom.
fn close_up(vertices: &mut [Vertex]) {
    let mut order: Vec<usize> = (0..vertices.len()).collect();
    let left = |vertex: &Vertex| vertex.x - vertex.width / 2.0;
    order.sort_by(|&a, &b| left(&vertices[a]).total_cmp(&left(&vertices[b])));
    let (mut end, mut shift) = (f64::NEG_INFINITY, 0.0);
    for vertex in order {
        let one = &mut vertices[vertex];
        if end.is_finite() {
            shift += (left(one) - end - GAP.0).max(0.0);
        }
        end = end.max(one.x + one.width / 2.0);
        one.x -= shift;
    }
}

/// Distance of the middles of two neighbours in a row.
fn apart(left: &Vertex, right: &Vertex) -> f64 {
    let gap = if left.width == TRUNK || right.width == TRUNK { GAP.0 / 3.0 } else { GAP.0 };
    (left.width + right.width) / 2.0 + if left.width == right.width && left.width == TRUNK { 4.0 } else { gap }
}

/// The places with the least weighted sum of squares from the wishes (place, weight) that keep their order and at least
/// these gaps: pool adjacent violators.
fn nearest(wishes: &[(f64, f64)], gaps: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wishes.len());
    for at in 0..wishes.len() {
        offset += if at == 0 { 0.0 } else { gaps[at - 1] };
        offsets.push(offset);
    }
    // Each block: mean, weight, how many.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (&(wish, weight), offset) in wishes.iter().zip(&offsets) {
        let mut block = (wish - offset, weight, 1);
        while let Some(&(mean, weight, count)) = blocks.last() {
            if mean <= block.0 {
                break;
            }
            blocks.pop();
            let sum = weight + block.1;
            block = ((mean * weight + block.0 * block.1) / sum, sum, count + block.2);
        }
        blocks.push(block);
    }
    let means = blocks.into_iter().flat_map(|(mean, _, count)| std::iter::repeat_n(mean, count));
    means.zip(offsets).map(|(mean, offset)| mean + offset).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keeps order and gaps, and no single move improves the sum of squares.
        #[test]
        fn places_are_the_nearest(wishes in prop::collection::vec((-100.0..100.0_f64, 0.1..10.0_f64), 1..12), gap in 0.0..30.0_f64) {
            let gaps = vec![gap; wishes.len() - 1];
            let places = nearest(&wishes, &gaps);
            let cost = |places: &[f64]| -> f64 { places.iter().zip(&wishes).map(|(x, (wish, weight))| weight * (x - wish).powi(2)).sum() };
            let legal = |places: &[f64]| places.windows(2).zip(&gaps).all(|(pair, gap)| pair[1] - pair[0] >= gap - 1e-9);
            prop_assert!(legal(&places));
            for first in 0..places.len() {
                for last in first..places.len() {
                    for step in [-0.01, 0.01] {
                        let mut moved = places.clone();
                        moved[first..=last].iter_mut().for_each(|x| *x += step);
                        prop_assert!(!legal(&moved) || cost(&moved) >= cost(&places) - 1e-9);
                    }
                }
            }
        }
    }
}
