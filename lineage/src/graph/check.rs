//! Goes through a whole store and checks again everything that import checked: nothing in a database is believed.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;

use super::node::Node;
use super::statement::Parent;
use super::store::{Row, Store, VerifiedStatement, in_one_state};
use crate::Error;
use crate::digest::Hash;
use crate::verdict::printable;

/// What a check came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// Statements whose signature, id and contents hold, and whose rows say what was signed.
    pub statements: u64,
    /// Edges that stand in a statement, and lead to what the statement names.
    pub edges: u64,
    /// Parents whose statement is missing.
    pub missing: u64,
    /// What is wrong, at most [`MOST_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How much is wrong.
    pub wrong: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Which statement, when its row can be read.
    pub statement: Option<Hash>,
    /// What is wrong with it.
    pub problem: String,
}

/// More problems are counted and not kept.
pub const MOST_PROBLEMS: usize = 1000;

/// So many rows are checked at once, on all cores.
const CHUNK: usize = 256;

/// Checks every row of a store. `progress` hears of each as it is done.
///
/// # Errors
/// When the store cannot be read at all. What is wrong in it is an answer, not an error.
pub fn check(store: &mut dyn Store, progress: &(dyn Fn(u64) + Sync)) -> Result<Checked, Error> {
    in_one_state(store, |store| check_rows(store, progress))
}

fn check_rows(store: &mut dyn Store, progress: &(dyn Fn(u64) + Sync)) -> Result<Checked, Error> {
    let mut checked = Checked::default();
    let (mut edges, mut statements) = (0, 0);
    let mut waiting: Vec<Row> = Vec::with_capacity(CHUNK);
    let totals = store.rows(&mut |row| {
        edges += row.parents.len() as u64;
        statements += u64::from(row.statement.is_some());
        waiting.push(row);
        if waiting.len() == CHUNK {
            checked.take(&waiting);
            progress(waiting.len() as u64);
            waiting.clear();
        }
    })?;
    checked.take(&waiting);
    progress(waiting.len() as u64);
    if totals.edges != edges {
        checked.add(None, format!("{} edges begin or end nowhere", totals.edges.abs_diff(edges)));
    }
    if totals.statements != statements {
        checked.add(None, format!("{} statements belong to no row", totals.statements.abs_diff(statements)));
    }
    totals.damage.into_iter().for_each(|problem| checked.add(None, problem));
    Ok(checked)
}

impl Checked {
    fn take(&mut self, rows: &[Row]) {
        for (row, result) in rows.iter().zip(rows.par_iter().map(check_row).collect::<Vec<_>>()) {
            match result {
                Ok(()) if row.statement.is_some() => {
                    self.statements += 1;
                    self.edges += row.parents.len() as u64;
                }
                Ok(()) => self.missing += 1,
                Err(problem) => self.add(row.node.as_ref().ok().map(|node| node.id), problem),
            }
        }
    }

    fn add(&mut self, statement: Option<Hash>, problem: String) {
        self.wrong += 1;
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { statement, problem: printable(&problem, 500) });
        }
    }
}

fn check_row(row: &Row) -> Result<(), String> {
    let node = row.node.as_ref().map_err(Error::problem)?;
    let Some((payload, signature)) = &row.statement else {
        return match node {
            node if !node.is_missing() => Err("its signed statement is gone".to_owned()),
            _ if !row.parents.is_empty() => Err("has parents, though its statement is missing".to_owned()),
            _ if !row.has_children => Err("is missing, and no statement names it".to_owned()),
            _ => Ok(()),
        };
    };
    if node.is_missing() {
        return Err("is marked as missing, though its statement is there".to_owned());
    }
    let verified = VerifiedStatement::from_parts(payload, signature).map_err(|error| error.problem())?;
    if verified.id() != node.id {
        return Err(format!("holds the statement {}", verified.id()));
    }
    if *node != Node::of(verified.id(), verified.statement()) {
        return Err("its row does not say what was signed".to_owned());
    }
    let mut signed: BTreeMap<_, &Parent> = BTreeMap::new();
    for parent in &verified.statement().predicate.parents {
        signed.insert((parent.statement, parent.relation), parent);
    }
    let mut met = BTreeSet::new();
    for parent in &row.parents {
        let (relation, parent) = parent.as_ref().map_err(Error::problem)?;
        let Some(claim) = signed.get(&(parent.id, *relation)) else {
            return Err(format!("has an edge {relation} to {} that nobody signed", parent.id));
        };
        if (&claim.name, claim.root) != (&parent.name, parent.root) {
            return Err(format!("names its parent {} otherwise than that names itself", parent.id));
        }
        met.insert((parent.id, *relation));
    }
    match signed.keys().find(|edge| !met.contains(edge)) {
        Some((id, relation)) => Err(format!("its signed edge {relation} to {id} is gone")),
        None => Ok(()),
    }
}
