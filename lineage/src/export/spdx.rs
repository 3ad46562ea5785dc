//! SPDX 3.0.1 as JSON-LD, with the AI and Dataset profiles.
//!
//! Elements are named by the addresses of their statements. A folder's files are elements with a BLAKE3 each; its own
//! root, the digest of a listing, is an external identifier and not a hash of the package. The document says that it
//! conforms to the profiles `ai` and `dataset` only when what they ask for was stated.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answers::{About, Answers, stated};
use super::cyclonedx::is_expression;
use super::facts::{Facts, Node};
use super::measured::Measured;
use super::text::percent_encode;
use super::{NOT_STATED, TOOL, TOOL_VERSION, to_text, utc};
use crate::digest::Hash;
use crate::graph::{Kind, Relation};

const CONTEXT: &str = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld";
const NO_LICENSE: &str = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense";
/// The blank node that all elements share.
const CREATION: &str = "_:creation";

/// The document.
pub fn export(facts: &Facts, answers: &Answers, files: Option<&Measured>) -> String {
    let mut writer = Writer { facts, answers, elements: vec![], ids: BTreeSet::new(), missing: vec![] };
    let (tool, document) = (format!("https://countermark.dev/tool/{TOOL_VERSION}"), writer.iri("document"));
    writer.element(&tool, "Tool", json!({ "name": TOOL, "comment": format!("version {TOOL_VERSION}") }));
    for (at, node) in facts.nodes().iter().enumerate() {
        writer.package(node, if at == 0 { files } else { None });
    }
    for (at, (child, relation, parent)) in facts.edges().enumerate() {
        writer.edge(at, child, relation, parent);
    }
    // What the profiles demand beyond the classes: sections "External properties restrictions" of AIPackage and
    // DatasetPackage.
    let mut profiles = vec!["core", "software", "simpleLicensing"];
    if writer.missing.is_empty() {
        let is_dataset = |node: &Node| matches!(class(node), "dataset_DatasetPackage");
        if facts.nodes().iter().any(|node| class(node) == "ai_AIPackage") {
            profiles.push("ai");
        }
        if facts.nodes().iter().any(is_dataset) {
            profiles.push("dataset");
        }
    }
    let comment = match &*writer.missing {
        [] => "made from signed statements".to_owned(),
        missing => format!("made from signed statements; {NOT_STATED}: {}", missing.join(", ")),
    };
    let statement = facts.statement();
    let signer = signer_iri(&statement.predicate.signer.to_string());
    let creation = json!({
        "type": "CreationInfo",
        "@id": CREATION,
        "specVersion": "3.0.1",
        "created": utc(statement),
        "createdBy": [signer],
        "createdUsing": [tool],
    });
    let head = json!({
        "type": "SpdxDocument",
        "spdxId": document,
        "creationInfo": CREATION,
        "name": facts.artifact().name,
        "comment": comment,
        "profileConformance": profiles,
        "rootElement": [facts.artifact().iri()],
        "element": writer.ids,
    });
    let graph: Vec<Value> = [creation, head].into_iter().chain(writer.elements).collect();
    to_text(&json!({ "@context": CONTEXT, "@graph": graph }))
}

fn signer_iri(key: &str) -> String {
    format!("https://countermark.dev/key/{key}")
}

fn class(node: &Node) -> &'static str {
    match node.kind() {
        Some(Kind::Model | Kind::Adapter) => "ai_AIPackage",
        Some(Kind::Dataset | Kind::Shard) => "dataset_DatasetPackage",
        _ => "software_Package",
    }
}

fn hash(algorithm: &str, value: &Hash) -> Value {
    json!({ "type": "Hash", "algorithm": algorithm, "hashValue": value.to_string() })
}

struct Writer<'a> {
    facts: &'a Facts,
    answers: &'a Answers,
    elements: Vec<Value>,
    ids: BTreeSet<String>,
    /// What the profiles ask for and nobody stated.
    missing: Vec<String>,
}

impl Writer<'_> {
    /// An address inside this document.
    fn iri(&self, name: &str) -> String {
        format!("{}#{name}", self.facts.artifact().iri())
    }

    fn element(&mut self, id: &str, kind: &str, mut fields: Value) {
        fields["type"] = json!(kind);
        fields["spdxId"] = json!(id);
        fields["creationInfo"] = json!(CREATION);
        self.ids.insert(id.to_owned());
        self.elements.push(fields);
    }

    fn agent(&mut self, id: &str, kind: &str, name: &str) {
        if !self.ids.contains(id) {
            self.element(id, kind, json!({ "name": name }));
        }
    }

    fn package(&mut self, node: &Node, files: Option<&Measured>) {
        let mut fields = json!({ "name": node.name });
        let mut comment = vec![format!("statement {}", node.id)];
        fields["externalIdentifier"] = json!([{
            "type": "ExternalIdentifier",
            "externalIdentifierType": "other",
            "identifier": format!("blake3:{}", node.root),
            "comment": "root: the BLAKE3 of a file, or of a folder's listing",
        }]);
        let answers = self.answers;
        let mut answer = |key: &str, of: fn(&About) -> &String| {
            let answer = answers.text(node, of);
            if answer.is_none() && class(node) != "software_Package" {
                self.missing.push(Answers::key(node, key));
            }
            answer
        };
        if let Some(version) = answer("version", |about| &about.version) {
            fields["software_packageVersion"] = json!(version);
        }
        if let Some(url) = answer("download", |about| &about.download) {
            fields["software_downloadLocation"] = json!(url);
        }
        if let Some(day) = answer("released", |about| &about.released) {
            fields["releaseTime"] = json!(format!("{day}T00:00:00Z"));
        }
        if let Some(text) = answers.text(node, |about| &about.description) {
            fields["description"] = json!(text);
        }
        if let Some(url) = answers.text(node, |about| &about.url) {
            fields["software_homePage"] = json!(url);
        }
        if let Some(creator) = answers.text(node, |about| &about.creator) {
            let id = format!("{}#creator", node.iri());
            self.agent(&id, "Agent", creator);
            fields["originatedBy"] = json!([id]);
        } else if class(node) == "dataset_DatasetPackage" {
            self.missing.push(Answers::key(node, "creator"));
        }
        match class(node) {
            "ai_AIPackage" => fields["software_primaryPurpose"] = json!("model"),
            "dataset_DatasetPackage" => {
                fields["software_primaryPurpose"] = json!("data");
                fields["dataset_datasetType"] = json!(dataset_types(answers.list(node, |about| &about.modalities)));
            }
            _ => {}
        }
        if let Some(statement) = &node.statement {
            let predicate = &statement.predicate;
            let key = predicate.signer.to_string();
            self.agent(&signer_iri(&key), "Agent", &format!("holder of {key}"));
            // Whoever signs a release supplies it; the provider, when a person names one, is the better answer.
            fields["suppliedBy"] = match stated(&answers.provider.name).filter(|_| node.id == self.facts.artifact().id)
            {
                Some(name) => {
                    let id = self.iri("provider");
                    self.agent(&id, "Organization", name);
                    json!(id)
                }
                None => json!(signer_iri(&key)),
            };
            fields["builtTime"] = json!(utc(statement));
            comment.push(format!("kind {}", predicate.kind));
            if let Some(process) = &predicate.process {
                comment.extend(process.parameters.iter().map(|(name, value)| format!("{name}={value}")));
                comment.extend(process.revision.iter().map(|revision| format!("revision {revision}")));
            }
            if predicate.folder {
                self.files(node, files);
            } else {
                fields["verifiedUsing"] = json!([hash("blake3", &node.root), hash("sha256", &statement.sha256())]);
            }
        } else {
            comment.push("its statement is not in the bundle".to_owned());
        }
        fields["comment"] = json!(comment.join("; "));
        self.element(&node.iri(), class(node), fields);
        self.license(node);
    }

    /// The files of a folder, and that it contains them.
    fn files(&mut self, node: &Node, files: Option<&Measured>) {
        let Some(statement) = &node.statement else { return };
        let mut ids = vec![];
        for file in statement.predicate.listing.files() {
            let id = format!("{}#file/{}", node.iri(), percent_encode(&file.path));
            let mut hashes = vec![hash("blake3", &file.blake3)];
            hashes.extend(files.and_then(|files| files.sha256.get(&file.path)).map(|sha256| hash("sha256", sha256)));
            let fields = json!({
                "name": file.path,
                "verifiedUsing": hashes,
                "comment": format!("{} bytes", file.size),
            });
            self.element(&id, "software_File", fields);
            ids.push(id);
        }
        self.relationship(&format!("{}#contains", node.iri()), &node.iri(), "contains", &ids, None);
    }

    /// The declared licence, or the standard's own word for "nobody said".
    fn license(&mut self, node: &Node) {
        let to = match self.answers.text(node, |about| &about.license) {
            Some(license) => {
                let id = format!("{}#license", node.iri());
                let fields = if is_expression(license) {
                    ("simplelicensing_LicenseExpression", json!({ "simplelicensing_licenseExpression": license }))
                } else {
                    let text = json!({ "simplelicensing_licenseText": license, "name": license });
                    ("simplelicensing_SimpleLicensingText", text)
                };
                self.element(&id, fields.0, fields.1);
                id
            }
            None => NO_LICENSE.to_owned(),
        };
        let id = format!("{}#declared-license", node.iri());
        self.relationship(&id, &node.iri(), "hasDeclaredLicense", &[to], None);
    }

    fn edge(&mut self, at: usize, child: &Node, relation: Relation, parent: &Node) {
        let (from, kind, to) = match relation {
            Relation::TrainedOn => (child, "trainedOn", parent),
            Relation::GeneratedBy => (parent, "generates", child),
            _ => (child, "descendantOf", parent),
        };
        let id = format!("{}#edge/{at}", child.iri());
        self.relationship(&id, &from.iri(), kind, &[to.iri()], Some(relation.as_str()));
    }

    fn relationship(&mut self, id: &str, from: &str, kind: &str, to: &[String], comment: Option<&str>) {
        let mut fields = json!({ "from": from, "relationshipType": kind, "to": to });
        if let Some(comment) = comment {
            fields["comment"] = json!(comment);
        }
        self.element(id, "Relationship", fields);
    }
}

/// Our words for modalities as the standard's types of datasets; it has a word for "nobody said".
fn dataset_types(modalities: &[String]) -> Vec<&str> {
    const KNOWN: [&str; 10] =
        ["audio", "categorical", "graph", "image", "numeric", "sensor", "syntactic", "text", "timeseries", "video"];
    let word = |modality: &String| match modality.as_str() {
        "tabular" | "structured" => "structured",
        word => KNOWN.into_iter().find(|known| *known == word).unwrap_or("other"),
    };
    let mut words: Vec<&str> = modalities.iter().map(word).collect();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() { vec!["noAssertion"] } else { words }
}
