//! Where two kinds of evidence meet: what one of them asks for is not got around by leaving it away for the other. Each
//! test was once a way to a green verdict.

use std::fs;
use std::path::PathBuf;

use countermark::lineage::graph::Kind;
use countermark::lineage::verdict::{State, Verdict};
use countermark::{content, keyset, oms, silent, verify};

struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Lab { folder: tempfile::tempdir().unwrap() };
        keyset::generate(&lab.at("keys"), "Lab").unwrap();
        lab
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), text).unwrap();
    }

    /// A policy that says this as well.
    fn policy(&self, more: &str) -> PathBuf {
        let text = fs::read_to_string(self.at("keys/policy.toml")).unwrap();
        self.write("policy.toml", &format!("{text}\n{more}\n"));
        self.at("policy.toml")
    }

    fn manifest(&self, name: &str, kind: Kind) {
        let mut request = content::Request::new(self.at(name), self.at("keys/owner.key"));
        request.kind = Some(kind);
        content::create(&request, &silent()).unwrap();
    }

    fn oms(&self, name: &str, out: &str) {
        let mut request = oms::SignRequest::new(self.at(name), self.at("keys/owner.p256.key"));
        request.out = Some(self.at(out));
        oms::sign(&request, &silent()).unwrap();
    }

    fn verify(&self, name: &str, policy: PathBuf) -> Verdict {
        verify::verify(&verify::Request { policy: Some(policy), ..verify::Request::new(self.at(name)) }, &silent())
            .unwrap()
    }
}

/// What `oms verify --policy` comes to.
fn oms_verify(path: PathBuf, bundle: PathBuf, policy: PathBuf) -> Verdict {
    let by = oms::By::Policy(policy);
    let request = oms::VerifyRequest { path, bundle, by, ignored: vec![], ignore_unsigned: false, at: None };
    oms::verify(&request, &silent()).unwrap()
}

fn is_green(verdict: &Verdict) -> bool {
    verdict.state.exit_code() == 0
}

#[test]
fn a_manifest_of_a_listing_is_not_one_of_the_folder() {
    let lab = Lab::new();
    lab.write("evil/model.safetensors", "anything");
    let listing = countermark::io::files::open(&lab.at("evil")).unwrap().measure(&|_| ()).unwrap().listing.to_text();
    lab.write("answer.txt", &listing);
    lab.manifest("answer.txt", Kind::Dataset);
    assert!(is_green(&lab.verify("answer.txt", lab.policy(""))));
    fs::rename(lab.at("answer.txt.c2pa"), lab.at("evil.c2pa")).unwrap();
    assert_eq!(lab.verify("evil", lab.policy("")).state, State::Invalid);
}

#[test]
fn a_manifest_alone_meets_no_threshold_and_covers_no_card() {
    let lab = Lab::new();
    lab.write("team-data/a.csv", "1\n");
    lab.manifest("team-data", Kind::Dataset);
    assert!(is_green(&lab.verify("team-data", lab.policy(""))));
    let two = lab.policy("[[threshold]]\nnames = [\"team-*\"]\nrequired = 2");
    assert_eq!(lab.verify("team-data", two).state, State::UnknownSigner);
    lab.write("team-data/README.md", "---\nconfigs: []\n---\n");
    assert_eq!(lab.verify("team-data", lab.policy("")).state, State::Unknown);
}

#[test]
fn a_wrong_model_signature_beside_a_manifest_is_wrong() {
    let lab = Lab::new();
    lab.write("a.csv", "1\n");
    lab.write("b.csv", "2\n");
    lab.manifest("a.csv", Kind::Dataset);
    lab.oms("a.csv", "a.csv.sig");
    assert!(is_green(&lab.verify("a.csv", lab.policy(""))));
    lab.oms("b.csv", "b.csv.sig");
    fs::rename(lab.at("b.csv.sig"), lab.at("a.csv.sig")).unwrap();
    assert_eq!(lab.verify("a.csv", lab.policy("")).state, State::Invalid);
}

#[test]
fn a_model_signature_alone_answers_for_name_and_anchor() {
    let lab = Lab::new();
    lab.write("a.csv", "1\n");
    lab.oms("a.csv", "a.csv.sig");
    let ask = |change: fn(&mut verify::Request)| {
        let mut request = verify::Request { policy: Some(lab.policy("")), ..verify::Request::new(lab.at("a.csv")) };
        change(&mut request);
        verify::verify(&request, &silent()).unwrap()
    };
    assert!(is_green(&ask(|_| ())));
    assert_eq!(ask(|request| request.name = Some("other".into())).state, State::Invalid);
    assert_eq!(ask(|request| request.require_anchor = true).state, State::Unknown);
    for more in ["[require]\nlog = true", "[[threshold]]\nnames = [\"*\"]\nrequired = 2"] {
        assert_eq!(lab.verify("a.csv", lab.policy(more)).state, State::Unknown, "{more}");
        let verdict = oms_verify(lab.at("a.csv"), lab.at("a.csv.sig"), lab.policy(more));
        assert_eq!(verdict.state, State::Unknown, "{more}");
    }
}

#[test]
fn no_folder_hides_under_a_name_that_speaks_for_the_model() {
    let lab = Lab::new();
    lab.write("data/a.csv", "1\n");
    lab.oms("data", "data/model.sig");
    assert!(is_green(&lab.verify("data", lab.policy(""))));
    lab.write("data/badge.svg/b.csv", "2\n");
    assert_eq!(lab.verify("data", lab.policy("")).state, State::Invalid);
    assert!(!is_green(&oms_verify(lab.at("data"), lab.at("data/model.sig"), lab.policy(""))));
}
