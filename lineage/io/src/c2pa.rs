//! Writes the C2PA manifest store of a release, as a sidecar. The only file that uses the crate `c2pa`.
//!
//! A store says: this key made this claim about exactly these bytes, and these were the inputs. Everything in it is the
//! signer's own word (*created*, in C2PA's terms). What it holds is checked by
//! [`countermark_lineage::credential::c2pa::check`], also here, before it is handed out.
//!
//! | relation | relationship of the ingredient | action |
//! |---|---|---|
//! | fine-tuned-, quantised-, pruned-, converted-, derived-from | `parentOf` for the first, `inputTo` for any other | `c2pa.opened` |
//! | merged-from | `componentOf` | `c2pa.placed` |
//! | trained-on, distilled-from, adapter-of, generated-by | `inputTo` | named in `c2pa.created` |

use std::io::{Read, Seek};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use c2pa::assertions::DataHash;
use c2pa::settings::Settings;
use c2pa::{Builder, Context, Ingredient, Relationship, SigningAlg};
use countermark_lineage::cbor::{self, Value};
use countermark_lineage::credential::c2pa as checker;
use countermark_lineage::credential::keys::{Algorithm, PrivateKey};
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::{Kind, Relation};
use countermark_lineage::verdict::State;
use serde_json::json;

use crate::certificate::{CertificateError, Chain};

/// The format does not matter to a sidecar; this one makes the crate treat the bytes as opaque.
const OPAQUE: &str = "application/octet-stream";

/// Why no manifest was written.
#[derive(Debug, thiserror::Error)]
pub enum C2paError {
    /// The crate `c2pa` refused.
    #[error(
        "C2PA manifest: {0}\nhelp: check that the certificates are valid today, and that the parents' manifests are"
    )]
    Crate(#[from] c2pa::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The leaf certificate is for another key.
    #[error(
        "the leaf certificate is not for this signing key\nhelp: use the owner.crt that keygen wrote beside the key"
    )]
    Key,
    /// The artifact or a parent cannot be read.
    #[error("{what}: {source}\nhelp: check that the file is there and readable")]
    Io {
        /// Which file.
        what: String,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A parent's manifest is not one to build on.
    #[error("parent {name}: {problem}\nhelp: sign the parent again, or name the parent without its manifest")]
    Parent {
        /// The parent's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The store that was just signed does not verify.
    #[error(
        "the manifest just signed does not verify: {0}\nhelp: do not publish it; report this with the message above"
    )]
    Verify(String),
}

/// What can be read and rewound.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// A key and its certificates.
#[derive(Clone)]
pub struct Signer {
    key: Arc<dyn PrivateKey>,
    /// DER, the leaf first.
    chain: Vec<Vec<u8>>,
    anchors: String,
}

impl Signer {
    /// Takes the key and the content of `owner.crt`.
    ///
    /// # Errors
    /// [`C2paError::Key`] when the leaf is not for this key.
    pub fn new(key: Arc<dyn PrivateKey>, chain: &Chain) -> Result<Self, C2paError> {
        let der = chain.all_der()?;
        if checker::certificate_key(&der[0]).ok() != Some(key.public()) {
            return Err(C2paError::Key);
        }
        Ok(Signer { key, chain: der, anchors: chain.root_pem.clone() })
    }
}

impl c2pa::Signer for Signer {
    fn sign(&self, data: &[u8]) -> c2pa::Result<Vec<u8>> {
        self.key.sign(data).map_err(|error| c2pa::Error::OtherError(error.to_string().into()))
    }

    fn alg(&self) -> SigningAlg {
        match self.key.public().algorithm() {
            Algorithm::Ed25519 => SigningAlg::Ed25519,
            Algorithm::P256 => SigningAlg::Es256,
            Algorithm::P384 => SigningAlg::Es384,
            Algorithm::P521 => SigningAlg::Es512,
        }
    }

    fn certs(&self) -> c2pa::Result<Vec<Vec<u8>>> {
        Ok(self.chain.clone())
    }

    /// The exact length of the COSE_Sign1: with a byte more the crate would add padding that no signature covers.
    fn reserve_size(&self) -> usize {
        let chain = Value::Array(self.chain.iter().map(|der| cbor::bytes(&**der)).collect());
        let algorithm = self.key.public().algorithm();
        let protected = Value::Map(vec![(cbor::int(1), cbor::int(algorithm.cose())), (cbor::int(33), chain)]);
        let signature = vec![0; algorithm.signature_length()];
        let sign1 = [cbor::bytes(cbor::encode(&protected)), Value::Map(vec![]), Value::Null, cbor::bytes(signature)];
        cbor::encode(&Value::Tag(18, Box::new(Value::Array(sign1.to_vec())))).len()
    }
}

/// What a manifest says.
pub struct Release<'a> {
    /// Base name of the artifact.
    pub name: &'a str,
    /// What the artifact is.
    pub kind: Kind,
    /// True when a model made the content of a dataset. Weights and generated content always count as made by one.
    pub generated: bool,
    /// SHA-256 of the bytes that the manifest binds: the file, or a folder's listing.
    pub asset_sha256: [u8; 32],
    /// SHA-256 of the statement's DSSE payload.
    pub statement: [u8; 32],
    /// Root of the artifact.
    pub root: [u8; 32],
    /// SHA-256 of each commitment record of a mark.
    pub marks: &'a [[u8; 32]],
    /// For a folder its listing, the same text as in `asset`.
    pub listing: Option<&'a str>,
    /// What the artifact was made from.
    pub parents: Vec<Parent<'a>>,
}

/// One input.
pub struct Parent<'a> {
    /// How the artifact comes from it.
    pub relation: Relation,
    /// Its name.
    pub name: &'a str,
    /// SHA-256 of its statement's DSSE payload.
    pub statement: [u8; 32],
    /// Its root.
    pub root: [u8; 32],
    /// What it is.
    pub kind: Kind,
    /// Its own manifest, if it has one. Without it the parent is bound by root and statement alone.
    pub manifest: Option<ParentManifest<'a>>,
}

/// A parent's manifest and the bytes which that binds.
pub struct ParentManifest<'a> {
    /// The manifest store.
    pub store: &'a [u8],
    /// The file, or a folder's listing. Read once.
    pub asset: &'a mut dyn ReadSeek,
}

/// Signs the manifest store of `release` and verifies it.
///
/// # Errors
/// [`C2paError::Parent`] when a parent's manifest does not verify for the parent's bytes or names another statement or
/// root, [`C2paError::Verify`] when the result is not what [`checker::check`] accepts, and whatever the crate refuses.
pub fn create(release: Release<'_>, signer: &Signer) -> Result<Vec<u8>, C2paError> {
    let Release { name, kind, generated, asset_sha256, statement, root, marks, listing, mut parents } = release;
    let expected_parents: Vec<_> = parents
        .iter()
        .map(|parent| checker::ExpectedParent { statement: parent.statement, root: parent.root })
        .collect();

    let relationships = relationships(&parents);
    let mut assertions = vec![
        json!({"label": "c2pa.actions.v2", "created": true,
               "data": {"actions": actions(&parents, &relationships, source_type(kind, generated))}}),
        json!({"label": checker::LINEAGE, "created": true,
               "data": {"schema": checker::LINEAGE_SCHEMA, "statement": hex(statement), "root": hex(root), "kind": kind}}),
    ];
    if !marks.is_empty() {
        let records: Vec<_> = marks.iter().copied().map(hex).collect();
        assertions.push(json!({"label": checker::WATERMARK, "created": true,
                               "data": {"schema": checker::WATERMARK_SCHEMA, "commitments": records}}));
    }
    if let Some(listing) = listing {
        assertions.push(json!({"label": checker::COLLECTION, "created": true,
                               "data": {"schema": checker::COLLECTION_SCHEMA, "listing": listing}}));
    }
    if let Some(asset_type) = asset_type(kind) {
        // The crate drops the last ".vN" of a label that it does not know; this comes out as c2pa.asset-type.v2.
        assertions.push(json!({"label": "c2pa.asset-type.v2.v1", "created": true,
                               "data": {"types": [{"type": asset_type}]}}));
    }
    let definition = json!({
        "claim_generator_info": [{"name": "countermark", "version": env!("CARGO_PKG_VERSION")}],
        "title": name,
        "format": if listing.is_some() { "multipart/mixed" } else { OPAQUE },
        "assertions": assertions,
    });

    let context = Context::new().with_settings(settings(&signer.anchors))?.with_signer(signer.clone());
    let mut builder = Builder::from_context(context).with_definition(definition.to_string())?;
    builder.set_no_embed(true);
    for (index, (parent, relationship)) in parents.iter_mut().zip(relationships).enumerate() {
        let descriptor = json!({
            "schema": checker::PARENT_SCHEMA, "relation": parent.relation, "name": parent.name, "kind": parent.kind,
            "statement": hex(parent.statement), "root": hex(parent.root),
        });
        let mut ingredient = ingredient(parent, &signer.anchors)?;
        ingredient.set_title(parent.name).set_label(label(index)).set_instance_id(label(index));
        ingredient.set_relationship(relationship);
        let data = ingredient.resources_mut().add_with("parent", "application/json", descriptor.to_string())?;
        ingredient.set_data_ref(data)?;
        builder.add_ingredient(ingredient);
    }
    let mut binding = DataHash::new("whole file", "sha256");
    binding.set_hash(asset_sha256.to_vec());
    builder.add_assertion(DataHash::LABEL, &binding)?;
    let store = builder.sign_embeddable("application/c2pa")?;

    let expected = checker::Expected { asset_sha256, statement, root, marks, parents: &expected_parents };
    verify(&store, &expected, signer)?;
    Ok(store)
}

/// Everything must be verified, save that a parent's signer may be unknown here.
fn verify(store: &[u8], expected: &checker::Expected<'_>, signer: &Signer) -> Result<(), C2paError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let anchor = signer.chain.last().cloned().into_iter().collect::<Vec<_>>();
    let rows = checker::check(store, expected, &anchor, now);
    match rows.iter().find(|row| match &*row.name {
        checker::PARENT_SIGNERS => row.state > State::UnknownSigner,
        _ => row.state != State::Verified,
    }) {
        Some(row) => Err(C2paError::Verify(format!("{}: {}", row.name, row.detail))),
        None => Ok(()),
    }
}

/// `parentOf` may stand once only.
fn relationships(parents: &[Parent<'_>]) -> Vec<Relationship> {
    let mut opened = false;
    let of = |parent: &Parent<'_>| match parent.relation {
        Relation::FineTunedFrom
        | Relation::QuantisedFrom
        | Relation::PrunedFrom
        | Relation::ConvertedFrom
        | Relation::DerivedFrom => {
            if std::mem::replace(&mut opened, true) {
                Relationship::InputTo
            } else {
                Relationship::ParentOf
            }
        }
        Relation::MergedFrom => Relationship::ComponentOf,
        Relation::TrainedOn | Relation::DistilledFrom | Relation::AdapterOf | Relation::GeneratedBy => {
            Relationship::InputTo
        }
    };
    parents.iter().map(of).collect()
}

/// The first action must be `c2pa.opened` for a parent, else `c2pa.created` with a source type.
fn actions(parents: &[Parent<'_>], relationships: &[Relationship], source_type: &str) -> Vec<serde_json::Value> {
    let labels = |wanted: Relationship| -> Vec<String> {
        (0..parents.len()).filter(|index| relationships[*index] == wanted).map(label).collect()
    };
    let (opened, placed, inputs) =
        (labels(Relationship::ParentOf), labels(Relationship::ComponentOf), labels(Relationship::InputTo));
    let mut actions = if opened.is_empty() {
        vec![json!({"action": "c2pa.created", "digitalSourceType": source_type})]
    } else {
        vec![
            json!({"action": "c2pa.opened", "parameters": {"ingredientIds": opened}}),
            json!({"action": "c2pa.edited", "digitalSourceType": source_type}),
        ]
    };
    if let Some(last) = actions.last_mut()
        && !inputs.is_empty()
    {
        last["parameters"] = json!({"ingredientIds": inputs});
    }
    actions
        .extend(placed.into_iter().map(|id| json!({"action": "c2pa.placed", "parameters": {"ingredientIds": [id]}})));
    actions
}

fn label(index: usize) -> String {
    format!("parent{index}")
}

fn source_type(kind: Kind, generated: bool) -> &'static str {
    match kind {
        Kind::Model | Kind::Adapter => "http://c2pa.org/digitalsourcetype/trainedAlgorithmicData",
        Kind::GeneratedContent => "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        Kind::Dataset | Kind::Shard | Kind::TrainingRun | Kind::Evaluation if generated => {
            "http://c2pa.org/digitalsourcetype/trainedAlgorithmicData"
        }
        Kind::Dataset | Kind::Shard | Kind::TrainingRun | Kind::Evaluation => {
            "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation"
        }
    }
}

fn asset_type(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Model | Kind::Adapter => Some("c2pa.types.model"),
        Kind::Dataset | Kind::Shard => Some("c2pa.types.dataset"),
        Kind::TrainingRun | Kind::Evaluation | Kind::GeneratedContent => None,
    }
}

/// A parent as ingredient: with its manifest validated against its bytes, or by name alone.
fn ingredient(parent: &mut Parent<'_>, anchors: &str) -> Result<Ingredient, C2paError> {
    let refuse = |problem: String| C2paError::Parent { name: parent.name.to_owned(), problem };
    let Some(manifest) = &mut parent.manifest else {
        return Ok(Ingredient::new_v2(parent.name, OPAQUE));
    };
    let quoted = checker::read(manifest.store).map_err(|error| refuse(error.problem()))?;
    let differs = |found: Option<Hash>, wanted| found.is_some_and(|found| found != Hash(wanted));
    if differs(quoted.statement, parent.statement) || differs(quoted.root, parent.root) {
        return Err(refuse("its manifest names another statement or root".to_owned()));
    }
    // The crate takes the settings for an ingredient from the thread, so it gets a thread of its own, which also keeps
    // a panic over a hostile manifest out of this one.
    let validated = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || validate(manifest, anchors))?;
        thread.join().map_err(|_| std::io::Error::other("the C2PA library panicked"))
    });
    let ingredient = validated.map_err(|error| refuse(format!("its manifest could not be validated: {error}")))??;
    let Some(results) = ingredient.validation_results() else {
        return Err(refuse("its manifest was not validated".to_owned()));
    };
    let deltas = results.ingredient_deltas().into_iter().flatten().map(|delta| delta.validation_deltas());
    let failure = results
        .active_manifest()
        .into_iter()
        .chain(deltas)
        .flat_map(|codes| codes.failure())
        .find(|status| status.code() != checker::UNTRUSTED);
    match failure {
        Some(status) => Err(refuse(format!("its manifest does not verify for its bytes: {}", status.code()))),
        None => Ok(ingredient),
    }
}

#[expect(deprecated, reason = "0.90.22 has no other way to make an ingredient of a sidecar")]
fn validate(manifest: &mut ParentManifest<'_>, anchors: &str) -> c2pa::Result<Ingredient> {
    Settings::from_string(&settings(anchors), "json")?;
    finish(Ingredient::from_manifest_and_asset_stream_async(manifest.store, OPAQUE, &mut manifest.asset))
}

/// No network, our labels created, and these anchors.
fn settings(anchors: &str) -> String {
    let settings = json!({
        "trust": {"trust_anchors": anchors},
        "verify": {"verify_trust": true, "ocsp_fetch": false, "remote_manifest_fetch": false},
        "core": {"allowed_network_hosts": []},
        "builder": {"created_assertion_labels": ["c2pa.actions", "c2pa.ingredient", "c2pa.embedded-data"]},
    });
    settings.to_string()
}

/// Drives a future that has nothing to wait for: there is no network behind it.
fn finish<T>(future: impl Future<Output = c2pa::Result<T>>) -> c2pa::Result<T> {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(c2pa::Error::OtherError("waits for a network that it was denied".into())),
    }
}

fn hex(bytes: [u8; 32]) -> String {
    Hash(bytes).to_string()
}
