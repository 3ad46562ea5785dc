//! Each format: what its documents say, what its official validator reads in them, and what it refuses.

use std::fs;

use countermark::export::Format;
use countermark::lineage::bundle::Bundle;
use countermark::lineage::verdict::State;
use countermark::{keyset, silent};
use serde_json::{Value, json};

use super::{ABOUT_DATA, HARD, REVISION, Release, named, refuses, sha256_of, valid};

#[test]
fn spdx() {
    let release = Release::make();
    let (text, path) = release.export("child", Format::Spdx, |_| ()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let graph = document["@graph"].as_array().unwrap();
    let statement = release.statement("child");
    let package = graph.iter().find(|item| item["type"] == "ai_AIPackage" && item["name"] == "child").unwrap();
    assert_eq!(package["externalIdentifier"][0]["identifier"], format!("blake3:{}", statement.root()));
    let head = graph.iter().find(|item| item["type"] == "SpdxDocument").unwrap();
    assert!(!head["profileConformance"].as_array().unwrap().contains(&json!("ai")), "nobody stated what ai asks for");
    assert!(head["comment"].as_str().unwrap().contains("not stated: [artifact.\"child\"] version"));
    if let Some(read) = valid("spdx", &path, &[]) {
        assert_eq!(
            read["relationships"],
            json!([
                ["base", "contains", ["config.json", "model.safetensors"]],
                ["base", "trainedOn", ["data"]],
                ["child", "contains", ["config.json", "model.safetensors"]],
                ["child", "descendantOf", ["base"]],
                ["child", "trainedOn", ["data"]],
                ["data", "contains", [HARD, "extra.jsonl", "train.csv"]],
            ])
        );
        let file = release.statement("data").predicate.listing.files()[0].clone();
        assert_eq!(read["hashes"][HARD]["blake3"], file.blake3.to_string());
        if read["schema"] != true {
            eprintln!("skipped: SPDX JSON schema: fixtures/services/validators.sh had no npm");
        }
    }
    refuses(
        "spdx",
        &path,
        &text,
        &[],
        &[
            ("an element that is referred to and missing", |document| {
                document["@graph"].as_array_mut().unwrap().retain(|item| item["type"] != "dataset_DatasetPackage");
            }),
            ("an unknown relationship", |document| {
                let graph = document["@graph"].as_array_mut().unwrap();
                graph.iter_mut().find(|item| item["type"] == "Relationship").unwrap()["relationshipType"] =
                    json!("likes");
            }),
            ("a dataset without a type", |document| {
                let graph = document["@graph"].as_array_mut().unwrap();
                let dataset = graph.iter_mut().find(|item| item["type"] == "dataset_DatasetPackage").unwrap();
                dataset.as_object_mut().unwrap().remove("dataset_datasetType");
            }),
            ("an unknown property", |document| document["@graph"][2]["colour"] = json!("red")),
            ("a time in another spelling", |document| document["@graph"][0]["created"] = json!("2026-11-23 09:00")),
        ],
    );

    // With every answer the profiles are claimed, and the licence and the provider stand there.
    let all = |name: &str| {
        format!(
            "[artifact.{name}]\nversion = \"1.0.0\"\ndownload = \"https://example.org/{name}\"\nreleased = \"2026-11-01\"\n\
             creator = \"Lab\"\nlicense = \"Apache-2.0 OR MIT\"\ndescription = \"x\"\nurl = \"https://example.org/\"\n"
        )
    };
    let answers = release.answers(&format!(
        "[provider]\nname = \"Example <Lab>\"\n{}{}{}modalities = [\"text\", \"tabular\", \"smell\"]\n",
        all("child"),
        all("base"),
        all("data")
    ));
    let (text, path) = release
        .export("child", Format::Spdx, |request| {
            request.answers = Some(answers);
            request.path = Some(release.path("child"));
        })
        .unwrap();
    assert!(text.contains("Example <Lab>") && !text.contains("not stated"), "{text}");
    if let Some(read) = valid("spdx", &path, &[]) {
        assert_eq!(read["profiles"], json!(["core", "software", "simpleLicensing", "ai", "dataset"]));
        // Both folders hold the same name; the child's was read and has its SHA-256.
        let sha256 = sha256_of(&release.path("child/config.json"));
        assert!(text.contains(&sha256));
    }
}

#[test]
fn cyclonedx() {
    let release = Release::make();
    let (text, path) =
        release.export("child", Format::Cyclonedx, |request| request.path = Some(release.path("child"))).unwrap();
    let document = valid("cyclonedx", &path, &[]).unwrap_or_else(|| serde_json::from_str(&text).unwrap());
    let child = &document["metadata"]["component"];
    assert_eq!((&child["type"], &child["name"]), (&json!("machine-learning-model"), &json!("child")));
    let file = named(&child["components"], "model.safetensors");
    let listed = release.statement("child").predicate.listing.files()[1].clone();
    assert_eq!(
        file["hashes"],
        json!([
            { "alg": "BLAKE3", "content": listed.blake3.to_string() },
            { "alg": "SHA-256", "content": sha256_of(&release.path("child/model.safetensors")) },
        ])
    );
    let pedigree = &child["pedigree"]["ancestors"];
    assert_eq!(named(&named(pedigree, "base")["properties"], "countermark:relation")["value"], "fine-tuned-from");
    let data = named(&document["components"], "data");
    assert_eq!(child["modelCard"]["modelParameters"]["datasets"], json!([{ "ref": data["bom-ref"] }]));
    let missing = named(&child["properties"], "countermark:not-stated");
    assert_eq!(missing["value"], "version, description, license, url, creator");
    assert!(named(&document["components"], "base")["components"][0]["hashes"].as_array().unwrap().len() == 1);
    let (again, _) =
        release.export("child", Format::Cyclonedx, |request| request.path = Some(release.path("child"))).unwrap();
    assert_eq!(text, again, "the same bundle gives the same bytes");
    refuses(
        "cyclonedx",
        &path,
        &text,
        &[],
        &[
            ("an unknown type", |document| document["metadata"]["component"]["type"] = json!("model")),
            ("a short hash", |document| {
                document["metadata"]["component"]["components"][0]["hashes"][0]["content"] = json!("12")
            }),
            ("an unknown field", |document| document["colour"] = json!("red")),
            ("no format", |document| drop(document.as_object_mut().unwrap().remove("bomFormat"))),
        ],
    );
}

#[test]
fn openlineage() {
    let release = Release::make();
    let (text, path) = release.export("child", Format::Openlineage, |_| ()).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["dataset"]["name"], "data", "parents come first, and what no run made is no run");
    let child = &events[2];
    assert_eq!((&child["job"]["name"], &child["outputs"][0]["name"]), (&json!("train child"), &json!("child")));
    let inputs: Vec<&str> =
        child["inputs"].as_array().unwrap().iter().map(|input| input["name"].as_str().unwrap()).collect();
    assert_eq!(inputs, ["base", "data"]);
    let facets = &child["outputs"][0]["facets"];
    assert_eq!(facets["version"]["datasetVersion"], release.statement("child").root().to_string());
    assert_eq!(facets["schema"]["fields"], json!([{ "name": "w", "type": "F32[4, 4]" }]));
    assert!(child["inputs"][0]["facets"]["schema"].is_null(), "a base with many tensors and many children stays small");
    let run = &child["run"]["facets"]["countermark_lineage"];
    assert_eq!((&run["parameters"]["epochs"], &run["revision"]), (&json!("3"), &json!(REVISION)));
    if let Some(read) = valid("openlineage", &path, &[]) {
        assert_eq!(read[2]["run"]["runId"], child["run"]["runId"]);
    }
    refuses(
        "openlineage",
        &path,
        &text,
        &[],
        &[
            ("an unknown field", |event| event["colour"] = json!("red")),
            ("no time", |event| drop(event.as_object_mut().unwrap().remove("eventTime"))),
            ("another schema", |event| {
                event["schemaURL"] = json!("https://openlineage.io/spec/1-0-0/OpenLineage.json")
            }),
            ("a facet without producer", |event| {
                let facets = if event["dataset"].is_null() {
                    &mut event["outputs"][0]["facets"]
                } else {
                    &mut event["dataset"]["facets"]
                };
                facets["version"].as_object_mut().unwrap().remove("_producer");
            }),
            ("a run id that is none", |event| match event.get_mut("run") {
                Some(run) => run["runId"] = json!("12"),
                None => event["dataset"]["name"] = json!(12),
            }),
        ],
    );
}

#[test]
fn slsa() {
    let release = Release::make();
    let (text, path) = release.export("child", Format::Slsa, |_| ()).unwrap();
    let statement = release.statement("child");
    let listed = &statement.predicate.listing.files()[1];
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        named(&document["subject"], "model.safetensors")["digest"],
        json!({ "blake3": listed.blake3.to_string() })
    );
    let dependencies = &document["predicate"]["buildDefinition"]["resolvedDependencies"];
    let base = named(dependencies, "base");
    assert_eq!(base["digest"]["countermarkListingBlake3"], release.statement("base").root().to_string());
    assert_eq!(base["annotations"]["relation"], "fine-tuned-from");
    assert_eq!(named(dependencies, "code")["digest"]["gitCommit"], REVISION);
    assert_eq!(document["predicate"]["buildDefinition"]["externalParameters"]["parameters"]["epochs"], "3");
    if let Some(read) = valid("slsa", &path, &[]) {
        assert_eq!(read["subject"]["model.safetensors"]["blake3"], listed.blake3.to_string());
        assert_eq!(
            read["dependencies"]["data"]["countermarkListingBlake3"],
            release.statement("data").root().to_string()
        );
    }
    refuses(
        "slsa",
        &path,
        &text,
        &[],
        &[
            ("no subject", |document| document["subject"] = json!([])),
            ("a subject without digest", |document| document["subject"][0] = json!({ "name": "x" })),
            ("an unknown field", |document| document["predicate"]["colour"] = json!("red")),
            ("no builder", |document| document["predicate"]["runDetails"]["builder"] = json!({})),
            ("another predicate", |document| document["predicateType"] = json!("https://slsa.dev/provenance/v0.2")),
        ],
    );

    let key = release.path("keys/owner.key");
    let (text, path) = release.export("child", Format::Slsa, |request| request.key = Some(key)).unwrap();
    let public = statement.predicate.signer.to_string().replace("ed25519:", "");
    if let Some(read) = valid("dsse", &path, &[&public]) {
        assert_eq!(read["subject"]["config.json"]["blake3"], statement.predicate.listing.files()[0].blake3.to_string());
    }
    refuses(
        "dsse",
        &path,
        &text,
        &[&public],
        &[
            ("another payload", |document| document["payload"] = json!("e30=")),
            ("another type", |document| document["payloadType"] = json!("application/json")),
            ("no signature", |document| document["signatures"] = json!([])),
        ],
    );
    // Whoever holds another key cannot speak for the signer of the release.
    keyset::generate(&release.path("other"), "Other Lab").unwrap();
    let key = release.path("other/owner.key");
    let error = release.export("child", Format::Slsa, |request| request.key = Some(key)).unwrap_err().to_string();
    assert!(error.contains("this is another key") && error.contains("help:"), "{error}");
    // The envelope is signed by a key that bundles trust, under the same payload type: it must not pass for a statement.
    let mut bundle = Bundle::parse(&fs::read(release.bundle("child")).unwrap()).unwrap();
    bundle.records[0].statement = serde_json::from_str(&text).unwrap();
    fs::write(release.bundle("child"), bundle.to_json()).unwrap();
    let error = release.export("child", Format::Spdx, |_| ()).unwrap_err().to_string();
    assert!(error.contains("statement"), "{error}");
    let mut request = countermark::verify::Request::new(release.path("child"));
    request.policy = Some(release.path("keys/policy.toml"));
    assert_eq!(countermark::verify::verify(&request, &silent()).unwrap().state, State::Invalid);
}

#[test]
fn croissant() {
    let release = Release::make();
    let error = release.export("child", Format::Croissant, |_| ()).unwrap_err().to_string();
    assert!(error.contains("is a model"), "{error}");
    let error = release.export("data", Format::Croissant, |_| ()).unwrap_err().to_string();
    assert!(error.contains("[artifact.\"data\"] license") && error.contains("--answers-template"), "{error}");
    let answers = release.answers(ABOUT_DATA);
    let error =
        release.export("data", Format::Croissant, |request| request.answers = Some(answers.clone())).unwrap_err();
    assert!(error.to_string().contains("SHA-256") && error.to_string().contains("--path"), "{error}");
    let export = |release: &Release| {
        release.export("data", Format::Croissant, |request| {
            request.answers = Some(answers.clone());
            request.path = Some(release.path("data"));
        })
    };
    let (text, path) = export(&release).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let file = named(&document["distribution"], HARD);
    assert_eq!(file["sha256"], sha256_of(&release.path("data").join(HARD)));
    assert_eq!(file["cm:blake3"], release.statement("data").predicate.listing.files()[0].blake3.to_string());
    if let Some(read) = valid("croissant", &path, &[]) {
        assert_eq!(read["name"], "data");
        assert_eq!(read["files"].as_object().unwrap().len(), 3);
        assert_eq!(
            read["records"],
            json!({
                "records/extra.jsonl": [
                    { "records/extra.jsonl/a": 1.5, "records/extra.jsonl/ok": true },
                    { "records/extra.jsonl/a": 2.0, "records/extra.jsonl/ok": false },
                ],
                "records/train.csv": [
                    { "records/train.csv/id": 1, "records/train.csv/question": "what?" },
                    { "records/train.csv/id": 2, "records/train.csv/question": "who, then?" },
                ],
            })
        );
    }
    refuses(
        "croissant",
        &path,
        &text,
        &[],
        &[
            ("a file without SHA-256", |document| {
                drop(document["distribution"][0].as_object_mut().unwrap().remove("sha256"))
            }),
            ("a file without format", |document| {
                drop(document["distribution"][0].as_object_mut().unwrap().remove("encodingFormat"));
            }),
            ("a field of a file that is not there", |document| {
                document["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = json!("file/none.csv");
            }),
            ("a column that is not there", |document| {
                document["recordSet"][1]["field"][0]["source"]["extract"]["column"] = json!("none");
            }),
        ],
    );
    fs::remove_file(&path).unwrap();

    // Bytes that are not those that were signed are refused, whatever they are.
    for (what, change) in
        [("changed", "id,question\n1,what!\n2,\"who, then?\"\n"), ("truncated", "id,question\n1,what?\n")]
    {
        let good = fs::read(release.path("data/train.csv")).unwrap();
        fs::write(release.path("data/train.csv"), change).unwrap();
        let error = export(&release).unwrap_err().to_string();
        assert!(error.contains("train.csv") && error.contains("is not the file that was signed"), "{what}: {error}");
        fs::write(release.path("data/train.csv"), good).unwrap();
    }
    fs::write(release.path("data/more.csv"), "x\n").unwrap();
    assert!(export(&release).unwrap_err().to_string().contains("other files are here"));
    fs::rename(release.path("data/more.csv"), release.path("data/train.csv")).unwrap();
    assert!(export(&release).is_err());
    // An answered SHA-256 that contradicts what was read is refused.
    let release = Release::make();
    let wrong = format!("{ABOUT_DATA}sha256 = {{ \"train.csv\" = \"{}\" }}\n", "0".repeat(64));
    release.answers(&wrong);
    let answers = release.path("answers.toml");
    let error = release.export("data", Format::Croissant, |request| {
        request.answers = Some(answers);
        request.path = Some(release.path("data"));
    });
    assert!(error.unwrap_err().to_string().contains("is not the SHA-256 of that file"));
}

#[test]
fn eu_summary() {
    let release = Release::make();
    let (text, _) = release.export("child", Format::EuSummary, |_| ()).unwrap();
    let statement = release.statement("child");
    for line in [
        "# Public summary of training content: child",
        "- **Provider name:** *not stated*",
        "### 2\\.7\\. Signed datasets whose category nobody stated",
        "  - Used by: child, base",
        "### 3\\.2\\. Removal of illegal content",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        text.contains("is not legal advice") && text.contains(&statement.predicate.parents[0].statement.to_string())
    );
    assert!(!text.to_lowercase().contains("none"), "what nobody stated is never called none");
    let answers = release.answers(&format!(
        "[provider]\nname = \"Example | <b>Lab</b>\"\n{ABOUT_DATA}category = \"crawled\"\ncrawlers = [\"bot/1.0\"]\n\
         crawl_period = \"01/2025 to 03/2025\"\n[eu]\nopt_outs = \"robots.txt\\n# not a heading\"\n"
    ));
    let (text, _) =
        release.export("child", Format::EuSummaryJson, |request| request.answers = Some(answers.clone())).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    let section = |number: &str| {
        let sections = summary["sections"].as_array().unwrap();
        sections.iter().find(|section| section["number"] == number).unwrap_or(&Value::Null).clone()
    };
    assert_eq!(section("1.1")["fields"][0], json!({ "label": "Provider name", "value": "Example | <b>Lab</b>" }));
    let crawled = section("2.3")["fields"][0].clone();
    assert_eq!(crawled["label"], "data");
    assert!(crawled["value"].as_array().unwrap().contains(&json!("Crawlers: bot/1.0")), "{crawled}");
    assert_eq!(section("2.1")["fields"][0]["value"], Value::Null, "no signed one is not none");
    assert_eq!(section("2.7"), Value::Null);
    let (text, _) = release.export("child", Format::EuSummary, |request| request.answers = Some(answers)).unwrap();
    assert!(!text.contains("<b>") && !text.lines().any(|line| line.starts_with("# not a heading")), "{text}");
    assert!(release.export("data", Format::EuSummary, |_| ()).unwrap_err().to_string().contains("is a dataset"));
}
