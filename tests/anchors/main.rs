//! A log's checkpoint held by others: what the bundle, the note of a mark and the verdict make of it.

#[path = "../../lineage/io/tests/authority/mod.rs"]
#[allow(dead_code)]
mod authority;
mod blocks;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use authority::{Authority, ECDSA};
use countermark::anchor;
use countermark::detect::{self, DetectRequest};
use countermark::io::anchor::{Authority as Clock, Order, State as Progress};
use countermark::lineage::bundle::{Bundle, Bytes};
use countermark::lineage::graph::Relation;
use countermark::lineage::verdict::{State, Verdict};
use countermark::mark::{self, EmbedRequest};
use countermark::sign::{self, ParentRequest};
use countermark::{keyset, silent, verify};

/// Data, a base, a marked model; all of it signed into one log, whose checkpoint an authority holds.
struct Held {
    folder: tempfile::TempDir,
    authority: Arc<Authority>,
}

impl Held {
    /// Nothing where there is no OpenSSL.
    fn new() -> Option<Self> {
        let authority = Authority::new("Clock", ECDSA)?;
        let held = Held { folder: tempfile::tempdir().unwrap(), authority };
        keyset::generate(&held.at("keys"), "Example Lab").unwrap();
        fs::write(held.at("data.csv"), "question,answer\n1,2\n").unwrap();
        fs::create_dir(held.at("base")).unwrap();
        fs::write(held.at("base/model.safetensors"), model()).unwrap();
        held.sign("data.csv", &[]);
        held.sign("base", &[(Relation::TrainedOn, "data.csv")]);
        let mut request = EmbedRequest::new(held.at("base"), held.at("keys/owner.mark.key"), held.at("model"));
        request.log = Some(held.at("log"));
        request.strength = countermark::watermark::Strength::Decibel(-22.0);
        mark::embed(&request, &silent()).unwrap();
        held.sign("model", &[(Relation::DerivedFrom, "base")]);
        Some(held)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str, parents: &[(Relation, &str)]) {
        let mut request = sign::Request::new(self.at(name), self.at("keys/owner.key"));
        request.log = Some(self.at("log"));
        let parent = |(relation, parent): &(Relation, &str)| ParentRequest {
            relation: *relation,
            bundle: self.at(&format!("{parent}.provenance.json")),
            path: Some(self.at(parent)),
        };
        request.parents = parents.iter().map(parent).collect();
        sign::sign(&request, &silent()).unwrap();
    }

    fn submit(&self) -> Vec<anchor::Report> {
        let order = Order::Rfc3161(Clock { url: self.authority.serve() });
        anchor::submit(&self.at("log"), vec![order]).unwrap()
    }

    fn attach(&self) {
        let attached = anchor::attach(&self.at("log"), &self.at("model.provenance.json")).unwrap();
        assert_eq!(attached.iter().map(|file| file.anchors).collect::<Vec<_>>(), [1]);
    }

    /// Makes the owner's policy one that knows the authority, and asks for this.
    fn trust(&self, require: &str) {
        let path = self.at("keys/policy.toml");
        let policy = fs::read_to_string(&path).unwrap();
        let policy = policy.split("[[timestamp_root]]").next().unwrap().split("[require]").next().unwrap();
        let root = self.authority.root_pem();
        let clock = format!("[[timestamp_root]]\nname = \"Clock\"\ncertificate = \"\"\"\n{root}\"\"\"\n");
        fs::write(path, format!("{policy}\n{clock}\n[require]\n{require}\n")).unwrap();
    }

    fn bundle(&self) -> Bundle {
        Bundle::parse(&fs::read(self.at("model.provenance.json")).unwrap()).unwrap()
    }

    fn verify(&self, bundle: &Bundle, require_anchor: bool) -> Verdict {
        fs::write(self.at("other.json"), bundle.to_json()).unwrap();
        let mut request = verify::Request::new(self.at("model"));
        request.bundle = Some(self.at("other.json"));
        request.policy = Some(self.at("keys/policy.toml"));
        request.require_anchor = require_anchor;
        verify::verify(&request, &silent()).unwrap()
    }
}

/// One F16 matrix of 256 × 256 seeded weights: just enough to carry a mark.
fn model() -> Vec<u8> {
    const SIDE: usize = 256;
    let header = format!(r#"{{"w":{{"dtype":"F16","shape":[{SIDE},{SIDE}],"data_offsets":[0,{}]}}}}"#, SIDE * SIDE * 2);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..SIDE * SIDE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((0x3400 | (state >> 48) as u16 & 0x87ff).to_le_bytes());
    }
    bytes
}

fn detail<'a>(verdict: &'a Verdict, row: &str) -> &'a str {
    let found = verdict.checks.iter().find(|check| check.name == row);
    &found.unwrap_or_else(|| panic!("no row {row}: {verdict:#?}")).detail
}

#[test]
fn one_token_holds_a_release_its_ancestors_and_its_mark() {
    let Some(held) = Held::new() else { return };
    assert_eq!(held.verify(&held.bundle(), false).state, State::Unanchored);
    let reports = held.submit();
    assert_eq!(reports.iter().map(|report| report.state).collect::<Vec<_>>(), [Progress::Final], "{reports:?}");
    held.attach();

    // Nobody vouches for the authority: nothing is taken away, and nothing is given.
    let verdict = held.verify(&held.bundle(), false);
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(detail(&verdict, "anchor").contains("the policy names no time-stamp root"), "{verdict:#?}");
    assert_eq!(held.verify(&held.bundle(), true).state, State::Unknown);

    held.trust("");
    let verdict = held.verify(&held.bundle(), true);
    assert_eq!(verdict.state, State::Verified, "{verdict:#?}");
    for row in ["anchor rfc3161", "parent base: anchor rfc3161", "parent data.csv: anchor rfc3161"] {
        assert!(detail(&verdict, row).starts_with("existed before 20"), "{row}");
    }

    // Detection knows the same bound, once the note has it.
    let key = held.at("keys/owner.mark.key");
    let detection = detect::detect(&DetectRequest::new(held.at("model"), &key), &silent()).unwrap();
    assert_eq!((detection.commitment, detection.committed_before), ("logged", None));
    let attached = anchor::attach(&held.at("log"), &held.at("keys/marks")).unwrap();
    assert_eq!(attached.len(), 1);
    let detection = detect::detect(&DetectRequest::new(held.at("model"), &key), &silent()).unwrap();
    let bound = detection.committed_before.unwrap();
    assert!(bound.is_final && bound.time.starts_with("20") && detection.commitment == "logged", "{bound:?}");

    // Submitting again asks for nothing, and a release that came later is not held by the older token.
    let again = held.submit();
    assert_eq!(again.len(), 1);
    fs::write(held.at("late.csv"), "a\n").unwrap();
    held.sign("late.csv", &[]);
    let attached = anchor::attach(&held.at("log"), &held.at("late.csv.provenance.json")).unwrap();
    assert_eq!(attached[0].anchors, 0);
}

#[test]
fn an_anchor_of_something_else_is_no_evidence() {
    let Some(held) = Held::new() else { return };
    held.submit();
    held.attach();
    held.trust("");
    let good = held.bundle();
    let changed = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        held.verify(&bundle, false)
    };
    assert_eq!(changed(&|_| ()).state, State::Verified);

    // Another log of another maker, held by the same authority.
    let other = Held { authority: held.authority.clone(), ..Held::new().unwrap() };
    other.submit();
    other.attach();
    let strange = other.bundle().anchors;
    let verdict = changed(&|bundle| bundle.anchors = strange.clone());
    assert_eq!(verdict.state, State::Invalid, "{verdict:#?}");
    let verdict = changed(&|bundle| bundle.anchors[0].evidence = strange[0].evidence.clone());
    assert_eq!(verdict.state, State::Invalid, "{verdict:#?}");
    // Its receipts as well.
    let receipt = other.bundle().records[0].receipt.clone();
    let verdict = changed(&|bundle| {
        bundle.anchors = strange.clone();
        bundle.records[0].receipt = receipt.clone();
    });
    assert_eq!(verdict.state, State::Invalid, "{verdict:#?}");

    let verdict = changed(&|bundle| bundle.anchors[0].checkpoint.push_str("\u{2014} x AAAAAAA=\n"));
    assert_eq!(verdict.state, State::Invalid, "{verdict:#?}");
    let verdict = changed(&|bundle| bundle.anchors.clear());
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    // The proof of the release is gone: the token over the checkpoint says nothing about it.
    let verdict = changed(&|bundle| bundle.records[0].receipt = None);
    assert!(verdict.state >= State::Unknown, "{verdict:#?}");
    assert!(!verdict.checks.iter().any(|row| row.name == "anchor rfc3161" && row.state == State::Verified));
    let verdict = changed(&|bundle| bundle.records[0].manifest = Some(Bytes(vec![1, 2, 3])));
    assert_eq!(verdict.state, State::Invalid, "{verdict:#?}");
}

#[test]
fn only_the_kinds_that_the_policy_asks_for_are_enough() {
    let Some(held) = Held::new() else { return };
    held.submit();
    held.attach();
    for (rule, state) in [
        ("anchor = true", State::Verified),
        ("anchor = [\"evm\", \"rfc3161\"]", State::Verified),
        ("anchor = [\"evm\"]", State::Unknown),
        ("anchor = []", State::Unknown),
    ] {
        held.trust(rule);
        assert_eq!(held.verify(&held.bundle(), false).state, state, "{rule:?}");
    }
}

/// A receipt of the release, which is entry `index` of the log.
fn judge(held: &Held, path: PathBuf, at: Option<i64>) -> Verdict {
    let mut request = anchor::VerifyRequest::new(path);
    request.policy = Some(held.at("keys/policy.toml"));
    request.require_anchor = true;
    request.at = at;
    anchor::verify(&request).unwrap()
}

#[test]
fn as_of_an_earlier_time_a_later_anchor_does_not_count() {
    let Some(held) = Held::new() else { return };
    held.submit();
    held.trust("anchor = true");
    let receipt = anchor::receipt(&held.at("log"), 1).unwrap();
    fs::write(held.at("receipt.json"), receipt.to_json()).unwrap();
    let now = keyset::now();
    let verdict = judge(&held, held.at("receipt.json"), Some(now));
    assert_eq!(verdict.state, State::Verified, "{verdict:#?}");
    let verdict = judge(&held, held.at("receipt.json"), Some(now - 86_400));
    assert_eq!(verdict.state, State::Unknown, "{verdict:#?}");
    assert!(detail(&verdict, "anchor").contains("after the time judged by"), "{verdict:#?}");
}

#[test]
fn an_anchor_of_a_log_that_changed_its_key_is_judged_by_the_key_that_signed() {
    let Some(held) = Held::new() else { return };
    held.submit();
    held.trust("anchor = true");
    let log = countermark::io::log::Log::open(&held.at("log")).unwrap();
    let other = countermark::io::log::Log::create(&held.at("other"), Some(&log.verifier().name)).unwrap();
    let policy = fs::read_to_string(held.at("keys/policy.toml")).unwrap();
    let both = policy.replacen("[[log]]", &format!("[[log]]\nvkey = \"{}\"\n\n[[log]]", other.verifier()), 1);
    assert_ne!(policy, both);
    fs::write(held.at("keys/policy.toml"), both).unwrap();
    let (size, _) = log.anchorable().unwrap();
    let folder = held.at("log/anchors").join(size.to_string());
    let anchor = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let anchor = anchor.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "json")).unwrap();
    let verdict = judge(&held, anchor, None);
    assert_eq!(verdict.state, State::Verified, "{verdict:#?}");
}
