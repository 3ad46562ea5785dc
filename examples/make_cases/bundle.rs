//! Bundles: each part taken away, doubled, flipped, or put in the place of another.

use std::fs;

use countermark::lineage::bundle::Bundle;

use crate::{Case, Result, World};

/// A name, its one-line story, what is done to the good bundle, the state it must come to, and words of the reason.
type Change = (&'static str, &'static str, fn(&mut Bundle, &Bundle), &'static str, &'static str);

const CHANGES: [Change; 18] = [
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

/// The cases, with their bundles written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    let (good, other) = (world.bundle("model")?, world.bundle("other.csv")?);
    fs::create_dir_all(world.out.join("model"))?;
    fs::copy(world.at("model/model.safetensors"), world.out.join("model/model.safetensors"))?;
    let mut cases = Vec::new();
    for (name, story, change, state, reason) in CHANGES {
        let mut bundle = good.clone();
        change(&mut bundle, &other);
        fs::write(world.out.join(format!("{name}.json")), bundle.to_json())?;
        let options = &[("bundle", &*format!("{name}.json")), ("policy", "policy.toml")];
        cases.push(Case::new(name, story, "verify", "model", options, state, reason));
    }
    Ok(cases)
}
