//! What a store of statements is, and the rules by which statements enter it.
//!
//! Signatures are checked before anything is stored: a [`Batch`] holds [`VerifiedStatement`]s only, and
//! [`Batch::plan`] compares every edge with what it points at. Stores hold rows and answer a few questions about them;
//! the queries over them are in [`super::query`], written once. [`super::memory`] is the slow, obvious store that the
//! others are compared with.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rayon::prelude::*;
use serde::Serialize;

use super::Relation;
use super::node::{Edge, Node};
use super::statement::Statement;
use crate::Error;
use crate::bundle::Bundle;
use crate::credential::dsse::{Envelope, EnvelopeSignature, PAYLOAD_TYPE};
use crate::credential::keys::PublicKey;
use crate::digest::Hash;

/// A statement whose signature, id and contents were checked.
#[derive(Clone, Debug)]
pub struct VerifiedStatement {
    id: Hash,
    statement: Statement,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl VerifiedStatement {
    /// Checks the signature, what was signed, and that the signer names itself.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part that is wrong.
    pub fn verify(envelope: &Envelope) -> Result<Self, Error> {
        let help = "fetch the bundle again from where it was published";
        let verified = envelope.verify()?;
        let id = Hash::sha256(&verified.payload);
        let statement = Statement::parse(&verified.payload)
            .map_err(|error| Error::input(format!("statement {}", id.short()), error.problem(), help))?;
        if statement.predicate.signer != verified.key {
            let problem = "names another signer than the key that signed it";
            return Err(Error::input(format!("statement {}", id.short()), problem, help));
        }
        // All signatures hold; a store keeps the signer's, which is the first.
        let signature = envelope.signatures.first().and_then(|one| STANDARD.decode(&one.sig).ok());
        let signature = signature.ok_or_else(|| Error::input("statement signature", "is not Base64", help))?;
        Ok(VerifiedStatement { id, statement, payload: verified.payload, signature })
    }

    /// Checks the parts that a store keeps of an envelope.
    ///
    /// # Errors
    /// As [`VerifiedStatement::verify`].
    pub fn from_parts(payload: &[u8], signature: &[u8]) -> Result<Self, Error> {
        let signer = Statement::parse(payload)?.predicate.signer;
        VerifiedStatement::verify(&envelope(payload, &signer, signature))
    }

    /// SHA-256 of the payload.
    pub fn id(&self) -> Hash {
        self.id
    }

    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The bytes that were signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature over the payload's PAE, as the envelope holds it.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The envelope, byte for byte as every writer writes it.
    pub fn envelope(&self) -> Envelope {
        envelope(&self.payload, &self.statement.predicate.signer, &self.signature)
    }
}

fn envelope(payload: &[u8], signer: &PublicKey, signature: &[u8]) -> Envelope {
    Envelope {
        payload: STANDARD.encode(payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![EnvelopeSignature { keyid: signer.to_string(), sig: STANDARD.encode(signature) }],
    }
}

/// The statements of one bundle, each checked, on their way into a store.
#[derive(Clone, Debug)]
pub struct Batch {
    origin: String,
    statements: Vec<VerifiedStatement>,
}

impl Batch {
    /// Checks every statement of a bundle. `origin` names the bundle in messages.
    ///
    /// # Errors
    /// [`Error::Input`] when a statement does not verify, stands there twice, or speaks for no ancestor of the first.
    pub fn of(origin: &str, bundle: &Bundle) -> Result<Self, Error> {
        let help = "fetch the bundle again from where it was published; nothing was stored";
        let refuse = |problem: String| Error::input(origin, problem, help);
        let verify = |record: &crate::bundle::Record| VerifiedStatement::verify(&record.statement);
        let statements: Result<Vec<_>, Error> = bundle.records.par_iter().map(verify).collect();
        let statements = statements.map_err(|error| refuse(error.problem()))?;
        let mut unmet = BTreeMap::new();
        for statement in &statements {
            if unmet.insert(statement.id, statement).is_some() {
                return Err(refuse(format!("record {} stands there twice", statement.id.short())));
            }
        }
        let mut edges: Vec<Hash> = statements.first().map(|first| first.id).into_iter().collect();
        while let Some(id) = edges.pop() {
            if let Some(met) = unmet.remove(&id) {
                edges.extend(met.statement.predicate.parents.iter().map(|parent| parent.statement));
            }
        }
        if let Some(id) = unmet.keys().next() {
            return Err(refuse(format!("record {} speaks for no ancestor", id.short())));
        }
        Ok(Batch { origin: origin.to_owned(), statements })
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Ids of the statements and of all the parents that they name, sorted: what [`Batch::plan`] has to know.
    pub fn ids(&self) -> Vec<Hash> {
        let named = |one: &VerifiedStatement| {
            let parents = one.statement.predicate.parents.iter().map(|parent| parent.statement);
            parents.chain([one.id]).collect::<Vec<_>>()
        };
        self.statements.iter().flat_map(named).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What has to change in a store that holds `known` of [`Batch::ids`], or why nothing may.
    ///
    /// # Errors
    /// [`Error::Input`] naming both sides, when an edge and the statement it points at disagree, when two edges describe
    /// one missing statement differently, or when the store holds something else under an id.
    pub fn plan(&self, known: &BTreeMap<Hash, Known>) -> Result<Changes<'_>, Error> {
        let refuse = |problem: String, help: &str| {
            Err(Error::input(&*self.origin, problem, format!("{help}; nothing was stored")))
        };
        let mut changes = Changes::default();
        // What each id stands for once these statements are in, and who says so.
        let mut nodes: BTreeMap<Hash, (Node, String)> = BTreeMap::new();
        for one in &self.statements {
            let node = Node::of(one.id, &one.statement);
            match known.get(&one.id) {
                None => changes.fresh.push(node.clone()),
                Some(Known { node: stored, .. }) if *stored == node => changes.already += 1,
                Some(Known { node: stored, named_by }) if stored.is_missing() => {
                    if (&stored.name, stored.root) != (&node.name, node.root) {
                        let child = named_by.map_or("an edge of the store".to_owned(), |id| format!("statement {id}"));
                        let problem = format!(
                            "statement {} is {:?} with root {}, but {child}, which is in the store, names it as {:?} with root {}",
                            one.id, node.name, node.root, stored.name, stored.root
                        );
                        return refuse(problem, "one of the two signers named the wrong parent; ask both");
                    }
                    changes.resolved.push(node.clone());
                }
                Some(_) => {
                    let problem = format!("the store's row of statement {} is not what its signer signed", one.id);
                    return refuse(problem, "the store was edited by hand: run `countermark lineage check`");
                }
            }
            if known.get(&one.id).is_none_or(|known| known.node.is_missing()) {
                changes.statements.push(one);
            }
            nodes.insert(one.id, (node, "its own statement".to_owned()));
        }
        for one in &self.statements {
            for parent in &one.statement.predicate.parents {
                let node = nodes.entry(parent.statement).or_insert_with(|| match known.get(&parent.statement) {
                    Some(Known { node, named_by: Some(child) }) => (node.clone(), format!("statement {child}")),
                    Some(Known { node, named_by: None }) => (node.clone(), "its own statement".to_owned()),
                    None => {
                        let node = Node::missing(parent.statement, &parent.name, parent.root);
                        changes.fresh.push(node.clone());
                        (node, format!("statement {}", one.id))
                    }
                });
                let (node, says) = node;
                if (&node.name, node.root) != (&parent.name, parent.root) {
                    let problem = format!(
                        "statement {} names its parent {} as {:?} with root {}, but {says} says {:?} with root {}",
                        one.id, parent.statement, parent.name, parent.root, node.name, node.root
                    );
                    return refuse(problem, "one of the two names the wrong parent; ask its signer");
                }
            }
        }
        for one in &changes.statements {
            changes.edges.extend(edges_of(one.id, &one.statement));
        }
        Ok(changes)
    }
}

/// The edges that a statement signs.
pub fn edges_of(id: Hash, statement: &Statement) -> impl Iterator<Item = Edge> + '_ {
    let edge = move |parent: &super::statement::Parent| Edge {
        child: id,
        parent: parent.statement,
        relation: parent.relation,
    };
    statement.predicate.parents.iter().map(edge)
}

/// What a store holds under an id.
#[derive(Clone, Debug)]
pub struct Known {
    /// The row.
    pub node: Node,
    /// While its statement is missing: a statement that names it as a parent.
    pub named_by: Option<Hash>,
}

/// What one batch changes in a store.
#[derive(Clone, Debug, Default)]
pub struct Changes<'a> {
    /// Rows to add, those of missing statements among them.
    pub fresh: Vec<Node>,
    /// Rows of missing statements that are now known.
    pub resolved: Vec<Node>,
    /// Statements to add.
    pub statements: Vec<&'a VerifiedStatement>,
    /// Edges to add, all of them from those statements.
    pub edges: Vec<Edge>,
    /// How many statements the store had already.
    pub already: u64,
}

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Statements that are new in the store.
    pub statements: u64,
    /// Edges that are new in the store.
    pub edges: u64,
    /// Statements that it had already.
    pub already: u64,
    /// Statements that were missing and are there now.
    pub resolved: u64,
}

impl Imported {
    /// Counts one batch.
    pub fn add(&mut self, changes: &Changes<'_>) {
        self.statements += changes.statements.len() as u64;
        self.edges += changes.edges.len() as u64;
        self.already += changes.already;
        self.resolved += changes.resolved.len() as u64;
    }
}

/// A store's own number for a node; another store numbers it otherwise.
pub type Key = i64;

/// Which way a step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From child to parent.
    Parents,
    /// From parent to child.
    Children,
    /// To other statements about the same root: the same bytes, signed again.
    SameRoot,
}

/// One step from one node to another.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where the step began.
    pub from: Key,
    /// Which relation it followed; nothing for [`Step::SameRoot`].
    pub relation: Option<Relation>,
    /// Where it led.
    pub key: Key,
    /// The row there.
    pub node: Node,
}

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find {
    /// Every node.
    All,
    /// Statement ids from the first to the last.
    Ids(Hash, Hash),
    /// Roots from the first to the last.
    Roots(Hash, Hash),
    /// A tensors root.
    Tensors(Hash),
    /// A signer's key.
    Signer(PublicKey),
    /// Exactly this name.
    Name(String),
    /// Names that begin so.
    NamePrefix(String),
}

/// Which part of a long list: at most `limit` rows, after the one with this name and id. Rows are ordered by the bytes
/// of the name, then by id, in every store.
#[derive(Clone, Debug)]
pub struct Page {
    /// The last row of the page before.
    pub after: Option<(String, Hash)>,
    /// Most rows to answer.
    pub limit: u32,
}

impl Page {
    /// The first page.
    pub fn first(limit: u32) -> Self {
        Page { after: None, limit }
    }
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Statements.
    pub statements: u64,
    /// Parents whose statement is missing.
    pub missing: u64,
    /// Edges.
    pub edges: u64,
}

/// The payload and the signature of a statement as a store holds them: not checked.
pub type Stored = (Vec<u8>, Vec<u8>);

/// A relation and the row of the parent that it leads to, or why they cannot be read.
pub type ParentRow = Result<(Relation, Node), Error>;

/// Everything that a store holds about one node, for [`super::check`]. Nothing here is believed.
#[derive(Debug)]
pub struct Row {
    /// The store's number.
    pub key: Key,
    /// The row, or why it cannot be read.
    pub node: Result<Node, Error>,
    /// Payload and signature.
    pub statement: Option<Stored>,
    /// The edges that begin here: relation and the parent's row, or why one cannot be read.
    pub parents: Vec<ParentRow>,
    /// True when an edge leads here.
    pub has_children: bool,
}

/// A store of statements: SQLite, PostgreSQL, or memory.
///
/// Errors of every method: [`Error::Input`] with the store's place, when it cannot be reached, is full or busy, or when
/// a row that was edited by hand cannot be read. No method panics or loops on such rows.
pub trait Store {
    /// Where it is, for people. Holds no password.
    fn place(&self) -> String;

    /// Takes in batches, all or none: one transaction, which the first error undoes.
    fn import(&mut self, batches: &mut dyn Iterator<Item = Result<Batch, Error>>) -> Result<Imported, Error>;

    /// Until [`Store::end`], all answers are about one state of the store, whoever writes meanwhile.
    fn begin(&mut self) -> Result<(), Error>;

    /// Ends what [`Store::begin`] began.
    fn end(&mut self) -> Result<(), Error>;

    /// Nodes, ordered by name and id.
    fn find(&mut self, find: &Find, page: &Page) -> Result<Vec<(Key, Node)>, Error>;

    /// All steps from these nodes, but no more than `most`. In an order of the store's own.
    fn links(&mut self, step: Step, from: &[Key], most: usize) -> Result<Vec<Link>, Error>;

    /// Payload and signature of a statement, as they are stored: not checked.
    fn statement(&mut self, key: Key) -> Result<Option<Stored>, Error>;

    /// How much there is.
    fn counts(&mut self) -> Result<Counts, Error>;

    /// Calls `visit` with every node, in order of keys. Answers the number of all edges and statements, also of those that belong to no node, and what the database
    /// itself finds wrong with its files.
    fn rows(&mut self, visit: &mut dyn FnMut(Row)) -> Result<Totals, Error>;
}

/// Asks several things about one state of a store.
///
/// # Errors
/// Those of `work`, and when the store cannot be read.
pub fn in_one_state<T>(
    store: &mut dyn Store,
    work: impl FnOnce(&mut dyn Store) -> Result<T, Error>,
) -> Result<T, Error> {
    store.begin()?;
    let answer = work(store);
    let ended = store.end();
    // What went wrong first says more.
    let answer = answer?;
    ended.map(|()| answer)
}

/// What [`Store::rows`] answers.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// All edges.
    pub edges: u64,
    /// All statements.
    pub statements: u64,
    /// What the database says of its own files.
    pub damage: Vec<String>,
}
