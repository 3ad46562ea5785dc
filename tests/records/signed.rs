//! Record trees inside signed statements: `verify` builds them anew, and no signature helps a wrong one.

use std::fs;

use countermark::io::keys;
use countermark::lineage::bundle::Bundle;
use countermark::lineage::credential::dsse::Envelope;
use countermark::lineage::digest::Hash;
use countermark::lineage::graph::statement::Statement;
use countermark::lineage::verdict::{State, Verdict};
use countermark::records::{CheckRequest, ProveRequest, Tree, Which};
use countermark::{keyset, records, sign, silent, verify};

struct Release {
    folder: tempfile::TempDir,
}

impl Release {
    fn make(tree: Tree) -> Self {
        let folder = tempfile::tempdir().unwrap();
        keyset::generate(&folder.path().join("keys"), "Example Lab").unwrap();
        fs::write(folder.path().join("a.csv"), "x,y\n1,2\n3,4\n1,2\n").unwrap();
        let mut request = sign::Request::new(folder.path().join("a.csv"), folder.path().join("keys/owner.key"));
        request.tree = Some(tree);
        sign::sign(&request, &silent()).unwrap();
        Release { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn verify(&self) -> Verdict {
        let mut request = verify::Request::new(self.path("a.csv"));
        request.policy = Some(self.path("keys/policy.toml"));
        verify::verify(&request, &silent()).unwrap()
    }

    /// The owner signs something else.
    fn sign_again(&self, change: impl FnOnce(&mut Statement)) {
        let path = self.path("a.csv.provenance.json");
        let mut bundle = Bundle::parse(&fs::read(&path).unwrap()).unwrap();
        let key = keys::load(&self.path("keys/owner.key")).unwrap();
        let mut statement = Statement::parse(&bundle.records[0].statement.verify().unwrap().payload).unwrap();
        change(&mut statement);
        bundle.records[0].statement = Envelope::sign(&statement.to_payload(), &*key).unwrap();
        fs::write(path, bundle.to_json()).unwrap();
    }

    fn prove(&self) -> ProveRequest {
        ProveRequest { path: self.path("a.csv"), bundle: self.path("a.csv.provenance.json"), salt: None }
    }
}

fn row<'a>(verdict: &'a Verdict, name: &str) -> Option<(State, &'a str)> {
    verdict.checks.iter().find(|check| check.name == name).map(|check| (check.state, &*check.detail))
}

#[test]
fn verify_builds_the_tree_anew() {
    for sorted in [false, true] {
        let release = Release::make(Tree { format: None, sorted });
        let verdict = release.verify();
        let (state, detail) = row(&verdict, "records").expect("there is a row");
        assert!(state == State::Verified && detail.starts_with("3 csv records re-read"), "{detail}");
        type Lie = fn(&mut countermark::lineage::digest::records::Records);
        let lies: [(&str, Lie); 4] = [
            ("root", |records| records.root = Hash([1; 32])),
            ("columns", |records| records.schema = Some(Hash([1; 32]))),
            ("were signed", |records| (records.count, records.files[0].count) = (4, 4)),
            ("root", |records| records.sorted = !records.sorted),
        ];
        for (words, lie) in lies {
            let release = Release::make(Tree { format: None, sorted });
            release.sign_again(|statement| lie(statement.predicate.records.as_mut().unwrap()));
            let verdict = release.verify();
            let (state, detail) = row(&verdict, "records").expect("there is a row");
            assert!(state == State::Invalid && detail.contains(words), "{words}: {detail}");
        }
    }
}

#[test]
fn another_format_or_other_bytes_prove_nothing() {
    let release = Release::make(Tree::default());
    let proved = records::prove(&release.prove(), &Which::Index(1), &silent()).unwrap().unwrap();
    fs::write(release.path("proof.json"), proved.proof.to_json()).unwrap();
    let request = CheckRequest {
        proof: release.path("proof.json"),
        bundle: release.path("a.csv.provenance.json"),
        policy: Some(release.path("keys/policy.toml")),
    };
    let checked = records::check(&request).unwrap();
    assert_eq!(row(&checked.verdict, "record").unwrap().0, State::Verified);
    assert_eq!(checked.record, serde_json::json!({ "header": "x,y", "row": "3,4" }));
    assert_eq!(row(&checked.verdict, "files"), None, "nothing is said of files that nobody looked at");

    // The file as lines: another tree, and the proof of the one is none of the other.
    let lines = Release::make(Tree { format: Some(countermark::formats::records::Format::Text), sorted: false });
    let mut other = proved.proof.clone();
    let bundle = Bundle::parse(&fs::read(lines.path("a.csv.provenance.json")).unwrap()).unwrap();
    other.statement = bundle.records[0].statement.id().unwrap();
    fs::write(lines.path("proof.json"), other.to_json()).unwrap();
    let request = CheckRequest {
        proof: lines.path("proof.json"),
        bundle: lines.path("a.csv.provenance.json"),
        policy: Some(lines.path("keys/policy.toml")),
    };
    assert_eq!(row(&records::check(&request).unwrap().verdict, "record").unwrap().0, State::Invalid);

    // A dataset of the same size that is not the signed one gives no proof.
    fs::write(release.path("a.csv"), "x,y\n1,2\n3,5\n1,2\n").unwrap();
    let error = records::prove(&release.prove(), &Which::Index(0), &silent()).unwrap_err().to_string();
    assert!(error.contains("does not give the signed root"), "{error}");
}

#[test]
fn a_statement_without_records_keeps_its_bytes() {
    let release = Release::make(Tree::default());
    let bundle = Bundle::parse(&fs::read(release.path("a.csv.provenance.json")).unwrap()).unwrap();
    let mut statement = Statement::parse(&bundle.records[0].statement.verify().unwrap().payload).unwrap();
    statement.predicate.records = None;
    assert!(!String::from_utf8(statement.to_payload()).unwrap().contains("records"));
    release.sign_again(|statement| statement.predicate.records = None);
    assert_eq!(row(&release.verify(), "records"), None);
    let error = records::prove(&release.prove(), &Which::Index(0), &silent()).unwrap_err().to_string();
    assert!(error.contains("signs no record tree"), "{error}");
}
