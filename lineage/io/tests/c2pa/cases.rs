//! Damage to framing, claim, assertions, binding and our own assertions, against what `expected_base` says.

use std::sync::Arc;

use countermark_io::c2pa::{Signer, create};
use countermark_io::certificate::issue;
use countermark_lineage::cbor::{self, Value, bytes, int, text};
use countermark_lineage::credential::c2pa::{
    ASSERTIONS, BINDING, CERTIFICATE, COLLECTION, COLLECTION_SCHEMA, FRAMING, LINEAGE, LINEAGE_SCHEMA, PARENTS,
    SIGNATURE, STATEMENT, WATERMARK,
};
use countermark_lineage::credential::keys::PrivateKey as _;
use countermark_lineage::verdict::State::{Invalid, Unknown, UnknownSigner};
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};

use crate::forge::{
    CBOR_KIND, Forge, Part, boxed, label_of, manifests_of, map, set, store_of, superbox, typed, unboxed,
};
use crate::{BASE, Case, LISTING, WORLD, case, now, release};

pub fn cases() -> Vec<Case> {
    let base = &*WORLD.base;
    let manifest = manifests_of(base).remove(0);
    let foreign = create(release("x", BASE, 1), &stranger()).unwrap();
    let appended = [manifests_of(base), manifests_of(&foreign)].concat();
    let unreferenced = [manifests_of(&WORLD.folder), manifests_of(base)].concat();
    let padded = Forge { unprotected: vec![(text("pad"), bytes([0; 40]))], ..Forge::base() };
    let other_key = Forge { key: SigningKey::from_bytes(&[9; 32]), ..Forge::base() };
    vec![
        case("store-empty", vec![], FRAMING, Invalid, "byte 0"),
        case("store-png-instead", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), FRAMING, Invalid, "byte 8"),
        case("store-trailing-garbage", [base, b"garbage"].concat(), FRAMING, Invalid, "7 bytes follow the store"),
        case("store-trailing-zeros", [base, &[0; 141]].concat(), FRAMING, Invalid, "bytes follow the store"),
        case("store-twice", [base, base].concat(), FRAMING, Invalid, "bytes follow the store"),
        case(
            "store-same-manifest-twice",
            store_of(&[manifest.clone(), manifest]),
            FRAMING,
            Invalid,
            "stands there twice",
        ),
        case("store-unreferenced-manifest", store_of(&unreferenced), PARENTS, Invalid, "nothing refers to"),
        case("foreign-manifest-appended", store_of(&appended), CERTIFICATE, UnknownSigner, "no given root vouches"),
        case("manifest-compressed", retyped(b"c2cm"), FRAMING, Unknown, "compressed"),
        case("manifest-update", retyped(b"c2um"), FRAMING, Unknown, "update"),
        case("signature-removed", signature_removed(), FRAMING, Invalid, "must hold assertions, claim and signature"),
        case("store-pad", padded.seal(), SIGNATURE, Invalid, "unprotected header"),
        case("store-null-payload", null_payload(), SIGNATURE, Invalid, "null"),
        case("key-not-of-cert", other_key.seal(), SIGNATURE, Invalid, "does not fit"),
        // The claim.
        case(
            "assertion-removed",
            reassembled(|assertions| drop(assertions.remove(0))),
            ASSERTIONS,
            Invalid,
            "is missing",
        ),
        case(
            "assertion-undeclared",
            reassembled(|assertions| assertions.push(note())),
            ASSERTIONS,
            Invalid,
            "does not name it",
        ),
        case("assertion-twice", assertion_twice(), FRAMING, Invalid, "stands there twice"),
        case("signature-relative", signature_relative(), ASSERTIONS, Unknown, "relative"),
        case("claim-redacts", claim_redacts(), ASSERTIONS, Unknown, "redacted"),
        // The binding.
        case("no-hard-binding", removed("c2pa.hash.data"), BINDING, Invalid, "not bound"),
        case(
            "two-hard-bindings",
            added("c2pa.hash.data__1", map([("hash", bytes([0; 32]))])),
            BINDING,
            Invalid,
            "two bindings",
        ),
        case("collection-as-binding", collection_as_binding(), BINDING, Unknown, "not checked"),
        case("hash-url-set", hash("url", text("http://x")), BINDING, Invalid, "not allowed"),
        case("alg-blake3", hash("alg", text("blake3")), BINDING, Unknown, "not sha256"),
        case("wrong-file", hash("hash", bytes([7; 32])), BINDING, Invalid, "is about bytes"),
        case("side-exclusion-400-bytes", excluded(400), BINDING, Invalid, "excludes"),
        case("side-exclusion-whole-file", excluded(BASE.len()), BINDING, Invalid, "excludes"),
        case("collection-differs", collection_differs(), BINDING, Invalid, "listing"),
        // The actions.
        case("no-actions", removed("c2pa.actions.v2"), ASSERTIONS, Invalid, "list of actions"),
        case("first-action-edited", first_action("c2pa.edited"), ASSERTIONS, Invalid, "first action"),
        case("created-without-source-type", first_action("c2pa.created"), ASSERTIONS, Invalid, "source type"),
        // Our own assertions.
        case("lineage-missing", removed(LINEAGE), STATEMENT, Invalid, "no assertion"),
        case(
            "lineage-prefix-twin",
            added("dev.countermark.lineage.extra", another()),
            ASSERTIONS,
            Invalid,
            "not one of ours",
        ),
        case("lineage-twice", added("dev.countermark.lineage__1", another()), ASSERTIONS, Invalid, "not one of ours"),
        case("lineage-gathered", lineage_gathered(), ASSERTIONS, Invalid, "gathered"),
        case("lineage-root-differs", edited(LINEAGE, "root", hex("cc")), STATEMENT, Invalid, "names root"),
        case("statement-hash-differs", edited(LINEAGE, "statement", hex("cc")), STATEMENT, Invalid, "names statement"),
        case("lineage-unknown-schema", edited(LINEAGE, "schema", text("v9")), STATEMENT, Unknown, "schema"),
        case("lineage-unknown-field", edited(LINEAGE, "extra", int(1)), STATEMENT, Invalid, "field"),
        case("watermark-commitment-differs", commitments(vec![hex("cc")]), STATEMENT, Invalid, "marks"),
        case("watermark-commitment-added", commitments(vec![hex("63"), hex("cc")]), STATEMENT, Invalid, "marks"),
        case("watermark-commitment-missing", removed(WATERMARK), STATEMENT, Invalid, "marks"),
        case("dataset-without-hash", dataset_without_hash(), PARENTS, Unknown, "not bound"),
    ]
}

/// An owner whom nobody here knows.
pub fn stranger() -> Signer {
    let (root, leaf) = (SigningKey::from_bytes(&[3; 32]), SigningKey::from_bytes(&[4; 32]));
    Signer::new(Arc::new(leaf.clone()), &issue(&root, &leaf.public(), "Eve", now() - 60).unwrap()).unwrap()
}

fn edited(label: &str, key: &str, value: Value) -> Vec<u8> {
    let mut forge = Forge::base();
    forge.edit(label, |map| set(map, key, value));
    forge.seal()
}

fn removed(label: &str) -> Vec<u8> {
    let mut forge = Forge::base();
    forge.remove(label);
    forge.seal()
}

fn added(label: &str, value: Value) -> Vec<u8> {
    let mut forge = Forge::base();
    forge.add(label, value);
    forge.seal()
}

fn hash(key: &str, value: Value) -> Vec<u8> {
    edited("c2pa.hash.data", key, value)
}

fn hex(byte: &str) -> Value {
    text(byte.repeat(32))
}

fn another() -> Value {
    map([("schema", text(LINEAGE_SCHEMA)), ("statement", hex("aa")), ("root", hex("bb"))])
}

fn commitments(list: Vec<Value>) -> Vec<u8> {
    edited(WATERMARK, "commitments", Value::Array(list))
}

fn first_action(name: &str) -> Vec<u8> {
    edited("c2pa.actions.v2", "actions", Value::Array(vec![map([("action", text(name))])]))
}

/// The first `length` bytes of the file are not hashed, as its signer says.
fn excluded(length: usize) -> Vec<u8> {
    let mut forge = Forge::base();
    forge.edit("c2pa.hash.data", |binding| {
        let range = map([("start", int(0)), ("length", int(length as i64))]);
        set(binding, "exclusions", Value::Array(vec![range]));
        set(binding, "hash", bytes(&*Sha256::digest(&BASE[length..])));
    });
    forge.seal()
}

fn collection_as_binding() -> Vec<u8> {
    let mut forge = Forge::base();
    forge.remove("c2pa.hash.data");
    forge.add("c2pa.hash.collection.data", map([]));
    forge.seal()
}

fn collection_differs() -> Vec<u8> {
    added(COLLECTION, map([("schema", text(COLLECTION_SCHEMA)), ("listing", text(LISTING))]))
}

fn lineage_gathered() -> Vec<u8> {
    let mut forge = Forge::base();
    forge.part(LINEAGE).created = false;
    forge.seal()
}

fn dataset_without_hash() -> Vec<u8> {
    added("c2pa.ingredient.v3", map([("relationship", text("inputTo")), ("dc:title", text("data"))]))
}

fn claim_redacts() -> Vec<u8> {
    let mut forge = Forge::base();
    set(&mut forge.claim, "redacted_assertions", Value::Array(vec![text("self#jumbf=x")]));
    forge.seal()
}

fn assertion_twice() -> Vec<u8> {
    let mut forge = Forge::base();
    let content = forge.part(LINEAGE).content.clone();
    forge.parts.push(Part { label: LINEAGE.into(), created: true, kind: *CBOR_KIND, content });
    forge.seal()
}

/// The claim as it was, beside other assertions.
fn reassembled(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let manifest = manifests_of(&WORLD.base).remove(0);
    let boxes = unboxed(&manifest[8..]);
    let mut assertions = unboxed(&boxes[1][8..])[1..].iter().map(|assertion| assertion.to_vec()).collect();
    change(&mut assertions);
    Forge::base().assemble(&assertions.concat(), &unboxed(&boxes[2][8..])[1][8..])
}

fn note() -> Vec<u8> {
    superbox(CBOR_KIND, "org.example.note", &boxed(b"cbor", &[0xf6]))
}

/// A link to the signature that does not hold the manifest's label, so that nothing signs that.
fn signature_relative() -> Vec<u8> {
    let manifest = manifests_of(&WORLD.base).remove(0);
    let mut forge = Forge::base();
    set(&mut forge.claim, "signature", text("self#jumbf=c2pa.signature"));
    let claim = cbor::encode(&Value::Map(forge.claim.clone()));
    forge.assemble(&unboxed(&unboxed(&manifest[8..])[1][8..])[1..].concat(), &claim)
}

fn signature_removed() -> Vec<u8> {
    let manifest = manifests_of(&WORLD.base).remove(0);
    store_of(&[superbox(&typed(b"c2ma"), &label_of(&manifest), &unboxed(&manifest[8..])[1..3].concat())])
}

fn retyped(kind: &[u8; 4]) -> Vec<u8> {
    let manifest = manifests_of(&WORLD.base).remove(0);
    store_of(&[superbox(&typed(kind), &label_of(&manifest), &unboxed(&manifest[8..])[1..].concat())])
}

/// Undefined where the payload should be null.
fn null_payload() -> Vec<u8> {
    let mut store = WORLD.base.clone();
    let place = store.windows(3).rposition(|window| window == b"\xf6\x58\x40").unwrap();
    store[place] = 0xf7;
    store
}
