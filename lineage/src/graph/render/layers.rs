//! Which row each artifact stands in: parents above children, rows no wider than a picture is.
//!
//! Longest-path layering with a bound on the width (after Coffman and Graham): what does not fit into a row goes into the
//! next one. Parents that come from nothing, such as datasets, move down to just above what they were used for.

use std::collections::{BTreeMap, HashMap};

use crate::digest::Hash;
use crate::graph::node::Graph;

/// Rows of the nodes, and the edges as pairs of positions.
pub(super) struct Layers {
    /// The row of each node, from the top.
    pub layer: Vec<usize>,
    /// For each edge of the graph: upper and lower node, and whether the edge runs against the rest, as only forged rows
    /// can make it. Nothing for edges to unknown nodes and to themselves.
    pub edges: Vec<Option<Oriented>>,
}

#[derive(Clone, Copy)]
pub(super) struct Oriented {
    pub upper: usize,
    pub lower: usize,
    pub against: bool,
}

pub(super) fn layers(graph: &Graph) -> Layers {
    let edges = orient(graph);
    let count = graph.nodes.len();
    let (mut above, mut below) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for edge in edges.iter().flatten() {
        above[edge.lower].push(edge.upper);
        below[edge.upper].push(edge.lower);
    }
    let order = topological(&above, &below);
    let mut level = vec![0; count];
    for &node in &order {
        level[node] = above[node].iter().map(|&upper: &usize| level[upper] + 1).max().unwrap_or(0);
    }
    // What others come from is placed first, so that the ends fill up what is left.
    let mut by_level = order;
    by_level.sort_by_key(|&node| (level[node], below[node].is_empty(), node));

    let width = ((count as f64 * 1.1).sqrt().ceil() as usize).max(6);
    let mut rows = Rows { used: vec![], next: vec![], width };
    let mut layer = vec![0; count];
    for node in by_level {
        let first = above[node].iter().map(|&upper| layer[upper] + 1).max().unwrap_or(0);
        layer[node] = rows.take_from(first);
    }
    let sources = (0..count).filter(|&node| above[node].is_empty());
    for node in sources.collect::<Vec<_>>() {
        let Some(lowest) = below[node].iter().map(|&lower| layer[lower] - 1).min() else { continue };
        if let Some(better) = (layer[node] + 1..=lowest).rev().take(64).find(|&row| rows.used[row] < width) {
            rows.used[layer[node]] -= 1;
            rows.used[better] += 1;
            layer[node] = better;
        }
    }
    // Rows that became empty are closed up.
    let kept: BTreeMap<usize, usize> =
        rows.used.iter().enumerate().filter(|(_, used)| **used > 0).map(|(row, _)| row).zip(0..).collect();
    layer.iter_mut().for_each(|row| *row = kept[row]);
    Layers { layer, edges }
}

/// Rows and how full they are. `next` leads to the next row with room, by shortcuts that shorten as they are used.
struct Rows {
    used: Vec<usize>,
    next: Vec<usize>,
    width: usize,
}

impl Rows {
    fn take_from(&mut self, first: usize) -> usize {
        let mut row = first;
        loop {
            while self.used.len() <= row {
                self.next.push(self.used.len());
                self.used.push(0);
            }
            if self.next[row] == row {
                break;
            }
            row = self.next[row];
        }
        let mut at = first;
        while at != row {
            at = std::mem::replace(&mut self.next[at], row);
        }
        self.used[row] += 1;
        if self.used[row] == self.width {
            self.next[row] = row + 1;
        }
        row
    }
}

/// Turns edges so that none closes a cycle. Signed graphs have none; rows edited by hand may.
fn orient(graph: &Graph) -> Vec<Option<Oriented>> {
    let position: HashMap<Hash, usize> = graph.nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
    let pairs: Vec<Option<(usize, usize)>> = graph
        .edges
        .iter()
        .map(|edge| Some((*position.get(&edge.parent)?, *position.get(&edge.child)?)).filter(|(a, b)| a != b))
        .collect();
    let (mut above, mut below) = (vec![Vec::new(); graph.nodes.len()], vec![Vec::new(); graph.nodes.len()]);
    for (parent, child) in pairs.iter().flatten() {
        above[*child].push(*parent);
        below[*parent].push(*child);
    }
    let mut place = vec![0; graph.nodes.len()];
    for (at, node) in topological(&above, &below).into_iter().enumerate() {
        place[node] = at;
    }
    let orient = |(parent, child): (usize, usize)| match place[parent] < place[child] {
        true => Oriented { upper: parent, lower: child, against: false },
        false => Oriented { upper: child, lower: parent, against: true },
    };
    pairs.into_iter().map(|pair| pair.map(orient)).collect()
}

/// Every node after those above it. In a cycle the first node of it, by position, goes first.
fn topological(above: &[Vec<usize>], below: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = above.iter().map(Vec::len).collect();
    let mut done = vec![false; above.len()];
    let mut ready: Vec<usize> = (0..above.len()).rev().filter(|&node| waiting[node] == 0).collect();
    let mut order = Vec::with_capacity(above.len());
    let mut forced = 0..above.len();
    loop {
        let next = ready.pop().or_else(|| forced.find(|&node| !done[node]));
        let Some(node) = next else { return order };
        if std::mem::replace(&mut done[node], true) {
            continue;
        }
        order.push(node);
        for &lower in &below[node] {
            waiting[lower] = waiting[lower].saturating_sub(1);
            if waiting[lower] == 0 && !done[lower] {
                ready.push(lower);
            }
        }
    }
}
