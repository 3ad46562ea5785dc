//! Questions to a store: what an artifact came from, what came from it, and how two are connected.
//!
//! A walk goes level by level and never enters a node twice. That ends on any rows, also on cycles that somebody wrote
//! into a database by hand, and takes time in proportion to the edges it meets. (A recursive query in SQL that also
//! counts the depth would meet a node once for each depth, which is quadratic on graphs made for it.) Answers are ordered
//! by distance, name and id, whatever the store.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::node::{Edge, Graph, Node};
use super::store::{Key, Step, Store, in_one_state};
use super::{Kind, Relation};
use crate::Error;
use crate::digest::Hash;

/// How far a walk goes.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// [`Step::Parents`] or [`Step::Children`].
    pub step: Step,
    /// Also go to other statements about the same root: whoever signs the same bytes again without naming their parents
    /// does not thereby lose them.
    pub same_root: bool,
    /// Most steps from the start.
    pub depth: u32,
    /// Most nodes to answer.
    pub nodes: usize,
}

/// No lineage is as long: beyond this a walk was led astray.
pub const MAX_DEPTH: u32 = 100_000;

/// Most nodes of an answer, unless asked otherwise.
pub const MAX_NODES: usize = 1_000_000;

impl Walk {
    /// Everything that was used to make something, by signed edges alone.
    pub const ANCESTORS: Walk = Walk { step: Step::Parents, same_root: false, depth: MAX_DEPTH, nodes: MAX_NODES };

    /// Everything that was made from something, by signed edges alone.
    pub const DESCENDANTS: Walk = Walk { step: Step::Children, ..Walk::ANCESTORS };

    /// Everything that was made from these bytes, whoever signed them.
    pub const TOUCHED: Walk = Walk { same_root: true, ..Walk::DESCENDANTS };
}

/// A node that a walk came to.
#[derive(Clone, Debug, Serialize)]
pub struct Reached {
    /// The store's number.
    #[serde(skip)]
    pub key: Key,
    /// Steps from the start.
    pub depth: u32,
    /// The row.
    #[serde(flatten)]
    pub node: Node,
    /// From which node the walk came here; of several as near, the one with the smallest id.
    pub via: Hash,
    /// By which relation; nothing for another statement about the same root.
    pub relation: Option<Relation>,
    /// Where that walk began.
    pub origin: Hash,
}

/// Where a walk came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Walked {
    /// Where it began.
    pub start: Vec<Node>,
    /// What it reached, nearest first, without the start.
    pub reached: Vec<Reached>,
    /// True when it was ended by [`Walk::depth`] or [`Walk::nodes`], and there may be more.
    pub truncated: bool,
}

/// So many nodes are asked about at once.
const CHUNK: usize = 4096;

/// Walks from `start`.
///
/// # Errors
/// When the store cannot be read.
pub fn walk(store: &mut dyn Store, start: &[(Key, Node)], walk: &Walk) -> Result<Walked, Error> {
    in_one_state(store, |store| walk_until(store, start, walk, None))
}

fn walk_until(store: &mut dyn Store, start: &[(Key, Node)], walk: &Walk, end: Option<Key>) -> Result<Walked, Error> {
    let mut walked = Walked { start: start.iter().map(|(_, node)| node.clone()).collect(), ..Walked::default() };
    let mut seen: HashSet<Key> = start.iter().map(|(key, _)| *key).collect();
    // Key, id and origin of the nodes whose neighbours come next.
    let mut level: Vec<(Key, Hash, Hash)> = start.iter().map(|(key, node)| (*key, node.id, node.id)).collect();
    let mut depth = 0;
    while !level.is_empty() && !walked.truncated && end.is_none_or(|end| !seen.contains(&end)) {
        if depth == walk.depth {
            walked.truncated = true;
            break;
        }
        depth += 1;
        let mut found: HashMap<Key, Reached> = HashMap::new();
        for chunk in level.chunks(CHUNK) {
            let room = walk.nodes.saturating_sub(walked.reached.len());
            walked.truncated |= gather(store, chunk, walk, depth, room, &seen, &mut found)?;
            if found.len() > room {
                walked.truncated = true;
                break;
            }
        }
        let mut found: Vec<Reached> = found.into_values().collect();
        found.sort_by(|a, b| (&a.node.name, a.node.id).cmp(&(&b.node.name, b.node.id)));
        found.truncate(walk.nodes.saturating_sub(walked.reached.len()));
        seen.extend(found.iter().map(|reached| reached.key));
        level = found.iter().map(|reached| (reached.key, reached.node.id, reached.origin)).collect();
        walked.reached.append(&mut found);
    }
    // The last level asked for is complete when nothing lies beyond it.
    if walked.truncated && depth == walk.depth && walked.reached.len() < walk.nodes {
        let mut beyond = HashMap::new();
        for chunk in level.chunks(CHUNK) {
            gather(store, chunk, walk, depth, 0, &seen, &mut beyond)?;
        }
        walked.truncated = !beyond.is_empty();
    }
    Ok(walked)
}

/// The unseen neighbours of a part of a level. Answers true when there were more links than it takes.
fn gather(
    store: &mut dyn Store,
    level: &[(Key, Hash, Hash)],
    walk: &Walk,
    depth: u32,
    room: usize,
    seen: &HashSet<Key>,
    found: &mut HashMap<Key, Reached>,
) -> Result<bool, Error> {
    // Neighbours in a table are asked about one after another.
    let mut keys: Vec<Key> = level.iter().map(|(key, ..)| *key).collect();
    keys.sort_unstable();
    let from: HashMap<Key, (Hash, Hash)> = level.iter().map(|(key, id, origin)| (*key, (*id, *origin))).collect();
    let steps: &[Step] = if walk.same_root { &[walk.step, Step::SameRoot] } else { &[walk.step] };
    // Several links may lead to one node, so more of them are taken than there is room.
    let most = room.saturating_add(1_000_000);
    let mut cut = false;
    for &step in steps {
        let links = store.links(step, &keys, most)?;
        cut |= links.len() >= most;
        for link in links {
            let Some(&(via, origin)) = from.get(&link.from).filter(|_| !seen.contains(&link.key)) else { continue };
            let relation = link.relation;
            let better =
                |old: &Reached| (relation.is_none(), via, relation) < (old.relation.is_none(), old.via, old.relation);
            if found.get(&link.key).is_none_or(better) {
                found.insert(link.key, Reached { key: link.key, depth, node: link.node, via, relation, origin });
            }
        }
    }
    Ok(cut)
}

/// One step of a path.
#[derive(Clone, Debug, Serialize)]
pub struct Hop {
    /// The relation from the child before to this parent; nothing at the start.
    pub relation: Option<Relation>,
    /// The row.
    #[serde(flatten)]
    pub node: Node,
}

/// The shortest way from a child up to an ancestor by signed edges, whichever of the two is the child; child first.
/// Nothing when neither comes from the other.
///
/// # Errors
/// When the store cannot be read, or the way is longer than [`MAX_DEPTH`] or leads past [`MAX_NODES`] nodes.
pub fn path(store: &mut dyn Store, a: &(Key, Node), b: &(Key, Node)) -> Result<Option<Vec<Hop>>, Error> {
    in_one_state(store, |store| find_path(store, a, b))
}

fn find_path(store: &mut dyn Store, a: &(Key, Node), b: &(Key, Node)) -> Result<Option<Vec<Hop>>, Error> {
    for (child, ancestor) in [(a, b), (b, a)] {
        let walked = walk_until(store, std::slice::from_ref(child), &Walk::ANCESTORS, Some(ancestor.0))?;
        let mut by_id: BTreeMap<Hash, &Reached> =
            walked.reached.iter().map(|reached| (reached.node.id, reached)).collect();
        let mut hops = Vec::new();
        let mut at = ancestor.1.id;
        // Each step goes one level down, except where somebody gave two rows one id: none is taken twice, so this ends.
        while let Some(reached) = by_id.remove(&at) {
            hops.push(Hop { relation: reached.relation, node: reached.node.clone() });
            at = reached.via;
        }
        if at == child.1.id {
            hops.push(Hop { relation: None, node: child.1.clone() });
            hops.reverse();
            return Ok(Some(hops));
        }
        if walked.truncated {
            return Err(Error::usage("the lineage is too large to search", "ask `lineage ancestors --depth` instead"));
        }
    }
    Ok(None)
}

/// Every model and adapter that touched these bytes, through any relation and any number of steps.
///
/// # Errors
/// When the store cannot be read.
pub fn touched(store: &mut dyn Store, start: &[(Key, Node)], how: &Walk) -> Result<Walked, Error> {
    let mut walked = walk(store, start, how)?;
    walked.reached.retain(|reached| matches!(reached.node.kind, Some(Kind::Model | Kind::Adapter)));
    Ok(walked)
}

/// What would be affected if something were revoked.
#[derive(Clone, Debug, Serialize)]
pub struct Affected {
    /// One group for each statement that is itself revoked, in the order of its name and id. What was made from several
    /// of them stands with the nearest.
    pub groups: Vec<AffectedGroup>,
    /// As [`Walked::truncated`].
    pub truncated: bool,
}

/// A revoked statement and what rests on it.
#[derive(Clone, Debug, Serialize)]
pub struct AffectedGroup {
    /// What is revoked itself.
    pub revoked: Node,
    /// What was made from it, nearest first.
    pub made_from_it: Vec<Reached>,
}

/// What rests on these nodes, grouped by which of them it rests on.
///
/// # Errors
/// When the store cannot be read.
pub fn affected(store: &mut dyn Store, start: &[(Key, Node)], how: &Walk) -> Result<Affected, Error> {
    let walked = walk(store, start, how)?;
    let mut groups: BTreeMap<Hash, Vec<Reached>> = BTreeMap::new();
    for reached in walked.reached {
        groups.entry(reached.origin).or_default().push(reached);
    }
    let group = |revoked: Node| {
        let made_from_it = groups.remove(&revoked.id).unwrap_or_default();
        AffectedGroup { revoked, made_from_it }
    };
    Ok(Affected { groups: walked.start.into_iter().map(group).collect(), truncated: walked.truncated })
}

/// The graph around some nodes, for a picture: they themselves, what the walks reach, and every edge among all these.
///
/// # Errors
/// When the store cannot be read.
pub fn graph(store: &mut dyn Store, start: &[(Key, Node)], walks: &[Walk]) -> Result<(Graph, bool), Error> {
    in_one_state(store, |store| gather_graph(store, start, walks))
}

fn gather_graph(store: &mut dyn Store, start: &[(Key, Node)], walks: &[Walk]) -> Result<(Graph, bool), Error> {
    let mut nodes: Vec<(Key, Node)> = start.to_vec();
    let mut keys: HashSet<Key> = start.iter().map(|(key, _)| *key).collect();
    let mut truncated = false;
    for how in walks {
        let walked = walk_until(store, start, how, None)?;
        truncated |= walked.truncated;
        nodes.extend(walked.reached.into_iter().filter(|one| keys.insert(one.key)).map(|one| (one.key, one.node)));
    }
    let ids: HashMap<Key, Hash> = nodes.iter().map(|(key, node)| (*key, node.id)).collect();
    let all: Vec<Key> = nodes.iter().map(|(key, _)| *key).collect();
    let mut edges = Vec::new();
    for chunk in all.chunks(CHUNK) {
        for link in store.links(Step::Parents, chunk, 1_000_000)? {
            if let (Some(&child), Some(&parent), Some(relation)) =
                (ids.get(&link.from), ids.get(&link.key), link.relation)
            {
                edges.push(Edge { child, parent, relation });
            }
        }
    }
    edges.sort();
    Ok((Graph { nodes: nodes.into_iter().map(|(_, node)| node).collect(), edges }, truncated))
}
