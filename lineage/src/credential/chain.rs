//! The chain behind a manifest that stands alone: one link for each input, and for theirs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::alone::{Signed, Vouch};
use super::assertions::{check_labels, lineage, marks};
use super::c2pa::{Identities, PROMPT_SCHEMA, Refusal, UNTRUSTED};
use super::cose::{Sign1, Unsigned};
use super::keys::PublicKey;
use super::manifest::{Claim, Content, Ingredient, Manifest, Store};
use super::x509;
use crate::digest::Hash;
use crate::graph::Relation;
use crate::verdict::{State, printable};

/// Links beyond this are not walked: nobody made so many by hand.
const MAX_LINKS: usize = 10_000;

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

/// What the assertions of ours name.
#[derive(Default)]
pub(super) struct Named {
    pub statement: Option<Hash>,
    root: Option<Hash>,
    marks: Vec<Hash>,
}

pub(super) fn named(claim: &Claim<'_, '_>) -> Result<Named, Refusal> {
    let lineage = lineage(claim)?;
    Ok(Named {
        statement: lineage.map(|named| Hash(named.statement)),
        root: lineage.map(|named| Hash(named.root)),
        marks: marks(claim)?.into_iter().map(Hash).collect(),
    })
}

/// A walk over everything that a store rests on.
pub(super) struct Walk<'s, 'a> {
    store: &'s Store<'a>,
    vouch: &'s Vouch<'s>,
    pub links: Vec<Link>,
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
    /// Before the first step.
    pub fn new(store: &'s Store<'a>, vouch: &'s Vouch<'s>) -> Self {
        let identities = Identities::new(store);
        Walk { store, vouch, links: vec![], identities, standings: BTreeMap::new(), broken: false }
    }

    /// Every manifest once, nearest first; the links are then put under one another. Returns a manifest that was not
    /// reached.
    pub fn all(&mut self, claim: &Claim<'a, 's>) -> Option<String> {
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
        let (state, detail) = self.vouched(manifest, &claim, (&sign1, None), key, &title, &named);
        Ok(Standing { state, detail, known: Some((signer, named.statement, named.root)) })
    }

    /// Whom to believe, for one manifest whose signature holds.
    pub fn vouched(
        &self,
        manifest: &Manifest<'a>,
        claim: &Claim<'a, '_>,
        (sign1, stamped): (&Sign1, Option<i64>),
        key: PublicKey,
        title: &str,
        named: &Named,
    ) -> (State, String) {
        let relations = relations(manifest, claim);
        let (chain, statement, marks) = (&*sign1.chain, named.statement, &*named.marks);
        let not_before = x509::parse(&chain[0]).map_or(i64::MIN, |leaf| x509::validity(&leaf).0);
        let token = sign1.token.as_deref();
        (self.vouch)(&Signed { chain, token, key, not_before, stamped, title, statement, marks, relations: &relations })
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
pub(super) fn short(title: &str) -> String {
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
            "bound by root {} and statement {}, without a manifest; nobody was asked who signed that",
            root.short(),
            statement.short()
        );
        return Ok((State::Unknown, detail));
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
