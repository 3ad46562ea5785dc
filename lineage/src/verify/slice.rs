//! A slice of a file against what was signed about that file: everything that a bundle holds is checked, but of the
//! artifact only the slice.

use std::io::{self, Read};

use super::{Belief, Examiner, Rows, open_bundle};
use crate::Error;
use crate::credential::policy::Policy;
use crate::digest::Hash;
use crate::digest::listing::File;
use crate::digest::slice::{self, Proven};
use crate::graph::statement::Statement;
use crate::verdict::{SCHEMA_OF_PART, State, Verdict, printable};

/// What a slice's proof is checked against.
pub struct Request<'a> {
    /// The bundle file.
    pub bundle: &'a [u8],
    /// Which file of the artifact the slice is of; may be left out when there is only one.
    pub file: Option<&'a str>,
    /// Whom to believe, and when.
    pub belief: Belief<'a>,
}

/// Checks a bundle, and a proof against the file's digest that the bundle's statement signs. The verdict is about the
/// slice: its scope says so, and nothing is claimed about other bytes.
///
/// `sink` gets the proven bytes, as [`slice::check`] hands them out; they count only beside a slice that is returned.
///
/// # Errors
/// [`Error::Io`] when the proof cannot be read or the sink fails. Evidence that is wrong is a verdict, not an error.
pub fn verify(
    request: &Request<'_>,
    proof: &mut dyn Read,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(Verdict, Option<Proven>), Error> {
    let mut rows = Rows::default();
    let mut verdict = Verdict {
        schema: SCHEMA_OF_PART.to_owned(),
        state: State::Absent,
        name: String::new(),
        root: String::new(),
        statement: String::new(),
        signer: String::new(),
        scope: Some("a slice".to_owned()),
        checks: vec![],
    };
    let mut proven = None;
    if let Some((statement, id, signer)) = evidence(request, &mut rows) {
        verdict.name = statement.name().to_owned();
        (verdict.root, verdict.statement, verdict.signer) = (statement.root().to_string(), id.to_string(), signer);
        let file = file(&statement, request.file, &mut rows);
        if let Some(file) = file {
            proven = prove(file, proof, sink, &mut rows)?;
        }
        if let (Some(proven), Some(file)) = (&proven, file) {
            let (begin, end) = proven.range;
            verdict.scope = Some(printable(&format!("bytes {begin} to {end} of file {}", file.path), 1000));
            tensor(&statement, proven, &mut rows);
        }
    }
    verdict.state = rows.0.iter().map(|row| row.state).max().unwrap_or(State::Absent);
    verdict.checks = rows.0;
    Ok((verdict, proven))
}

/// Everything that `verify` checks, but the files.
fn evidence(request: &Request<'_>, rows: &mut Rows) -> Option<(Statement, Hash, String)> {
    let bundle = open_bundle(request.bundle, rows)?;
    let no_policy = Policy::default();
    let examiner = Examiner::new(&bundle, &request.belief, &no_policy, rows);
    let record = &bundle.records[0];
    let (statement, id) = examiner.statement(record, "", rows)?;
    let signer = examiner.signer(&statement, &id, "", rows);
    examiner.evidence(record, &statement, &id, false, rows);
    Some((statement, id, signer))
}

/// The signed file that the slice is said to be of.
fn file<'a>(statement: &'a Statement, name: Option<&str>, rows: &mut Rows) -> Option<&'a File> {
    let files = statement.predicate.listing.files();
    let found = match (name, files) {
        (None, [file]) => Some(file),
        (None, _) => None,
        (Some(name), files) => files.iter().find(|file| file.path == name),
    };
    if found.is_none() {
        let detail = match name {
            Some(name) => format!("{name} is not among the {} signed files", files.len()),
            None => format!("{} files were signed: say of which the slice is", files.len()),
        };
        rows.add("slice", State::Unknown, detail);
    }
    found
}

fn prove(
    file: &File,
    proof: &mut dyn Read,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    rows: &mut Rows,
) -> Result<Option<Proven>, Error> {
    let proven = match slice::check(proof, file.blake3, sink) {
        Err(error @ Error::Io { .. }) => return Err(error),
        other => rows.attempt("slice", other),
    };
    let Some(proven) = proven else { return Ok(None) };
    let (begin, end) = proven.range;
    if proven.length != file.size {
        let detail = format!("{} has {} bytes, but {} were signed", file.path, proven.length, file.size);
        rows.add("slice", State::Invalid, detail);
        return Ok(None);
    }
    let detail = format!(
        "bytes {begin} to {end} belong to {} ({} bytes, root {}); its other bytes were not looked at",
        file.path,
        file.size,
        file.blake3.short()
    );
    rows.add("slice", State::Verified, detail);
    Ok(Some(proven))
}

/// A proven tensor must also be the signed one, where tensors were signed.
fn tensor(statement: &Statement, proven: &Proven, rows: &mut Rows) {
    let Some(tensor) = &proven.tensor else { return };
    let Some(signed) = &statement.predicate.tensors else { return };
    match signed.list.iter().find(|other| other.name == tensor.name) {
        Some(other) if other == tensor => {
            let detail = format!("{} is the signed {} {:?}", tensor.name, tensor.dtype, tensor.shape);
            rows.add("tensor", State::Verified, detail);
        }
        Some(_) => rows.add("tensor", State::Invalid, format!("{} is not the signed tensor", tensor.name)),
        None => rows.add("tensor", State::Invalid, format!("{} was not signed", tensor.name)),
    }
}
