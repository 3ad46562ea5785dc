//! Tensor roots, Xet hashes and drift against the libraries that write these files, named by COUNTERMARK_PYTHON
//! (`fixtures/services/checkpoints.sh`), and against real models where they are named.

use std::path::Path;
use std::process::Command as Process;

use assert_cmd::Command;
use serde_json::Value;

fn countermark(folder: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::cargo_bin("countermark").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    let document =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{stdout}{stderr}"));
    (output.status.code().unwrap(), document, stderr)
}

#[test]
fn what_other_libraries_wrote_is_read_as_they_read_it() {
    let Some(python) = std::env::var_os("COUNTERMARK_PYTHON") else {
        eprintln!(
            "skipped: other libraries' model files: COUNTERMARK_PYTHON is not set (fixtures/services/checkpoints.sh)"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/checkpoints.py");
    let made = Process::new(python).arg(script).arg(folder.path()).status().unwrap();
    assert!(made.success(), "fixtures/checkpoints.py failed");
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.path().join("expected.json")).unwrap()).unwrap();

    let models = expected["tensors"].as_object().unwrap();
    assert!(models.len() >= 16, "{}", models.len());
    for (path, tensors) in models {
        let (code, found, stderr) =
            countermark(folder.path(), &["digest", path, "--tensors", "--xet", "--format", "json"]);
        assert_eq!(code, 0, "{path}: {stderr}");
        let list = &found["tensors"]["list"];
        assert_eq!(list.as_array().unwrap().len(), tensors.as_array().unwrap().len(), "{path}");
        for (found, expected) in list.as_array().unwrap().iter().zip(tensors.as_array().unwrap()) {
            assert_eq!(found, expected, "{path}");
        }
        if let Some(hash) = expected["xet"].get(path) {
            assert_eq!(&found["xet"][0], hash, "{path}");
        }
    }

    let (code, found, _) = countermark(folder.path(), &["diff", "first.safetensors", "second.npz", "--format", "json"]);
    assert_eq!(code, 1);
    let row = |name: &str| found["tensors"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    for (what, value) in expected["drift"].as_object().unwrap() {
        let (ours, theirs) = (row("a")[what].as_f64().unwrap(), value.as_f64().unwrap());
        assert!((ours / theirs - 1.0).abs() < 1e-12, "{what}: {ours} and {theirs}");
    }
    assert_eq!((&row("other")["change"], &row("other")["renamed_from"]), (&"renamed".into(), &"same".into()));
}

/// The hub's hash of files that many have.
#[test]
fn xet_hashes_of_real_models() {
    for (variable, expected) in [
        ("COUNTERMARK_MINILM", "84a4e05c6e80b44893c4436731b8b6cc61fe3ba5a54d3a5dafaff3a9ce4594e9"),
        ("COUNTERMARK_SMOLLM2", "adcdf08da60f6f2a73a860690abbd44bd27f73281dbc789c9df26b4aac0e12db"),
    ] {
        let Some(path) = std::env::var_os(variable) else {
            eprintln!("skipped: Xet hash of a real model: {variable} is not set (fixtures/fetch_models.sh)");
            continue;
        };
        let path = path.into_string().unwrap();
        let (_, found, _) = countermark(Path::new("."), &["digest", &path, "--xet", "--format", "json"]);
        assert_eq!(found["xet"][0], expected, "{variable}");
    }
}
