//! Every case of `fixtures/index.json` comes to the state it must, for the reason it must. `COUNTERMARK_CASES` names
//! another folder than `fixtures/`, for cases that were just made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use countermark::lineage::graph::statement::unix;
use countermark::lineage::verdict::Verdict;
use countermark::{anchor, oms, silent, verify};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    verb: String,
    path: String,
    options: BTreeMap<String, String>,
    state: String,
    reason: String,
}

impl Case {
    fn judge(&self, folder: &Path) -> Verdict {
        let file = |option: &str| self.options.get(option).map(|value| folder.join(value));
        match &*self.verb {
            "verify" => {
                let mut request = verify::Request::new(folder.join(&self.path));
                request.bundle = file("bundle");
                request.policy = file("policy");
                request.revocations.extend(file("revocations"));
                request.hand_overs.extend(file("hand-over"));
                request.at = self.options.get("at").and_then(|time| unix(time));
                verify::verify(&request, &silent()).unwrap()
            }
            "oms verify" => {
                let by = match (file("key"), file("certificate-root"), file("policy")) {
                    (Some(key), _, _) => oms::By::Key(key),
                    (_, Some(root), _) => oms::By::Certificates(vec![root]),
                    (_, _, policy) => oms::By::Policy(policy.unwrap()),
                };
                let request = oms::VerifyRequest {
                    path: folder.join(&self.path),
                    bundle: file("signature").unwrap(),
                    by,
                    ignored: vec![],
                    ignore_unsigned: false,
                    at: self.options.get("at").and_then(|time| unix(time)),
                };
                oms::verify(&request, &silent()).unwrap()
            }
            "anchor verify" => {
                let mut request = anchor::VerifyRequest::new(folder.join(&self.path));
                request.policy = file("policy");
                request.revocations.extend(file("revocations"));
                request.at = self.options.get("at").and_then(|time| unix(time));
                anchor::verify(&request).unwrap()
            }
            other => panic!("{}: nobody runs {other}", self.name),
        }
    }
}

#[test]
fn every_named_case() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let fixtures = std::env::var_os("COUNTERMARK_CASES").map_or(fixtures, PathBuf::from);
    let index: Vec<Case> = serde_json::from_slice(&std::fs::read(fixtures.join("index.json")).unwrap()).unwrap();
    assert!(index.len() >= 18);
    for case in index {
        let verdict = case.judge(&fixtures.join("cases"));
        assert_eq!(verdict.state.as_str(), case.state, "{}: {verdict:#?}", case.name);
        let worst = verdict.checks.iter().filter(|check| check.state == verdict.state);
        let found =
            worst.map(|check| format!("{}: {}", check.name, check.detail)).any(|row| row.contains(&case.reason));
        assert!(found, "{} wants {:?}: {verdict:#?}", case.name, case.reason);
    }
}
