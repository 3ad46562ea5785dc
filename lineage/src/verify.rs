//! The one place where evidence becomes a verdict.
//!
//! Read it from the top: [`verify`] goes through the parts in the order in which one rests on the other, and each part
//! adds its rows. The worst row is the state. A row says what was compared with what, and never more than was checked.

mod anchor;
mod files;
mod hand_overs;
mod log;
pub mod manifest;
pub mod oms;
pub mod receipt;
pub mod records;
mod signers;
pub mod slice;
mod trust;
mod witnesses;

use std::collections::BTreeMap;

use crate::Error;
use crate::anchor::Trust as Outside;
use crate::anchor::evm::Blocks;
use crate::bundle::{Bundle, Record};
use crate::credential::embedded::{self, Place as Where};
use crate::credential::keys::PublicKey;
use crate::credential::policy::{CertificateRoot, Policy};
use crate::credential::revocation::Target;
use crate::credential::{c2pa, x509};
use crate::digest::Hash;
use crate::digest::artifact::{Artifact, Cache, Sha256};
use crate::graph::statement::{Parent, Statement, rfc3339};
use crate::verdict::{Check, SCHEMA, SCHEMA_OF_PART, State, Verdict, printable};

use anchor::Anchors;
pub use anchor::held_since;
pub use trust::{Belief, Named};
use trust::{CLOCK_SKEW, Standing, Trust};
pub use witnesses::{log_trust, quorum};

/// What to verify, and against what.
pub struct Request<'a> {
    /// The bytes at hand.
    pub artifact: &'a Artifact,
    /// The bundle file, when one was found.
    pub bundle: Option<&'a [u8]>,
    /// Sidecars found beside the artifact: name and bytes. A C2PA manifest (`.c2pa`) must be that of the bundle; an OMS
    /// bundle of a file is called `NAME.sig`.
    pub sidecars: &'a [(String, Vec<u8>)],
    /// Whom to believe. Without it nobody is known.
    pub policy: Option<&'a Policy>,
    /// Revocation lists that are at hand. Those of issuers that the policy names count.
    pub revocations: &'a [Named],
    /// Hand-overs that are at hand, beside those of the bundle.
    pub hand_overs: &'a [Named],
    /// Nodes of chains to ask for blocks, when the network may be used.
    pub blocks: Option<&'a dyn Blocks>,
    /// Ask for an anchor that is included, whatever the policy says.
    pub require_anchor: bool,
    /// Ask for a release of this name: a copy may be renamed, and another release of the same signer put in its place.
    pub name: Option<&'a str>,
    /// Builds the record tree anew, when that can be done here.
    pub records: Option<&'a records::Recompute<'a>>,
    /// Reads the manifest that a medium carries, when that can be done here.
    pub media: Option<&'a manifest::Media<'a>>,
    /// The time to judge by, in Unix seconds.
    pub now: i64,
    /// True when [`Request::now`] is not the present but a time that somebody asked for, which a row then says.
    pub at: bool,
}

impl<'a> Request<'a> {
    fn belief(&self) -> Belief<'a> {
        let Request { policy, revocations, hand_overs, blocks, now, .. } = *self;
        Belief { policy, revocations, hand_overs, blocks, now }
    }
}

/// How the bytes at hand are looked at.
#[derive(Clone, Copy, Default)]
pub struct Look<'a> {
    /// Only this part. The verdict then speaks of it alone, in a row that names it and in [`Verdict::scope`].
    pub part: Option<Part<'a>>,
    /// Where digests may be taken from instead of the bytes. The row on files then says of how many.
    pub cache: Option<&'a dyn Cache>,
}

/// A part of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A file of a folder.
    File(&'a str),
    /// A tensor of a model.
    Tensor(&'a str),
}

impl std::fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::File(path) => write!(f, "file {path}"),
            Part::Tensor(name) => write!(f, "tensor {name}"),
        }
    }
}

/// Checks everything that the bundle holds, and what it ought to hold, against all bytes at hand.
pub fn verify(request: &Request<'_>, progress: &(dyn Fn(u64) + Sync)) -> Verdict {
    verify_with(request, &Look::default(), progress)
}

/// As [`verify`], looking at the bytes in another way.
pub fn verify_with(request: &Request<'_>, look: &Look<'_>, progress: &(dyn Fn(u64) + Sync)) -> Verdict {
    let mut rows = Rows::default();
    if request.at {
        let detail = format!("judged as of {}, as was asked, and not as of today", rfc3339(request.now));
        rows.add("time", State::Verified, detail);
    }
    let subject = examine(request, look, progress, &mut rows);
    let state = rows.0.iter().map(|row| row.state).max().unwrap_or(State::Absent);
    let subject = subject.unwrap_or_else(|| Subject { name: request.artifact.name.clone(), ..Subject::default() });
    let Subject { name, root, statement, signer } = subject;
    let scope = look.part.map(|part| printable(&part.to_string(), 1000));
    let schema = if scope.is_some() { SCHEMA_OF_PART } else { SCHEMA }.to_owned();
    Verdict { schema, state, name, root, statement, signer, scope, checks: rows.0 }
}

/// Checks everything that a bundle holds, and nothing of the artifact's bytes: what somebody sees who is sent the bundle
/// alone. The verdict says so in its scope.
pub fn bundle(bytes: &[u8], belief: &Belief<'_>) -> Verdict {
    let mut rows = Rows::default();
    let no_policy = Policy::default();
    let subject = open_bundle(bytes, &mut rows).and_then(|bundle| {
        let examiner = Examiner::new(&bundle, belief, &no_policy, &mut rows);
        let record = &bundle.records[0];
        let (statement, id) = examiner.statement(record, "", &mut rows)?;
        let signer = examiner.signer(&statement, &id, "", &mut rows);
        examiner.evidence(record, &statement, &id, false, &mut rows);
        Some((statement.name().to_owned(), statement.root().to_string(), id.to_string(), signer))
    });
    let (name, root, statement, signer) = subject.unwrap_or_default();
    let state = rows.0.iter().map(|row| row.state).max().unwrap_or(State::Absent);
    let scope = Some("the bundle, without the bytes that it speaks for".to_owned());
    Verdict { schema: SCHEMA_OF_PART.to_owned(), state, name, root, statement, signer, scope, checks: rows.0 }
}

/// Refuses a bundle unless the policy vouches for every signer, name and edge in it, and nothing was revoked.
///
/// # Errors
/// [`Error::Input`] naming the first statement that nobody vouches for.
pub fn vouched_for(bytes: &[u8], belief: &Belief<'_>) -> Result<(), Error> {
    const ROWS: [&str; 6] = ["bundle", "statement", "signer", "threshold", "revocations", "hand-over"];
    let verdict = bundle(bytes, belief);
    let is_about_signers = |row: &&Check| ROWS.iter().any(|name| row.name.ends_with(name));
    let mut denied = verdict.checks.iter().filter(|row| row.state == State::Revoked || is_about_signers(row));
    match denied.find(|row| row.state > State::Unanchored) {
        Some(row) => {
            let help = "leave the policy out to go by what was signed, whoever signed it";
            Err(Error::input(row.name.clone(), row.detail.clone(), help))
        }
        None => Ok(()),
    }
}

/// Whom and what the verdict is about. Empty where it is not known.
#[derive(Default)]
struct Subject {
    name: String,
    root: String,
    statement: String,
    signer: String,
}

fn examine(
    request: &Request<'_>,
    look: &Look<'_>,
    progress: &(dyn Fn(u64) + Sync),
    rows: &mut Rows,
) -> Option<Subject> {
    let found = manifest::Found::of(request);
    let no_policy = Policy::default();
    let Some(bytes) = request.bundle else {
        if found.any() {
            return manifest::alone(request, look, &found, None, progress, rows);
        }
        let trust = Trust::new(&request.belief(), &no_policy, &[], rows);
        let policy = trust.policy;
        let oms = if look.part.is_none() { oms::beside(request, &trust, rows) } else { None };
        match oms {
            Some(oms) => {
                oms.compare(request.artifact, None, progress, rows);
                oms.is_called(request.name, rows);
                oms::alone(policy, request.require_anchor, rows);
            }
            None if request.artifact.name.ends_with(".c2pa") => {
                let detail =
                    "this is a manifest; verify what it is about, or look at it with `countermark manifest read`";
                rows.add("bundle", State::Absent, detail);
            }
            None => rows.add("bundle", State::Absent, "no provenance was found beside the artifact"),
        }
        return None;
    };
    let bundle = open_bundle(bytes, rows)?;
    if found.is_content(request.artifact, &bundle) {
        return manifest::alone(request, look, &found, Some(&bundle), progress, rows);
    }
    let mut examiner = Examiner::new(&bundle, &request.belief(), &no_policy, rows);

    let record = &bundle.records[0];
    let (statement, id) = examiner.statement(record, "", rows)?;
    let signer = examiner.signer(&statement, &id, "", rows);
    if let Some(name) = request.name.filter(|name| *name != statement.name()) {
        rows.add("name", State::Invalid, format!("{name} was asked for, and this is {}", statement.name()));
    }
    match look.part {
        None => {
            let oms = oms::beside(request, &examiner.trust, rows);
            let every = oms.as_ref().is_some_and(oms::Beside::wants_sha256);
            let sha256 = if every { Sha256::Every } else { Sha256::Manifest };
            let read =
                files::files(request, (record, &statement), &examiner.trust, (sha256, look.cache), progress, rows);
            if let Some(files::Read { around, measured }) = read {
                if let Some(oms) = oms {
                    let measured = measured.as_ref().map(|(measured, sha256)| (measured, &**sha256));
                    oms.compare(request.artifact, measured, progress, rows);
                }
                examiner.around = around;
            }
            if rows.0.iter().all(|row| row.state < State::Invalid) {
                records::records(request, &statement, rows);
            }
        }
        Some(Part::File(path)) => files::one_file(request.artifact, &statement, path, look.cache, progress, rows),
        Some(Part::Tensor(name)) => files::one_tensor(request.artifact, &statement, name, progress, rows),
    }
    files::provenance_files(request, record, rows);
    examiner.evidence(record, &statement, &id, request.require_anchor, rows);
    found.beside_a_bundle(request.artifact, &examiner.trust, rows);
    let (name, root) = (statement.name().to_owned(), statement.root().to_string());
    Some(Subject { name, root, statement: id.to_string(), signer })
}

/// A bundle in which each statement stands once.
fn open_bundle(bytes: &[u8], rows: &mut Rows) -> Option<Bundle> {
    let bundle = rows.attempt("bundle", Bundle::parse(bytes))?;
    if let Some(problem) = bundle.duplicate() {
        rows.add("bundle", State::Invalid, problem);
        return None;
    }
    Some(bundle)
}

/// What the policy asks for and no row has shown: an absent row is no proof.
fn required(policy: &Policy, rows: &mut Rows) {
    let shown = |fits: &dyn Fn(&str) -> bool, rows: &Rows| {
        rows.0.iter().any(|row| fits(&row.name) && row.state == State::Verified)
    };
    if policy.require.timestamp && !shown(&|name| name == "manifest timestamp", rows) {
        let detail = "the policy asks for a time-stamp in the C2PA manifest, and none was verified";
        rows.add("manifest timestamp", State::Unknown, detail);
    }
    if policy.require.oms && !shown(&|name| name == crate::credential::oms::FILES, rows) {
        let detail = "the policy asks for an OpenSSF model signature, and none was verified";
        rows.add("oms", State::Unknown, detail);
    }
}

/// What every check needs: the parts at hand, whom to believe, and the time.
struct Examiner<'a> {
    records: BTreeMap<Hash, &'a Record>,
    policy: &'a Policy,
    anchors: Anchors,
    now: i64,
    /// What the artifact's own manifest covers, when it was found inside the file at hand and that was read.
    around: Option<files::Around>,
    trust: Trust<'a>,
}

impl<'a> Examiner<'a> {
    /// Reads revocation lists and hand-overs on the way, and says in rows what they are worth.
    fn new(bundle: &'a Bundle, belief: &Belief<'a>, no_policy: &'a Policy, rows: &mut Rows) -> Self {
        // A record without a readable id is reported where the walk over the ancestry ends.
        let records = bundle.records.iter().filter_map(|record| Some((record.statement.id().ok()?, record))).collect();
        let trust = Trust::new(belief, no_policy, &bundle.hand_overs, rows);
        let outside = Outside { policy: trust.policy, blocks: belief.blocks };
        let anchors = Anchors::judge(&bundle.anchors, &anchor::checkpoints(bundle), &outside, &trust, rows);
        Examiner { records, policy: trust.policy, anchors, now: trust.now, around: None, trust }
    }

    /// Everything beside its bytes that speaks for the bundle's artifact: manifest, log, marks, ancestry, age, anchor.
    fn evidence(&self, record: &Record, statement: &Statement, id: &Hash, require_anchor: bool, rows: &mut Rows) {
        rows.0.extend(self.manifest(record, statement, id, self.around.as_ref()));
        let place = self.release(record, statement, id, "", rows);
        self.marks(record, statement, place.as_ref(), "", rows);
        self.ancestry(statement, id, rows);
        self.age(statement, rows);
        self.anchor(statement, place.as_ref(), require_anchor, rows);
        required(self.policy, rows);
    }

    /// Checks the signature, then reads what was signed.
    fn statement(&self, record: &Record, prefix: &str, rows: &mut Rows) -> Option<(Statement, Hash)> {
        let row = format!("{prefix}statement");
        let verified = rows.attempt(&row, record.statement.verify())?;
        let statement = rows.attempt(&row, Statement::parse(&verified.payload))?;
        if statement.predicate.signer != verified.key {
            rows.add(&row, State::Invalid, "names another signer than the key that signed it");
            return None;
        }
        let id = Hash::sha256(&verified.payload);
        let mut detail = format!("signature of {} over {}", verified.key.short(), id.short());
        if !verified.cosigners.is_empty() {
            let cosigners: Vec<String> = verified.cosigners.iter().map(|key| key.short()).collect();
            detail += &format!(", co-signed by {}", cosigners.join(", "));
        }
        rows.add(&row, State::Verified, detail);
        Some((statement, id))
    }

    /// Has the strict checker judge a record's C2PA manifest against its statement.
    ///
    /// It is bound to the signed SHA-256; that the bytes at hand have it is the row on files. One that belongs inside the
    /// file is bound to what is `around` it there.
    fn manifest(
        &self,
        record: &Record,
        statement: &Statement,
        id: &Hash,
        around: Option<&files::Around>,
    ) -> Vec<Check> {
        let Some(store) = &record.manifest else {
            return if statement.predicate.release.manifest || self.policy.require.manifest {
                vec![Check::new("manifest", State::Unknown, "the C2PA manifest that belongs to the release is missing")]
            } else {
                vec![]
            };
        };
        let der = |roots: &[CertificateRoot]| roots.iter().map(CertificateRoot::to_der).collect::<Result<Vec<_>, _>>();
        let (roots, timestamp_roots) = match (der(&self.policy.certificate_roots), der(&self.policy.timestamp_roots)) {
            (Ok(roots), Ok(timestamp_roots)) => (roots, timestamp_roots),
            (Err(error), _) | (_, Err(error)) => {
                return vec![Check::new("manifest certificate", State::Unknown, error.problem())];
            }
        };
        let trust = c2pa::Trust { roots: &roots, timestamp_roots: &timestamp_roots };
        let marks: Vec<[u8; 32]> = statement.marks().map(|mark| mark.0).collect();
        let edge = |parent: &Parent| c2pa::ExpectedParent { statement: parent.statement.0, root: parent.root.0 };
        let parents: Vec<c2pa::ExpectedParent> = statement.predicate.parents.iter().map(edge).collect();
        let expected = c2pa::Expected {
            asset_sha256: around.map_or(statement.sha256(), |around| around.sha256).0,
            statement: id.0,
            root: statement.root().0,
            marks: &marks,
            parents: &parents,
        };
        let place = match (embedded::embedding(&store.0), around) {
            (Ok(Some(_)), Some(around)) => Where::Inside(around.span.clone()),
            (Ok(Some(_)), None) => Where::Elsewhere,
            _ => Where::Beside,
        };
        let mut rows = c2pa::check_at(&store.0, &place, &expected, trust, self.now);
        let signer = statement.predicate.signer;
        let same_key = c2pa::signer_key(&store.0).is_ok_and(|key| key == signer);
        if !same_key {
            rows.push(Check::new("manifest signer", State::Invalid, "is not the statement's signer"));
        }
        if same_key && self.is_known(&signer) {
            // A policy that vouches for the key itself needs no certificate to name it.
            for row in &mut rows {
                if row.name == "manifest certificate" && State::Verified < row.state && row.state < State::Invalid {
                    row.detail += "; the policy vouches for the key itself";
                    row.state = State::Verified;
                }
            }
        }
        rows.extend(self.revoked_certificate(&store.0, statement, id));
        rows
    }

    /// A certificate of the manifest, or of one that it carries, that was revoked.
    fn revoked_certificate(&self, store: &[u8], statement: &Statement, id: &Hash) -> Option<Check> {
        if !self.trust.revokes_certificates() {
            return None;
        }
        // A store that cannot be read has its own row.
        let certificates = c2pa::certificates(store).unwrap_or_default();
        let fingerprints = certificates.iter().flat_map(|der| x509::fingerprints(der));
        fingerprints.into_iter().find_map(|certificate| {
            let place = |vkey: &str| self.place_in(vkey, statement, id);
            match self.trust.standing(&Target::Certificate(certificate), None, &place) {
                Standing::Revoked(reason) => {
                    let detail = format!("certificate {} was {reason}", certificate.short());
                    Some(Check::new("manifest certificate", State::Revoked, detail))
                }
                Standing::Good | Standing::Kept(_) => None,
            }
        })
    }

    /// True when the policy knows this key, or one that handed its rights over to it.
    fn is_known(&self, key: &PublicKey) -> bool {
        let known = |key: &PublicKey| self.policy.signer(key).is_some();
        let mut origins = self.trust.hand_overs.origins(key).into_iter();
        known(key) || origins.any(|origin| origin.doubt.is_none() && known(&origin.key))
    }

    /// Walks the edges to the ends of the graph. Every record of the bundle must be met on the way, and only once.
    fn ancestry(&self, statement: &Statement, id: &Hash, rows: &mut Rows) {
        // What each statement calls itself, or nothing when it could not be checked.
        let itself = |statement: &Statement| (statement.name().to_owned(), statement.root());
        let mut met: BTreeMap<Hash, Option<(String, Hash)>> = [(*id, Some(itself(statement)))].into();
        let mut edges: Vec<Parent> = statement.predicate.parents.clone();
        while let Some(edge) = edges.pop() {
            let prefix = format!("parent {}: ", edge.name);
            let known = met.entry(edge.statement).or_insert_with(|| {
                let parent = self.ancestor(&edge, &prefix, rows)?;
                let known = itself(&parent);
                edges.extend(parent.predicate.parents);
                Some(known)
            });
            if let Some((name, root)) = known
                && (*name != edge.name || *root != edge.root)
            {
                let detail = format!("names another parent than the statement of {name} under its id");
                rows.add(&format!("{prefix}edge"), State::Invalid, detail);
            }
        }
        for id in self.records.keys().filter(|id| !met.contains_key(id)) {
            rows.add("bundle", State::Invalid, format!("record {} speaks for no ancestor", id.short()));
        }
    }

    /// All checks of one ancestor that need no bytes of it.
    fn ancestor(&self, edge: &Parent, prefix: &str, rows: &mut Rows) -> Option<Statement> {
        // Asked of the edge, so that leaving the statement out hides nothing.
        if let Some(reason) = self.revoked(&Target::Statement(edge.statement)) {
            rows.add(&format!("{prefix}statement"), State::Revoked, reason);
            return None;
        }
        let Some(record) = self.records.get(&edge.statement) else {
            let detail = format!("{} {} is not in the bundle", edge.relation, edge.statement.short());
            rows.add(&format!("{prefix}statement"), State::Unknown, detail);
            return None;
        };
        let (parent, id) = self.statement(record, prefix, rows)?;
        self.signer(&parent, &id, prefix, rows);
        let checks = self.manifest(record, &parent, &id, None);
        let (good, bad): (Vec<_>, Vec<_>) = checks.into_iter().partition(|row| row.state == State::Verified);
        if bad.is_empty() && !good.is_empty() {
            let detail = "signed by its signer and bound to its statement; its bytes are not at hand";
            rows.add(&format!("{prefix}manifest"), State::Verified, detail);
        }
        bad.iter().for_each(|row| rows.add(&format!("{prefix}{}", row.name), row.state, &*row.detail));
        let place = self.release(record, &parent, &id, prefix, rows);
        self.marks(record, &parent, place.as_ref(), prefix, rows);
        self.anchor_of_ancestor(prefix, &parent, place.as_ref(), rows);
        Some(parent)
    }

    fn age(&self, statement: &Statement, rows: &mut Rows) {
        // The statement was parsed, so its time is readable.
        let created = statement.created().unwrap_or(i64::MAX);
        if created > self.now.saturating_add(CLOCK_SKEW) {
            return rows.add("age", State::Unknown, format!("made in the future: {}", statement.predicate.created));
        }
        let Some(days) = self.policy.require.max_age_days else { return };
        if self.now.saturating_sub(created) > i64::from(days) * 86_400 {
            let detail = format!("made {}, more than {days} days ago", statement.predicate.created);
            return rows.add("age", State::Stale, detail);
        }
        rows.add("age", State::Verified, format!("made {}, within {days} days", statement.predicate.created));
    }
}

#[derive(Default)]
struct Rows(Vec<Check>);

impl Rows {
    /// More rows than anybody reads come from evidence made to be long: beyond this only the worst are kept.
    const MANY: usize = 2000;

    fn add(&mut self, name: &str, state: State, detail: impl Into<String>) {
        if self.0.len() < Self::MANY || self.0.iter().all(|row| row.state < state) {
            self.0.push(Check::new(name, state, detail));
        }
    }

    /// The value, or a row that says what is wrong.
    fn attempt<T>(&mut self, name: &str, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.add(name, State::Invalid, error.problem())).ok()
    }
}
