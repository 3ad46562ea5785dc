//! A manifest store that speaks for an artifact on its own, without a bundle: its own rows, and one for each link of the
//! chain of inputs behind it.
//!
//! Everything that [`super::c2pa`] asks of a release is asked here too. Two things differ: nothing says which inputs there
//! must be, so each is shown as what it is; and stores of other software may carry padding and time-stamps that no
//! signature covers, which are ignored, and the row says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use countermark_formats::ReadAt;

use super::assertions::{bound, check_actions, check_gathered_actions, check_labels, lineage, marks, ours};
use super::c2pa::{
    ASSERTIONS, BINDING, COLLECTION, COLLECTION_SCHEMA, FRAMING, Identities, PARENTS, PROMPT_SCHEMA, Refusal,
    SIGNATURE, UNTRUSTED, add,
};
use super::container;
use super::cose::{Sign1, Unsigned};
use super::declared::{self, Declarations};
use super::keys::PublicKey;
use super::manifest::{Claim, Content, Ingredient, Manifest, Store};
use super::x509;
use crate::cbor::Value;
use crate::digest::Hash;
use crate::graph::Relation;
use crate::verdict::{Check, State, printable};

/// Links beyond this are not walked: nobody made so many by hand.
const MAX_LINKS: usize = 10_000;

/// The bytes that a store speaks for.
pub enum Asset<'a> {
    /// SHA-256 of a whole file, or of a folder's listing.
    Whole([u8; 32]),
    /// A medium that carries the store.
    Medium {
        /// Its MIME type.
        format: &'a str,
        /// Its bytes.
        source: &'a dyn ReadAt,
        /// What a library for media found: the code of the hash that matched, or what did not.
        found: Result<&'a str, &'a str>,
    },
    /// None are at hand.
    Unseen,
}

/// One signature in a store, for whoever knows whom to believe.
pub struct Signed<'a> {
    /// Certificates in DER, the leaf first.
    pub chain: &'a [Vec<u8>],
    /// The leaf's key, whose signature was verified.
    pub key: PublicKey,
    /// What the claim calls its artifact.
    pub title: &'a str,
    /// Id of the statement that the manifest quotes.
    pub statement: Option<Hash>,
    /// Marks that it quotes.
    pub marks: &'a [Hash],
    /// Relations to its inputs, where it tells them.
    pub relations: &'a [Relation],
}

/// Whom to believe: a state, and why.
pub type Vouch<'a> = dyn Fn(&Signed<'_>) -> (State, String) + 'a;

/// What a store comes to.
#[derive(Default)]
pub struct Judged {
    /// The rows of the active manifest.
    pub rows: Vec<Check>,
    /// One for each input, and for theirs, in the order in which they are named.
    pub links: Vec<Link>,
    /// What is known of the active manifest once its signature has been verified.
    pub subject: Option<Subject>,
}

/// The active manifest, signature verified.
pub struct Subject {
    /// What it calls its artifact.
    pub title: String,
    /// Common name and organisation in the certificate.
    pub signer: String,
    /// The signer's key.
    pub key: PublicKey,
    /// First second in which the certificate is valid: the manifest was not signed before.
    pub not_before: i64,
    /// Id of the statement that it quotes.
    pub statement: Option<Hash>,
    /// What it declares.
    pub declared: Declarations,
}

/// One link: what a manifest says of one of its inputs.
pub struct Link {
    /// What it is called.
    pub title: String,
    /// What the manifest that names it calls its own artifact; `None` for inputs of the active manifest.
    pub of: Option<String>,
    /// How many links lie between it and the active manifest; 1 for its own inputs.
    pub depth: usize,
    /// `parentOf`, `componentOf` or `inputTo`.
    pub relationship: String,
    /// Label of its own manifest.
    pub manifest: Option<String>,
    /// Common name and organisation of that manifest's signer, once the signature has been verified.
    pub signer: Option<String>,
    /// Id of its statement.
    pub statement: Option<Hash>,
    /// Its root.
    pub root: Option<Hash>,
    /// What came of it.
    pub state: State,
    /// Why.
    pub detail: String,
}

impl Link {
    /// The name of its row.
    pub fn row(&self) -> String {
        match &self.of {
            None => format!("input {}", self.title),
            Some(of) => format!("input {} of {of}", self.title),
        }
    }
}

/// Name of the row on who signed.
pub const SIGNER: &str = "manifest signer";

/// Who vouches for these certificates at `now`: the name of the root among `anchors`, or a state and why not.
pub fn certificate(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: i64) -> Result<String, (State, String)> {
    x509::evaluate(chain, anchors, now).map_err(Refusal::into_parts)
}

/// Judges a store that speaks for `asset`.
///
/// Later rows are missing where an earlier one left nothing to check. Linear in the length of the store, save for the
/// bytes of a medium that its hash leaves out, which are read once.
pub fn judge(bytes: &[u8], asset: &Asset<'_>, vouch: &Vouch<'_>) -> Judged {
    let mut judged = Judged::default();
    let rows = &mut judged.rows;
    let (store_bytes, zeros) = match asset {
        Asset::Medium { .. } => without_zeros(bytes),
        _ => (bytes, 0),
    };
    let framed = Store::parse(store_bytes).map(|store| {
        let mut detail = format!("one store of {} bytes with {} manifests", bytes.len(), store.parents.len() + 1);
        if zeros > 0 {
            detail += &format!("; {zeros} zero bytes after it are ignored");
        }
        (detail, store)
    });
    let Some(store) = add(rows, FRAMING, framed) else { return judged };
    let Some((sign1, key)) = add(rows, SIGNATURE, signature(&store.active)) else { return judged };
    let claimed = store.active.claim().and_then(|claim| {
        check_labels(&claim)?;
        // Whoever writes actions as the signer's own word writes them as C2PA 2.2 asks; other software gathers them.
        check_actions(&store.active, &claim).or_else(|_| check_gathered_actions(&store.active, &claim))?;
        let declared = declared::read(&claim)?;
        let gathered = claim.assertions.iter().filter(|assertion| !assertion.created).count();
        let gathered = match gathered {
            0 => String::new(),
            n => format!(", {n} of them gathered and not the signer's own word"),
        };
        let said = declared.source_type.as_deref().and_then(|url| url.rsplit('/').next());
        let said = said.map(|term| format!("; the signer says {term}")).unwrap_or_default();
        Ok((format!("{} assertions are as signed{gathered}{said}", claim.assertions.len()), (claim, declared)))
    });
    let Some((claim, declared)) = add(rows, ASSERTIONS, claimed) else {
        // Who signed it still matters to whoever wants to ask.
        return judged;
    };
    let named = match named(&claim) {
        Ok(named) => named,
        Err(refusal) => {
            let (state, problem) = refusal.into_parts();
            rows.push(Check::new(ASSERTIONS, state, problem));
            return judged;
        }
    };
    let mut walk = Walk {
        store: &store,
        vouch,
        links: vec![],
        identities: Identities::new(&store),
        standings: BTreeMap::new(),
        broken: false,
    };
    let title = short(claim.title.as_deref().unwrap_or_default());
    let (state, detail) = walk.vouched(&store.active, &claim, &sign1, key, &title, &named);
    rows.push(Check::new(SIGNER, state, detail));
    match asset {
        Asset::Unseen => {}
        asset => drop(add(rows, BINDING, binding(&claim, asset, store_bytes).map(|detail| (detail, ())))),
    }
    let unreached = walk.all(&claim);
    if let Some(label) = unreached {
        rows.push(Check::new(
            PARENTS,
            State::Invalid,
            format!("the store holds manifest {label}, which nothing refers to"),
        ));
    }
    let leaf = x509::parse(&sign1.chain[0]);
    judged.subject = Some(Subject {
        title,
        signer: leaf.as_ref().map(x509::subject).unwrap_or_default(),
        key,
        not_before: leaf.as_ref().map(|leaf| x509::validity(leaf).0).unwrap_or(i64::MIN),
        statement: named.statement,
        declared,
    });
    judged.links = walk.links;
    judged
}

/// A store without the zero bytes after it, and how many they are: some containers have them, and they are no part of it.
pub fn without_zeros(bytes: &[u8]) -> (&[u8], usize) {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    match bytes.split_at_checked(length) {
        Some((store, rest)) if length > 0 && rest.iter().all(|byte| *byte == 0) => (store, rest.len()),
        _ => (bytes, 0),
    }
}

/// The signature of a manifest, verified.
fn signature(manifest: &Manifest<'_>) -> Result<(String, (Sign1, PublicKey)), Refusal> {
    let (sign1, note) = match manifest.signature(Unsigned::Nothing) {
        Ok(sign1) => (sign1, ""),
        // Other software pads its signatures and adds time-stamps.
        Err(_) => (
            manifest.signature(Unsigned::Ignored)?,
            "; padding or a time-stamp beside it, which it does not cover, is ignored",
        ),
    };
    let key = sign1.verify(manifest.claim_bytes())?;
    Ok((format!("by {}{note}", key.short()), (sign1, key)))
}

/// What the assertions of ours name.
#[derive(Default)]
struct Named {
    statement: Option<Hash>,
    root: Option<Hash>,
    marks: Vec<Hash>,
}

fn named(claim: &Claim<'_, '_>) -> Result<Named, Refusal> {
    let lineage = lineage(claim)?;
    Ok(Named {
        statement: lineage.map(|named| Hash(named.statement)),
        root: lineage.map(|named| Hash(named.root)),
        marks: marks(claim)?.into_iter().map(Hash).collect(),
    })
}

fn binding(claim: &Claim<'_, '_>, asset: &Asset<'_>, store: &[u8]) -> Result<String, Refusal> {
    match asset {
        Asset::Unseen => Err(Refusal::unsupported("no bytes are at hand".into())),
        Asset::Whole(sha256) => {
            let found = bound(claim)?;
            if found != *sha256 {
                return Err(Refusal::invalid(format!(
                    "the manifest is about bytes with SHA-256 {}, these have {}",
                    Hash(found),
                    Hash(*sha256)
                )));
            }
            if let Some(collection) = ours(claim, COLLECTION, COLLECTION_SCHEMA, &["listing"])? {
                let listing = collection.field("listing").and_then(Value::as_text).unwrap_or_default();
                if Hash::sha256(listing.as_bytes()).0 != *sha256 {
                    let problem = "the listing in the manifest is not the one that it is about";
                    return Err(Refusal::invalid(problem.into()));
                }
            }
            Ok("it is about these bytes".to_owned())
        }
        Asset::Medium { format, source, found } => {
            let hard = container::hard(claim)?;
            match found {
                Err(problem) => Err(Refusal::invalid(format!("the C2PA library says {problem}"))),
                Ok(code) => {
                    let left_out = container::only_store(&hard, store, format, *source)?;
                    Ok(format!("the C2PA library says {code}; {left_out}"))
                }
            }
        }
    }
}

/// A walk over everything that a store rests on.
struct Walk<'s, 'a> {
    store: &'s Store<'a>,
    vouch: &'s Vouch<'s>,
    links: Vec<Link>,
    identities: Identities<'s, 'a>,
    /// What each manifest comes to by itself. Many links may lead to one.
    standings: BTreeMap<&'a str, Standing>,
    /// A manifest could not be read, so that what it names was not reached.
    broken: bool,
}

/// What a manifest comes to by itself, whoever quotes it.
#[derive(Clone)]
struct Standing {
    state: State,
    detail: String,
    /// Subject of the certificate, statement and root, when its signature holds.
    known: Option<(String, Option<Hash>, Option<Hash>)>,
}

/// A manifest whose inputs are still to be looked at.
struct Waiting<'a> {
    label: Option<&'a str>,
    title: Option<String>,
    depth: usize,
    /// The link that led to it.
    under: Option<usize>,
}

impl<'s, 'a> Walk<'s, 'a> {
    /// Every manifest once, nearest first; the links are then put under one another. Returns a manifest that was not
    /// reached.
    fn all(&mut self, claim: &Claim<'a, 's>) -> Option<String> {
        let store = self.store;
        let mut reached = BTreeSet::new();
        let mut under_which: Vec<Option<usize>> = Vec::new();
        let mut queue = VecDeque::from([Waiting { label: None, title: None, depth: 1, under: None }]);
        while let Some(Waiting { label, title, depth, under }) = queue.pop_front() {
            let parsed;
            let (manifest, claim) = match label {
                None => (&store.active, claim),
                Some(label) => {
                    let Some(manifest) = store.parents.get(label) else { continue };
                    // It could be read when its own link was judged.
                    let Ok(claim) = manifest.claim() else {
                        self.broken = true;
                        continue;
                    };
                    parsed = claim;
                    (manifest, &parsed)
                }
            };
            for declared in &claim.assertions {
                let base = declared.base_label();
                if !base.starts_with("c2pa.ingredient") || base.starts_with("c2pa.ingredient.thumbnail") {
                    continue;
                }
                if self.links.len() >= MAX_LINKS {
                    self.links.push(Link::refused(
                        "…",
                        title.clone(),
                        depth,
                        Refusal::unsupported(format!("more than {MAX_LINKS} links; the rest was not looked at")),
                    ));
                    return None;
                }
                let ingredient = match base {
                    "c2pa.ingredient.v3" => manifest.ingredient(declared),
                    _ => Err(Refusal::unsupported(format!("{} is not c2pa.ingredient.v3", declared.label))),
                };
                let mut link = match ingredient {
                    Err(refusal) => {
                        self.broken = true;
                        Link::refused(declared.label, title.clone(), depth, refusal)
                    }
                    Ok(ingredient) => {
                        let (link, next) = self.link(&ingredient, title.clone(), depth);
                        if let Some(label) = next
                            && reached.insert(label)
                        {
                            let title = Some(link.title.clone());
                            let under = Some(self.links.len());
                            queue.push_back(Waiting { label: Some(label), title, depth: depth + 1, under });
                        }
                        link
                    }
                };
                if !declared.created {
                    // It is as it was gathered, and says nothing in the signer's name.
                    (link.statement, link.root) = (None, None);
                    link.detail = format!("gathered, not the signer's own word; {}", link.detail);
                }
                self.links.push(link);
                under_which.push(under);
            }
        }
        self.links = nested(std::mem::take(&mut self.links), &under_which);
        // What a broken link led to was not reached, and its row says why.
        let missed = store.parents.keys().find(|label| !reached.contains(**label));
        missed.filter(|_| !self.broken).map(|label| (*label).to_owned())
    }

    /// Judges one input, and tells which manifest comes next.
    fn link(&mut self, input: &Ingredient<'a, 's>, of: Option<String>, depth: usize) -> (Link, Option<&'a str>) {
        let title = short(input.title.as_deref().unwrap_or("without a name"));
        let mut link = Link {
            title,
            of,
            depth,
            relationship: input.relationship.clone(),
            manifest: input.manifest.as_ref().map(|quoted| quoted.label.clone()),
            signer: None,
            statement: None,
            root: None,
            state: State::Verified,
            detail: String::new(),
        };
        let mut next = None;
        let came = match self.identities.of(input) {
            Err(refusal) => Err(refusal),
            Ok(identity) => {
                link.statement = identity.map(|found| Hash(found.statement));
                link.root = identity.map(|found| Hash(found.root));
                match &input.manifest {
                    Some(_) => self.manifest_of(input, &mut link, &mut next),
                    None => without_manifest(input, &link),
                }
            }
        };
        match came {
            Ok((state, detail)) => (link.state, link.detail) = (state, detail),
            Err(refusal) => (link.state, link.detail) = refusal.into_parts(),
        }
        link.detail = format!("{}: {}", link.relationship, link.detail);
        (link, next)
    }

    /// The manifest that an input quotes: there, unchanged, matched when it was quoted, signed, and by whom.
    fn manifest_of(
        &mut self,
        input: &Ingredient<'a, 's>,
        link: &mut Link,
        next: &mut Option<&'a str>,
    ) -> Result<(State, String), Refusal> {
        let Some(quoted) = &input.manifest else {
            return Err(Refusal::invalid("it quotes no manifest".into()));
        };
        let Some(manifest) = self.store.parents.get(&*quoted.label) else {
            return Err(Refusal::invalid(format!("its manifest {} is missing from the store", quoted.label)));
        };
        *next = Some(manifest.label);
        if quoted.digest != manifest.digest || quoted.signature_digest != manifest.signature_digest {
            return Err(Refusal::invalid(format!("its manifest {} is not the one that was quoted", quoted.label)));
        }
        if let Some(code) = input.failures.iter().find(|code| *code != UNTRUSTED) {
            return Err(Refusal::invalid(format!("its manifest failed when it was quoted: {code}")));
        }
        if !input.matched {
            let problem = "the signer did not see its bytes match its manifest";
            return Err(Refusal::invalid(problem.into()));
        }
        let standing = match self.standings.get(manifest.label) {
            Some(standing) => standing.clone(),
            None => {
                let standing = self.standing(manifest).unwrap_or_else(|refusal| {
                    let (state, detail) = refusal.into_parts();
                    Standing { state, detail, known: None }
                });
                self.standings.insert(manifest.label, standing.clone());
                standing
            }
        };
        let Some((signer, statement, root)) = standing.known else { return Ok((standing.state, standing.detail)) };
        link.signer = Some(signer);
        link.statement = link.statement.or(statement);
        link.root = link.root.or(root);
        let detail = standing.detail;
        Ok((
            standing.state,
            format!("signed by {detail}; its bytes, which matched when it was quoted, are not at hand"),
        ))
    }

    /// Signature, assertions and signer of a manifest that is an input.
    fn standing(&self, manifest: &Manifest<'a>) -> Result<Standing, Refusal> {
        let sign1 = manifest.signature(Unsigned::Ignored)?;
        let key = sign1.verify(manifest.claim_bytes())?;
        let claim = manifest.claim()?;
        check_labels(&claim)?;
        let named = named(&claim)?;
        let signer = x509::parse(&sign1.chain[0]).map(|leaf| x509::subject(&leaf))?;
        let title = short(claim.title.as_deref().unwrap_or_default());
        let (state, detail) = self.vouched(manifest, &claim, &sign1, key, &title, &named);
        Ok(Standing { state, detail, known: Some((signer, named.statement, named.root)) })
    }

    fn vouched(
        &self,
        manifest: &Manifest<'a>,
        claim: &Claim<'a, '_>,
        sign1: &Sign1,
        key: PublicKey,
        title: &str,
        named: &Named,
    ) -> (State, String) {
        let relations = relations(manifest, claim);
        let (chain, statement, marks) = (&*sign1.chain, named.statement, &*named.marks);
        (self.vouch)(&Signed { chain, key, title, statement, marks, relations: &relations })
    }
}

impl Link {
    fn refused(title: &str, of: Option<String>, depth: usize, refusal: Refusal) -> Self {
        let (state, detail) = refusal.into_parts();
        let (manifest, signer, statement, root) = (None, None, None, None);
        let (title, relationship) = (title.to_owned(), String::new());
        Link { title, of, depth, relationship, manifest, signer, statement, root, state, detail }
    }
}

/// A title as far as anybody reads it: links repeat the titles of those that name them.
fn short(title: &str) -> String {
    printable(title, 200)
}

/// Each link right after the one that led to it, in the order in which they are named.
fn nested(links: Vec<Link>, under: &[Option<usize>]) -> Vec<Link> {
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (index, under) in under.iter().enumerate().rev() {
        children.entry(*under).or_default().push(index);
    }
    let mut links: Vec<Option<Link>> = links.into_iter().map(Some).collect();
    let mut waiting = children.remove(&None).unwrap_or_default();
    let mut ordered = Vec::with_capacity(links.len());
    while let Some(index) = waiting.pop() {
        ordered.extend(links[index].take());
        waiting.extend(children.remove(&Some(index)).unwrap_or_default());
    }
    ordered
}

/// Relations that a manifest's descriptors of its inputs tell.
fn relations(manifest: &Manifest<'_>, claim: &Claim<'_, '_>) -> Vec<Relation> {
    let inputs = claim.assertions.iter().filter(|assertion| assertion.base_label() == "c2pa.ingredient.v3");
    let relation = |json: &[u8]| {
        let json: serde_json::Value = serde_json::from_slice(json).ok()?;
        json["relation"].as_str()?.parse().ok()
    };
    let mut found: Vec<Relation> = inputs
        .filter_map(|declared| match manifest.ingredient(declared).ok()?.data? {
            Content::File(json) => relation(json),
            _ => None,
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// An input that has no manifest: bound by what describes it, or by nothing.
fn without_manifest(input: &Ingredient<'_, '_>, link: &Link) -> Result<(State, String), Refusal> {
    if let (Some(statement), Some(root)) = (link.statement, link.root) {
        let detail = format!(
            "bound by root {} and statement {}, without a manifest; neither is at hand",
            root.short(),
            statement.short()
        );
        return Ok((State::Verified, detail));
    }
    let detail = match (&input.data, &input.remote) {
        (Some(Content::File(data)), _) => match prompt(data) {
            Some(sha256) => format!("bound by SHA-256 {sha256} of the prompt, which is not told"),
            None => format!("bound by {} bytes about it in the manifest", data.len()),
        },
        (Some(_), _) => return Err(Refusal::unsupported("what describes it cannot be read".into())),
        (None, Some((url, sha256))) => format!("bound by SHA-256 {} of {url}, which was not fetched", Hash(*sha256)),
        (None, None) => {
            let problem = "named, not bound: neither a manifest nor a digest says which bytes it was";
            return Err(Refusal::unsupported(problem.into()));
        }
    };
    Ok((State::Verified, detail))
}

/// The digest in our description of a prompt.
fn prompt(json: &[u8]) -> Option<Hash> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    (json["schema"] == PROMPT_SCHEMA).then(|| Hash::parse(json["sha256"].as_str()?))?
}
