//! OpenSSF Model Signing: the files at hand against the list that somebody signed.
//!
//! [`verify`] judges one bundle by itself, with the strict rules of the specification: every file must be listed,
//! unless it was left out. Where a bundle lies beside a release of our own, it is one more piece of evidence, over
//! bytes that were hashed anyway; files that speak for the release need not be in its list then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use countermark_formats::ReadAt;
use rayon::prelude::*;

use super::signers::Said;
use super::trust::Named;
use super::{Belief, Request, Rows};
use crate::Error;
use crate::credential::oms::{self, FILES, MAX_BUNDLE, Method, Opened, Resource, Statement, Trust, is_ignored, shards};
use crate::credential::policy::{Policy, Require};
use crate::credential::revocation::Target;
use crate::credential::x509;
use crate::digest::Hash;
use crate::digest::artifact::{Artifact, CARD, Measured};
use crate::digest::listing::is_provenance;
use crate::digest::pieces::{self, Function};
use crate::graph::statement::rfc3339;
use crate::verdict::{SCHEMA_OF_OMS, State, Verdict};

/// Name of the bundle at the top of a folder.
pub const NAME: &str = "model.sig";

/// A bundle to judge by itself.
pub struct Bundle<'a> {
    /// The bundle file.
    pub bytes: &'a [u8],
    /// By which method, and whom to believe.
    pub trust: Trust<'a>,
    /// Revocation lists that are at hand, where a policy is asked.
    pub revocations: &'a [Named],
    /// Its own path in the model, when it lies there.
    pub place: Option<&'a str>,
    /// Left out beside what the signer left out: exact paths.
    pub ignored: &'a [String],
    /// Files that are not listed are named, and are no failure.
    pub ignore_unsigned: bool,
    /// The time to judge by, in Unix seconds.
    pub now: i64,
    /// True when [`Bundle::now`] is not the present but a time that somebody asked for.
    pub at: bool,
}

/// What of a model a signature covers.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Paths, each with everything below it.
    pub left_out: BTreeSet<String>,
    /// Links are what they lead to, inside the model.
    pub follow_links: bool,
}

/// Lists and opens the files of a model, all of them in [`Artifact::files`], and the paths that were left out in
/// [`Artifact::ignored`].
pub type OpenModel<'a> = dyn Fn(&Selection) -> Result<Artifact, Error> + 'a;

/// Judges one bundle, against the model that `open` opens once its signature holds.
pub fn verify(bundle: &Bundle<'_>, open: &OpenModel<'_>, progress: &(dyn Fn(u64) + Sync)) -> Verdict {
    let mut rows = Rows::default();
    if bundle.at {
        let detail = format!("judged as of {}, as was asked, and not as of today", rfc3339(bundle.now));
        rows.add("time", State::Verified, detail);
    }
    let (checks, opened) = oms::open(bundle.bytes, &bundle.trust, bundle.now);
    rows.0.extend(checks);
    if let (Some(opened), Trust::Policy(policy)) = (&opened, &bundle.trust) {
        let belief = Belief {
            policy: Some(policy),
            revocations: bundle.revocations,
            hand_overs: &[],
            blocks: None,
            now: bundle.now,
        };
        limits(opened, &super::trust::Trust::new(&belief, policy, &[], &mut rows), &mut rows);
        if asks_for_more(policy) {
            let detail =
                "the policy asks for evidence that only a bundle of provenance holds; use `countermark verify`";
            rows.add("bundle", State::Unknown, detail);
        }
    }
    if let Some(opened) = &opened {
        let statement = &opened.statement;
        let mut left_out = statement.left_out();
        left_out.extend(bundle.place.map(str::to_owned));
        left_out.extend(bundle.ignored.iter().cloned());
        let listed =
            bundle.place.is_some_and(|place| statement.resources.iter().any(|resource| resource.path == place));
        if listed {
            rows.add(FILES, State::Invalid, "the bundle lists itself");
        } else {
            let selection = Selection { left_out, follow_links: statement.allow_symlinks };
            if let Some(model) = rows.attempt(FILES, open(&selection)) {
                let files = model.files.iter().map(|(name, source)| Found { name, source: &**source, known: None });
                let mut comparison = Comparison::new(statement, &model, files.collect());
                comparison.ignore_unsigned = bundle.ignore_unsigned;
                comparison.left_out = &model.ignored;
                comparison.compare(progress, &mut rows);
            }
        }
    }
    let state = rows.0.iter().map(|row| row.state).max().unwrap_or(State::Unknown);
    let (name, root, statement, signer) = match opened {
        Some(Opened { statement, id, signer, .. }) => {
            (statement.name.clone(), statement.root().to_string(), id.to_string(), signer)
        }
        None => Default::default(),
    };
    Verdict { schema: SCHEMA_OF_OMS.to_owned(), state, name, root, statement, signer, scope: None, checks: rows.0 }
}

/// A bundle beside a release, opened before the bytes are read, so that they are read once for both.
pub(super) struct Beside {
    opened: Option<Opened>,
}

/// Opens the bundle that lies at the top of a folder, or that was found beside a file.
pub(super) fn beside(request: &Request<'_>, trust: &super::trust::Trust<'_>, rows: &mut Rows) -> Option<Beside> {
    let artifact = request.artifact;
    let bytes = if artifact.is_folder {
        let (_, source) = artifact.provenance.iter().find(|(name, _)| name == NAME)?;
        if source.len() > MAX_BUNDLE {
            rows.add(oms::BUNDLE, State::Invalid, format!("{NAME} is above {} MiB", MAX_BUNDLE >> 20));
            return Some(Beside { opened: None });
        }
        let mut bytes = vec![0; source.len() as usize];
        rows.attempt(oms::BUNDLE, source.read_exact_at(&mut bytes, 0).map_err(Error::io(NAME)))?;
        bytes
    } else {
        let name = format!("{}.sig", artifact.name);
        request.sidecars.iter().find(|(found, _)| *found == name)?.1.clone()
    };
    let (checks, opened) = oms::open(&bytes, &Trust::Policy(trust.policy), request.now);
    rows.0.extend(checks);
    if let Some(opened) = &opened {
        limits(opened, trust, rows);
    }
    Some(Beside { opened })
}

/// What revocation lists say of the signer, and until when the policy lets them speak. An OMS bundle tells no time.
fn limits(opened: &Opened, trust: &super::trust::Trust<'_>, rows: &mut Rows) {
    let certificates = opened.certificates.iter().flat_map(|der| x509::fingerprints(der)).map(Target::Certificate);
    let mut targets = std::iter::once(Target::Key(opened.key)).chain(certificates);
    if let Some(reason) = targets.find_map(|target| trust.revoked(&target)) {
        rows.add(oms::SIGNER, State::Revoked, reason);
    }
    let said = Said { name: &opened.statement.name, relations: &[], created: trust.now };
    if let Err(Some(doubt)) = trust.voice(&opened.key, &said) {
        rows.add(oms::SIGNER, doubt.state, doubt.text);
    }
}

impl Beside {
    /// Asks for the model of this name.
    pub fn is_called(&self, name: Option<&str>, rows: &mut Rows) {
        let Some((name, opened)) = name.zip(self.opened.as_ref()) else { return };
        if opened.statement.name != name {
            let detail = format!("{name} was asked for, and this was signed as {}", opened.statement.name);
            rows.add("name", State::Invalid, detail);
        }
    }

    /// Is the SHA-256 of every file wanted?
    pub fn wants_sha256(&self) -> bool {
        let statement = self.opened.as_ref().map(|opened| &opened.statement);
        statement.is_some_and(|statement| (statement.method, statement.function) == (Method::Files, Function::Sha256))
    }

    /// Compares the list with the files, whose digests are taken from `reading` where it has them: SHA-256 of each
    /// file of the listing, in its order.
    pub fn compare(
        &self,
        artifact: &Artifact,
        reading: Option<(&Measured, &[Hash])>,
        progress: &(dyn Fn(u64) + Sync),
        rows: &mut Rows,
    ) {
        let Some(Opened { statement, .. }) = &self.opened else { return };
        if let (Some((measured, _)), Some(root)) = (reading, statement.blake3)
            && root != measured.root
        {
            return rows.add(
                FILES,
                State::Invalid,
                format!("signed for the root {}, and this is another", root.short()),
            );
        }
        let known: BTreeMap<&str, Vec<u8>> = match (reading, statement.method, statement.function) {
            (Some((measured, sha256)), Method::Files, Function::Sha256) => {
                let files = measured.listing.files().iter().zip(sha256);
                files.map(|(file, hash)| (&*file.path, hash.0.to_vec())).collect()
            }
            (Some((measured, _)), Method::Files, Function::Blake3) => {
                measured.listing.files().iter().map(|file| (&*file.path, file.blake3.0.to_vec())).collect()
            }
            _ => BTreeMap::new(),
        };
        let all = artifact.files.iter().map(|(name, source)| (&**name, &**source));
        let card = artifact.card.iter().map(|card| (CARD, &**card));
        let provenance = artifact.provenance.iter().map(|(name, source)| (&**name, &**source));
        let left_out = statement.left_out();
        // What speaks for a release is a file at the top, and never a folder of that name.
        let in_folder_of_evidence =
            |name: &str| name.split_once('/').is_some_and(|(top, _)| is_provenance(top) || top == "badge.svg");
        let is_covered = |name: &str| {
            !artifact.is_folder || (name != NAME && (!is_ignored(name, &left_out) || in_folder_of_evidence(name)))
        };
        let (covered, ignored): (Vec<_>, Vec<_>) =
            all.chain(card).chain(provenance).partition(|(name, _)| is_covered(name));
        let found = covered.into_iter().map(|(name, source)| Found { name, source, known: known.get(name).cloned() });
        let ignored: Vec<String> = ignored.into_iter().map(|(name, _)| name.to_owned()).collect();
        let mut comparison = Comparison::new(statement, artifact, found.collect());
        if reading.is_some() {
            // They are compared with the release's own, or nobody reads them.
            comparison.speaks_for_itself = is_provenance;
        }
        comparison.unseen = &artifact.ignored;
        comparison.left_out = &ignored;
        comparison.compare(progress, rows);
    }
}

/// True when the policy asks for what no OMS bundle holds.
fn asks_for_more(policy: &Policy) -> bool {
    let Require { oms: _, log, manifest, anchor, max_age_days, timestamp } = &policy.require;
    *log || *manifest || anchor.is_required() || max_age_days.is_some() || *timestamp || !policy.thresholds.is_empty()
}

/// What a bundle says where there is no release of our own.
///
/// It is no more than it is: whatever else the policy asks for, or could have revoked, is not to be had from it.
pub(super) fn alone(policy: &Policy, require_anchor: bool, rows: &mut Rows) {
    let (state, detail) = if asks_for_more(policy) || require_anchor {
        (State::Unknown, "the policy asks for evidence that only a bundle of provenance holds, and none was found")
    } else if policy.revoked.iter().any(|entry| entry.statement.is_some() || entry.mark.is_some())
        || !policy.revocation_lists.is_empty()
    {
        (State::Unknown, "the policy revokes statements or marks, and without a bundle nobody can tell which this is")
    } else {
        (State::Unanchored, "none was found; the OMS signature speaks for the bytes, not for where they came from")
    };
    rows.add("bundle", state, detail);
}

/// A file at hand.
struct Found<'a> {
    name: &'a str,
    source: &'a dyn ReadAt,
    /// Its digest by the statement's function, when that is known already.
    known: Option<Vec<u8>>,
}

/// A statement, and the files that it must be about.
struct Comparison<'a> {
    statement: &'a Statement,
    model: &'a Artifact,
    files: Vec<Found<'a>>,
    /// Files that need not be listed, because something else in the verdict is about them.
    speaks_for_itself: fn(&str) -> bool,
    /// Paths that exist and were not looked at.
    unseen: &'a [String],
    /// Paths that exist and that the signature does not cover.
    left_out: &'a [String],
    ignore_unsigned: bool,
}

impl<'a> Comparison<'a> {
    fn new(statement: &'a Statement, model: &'a Artifact, files: Vec<Found<'a>>) -> Self {
        let speaks_for_itself = |_: &str| false;
        Comparison { statement, model, files, speaks_for_itself, unseen: &[], left_out: &[], ignore_unsigned: false }
    }

    /// One row: names first, then sizes, then bytes.
    fn compare(&self, progress: &(dyn Fn(u64) + Sync), rows: &mut Rows) {
        let mut listed: BTreeMap<&str, Vec<&Resource>> = BTreeMap::new();
        for resource in &self.statement.resources {
            listed.entry(self.name_of(resource)).or_default().push(resource);
        }
        if self.model.is_folder && listed.contains_key(".") {
            return rows.add(FILES, State::Invalid, "a single file was signed, and this is a folder");
        }
        let here: BTreeMap<&str, &Found<'_>> = self.files.iter().map(|file| (file.name, file)).collect();
        let absent = listed.keys().filter(|name| !here.contains_key(**name));
        let (unseen, missing): (Vec<&str>, Vec<&str>) = absent.partition(|name| self.is_unseen(name));
        let shards = matches!(self.statement.method, Method::Shards(_));
        let mut unsigned = Vec::new();
        let mut unprotected = Vec::new();
        for file in self.files.iter().filter(|file| !listed.contains_key(file.name)) {
            if shards && file.source.is_empty() {
                unprotected.push(file.name);
            } else if !(self.speaks_for_itself)(file.name) {
                unsigned.push(file.name);
            }
        }
        let mut problems: Vec<String> = missing.iter().map(|name| format!("{name} is missing")).collect();
        if !self.ignore_unsigned {
            problems.extend(unsigned.iter().map(|name| format!("{name} was not signed")));
        }
        if !problems.is_empty() {
            return rows.add(FILES, State::Invalid, some(&problems));
        }
        let work: Vec<(&Found<'_>, &Vec<&Resource>)> =
            listed.iter().filter_map(|(name, resources)| Some((*here.get(name)?, resources))).collect();
        let differ = |(file, resources): &(&Found<'_>, &Vec<&Resource>)| {
            let same = self.is_same(file, resources, progress);
            match same.map_err(Error::io(file.name)) {
                Ok(true) => None,
                Ok(false) => Some(format!("{} was changed", file.name)),
                Err(error) => Some(error.problem()),
            }
        };
        let mut changed: Vec<String> = work.par_iter().filter_map(differ).collect();
        if let Some(Err(error)) = self.model.names.as_ref().map(|names| names.unchanged()) {
            changed.push(error.to_string());
        }
        if !changed.is_empty() {
            return rows.add(FILES, State::Invalid, some(&changed));
        }
        let count = work.len();
        let plural = if count == 1 { "file is" } else { "files are" };
        let mut detail = format!("{count} {plural} what was signed, by {}", self.statement.function);
        if let Method::Shards(size) = self.statement.method {
            detail += &format!(" of shards of {size} bytes");
        }
        for (what, names) in [
            ("not signed, which was asked to be ignored", &unsigned),
            ("empty, and so in no shard and not protected", &unprotected),
            ("not covered", &self.left_out.iter().map(|name| &**name).collect()),
        ] {
            if !names.is_empty() {
                detail += &format!("; {what}: {}", some(names));
            }
        }
        if unseen.is_empty() {
            rows.add(FILES, State::Verified, detail);
        } else {
            rows.add(FILES, State::Unknown, format!("{detail}; signed and not looked at here: {}", some(&unseen)));
        }
    }

    /// The file that a resource is of: a model that is one file may be called `.`.
    fn name_of(&self, resource: &'a Resource) -> &'a str {
        let sole = !self.model.is_folder && resource.path == ".";
        if sole { &self.model.name } else { &resource.path }
    }

    fn is_unseen(&self, name: &str) -> bool {
        let top = name.split('/').next().unwrap_or_default();
        self.unseen.iter().any(|unseen| unseen == top)
    }

    /// Has the file the digests of these resources, and no bytes beside them?
    fn is_same(
        &self,
        file: &Found<'_>,
        resources: &[&Resource],
        progress: &(dyn Fn(u64) + Sync),
    ) -> std::io::Result<bool> {
        let function = self.statement.function;
        let Method::Shards(size) = self.statement.method else {
            let digest = match &file.known {
                Some(known) => known.clone(),
                None => pieces::digest(file.source, function, progress)?,
            };
            return Ok(resources.iter().all(|resource| resource.digest == digest));
        };
        let mut resources = resources.to_vec();
        resources.sort_by_key(|resource| resource.range.as_ref().map(|range| range.start));
        let length = file.source.len();
        let signed: Vec<Range<u64>> = resources.iter().filter_map(|resource| resource.range.clone()).collect();
        // As many as there are in the file, or else it has another size; counted before they are made.
        if length.div_ceil(size) != signed.len() as u64 || !shards(length, size).eq(signed.iter().cloned()) {
            return Ok(false);
        }
        let digests = pieces::digests(file.source, function, &signed, progress)?;
        Ok(resources.iter().zip(digests).all(|(resource, digest)| resource.digest == digest))
    }
}

/// The first few, and how many more there are.
fn some<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| name.as_ref().to_owned()).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join("; ")
}
