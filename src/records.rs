//! Datasets by record: the tree that `sign` puts into a statement, proofs from it, and what two datasets share.

use std::path::{Path, PathBuf};

use countermark_formats::records::columns::{self, row_to_json};
use countermark_formats::records::{Format, tar, warc};
use countermark_io::files;
use countermark_io::records::{self as io, Dataset, Options};
use countermark_lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, Measured};
use countermark_lineage::digest::records::{Evidence, MAX_PROOF, RecordProof, Records, Salt};
use countermark_lineage::graph::statement::Statement;
use countermark_lineage::verdict::Verdict;
use countermark_lineage::verify::records as judge;
use serde::Serialize;

use crate::trust::Trust;
use crate::{Error, Progress, keyset};

mod duplicates;

pub use duplicates::{Duplicates, Example, Place, Side, duplicates};

/// Which record tree to build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tree {
    /// How files are cut into records; told from their names when left out.
    pub format: Option<Format>,
    /// Sort the leaves: the same records in any order give the same root, and absence can be proven.
    pub sorted: bool,
}

/// Builds the record tree of an artifact that was just hashed; its bytes must still be the same. `salt` names the file of the
/// secret, which is made when it is not there.
///
/// # Errors
/// When there are no records, they cannot be read, or the tree would be both sorted and salted.
pub fn measure(
    artifact: &Artifact,
    measured: &Measured,
    tree: Tree,
    salt: Option<&Path>,
    progress: &impl Progress,
) -> Result<Records, Error> {
    let dataset = Dataset::open(artifact, tree.format)?;
    let options = Options { sorted: tree.sorted, salt: None };
    // What cannot be done is refused before a secret is made for it.
    if tree.sorted && salt.is_some() {
        let problem = "a record tree cannot be both sorted and salted: whoever proves an absence could choose the salt";
        return Err(countermark_lineage::Error::usage(problem, "leave out --sorted or --salt").into());
    }
    let salt = salt.map(io::load_or_create_salt).transpose()?;
    let salt = salt.map(|secret| Salt::new(&secret, &measured.root));
    progress.begin("records", dataset.total_size());
    let options = Options { salt: salt.as_ref(), ..options };
    Ok(io::measure(&dataset, options, Some(&measured.listing), &|bytes| progress.advance(bytes))?.records)
}

/// Builds the tree of the files that a statement names, as it was built for it.
pub(crate) fn recompute(
    artifact: &Artifact,
    signed: &Records,
    progress: &impl Progress,
) -> Result<Records, countermark_lineage::Error> {
    let dataset = Dataset::signed(artifact, signed)?;
    progress.begin("records", dataset.total_size());
    let options = Options { sorted: signed.sorted, salt: None };
    Ok(io::measure(&dataset, options, None, &|bytes| progress.advance(bytes))?.records)
}

/// Which record to prove.
#[derive(Clone, Debug)]
pub enum Which {
    /// The one at this place in the data, from zero.
    Index(u64),
    /// The first one that holds these bytes.
    Containing(Vec<u8>),
    /// The first one that is these bytes; of a line or row, a line end behind it does not count.
    Exactly(Vec<u8>),
}

/// What to prove, and from what.
#[derive(Clone, Debug)]
pub struct ProveRequest {
    /// The dataset.
    pub path: PathBuf,
    /// The bundle that signs its record tree: its own, or that of something made from it.
    pub bundle: PathBuf,
    /// The secret of a salted tree.
    pub salt: Option<PathBuf>,
}

/// A proof, and what was found on the way.
#[derive(Debug)]
pub struct Proved {
    /// The proof.
    pub proof: RecordProof,
    /// Place of the record in the data, for a proof of inclusion.
    pub index: Option<u64>,
    /// How many records match.
    pub matches: u64,
    /// Number of records.
    pub count: u64,
}

/// The dataset at hand, and the statement that signs its records.
struct Signed {
    artifact: Artifact,
    id: Hash,
    root: Hash,
    records: Records,
}

impl Signed {
    /// Finds the statement by the files' paths and sizes. That the bytes are the signed ones is seen from the root.
    fn find(request: &ProveRequest) -> Result<Self, Error> {
        let artifact = files::open(&request.path)?;
        let bundle = Bundle::parse(&files::read(&request.bundle, MAX_BUNDLE)?)?;
        let mut signs_records = false;
        for record in &bundle.records {
            let verified = record.statement.verify()?;
            let statement = Statement::parse(&verified.payload)?;
            let Some(records) = &statement.predicate.records else { continue };
            signs_records = true;
            let here = artifact.files.iter().map(|(path, source)| (&**path, source.len()));
            let listed = statement.predicate.listing.files().iter().map(|file| (&*file.path, file.size));
            let same = match (artifact.is_folder, statement.predicate.folder) {
                (true, true) => here.eq(listed),
                (false, false) => here.map(|(_, size)| size).eq(listed.map(|(_, size)| size)),
                _ => false,
            };
            if same {
                let (root, records) = (statement.root(), records.clone());
                return Ok(Signed { artifact, id: Hash::sha256(&verified.payload), root, records });
            }
        }
        let (problem, help) = if signs_records {
            ("signs records, and not those of this path", "name the dataset as it was signed, and its bundle")
        } else {
            ("signs no record tree", "sign the dataset with `countermark sign PATH --key KEY --records`")
        };
        Err(countermark_io::Error::refused(&request.bundle, problem, help).into())
    }

    fn salt(&self, path: Option<&Path>) -> Result<Option<Salt>, Error> {
        match (self.records.salted, path) {
            (false, None) => Ok(None),
            (true, Some(path)) => Ok(Some(Salt::new(&*io::load_salt(path)?, &self.root))),
            (true, None) => Err(usage("the records are salted", "name the salt file of their owner with --salt FILE")),
            (false, Some(_)) => Err(usage("the records are not salted", "leave out --salt")),
        }
    }

    /// A proof that does not hold is never handed out: the bytes, or the salt, are other ones.
    fn checked(&self, request: &ProveRequest, proof: RecordProof) -> Result<RecordProof, Error> {
        match proof.check(&self.records) {
            Ok(_) => Ok(proof),
            Err(_) => {
                let problem =
                    "does not give the signed root: it is not the dataset that was signed, or the salt is another";
                let help = "fetch the dataset again; `countermark verify` names what differs";
                Err(countermark_io::Error::refused(&request.path, problem, help).into())
            }
        }
    }
}

fn usage(problem: &str, help: &str) -> Error {
    countermark_lineage::Error::usage(problem, help).into()
}

/// Larger records do not fit into a proof.
const MAX_DISCLOSED: usize = (MAX_PROOF / 2) as usize;

/// Proves that a record is in the dataset that was signed. `None` when no record at hand matches.
///
/// # Errors
/// When the bundle signs no such records, the dataset cannot be read or is another one, or the salt is missing.
pub fn prove(request: &ProveRequest, which: &Which, progress: &impl Progress) -> Result<Option<Proved>, Error> {
    let signed = Signed::find(request)?;
    let salt = signed.salt(request.salt.as_deref())?;
    let dataset = Dataset::signed(&signed.artifact, &signed.records)?;
    let options = Options { sorted: signed.records.sorted, salt: salt.as_ref() };
    let finder = match which {
        Which::Containing(text) => Some(memchr::memmem::Finder::new(text)),
        _ => None,
    };
    let exact = match which {
        Which::Exactly(bytes) => without_line_end(signed.records.format, bytes),
        _ => &[],
    };
    let matches = |index: u64, record: &[u8]| match which {
        Which::Index(wanted) => index == *wanted,
        Which::Containing(_) => finder.as_ref().is_some_and(|finder| finder.find(record).is_some()),
        Which::Exactly(_) => record == exact,
    };
    // The data is read twice: once to find the record, once for its path.
    progress.begin("records", dataset.total_size() * 2);
    let Some(found) = io::inclusion(&dataset, options, &matches, &|bytes| progress.advance(bytes))? else {
        return Ok(None);
    };
    if found.record.len() > MAX_DISCLOSED {
        return Err(usage("the record is above 32 MiB, too long to be disclosed in a proof", "choose another record"));
    }
    let path = found.built.wanted.map(|(_, path)| path).unwrap_or_default();
    let evidence = Evidence::Inclusion { index: found.leaf, salt: found.salt, path };
    let proof = RecordProof::new(signed.id, found.walked.columns, found.record, evidence);
    let proof = signed.checked(request, proof)?;
    Ok(Some(Proved { proof, index: Some(found.index), matches: found.matches, count: found.built.count }))
}

/// Proves that a record is not in the dataset that was signed. `None` when it is. Of a line or row, a line end behind it does
/// not count.
///
/// # Errors
/// As [`prove`]; [`countermark_lineage::Error::Usage`] when the signed tree is not sorted.
pub fn prove_absence(request: &ProveRequest, record: &[u8], progress: &impl Progress) -> Result<Option<Proved>, Error> {
    let signed = Signed::find(request)?;
    let record = without_line_end(signed.records.format, record);
    if !signed.records.sorted {
        return Err(usage(
            "absence cannot be proven by this tree: its leaves are not sorted",
            "recompute over the whole dataset: `countermark verify`, then search it; or sign it with --records --sorted",
        ));
    }
    let dataset = Dataset::signed(&signed.artifact, &signed.records)?;
    progress.begin("records", dataset.total_size());
    let Some(found) = io::absence(&dataset, record, &|bytes| progress.advance(bytes))? else { return Ok(None) };
    let evidence = Evidence::Absence { before: found.before, after: found.after };
    let proof = RecordProof::new(signed.id, found.walked.columns, record.to_vec(), evidence);
    let proof = signed.checked(request, proof)?;
    Ok(Some(Proved { proof, index: None, matches: 0, count: found.walked.count }))
}

/// What to check, and against what.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The proof.
    pub proof: PathBuf,
    /// The bundle of the dataset, or of something made from it.
    pub bundle: PathBuf,
    /// Whom to believe. Without it nobody is known.
    pub policy: Option<PathBuf>,
}

/// A verdict on a proof, and the record that it is about.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// What was checked, and what it came to.
    pub verdict: Verdict,
    /// The record, as far as its format is known from a statement whose signature holds.
    pub record: serde_json::Value,
}

/// Checks a proof about a record and the statement that it rests on.
///
/// # Errors
/// When a file cannot be read. Evidence that is wrong is a verdict, not an error.
pub fn check(request: &CheckRequest) -> Result<Checked, Error> {
    let trust = Trust::load(request.policy.as_deref(), &[], &[])?;
    let proof = RecordProof::parse(&files::read(&request.proof, MAX_PROOF)?)
        .map_err(|error| countermark_io::Error::refused(&request.proof, error.problem(), "name a proof of a record"))?;
    let bundle = files::read(&request.bundle, MAX_BUNDLE)?;
    let judged = judge::RecordRequest { bundle: &bundle, proof: &proof, belief: trust.belief(keyset::now()) };
    let (verdict, records) = judge::record(&judged);
    let format = records.map(|records| records.format);
    Ok(Checked { verdict, record: describe(format, &proof) })
}

/// A record for people: what its format lets them read.
fn describe(format: Option<Format>, proof: &RecordProof) -> serde_json::Value {
    let record = &*proof.record.0;
    let columns = proof.columns.as_ref().map(|columns| &*columns.0);
    let described = match format {
        Some(Format::Csv) => Some(serde_json::json!({ "header": columns.map(text), "row": text(record) })),
        Some(Format::Parquet | Format::Arrow) => columns
            .and_then(|columns| columns::parse(std::str::from_utf8(columns).ok()?))
            .and_then(|columns| row_to_json(&columns, record)),
        Some(Format::Webdataset) => tar::files(record).map(|files| {
            let file = |(name, data): &(&[u8], &[u8])| {
                serde_json::json!({ "name": text(name), "size": data.len(), "blake3": Hash::blake3(data), "data": text(data) })
            };
            files.iter().map(file).collect()
        }),
        Some(Format::Warc) => warc::parts(record).map(|[kind, url, date, block]| {
            serde_json::json!({ "type": text(kind), "url": text(url), "date": text(date), "block": text(block) })
        }),
        _ => None,
    };
    described.unwrap_or_else(|| text(record))
}

/// Text as it is; other bytes by their number.
fn text(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => format!("{} bytes that are no text", bytes.len()).into(),
    }
}

/// A line or row without the line end that editors add: no record of these formats ends with one.
fn without_line_end(format: Format, record: &[u8]) -> &[u8] {
    if !format.is_text() {
        return record;
    }
    let line = record.strip_suffix(b"\n").unwrap_or(record);
    if format == Format::Csv { line.strip_suffix(b"\r").unwrap_or(line) } else { line }
}
