//! The verbs of `lineage` that work on a store, from real releases to answers and exit codes.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use countermark::lineage::graph::Relation;
use countermark::sign::{self, ParentRequest, Request};
use countermark::{keyset, silent};

struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    /// data → base → left, right → merged, all signed; and what a stranger signed over the bytes of the base.
    fn new() -> Self {
        let lab = Lab { folder: tempfile::tempdir().unwrap() };
        for keys in ["keys", "stranger"] {
            keyset::generate(&lab.path(keys), keys).unwrap();
        }
        lab.sign("keys", "data", "data", &[]);
        lab.sign("keys", "base", "base", &[(Relation::TrainedOn, "data")]);
        lab.sign("keys", "left", "left", &[(Relation::FineTunedFrom, "base")]);
        lab.sign("keys", "right", "right", &[(Relation::QuantisedFrom, "base")]);
        lab.sign("keys", "merged", "merged", &[(Relation::MergedFrom, "left"), (Relation::MergedFrom, "right")]);
        lab.sign("stranger", "mine", "base", &[]);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.path(&format!("releases/{name}.provenance.json"))
    }

    fn sign(&self, keys: &str, name: &str, content: &str, parents: &[(Relation, &str)]) {
        let file = self.path(name).with_extension(if name == "data" { "csv" } else { "tflite" });
        fs::write(&file, content).unwrap();
        let mut request = Request::new(file, self.path(keys).join("owner.key"));
        request.out = Some(self.bundle(name));
        let parent = |(relation, parent): &(Relation, &str)| ParentRequest {
            relation: *relation,
            bundle: self.bundle(parent),
            path: None,
        };
        request.parents = parents.iter().map(parent).collect();
        fs::create_dir_all(self.path("releases")).unwrap();
        sign::sign(&request, &silent()).unwrap();
    }

    fn lineage(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::cargo_bin("countermark")
            .unwrap()
            .arg("lineage")
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("COUNTERMARK_STORE")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let (code, stdout, stderr) = self.lineage(&[arguments, &["--format", "json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

fn names(nodes: &serde_json::Value) -> Vec<&str> {
    nodes.as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect()
}

#[test]
fn from_bundles_to_answers() {
    let lab = Lab::new();
    let (code, _, stderr) = lab.lineage(&["list"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("lineage import"), "{stderr}");

    let (code, stdout, stderr) = lab.lineage(&["import", "releases"]);
    assert_eq!((code, &*stdout), (0, "6 statements, 5 edges; 9 known already\n"), "{stderr}");
    assert!(lab.path("lineage.db").is_file());
    assert_eq!(lab.json(&["import", "releases/merged.provenance.json"])["statements"], 0);

    let list = lab.json(&["list"]);
    assert_eq!(
        names(&list["nodes"]),
        ["base.tflite", "data.csv", "left.tflite", "merged.tflite", "mine.tflite", "right.tflite"]
    );
    assert_eq!(list["counts"]["missing"], 0);
    let first = lab.json(&["list", "--limit", "2"]);
    let after = first["nodes"][1]["id"].as_str().unwrap();
    assert_eq!(
        names(&lab.json(&["list", "--limit", "2", "--after", after])["nodes"]),
        ["left.tflite", "merged.tflite"]
    );
    assert_eq!(names(&lab.json(&["list", "--name", "m"])["nodes"]), ["merged.tflite", "mine.tflite"]);

    let base = list["nodes"][0].clone();
    let (id, root) = (base["id"].as_str().unwrap(), base["root"].as_str().unwrap());
    let shown = lab.json(&["show", &id[..10]]);
    assert_eq!(shown[0]["signature"], "holds");
    assert_eq!(shown[0]["parents"][0]["relation"], "trained-on");

    assert_eq!(
        names(&lab.json(&["ancestors", "merged.tflite"])["reached"]),
        ["left.tflite", "right.tflite", "base.tflite", "data.csv"]
    );
    let down = lab.json(&["descendants", "data.csv", "--depth", "1"]);
    assert_eq!((names(&down["reached"]), down["truncated"].as_bool()), (vec!["base.tflite"], Some(true)));
    let page = lab.json(&["descendants", "data.csv", "--limit", "1", "--skip", "1"]);
    assert_eq!((names(&page["reached"]), page["total"].as_u64()), (vec!["left.tflite"], Some(4)));

    // Two paths are equally short; the ids, which differ from run to run, say which is shown.
    let path = lab.json(&["path", "data.csv", "merged.tflite"]);
    let path = names(&path["path"]);
    assert!(matches!(*path, ["merged.tflite", "left.tflite" | "right.tflite", "base.tflite", "data.csv"]), "{path:?}");
    let (code, _, stderr) = lab.lineage(&["path", "left.tflite", "right.tflite"]);
    assert_eq!(code, 4, "{stderr}");

    let touched = names(&lab.json(&["touched", "data.csv"])["reached"]).join(" ");
    assert_eq!(touched, "base.tflite left.tflite mine.tflite right.tflite merged.tflite");
    let by_edges = names(&lab.json(&["touched", "data.csv", "--edges-only"])["reached"]).join(" ");
    assert_eq!(by_edges, "base.tflite left.tflite right.tflite merged.tflite");

    let by_root = lab.json(&["affected", &format!("root:{}", &root[..12])]);
    let revoked: Vec<&str> =
        by_root["groups"].as_array().unwrap().iter().map(|group| group["revoked"]["name"].as_str().unwrap()).collect();
    assert_eq!(revoked, ["base.tflite", "mine.tflite"]);
    assert_eq!(names(&by_root["groups"][0]["made_from_it"]), ["left.tflite", "right.tflite", "merged.tflite"]);
    let signer = list["nodes"][4]["signer"].as_str().unwrap();
    assert_eq!(lab.json(&["affected", signer, "--edges-only"])["groups"].as_array().unwrap().len(), 1);

    let (code, stdout, _) = lab.lineage(&["check"]);
    assert_eq!((code, &*stdout), (0, "6 statements and 5 edges hold; 0 parents are missing; 0 wrong\n"));
    for word in ["nobody", "abcdef012345"] {
        for verb in ["ancestors", "descendants", "touched", "affected", "show", "graph", "list"] {
            let (code, _, stderr) = lab.lineage(&[verb, word]);
            assert_eq!(code, 4, "{verb} {word}: {stderr}");
        }
    }
    for (format, begin) in [("svg", "<svg"), ("html", "<!doctype html>"), ("dot", "digraph"), ("mermaid", "graph BT")] {
        let (code, stdout, _) = lab.lineage(&["graph", "base.tflite", "--descendants", "--format", format]);
        assert!(
            code == 0 && stdout.starts_with(begin) && stdout.contains("merged.tflite") && !stdout.contains("data.csv"),
            "{format}"
        );
        let bundle = lab.bundle("merged");
        let (code, stdout, _) = lab.lineage(&["graph", bundle.to_str().unwrap(), "--format", format]);
        assert!(code == 0 && stdout.starts_with(begin) && stdout.contains("data.csv"), "{format}");
    }
}

#[test]
fn what_is_wrong_has_its_exit_code() {
    let lab = Lab::new();
    // One bad bundle among good ones: nothing goes in.
    let bundle = fs::read_to_string(lab.bundle("left")).unwrap();
    let at = bundle.find("\"sig\": \"").unwrap() + 20;
    let other = if &bundle[at..=at] == "A" { "B" } else { "A" };
    fs::write(lab.bundle("left"), format!("{}{other}{}", &bundle[..at], &bundle[at + 1..])).unwrap();
    let (code, _, stderr) = lab.lineage(&["import", "releases"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("left.provenance.json") && stderr.contains("signature"), "{stderr}");
    assert_eq!(lab.json(&["list"])["counts"]["statements"], 0);

    let (code, _, stderr) = lab.lineage(&["import", "keys"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("holds no bundle"), "{stderr}");

    let (code, _, stderr) = lab.lineage(&["list", "--store", "postgres://user:secret@127.0.0.1:1/db"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("PGPASSWORD") && !stderr.contains("secret"), "{stderr}");
    let (code, _, stderr) = lab.lineage(&["list", "--store", "postgres://user@127.0.0.1:1/db"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("help:"), "{stderr}");

    // A store edited by hand.
    lab.lineage(&["import", lab.bundle("base").to_str().unwrap()]);
    assert_eq!(lab.lineage(&["check"]).0, 0);
    flip_a_name(&lab.path("lineage.db"));
    let (code, stdout, _) = lab.lineage(&["check"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("2 wrong") || stdout.contains("1 wrong"), "{stdout}");
}

/// Writes over every place where the file says `base.tflite`, as long as before.
fn flip_a_name(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let places: Vec<usize> = bytes
        .windows(b"base.tflite".len())
        .enumerate()
        .filter(|(_, text)| *text == b"base.tflite")
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 4].copy_from_slice(b"evil");
    }
    fs::write(path, bytes).unwrap();
}
