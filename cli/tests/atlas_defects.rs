//! What the nearest peer gets wrong, each as a test that this project passes.
//!
//! Every test quotes what atlas-cli 0.3.0 was seen to do, by running it.

use std::fs;
use std::path::Path;

use run::countermark;
use serde_json::Value;

mod run;

/// Keys, a signed dataset and a signed model made from it, in a folder of their own.
fn release() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir_all(at.join("data")).unwrap();
    fs::write(at.join("data/train.txt"), "to be or not to be\n").unwrap();
    fs::create_dir_all(at.join("model")).unwrap();
    fs::write(at.join("model/model.safetensors"), safetensors("w", 7)).unwrap();
    good(at, &["keygen", "--out", "keys"]);
    good(at, &["sign", "data", "--key", "keys/owner.key"]);
    sign_child(at, "model");
    folder
}

fn sign_child(at: &Path, name: &str) {
    good(at, &["sign", name, "--key", "keys/owner.key", "--parent", "trained-on=data.provenance.json@data"]);
}

fn safetensors(name: &str, value: u8) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[value; 16]].concat()
}

fn good(at: &Path, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = countermark(at, arguments);
    assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    stdout
}

fn verdict(at: &Path, path: &str) -> (i32, Value) {
    let (code, stdout, stderr) = countermark(at, &["verify", path, "--policy", "keys/policy.toml", "--format", "json"]);
    (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

fn bundle(at: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(at.join(format!("{name}.provenance.json"))).unwrap()).unwrap()
}

fn write_bundle(at: &Path, name: &str, bundle: &Value) {
    fs::write(at.join(format!("{name}.provenance.json")), bundle.to_string()).unwrap();
}

/// The peer's `model verify` fails on a manifest that it has just made, so the weights are never hashed again.
#[test]
fn a_fresh_signature_verifies_and_the_weights_are_hashed_again() {
    let folder = release();
    let (code, verdict) = verdict(folder.path(), "model");
    assert_eq!(code, 0, "{verdict}");
    let files = verdict["checks"].as_array().unwrap().iter().find(|check| check["name"] == "files").unwrap();
    assert!(files["detail"].as_str().unwrap().contains("re-hashed"), "{files}");
}

/// The peer accepts all three: it hashes the parent's stored JSON again, and nothing else.
#[test]
fn a_replaced_signature_a_changed_author_and_a_changed_weight_are_each_refused() {
    let folder = release();
    let at = folder.path();
    let good = bundle(at, "model");
    let refused = |what: &str, row: &str| {
        let (code, verdict) = verdict(at, "model");
        assert_eq!(code, 1, "{what}: {verdict}");
        let names: Vec<&str> = verdict["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["state"] == "invalid")
            .map(|check| check["name"].as_str().unwrap())
            .collect();
        assert!(names.iter().any(|name| name.contains(row)), "{what}: {names:?}");
    };

    let mut bad = good.clone();
    bad["records"][0]["statement"]["signatures"][0]["sig"] = "AAAA".into();
    write_bundle(at, "model", &bad);
    refused("signature AAAA", "statement");

    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let payload = good["records"][0]["statement"]["payload"].as_str().unwrap();
    let text = String::from_utf8(engine.decode(payload).unwrap()).unwrap();
    let signer = serde_json::from_str::<Value>(&text).unwrap()["predicate"]["signer"].clone();
    let other = signer.to_string().replace(|c: char| c.is_ascii_digit(), "0");
    let mut bad = good.clone();
    bad["records"][0]["statement"]["payload"] = engine.encode(text.replace(&signer.to_string(), &other)).into();
    write_bundle(at, "model", &bad);
    refused("another signer", "statement");

    write_bundle(at, "model", &good);
    fs::write(at.join("model/model.safetensors"), safetensors("w", 8)).unwrap();
    refused("one byte of the weights", "files");
    let (_, stdout, _) = countermark(at, &["verify", "model", "--policy", "keys/policy.toml"]);
    assert!(stdout.contains("model.safetensors was changed"), "the file is named: {stdout}");
}

/// The peer checks no signature in any verification but one.
#[test]
fn a_signature_is_a_named_row_of_every_verdict() {
    let folder = release();
    for path in ["model", "data"] {
        let (_, verdict) = verdict(folder.path(), path);
        let rows = verdict["checks"].as_array().unwrap();
        assert!(
            rows.iter()
                .any(|row| row["name"] == "statement" && row["detail"].as_str().unwrap().starts_with("signature of")),
            "{verdict}"
        );
    }
    let (_, verdict) = verdict(folder.path(), "model");
    let parents = verdict["checks"].as_array().unwrap().iter().filter(|row| row["name"] == "parent data: statement");
    assert_eq!(parents.count(), 1, "and of every ancestor: {verdict}");
}

/// The peer's `link` appends an edge without signing, and changes the hash of the manifest, so that earlier links break.
#[test]
fn edges_are_inside_what_is_signed_and_a_new_child_leaves_the_parent_as_it_was() {
    let folder = release();
    let at = folder.path();
    let before = fs::read(at.join("data.provenance.json")).unwrap();
    fs::create_dir(at.join("second")).unwrap();
    fs::write(at.join("second/model.safetensors"), safetensors("w", 9)).unwrap();
    sign_child(at, "second");
    assert_eq!(fs::read(at.join("data.provenance.json")).unwrap(), before);
    assert_eq!(verdict(at, "model").0, 0, "the first child still verifies");
    let graph = |name: &str| -> Value {
        let bundle = format!("{name}.provenance.json");
        serde_json::from_str(&good(at, &["lineage", "graph", &bundle, "--format", "json"])).unwrap()
    };
    assert_eq!(graph("model")["edges"][0]["parent"], graph("second")["edges"][0]["parent"]);
    assert_eq!(graph("model")["edges"][0]["parent"], graph("data")["nodes"][0]["id"]);

    // An edge taken out of the bundle is taken out of the signed payload, and refused.
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let mut bad = bundle(at, "model");
    let payload = engine.decode(bad["records"][0]["statement"]["payload"].as_str().unwrap()).unwrap();
    let mut statement: Value = serde_json::from_slice(&payload).unwrap();
    statement["predicate"]["parents"] = Value::Array(vec![]);
    bad["records"][0]["statement"]["payload"] = engine.encode(statement.to_string()).into();
    write_bundle(at, "model", &bad);
    assert_eq!(verdict(at, "model").0, 1);
}

/// The peer's export of a signed manifest says `"signature": false`.
#[test]
fn the_exported_graph_has_the_states_that_verification_found() {
    let folder = release();
    let at = folder.path();
    let graph = good(at, &["lineage", "graph", "model.provenance.json", "--format", "json"]);
    let graph: Value = serde_json::from_str(&graph).unwrap();
    let (_, verdict) = verdict(at, "model");
    assert_eq!(graph["nodes"][0]["id"], verdict["statement"]);
    assert_eq!(graph["nodes"][0]["root"], verdict["root"]);
    for node in graph["nodes"].as_array().unwrap() {
        let (signer, id) = (node["signer"].as_str().unwrap(), node["id"].as_str().unwrap());
        let detail = format!("signature of {} over {}", &signer[..20], &id[..8]);
        let said = |row: &&Value| row["state"] == "verified" && row["detail"] == *detail;
        assert!(verdict["checks"].as_array().unwrap().iter().any(|row| said(&row)), "{detail}: {verdict}");
    }

    let mut bad = bundle(at, "model");
    bad["records"][1]["statement"]["signatures"][0]["sig"] = "AAAA".into();
    write_bundle(at, "model", &bad);
    let (code, stdout, _) = countermark(at, &["lineage", "graph", "model.provenance.json", "--format", "json"]);
    assert_eq!((code, &*stdout), (2, ""), "nothing is drawn of a bundle whose signatures do not hold");
}

/// The peer's links are absolute paths.
#[test]
fn a_release_verifies_in_another_folder_without_its_parents() {
    let folder = release();
    let elsewhere = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path(), elsewhere.path());
    fs::create_dir_all(to.join("deep/model")).unwrap();
    fs::create_dir(to.join("keys")).unwrap();
    for (source, target) in [
        ("model/model.safetensors", "deep/model/model.safetensors"),
        ("model.provenance.json", "deep/model.provenance.json"),
        ("keys/policy.toml", "keys/policy.toml"),
    ] {
        fs::copy(from.join(source), to.join(target)).unwrap();
    }
    let bundle = fs::read_to_string(to.join("deep/model.provenance.json")).unwrap();
    assert!(!bundle.contains(&*from.to_string_lossy()), "no path of the machine that signed");
    drop(folder);
    assert_eq!(verdict(to, "deep/model").0, 0);
}

/// The peer's `list` trips over its own index after some operations.
#[test]
fn a_store_lists_what_it_holds_after_every_operation() {
    let folder = release();
    let at = folder.path();
    let list = || -> Vec<String> {
        let list: Value =
            serde_json::from_str(&good(at, &["lineage", "list", "--store", "hub.db", "--format", "json"])).unwrap();
        let nodes = list["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    };
    good(at, &["lineage", "import", "data.provenance.json", "--store", "hub.db"]);
    assert_eq!(list(), ["data"]);
    good(at, &["lineage", "import", "model.provenance.json", "--store", "hub.db"]);
    assert_eq!(list(), ["data", "model"]);
    good(at, &["lineage", "import", "model.provenance.json", "--store", "hub.db"]);
    assert_eq!(list(), ["data", "model"], "importing twice changes nothing");
    good(at, &["lineage", "check", "--store", "hub.db"]);
    assert_eq!(list(), ["data", "model"]);
}

/// The peer refuses a folder as a dataset, and does not know safetensors.
#[test]
fn folders_shards_and_gguf_are_signed_and_verified() {
    let folder = release();
    let at = folder.path();
    assert_eq!(verdict(at, "data").0, 0, "a dataset in a folder");

    fs::create_dir(at.join("sharded")).unwrap();
    let shard = |number: u8| format!("model-0000{number}-of-00002.safetensors");
    fs::write(at.join("sharded").join(shard(1)), safetensors("a", 1)).unwrap();
    fs::write(at.join("sharded").join(shard(2)), safetensors("b", 2)).unwrap();
    let index = serde_json::json!({ "metadata": { "total_size": 32 }, "weight_map": { "a": shard(1), "b": shard(2) } });
    fs::write(at.join("sharded/model.safetensors.index.json"), index.to_string()).unwrap();
    sign_child(at, "sharded");

    let mut gguf = b"GGUF\x03\0\0\0".to_vec();
    gguf.extend([0; 16]);
    fs::write(at.join("empty.gguf"), gguf).unwrap();
    sign_child(at, "empty.gguf");
    for path in ["sharded", "empty.gguf"] {
        let (code, verdict) = verdict(at, path);
        assert_eq!(code, 0, "{verdict}");
        assert!(verdict["checks"].as_array().unwrap().iter().any(|row| row["name"] == "tensors"), "{verdict}");
    }
}
