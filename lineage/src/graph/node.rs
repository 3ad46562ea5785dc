//! The graph as rows: one node per statement, one edge per parent that a statement names.

use std::collections::BTreeMap;

use serde::Serialize;

use super::statement::Statement;
use super::{Kind, Relation};
use crate::Error;
use crate::bundle::Bundle;
use crate::credential::keys::PublicKey;
use crate::digest::Hash;

/// One artifact, as its statement describes it, or as a child names it while its statement is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Id of its statement.
    pub id: Hash,
    /// Its name.
    pub name: String,
    /// What it is; nothing is known of a parent whose statement is missing.
    pub kind: Option<Kind>,
    /// Its root.
    pub root: Hash,
    /// True when its weights carry a mark of their own.
    pub marked: bool,
    /// The key that signed, as it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<PublicKey>,
    /// The tensors root, when the artifact holds a readable model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Hash>,
    /// When the signer says that it was made, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
}

impl Node {
    /// The row of a statement. `id` is the SHA-256 of its payload.
    pub fn of(id: Hash, statement: &Statement) -> Self {
        Node {
            id,
            name: statement.name().to_owned(),
            kind: Some(statement.predicate.kind),
            root: statement.root(),
            marked: statement.marks().next().is_some(),
            signer: Some(statement.predicate.signer),
            tensors: statement.predicate.tensors.as_ref().map(|tensors| tensors.root),
            created: statement.created(),
        }
    }

    /// A parent of which only this is known: what a child says of it.
    pub fn missing(id: Hash, name: &str, root: Hash) -> Self {
        Node { id, name: name.to_owned(), kind: None, root, marked: false, signer: None, tensors: None, created: None }
    }

    /// True when its statement is missing.
    pub fn is_missing(&self) -> bool {
        self.kind.is_none()
    }

    /// What it is, for people.
    pub fn what(&self) -> &'static str {
        self.kind.map_or("statement missing", Kind::as_str)
    }
}

/// One edge, from child to parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// The child's statement.
    pub child: Hash,
    /// The parent's statement.
    pub parent: Hash,
    /// How the child comes from the parent.
    pub relation: Relation,
}

/// The nodes and edges of a bundle or of a query's answer. Says nothing about trust.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Graph {
    /// What the graph is about first, then the others.
    pub nodes: Vec<Node>,
    /// From child to parent.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// Reads the graph out of a bundle, and checks each statement with its own signature.
    ///
    /// # Errors
    /// [`Error::Input`] when a statement's signature does not hold.
    pub fn of(bundle: &Bundle) -> Result<Self, Error> {
        let (mut nodes, mut edges, mut missing) = (Vec::new(), Vec::new(), BTreeMap::new());
        for record in &bundle.records {
            let verified = record.statement.verify()?;
            let id = Hash::sha256(&verified.payload);
            let statement = Statement::parse(&verified.payload)?;
            for parent in &statement.predicate.parents {
                edges.push(Edge { child: id, parent: parent.statement, relation: parent.relation });
                missing.insert(parent.statement, (parent.name.clone(), parent.root));
            }
            nodes.push(Node::of(id, &statement));
        }
        nodes.iter().for_each(|node| drop(missing.remove(&node.id)));
        nodes.extend(missing.into_iter().map(|(id, (name, root))| Node::missing(id, &name, root)));
        Ok(Graph { nodes, edges })
    }
}
