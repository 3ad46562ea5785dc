//! C2PA manifests of releases, checked by rules of our own, which are stricter than those of C2PA's libraries.
//!
//! Those leave holes: bytes after a store, unsigned padding, manifests that nothing refers to, an excluded range in a
//! sidecar, a parent that did not match when it was signed. Here a store has one encoding, every box in it is signed for,
//! and its assertions must say what the bundle says. Sidecars with Ed25519 and ECDSA only; whatever else is well-formed C2PA comes
//! out as [`State::Unknown`], never as verified.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::assertions::{binding, check_actions, check_labels, lineage, marks, ours};
use super::cose::Unsigned;
use super::declared::{self, Declarations};
use super::embedded::{self, Place};
use super::keys::PublicKey;
use super::manifest::{Claim, Content, Ingredient, Manifest, Store};
use super::{countersign, rfc3161, x509};
use crate::Error;
use crate::cbor::Value;
use crate::digest::Hash;
use crate::graph::statement::rfc3339;
use crate::verdict::{Check, State};

/// Label of the assertion that names the statement and the root.
pub const LINEAGE: &str = "dev.countermark.lineage";
/// Label of the assertion that names the commitments of marks.
pub const WATERMARK: &str = "dev.countermark.watermark";
/// Label of the assertion that repeats the listing of a folder.
pub const COLLECTION: &str = "dev.countermark.collection";
/// Schema in [`LINEAGE`].
pub const LINEAGE_SCHEMA: &str = "countermark.dev/c2pa/lineage/v1";
/// Schema in [`WATERMARK`].
pub const WATERMARK_SCHEMA: &str = "countermark.dev/c2pa/watermark/v1";
/// Schema in [`COLLECTION`].
pub const COLLECTION_SCHEMA: &str = "countermark.dev/c2pa/collection/v1";
/// Schema of the JSON file that tells the digest of a prompt.
pub const PROMPT_SCHEMA: &str = "countermark.dev/c2pa/prompt/v1";
/// Schema of the JSON file that describes a parent in its ingredient.
pub const PARENT_SCHEMA: &str = "countermark.dev/c2pa/parent/v1";
/// C2PA's code for a signer whom the one who validated did not know.
pub const UNTRUSTED: &str = "signingCredential.untrusted";

/// Row: the store is one manifest store in its one encoding.
pub const FRAMING: &str = "manifest framing";
/// Row: the claim is signed by the key of its certificate.
pub const SIGNATURE: &str = "manifest signature";
/// Row: an authority's word when that signature was there. Only there when a manifest has one.
pub const TIMESTAMP: &str = "manifest timestamp";
/// Row: a given root vouches for that certificate: now, or at the time of a verified time-stamp.
pub const CERTIFICATE: &str = "manifest certificate";
/// Row: every assertion is the one that was signed, and ours stand there once.
pub const ASSERTIONS: &str = "manifest assertions";
/// Row: the manifest is about these bytes.
pub const BINDING: &str = "manifest binding";
/// Row: it names this statement, this root and these marks.
pub const STATEMENT: &str = "manifest statement";
/// Row: its ingredients are the statement's parents, and their own manifests are intact.
pub const PARENTS: &str = "manifest parents";
/// Row: a given root vouches for the signers of the parents' manifests. Only there when parents have any.
pub const PARENT_SIGNERS: &str = "manifest parent signers";

/// What a manifest must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// SHA-256 of the file, or of a folder's listing.
    pub asset_sha256: [u8; 32],
    /// SHA-256 of the statement's DSSE payload.
    pub statement: [u8; 32],
    /// Root of the artifact.
    pub root: [u8; 32],
    /// SHA-256 of each commitment record of a mark, in any order.
    pub marks: &'a [[u8; 32]],
    /// The parents that the ingredients must name, in any order.
    pub parents: &'a [ExpectedParent],
}

/// One parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedParent {
    /// SHA-256 of its statement's DSSE payload.
    pub statement: [u8; 32],
    /// Its root.
    pub root: [u8; 32],
}

/// What a store says, unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Label of the active manifest.
    pub label: String,
    /// Name of the artifact.
    pub title: Option<String>,
    /// Software that made the claim.
    pub generator: Option<String>,
    /// Common name and organisation of the signer.
    pub signer: String,
    /// Key of the signer.
    pub key: PublicKey,
    /// First and last second in which the certificate is valid, in Unix time.
    pub valid: (i64, i64),
    /// SHA-256 of the bytes that the manifest is about.
    pub asset_sha256: Option<Hash>,
    /// SHA-256 of the statement's DSSE payload.
    pub statement: Option<Hash>,
    /// Root of the artifact.
    pub root: Option<Hash>,
    /// SHA-256 of each commitment record of a mark.
    pub marks: Vec<Hash>,
    /// Inputs.
    pub parents: Vec<SummaryParent>,
    /// What the signer declares beside that.
    pub declared: Declarations,
    /// Labels of all assertions, in the order of the claim.
    pub assertions: Vec<String>,
    /// How many manifests the store holds, with the active one.
    pub manifests: usize,
}

/// An input of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryParent {
    /// Its name.
    pub title: Option<String>,
    /// `parentOf`, `componentOf` or `inputTo`.
    pub relationship: String,
    /// SHA-256 of its statement's DSSE payload.
    pub statement: Option<Hash>,
    /// Its root.
    pub root: Option<Hash>,
    /// Label of its own manifest, if that is in the store.
    pub manifest: Option<String>,
}

/// Whom to believe: certificates in DER.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// Roots of signers.
    pub roots: &'a [Vec<u8>],
    /// Roots of time-stamping authorities.
    pub timestamp_roots: &'a [Vec<u8>],
}

/// Roots of signers alone.
impl<'a> From<&'a [Vec<u8>]> for Trust<'a> {
    fn from(roots: &'a [Vec<u8>]) -> Self {
        Trust { roots, timestamp_roots: &[] }
    }
}

impl<'a, const N: usize> From<&'a [Vec<u8>; N]> for Trust<'a> {
    fn from(roots: &'a [Vec<u8>; N]) -> Self {
        Trust::from(&roots[..])
    }
}

impl<'a> From<&'a Vec<Vec<u8>>> for Trust<'a> {
    fn from(roots: &'a Vec<Vec<u8>>) -> Self {
        Trust::from(&roots[..])
    }
}

/// Why something is not verified.
#[derive(Debug)]
pub(super) struct Refusal {
    state: State,
    problem: String,
}

impl Refusal {
    /// Wrong.
    pub fn invalid(problem: String) -> Self {
        Refusal { state: State::Invalid, problem }
    }

    /// Cannot be checked, or not at this time.
    pub fn unsupported(problem: String) -> Self {
        Refusal { state: State::Unknown, problem }
    }

    /// Right, but nobody vouches for it.
    pub fn unknown_signer(problem: String) -> Self {
        Refusal { state: State::UnknownSigner, problem }
    }

    /// The row of a verdict that says so.
    pub fn row(self, name: &str) -> Check {
        Check::new(name, self.state, self.problem)
    }

    /// What is wrong.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The state, and why.
    pub fn into_parts(self) -> (State, String) {
        (self.state, self.problem)
    }

    /// The same, with the manifest in which it was found.
    pub fn within(mut self, manifest: &str) -> Self {
        self.problem = format!("{manifest}: {}", self.problem);
        self
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let help = match refusal.state {
            State::Invalid => "fetch the manifest again from where it was published",
            _ => "this version reads C2PA sidecars with Ed25519 and ECDSA signatures and SHA-256",
        };
        Error::input("manifest", refusal.problem, help)
    }
}

/// Checks a sidecar against what it must say. `trust` may also be root certificates alone.
///
/// `now` is when the certificates must be valid, in Unix seconds: the present, or an earlier time at which an anchor
/// proves that the store existed. A time-stamp that holds puts its time in the place of `now`. Rows have the names of the constants here; later rows are missing where an earlier one
/// left nothing to check. Linear in the length of the store.
pub fn check<'t>(store: &[u8], expected: &Expected<'_>, trust: impl Into<Trust<'t>>, now: i64) -> Vec<Check> {
    check_at(store, &Place::Beside, expected, trust, now)
}

/// As [`check`], for a manifest that stands at `place`. [`Expected::asset_sha256`] is then that of the file without the
/// manifest's own text, and of no use where that file is not at hand.
pub fn check_at<'t>(
    store: &[u8],
    place: &Place,
    expected: &Expected<'_>,
    trust: impl Into<Trust<'t>>,
    now: i64,
) -> Vec<Check> {
    rows(store, Some((expected, place)), trust.into(), now)
}

/// As [`check`] without anything to compare with: no rows [`BINDING`] and [`STATEMENT`].
pub fn inspect<'t>(store: &[u8], trust: impl Into<Trust<'t>>, now: i64) -> Vec<Check> {
    rows(store, None, trust.into(), now)
}

/// The key that signed the active manifest, by its certificate. The signature is not verified.
///
/// # Errors
/// [`Error::Input`] when these bytes are no store, or the key is of another type.
pub fn signer_key(store: &[u8]) -> Result<PublicKey, Error> {
    let sign1 = Store::parse(store)?.active.signature(Unsigned::Ignored)?;
    certificate_key(&sign1.chain[0])
}

/// The key of a certificate in DER.
///
/// # Errors
/// [`Error::Input`] when it cannot be parsed, or the key is of another type.
pub fn certificate_key(der: &[u8]) -> Result<PublicKey, Error> {
    Ok(x509::key(&x509::parse(der)?)?)
}

/// Every certificate in a store, in DER: of the active manifest and of those that it carries. Nothing is verified.
///
/// # Errors
/// [`Error::Input`] when these bytes are no store, or a manifest has no signature.
pub fn certificates(store: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let store = Store::parse(store)?;
    let manifests = std::iter::once(&store.active).chain(store.parents.values());
    let chains = manifests.map(|manifest| Ok(manifest.signature(Unsigned::Ignored)?.chain));
    let mut found = chains.collect::<Result<Vec<_>, Refusal>>()?.concat();
    if let Some(token) = store.active.signature(Unsigned::TimeStamp).ok().and_then(|sign1| sign1.token) {
        found.extend(rfc3161::certificates(&token));
    }
    Ok(found)
}

/// What a store says, for people. Nothing is verified except that it is well-formed.
///
/// # Errors
/// [`Error::Input`] when it is not, or uses what is not supported.
pub fn read(store: &[u8]) -> Result<Summary, Error> {
    let store = Store::parse(store)?;
    let active = &store.active;
    let sign1 = active.signature(Unsigned::Ignored)?;
    let leaf = x509::parse(&sign1.chain[0])?;
    let claim = active.claim()?;
    let lineage = lineage(&claim)?;
    let mut parents = Vec::new();
    let mut identities = Identities::new(&store);
    for ingredient in ingredients(active, &claim)? {
        let named = identities.of(&ingredient)?;
        parents.push(SummaryParent {
            statement: named.map(|parent| Hash(parent.statement)),
            root: named.map(|parent| Hash(parent.root)),
            title: ingredient.title,
            relationship: ingredient.relationship,
            manifest: ingredient.manifest.map(|quoted| quoted.label),
        });
    }
    Ok(Summary {
        label: active.label.to_owned(),
        signer: x509::subject(&leaf),
        key: x509::key(&leaf)?,
        valid: x509::validity(&leaf),
        asset_sha256: binding(&claim).ok().map(|bound| Hash(bound.sha256)),
        statement: lineage.map(|named| Hash(named.statement)),
        root: lineage.map(|named| Hash(named.root)),
        marks: marks(&claim)?.into_iter().map(Hash).collect(),
        parents,
        declared: declared::read(&claim)?,
        assertions: claim.assertions.iter().map(|assertion| assertion.label.to_owned()).collect(),
        manifests: store.parents.len() + 1,
        title: claim.title,
        generator: claim.generator,
    })
}

fn rows(bytes: &[u8], expected: Option<(&Expected<'_>, &Place)>, trust: Trust<'_>, now: i64) -> Vec<Check> {
    let mut rows = Vec::new();
    let framed = Store::parse(bytes).map(|store| {
        let detail = format!("one store of {} bytes with {} manifests", bytes.len(), store.parents.len() + 1);
        (detail, store)
    });
    let Some(store) = add(&mut rows, FRAMING, framed) else { return rows };
    let signed = store.active.signature(Unsigned::TimeStamp).and_then(|sign1| {
        let key = sign1.verify(store.active.claim_bytes())?;
        Ok((format!("by {}", key.short()), sign1))
    });
    let Some(sign1) = add(&mut rows, SIGNATURE, signed) else { return rows };
    let stamped = sign1
        .token
        .as_ref()
        .and_then(|token| add(&mut rows, TIMESTAMP, countersign::judge(&sign1, token, trust.timestamp_roots, now)));
    let vouched = x509::evaluate(&sign1.chain, trust.roots, stamped.unwrap_or(now));
    let then = stamped.map(|time| format!(", as of {}", rfc3339(time))).unwrap_or_default();
    add(&mut rows, CERTIFICATE, vouched.map(|root| (format!("{root} vouches for it{then}"), ())));
    let claimed = store.active.claim().and_then(|claim| {
        check_labels(&claim)?;
        check_actions(&store.active, &claim)?;
        Ok((format!("{} assertions are as signed", claim.assertions.len()), claim))
    });
    let Some(claim) = add(&mut rows, ASSERTIONS, claimed) else { return rows };
    if let Some((expected, place)) = expected {
        let detail = match place {
            Place::Beside => "it is about these bytes",
            Place::Inside(_) => "it is about this file, all but its own text",
            Place::Elsewhere => {
                "it belongs inside a file that was not read as a whole here, so only its form was checked"
            }
        };
        add(&mut rows, BINDING, check_binding(&claim, expected, place).map(|()| (detail.to_owned(), ())));
        let stated = check_statement(&claim, expected);
        add(&mut rows, STATEMENT, stated.map(|()| ("it names this statement, root and marks".to_owned(), ())));
    }
    let mut signers = Ok(());
    let parents = check_parents(&store, &claim, expected.map(|(expected, _)| expected), |chain| {
        if let Err(refusal) = x509::evaluate(chain, trust.roots, now)
            && signers.as_ref().err().is_none_or(|worst: &Refusal| refusal.state > worst.state)
        {
            signers = Err(refusal);
        }
    });
    if add(&mut rows, PARENTS, parents.map(|detail| (detail, ()))).is_some() && !store.parents.is_empty() {
        add(&mut rows, PARENT_SIGNERS, signers.map(|()| ("given roots vouch for them".to_owned(), ())));
    }
    rows
}

pub(super) fn add<T>(rows: &mut Vec<Check>, name: &str, result: Result<(String, T), Refusal>) -> Option<T> {
    match result {
        Ok((detail, value)) => {
            rows.push(Check::new(name, State::Verified, detail));
            Some(value)
        }
        Err(refusal) => {
            rows.push(Check::new(name, refusal.state, refusal.problem));
            None
        }
    }
}

fn check_binding(claim: &Claim<'_, '_>, expected: &Expected<'_>, place: &Place) -> Result<(), Refusal> {
    embedded::compare(embedded::placed(claim, place)?, Hash(expected.asset_sha256))?;
    let Some(collection) = ours(claim, COLLECTION, COLLECTION_SCHEMA, &["listing"])? else { return Ok(()) };
    match collection.field("listing").and_then(Value::as_text) {
        Some(listing) if Hash::sha256(listing.as_bytes()).0 == expected.asset_sha256 => Ok(()),
        _ => Err(Refusal::invalid("the listing in the manifest is not the one that it is about".into())),
    }
}

fn check_statement(claim: &Claim<'_, '_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    let Some(named) = lineage(claim)? else {
        return Err(Refusal::invalid(format!("there is no assertion {LINEAGE}")));
    };
    for (what, found, wanted) in
        [("statement", named.statement, expected.statement), ("root", named.root, expected.root)]
    {
        if found != wanted {
            let problem = format!("the manifest names {what} {}, the bundle {}", Hash(found), Hash(wanted));
            return Err(Refusal::invalid(problem));
        }
    }
    let (mut found, mut wanted) = (marks(claim)?, expected.marks.to_vec());
    found.sort();
    wanted.sort();
    if found == wanted {
        Ok(())
    } else {
        Err(Refusal::invalid(format!("the manifest names {} marks, other than the statement's", found.len())))
    }
}

fn ingredients<'a, 'm>(manifest: &'m Manifest<'a>, claim: &Claim<'a, 'm>) -> Result<Vec<Ingredient<'a, 'm>>, Refusal> {
    let mut found = Vec::new();
    for assertion in &claim.assertions {
        match assertion.base_label() {
            "c2pa.ingredient.v3" if assertion.created => found.push(manifest.ingredient(assertion)?),
            "c2pa.ingredient.v3" => {
                return Err(Refusal::invalid(format!("{} is gathered, not the signer's own", assertion.label)));
            }
            base if base.starts_with("c2pa.ingredient") && !base.starts_with("c2pa.ingredient.thumbnail") => {
                return Err(Refusal::unsupported(format!("{} is not c2pa.ingredient.v3", assertion.label)));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The JSON file that describes a parent.
#[derive(Deserialize)]
struct Descriptor {
    schema: String,
    statement: Hash,
    root: Hash,
}

/// Longer descriptors are none of ours.
const MAX_DESCRIPTOR: usize = 4096;

/// Which statements and roots ingredients stand for. Remembers what each quoted manifest says.
pub(super) struct Identities<'s, 'a> {
    store: &'s Store<'a>,
    quoted: BTreeMap<&'a str, Option<ExpectedParent>>,
}

impl<'s, 'a> Identities<'s, 'a> {
    pub fn new(store: &'s Store<'a>) -> Self {
        Identities { store, quoted: BTreeMap::new() }
    }

    /// By its descriptor, by its manifest, or by both alike.
    pub fn of(&mut self, ingredient: &Ingredient<'_, '_>) -> Result<Option<ExpectedParent>, Refusal> {
        let described = match ingredient.data {
            Some(Content::File(json)) if json.len() <= MAX_DESCRIPTOR => {
                serde_json::from_slice::<Descriptor>(json).ok().filter(|found| found.schema == PARENT_SCHEMA)
            }
            _ => None,
        };
        let described = described.map(|found| ExpectedParent { statement: found.statement.0, root: found.root.0 });
        let own = match ingredient.manifest.as_ref().and_then(|quoted| self.store.parents.get(&*quoted.label)) {
            Some(parent) => match self.quoted.get(parent.label) {
                Some(known) => *known,
                None => {
                    let named = lineage(&parent.claim()?)?;
                    self.quoted.insert(parent.label, named);
                    named
                }
            },
            None => None,
        };
        match (described, own) {
            (Some(described), Some(own)) if described != own => {
                let title = ingredient.title.as_deref().unwrap_or("without a name");
                Err(Refusal::invalid(format!("parent {title}: its manifest is not that of the statement quoted")))
            }
            (described, own) => Ok(described.or(own)),
        }
    }
}

/// Every manifest that the active one rests on, once; `signer` gets the certificates of each.
fn check_parents(
    store: &Store<'_>,
    claim: &Claim<'_, '_>,
    expected: Option<&Expected<'_>>,
    mut signer: impl FnMut(&[Vec<u8>]),
) -> Result<String, Refusal> {
    let direct = ingredients(&store.active, claim)?;
    if let Some(expected) = expected {
        let mut found = Vec::new();
        let mut identities = Identities::new(store);
        for ingredient in &direct {
            match identities.of(ingredient)? {
                Some(parent) => found.push(parent),
                None => {
                    let title = ingredient.title.as_deref().unwrap_or("without a name");
                    return Err(Refusal::unsupported(format!("parent {title} is named, but not bound to a statement")));
                }
            }
        }
        let mut wanted = expected.parents.to_vec();
        found.sort();
        wanted.sort();
        if found != wanted {
            return Err(Refusal::invalid(format!(
                "the manifest names {} parents, other than the statement's {}",
                found.len(),
                wanted.len()
            )));
        }
    }
    let count = direct.len();
    let mut reached = BTreeSet::new();
    let mut waiting = direct;
    while let Some(ingredient) = waiting.pop() {
        let Some(quoted) = &ingredient.manifest else { continue };
        let Some(parent) = store.parents.get(&*quoted.label) else {
            return Err(Refusal::invalid(format!("parent {} is missing from the store", quoted.label)));
        };
        if quoted.digest != parent.digest || quoted.signature_digest != parent.signature_digest {
            return Err(Refusal::invalid(format!("parent {} is not the manifest that was quoted", quoted.label)));
        }
        if let Some(code) = ingredient.failures.iter().find(|code| *code != UNTRUSTED) {
            return Err(Refusal::invalid(format!("parent {} failed when it was quoted: {code}", quoted.label)));
        }
        if !ingredient.matched {
            let problem = format!("the signer did not see the bytes of parent {} match its manifest", quoted.label);
            return Err(Refusal::invalid(problem));
        }
        if !reached.insert(parent.label) {
            continue;
        }
        let sign1 = parent.signature(Unsigned::Ignored).map_err(|refusal| refusal.within(parent.label))?;
        sign1.verify(parent.claim_bytes()).map_err(|refusal| refusal.within(parent.label))?;
        signer(&sign1.chain);
        waiting.extend(ingredients(parent, &parent.claim()?)?);
    }
    match store.parents.keys().find(|label| !reached.contains(**label)) {
        Some(label) => Err(Refusal::invalid(format!("the store holds manifest {label}, which nothing refers to"))),
        None => Ok(format!("{count} parents, {} further manifests intact", reached.len())),
    }
}
