//! A store in memory: the slow, obvious one that the others are compared with, and what answers queries over one bundle.

use std::collections::BTreeMap;

use super::node::{Edge, Node};
use super::store::{Batch, Counts, Find, Imported, Key, Known, Link, Page, Row, Step, Store, Stored, Totals};
use crate::Error;
use crate::digest::Hash;

/// A store in memory. Every question goes through all rows.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    statements: BTreeMap<Hash, Stored>,
}

impl Memory {
    fn known(&self, id: Hash) -> Option<Known> {
        let node = self.nodes.iter().find(|node| node.id == id)?.clone();
        let child = || self.edges.iter().filter(|edge| edge.parent == id).map(|edge| edge.child).min();
        let named_by = if node.is_missing() { child() } else { None };
        Some(Known { node, named_by })
    }

    fn take(&mut self, batch: &Batch, imported: &mut Imported) -> Result<(), Error> {
        let known = batch.ids().into_iter().filter_map(|id| Some((id, self.known(id)?))).collect();
        let changes = batch.plan(&known)?;
        imported.add(&changes);
        self.nodes.extend(changes.fresh.iter().cloned());
        for node in &changes.resolved {
            let row = self.nodes.iter_mut().find(|row| row.id == node.id);
            row.into_iter().for_each(|row| *row = node.clone());
        }
        for one in &changes.statements {
            self.statements.insert(one.id(), (one.payload().to_vec(), one.signature().to_vec()));
        }
        self.edges.extend(changes.edges);
        Ok(())
    }

    /// The key of a node is its position.
    fn key(&self, id: Hash) -> Option<Key> {
        self.nodes.iter().position(|node| node.id == id).map(|at| at as Key)
    }

    fn node(&self, key: Key) -> Option<&Node> {
        self.nodes.get(usize::try_from(key).ok()?)
    }
}

impl Store for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn import(&mut self, batches: &mut dyn Iterator<Item = Result<Batch, Error>>) -> Result<Imported, Error> {
        let mut imported = Imported::default();
        let mut next = self.clone();
        for batch in batches {
            next.take(&batch?, &mut imported)?;
        }
        *self = next;
        Ok(imported)
    }

    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn find(&mut self, find: &Find, page: &Page) -> Result<Vec<(Key, Node)>, Error> {
        let wanted = |node: &Node| match find {
            Find::All => true,
            Find::Ids(first, last) => (*first..=*last).contains(&node.id),
            Find::Roots(first, last) => (*first..=*last).contains(&node.root),
            Find::Tensors(root) => node.tensors == Some(*root),
            Find::Signer(key) => node.signer == Some(*key),
            Find::Name(name) => node.name == *name,
            Find::NamePrefix(prefix) => node.name.starts_with(prefix),
        };
        let later = |node: &Node| page.after.as_ref().is_none_or(|(name, id)| (&node.name, node.id) > (name, *id));
        let rows = self.nodes.iter().enumerate().filter(|(_, node)| wanted(node) && later(node));
        let mut rows: Vec<_> = rows.map(|(at, node)| (at as Key, node.clone())).collect();
        rows.sort_by(|(_, a), (_, b)| (&a.name, a.id).cmp(&(&b.name, b.id)));
        rows.truncate(page.limit as usize);
        Ok(rows)
    }

    fn links(&mut self, step: Step, from: &[Key], most: usize) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        for &key in from {
            let Some(here) = self.node(key) else { continue };
            if step == Step::SameRoot {
                let others =
                    self.nodes.iter().enumerate().filter(|(_, node)| node.root == here.root && node.id != here.id);
                links.extend(others.map(|(at, node)| Link {
                    from: key,
                    relation: None,
                    key: at as Key,
                    node: node.clone(),
                }));
                continue;
            }
            for edge in &self.edges {
                let (near, far) = match step {
                    Step::Parents => (edge.child, edge.parent),
                    _ => (edge.parent, edge.child),
                };
                if near == here.id
                    && let Some(to) = self.key(far)
                    && let Some(node) = self.node(to)
                {
                    links.push(Link { from: key, relation: Some(edge.relation), key: to, node: node.clone() });
                }
            }
        }
        links.truncate(most);
        Ok(links)
    }

    fn statement(&mut self, key: Key) -> Result<Option<Stored>, Error> {
        Ok(self.node(key).and_then(|node| self.statements.get(&node.id)).cloned())
    }

    fn counts(&mut self) -> Result<Counts, Error> {
        let missing = self.nodes.iter().filter(|node| node.is_missing()).count() as u64;
        Ok(Counts { statements: self.statements.len() as u64, missing, edges: self.edges.len() as u64 })
    }

    fn rows(&mut self, visit: &mut dyn FnMut(Row)) -> Result<Totals, Error> {
        for (at, node) in self.nodes.iter().enumerate() {
            let edges = self.edges.iter().filter(|edge| edge.child == node.id);
            let parents = edges.filter_map(|edge| {
                let parent = self.nodes.iter().find(|node| node.id == edge.parent)?;
                Some(Ok((edge.relation, parent.clone())))
            });
            visit(Row {
                key: at as Key,
                node: Ok(node.clone()),
                statement: self.statements.get(&node.id).cloned(),
                parents: parents.collect(),
                has_children: self.edges.iter().any(|edge| edge.parent == node.id),
            });
        }
        let (edges, statements) = (self.edges.len() as u64, self.statements.len() as u64);
        Ok(Totals { edges, statements, damage: vec![] })
    }
}
