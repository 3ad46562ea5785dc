//! A real release in every format: read back by each format's official validator, which also refuses a broken document.
//!
//! The validators are Python programs: `eval "$(fixtures/services/validators.sh)"` sets `COUNTERMARK_VALIDATORS`. Without
//! it, what they would check is skipped and said so; what the documents say is compared with the bundle in any case.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use countermark::card;
use countermark::export::{self, Format, Request};
use countermark::lineage::bundle::Bundle;
use countermark::lineage::export::hub_card::Comparison;
use countermark::lineage::graph::statement::{Process, Statement};
use countermark::lineage::graph::{Kind, Relation};
use countermark::lineage::verdict::State;
use countermark::sign::{self, ParentRequest};
use countermark::{keyset, silent};
use serde_json::{Value, json};

/// A dataset, a base model trained on it, and a fine-tuned child, each with a bundle, in a folder with keys.
struct Release {
    folder: tempfile::TempDir,
}

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
/// A legal file name that is hard on every format.
const HARD: &str = "a \"b\" <c> & |d| `e` #é?.txt";

impl Release {
    fn make() -> Self {
        let release = Release { folder: tempfile::tempdir().unwrap() };
        keyset::generate(&release.path("keys"), "Example Lab").unwrap();
        fs::create_dir(release.path("data")).unwrap();
        fs::write(release.path("data/train.csv"), "id,question\n1,what?\n2,\"who, then?\"\n").unwrap();
        fs::write(release.path("data/extra.jsonl"), "{\"a\":1.5,\"ok\":true}\n{\"a\":2,\"ok\":false}\n").unwrap();
        fs::write(release.path("data").join(HARD), "x").unwrap();
        release.model("base", 1);
        release.model("child", 2);
        release.sign("data", &[], &[]);
        release.sign("base", &[(Relation::TrainedOn, "data")], &[("hub", "lab/base")]);
        let parents = [(Relation::FineTunedFrom, "base"), (Relation::TrainedOn, "data")];
        release.sign("child", &parents, &[("epochs", "3"), ("note", "</script>\"'&")]);
        release
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.provenance.json"))
    }

    fn model(&self, name: &str, seed: u8) {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        let header = r#"{"w":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([seed; 64]);
        fs::write(folder.join("model.safetensors"), bytes).unwrap();
        fs::write(folder.join("config.json"), "{}").unwrap();
        fs::write(folder.join("README.md"), "# A model\n").unwrap();
    }

    fn sign(&self, name: &str, parents: &[(Relation, &str)], parameters: &[(&str, &str)]) {
        let mut request = sign::Request::new(self.path(name), self.path("keys/owner.key"));
        request.parents = parents
            .iter()
            .map(|(relation, parent)| ParentRequest {
                relation: *relation,
                bundle: self.bundle(parent),
                path: Some(self.path(parent)),
            })
            .collect();
        if !parameters.is_empty() {
            let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            request.process = Some(Process { parameters, revision: Some(REVISION.to_owned()) });
        }
        sign::sign(&request, &silent()).unwrap();
    }

    fn answers(&self, text: &str) -> PathBuf {
        let path = self.path("answers.toml");
        fs::write(&path, format!("schema = \"countermark.dev/answers/v1\"\n{text}")).unwrap();
        path
    }

    fn statement(&self, name: &str) -> Statement {
        let bundle = Bundle::parse(&fs::read(self.bundle(name)).unwrap()).unwrap();
        Statement::parse(&bundle.records[0].statement.verify().unwrap().payload).unwrap()
    }

    /// The document, also written to a file that a validator can be given.
    fn export(
        &self,
        name: &str,
        format: Format,
        change: impl FnOnce(&mut Request),
    ) -> Result<(String, PathBuf), String> {
        let mut request = Request::new(self.bundle(name), format);
        change(&mut request);
        let text = export::export(&request, &silent()).map_err(|error| error.to_string())?;
        // Croissant's relative addresses start at the document.
        let path = self.path(if format == Format::Croissant { "data/document.json" } else { "document.json" });
        fs::write(&path, &text).unwrap();
        Ok((text, path))
    }
}

const ABOUT_DATA: &str = "[artifact.data]\ndescription = \"Two <b>questions</b>\"\nlicense = \"CC0-1.0\"\n\
                          url = \"https://example.org/data\"\nreleased = \"2026-11-01\"\ncreator = \"Example Lab\"\n\
                          modalities = [\"text\", \"tabular\"]\n";

/// Runs the official validator; `None`, said so, without one.
fn validate(arguments: &[&str]) -> Option<Result<Value, String>> {
    let Ok(python) = std::env::var("COUNTERMARK_VALIDATORS") else {
        eprintln!("skipped: {}: COUNTERMARK_VALIDATORS is not set (fixtures/services/validators.sh)", arguments[0]);
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/services/validate.py");
    let output =
        Command::new(&python).arg(script).args(arguments).output().expect("COUNTERMARK_VALIDATORS is a Python");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Some(Ok(serde_json::from_slice(&output.stdout).expect("the validator prints JSON")));
    }
    // A program that cannot run refuses everything, and would make every negative test pass.
    assert!(!stderr.contains("ModuleNotFoundError") && !stderr.contains("ImportError"), "{stderr}");
    Some(Err(stderr))
}

fn valid(format: &str, path: &Path, arguments: &[&str]) -> Option<Value> {
    let path = path.to_str().unwrap();
    let arguments: Vec<&str> = [format, path].into_iter().chain(arguments.iter().copied()).collect();
    validate(&arguments).map(|answer| answer.unwrap_or_else(|error| panic!("{format}: {error}")))
}

/// What is done to a document, and how that is called.
type Changes<'a> = &'a [(&'a str, fn(&mut Value))];

/// The same validator refuses each change.
fn refuses(format: &str, path: &Path, text: &str, arguments: &[&str], changes: Changes<'_>) {
    for (what, change) in changes {
        let broken: String = text
            .split_inclusive(if format == "openlineage" { "\n" } else { "\u{0}" })
            .map(|part| {
                let mut document: Value = serde_json::from_str(part).unwrap();
                change(&mut document);
                document.to_string() + "\n"
            })
            .collect();
        fs::write(path, &broken).unwrap();
        let path = path.to_str().unwrap();
        let arguments: Vec<&str> = [format, path].into_iter().chain(arguments.iter().copied()).collect();
        if let Some(answer) = validate(&arguments) {
            assert!(answer.is_err(), "{format}: {what} was not refused");
        }
    }
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name} in {list:#}"))
}

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

fn sha256_of(path: &Path) -> String {
    countermark::lineage::digest::Hash::sha256(&fs::read(path).unwrap()).to_string()
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

#[test]
fn what_must_not_be_exported() {
    let release = Release::make();
    let good = fs::read(release.bundle("child")).unwrap();
    let data = Bundle::parse(&fs::read(release.bundle("data")).unwrap()).unwrap();
    let refused = |what: &str, reason: &str, change: &dyn Fn(&mut Bundle)| {
        let mut bundle = Bundle::parse(&good).unwrap();
        change(&mut bundle);
        fs::write(release.bundle("child"), bundle.to_json()).unwrap();
        for (_, format) in Format::ALL {
            let error = release.export("child", *format, |_| ()).expect_err(what).to_string();
            assert!(error.contains(reason) || *format == Format::Croissant, "{what}: {error}");
        }
    };
    refused("another signature", "signature", &|bundle| {
        bundle.records[0].statement.signatures[0].sig = data.records[0].statement.signatures[0].sig.clone();
    });
    refused("a record twice", "twice", &|bundle| bundle.records.push(bundle.records[1].clone()));
    release.model("stranger", 9);
    release.sign("stranger", &[], &[]);
    let stranger = Bundle::parse(&fs::read(release.bundle("stranger")).unwrap()).unwrap();
    refused("a stranger", "no ancestor", &|bundle| bundle.records.push(stranger.records[0].clone()));
    fs::write(release.bundle("child"), &good).unwrap();

    // A policy lets through only what its signers may say.
    let policy = release.path("keys/policy.toml");
    let with =
        |policy: &Path| release.export("child", Format::Slsa, |request| request.policy = Some(policy.to_owned()));
    assert!(with(&policy).is_ok());
    let text = fs::read_to_string(&policy).unwrap();
    let signer = release.statement("data").predicate.signer;
    for (what, changed, reason) in [
        ("a stranger's policy", "schema = \"countermark.dev/policy/v1\"\n".to_owned(), "nobody in the policy vouches"),
        (
            "another name",
            text.replacen("[[signer]]", "[[signer]]\nnames = [\"child\"]", 1),
            "may not vouch for this name",
        ),
        (
            "another relation",
            text.replacen("[[signer]]", "[[signer]]\nrelations = [\"trained-on\"]", 1),
            "may not state fine-tuned-from",
        ),
        ("a revoked key", format!("{text}\n[[revoked]]\nkey = \"{signer}\"\nreason = \"lost\"\n"), "was revoked: lost"),
    ] {
        let path = release.path("changed.toml");
        fs::write(&path, changed).unwrap();
        let error = with(&path).expect_err(what).to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
    // A stripped ancestor is still named, and nobody vouches for it.
    let mut bundle = Bundle::parse(&good).unwrap();
    bundle.records.truncate(2);
    fs::write(release.bundle("child"), bundle.to_json()).unwrap();
    let (text, _) = release.export("child", Format::EuSummary, |_| ()).unwrap();
    assert!(text.contains("| not stated | not stated |"), "{text}");
    assert!(with(&policy).unwrap_err().to_string().contains("is not in the bundle"));
}

fn check(release: &Release, card: &str, answers: &str) -> Comparison {
    fs::write(release.path("child/README.md"), card).unwrap();
    let mut request = card::Request::new(release.path("child"));
    request.answers = Some(release.answers(answers));
    request.policy = Some(release.path("keys/policy.toml"));
    card::check(&request, &silent()).unwrap()
}

#[test]
fn cards_that_agree_contradict_or_cannot_be_compared() {
    let release = Release::make();
    let hub = "[hub]\ndata = \"lab/data\"\n";
    let good = "base_model: lab/base\nbase_model_relation: finetune\ndatasets: [lab/data]\n";
    for (card, answers, state, words) in [
        (good, hub, State::Verified, "is signed: fine-tuned-from base"),
        ("base_model: [LAB/base]\ndatasets: lab/data\n", hub, State::Verified, "is signed"),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [base_model:finetune:lab/base]\n",
            hub,
            State::Verified,
            "finetune",
        ),
        ("base_model: evil/llama\ndatasets: [lab/data]\n", hub, State::Invalid, "no such parent is signed"),
        ("base_model: [lab/base, evil/llama]\ndatasets: [lab/data]\n", hub, State::Invalid, "no such parent is signed"),
        ("base_model: lab/base\n", hub, State::Invalid, "lab/data (trained-on) is missing"),
        ("datasets: [lab/data]\n", hub, State::Invalid, "lab/base (fine-tuned-from) is missing"),
        ("license: mit\n", hub, State::Invalid, "is missing"),
        (&good.replace("finetune", "quantized"), hub, State::Invalid, "differs: fine-tuned-from is signed"),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [\"base_model:evil/llama\"]\n",
            hub,
            State::Invalid,
            "no such parent",
        ),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [\"dataset:evil/set\"]\n",
            hub,
            State::Invalid,
            "no such parent",
        ),
        (
            "base_model: lab/base\ndatasets: [lab/data]\ntags: [\"base_model:merge:lab/base\"]\n",
            hub,
            State::Invalid,
            "differs",
        ),
        // Names that look alike prove nothing.
        (good, "", State::Unknown, "names cannot be compared"),
        ("base_model: lab/base\ndatasets: [other/data]\n", "", State::Unknown, "answer [hub] \"data\""),
        ("base_model: {name: lab/base}\ndatasets: [lab/data]\n", hub, State::Invalid, "nested"),
        // What is published nowhere need not be named; what is claimed must still be signed.
        ("base_model: lab/base\n", "[hub]\ndata = false\n", State::Verified, "published nowhere"),
        ("base_model: lab/base\ndatasets: [lab/data]\n", "[hub]\ndata = false\n", State::Invalid, "no such parent"),
        // A dataset of the base only is an ancestor as well.
        (
            "base_model: lab/base\ndatasets: [lab/data]\n",
            "[hub]\ndata = \"lab/data\"\nbase = \"lab/base\"\n",
            State::Verified,
            "is signed",
        ),
    ] {
        let comparison = check(&release, &format!("---\n{card}---\n# Card\n"), answers);
        assert_eq!(comparison.state, state, "{card}{answers}{comparison:#?}");
        assert!(
            comparison.checks.iter().any(|row| format!("{} {}", row.name, row.detail).contains(words)),
            "{card}{comparison:#?}"
        );
    }
    let comparison = check(&release, "# No front matter\n", hub);
    assert_eq!(comparison.state, State::Invalid);

    // A card that two readers take differently is refused before anything is compared.
    for card in ["---\nbase_model: lab/base\nbase_model: evil/x\n---\n", "\n---\nbase_model: lab/base\n---\n"] {
        fs::write(release.path("child/README.md"), card).unwrap();
        let error = card::check(&card::Request::new(release.path("child")), &silent()).unwrap_err().to_string();
        assert!(error.contains("README.md") && error.contains("help:"), "{error}");
    }
    // The bundle of another model speaks for nothing here, whatever the card says.
    fs::write(release.path("child/README.md"), format!("---\n{good}---\n")).unwrap();
    let mut request = card::Request::new(release.path("child"));
    request.answers = Some(release.answers(hub));
    request.bundle = Some(release.bundle("base"));
    let comparison = card::check(&request, &silent()).unwrap();
    assert_eq!(comparison.state, State::Invalid, "{comparison:#?}");
    assert!(card::write(&request, &silent()).is_err());
    // A signer that the policy does not know: agreement is not enough.
    keyset::generate(&release.path("other"), "Other Lab").unwrap();
    let mut request = card::Request::new(release.path("child"));
    request.answers = Some(release.path("answers.toml"));
    request.policy = Some(release.path("other/policy.toml"));
    assert_eq!(card::check(&request, &silent()).unwrap().state, State::UnknownSigner);
    // The card of a dataset is signed with it.
    let error = card::write(&card::Request::new(release.path("data")), &silent()).unwrap_err().to_string();
    assert!(error.contains("is a dataset"), "{error}");
}

#[test]
fn a_card_is_written_with_the_signed_parents_and_nothing_else_changed() {
    let release = Release::make();
    let card = "---\n# ours\nlicense: mit # as the code\nbase_model: evil/llama\ndatasets:\n- evil/set\n- LAB/data # kept\n\
                tags: [\"base_model:evil/llama\", en]\nmodel-index:\n- name: m\n  results: []\n---\n# A model\n\n--- \n<b>body</b>\r\n";
    fs::write(release.path("child/README.md"), card).unwrap();
    let mut request = card::Request::new(release.path("child"));
    let error = card::write(&request, &silent()).unwrap_err().to_string();
    assert!(error.contains("published: \"data\"") && error.contains("[hub]"), "{error}");
    assert_eq!(fs::read_to_string(release.path("child/README.md")).unwrap(), card, "nothing is written on an error");

    request.answers = Some(release.answers("[hub]\ndata = \"lab/data\"\n[card]\ntags = [\"1.0\", \"no: way\"]\n"));
    assert!(card::write(&request, &silent()).unwrap());
    let written = fs::read_to_string(release.path("child/README.md")).unwrap();
    assert_eq!(
        written,
        "---\n# ours\nlicense: mit # as the code\nbase_model: lab/base\ndatasets:\n- LAB/data # kept\n\
         tags:\n- en\n- \"1.0\"\n- \"no: way\"\nmodel-index:\n- name: m\n  results: []\nbase_model_relation: finetune\n---\n\
         # A model\n\n--- \n<b>body</b>\r\n"
    );
    assert!(!card::write(&request, &silent()).unwrap(), "a second time nothing changes");
    assert_eq!(fs::read_to_string(release.path("child/README.md")).unwrap(), written);
    request.policy = Some(release.path("keys/policy.toml"));
    assert_eq!(card::check(&request, &silent()).unwrap().state, State::Verified);
    if let Some(read) = valid("card", &release.path("child/README.md"), &[]) {
        assert_eq!(read["base_model"], "lab/base");
        assert_eq!(read["base_model_relation"], "finetune");
        assert_eq!((&read["datasets"], &read["tags"]), (&json!(["LAB/data"]), &json!(["en", "1.0", "no: way"])));
        assert_eq!(read["license"], "mit");
    }
    // Tags that are hard on YAML are read as the same text by the hub's own library.
    let hard =
        ["~", "yes", "1:30", "2026-01-01", "a #b", "- x", "é😀\u{a0}", "'\"\\", "&a *b", "{x}", "0x1f", "!!str", "<<"];
    let tags: Vec<String> = hard.iter().map(|tag| Value::from(*tag).to_string()).collect();
    request.answers =
        Some(release.answers(&format!("[hub]\ndata = \"lab/data\"\n[card]\ntags = [{}]\n", tags.join(", "))));
    fs::write(release.path("child/README.md"), "# New\n").unwrap();
    assert!(card::write(&request, &silent()).unwrap());
    assert!(fs::read_to_string(release.path("child/README.md")).unwrap().ends_with("---\n\n# New\n"));
    if let Some(read) = valid("card", &release.path("child/README.md"), &[]) {
        assert_eq!(read["tags"], json!(hard));
    }
}

#[test]
fn single_files_content_and_every_relation() {
    let release = Release::make();
    // A dataset of one file: its SHA-256 is signed, so no format needs the bytes.
    fs::write(release.path("data.csv"), "a,b\n1,2\n").unwrap();
    release.sign("data.csv", &[(Relation::DerivedFrom, "data")], &[]);
    let root = release.statement("data.csv").root().to_string();
    let sha256 = sha256_of(&release.path("data.csv"));
    let answers = release.answers(&ABOUT_DATA.replace("artifact.data", "artifact.\"data.csv\""));
    let (text, path) =
        release.export("data.csv", Format::Croissant, |request| request.answers = Some(answers)).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&document["distribution"][0]["sha256"], document["recordSet"].is_null()), (&json!(sha256), true));
    assert_eq!(document["prov:wasDerivedFrom"][0]["cm:relation"], "derived-from");
    valid("croissant", &path, &[]);
    fs::remove_file(path).unwrap();
    let (_, path) = release.export("data.csv", Format::Spdx, |_| ()).unwrap();
    if let Some(read) = valid("spdx", &path, &[]) {
        assert_eq!(read["hashes"]["data.csv"], json!({ "blake3": root, "sha256": sha256 }));
    }
    let (text, path) = release.export("data.csv", Format::Cyclonedx, |_| ()).unwrap();
    valid("cyclonedx", &path, &[]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["metadata"]["component"]["hashes"][0]["content"], root);
    let (_, path) = release.export("data.csv", Format::Slsa, |_| ()).unwrap();
    if let Some(read) = valid("slsa", &path, &[]) {
        assert_eq!(read["subject"], json!({ "data.csv": { "blake3": root, "sha256": sha256 } }));
    }
    let (_, path) = release.export("data.csv", Format::Openlineage, |_| ()).unwrap();
    valid("openlineage", &path, &[]);

    // What a model generated: the edge runs the other way in SPDX.
    fs::write(release.path("answer.txt"), "42\n").unwrap();
    let mut request = sign::Request::new(release.path("answer.txt"), release.path("keys/owner.key"));
    request.kind = Some(Kind::GeneratedContent);
    let bundle = release.bundle("child");
    request.parents = vec![ParentRequest { relation: Relation::GeneratedBy, bundle, path: None }];
    sign::sign(&request, &silent()).unwrap();
    let (_, path) = release.export("answer.txt", Format::Spdx, |_| ()).unwrap();
    if let Some(read) = valid("spdx", &path, &[]) {
        assert!(read["relationships"].as_array().unwrap().contains(&json!(["child", "generates", ["answer.txt"]])));
    }
    let (_, path) = release.export("answer.txt", Format::Cyclonedx, |_| ()).unwrap();
    valid("cyclonedx", &path, &[]);

    // Every relation in every format, and the hub's word for it, if it has one.
    for relation in Relation::ALL {
        release.model("made", 3);
        release.sign("made", &[(*relation, "base")], &[]);
        for (name, format) in [
            ("spdx", Format::Spdx),
            ("cyclonedx", Format::Cyclonedx),
            ("slsa", Format::Slsa),
            ("openlineage", Format::Openlineage),
        ] {
            let (text, path) = release.export("made", format, |_| ()).unwrap();
            assert!(text.contains(relation.as_str()), "{relation} in {name}");
            if *relation == Relation::QuantisedFrom {
                valid(name, &path, &[]);
            }
        }
        let word = match relation {
            Relation::FineTunedFrom => "finetune",
            Relation::AdapterOf => "adapter",
            Relation::QuantisedFrom => "quantized",
            Relation::MergedFrom => "merge",
            // A base that is stated as data stands in another field of the card.
            Relation::TrainedOn => continue,
            _ => "",
        };
        let mut request = card::Request::new(release.path("made"));
        assert!(card::write(&request, &silent()).unwrap());
        let written = fs::read_to_string(release.path("made/README.md")).unwrap();
        assert!(written.contains("base_model: lab/base\n"), "{written}");
        assert_eq!(written.contains("base_model_relation"), !word.is_empty(), "{written}");
        request.policy = Some(release.path("keys/policy.toml"));
        let agreed = card::check(&request, &silent()).unwrap();
        assert_eq!(agreed.state, State::Verified, "{relation}: {agreed:#?}");
        for claimed in ["finetune", "adapter", "quantized", "merge"] {
            let text = format!("---\nbase_model: lab/base\nbase_model_relation: {claimed}\n---\n");
            fs::write(release.path("made/README.md"), text).unwrap();
            let expected = if claimed == word {
                State::Verified
            } else if word.is_empty() {
                State::Unknown
            } else {
                State::Invalid
            };
            assert_eq!(card::check(&request, &silent()).unwrap().state, expected, "{relation} {claimed}");
        }
    }
}

/// base → step, published nowhere known → final: a card may name the base in place of the step.
#[test]
fn a_parent_that_nobody_published_is_covered_by_its_own_ancestor() {
    let release = Release::make();
    release.model("step", 4);
    release.sign("step", &[(Relation::FineTunedFrom, "base")], &[]);
    release.model("child", 5);
    release.sign("child", &[(Relation::QuantisedFrom, "step")], &[]);
    let comparison = check(&release, "---\nbase_model: lab/base\n---\n", "");
    assert_eq!(comparison.state, State::Verified, "{comparison:#?}");
    assert!(comparison.checks.iter().any(|row| row.detail.contains("as an ancestor, not as a parent")));
    let comparison = check(&release, "---\nbase_model: lab/base\n---\n", "[hub]\nstep = \"lab/step\"\n");
    assert_eq!(comparison.state, State::Invalid, "a published parent must be named: {comparison:#?}");
    // The relation is that to the step, which the card does not name.
    let card = "---\nbase_model: lab/base\nbase_model_relation: quantized\n---\n";
    assert_eq!(check(&release, card, "").state, State::Unknown);
}
