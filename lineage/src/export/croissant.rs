//! Croissant 1.1 (docs.mlcommons.org/croissant), for datasets.
//!
//! The standard wants SHA-256 of every file, where a listing holds BLAKE3. The SHA-256 of a single file is signed; those of
//! a folder's files come from reading it ([`Measured`]) or from the answers. Our BLAKE3 stands beside it in a vocabulary
//! of our own. Tables that were read become record sets. Parents are `prov:wasDerivedFrom`.

use countermark_formats::table::{Column, Table, Values};
use serde_json::{Map, Value, json};

use super::answers::{About, Answers};
use super::facts::{Facts, Node};
use super::measured::Measured;
use super::text::percent_encode;
use super::to_text;
use crate::Error;
use crate::digest::Hash;
use crate::digest::listing::File;
use crate::graph::Kind;

/// The document.
///
/// # Errors
/// [`Error::Usage`] when the artifact is no dataset, or naming what the standard requires and nobody stated.
pub fn export(facts: &Facts, answers: &Answers, files: Option<&Measured>) -> Result<String, Error> {
    let (node, statement) = (facts.artifact(), facts.statement());
    if !matches!(statement.predicate.kind, Kind::Dataset | Kind::Shard) {
        let problem = format!("{:?} is a {}, and Croissant describes datasets", node.name, statement.predicate.kind);
        return Err(Error::usage(problem, "name the bundle of a dataset, or use --format spdx or cyclonedx"));
    }
    let mut missing = vec![];
    let mut required = |key: &str, of: fn(&About) -> &String| {
        answers.text(node, of).unwrap_or_else(|| {
            missing.push(Answers::key(node, key));
            ""
        })
    };
    let mut document = json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "@id": node.iri(),
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": node.name,
        "description": required("description", |about| &about.description),
        "license": required("license", |about| &about.license),
        "url": required("url", |about| &about.url),
        "datePublished": required("released", |about| &about.released),
        "creator": { "@type": "sc:Organization", "name": required("creator", |about| &about.creator) },
        "dateCreated": super::utc(statement),
        "identifier": format!("blake3:{}", node.root),
        "cm:statement": node.id.to_string(),
        "cm:signer": statement.predicate.signer.to_string(),
    });
    if !missing.is_empty() {
        let problem = format!("Croissant 1.1 requires what nobody stated: {}", missing.join(", "));
        return Err(Error::usage(problem, "answer these in a file from --answers-template, and name it by --answers"));
    }
    if let Some(text) = answers.text(node, |about| &about.citation) {
        document["citeAs"] = json!(text);
    }
    if let Some(text) = answers.text(node, |about| &about.version) {
        document["version"] = json!(text);
    }
    for (property, list) in [
        ("keywords", answers.list(node, |about| &about.keywords)),
        ("inLanguage", answers.list(node, |about| &about.languages)),
    ] {
        if !list.is_empty() {
            document[property] = json!(list);
        }
    }
    let parents: Vec<Value> = facts
        .parents(node)
        .map(|(relation, parent)| {
            json!({
                "@id": parent.iri(),
                "@type": "prov:Entity",
                "cm:name": parent.name,
                "cm:relation": relation.as_str(),
                "cm:blake3": parent.root.to_string(),
            })
        })
        .collect();
    if !parents.is_empty() {
        document["prov:wasDerivedFrom"] = json!(parents);
    }
    let listing = statement.predicate.listing.files();
    let distribution = listing.iter().map(|file| file_object(facts, answers, files, file));
    document["distribution"] = distribution.collect::<Result<Vec<_>, Error>>()?.into();
    if let Some(files) = files {
        let sets: Vec<Value> = files.tables.iter().map(|(path, table)| record_set(path, table)).collect();
        if !sets.is_empty() {
            document["recordSet"] = sets.into();
        }
    }
    Ok(to_text(&document))
}

/// The standard's context, with our vocabulary and that of PROV.
fn context() -> Value {
    let mut context = Map::new();
    for term in [
        "arrayShape",
        "citeAs",
        "column",
        "containedIn",
        "equivalentProperty",
        "extract",
        "field",
        "fileObject",
        "fileProperty",
        "fileSet",
        "format",
        "includes",
        "isArray",
        "isLiveDataset",
        "jsonPath",
        "key",
        "md5",
        "parentField",
        "path",
        "recordSet",
        "references",
        "regex",
        "repeated",
        "replace",
        "samplingRate",
        "separator",
        "source",
        "subField",
        "transform",
    ] {
        context.insert(term.to_owned(), json!(format!("cr:{term}")));
    }
    for (term, value) in [
        ("@language", json!("en")),
        ("@vocab", json!("https://schema.org/")),
        ("cm", json!("https://countermark.dev/croissant/v1#")),
        ("conformsTo", json!("dct:conformsTo")),
        ("cr", json!("http://mlcommons.org/croissant/")),
        ("data", json!({ "@id": "cr:data", "@type": "@json" })),
        ("dataType", json!({ "@id": "cr:dataType", "@type": "@vocab" })),
        ("dct", json!("http://purl.org/dc/terms/")),
        ("description", json!({ "@container": "@language" })),
        ("examples", json!({ "@id": "cr:examples", "@type": "@json" })),
        ("name", json!({ "@container": "@language" })),
        ("prov", json!("http://www.w3.org/ns/prov#")),
        ("rai", json!("http://mlcommons.org/croissant/RAI/")),
        ("sc", json!("https://schema.org/")),
    ] {
        context.insert(term.to_owned(), value);
    }
    context.into()
}

fn file_object(facts: &Facts, answers: &Answers, files: Option<&Measured>, file: &File) -> Result<Value, Error> {
    let (node, path) = (facts.artifact(), percent_encode(&file.path));
    let url = match answers.text(node, |about| &about.download) {
        Some(base) => format!("{}/{path}", base.trim_end_matches('/')),
        None => path.clone(),
    };
    Ok(json!({
        "@type": "cr:FileObject",
        "@id": file_id(&file.path),
        "name": file.path,
        "contentUrl": url,
        "contentSize": format!("{} B", file.size),
        "encodingFormat": media_type(&file.path),
        "sha256": sha256(node, facts, answers, files, file)?.to_string(),
        "cm:blake3": file.blake3.to_string(),
    }))
}

/// What was signed or read, and only then what was answered; an answer that says otherwise is refused.
fn sha256(node: &Node, facts: &Facts, answers: &Answers, files: Option<&Measured>, file: &File) -> Result<Hash, Error> {
    let statement = facts.statement();
    let signed = (!statement.predicate.folder).then(|| statement.sha256());
    let known = files.and_then(|files| files.sha256.get(&file.path).copied()).or(signed);
    let answered = answers.about(node).and_then(|about| about.sha256.get(&file.path)).copied();
    match (known, answered) {
        (Some(known), Some(answered)) if known != answered => Err(Error::usage(
            format!("{} {:?} is not the SHA-256 of that file", Answers::key(node, "sha256"), file.path),
            format!("it is {known}; correct the answer, or leave it out"),
        )),
        (Some(hash), _) | (None, Some(hash)) => Ok(hash),
        (None, None) => Err(Error::usage(
            format!("Croissant 1.1 requires the SHA-256 of {:?}, and the listing holds BLAKE3", file.path),
            format!("name the dataset by --path, or answer {}", Answers::key(node, "sha256")),
        )),
    }
}

fn file_id(path: &str) -> String {
    format!("file/{}", percent_encode(path))
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "jsonl" | "ndjson" => "application/jsonlines",
        "json" => "application/json",
        "parquet" => "application/x-parquet",
        "txt" | "md" => "text/plain",
        "gz" => "application/gzip",
        "zip" => "application/zip",
        "tar" => "application/x-tar",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

fn record_set(path: &str, table: &Table) -> Value {
    let id = format!("records/{}", percent_encode(path));
    let field = |column: &Column| {
        json!({
            "@type": "cr:Field",
            "@id": format!("{id}/{}", percent_encode(&column.name)),
            "name": column.name,
            "dataType": match column.values {
                Values::Integer => "sc:Integer",
                Values::Float => "sc:Float",
                Values::Boolean => "sc:Boolean",
                Values::Text => "sc:Text",
            },
            "source": { "fileObject": { "@id": file_id(path) }, "extract": { "column": column.name } },
        })
    };
    let fields: Vec<Value> = table.columns.iter().map(field).collect();
    json!({ "@type": "cr:RecordSet", "@id": id, "name": path, "field": fields })
}
