//! Every case of `fixtures/index.json` comes to the state it must, for the reason it must.

use std::fs;
use std::path::Path;

use countermark::{silent, verify};

#[test]
fn every_named_case() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let index: Vec<serde_json::Value> =
        serde_json::from_slice(&fs::read(fixtures.join("index.json")).unwrap()).unwrap();
    assert!(index.len() >= 18);
    for case in index {
        let file = |which: &str| fixtures.join("cases").join(case["files"][which].as_str().unwrap());
        let mut request = verify::Request::new(file("path"));
        request.bundle = Some(file("bundle"));
        request.policy = Some(file("policy"));
        let verdict = verify::verify(&request, &silent()).unwrap();
        assert_eq!(verdict.state.as_str(), case["state"].as_str().unwrap(), "{}: {verdict:#?}", case["name"]);
        let reason = case["reason"].as_str().unwrap();
        let worst = verdict.checks.iter().filter(|check| check.state == verdict.state);
        let found = worst.map(|check| format!("{}: {}", check.name, check.detail)).any(|row| row.contains(reason));
        assert!(found, "{} wants {reason:?}: {verdict:#?}", case["name"]);
    }
}
