//! Every case of `fixtures/index.json` through the command line: the state it prints, and the exit code of that state.

mod run;

use std::path::{Path, PathBuf};

use run::countermark;
use serde_json::Value;

#[test]
fn every_named_case_through_the_command_line() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let fixtures = std::env::var_os("COUNTERMARK_CASES").map_or(fixtures, PathBuf::from);
    let index: Vec<Value> = serde_json::from_slice(&std::fs::read(fixtures.join("index.json")).unwrap()).unwrap();
    for case in index {
        let text = |member: &str| case[member].as_str().unwrap();
        let mut arguments: Vec<&str> = text("verb").split(' ').collect();
        arguments.push(text("path"));
        let options: Vec<(String, &str)> = case["options"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (format!("--{name}"), value.as_str().unwrap()))
            .collect();
        for (name, value) in &options {
            arguments.extend([&**name, value]);
        }
        arguments.extend(["--format", "json"]);
        let (code, stdout, stderr) = countermark(&fixtures.join("cases"), &arguments);
        let verdict: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{case}: {stdout}{stderr}"));
        assert_eq!(verdict["state"], case["state"], "{case}: {verdict:#}");
        let expected = match text("state") {
            "verified" | "unanchored" => 0,
            "invalid" | "revoked" => 1,
            "absent" => 4,
            _ => 3,
        };
        assert_eq!(code, expected, "{case}");
        assert!(stdout.contains(text("reason")), "{case}: {stdout}");
    }
}
