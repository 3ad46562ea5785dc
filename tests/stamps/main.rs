//! Checkpoints held by Bitcoin and by authorities, with other people's programs on the other side and as second opinion.
//!
//! `fixtures/services/stamps.sh` starts what is needed and prints the variables by which it is found.

#[path = "../../lineage/io/tests/authority/mod.rs"]
#[allow(dead_code)]
mod authority;
mod bitcoin;
mod clock;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use countermark::anchor::{self, Report, VerifyRequest};
use countermark::io::anchor::Order;
use countermark::lineage::verdict::{State, Verdict};
use countermark::{keyset, sign, silent, verify};

/// A signed and logged file, and a policy.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = World { folder: tempfile::tempdir().unwrap() };
        keyset::generate(&world.at("keys"), "Example Lab").unwrap();
        fs::write(world.at("data.csv"), "question,answer\n1,2\n").unwrap();
        let mut request = sign::Request::new(world.at("data.csv"), world.at("keys/owner.key"));
        request.log = Some(world.at("log"));
        sign::sign(&request, &silent()).unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file beside the anchored checkpoint: genesis and one release.
    fn held(&self, name: &str) -> PathBuf {
        self.at("log/anchors/2").join(name)
    }

    fn submit(&self, order: Order) -> Report {
        anchor::submit(&self.at("log"), vec![order]).unwrap().remove(0)
    }

    fn upgrade(&self) -> Report {
        anchor::upgrade(&self.at("log")).unwrap().remove(0)
    }

    /// The owner's policy with this behind it.
    fn policy(&self, more: &str) -> PathBuf {
        let policy = fs::read_to_string(self.at("keys/policy.toml")).unwrap();
        let require = policy.find("[require]").unwrap_or(policy.len());
        let vkey = countermark::io::log::Log::open(&self.at("log")).unwrap().verifier().to_string();
        let log = if policy.contains(&vkey) { String::new() } else { format!("[[log]]\nvkey = \"{vkey}\"\n") };
        fs::write(self.at("policy.toml"), format!("{}\n{log}{more}\n", &policy[..require])).unwrap();
        self.at("policy.toml")
    }

    /// What the bundle comes to, with the anchors of the log in it.
    fn verify(&self, policy: &str) -> Verdict {
        anchor::attach(&self.at("log"), &self.at("data.csv.provenance.json")).unwrap();
        let mut request = verify::Request::new(self.at("data.csv"));
        request.bundle = Some(self.at("data.csv.provenance.json"));
        request.policy = Some(self.policy(policy));
        verify::verify(&request, &silent()).unwrap()
    }

    /// What a receipt of the release comes to, far from the log.
    fn receipt(&self, policy: &str) -> Verdict {
        let receipt = anchor::receipt(&self.at("log"), 1).unwrap();
        fs::write(self.at("receipt.json"), receipt.to_json()).unwrap();
        self.judge(&self.at("receipt.json"), policy)
    }

    fn judge(&self, path: &Path, policy: &str) -> Verdict {
        let mut request = VerifyRequest::new(path);
        request.policy = Some(self.policy(policy));
        anchor::verify(&request).unwrap()
    }
}

fn detail<'a>(verdict: &'a Verdict, row: &str) -> &'a str {
    let found = verdict.checks.iter().find(|check| check.name == row);
    &found.unwrap_or_else(|| panic!("no row {row}: {verdict:#?}")).detail
}

/// Runs a program; whether it was content, and all that it said.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn a_receipt_needs_neither_log_nor_bundle() {
    let world = World::new();
    let verdict = world.receipt("");
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(detail(&verdict, "log").starts_with("entry 1 of"), "{verdict:#?}");
    assert_eq!(verdict.schema, "countermark.dev/verdict-on-receipt/v1");
    let verdict = world.receipt("[require]\nanchor = true\n");
    assert_eq!(verdict.state, State::Unknown, "{verdict:#?}");

    // Nobody is known without a policy.
    let verdict = anchor::verify(&VerifyRequest::new(world.at("receipt.json"))).unwrap();
    assert_eq!(verdict.state, State::UnknownSigner, "{verdict:#?}");

    // The log's own first entry is signed by the log.
    let genesis = anchor::receipt(&world.at("log"), 0).unwrap();
    fs::write(world.at("genesis.json"), genesis.to_json()).unwrap();
    assert_eq!(world.judge(&world.at("genesis.json"), "").state, State::Unanchored);
    assert!(anchor::receipt(&world.at("log"), 2).is_err());
}
