//! What has no bundle but a manifest: media that carry one, files and folders with a sidecar.
//!
//! The rows speak of the bytes at hand, of who signed, and of every link of the chain behind: content, the model that
//! produced it, that model's datasets and bases. Each manifest's signer is asked of the policy. With the bundle of the
//! model at hand, the model's statement and its whole ancestry are checked as those of any release.

use countermark_formats::ReadAt;
use countermark_formats::manifest::{self as formats, Embedded};

use super::hand_overs::Doubt;
use super::oms;
use super::signers::{Said, Voice};
use super::trust::Trust;
use super::{Belief, Examiner, Look, Request, Rows, Subject};
use crate::bundle::Bundle;
use crate::credential::alone::{self, Asset, Clock, Judged, Signed};
use crate::credential::policy::{CertificateRoot, Policy};
use crate::credential::revocation::Target;
use crate::credential::{rfc3161, x509};
use crate::digest::Hash;
use crate::digest::artifact::{Artifact, CARD, Sha256, Wants};
use crate::graph::Relation;
use crate::graph::statement::{Parent, Statement, rfc3339};
use crate::verdict::{Check, State, printable};

/// A manifest store that a medium carries in itself.
pub struct Carried {
    /// The store.
    pub store: Vec<u8>,
    /// MIME type of the medium.
    pub format: &'static str,
    /// Whether it is bound to the medium's bytes, by a library that knows the container.
    pub binding: Binding,
}

impl Carried {
    /// The medium that carries it, whose bytes are `source`.
    pub fn asset<'s>(&'s self, source: &'s dyn ReadAt) -> Asset<'s> {
        let found = match &self.binding {
            Binding::Holds(code) => Ok(&**code),
            Binding::Broken(problem) => Err(&**problem),
        };
        Asset::Medium { format: self.format, source, found }
    }
}

/// What that library found.
pub enum Binding {
    /// The hash of this C2PA code matches.
    Holds(String),
    /// It does not, or the library failed; why.
    Broken(String),
}

/// Reads what a file carries, by a library for media; `None` when it carries nothing. The error is for people.
pub type Media<'a> = dyn Fn(&Artifact) -> Result<Option<Carried>, String> + 'a;

/// The stores that speak for an artifact without a bundle.
#[derive(Default)]
pub(super) struct Found<'a> {
    /// The artifact, which remembers what was read of it; where there is no bundle.
    artifact: Option<Artifact>,
    carried: Option<Carried>,
    /// A model file that holds a manifest.
    embedded: Option<Embedded>,
    sidecars: Vec<&'a (String, Vec<u8>)>,
    /// Why nothing could be read out of a medium.
    problem: Option<String>,
}

impl<'a> Found<'a> {
    /// Looks for them.
    pub fn of(request: &'a Request<'_>) -> Self {
        let read = request.media.map(|media| media(request.artifact)).unwrap_or(Ok(None));
        let (carried, problem) = match read {
            Ok(carried) => (carried, None),
            Err(problem) => (None, Some(problem)),
        };
        let sidecars = request.sidecars.iter().filter(|(name, _)| name.ends_with(".c2pa")).collect();
        // With a bundle the file is looked at when it is read, in the rows on files.
        let artifact = request.bundle.is_none().then(|| request.artifact.once());
        let (embedded, problem) = match (problem, artifact.as_ref().map_or(Ok(None), embedded)) {
            (None, Err(problem)) => (None, Some(problem)),
            (problem, found) => (found.unwrap_or_default(), problem),
        };
        Found { artifact, carried, embedded, sidecars, problem }
    }

    /// True when there is something to judge.
    pub fn any(&self) -> bool {
        self.carried.is_some() || self.embedded.is_some() || !self.sidecars.is_empty() || self.problem.is_some()
    }

    /// True when a bundle is not about this artifact but about what it was made with: a manifest here quotes no statement
    /// of its own, and the artifact does not have the name under which the bundle's was signed.
    pub fn is_content(&self, artifact: &Artifact, bundle: &Bundle) -> bool {
        let Some(statement) = bundle.records.first().and_then(|record| record.statement.verify().ok()) else {
            return false;
        };
        let Ok(statement) = Statement::parse(&statement.payload) else { return false };
        let carried = self.carried.iter().map(|carried| &*carried.store);
        let mut stores = carried.chain(self.sidecars.iter().map(|(_, store)| &**store));
        statement.name() != artifact.name
            && stores.any(|store| {
                let judged =
                    alone::judge(store, &Asset::Unseen, Clock::default(), &|_| (State::Unknown, String::new()));
                judged.subject.is_some_and(|subject| subject.statement.is_none())
            })
    }
}

impl Found<'_> {
    /// What a medium carries must hold even where a bundle speaks for it: somebody may look at that alone. Whom its signer
    /// is known to does not matter then, and neither does what could not be checked of it; the bundle decides.
    pub fn beside_a_bundle(&self, artifact: &Artifact, trust: &Trust<'_>, rows: &mut Rows) {
        let Some(carried) = &self.carried else { return };
        let judged = Judge::new(trust, rows).judge(&carried.store, &carried.asset(&*artifact.files[0].1));
        let signer = judged.subject.as_ref().map(|about| about.signer.clone()).unwrap_or_default();
        let links = judged.links.iter().map(|link| (link.row(), link.state, link.detail.clone()));
        let own = judged.rows.into_iter().map(|row| (row.name, row.state, row.detail));
        let bad: Vec<_> = own.chain(links).filter(|(_, state, _)| *state >= State::Invalid).collect();
        if bad.is_empty() {
            let detail = format!("nothing in it is wrong, signer {signer}; the bundle is what counts here");
            rows.add("carried manifest", State::Verified, detail);
        }
        for (name, state, detail) in bad {
            rows.add(&format!("carried: {name}"), state, detail);
        }
    }
}

/// Judges every store that was found; the worst row decides. With a bundle it is that of an input.
pub(super) fn alone(
    request: &Request<'_>,
    look: &Look<'_>,
    found: &Found<'_>,
    bundle: Option<&Bundle>,
    progress: &(dyn Fn(u64) + Sync),
    rows: &mut Rows,
) -> Option<Subject> {
    let no_policy = Policy::default();
    let trust = Trust::new(&request.belief(), &no_policy, &[], rows);
    let judge = Judge::new(&trust, rows);
    if let Some(problem) = &found.problem {
        rows.add("manifest", State::Unknown, format!("the file cannot be read: {problem}"));
    }
    if let Some(part) = look.part {
        rows.add(&part.to_string(), State::Unknown, "a manifest alone is about the whole; a part needs the bundle");
        return None;
    }
    let wants = Wants { sha256: Sha256::Manifest, tensors: false, cache: look.cache };
    let splice = found.embedded.as_ref().map(Embedded::without_value);
    let reading =
        match found.artifact.as_ref().unwrap_or(request.artifact).read_spliced(&wants, splice.as_ref(), progress) {
            Ok(reading) => reading,
            Err(error) => {
                rows.add("files", State::Invalid, error.problem());
                return None;
            }
        };
    let at_hand: Vec<Hash> =
        bundle.iter().flat_map(|bundle| &bundle.records).filter_map(|record| record.statement.id().ok()).collect();
    let mut subject: Option<Subject> = None;
    let mut inputs = Vec::new();
    let mut is_model = false;
    let mut judge_one = |store: &[u8], asset: &Asset<'_>, prefix: &str, rows: &mut Rows| {
        let Judged { rows: own, links, subject: about } = judge.judge(store, asset);
        for row in own {
            rows.add(&format!("{prefix}{}", row.name), row.state, row.detail);
        }
        for link in &links {
            let (mut state, mut detail) = (link.state, link.detail.clone());
            let revoked = link.statement.and_then(|id| judge.trust.revoked(&Target::Statement(id)));
            if let Some(reason) = revoked {
                (state, detail) = (State::Revoked, reason);
            } else if link.manifest.is_none() && link.statement.is_some_and(|id| at_hand.contains(&id)) {
                (state, detail) = (State::Verified, "its statement is in the bundle, and is checked there".to_owned());
            }
            rows.add(&format!("{prefix}{}", link.row()), state, detail);
        }
        if let Some(about) = about {
            judge.subject(&about, request, prefix, rows);
            is_model |= about.declared.asset_types.iter().any(|word| word.starts_with("c2pa.types.model"));
            judge.thresholds(&about.title, &judge.name_of(&about.key, String::new()), prefix, rows);
            subject.get_or_insert(Subject {
                name: printable(&about.title, 200),
                root: reading.measured.root.to_string(),
                statement: String::new(),
                signer: printable(&judge.name_of(&about.key, about.signer), 200),
            });
        }
        inputs.extend(links.into_iter().filter_map(|link| link.statement));
    };
    let inside_it = usize::from(found.carried.is_some()) + usize::from(found.embedded.is_some());
    let several = found.sidecars.len() + inside_it > 1;
    if let (Some(embedded), Some(sha256)) = (&found.embedded, reading.spliced) {
        judge_one(&embedded.store, &Asset::Around(embedded.span.clone(), sha256.0), "", rows);
    }
    if let Some(carried) = &found.carried {
        let source = &*request.artifact.files[0].1;
        judge_one(&carried.store, &carried.asset(source), "", rows);
    }
    for (name, store) in &found.sidecars {
        let prefix = if several { format!("{name}: ") } else { String::new() };
        let asset = Asset::beside(request.artifact.is_folder, reading.measured.manifest_asset.0);
        judge_one(store, &asset, &prefix, rows);
    }
    inside(request, found, rows);
    if let Some(bundle) = bundle {
        judge.input(bundle, &request.belief(), &inputs, rows);
    }
    if judge.trust.policy.require.log {
        rows.add("log", State::Unknown, "the policy asks for a log entry, and a manifest alone has none");
    }
    let (state, detail) = if request.require_anchor || judge.trust.policy.require.anchor.is_required() {
        (State::Unknown, "an anchor is required, and a manifest alone has none")
    } else {
        (State::Unanchored, "none; the time rests on the signer's word")
    };
    rows.add("anchor", state, detail);
    if request.artifact.card.is_some() {
        // A loader takes the configuration of a dataset from its card, so there the card is as good as data.
        let state = if is_model { State::Verified } else { State::Unknown };
        rows.add("card", state, format!("{CARD} is not covered by the manifest"));
    }
    if let Some(oms) = oms::beside(request, &trust, rows) {
        oms.compare(request.artifact, None, progress, rows);
    }
    super::required(judge.trust.policy, rows);
    subject
}

/// The manifest inside a model file. The error is for people.
fn embedded(artifact: &Artifact) -> Result<Option<Embedded>, String> {
    let [(name, source)] = &*artifact.files else { return Ok(None) };
    if artifact.is_folder {
        return Ok(None);
    }
    match formats::find(name, &**source, None) {
        Ok(Some(formats::Found::Embedded(found))) => Ok(Some(found)),
        Ok(Some(formats::Found::Unspecified { place })) => {
            Err(format!("a manifest was found at an unspecified place ({place}), not checked"))
        }
        Ok(None) => Ok(None),
        // A file that cannot be read and in which no manifest was met has none that could be judged.
        Err(problem) if !problem.met => Ok(None),
        Err(problem) => Err(problem.to_string()),
    }
}

/// Manifests and bundles that lie in a folder must be those that are checked here: a loader may read them as data.
fn inside(request: &Request<'_>, found: &Found<'_>, rows: &mut Rows) {
    for (name, source) in &request.artifact.provenance {
        if !name.ends_with(".c2pa") && !name.ends_with(".provenance.json") {
            continue;
        }
        let is_same = found.sidecars.iter().any(|(_, expected)| {
            let mut bytes = vec![0; expected.len()];
            source.len() == expected.len() as u64 && source.read_exact_at(&mut bytes, 0).is_ok() && bytes == *expected
        });
        if !is_same {
            let detail = format!("{name} is not what was checked here, and not signed");
            rows.add("provenance files", State::Invalid, detail);
        }
    }
}

/// Whom to believe, and when.
pub(super) struct Judge<'t, 'a> {
    trust: &'t Trust<'a>,
    roots: Vec<Vec<u8>>,
    timestamp_roots: Vec<Vec<u8>>,
}

impl<'t, 'a> Judge<'t, 'a> {
    pub fn new(trust: &'t Trust<'a>, rows: &mut Rows) -> Self {
        let mut der = |roots: &[CertificateRoot]| {
            let roots = roots.iter().filter_map(|root| match root.to_der() {
                Ok(der) => Some(der),
                Err(error) => {
                    rows.add("policy", State::Unknown, error.problem());
                    None
                }
            });
            roots.collect::<Vec<_>>()
        };
        let (roots, timestamp_roots) = (der(&trust.policy.certificate_roots), der(&trust.policy.timestamp_roots));
        Judge { trust, roots, timestamp_roots }
    }

    pub fn judge(&self, store: &[u8], asset: &Asset<'_>) -> Judged {
        let clock = Clock { now: self.trust.now, timestamp_roots: &self.timestamp_roots };
        alone::judge(store, asset, clock, &|signed| self.vouch(signed))
    }

    /// Why something that was signed here no longer counts, if so. Nothing dates it, so whatever was logged before counts
    /// for nothing.
    fn revoked(&self, signed: &Signed<'_>) -> Option<String> {
        let stamping = signed.token.map(rfc3161::certificates).unwrap_or_default();
        let held = signed.chain.iter().chain(&stamping).flat_map(|der| x509::fingerprints(der));
        let certificates: Vec<Target> = held.map(Target::Certificate).collect();
        let mut targets = std::iter::once(Target::Key(signed.key))
            .chain(signed.statement.map(Target::Statement))
            .chain(signed.marks.iter().copied().map(Target::Mark))
            .chain(certificates);
        targets.find_map(|target| self.trust.revoked(&target))
    }

    fn voice(&self, signed: &Signed<'_>) -> Result<Voice<'a>, Option<Doubt>> {
        let said = Said { name: signed.title, relations: signed.relations, created: signed.not_before };
        self.trust.voice(&signed.key, &said)
    }

    /// Asks the policy for one signer: by key, with the rights that the policy gives it, or else by certificate root.
    fn vouch(&self, signed: &Signed<'_>) -> (State, String) {
        let key = signed.key.short();
        if let Some(reason) = self.revoked(signed) {
            return (State::Revoked, format!("{key}: {reason}"));
        }
        let certificate = alone::certificate(signed.chain, &self.roots, signed.stamped.unwrap_or(self.trust.now));
        if let Err((State::Invalid, problem)) = &certificate {
            return (State::Invalid, problem.clone());
        }
        match (self.voice(signed), certificate) {
            (Ok(Voice { signer, by_hand_over }), certificate) => {
                let certified = match certificate {
                    Ok(root) => format!("{root} vouches too"),
                    Err((_, problem)) => format!("the policy vouches for the key itself: {problem}"),
                };
                if let Some(problem) = self.unmet(signed.title, &signer.name) {
                    return (State::UnknownSigner, problem);
                }
                let by = by_hand_over.map(|old| format!(", by hand-over from {}", old.short())).unwrap_or_default();
                (State::Verified, format!("{} ({key}){by}; {certified}", signer.name))
            }
            (Err(Some(doubt)), _) => (doubt.state, format!("{key}; {}", doubt.text)),
            (Err(None), Ok(root)) => match self.unmet(signed.title, "") {
                Some(problem) => (State::UnknownSigner, problem),
                None => (State::Verified, format!("{key}; {root} vouches for it")),
            },
            (Err(None), Err((state, problem))) => (state, format!("{key}; {problem}")),
        }
    }

    /// Which threshold for this name one signature does not meet.
    fn unmet(&self, title: &str, signer: &str) -> Option<String> {
        let asks = |signers: &Option<Vec<String>>| {
            signers.as_ref().is_none_or(|signers| signers.iter().any(|name| name == signer))
        };
        let mut thresholds = self.trust.policy.thresholds(title);
        let unmet = thresholds.find(|threshold| threshold.required.get() > u32::from(asks(&threshold.signers)))?;
        Some(format!("one signature, where the policy asks for {} signers of {title}", unmet.required))
    }

    /// A manifest has one signature, which is too few where the policy asks for more.
    fn thresholds(&self, title: &str, signer: &str, prefix: &str, rows: &mut Rows) {
        for threshold in self.trust.policy.thresholds(title) {
            let asked_for = threshold.signers.as_ref().is_none_or(|signers| signers.iter().any(|name| name == signer));
            let (count, required) = (u32::from(asked_for), threshold.required.get());
            let state = if count >= required { State::Verified } else { State::UnknownSigner };
            let detail = format!("{count} of {required} signers; a manifest alone has one signature");
            rows.add(&format!("{prefix}threshold"), state, detail);
        }
    }

    /// How the policy calls this key, or else the certificate.
    fn name_of(&self, key: &crate::credential::keys::PublicKey, certificate: String) -> String {
        self.trust.policy.signer(key).map_or(certificate, |signer| signer.name.clone())
    }

    /// Rows on what the manifest is of: its name, a statement that it quotes, its age.
    fn subject(&self, about: &alone::Subject, request: &Request<'_>, prefix: &str, rows: &mut Rows) {
        if let Some(name) = request.name.filter(|name| *name != about.title) {
            let detail = format!("{name} was asked for, and this is {}", about.title);
            rows.add(&format!("{prefix}name"), State::Invalid, detail);
        }
        if let Some(statement) = about.statement {
            let detail = format!(
                "it quotes the statement {}, which is not at hand; name its bundle with --bundle",
                statement.short()
            );
            rows.add(&format!("{prefix}statement"), State::Unknown, detail);
        }
        let Some(days) = self.trust.policy.require.max_age_days else { return };
        // Nothing dates the signature but its certificate, which is older than it.
        let row = format!("{prefix}age");
        let since = rfc3339(about.not_before);
        if self.trust.now.saturating_sub(about.not_before) > i64::from(days) * 86_400 {
            let detail = format!(
                "signed after {since}, when its certificate begins; nothing proves that this was within {days} days"
            );
            rows.add(&row, State::Unknown, detail);
        } else {
            rows.add(&row, State::Verified, format!("signed after {since}, within {days} days"));
        }
    }

    /// The bundle of an input: a manifest here must name its statement, and its whole ancestry is checked.
    fn input(&self, bundle: &Bundle, belief: &Belief<'a>, named: &[Hash], rows: &mut Rows) {
        let examiner = Examiner::new(bundle, belief, self.trust.policy, rows);
        let Some(record) = bundle.records.first() else { return };
        let verified = record.statement.verify().map(|verified| verified.payload);
        let Some(payload) = rows.attempt("bundle", verified) else { return };
        let Some(statement) = rows.attempt("bundle", Statement::parse(&payload)) else { return };
        let id = Hash::sha256(&payload);
        let name = statement.name().to_owned();
        if named.contains(&id) {
            let detail = format!("judged as content that {name} is an input of, and not as {name} itself");
            rows.add("bundle", State::Verified, detail);
        } else {
            let detail = format!("no input is {name}, whose statement is {}", id.short());
            rows.add("bundle", State::Invalid, detail);
        }
        let edge = Parent { relation: Relation::GeneratedBy, name, statement: id, root: statement.root() };
        let prefix = format!("input {}: ", edge.name);
        if let Some(statement) = examiner.ancestor(&edge, &prefix, rows) {
            examiner.ancestry(&statement, &id, rows);
        }
    }
}

/// Judges a store by itself: what `manifest read` shows. Without `asset` the bytes that it is about are not at hand.
pub fn inspect(store: &[u8], asset: Option<&Asset<'_>>, belief: &Belief<'_>) -> (Judged, Vec<Check>) {
    let (mut rows, no_policy) = (Rows::default(), Policy::default());
    let trust = Trust::new(belief, &no_policy, &[], &mut rows);
    let judge = Judge::new(&trust, &mut rows);
    (judge.judge(store, asset.unwrap_or(&Asset::Unseen)), rows.0)
}
