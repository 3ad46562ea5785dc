//! OpenLineage 2.0.2 events, one JSON object per line, ancestors first, as its file transport writes and its HTTP API
//! takes them.
//!
//! An artifact that was made from others, or whose process was stated, is the output of a run: a `RunEvent` that
//! completed when the statement says. Nobody stated when the run began, so there is no START event. Any other artifact is
//! a `DatasetEvent`.

use serde_json::{Map, Value, json};

use super::facts::{Facts, Node};
use super::text::uuid;
use super::{TOOL_VERSION, utc};
use crate::graph::statement::Statement;
use crate::graph::{Kind, Relation};

const SPEC: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json";
/// Where datasets and jobs of these events live.
const NAMESPACE: &str = "countermark";
/// Schema of our own facets.
const OUR_SCHEMA: &str = "https://countermark.dev/openlineage/v1/facets.json";

/// The events.
pub fn export(facts: &Facts) -> String {
    let mut lines: Vec<String> = oldest_first(facts)
        .into_iter()
        .filter_map(|node| Some(event(facts, node, node.statement.as_ref()?).to_string()))
        .collect();
    lines.push(String::new());
    lines.join("\n")
}

/// Every parent before its children: no consumer meets an input that it does not know yet.
fn oldest_first(facts: &Facts) -> Vec<&Node> {
    let mut waiting: std::collections::BTreeMap<_, usize> = facts.nodes().iter().map(|node| (node.id, 0)).collect();
    facts.edges().for_each(|(_, _, parent)| *waiting.entry(parent.id).or_default() += 1);
    // From the artifact up: a node follows once all its children are out. The graph has no cycle.
    let (mut order, mut ready) = (vec![], vec![facts.artifact()]);
    while let Some(node) = ready.pop() {
        order.push(node);
        for (_, parent) in facts.parents(node) {
            let left = waiting.entry(parent.id).or_default();
            *left -= 1;
            if *left == 0 {
                ready.push(parent);
            }
        }
    }
    order.reverse();
    order
}

fn event(facts: &Facts, node: &Node, statement: &Statement) -> Value {
    let predicate = &statement.predicate;
    let mut event = json!({ "eventTime": utc(statement), "producer": producer() });
    if predicate.parents.is_empty() && predicate.process.is_none() {
        event["schemaURL"] = json!(format!("{SPEC}#/$defs/DatasetEvent"));
        event["dataset"] = dataset(node, true);
        return event;
    }
    let mut process = Map::new();
    if let Some(stated) = &predicate.process {
        process.extend(stated.parameters.iter().map(|(name, value)| (name.clone(), json!(value))));
    }
    let edges: Vec<Value> = facts
        .parents(node)
        .map(|(relation, parent)| {
            json!({ "relation": relation.as_str(), "name": parent.name, "statement": parent.id.to_string() })
        })
        .collect();
    let run_facet = facet(
        "LineageRunFacet",
        json!({
            "statement": node.id.to_string(),
            "signer": predicate.signer.to_string(),
            "edges": edges,
            "parameters": process,
            "revision": predicate.process.as_ref().and_then(|process| process.revision.clone()),
        }),
    );
    let is_training = predicate.parents.iter().any(|parent| parent.relation == Relation::TrainedOn);
    let job = if is_training { "train" } else { "derive" };
    event["schemaURL"] = json!(format!("{SPEC}#/$defs/RunEvent"));
    event["eventType"] = json!("COMPLETE");
    event["run"] = json!({ "runId": uuid(&node.id), "facets": { "countermark_lineage": run_facet } });
    event["job"] = json!({ "namespace": NAMESPACE, "name": format!("{job} {}", node.name), "facets": {} });
    event["inputs"] = facts.parents(node).map(|(_, parent)| dataset(parent, false)).collect();
    event["outputs"] = json!([dataset(node, true)]);
    // One parent may stand in several relations; it is one input.
    if let Some(inputs) = event["inputs"].as_array_mut() {
        let mut seen = std::collections::BTreeSet::new();
        inputs.retain(|input| seen.insert(input["facets"]["countermark_artifact"]["statement"].to_string()));
    }
    event
}

fn producer() -> String {
    format!("https://countermark.dev/release/{TOOL_VERSION}")
}

/// One of our own facets.
fn facet(name: &str, mut fields: Value) -> Value {
    fields["_producer"] = json!(producer());
    fields["_schemaURL"] = json!(format!("{OUR_SCHEMA}#/$defs/{name}"));
    fields
}

/// A facet of the standard.
fn standard(version: &str, name: &str, mut fields: Value) -> Value {
    fields["_producer"] = json!(producer());
    fields["_schemaURL"] = json!(format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"));
    fields
}

/// Its tensors stand only where the artifact itself is reported: a base has many children, and each names it as input.
fn dataset(node: &Node, with_tensors: bool) -> Value {
    let mut facets = json!({
        "version": standard("1-0-1", "DatasetVersionDatasetFacet", json!({ "datasetVersion": node.root.to_string() })),
        "dataSource": standard("1-0-1", "DatasourceDatasetFacet", json!({ "name": node.name, "uri": node.iri() })),
    });
    let mut artifact = json!({ "statement": node.id.to_string(), "root": format!("blake3:{}", node.root) });
    if let Some(statement) = &node.statement {
        let predicate = &statement.predicate;
        artifact["kind"] = json!(predicate.kind.as_str());
        artifact["signer"] = json!(predicate.signer.to_string());
        artifact["bytes"] = json!(predicate.listing.total_size());
        artifact["files"] = json!(predicate.listing.files().len());
        facets["datasetType"] = standard(
            "1-0-1",
            "DatasetTypeDatasetFacet",
            json!({
                "datasetType": match predicate.kind {
                    Kind::Model | Kind::Adapter => "MODEL",
                    Kind::Dataset | Kind::Shard => "DATASET",
                    _ => "FILE",
                },
                "subType": predicate.kind.as_str(),
            }),
        );
        if let Some(tensors) = predicate.tensors.as_ref().filter(|_| with_tensors) {
            let field = |tensor: &crate::digest::checkpoint::Tensor| json!({ "name": tensor.name, "type": format!("{}{:?}", tensor.dtype, tensor.shape) });
            let fields: Vec<Value> = tensors.list.iter().map(field).collect();
            facets["schema"] = standard("1-2-0", "SchemaDatasetFacet", json!({ "fields": fields }));
        }
    }
    facets["countermark_artifact"] = facet("ArtifactDatasetFacet", artifact);
    json!({ "namespace": NAMESPACE, "name": node.name, "facets": facets })
}
