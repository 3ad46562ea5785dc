//! Manifests on the command line: what people type, and what scripts read.

mod run;

use std::fs;

use run::countermark;
use serde_json::Value;

#[path = "../../tests/c2pa/samples.rs"]
mod samples;

#[test]
fn from_an_empty_folder_to_a_verified_picture() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, bytes) in samples::all() {
        fs::write(at(name), bytes).unwrap();
    }
    fs::write(at("data.csv"), "a,b\n1,2\n").unwrap();
    fs::create_dir(at("model")).unwrap();
    fs::write(at("model/weights.bin"), [7; 64]).unwrap();
    fs::write(at("prompt.txt"), "a cat").unwrap();
    let run = |arguments: &str| countermark(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    let good = |arguments: &str| {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(code, 0, "{arguments}\n{stdout}{stderr}");
        (stdout, stderr)
    };
    good("keygen --out keys --name Lab");
    good(
        "sign data.csv --key keys/owner.key --training-mining ai-training=not-allowed --asset-type c2pa.types.dataset.onnx",
    );
    let (stdout, _) = good("manifest read data.csv.c2pa --policy keys/policy.toml --format json");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(said["manifest"]["declared"]["training_mining"][0][1], "notAllowed");
    assert_eq!(said["manifest"]["declared"]["asset_types"][0], "c2pa.types.dataset.onnx");
    good("sign model --key keys/owner.key --kind model --parent trained-on=data.csv.provenance.json@data.csv");

    let create = "manifest create cat.png --key keys/owner.key --model model.provenance.json \
                  --prompt prompt.txt --prompt-as text";
    let (stdout, stderr) = good(create);
    assert!(
        stdout.starts_with("copy       cat.signed.png") || stdout.starts_with("copy       ./cat.signed.png"),
        "{stdout}"
    );
    let next = stderr.lines().find_map(|line| line.strip_prefix("next: countermark ")).unwrap();
    let (stdout, _) = good(next);
    for part in ["✓ input model", "✓ input data.csv of model", "✓ input prompt", "unanchored cat.png"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (code, _, stderr) = run(create);
    assert!(code == 2 && stderr.contains("replaces nothing"), "{code} {stderr}");

    let (stdout, _) = good("manifest read cat.signed.png --policy keys/policy.toml");
    for part in ["trainedAlgorithmicMedia", "made from", "data.csv of model", "verified with the bytes that carry it"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (code, stdout, _) = run("manifest read cat.signed.png --format json");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, said["state"].as_str()), (3, Some("unknown-signer")));
    assert_eq!(said["chain"][0]["title"], "model");
    assert_eq!(said["chain"][1]["title"], "data.csv");

    let (stdout, _) = good("manifest create data.csv --key keys/owner.key --out plain.c2pa --format json");
    let created: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((created["embedded"].as_bool(), created["manifests"].as_u64()), (Some(false), Some(1)));
    let (code, stdout, _) = run("verify plain.c2pa");
    assert!(code == 4 && stdout.contains("this is a manifest"), "{stdout}");
    let (code, _, stderr) = run("manifest create cat.png --key keys/owner.key --training-mining ai=allowed");
    assert!(code == 2 && stderr.contains("ai-generative-training"), "{stderr}");
    let (code, _, stderr) = run("manifest read model");
    assert!(code == 2 && stderr.contains("is a folder"), "{stderr}");
}
