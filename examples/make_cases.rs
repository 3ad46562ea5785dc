//! Makes `fixtures/cases/`: one small release, and copies of it that must not pass, each with one thing wrong.
//!
//! Run: `cargo run --release -p countermark --example make_cases`. Keys and manifest labels are random, so every run gives other bytes; the
//! committed cases are kept as they are, and `index.json` says what each must come to. The secret keys are not kept.

use std::error::Error;
use std::fs;
use std::path::Path;

use countermark::lineage::bundle::Bundle;
use countermark::lineage::graph::Relation;
use countermark::mark::{self, EmbedRequest};
use countermark::sign::{self, ParentRequest};
use countermark::{keyset, silent};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A name, its one-line story, what is done to the good bundle, the state it must come to, and words of the reason.
type Case = (&'static str, &'static str, fn(&mut Bundle, &Bundle), &'static str, &'static str);

const CASES: [Case; 18] = [
    ("good", "nothing is wrong", |_, _| (), "unanchored", ""),
    ("payload-flipped", "one bit of the signed statement", |bundle, _| flip_payload(bundle, 0), "invalid", "statement"),
    ("parent-payload-flipped", "one bit of a parent's statement", |bundle, _| flip_payload(bundle, 1), "invalid", ""),
    (
        "signature-of-another",
        "the signature of the parent's statement",
        |bundle, _| {
            bundle.records[0].statement.signatures = bundle.records[1].statement.signatures.clone();
        },
        "invalid",
        "signature",
    ),
    (
        "signature-doubled",
        "the same signature twice",
        |bundle, _| {
            let signatures = &mut bundle.records[0].statement.signatures;
            signatures.push(signatures[0].clone());
        },
        "invalid",
        "exactly one",
    ),
    (
        "payload-type",
        "another payload type",
        |bundle, _| {
            bundle.records[0].statement.payload_type = "application/json".into();
        },
        "invalid",
        "payloadType",
    ),
    ("manifest-stripped", "the C2PA manifest is gone", |bundle, _| bundle.records[0].manifest = None, "invalid", "log"),
    (
        "manifest-of-parent",
        "the parent's C2PA manifest",
        |bundle, _| {
            bundle.records[0].manifest = bundle.records[1].manifest.clone();
        },
        "invalid",
        "manifest",
    ),
    (
        "manifest-flipped",
        "one bit of the C2PA manifest",
        |bundle, _| {
            if let Some(store) = &mut bundle.records[0].manifest {
                let middle = store.0.len() / 2;
                store.0[middle] ^= 1;
            }
        },
        "invalid",
        "manifest",
    ),
    (
        "manifest-trailing-byte",
        "a byte after the C2PA manifest",
        |bundle, _| {
            if let Some(store) = &mut bundle.records[0].manifest {
                store.0.push(0);
            }
        },
        "invalid",
        "manifest",
    ),
    (
        "receipt-stripped",
        "the receipt of the log is gone",
        |bundle, _| bundle.records[0].receipt = None,
        "unknown",
        "receipt",
    ),
    (
        "receipt-of-parent",
        "the parent's receipt",
        |bundle, _| {
            bundle.records[0].receipt = bundle.records[1].receipt.clone();
        },
        "invalid",
        "log",
    ),
    (
        "proof-of-another-entry",
        "the proof of the mark's entry",
        |bundle, _| {
            let proof = bundle.records[0].marks[0].receipt.as_ref().map(|receipt| receipt.proof.clone());
            if let (Some(receipt), Some(proof)) = (&mut bundle.records[0].receipt, proof) {
                receipt.proof = proof;
            }
        },
        "invalid",
        "inclusion proof",
    ),
    (
        "mark-stripped",
        "the commitment of the mark is gone",
        |bundle, _| bundle.records[0].marks.clear(),
        "unknown",
        "mark",
    ),
    (
        "mark-unlogged",
        "nothing dates the commitment of the mark",
        |bundle, _| {
            bundle.records[0].marks[0].receipt = None;
        },
        "unknown",
        "older than the release",
    ),
    (
        "parent-missing",
        "a parent is not in the bundle",
        |bundle, _| bundle.records.truncate(1),
        "unknown",
        "not in the bundle",
    ),
    (
        "foreign-record",
        "a record that speaks for no ancestor",
        |bundle, other| {
            bundle.records.push(other.records[0].clone());
        },
        "invalid",
        "speaks for no ancestor",
    ),
    (
        "bundle-of-another",
        "the good bundle of another artifact",
        |bundle, other| *bundle = other.clone(),
        "invalid",
        "files",
    ),
];

fn flip_payload(bundle: &mut Bundle, record: usize) {
    let payload = &mut bundle.records[record].statement.payload;
    let middle = payload.len() / 2;
    let other = if payload.as_bytes()[middle] == b'A' { "B" } else { "A" };
    payload.replace_range(middle..=middle, other);
}

fn main() -> Result<()> {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases");
    let work = tempfile::tempdir()?;
    let at = |name: &str| work.path().join(name);
    keyset::generate(&at("keys"), "Fixture owner")?;
    fs::write(at("data.csv"), "question,answer\n1,2\n")?;
    fs::create_dir(at("base"))?;
    fs::write(at("base/model.safetensors"), model())?;
    fs::write(at("other.csv"), "question,answer\n3,4\n")?;
    sign_release(work.path(), "data.csv", &[])?;
    sign_release(work.path(), "other.csv", &[])?;
    sign_release(work.path(), "base", &[(Relation::TrainedOn, "data.csv")])?;
    let mut request = EmbedRequest::new(at("base"), at("keys/owner.mark.key"), at("model"));
    request.log = Some(at("log"));
    request.strength = countermark::watermark::Strength::Decibel(-22.0);
    mark::embed(&request, &silent())?;
    sign_release(work.path(), "model", &[(Relation::DerivedFrom, "base")])?;

    let read =
        |name: &str| -> Result<Bundle> { Ok(Bundle::parse(&fs::read(at(&format!("{name}.provenance.json")))?)?) };
    let (good, other) = (read("model")?, read("other.csv")?);
    fs::create_dir_all(out.join("model"))?;
    fs::copy(at("model/model.safetensors"), out.join("model/model.safetensors"))?;
    fs::copy(at("keys/policy.toml"), out.join("policy.toml"))?;
    let mut index: Vec<Value> = Vec::new();
    for (name, story, change, state, reason) in CASES {
        let mut bundle = good.clone();
        change(&mut bundle, &other);
        fs::write(out.join(format!("{name}.json")), bundle.to_json())?;
        let files = json!({ "path": "model", "bundle": format!("{name}.json"), "policy": "policy.toml" });
        index.push(json!({ "name": name, "story": story, "files": files, "state": state, "reason": reason }));
    }
    fs::write(out.join("../index.json"), serde_json::to_string_pretty(&index)? + "\n")?;
    Ok(())
}

fn sign_release(folder: &Path, name: &str, parents: &[(Relation, &str)]) -> Result<()> {
    let mut request = sign::Request::new(folder.join(name), folder.join("keys/owner.key"));
    request.log = Some(folder.join("log"));
    let parent = |(relation, parent): &(Relation, &str)| ParentRequest {
        relation: *relation,
        bundle: folder.join(format!("{parent}.provenance.json")),
        path: Some(folder.join(parent)),
    };
    request.parents = parents.iter().map(parent).collect();
    sign::sign(&request, &silent())?;
    Ok(())
}

/// One F16 matrix of 256 × 256 seeded weights: just enough to carry a mark.
fn model() -> Vec<u8> {
    const SIDE: usize = 256;
    let header = format!(r#"{{"w":{{"dtype":"F16","shape":[{SIDE},{SIDE}],"data_offsets":[0,{}]}}}}"#, SIDE * SIDE * 2);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..SIDE * SIDE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A random mantissa and sign in the binade of 0.25 and 0.5: F16 bits without a conversion.
        bytes.extend((0x3400 | (state >> 48) as u16 & 0x87ff).to_le_bytes());
    }
    bytes
}
