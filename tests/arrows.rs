//! The parts depend on one another in one direction only.

use std::collections::BTreeMap;
use std::process::Command;

#[test]
fn watermark_and_lineage_do_not_know_each_other() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = |package: &serde_json::Value| -> Vec<String> {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("countermark")).collect();
        names.sort();
        names
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    let arrows: BTreeMap<&str, Vec<String>> =
        packages.map(|package| (package["name"].as_str().unwrap(), ours(package))).collect();
    let allowed: [(&str, &[&str]); 5] = [
        ("countermark-formats", &[]),
        ("countermark-watermark", &["countermark-formats"]),
        ("countermark-lineage", &["countermark-formats"]),
        ("countermark-io", &["countermark-formats", "countermark-lineage"]),
        ("countermark-badge", &["countermark-lineage"]),
    ];
    for (name, expected) in allowed {
        assert_eq!(arrows[name], expected, "{name}");
    }
    for name in ["countermark-formats", "countermark-lineage"] {
        let heavy = ["candle-core", "tokio", "c2pa", "reqwest"];
        let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap();
        let found = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .find(|dependency| heavy.contains(&dependency["name"].as_str().unwrap()));
        assert!(found.is_none(), "{name} depends on {found:?}");
    }
}
