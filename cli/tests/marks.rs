//! Marks on the command line, beyond the README's walk-through: copies and their leaks, disclosure, attacks, derivation.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countermark")).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn json(folder: &Path, args: &[&str], code: i32) -> Value {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder with keys, the fixture model, and two marked copies of it.
fn workshop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(run(path, &["keygen", "--out", "keys"]).status.success());
    fs::create_dir(path.join("base")).unwrap();
    fs::write(path.join("base/model.safetensors"), countermark_fixtures::MODEL).unwrap();
    fs::write(path.join("base/config.json"), countermark_fixtures::CONFIG).unwrap();
    for name in ["ann", "bob"] {
        let mut args = vec!["watermark", "embed", "base", "--key", "keys/owner.mark.key", "--strength", "-30"];
        args.extend(["--out", name, "--recipient", name]);
        let output = run(path, &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    folder
}

#[test]
fn a_leaked_copy_is_traced_after_quantising() {
    let folder = workshop();
    let path = folder.path();
    let attack = ["watermark", "attack", "bob", "--kind", "noise:0.02+int8", "--out", "leaked"];
    assert!(run(path, &attack).status.success());
    let key = ["--key", "keys/owner.mark.key", "--format", "json"];
    let traced = json(path, &[&["watermark", "trace", "leaked", "--base", "base"], &key[..]].concat(), 0);
    let names: Vec<&str> =
        traced["leaked"].as_array().unwrap().iter().map(|copy| copy["recipient"].as_str().unwrap()).collect();
    assert_eq!(names, ["bob"]);
    assert_eq!(traced["copies"].as_array().unwrap().len(), 2);
    let nobody = json(path, &[&["watermark", "trace", "base"], &key[..]].concat(), 1);
    assert!(nobody["leaked"].as_array().unwrap().is_empty());

    let found = json(path, &[&["watermark", "detect", "leaked", "--base", "base"], &key[..]].concat(), 0);
    assert_eq!((found["recipient"].as_str(), found["base_is_committed"].as_bool()), (Some("bob"), Some(true)));
    // Another base than the committed one says nothing, and the report says so.
    let other = json(path, &[&["watermark", "detect", "leaked", "--base", "ann"], &key[..]].concat(), 0);
    assert_eq!(other["base_is_committed"], Value::Bool(false));
}

#[test]
fn attacks_keep_the_folder_a_model() {
    let folder = workshop();
    let path = folder.path();
    let output = run(path, &["watermark", "attack", "ann", "--kind", "extend-vocabulary:8", "--out", "longer"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config: Value = serde_json::from_slice(&fs::read(path.join("longer/config.json")).unwrap()).unwrap();
    assert_eq!(config["vocab_size"], 264);
    for (args, expected) in [
        (&["--kind", "melt", "--out", "x"][..], "melt"),
        (&["--kind", "soup:0.5", "--out", "x"], "another model"),
        (&["--kind", "int8", "--out", "longer"], "is there already"),
    ] {
        let output = run(path, &[&["watermark", "attack", "ann"], args].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
        assert!(!path.join("x").exists());
    }
    let help = text(&run(path, &["watermark", "attack", "--help"]).stdout);
    assert!(help.contains("prune:SHARE") && help.contains("rotate"), "{help}");
}

#[test]
fn derivation_tells_kin_from_strangers() {
    let folder = workshop();
    let path = folder.path();
    let prune = ["watermark", "attack", "base", "--kind", "prune:0.5", "--out", "pruned"];
    assert!(run(path, &prune).status.success());
    let related = json(path, &["derivation", "pruned", "base", "--format", "json"], 0);
    assert_eq!((related["related"].as_bool(), related["relation_hint"].as_str()), (Some(true), Some("pruned-from")));
    assert!(related["log10_p"].as_f64().unwrap() < -1000.0);
    let human = run(path, &["derivation", "pruned", "base"]);
    let human = text(&human.stdout);
    assert!(human.contains("not independent") && human.contains("pruned") && human.contains("limit"), "{human}");
}

#[test]
fn what_cannot_be_read_or_disclosed_says_why() {
    let folder = workshop();
    let path = folder.path();
    let records: Vec<_> = fs::read_dir(path.join("keys/marks")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let record = records.iter().find(|path| !path.to_string_lossy().contains(".note.")).unwrap();
    let record = record.to_str().unwrap();
    let args = ["watermark", "disclose", "--key", "keys/owner.mark.key", "--commitment", record];
    let output = run(path, &[&args[..], &["--group", "1", "--out", "d.json"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot reach"), "{}", text(&output.stderr));
    assert!(!path.join("d.json").exists());

    fs::write(path.join("model.bin"), b"PK\x03\x04").unwrap();
    let output = run(path, &["watermark", "detect", "model.bin", "--key", "keys/owner.mark.key"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("pickle"), "{}", text(&output.stderr));
}
