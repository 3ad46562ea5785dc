//! The model of a manifest store: manifests, their claims, assertions and ingredients (C2PA 2.2, sections 8, 10 and 11).

use std::collections::{BTreeMap, BTreeSet};

use super::c2pa::Refusal;
use super::cose::{self, Sign1, Unsigned};
use super::jumbf::{self, EMBEDDED_FILE, Node, SuperBox};
use crate::cbor::{self, Rules, Value};

/// How many manifests a store may hold: an artifact and its ancestors. Each costs a few signature checks.
const MAX_MANIFESTS: usize = 4096;

/// A framed store: every box is where it must be, nothing is verified.
pub(super) struct Store<'a> {
    /// By label, without the active one.
    pub parents: BTreeMap<&'a str, Manifest<'a>>,
    /// The last one, which speaks for the asset.
    pub active: Manifest<'a>,
}

/// One manifest.
pub(super) struct Manifest<'a> {
    pub label: &'a str,
    /// What an ingredient's `activeManifest` quotes.
    pub digest: [u8; 32],
    /// What an ingredient's `claimSignature` quotes.
    pub signature_digest: [u8; 32],
    signature: &'a [u8],
    claim: &'a [u8],
    /// By whole label.
    assertions: BTreeMap<&'a str, Assertion<'a>>,
}

/// One assertion.
pub(super) struct Assertion<'a> {
    digest: [u8; 32],
    pub content: Content<'a>,
}

/// What an assertion holds.
pub(super) enum Content<'a> {
    Cbor(&'a [u8]),
    /// An embedded file.
    File(&'a [u8]),
    /// A form that nothing here reads.
    Other,
}

/// A claim whose assertions are all there, and have the digests that it states.
pub(super) struct Claim<'a, 'm> {
    pub title: Option<String>,
    pub generator: Option<String>,
    /// Each assertion of the manifest, in the order of the claim.
    pub assertions: Vec<Declared<'a, 'm>>,
}

/// An assertion that the claim names.
pub(super) struct Declared<'a, 'm> {
    pub label: &'a str,
    /// The signer's own word, rather than gathered from elsewhere.
    pub created: bool,
    pub content: &'m Content<'a>,
}

/// An ingredient: what a manifest says about one input.
pub(super) struct Ingredient<'a, 'm> {
    pub title: Option<String>,
    pub relationship: String,
    /// Label and digests of the input's own manifest and signature.
    pub manifest: Option<Quoted>,
    /// The embedded file that describes the input.
    pub data: Option<&'m Content<'a>>,
    /// Where the input's bytes are on the web, and their SHA-256.
    pub remote: Option<(String, [u8; 32])>,
    /// Codes of failures that the signer recorded when validating the input.
    pub failures: Vec<String>,
    /// True when the signer recorded that the input's bytes matched its manifest.
    pub matched: bool,
}

/// A manifest as an ingredient quotes it.
pub(super) struct Quoted {
    pub label: String,
    pub digest: [u8; 32],
    pub signature_digest: [u8; 32],
}

impl<'a> Store<'a> {
    /// Frames the store.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let store = jumbf::parse(bytes)?;
        if (&store.kind, store.label) != (b"c2pa", "c2pa") {
            return Err(Refusal::invalid(format!("the outermost box is {:?}, not a manifest store", store.label)));
        }
        let mut parents = BTreeMap::new();
        let mut manifests = store.into_superboxes()?;
        if manifests.len() > MAX_MANIFESTS {
            return Err(Refusal::unsupported(format!("the store holds more than {MAX_MANIFESTS} manifests")));
        }
        let Some(active) = manifests.pop() else {
            return Err(Refusal::invalid("the store holds no manifest".into()));
        };
        let active = Manifest::frame(active)?;
        for manifest in manifests {
            let manifest = Manifest::frame(manifest)?;
            if manifest.label == active.label || parents.contains_key(manifest.label) {
                return Err(Refusal::invalid(format!("manifest {} stands there twice", manifest.label)));
            }
            parents.insert(manifest.label, manifest);
        }
        Ok(Store { parents, active })
    }
}

impl<'a> Manifest<'a> {
    fn frame(manifest: SuperBox<'a>) -> Result<Self, Refusal> {
        let label = manifest.label;
        match &manifest.kind {
            b"c2ma" => {}
            b"c2um" => return Err(Refusal::unsupported(format!("{label} is an update manifest"))),
            b"c2cm" => return Err(Refusal::unsupported(format!("{label} is a compressed manifest"))),
            other => return Err(Refusal::invalid(format!("{label} is a {:?} box", jumbf::name(*other)))),
        }
        let digest = manifest.digest();
        let parts = <[SuperBox<'a>; 3]>::try_from(manifest.into_superboxes()?);
        let [assertions, claim, signature] = parts.map_err(|parts| {
            let labels: Vec<_> = parts.iter().map(|part| part.label).collect();
            if let Some(other) = labels.iter().find(|label| ["c2pa.databoxes", "c2pa.credentials"].contains(label)) {
                return Refusal::unsupported(format!("manifest {label} holds {other}, which is not checked"));
            }
            Refusal::invalid(format!(
                "manifest {label} must hold assertions, claim and signature, and holds {labels:?}"
            ))
        })?;
        let expected = [
            (&assertions, b"c2as", "c2pa.assertions"),
            (&claim, b"c2cl", "c2pa.claim.v2"),
            (&signature, b"c2cs", "c2pa.signature"),
        ];
        for (part, kind, name) in expected {
            if part.label == "c2pa.claim" {
                return Err(Refusal::unsupported(format!("manifest {label} has a claim of version 1")));
            }
            if (&part.kind, part.label) != (kind, name) {
                return Err(Refusal::invalid(format!("manifest {label}: expected {name}, found {:?}", part.label)));
            }
        }
        let (claim, signature_digest, signature) = (claim.only(b"cbor")?, signature.digest(), signature.only(b"cbor")?);
        let mut framed = BTreeMap::new();
        for assertion in assertions.into_superboxes()? {
            let name = assertion.label;
            if framed.insert(name, Assertion::frame(assertion)?).is_some() {
                return Err(Refusal::invalid(format!("manifest {label}: assertion {name} stands there twice")));
            }
        }
        Ok(Manifest { label, digest, signature_digest, signature, claim, assertions: framed })
    }

    /// Reads the signature.
    pub fn signature(&self, unsigned: Unsigned) -> Result<Sign1, Refusal> {
        cose::parse(self.signature, unsigned)
    }

    /// The bytes that the signature covers.
    pub fn claim_bytes(&self) -> &'a [u8] {
        self.claim
    }

    /// Reads the claim, and compares every assertion with the digest that it states.
    pub fn claim<'m>(&'m self) -> Result<Claim<'a, 'm>, Refusal> {
        let refuse = |problem: String| Refusal::invalid(format!("claim of {}: {problem}", self.label));
        let claim = cbor::decode(self.claim, Rules::Lenient).map_err(|error| refuse(error.to_string()))?;
        let algorithm = claim.field("alg").and_then(Value::as_text);
        if claim.field("redacted_assertions").is_some() {
            return Err(Refusal::unsupported(format!("claim of {}: redacted assertions", self.label)));
        }
        let signature = claim.field("signature").and_then(Value::as_text).unwrap_or_default();
        if resolve(self.label, signature) != Some((self.label, "c2pa.signature")) {
            return Err(refuse(format!("names {signature:?} as its signature")));
        }
        // Only the absolute form puts the manifest's label under the signature.
        if !signature.starts_with("self#jumbf=/") {
            return Err(Refusal::unsupported(format!(
                "claim of {}: its link to the signature is relative",
                self.label
            )));
        }
        let mut undeclared: BTreeSet<&str> = self.assertions.keys().copied().collect();
        let mut assertions = Vec::new();
        for (list, created) in [("created_assertions", true), ("gathered_assertions", false)] {
            let entries = match claim.field(list) {
                Some(Value::Array(entries)) => &**entries,
                None if !created => &[],
                _ => return Err(refuse(format!("{list} is not a list"))),
            };
            for entry in entries {
                let uri = HashedUri::parse(entry, algorithm).map_err(|error| error.within(self.label))?;
                let (label, assertion) = self.resolve(&uri).map_err(|error| error.within(self.label))?;
                if !undeclared.remove(label) {
                    return Err(refuse(format!("assertion {label} is named twice")));
                }
                assertions.push(Declared { label, created, content: &assertion.content });
            }
        }
        if let Some(label) = undeclared.first() {
            return Err(refuse(format!("assertion {label} is in the manifest, but the claim does not name it")));
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_text).map(str::to_owned);
        Ok(Claim {
            title: text(claim.field("dc:title")),
            generator: text(claim.field("claim_generator_info").and_then(|info| info.field("name"))),
            assertions,
        })
    }

    /// The assertion of this manifest that a hashed URI names, with its digest compared.
    pub fn resolve<'m>(&'m self, uri: &HashedUri) -> Result<(&'a str, &'m Assertion<'a>), Refusal> {
        let found = resolve(self.label, &uri.url)
            .filter(|(manifest, _)| *manifest == self.label)
            .and_then(|(_, path)| self.assertions.get_key_value(path.strip_prefix("c2pa.assertions/")?));
        match found {
            None => Err(Refusal::invalid(format!("{} is missing", uri.url))),
            Some((label, assertion)) if assertion.digest != uri.hash => {
                Err(Refusal::invalid(format!("assertion {label} is not the one that was signed")))
            }
            Some((label, assertion)) => Ok((label, assertion)),
        }
    }

    /// Reads an assertion with the base label `c2pa.ingredient.v3`.
    pub fn ingredient<'m>(&'m self, declared: &Declared<'a, 'm>) -> Result<Ingredient<'a, 'm>, Refusal> {
        let label = declared.label;
        let refuse = |problem: &str| Refusal::invalid(format!("{label} of {}: {problem}", self.label));
        let value = declared.cbor()?;
        let text = |key| value.field(key).and_then(Value::as_text).map(str::to_owned);
        // The claim's algorithm is SHA-256 wherever its assertions were resolved, and it is the default here.
        let uri = |key| value.field(key).map(|value| HashedUri::parse(value, Some(SHA256))).transpose();
        let manifest = match (uri("activeManifest")?, uri("claimSignature")?) {
            (None, None) => None,
            (Some(manifest), Some(signature)) => {
                let target = resolve(self.label, &manifest.url).filter(|(_, path)| path.is_empty());
                let (target, _) = target.ok_or_else(|| refuse("activeManifest does not name a manifest"))?;
                if resolve(self.label, &signature.url) != Some((target, "c2pa.signature")) {
                    return Err(refuse("claimSignature is not that of activeManifest"));
                }
                Some(Quoted { label: target.to_owned(), digest: manifest.hash, signature_digest: signature.hash })
            }
            _ => return Err(refuse("activeManifest and claimSignature belong together")),
        };
        let (data, remote) = match uri("data")? {
            Some(HashedUri { url, hash }) if url.starts_with("https://") || url.starts_with("http://") => {
                (None, Some((url, hash)))
            }
            Some(uri) => (Some(&self.resolve(&uri)?.1.content), None),
            None => (None, None),
        };
        let mut ingredient = Ingredient {
            title: text("dc:title"),
            relationship: text("relationship").ok_or_else(|| refuse("no relationship"))?,
            manifest,
            data,
            remote,
            failures: Vec::new(),
            matched: false,
        };
        if let Some(results) = value.field("validationResults") {
            ingredient.read_results(results).ok_or_else(|| refuse("validationResults cannot be read"))?;
        } else if ingredient.manifest.is_some() {
            return Err(refuse("its manifest was not validated by the signer"));
        }
        Ok(ingredient)
    }
}

/// Codes for an input whose bytes are those that its manifest binds: a file, boxes of a film, boxes of a picture.
const BYTES_MATCH: [&str; 3] = ["assertion.dataHash.match", "assertion.bmffHash.match", "assertion.boxesHash.match"];

impl Ingredient<'_, '_> {
    /// `validationResults`: codes for the input's active manifest, and for what differed in its own ingredients.
    fn read_results(&mut self, results: &Value) -> Option<()> {
        let active = results.field("activeManifest");
        let deltas = match results.field("ingredientDeltas") {
            Some(deltas) => deltas.as_array()?,
            None => &[],
        };
        let deltas = deltas.iter().map(|delta| delta.field("validationDeltas"));
        for (index, codes) in std::iter::once(active).chain(deltas).enumerate() {
            let codes = codes?;
            for status in codes.field("failure")?.as_array()? {
                self.failures.push(status.field("code")?.as_text()?.to_owned());
            }
            for status in codes.field("success")?.as_array()? {
                self.matched |= index == 0 && BYTES_MATCH.contains(&status.field("code")?.as_text()?);
            }
        }
        Some(())
    }
}

impl<'a> Assertion<'a> {
    fn frame(assertion: SuperBox<'a>) -> Result<Self, Refusal> {
        let content = match (&assertion.kind, &*assertion.children) {
            (b"cbor", _) => Content::Cbor(assertion.only(b"cbor")?),
            (kind, [Node::Content { kind: first, .. }, Node::Content { kind: second, data }])
                if *kind == EMBEDDED_FILE[..4] && first == b"bfdb" && second == b"bidb" =>
            {
                Content::File(data)
            }
            _ => Content::Other,
        };
        Ok(Assertion { digest: assertion.digest(), content })
    }
}

impl Declared<'_, '_> {
    /// The assertion's CBOR item.
    pub fn cbor(&self) -> Result<Value, Refusal> {
        let Content::Cbor(bytes) = self.content else {
            return Err(Refusal::invalid(format!("assertion {} is not CBOR", self.label)));
        };
        cbor::decode(bytes, Rules::Lenient).map_err(|error| Refusal::invalid(format!("{}: {error}", self.label)))
    }

    /// The label without the counter that equal labels get: `c2pa.ingredient.v3__1`.
    pub fn base_label(&self) -> &str {
        match self.label.rsplit_once("__") {
            Some((base, counter)) if !counter.is_empty() && counter.bytes().all(|byte| byte.is_ascii_digit()) => base,
            _ => self.label,
        }
    }
}

const SHA256: &str = "sha256";

/// A reference into the store, with the digest of what stands there.
pub(super) struct HashedUri {
    url: String,
    hash: [u8; 32],
}

impl HashedUri {
    /// Reads `{url, hash, alg?}`.
    pub fn parse(value: &Value, algorithm: Option<&str>) -> Result<Self, Refusal> {
        let Some(url) = value.field("url").and_then(Value::as_text) else {
            return Err(Refusal::invalid("a hashed URI has no url".into()));
        };
        match value.field("alg").and_then(Value::as_text).or(algorithm) {
            Some(SHA256) => {}
            other => {
                let other = other.unwrap_or("no");
                return Err(Refusal::unsupported(format!("{url}: {other} algorithm; only sha256 is checked")));
            }
        }
        let hash = value.field("hash").and_then(Value::as_bytes).and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| Refusal::invalid(format!("{url}: the hash does not have 32 bytes")))?;
        Ok(HashedUri { url: url.to_owned(), hash })
    }
}

/// Splits a URL into the manifest's label and the path in it, which is empty for the manifest itself.
fn resolve<'u>(own: &'u str, url: &'u str) -> Option<(&'u str, &'u str)> {
    let path = url.strip_prefix("self#jumbf=")?;
    match path.strip_prefix("/c2pa/") {
        Some(absolute) => Some(absolute.split_once('/').unwrap_or((absolute, ""))),
        None => (!path.starts_with('/')).then_some((own, path)),
    }
}
