//! CycloneDX 1.6 (ECMA-424), as an ML-BOM: the artifact, its files, its ancestors as components and as pedigree.
//!
//! A single file has its digests under `hashes`. The root of a folder is the digest of a listing and not of bytes that
//! somebody could hash alone, so there it is a property, and the files below it have the hashes.

use serde_json::{Map, Value, json};

use super::answers::Answers;
use super::facts::{Facts, Node};
use super::measured::Measured;
use super::text::uuid;
use super::{NOT_STATED, TOOL, TOOL_VERSION, to_text, utc};
use crate::graph::{Kind, Relation};

/// The document.
pub fn export(facts: &Facts, answers: &Answers, files: Option<&Measured>) -> String {
    let artifact = facts.artifact();
    let mut metadata = json!({
        "timestamp": utc(facts.statement()),
        "tools": { "components": [{ "type": "application", "name": TOOL, "version": TOOL_VERSION }] },
        "component": component(facts, artifact, answers, files),
        "properties": [property("signer", facts.statement().predicate.signer.to_string())],
    });
    if let Some(name) = super::answers::stated(&answers.provider.name) {
        let mut supplier = json!({ "name": name });
        if let Some(url) = super::answers::stated(&answers.provider.url) {
            supplier["url"] = json!([url]);
        }
        metadata["supplier"] = supplier;
    }
    let ancestors = &facts.nodes()[1..];
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&artifact.id)),
        "version": 1,
        "metadata": metadata,
        "components": ancestors.iter().map(|node| component(facts, node, answers, None)).collect::<Vec<_>>(),
        "dependencies": facts.nodes().iter().map(dependency).collect::<Vec<_>>(),
    });
    to_text(&document)
}

/// Names of our properties begin with the tool's name, as the specification's taxonomy asks.
fn property(name: &str, value: impl Into<Value>) -> Value {
    json!({ "name": format!("{TOOL}:{name}"), "value": value.into() })
}

fn kind_of(node: &Node) -> &'static str {
    match node.kind() {
        Some(Kind::Model | Kind::Adapter) => "machine-learning-model",
        _ => "data",
    }
}

fn component(facts: &Facts, node: &Node, answers: &Answers, files: Option<&Measured>) -> Value {
    let mut component = reference(node);
    component["bom-ref"] = json!(node.iri());
    let mut properties = vec![
        property("statement", node.id.to_string()),
        property("kind", node.kind().map_or(NOT_STATED, Kind::as_str)),
        property("root:blake3", node.root.to_string()),
    ];
    let mut missing = vec![];
    let mut text = |field: &'static str, of: fn(&super::answers::About) -> &String| {
        let answer = answers.text(node, of);
        if answer.is_none() {
            missing.push(field);
        }
        answer
    };
    if let Some(version) = text("version", |about| &about.version) {
        component["version"] = json!(version);
    }
    if let Some(description) = text("description", |about| &about.description) {
        component["description"] = json!(description);
    }
    if let Some(license) = text("license", |about| &about.license) {
        component["licenses"] = if is_expression(license) {
            json!([{ "expression": license }])
        } else {
            json!([{ "license": { "name": license } }])
        };
    }
    if let Some(url) = text("url", |about| &about.url) {
        component["externalReferences"] = json!([{ "type": "website", "url": url }]);
    }
    if let Some(creator) = text("creator", |about| &about.creator) {
        component["authors"] = json!([{ "name": creator }]);
    }
    if !missing.is_empty() {
        properties.push(property("not-stated", missing.join(", ")));
    }
    if let Some(statement) = &node.statement {
        let predicate = &statement.predicate;
        properties.push(property("signer", predicate.signer.to_string()));
        properties.push(property("created", predicate.created.clone()));
        if let Some(tensors) = &predicate.tensors {
            properties.push(property("tensors:root:blake3", tensors.root.to_string()));
        }
        for mark in statement.marks() {
            properties.push(property("mark:commitment:sha256", mark.to_string()));
        }
        if let Some(process) = &predicate.process {
            for (name, value) in &process.parameters {
                properties.push(property(&format!("process:{name}"), value.clone()));
            }
            if let Some(revision) = &process.revision {
                properties.push(property("process:revision", revision.clone()));
            }
        }
        if predicate.folder {
            let file = |file: &crate::digest::listing::File| {
                let mut hashes = vec![hash("BLAKE3", file.blake3.to_string())];
                if let Some(sha256) = files.and_then(|files| files.sha256.get(&file.path)) {
                    hashes.push(hash("SHA-256", sha256.to_string()));
                }
                let size = property("size", file.size.to_string());
                json!({ "type": "file", "name": file.path, "hashes": hashes, "properties": [size] })
            };
            component["components"] = predicate.listing.files().iter().map(file).collect();
            properties.push(property("listing:sha256", statement.sha256().to_string()));
        }
        if kind_of(node) == "data" {
            let kind = match predicate.kind {
                Kind::Dataset | Kind::Shard => "dataset",
                _ => "other",
            };
            component["data"] = json!([{ "type": kind, "name": node.name }]);
        } else {
            component["modelCard"] = model_card(node);
        }
        let parents: Vec<Value> = facts
            .parents(node)
            .map(|(relation, parent)| {
                let mut ancestor = reference(parent);
                let edge = [property("relation", relation.as_str()), property("statement", parent.id.to_string())];
                ancestor["properties"] = json!(edge);
                ancestor
            })
            .collect();
        if !parents.is_empty() {
            component["pedigree"] = json!({ "ancestors": parents, "notes": "edges of the signed statement" });
        }
    }
    component["properties"] = json!(properties);
    component
}

/// The least that names a component.
fn reference(node: &Node) -> Value {
    let mut component = json!({ "type": kind_of(node), "name": node.name });
    if let Some(statement) = node.statement.as_ref().filter(|statement| !statement.predicate.folder) {
        let sha256 = statement.sha256().to_string();
        component["hashes"] = json!([hash("BLAKE3", node.root.to_string()), hash("SHA-256", sha256)]);
    }
    component
}

fn hash(algorithm: &str, content: String) -> Value {
    json!({ "alg": algorithm, "content": content })
}

/// The datasets that it was trained on, by reference to their components.
fn model_card(node: &Node) -> Value {
    let trained_on = node.parents().iter().filter(|parent| parent.relation == Relation::TrainedOn);
    let datasets: Vec<Value> =
        trained_on.map(|parent| json!({ "ref": super::facts::statement_iri(&parent.statement) })).collect();
    let mut parameters = Map::new();
    if !datasets.is_empty() {
        parameters.insert("datasets".to_owned(), datasets.into());
    }
    json!({ "modelParameters": parameters })
}

fn dependency(node: &Node) -> Value {
    let mut parents: Vec<String> =
        node.parents().iter().map(|parent| super::facts::statement_iri(&parent.statement)).collect();
    parents.sort();
    parents.dedup();
    json!({ "ref": node.iri(), "dependsOn": parents })
}

/// True when `license` is spelled like an SPDX licence expression (SPDX 3.0.1, annex B), whatever the identifiers.
pub(super) fn is_expression(license: &str) -> bool {
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+:".contains(&byte));
    let words: Vec<&str> = license.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    let joins = |word: &&str| matches!(*word, "AND" | "OR" | "WITH");
    !words.is_empty()
        && words.iter().all(|word| is_word(word))
        && words.iter().enumerate().all(|(at, word)| joins(word) == (at % 2 == 1))
        && words.len() % 2 == 1
}
