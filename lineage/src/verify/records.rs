//! Records against the signed tree: recomputed from the bytes at hand, or proven one by one without them.

use super::{Belief, Examiner, Request, Rows, open_bundle};
use crate::Error;
use crate::credential::policy::Policy;
use crate::digest::Hash;
use crate::digest::artifact::Artifact;
use crate::digest::records::{RecordProof, Records, Shown};
use crate::graph::statement::Statement;
use crate::verdict::{SCHEMA_OF_PART, State, Verdict};

/// Builds the record tree of an artifact anew, as the signed one was built. Decoding tables is not this crate's business.
pub type Recompute<'a> = dyn Fn(&Artifact, &Records) -> Result<Records, Error> + 'a;

/// Compares the signed record tree with one computed from the bytes at hand. There is a row only when there is one: a
/// salted tree takes a secret, and the bytes are held by the row on files in any case.
pub(super) fn records(request: &Request<'_>, statement: &Statement, rows: &mut Rows) {
    let Some(signed) = statement.predicate.records.as_ref().filter(|signed| !signed.salted) else { return };
    let Some(recompute) = request.records else { return };
    let here = match recompute(request.artifact, signed) {
        Ok(here) => here,
        Err(error @ Error::Io { .. }) => return rows.add("records", State::Unknown, error.problem()),
        Err(error) => return rows.add("records", State::Invalid, error.problem()),
    };
    if here == *signed {
        let detail = format!("{} {} records re-read, root {}", here.count, here.format, here.root.short());
        return rows.add("records", State::Verified, detail);
    }
    let detail = if here.count != signed.count {
        format!("{} records are here, and {} were signed", here.count, signed.count)
    } else if here.schema != signed.schema {
        "the columns are not those that were signed".to_owned()
    } else if here.root != signed.root {
        format!("the root of the {} records is not the signed one", here.count)
    } else {
        "the files hold other numbers of records than was signed".to_owned()
    };
    rows.add("records", State::Invalid, detail);
}

/// A proof about one record, and what it rests on.
pub struct RecordRequest<'a> {
    /// The bundle of the dataset, or of something that was made from it.
    pub bundle: &'a [u8],
    /// The proof.
    pub proof: &'a RecordProof,
    /// Whom to believe, and when.
    pub belief: Belief<'a>,
}

/// Checks a proof about a record, and the statement that signs its tree: signature, signer, manifest, log and ancestry. No
/// byte of the dataset is needed, and nothing is said of the files at hand.
///
/// The statement may be that of the bundle's artifact or of one of its ancestors: a model's bundle answers for its training
/// data. Also answers what the statement says of the records, once its signature was verified.
pub fn record(request: &RecordRequest<'_>) -> (Verdict, Option<Records>) {
    let mut rows = Rows::default();
    let found = examine(request, &mut rows);
    let state = rows.0.iter().map(|row| row.state).max().unwrap_or(State::Absent);
    let (statement, signer) = found.unzip();
    let verdict = Verdict {
        schema: SCHEMA_OF_PART.to_owned(),
        state,
        name: statement.as_ref().map_or_else(String::new, |statement| statement.name().to_owned()),
        root: statement.as_ref().map_or_else(String::new, |statement| statement.root().to_string()),
        statement: request.proof.statement.to_string(),
        signer: signer.unwrap_or_default(),
        scope: Some("a record".to_owned()),
        checks: rows.0,
    };
    (verdict, statement.and_then(|statement| statement.predicate.records))
}

fn examine(request: &RecordRequest<'_>, rows: &mut Rows) -> Option<(Statement, String)> {
    let bundle = open_bundle(request.bundle, rows)?;
    let no_policy = Policy::default();
    let examiner = Examiner::new(&bundle, &request.belief, &no_policy, rows);
    let first = &bundle.records[0];
    let (artifact, id) = examiner.statement(first, "", rows)?;
    let mut signer = examiner.signer(&artifact, &id, "", rows);
    examiner.evidence(first, &artifact, &id, false, rows);

    let wanted = request.proof.statement;
    let statement = if wanted == id {
        artifact
    } else {
        // The walk over the ancestry has judged it, or said that the record belongs to nothing.
        let Some(record) = examiner.records.get(&wanted) else {
            let detail = format!("is about the tree of statement {}, which is not in the bundle", wanted.short());
            rows.add("record", State::Unknown, detail);
            return None;
        };
        let statement = rows.attempt("record", open(record))?;
        signer = examiner
            .policy
            .signer(&statement.predicate.signer)
            .map_or_else(|| statement.predicate.signer.to_string(), |known| known.name.clone());
        statement
    };
    shown(request.proof, &statement, &wanted, rows);
    Some((statement, signer))
}

fn open(record: &crate::bundle::Record) -> Result<Statement, Error> {
    Statement::parse(&record.statement.verify()?.payload)
}

fn shown(proof: &RecordProof, statement: &Statement, id: &Hash, rows: &mut Rows) {
    let Some(records) = &statement.predicate.records else {
        return rows.add("record", State::Invalid, format!("statement {} signs no record tree", id.short()));
    };
    let Some(shown) = rows.attempt("record", proof.check(records)) else { return };
    let (count, format, name) = (records.count, records.format, statement.name());
    let detail = match shown {
        Shown::Included(index) if records.sorted => {
            format!("is leaf {index} of the {count} sorted {format} records of {name}")
        }
        Shown::Included(index) => {
            let place = records.place(index).map_or_else(String::new, |(path, at)| format!(", record {at} of {path}"));
            format!("is record {index} of the {count} {format} records of {name}{place}")
        }
        Shown::Absent => {
            format!(
                "is not among the {count} {format} records of {name}, whose leaves are sorted by its signer's word; \
                 `verify` on the dataset checks that"
            )
        }
    };
    rows.add("record", State::Verified, detail);
}
