//! SLSA provenance v1 (slsa.dev/spec/v1.0/provenance) as an in-toto Statement v1: how the artifact was made, from what.
//!
//! The subjects are files, so that a verifier of SLSA can compare bytes: the single file, or every file of the folder.
//! The parents are the resolved dependencies, by their roots. The builder is the holder of the key that signed.

use serde_json::{Map, Value, json};

use super::facts::{Facts, Node};
use super::measured::Measured;
use super::{to_text, utc};
use crate::digest::Hash;
use crate::graph::Kind;

/// Type of the predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// What `externalParameters` and `resolvedDependencies` mean here.
pub const BUILD_TYPE: &str = "https://countermark.dev/lineage/v1";

/// The statement, unsigned.
pub fn export(facts: &Facts, files: Option<&Measured>) -> String {
    let (artifact, statement) = (facts.artifact(), facts.statement());
    let predicate = &statement.predicate;
    let subject: Vec<Value> = if predicate.folder {
        let file = |file: &crate::digest::listing::File| {
            let sha256 = files.and_then(|files| files.sha256.get(&file.path));
            json!({ "name": file.path, "digest": digest(&file.blake3, sha256) })
        };
        predicate.listing.files().iter().map(file).collect()
    } else {
        vec![json!({ "name": artifact.name, "digest": digest(&artifact.root, Some(&statement.sha256())) })]
    };
    let mut dependencies: Vec<Value> = facts
        .parents(artifact)
        .map(|(relation, parent)| {
            json!({
                "name": parent.name,
                "uri": parent.iri(),
                "digest": dependency_digest(parent),
                "annotations": {
                    "relation": relation.as_str(),
                    "statement": parent.id.to_string(),
                    "kind": parent.kind().map(Kind::as_str),
                },
            })
        })
        .collect();
    let mut parameters = Map::new();
    if let Some(process) = &predicate.process {
        parameters.extend(process.parameters.iter().map(|(name, value)| (name.clone(), json!(value))));
        if let Some(revision) = &process.revision {
            let mut code = json!({ "name": "code", "annotations": { "revision": revision } });
            // Only what is spelled like a git object is called one.
            if revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                code["digest"] = json!({ "gitCommit": revision.to_ascii_lowercase() });
            }
            dependencies.push(code);
        }
    }
    let byproducts: Vec<Value> = statement
        .marks()
        .map(|record| json!({ "name": "watermark commitment", "digest": { "sha256": record.to_string() } }))
        .collect();
    let document = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "artifact": artifact.name,
                    "kind": predicate.kind.as_str(),
                    "parameters": parameters,
                },
                "internalParameters": { "root": format!("blake3:{}", artifact.root), "folder": predicate.folder },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": { "id": format!("https://countermark.dev/key/{}", predicate.signer) },
                "metadata": { "invocationId": artifact.iri(), "finishedOn": utc(statement) },
                "byproducts": byproducts,
            },
        },
    });
    to_text(&document)
}

fn digest(blake3: &Hash, sha256: Option<&Hash>) -> Value {
    let mut digest = json!({ "blake3": blake3.to_string() });
    if let Some(sha256) = sha256 {
        digest["sha256"] = json!(sha256.to_string());
    }
    digest
}

/// A file's digests, or the digest of a folder's listing under a name of its own: it is no hash of bytes somebody holds.
fn dependency_digest(parent: &Node) -> Value {
    match &parent.statement {
        Some(statement) if !statement.predicate.folder => digest(&parent.root, Some(&statement.sha256())),
        Some(_) => json!({ "countermarkListingBlake3": parent.root.to_string() }),
        None => json!({ "countermarkRoot": parent.root.to_string() }),
    }
}
