//! An OMS bundle beside a release is evidence in its verdict: right, wrong, by a stranger, or all that there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use countermark::lineage::credential::policy::Policy;
use countermark::lineage::verdict::{State, Verdict};
use countermark::{Progress, keyset, oms, sign, silent, verify};

struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Lab { folder: tempfile::tempdir().unwrap() };
        keyset::generate(&lab.at("keys"), "Lab").unwrap();
        keyset::generate(&lab.at("stranger"), "Stranger").unwrap();
        let header = r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
        let mut weights = (header.len() as u64).to_le_bytes().to_vec();
        weights.extend(header.as_bytes());
        weights.extend([7; 16]);
        lab.write("model/model.safetensors", &weights);
        lab.write("model/README.md", b"# A model\n");
        lab.write("model/sub/big.bin", &vec![3; 3 << 20]);
        lab
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), bytes).unwrap();
    }

    fn sign_model(&self, path: &str, change: impl FnOnce(&mut oms::SignRequest)) -> oms::Signed {
        let mut request = oms::SignRequest::new(self.at(path), self.at("keys/owner.p256.key"));
        change(&mut request);
        oms::sign(&request, &silent()).unwrap()
    }

    fn release(&self, path: &str) {
        sign::sign(&sign::Request::new(self.at(path), self.at("keys/owner.key")), &silent()).unwrap();
    }

    fn verify(&self, path: &str) -> Verdict {
        self.verify_by(path, "keys/policy.toml")
    }

    fn verify_by(&self, path: &str, policy: &str) -> Verdict {
        let mut request = verify::Request::new(self.at(path));
        request.policy = Some(self.at(policy));
        verify::verify(&request, &silent()).unwrap()
    }
}

/// State and detail of the row.
fn row<'a>(verdict: &'a Verdict, name: &str) -> (State, &'a str) {
    let rows: Vec<_> = verdict.checks.iter().filter(|check| check.name == name).collect();
    let worst = rows.iter().max_by_key(|check| check.state).unwrap_or_else(|| panic!("{name}: {verdict:#?}"));
    (worst.state, &worst.detail)
}

#[derive(Default)]
struct Count(AtomicU64);

impl Progress for Count {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
}

#[test]
fn a_bundle_beside_a_release_is_judged_with_it_in_one_read() {
    let lab = Lab::new();
    let signed = lab.sign_model("model", |_| ());
    lab.release("model");
    assert_eq!(signed.left_out, ["README.md"]);
    let verdict = lab.verify("model");
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert_eq!(row(&verdict, "oms signer").0, State::Verified);
    let (state, detail) = row(&verdict, "oms files");
    assert!(state == State::Verified && detail.starts_with("2 files") && detail.contains("README.md"), "{detail}");
    assert_eq!(signed.blake3.unwrap().to_string(), verdict.root);

    let mut request = verify::Request::new(lab.at("model"));
    request.policy = Some(lab.at("keys/policy.toml"));
    let count = Count::default();
    verify::verify(&request, &count).unwrap();
    let size = (3 << 20) + fs::metadata(lab.at("model/model.safetensors")).unwrap().len();
    assert_eq!(count.0.load(Ordering::Relaxed), size, "each byte once");

    // Badges and cards change without it; a file that a loader may read does not.
    lab.write("model/README.md", b"# A model with a badge\n");
    lab.write("model/badge.svg", b"<svg/>");
    assert_eq!(lab.verify("model").state, State::Unanchored);
}

#[test]
fn every_hash_and_shards_are_evidence_too() {
    let lab = Lab::new();
    lab.release("model");
    for function in countermark::lineage::digest::pieces::Function::ALL {
        for shard_size in [None, Some(1000)] {
            lab.sign_model("model", |request| (request.function, request.shard_size) = (function, shard_size));
            let verdict = lab.verify("model");
            assert_eq!(row(&verdict, "oms files").0, State::Verified, "{function} {shard_size:?}: {verdict:#?}");
            assert_eq!(verdict.state, State::Unanchored);
        }
    }
}

#[test]
fn a_wrong_bundle_makes_a_good_release_invalid() {
    let lab = Lab::new();
    lab.release("model");
    let mut others = Vec::new();
    // Of another model by the same signer.
    lab.write("other/w", b"1");
    others.push(("of another model", lab.sign_model("other", |_| ()).bundle, State::Invalid));
    // By somebody whom nobody knows.
    let mut request = oms::SignRequest::new(lab.at("model"), lab.at("stranger/owner.p256.key"));
    request.out = Some(lab.at("stranger.sig"));
    others.push(("of a stranger", oms::sign(&request, &silent()).unwrap().bundle, State::UnknownSigner));
    request.certificates = vec![lab.at("stranger/owner.p256.crt")];
    request.out = Some(lab.at("stranger-certificate.sig"));
    others.push(("under a strange root", oms::sign(&request, &silent()).unwrap().bundle, State::UnknownSigner));
    for (what, bundle, state) in others {
        fs::copy(bundle, lab.at("model/model.sig")).unwrap();
        let verdict = lab.verify("model");
        assert_eq!(verdict.state, state, "{what}: {verdict:#?}");
    }
    lab.write("model/model.sig", b"{}");
    assert_eq!(row(&lab.verify("model"), "oms bundle").0, State::Invalid);
    // Under a certificate of the owner's root it is good.
    lab.write("model/model.sig", b"");
    fs::remove_file(lab.at("model/model.sig")).unwrap();
    lab.sign_model("model", |request| request.certificates = vec![lab.at("keys/owner.p256.crt")]);
    let verdict = lab.verify("model");
    assert_eq!((verdict.state, row(&verdict, "oms signer").0), (State::Unanchored, State::Verified), "{verdict:#?}");
}

#[test]
fn a_foreign_bundle_covers_the_card_and_need_not_know_our_files() {
    let lab = Lab::new();
    lab.sign_model("model", |request| request.plain = true);
    lab.release("model");
    fs::copy(lab.at("model.provenance.json"), lab.at("model/model.provenance.json")).unwrap();
    let verdict = lab.verify("model");
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert!(row(&verdict, "oms files").1.starts_with("3 files"));
    lab.write("model/README.md", b"# Another card\n");
    let verdict = lab.verify("model");
    assert_eq!(row(&verdict, "oms files").0, State::Invalid, "{verdict:#?}");
}

#[test]
fn alone_it_speaks_for_the_bytes_and_for_nothing_that_a_policy_asks_for_beside() {
    let lab = Lab::new();
    lab.sign_model("model", |_| ());
    let verdict = lab.verify("model");
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert_eq!(row(&verdict, "oms files").0, State::Verified);
    lab.write("model/sub/big.bin", &vec![4; 3 << 20]);
    assert_eq!(lab.verify("model").state, State::Invalid);
    lab.write("model/sub/big.bin", &vec![3; 3 << 20]);
    lab.write("model/sub/more.bin", b"");
    assert_eq!(lab.verify("model").state, State::Invalid);
    fs::remove_file(lab.at("model/sub/more.bin")).unwrap();
    assert_eq!(lab.verify_by("model", "stranger/policy.toml").state, State::UnknownSigner);

    let policy = fs::read_to_string(lab.at("keys/policy.toml")).unwrap();
    let with = |text: &str| {
        let text = format!("{policy}\n{text}");
        Policy::parse(&text).unwrap();
        lab.write("other.toml", text.as_bytes());
        lab.verify_by("model", "other.toml")
    };
    // Whoever strips a bundle must not get rid of what the policy asks for, or revokes.
    let verdict = with("[require]\nmanifest = true\n");
    assert_eq!(row(&verdict, "bundle").0, State::Unknown, "{verdict:#?}");
    let zero = "0".repeat(64);
    let verdict = with(&format!("[[revoked]]\nstatement = \"{zero}\"\nreason = \"bad data\"\n"));
    assert_eq!(row(&verdict, "bundle").0, State::Unknown, "{verdict:#?}");
    let key = oms_key(&lab.at("keys/owner.p256.pub"));
    let verdict = with(&format!("[[revoked]]\nkey = \"{key}\"\nreason = \"stolen\"\n"));
    assert_eq!(verdict.state, State::Revoked, "{verdict:#?}");
    // Also where nobody trusts the key any more.
    let text = format!("schema = \"countermark.dev/policy/v1\"\n[[revoked]]\nkey = \"{key}\"\nreason = \"stolen\"\n");
    lab.write("other.toml", text.as_bytes());
    assert_eq!(lab.verify_by("model", "other.toml").state, State::Revoked);
}

fn oms_key(path: &Path) -> String {
    countermark::io::keys::public_from_pem(&fs::read_to_string(path).unwrap()).unwrap().to_string()
}

#[test]
fn a_signer_vouches_only_for_names_that_it_may() {
    let lab = Lab::new();
    lab.sign_model("model", |_| ());
    let key = oms_key(&lab.at("keys/owner.p256.pub"));
    for (names, state) in [("model", State::Unanchored), ("other-*", State::UnknownSigner)] {
        let text = format!(
            "schema = \"countermark.dev/policy/v1\"\n\
             [[signer]]\nname = \"Lab\"\nkey = \"{key}\"\nnames = [\"{names}\"]\n"
        );
        lab.write("other.toml", text.as_bytes());
        let verdict = lab.verify_by("model", "other.toml");
        assert_eq!(verdict.state, state, "{names}: {verdict:#?}");
    }
}

#[test]
fn a_file_has_its_bundle_beside_it() {
    let lab = Lab::new();
    lab.write("data.csv", b"a,b\n1,2\n");
    let signed = lab.sign_model("data.csv", |_| ());
    assert_eq!(signed.bundle, lab.at("data.csv.sig"));
    lab.release("data.csv");
    let verdict = lab.verify("data.csv");
    assert_eq!((verdict.state, row(&verdict, "oms files").0), (State::Unanchored, State::Verified), "{verdict:#?}");
    // A bundle of another file, and a signature of another kind.
    lab.write("other.csv", b"a,b\n3,4\n");
    let other = lab.sign_model("other.csv", |_| ()).bundle;
    fs::copy(other, lab.at("data.csv.sig")).unwrap();
    assert_eq!(lab.verify("data.csv").state, State::Invalid);
    lab.write("data.csv.sig", b"\x89\x01\x33 an OpenPGP signature");
    let verdict = lab.verify("data.csv");
    assert!(verdict.state == State::Unanchored && !verdict.checks.iter().any(|row| row.name.starts_with("oms")));
}

#[test]
fn the_card_of_a_dataset_is_covered() {
    let lab = Lab::new();
    lab.write("data/a.csv", b"a\n1\n");
    lab.write("data/README.md", b"---\nconfigs: []\n---\n");
    assert_eq!(lab.sign_model("data", |_| ()).left_out, Vec::<String>::new());
    assert_eq!(lab.verify("data").state, State::Unanchored);
    lab.write("data/README.md", b"---\nconfigs: [x]\n---\n");
    assert_eq!(row(&lab.verify("data"), "oms files").0, State::Invalid);
}
