//! Record trees on the command line: signed, proven, checked, and everything that must not pass.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

fn countermark(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("countermark").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_record_is_proven_from_a_private_dataset_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    let lines: String = (0..1000).map(|i| format!("{{\"id\":{i},\"name\":\"person {i}\"}}\n")).collect();
    fs::create_dir(at.join("data")).unwrap();
    fs::write(at.join("data/a.jsonl"), &lines).unwrap();
    fs::write(at.join("data/notes.bin"), "no records").unwrap();
    assert_eq!(run(&["keygen", "--out", "keys"]).0, 0);
    let key = ["--key", "keys/owner.key"];

    let (code, _, stderr) = run(&[&["sign", "data", "--records", "--salt", "salt"], &key[..]].concat());
    assert_eq!(code, 0, "{stderr}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(at.join("salt")).unwrap().permissions().mode() & 0o777, 0o600);

    let bundle = ["--bundle", "data.provenance.json"];
    let policy = ["--policy", "keys/policy.toml"];
    let prove =
        |more: &[&str]| run(&[&["lineage", "prove-record", "data", "--out", "proof.json"], &bundle[..], more].concat());
    assert_eq!(prove(&["--index", "1"]).0, 2, "without the salt");
    let (code, stdout, stderr) = prove(&["--match", "person 77\"", "--salt", "salt"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("record  77 of 1000"), "{stdout}");
    assert_eq!(prove(&["--match", "nobody", "--salt", "salt"]).0, 1);

    let check = |more: &[&str]| run(&[&["lineage", "check-record", "proof.json"], &bundle[..], more].concat());
    let (code, stdout, _) = check(&policy);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("{\"id\":77,\"name\":\"person 77\"}"), "{stdout}");
    assert!(stdout.contains("record 77 of the 1000 jsonl records of data, record 77 of a.jsonl"), "{stdout}");
    assert_eq!(check(&[]).0, 3, "nobody is known without a policy");
    assert!(fs::metadata(at.join("proof.json")).unwrap().len() < 4096);

    let good = fs::read_to_string(at.join("proof.json")).unwrap();
    let mut proof: serde_json::Value = serde_json::from_str(&good).unwrap();
    proof["proof"]["index"] = 78.into();
    fs::write(at.join("proof.json"), proof.to_string()).unwrap();
    assert_eq!(check(&policy).0, 1, "a shifted index");
    let mut proof: serde_json::Value = serde_json::from_str(&good).unwrap();
    proof["record"] = "e30=".into();
    fs::write(at.join("proof.json"), proof.to_string()).unwrap();
    assert_eq!(check(&policy).0, 1, "another record");
    let mut proof: serde_json::Value = serde_json::from_str(&good).unwrap();
    proof["statement"] = "00".repeat(32).into();
    fs::write(at.join("proof.json"), proof.to_string()).unwrap();
    assert_eq!(check(&policy).0, 3, "a proof about another dataset");
    fs::write(at.join("proof.json"), "{}").unwrap();
    assert_eq!(check(&policy).0, 2, "no proof at all");

    // The data of the model is what the model's bundle answers for.
    fs::write(at.join("weights.bin"), "weights").unwrap();
    let parent = ["--parent", "trained-on=data.provenance.json@data"];
    assert_eq!(run(&[&["sign", "weights.bin"], &key[..], &parent[..]].concat()).0, 0);
    fs::write(at.join("proof.json"), &good).unwrap();
    let arguments = ["lineage", "check-record", "proof.json", "--bundle", "weights.bin.provenance.json"];
    let (code, stdout, _) = run(&[&arguments[..], &policy[..]].concat());
    assert_eq!(code, 0, "{stdout}");

    fs::write(at.join("data/a.jsonl"), lines.replace("person 500", "person 50o")).unwrap();
    let (code, _, stderr) = prove(&["--index", "1", "--salt", "salt"]);
    assert!(code == 2 && stderr.contains("does not give the signed root"), "{stderr}");
}

#[test]
fn absence_and_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    fs::write(at.join("train.csv"), "a,b\n1,2\n\"x\ny\",3\n1,2\n5,6\n").unwrap();
    fs::write(at.join("test.csv"), "a,b\r\n5,6\r\n7,8\r\n1,2\r\n").unwrap();
    fs::write(at.join("there"), "1,2\n").unwrap();
    fs::write(at.join("missing"), "9,9\n").unwrap();
    assert_eq!(run(&["keygen", "--out", "keys"]).0, 0);
    assert_eq!(run(&["sign", "train.csv", "--key", "keys/owner.key", "--records", "--sorted"]).0, 0);
    assert_eq!(run(&["sign", "test.csv", "--key", "keys/owner.key", "--records"]).0, 0);
    let (code, stdout, _) = run(&["verify", "train.csv", "--policy", "keys/policy.toml"]);
    assert!(code == 0 && stdout.contains("4 csv records re-read"), "{stdout}");

    let prove = |data: &str, record: &str| {
        let bundle = format!("{data}.provenance.json");
        run(&["lineage", "prove-absence", data, "--bundle", &bundle, "--record", record, "--out", "proof.json"])
    };
    assert_eq!(prove("train.csv", "there").0, 1);
    let (code, _, stderr) = prove("test.csv", "missing");
    assert!(code == 2 && stderr.contains("absence cannot be proven by this tree"), "{stderr}");
    assert_eq!(prove("train.csv", "missing").0, 0);
    let check = ["lineage", "check-record", "proof.json", "--policy", "keys/policy.toml", "--bundle"];
    let (code, stdout, _) = run(&[&check[..], &["train.csv.provenance.json"]].concat());
    assert!(code == 0 && stdout.contains("is not among the 4 csv records"), "{stdout}");
    assert_eq!(run(&[&check[..], &["test.csv.provenance.json"]].concat()).0, 3);

    let (code, stdout, stderr) = run(&["lineage", "duplicates", "train.csv", "test.csv", "--format", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&found["shared"], &found["first"]["shared"], &found["second"]["shared"]),
        (&2.into(), &3.into(), &2.into())
    );
    assert_eq!((&found["first"]["records"], &found["first"]["distinct"]), (&4.into(), &3.into()));
    assert_eq!(found["examples"][0]["second"]["index"], 2);
    assert_eq!(run(&["sign", "train.csv", "--key", "keys/owner.key", "--records", "--sorted", "--salt", "s"]).0, 2);
    assert!(!at.join("s").exists());
}
