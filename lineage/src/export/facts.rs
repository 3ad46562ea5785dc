//! What the verified statements of a bundle say: the one view that every export reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;
use crate::bundle::Bundle;
use crate::digest::Hash;
use crate::graph::statement::{Parent, Statement};
use crate::graph::{Kind, Relation};

/// The artifact and its ancestors, each statement with its own signature checked.
#[derive(Clone, Debug)]
pub struct Facts {
    artifact: Statement,
    nodes: Vec<Node>,
    position: BTreeMap<Hash, usize>,
    children: BTreeMap<Hash, Vec<usize>>,
    /// How many artifacts have a name.
    names: BTreeMap<String, usize>,
}

/// One artifact of the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Id of its statement.
    pub id: Hash,
    /// Its name: what its own signer called it, or what its child called it when its statement is missing.
    pub name: String,
    /// Its root.
    pub root: Hash,
    /// What was signed of it; missing when the bundle names this ancestor and does not hold its statement.
    pub statement: Option<Statement>,
}

impl Node {
    /// What it is, when that was signed.
    pub fn kind(&self) -> Option<Kind> {
        self.statement.as_ref().map(|statement| statement.predicate.kind)
    }

    /// What it was made from.
    pub fn parents(&self) -> &[Parent] {
        self.statement.as_ref().map_or(&[], |statement| &statement.predicate.parents)
    }

    /// The address under which documents name this statement. It is a name, not a promise of a page.
    pub fn iri(&self) -> String {
        statement_iri(&self.id)
    }
}

/// The address under which documents name the statement `id`.
pub fn statement_iri(id: &Hash) -> String {
    format!("https://countermark.dev/statement/{id}")
}

impl Facts {
    /// Reads a bundle whose every statement must verify, agree with its children, and be an ancestor of the first.
    ///
    /// Says nothing about trust: see [`crate::verify::vouched_for`].
    ///
    /// # Errors
    /// [`Error::Input`] naming the record that is wrong.
    pub fn of(bundle: &Bundle) -> Result<Self, Error> {
        let help = "nothing was exported; fetch the bundle again from where it was published";
        let refuse = |place: String, problem: &str| Err(Error::input(place, problem, help));
        if let Some(problem) = bundle.duplicate() {
            return Err(Error::input("bundle", problem, help));
        }
        let mut nodes = Vec::with_capacity(bundle.records.len());
        let mut artifact = None;
        for record in &bundle.records {
            let verified = record.statement.verify()?;
            let id = Hash::sha256(&verified.payload);
            let statement = Statement::parse(&verified.payload)?;
            if statement.predicate.signer != verified.key {
                return refuse(format!("record {}", id.short()), "names another signer than the key that signed it");
            }
            artifact.get_or_insert_with(|| statement.clone());
            let (name, root) = (statement.name().to_owned(), statement.root());
            nodes.push(Node { id, name, root, statement: Some(statement) });
        }
        let Some(artifact) = artifact else { return refuse("bundle".to_owned(), "holds no record") };
        let mut position: BTreeMap<Hash, usize> = nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();

        // From the artifact upwards; what is not reached was slipped in, and must not appear as an ancestor.
        let (mut queue, mut reached) = (vec![0], BTreeSet::from([0]));
        let mut children: BTreeMap<Hash, Vec<usize>> = BTreeMap::new();
        while let Some(at) = queue.pop() {
            for parent in nodes[at].parents().to_vec() {
                let index = match position.get(&parent.statement) {
                    Some(&index) => index,
                    None => {
                        position.insert(parent.statement, nodes.len());
                        let (id, name, root) = (parent.statement, parent.name.clone(), parent.root);
                        nodes.push(Node { id, name, root, statement: None });
                        nodes.len() - 1
                    }
                };
                if nodes[index].root != parent.root {
                    let place = format!("parent {:?} of {:?}", nodes[index].name, nodes[at].name);
                    return refuse(place, "has another root in its own statement than in its child's");
                }
                children.entry(parent.statement).or_default().push(at);
                if reached.insert(index) {
                    queue.push(index);
                }
            }
        }
        if let Some(stranger) = (0..nodes.len()).find(|at| !reached.contains(at)) {
            let place = format!("record {} ({:?})", nodes[stranger].id.short(), nodes[stranger].name);
            return refuse(place, "is no ancestor of the artifact");
        }
        let mut names = BTreeMap::new();
        nodes.iter().for_each(|node| *names.entry(node.name.clone()).or_default() += 1);
        Ok(Facts { artifact, nodes, position, children, names })
    }

    /// The artifact that the bundle is about.
    pub fn artifact(&self) -> &Node {
        &self.nodes[0]
    }

    /// The artifact's own statement, which every bundle holds.
    pub fn statement(&self) -> &Statement {
        &self.artifact
    }

    /// The artifact first, then its ancestors.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The ancestor with this statement.
    pub fn node(&self, id: &Hash) -> Option<&Node> {
        self.position.get(id).map(|&at| &self.nodes[at])
    }

    /// How many artifacts here have this name.
    pub fn count_named(&self, name: &str) -> usize {
        self.names.get(name).copied().unwrap_or(0)
    }

    /// Every edge: child, relation, parent; children in the order of [`Facts::nodes`].
    pub fn edges(&self) -> impl Iterator<Item = (&Node, Relation, &Node)> {
        self.nodes.iter().flat_map(|child| self.parents(child).map(move |(relation, parent)| (child, relation, parent)))
    }

    /// What `child` was made from, and how.
    pub fn parents<'a>(&'a self, child: &'a Node) -> impl Iterator<Item = (Relation, &'a Node)> {
        child.parents().iter().filter_map(|parent| Some((parent.relation, self.node(&parent.statement)?)))
    }

    /// What was made from `parent`, once for each relation.
    pub fn children(&self, parent: &Node) -> impl Iterator<Item = &Node> {
        self.children.get(&parent.id).into_iter().flatten().map(|&at| &self.nodes[at])
    }

    /// Every dataset of the ancestry, each once: what was signed as one, and what something was trained on.
    pub fn datasets(&self) -> Vec<&Node> {
        let trained_on: BTreeSet<Hash> =
            self.edges().filter(|(_, relation, _)| *relation == Relation::TrainedOn).map(|edge| edge.2.id).collect();
        let is_dataset = |node: &&Node| match node.kind() {
            Some(kind) => matches!(kind, Kind::Dataset | Kind::Shard),
            None => trained_on.contains(&node.id),
        };
        self.nodes.iter().filter(is_dataset).collect()
    }
}
