//! `lineage export` and `lineage card` as scripts use them: streams, files and exit codes.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

fn countermark(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("countermark").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_release_in_other_formats_and_beside_its_card() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    fs::write(at.join("data.csv"), "a,b\n1,2\n").unwrap();
    fs::create_dir(at.join("model")).unwrap();
    fs::write(at.join("model/weights.bin"), "weights").unwrap();
    fs::write(at.join("model/README.md"), "---\ndatasets: lab/data\n---\n# A model\n").unwrap();
    assert_eq!(run(&["keygen", "--out", "keys"]).0, 0);
    let sign = |arguments: &[&str]| {
        let (code, _, stderr) = run(&[&["sign", "--key", "keys/owner.key"], arguments].concat());
        assert_eq!(code, 0, "{stderr}");
    };
    sign(&["data.csv"]);
    sign(&["model", "--kind", "model", "--parent", "trained-on=data.csv.provenance.json"]);

    let bundle = "model.provenance.json";
    let (code, stdout, _) = run(&["lineage", "export", bundle, "--format", "cyclonedx"]);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &document["specVersion"]), (0, &"1.6".into()));
    let (code, stdout, _) = run(&["lineage", "export", bundle, "--format", "spdx", "--out", "model.spdx.json"]);
    assert_eq!((code, &*stdout), (0, ""));
    assert!(fs::read_to_string(at.join("model.spdx.json")).unwrap().contains("trainedOn"));

    let (code, template, _) = run(&["lineage", "export", bundle, "--answers-template"]);
    assert_eq!(code, 0);
    fs::write(at.join("answers.toml"), &template).unwrap();
    let with = ["lineage", "export", bundle, "--format", "eu-summary", "--answers", "answers.toml"];
    let (code, stdout, stderr) = run(&with);
    assert!(code == 0 && stdout.contains("- **Provider name:** *not stated*"), "{stdout}{stderr}");

    for (arguments, words) in [
        (&["lineage", "export", bundle][..], &["--format"][..]),
        (&["lineage", "export", bundle, "--format", "xml"], &["xml", "croissant"]),
        (&["lineage", "export", "missing.json", "--format", "spdx"], &["missing.json", "help:"]),
        (&["lineage", "export", "data.csv", "--format", "spdx"], &["bundle", "help:"]),
        (&["lineage", "export", bundle, "--format", "croissant"], &["is a model", "help:"]),
        (&["lineage", "export", bundle, "--format", "spdx", "--key", "keys/owner.key"], &["--format slsa"]),
        (
            &["lineage", "export", bundle, "--format", "spdx", "--answers", "data.csv"],
            &["answers", "--answers-template"],
        ),
        (
            &["lineage", "export", "data.csv.provenance.json", "--format", "croissant"],
            &["[artifact.\"data.csv\"] license", "help:"],
        ),
        (&["lineage", "card", "check", "data.csv"], &["data.csv", "help:"]),
        (&["lineage", "card", "write", "model"], &["\"data.csv\"", "[hub]"]),
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert!(code == 2 && stdout.is_empty(), "{arguments:?}: {code} {stdout}{stderr}");
        words.iter().for_each(|word| assert!(stderr.contains(word), "{arguments:?}: {stderr}"));
    }

    let check = |answers: &str| {
        fs::write(at.join("hub.toml"), format!("schema = \"countermark.dev/answers/v1\"\n[hub]\n{answers}")).unwrap();
        run(&["lineage", "card", "check", "model", "--answers", "hub.toml", "--policy", "keys/policy.toml"])
    };
    let (code, stdout, _) = check("\"data.csv\" = \"lab/data\"\n");
    assert!(code == 0 && stdout.contains("agrees"), "{stdout}");
    let (code, stdout, _) = check("\"data.csv\" = \"lab/other\"\n");
    assert!(code == 1 && stdout.contains("contradicts"), "{stdout}");
    let (code, stdout, _) = check("");
    assert!(code == 3 && stdout.contains("cannot be told"), "{stdout}");
    let (code, stdout, _) = run(&["lineage", "card", "check", "model", "--format", "json"]);
    let comparison: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &comparison["state"]), (3, &"unknown".into()));

    check("\"data.csv\" = \"lab/other\"\n");
    let (code, stdout, _) = run(&["lineage", "card", "write", "model", "--answers", "hub.toml"]);
    assert_eq!((code, stdout), (0, "wrote model/README.md\n".to_owned()));
    assert_eq!(
        fs::read_to_string(at.join("model/README.md")).unwrap(),
        "---\ndatasets:\n- lab/other\n---\n# A model\n"
    );
    assert_eq!(run(&["verify", "model", "--policy", "keys/policy.toml"]).0, 0, "a card is not part of the root");
    // One byte of the weights: the card may agree, the bundle is about something else.
    fs::write(at.join("model/weights.bin"), "weight!").unwrap();
    let (code, stdout, _) = check("\"data.csv\" = \"lab/other\"\n");
    assert!(code == 1 && stdout.contains("invalid: files"), "{stdout}");
}
