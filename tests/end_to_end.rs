//! Mark, sign, log, carry to another folder, verify; and every byte of the evidence flipped.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countermark::lineage::bundle::Bundle;
use countermark::lineage::credential::dsse::Envelope;
use countermark::lineage::credential::policy::Policy;
use countermark::lineage::digest::artifact::Artifact;
use countermark::lineage::graph::Relation;
use countermark::lineage::verdict::{State, Verdict};
use countermark::mark::{self, EmbedRequest};
use countermark::sign::{self, ParentRequest};
use countermark::verify;
use countermark::{keyset, silent};

/// A released child with two parents, one of them marked, in a folder of its own with bundle and policy.
struct Release {
    folder: tempfile::TempDir,
}

impl Release {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        keyset::generate(&at("keys"), "Example Lab").unwrap();
        fs::write(at("data.csv"), "question,answer\n1,2\n").unwrap();
        write_model(&at("base"), 1);
        sign(folder.path(), "data.csv", &[]);
        sign(folder.path(), "base", &[(Relation::TrainedOn, "data.csv")]);
        let mut request = EmbedRequest::new(at("base"), at("keys/owner.mark.key"), at("model"));
        request.log = Some(at("log"));
        request.strength = countermark::watermark::Strength::Decibel(-22.0);
        mark::embed(&request, &silent()).unwrap();
        sign(folder.path(), "model", &[(Relation::DerivedFrom, "base"), (Relation::TrainedOn, "data.csv")]);
        Release { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self) -> Bundle {
        Bundle::parse(&fs::read(self.path("model.provenance.json")).unwrap()).unwrap()
    }

    /// Verifies the model with another bundle in place of its own.
    fn verify_with(&self, bundle: &[u8]) -> Verdict {
        let path = self.path("other.json");
        fs::write(&path, bundle).unwrap();
        verify(&self.path("model"), Some(&path), Some(&self.path("keys/policy.toml")))
    }

    fn verify_changed(&self, change: impl FnOnce(&mut Bundle)) -> Verdict {
        let mut bundle = self.bundle();
        change(&mut bundle);
        self.verify_with(bundle.to_json().as_bytes())
    }
}

fn write_model(folder: &Path, seed: u32) {
    const ROWS: usize = 320;
    const COLUMNS: usize = 256;
    let header =
        format!(r#"{{"w":{{"dtype":"F32","shape":[{ROWS},{COLUMNS}],"data_offsets":[0,{}]}}}}"#, ROWS * COLUMNS * 4);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let mut state = u64::from(seed);
    for _ in 0..ROWS * COLUMNS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend(((state >> 40) as f32 / (1 << 23) as f32 - 1.0).to_le_bytes());
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    fs::write(folder.join("README.md"), "# A model\n").unwrap();
}

fn sign(folder: &Path, name: &str, parents: &[(Relation, &str)]) {
    let mut request = sign::Request::new(folder.join(name), folder.join("keys/owner.key"));
    request.log = Some(folder.join("log"));
    request.parents = parents
        .iter()
        .map(|(relation, parent)| ParentRequest {
            relation: *relation,
            bundle: folder.join(format!("{parent}.provenance.json")),
            path: Some(folder.join(parent)),
        })
        .collect();
    sign::sign(&request, &silent()).unwrap();
}

fn verify(path: &Path, bundle: Option<&Path>, policy: Option<&Path>) -> Verdict {
    let mut request = verify::Request::new(path);
    request.bundle = bundle.map(Path::to_owned);
    request.policy = policy.map(Path::to_owned);
    verify::verify(&request, &silent()).unwrap()
}

fn row(verdict: &Verdict, state: State) -> &str {
    verdict.checks.iter().find(|check| check.state == state).map_or("none", |check| &*check.name)
}

#[test]
fn the_main_job_and_everything_that_must_not_pass() {
    let release = Release::make();
    carried_to_another_folder(&release);
    every_flipped_byte_of_the_evidence(&release);
    every_flipped_byte_of_the_bundle(&release);
    changed_files(&release);
    smuggled_files(&release);
    evidence_of_others(&release);
    stripped_evidence(&release);
    policies(&release);
}

fn carried_to_another_folder(release: &Release) {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy =
        |name: &str| fs::copy(release.path(name), elsewhere.path().join(name.rsplit('/').next().unwrap())).unwrap();
    fs::create_dir(elsewhere.path().join("renamed")).unwrap();
    for file in ["model.safetensors", "config.json", "README.md"] {
        fs::copy(release.path("model").join(file), elsewhere.path().join("renamed").join(file)).unwrap();
    }
    copy("model.provenance.json");
    copy("keys/policy.toml");
    let bundle = elsewhere.path().join("model.provenance.json");
    let model = elsewhere.path().join("renamed");
    let verdict = verify(&model, Some(&bundle), Some(&elsewhere.path().join("policy.toml")));
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    assert_eq!(verdict.state.exit_code(), 0);
    assert_eq!(verdict.signer, "Example Lab");
    let without_policy = verify(&model, Some(&bundle), None);
    assert_eq!(without_policy.state, State::UnknownSigner, "{without_policy:#?}");
    assert_eq!(without_policy.state.exit_code(), 3);
    let asked = |name: &str| {
        let mut request = verify::Request::new(&model);
        request.bundle = Some(bundle.clone());
        request.policy = Some(elsewhere.path().join("policy.toml"));
        request.name = Some(name.to_owned());
        verify::verify(&request, &silent()).unwrap().state
    };
    assert_eq!((asked("model"), asked("renamed")), (State::Unanchored, State::Invalid));
    // The card is not part of the root: adding a badge to it changes nothing.
    fs::write(model.join("README.md"), "# A model with a badge\n").unwrap();
    let verdict = verify(&model, Some(&bundle), Some(&elsewhere.path().join("policy.toml")));
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
}

/// An artifact opened once, for many verdicts: here only the evidence changes.
struct Judge {
    artifact: Artifact,
    policy: Policy,
}

impl Judge {
    fn open(release: &Release, name: &str) -> Self {
        let policy = keyset::load_policy(&release.path("keys/policy.toml")).unwrap();
        Judge { artifact: countermark::io::files::open(&release.path(name)).unwrap(), policy }
    }

    /// What is wrong, in all rows; panics unless the verdict is invalid.
    fn wrong(&self, bundle: &[u8], what: &str) -> String {
        let request = countermark::lineage::verify::Request {
            artifact: &self.artifact,
            bundle: Some(bundle),
            sidecars: &[],
            policy: Some(&self.policy),
            revocations: &[],
            hand_overs: &[],
            blocks: None,
            require_anchor: false,
            name: None,
            records: None,
            media: None,
            now: keyset::now(),
            at: false,
        };
        let verdict = countermark::lineage::verify::verify(&request, &|_| ());
        assert_eq!(verdict.state, State::Invalid, "{what}: {verdict:#?}");
        let wrong = verdict.checks.iter().filter(|check| check.state == State::Invalid);
        wrong.map(|check| format!("{}: {}; ", check.name, check.detail)).collect()
    }
}

/// Every byte of the evidence of a single file; of a model with ancestors, one byte in 97 of every part of every record.
fn every_flipped_byte_of_the_evidence(release: &Release) {
    for (name, step) in [("data.csv", 1), ("model", 97)] {
        let judge = Judge::open(release, name);
        let bundle = Bundle::parse(&fs::read(release.path(&format!("{name}.provenance.json"))).unwrap()).unwrap();
        let flip = |part: &str, length: usize, change: &dyn Fn(&mut Bundle, usize) -> bool| {
            for at in (0..length).step_by(step) {
                let mut flipped = bundle.clone();
                if change(&mut flipped, at) {
                    let wrong = judge.wrong(flipped.to_json().as_bytes(), &format!("{name}: {part} byte {at}"));
                    assert!(wrong.contains(part), "{name}: {part} byte {at}: {wrong}");
                }
            }
        };
        for index in 0..bundle.records.len() {
            // A changed statement of an ancestor has another id, and then speaks for nobody.
            let part = if index == 0 { "statement" } else { "record" };
            let payload = STANDARD.decode(&bundle.records[index].statement.payload).unwrap();
            flip(part, payload.len(), &|bundle, at| {
                let mut flipped = payload.clone();
                flipped[at] ^= 1;
                bundle.records[index].statement.payload = STANDARD.encode(flipped);
                true
            });
            let store = bundle.records[index].manifest.as_ref().unwrap().0.len();
            flip("manifest", store, &|bundle, at| {
                bundle.records[index].manifest.as_mut().unwrap().0[at] ^= 1;
                true
            });
            let receipt = bundle.records[index].receipt.clone().unwrap();
            flip("log entry", receipt.entry.0.len(), &|bundle, at| {
                bundle.records[index].receipt.as_mut().unwrap().entry.0[at] ^= 1;
                true
            });
            // Proof and checkpoint are one text; a flip that is no longer UTF-8 cannot stand in JSON.
            flip("log: ", receipt.proof.len(), &|bundle, at| {
                let mut flipped = receipt.proof.clone().into_bytes();
                flipped[at] ^= 1;
                let Ok(flipped) = String::from_utf8(flipped) else { return false };
                bundle.records[index].receipt.as_mut().unwrap().proof = flipped;
                true
            });
            for mark in 0..bundle.records[index].marks.len() {
                let length = bundle.records[index].marks[mark].record.0.len();
                flip("mark", length, &|bundle, at| {
                    bundle.records[index].marks[mark].record.0[at] ^= 1;
                    true
                });
            }
        }
    }
}

/// Every byte of a bundle file, in two ways: one bit, and the bit that turns upper into lower case.
fn every_flipped_byte_of_the_bundle(release: &Release) {
    let judge = Judge::open(release, "data.csv");
    let bytes = fs::read(release.path("data.csv.provenance.json")).unwrap();
    for (at, mask) in (0..bytes.len()).flat_map(|at| [(at, 0x01), (at, 0x20)]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= mask;
        judge.wrong(&flipped, &format!("byte {at} mask {mask:#x}"));
    }
}

fn changed_files(release: &Release) {
    let policy = release.path("keys/policy.toml");
    let judge = || verify(&release.path("model"), None, Some(&policy));
    let weights = release.path("model/model.safetensors");
    let good = fs::read(&weights).unwrap();
    for at in [0, 9, 60, good.len() / 2, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        fs::write(&weights, flipped).unwrap();
        let verdict = judge();
        assert_eq!(verdict.state, State::Invalid, "byte {at}");
        let detail = &verdict.checks.iter().find(|check| check.state == State::Invalid).unwrap().detail;
        assert!(detail.contains("model.safetensors was changed"), "{detail}");
        if at > 100 {
            let tensors = verdict.checks.iter().find(|check| check.name == "tensors").unwrap();
            assert!(tensors.detail.contains('w'), "{tensors:?}");
        }
    }
    fs::write(&weights, &good[..good.len() - 4]).unwrap();
    assert_eq!(judge().state, State::Invalid, "truncated");
    fs::write(&weights, &good).unwrap();
    let extra = release.path("model/modeling.py");
    fs::write(&extra, "import os\n").unwrap();
    let verdict = judge();
    assert_eq!(verdict.state, State::Invalid);
    assert!(verdict.checks.iter().any(|check| check.detail.contains("modeling.py was not signed")));
    fs::remove_file(extra).unwrap();
    let sidecar = release.path("model.c2pa");
    let good = fs::read(&sidecar).unwrap();
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    fs::write(&sidecar, flipped).unwrap();
    let verdict = judge();
    assert_eq!(row(&verdict, State::Invalid), "provenance files");
    fs::write(&sidecar, good).unwrap();
    assert_eq!(judge().state, State::Unanchored);
}

/// Names that look like provenance must not carry bytes past the signed listing.
fn smuggled_files(release: &Release) {
    let policy = release.path("keys/policy.toml");
    let judge = |name: &str| verify(&release.path(name), None, Some(&policy));
    let smuggle = |path: &str, bytes: &[u8], reason: &str| {
        let file = release.path("model").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, bytes).unwrap();
        let verdict = judge("model");
        assert_eq!(verdict.state, State::Invalid, "{path}: {verdict:#?}");
        assert!(verdict.checks.iter().any(|check| check.detail.contains(reason)), "{path}: {verdict:#?}");
        let top = release.path("model").join(path.split('/').next().unwrap());
        if top.is_dir() { fs::remove_dir_all(top).unwrap() } else { fs::remove_file(top).unwrap() }
    };
    smuggle("train-2.provenance.json", b"{\"text\":\"poison\"}", "is not what was checked here");
    smuggle("weights.c2pa", b"poison", "is not what was checked here");
    smuggle("x.c2pa/evil.safetensors", b"poison", "x.c2pa/evil.safetensors was not signed");
    smuggle("badge.svg/evil.json", b"poison", "badge.svg/evil.json was not signed");
    smuggle("sub/.git/evil.json", b"poison", "sub/.git/evil.json was not signed");
    smuggle("sub/README.md", b"poison", "sub/README.md was not signed");
    // The very bundle and manifest that are checked may lie in the folder, as on a hub.
    for (from, to) in [("model.provenance.json", "model/model.provenance.json"), ("model.c2pa", "model/model.c2pa")] {
        fs::copy(release.path(from), release.path(to)).unwrap();
    }
    assert_eq!(judge("model").state, State::Unanchored);
    fs::remove_file(release.path("model/model.provenance.json")).unwrap();
    fs::remove_file(release.path("model/model.c2pa")).unwrap();

    // The card of a dataset is configuration for loaders.
    fs::create_dir(release.path("set")).unwrap();
    fs::write(release.path("set/train.jsonl"), "{}\n").unwrap();
    sign(release.folder.path(), "set", &[]);
    assert_eq!(judge("set").state, State::Unanchored);
    fs::write(release.path("set/README.md"), "---\nconfigs: []\n---\n").unwrap();
    assert_eq!(row(&judge("set"), State::Invalid), "card");
}

/// Parts that are good by themselves, of another artifact.
fn evidence_of_others(release: &Release) {
    let bundle = release.bundle();
    let other = bundle.records[1].clone();
    let swap = release.verify_changed(|bundle| bundle.records[0].manifest = other.manifest.clone());
    assert_eq!(swap.state, State::Invalid, "manifest of another artifact: {swap:#?}");
    let swap = release.verify_changed(|bundle| bundle.records[0].receipt = other.receipt.clone());
    assert_eq!(row(&swap, State::Invalid), "log", "receipt of another entry");
    let swap = release.verify_changed(|bundle| {
        let proof = bundle.records[0].marks[0].receipt.clone().unwrap().proof;
        bundle.records[0].receipt.as_mut().unwrap().proof = proof;
    });
    assert_eq!(row(&swap, State::Invalid), "log", "proof of another entry");
    let swap = release.verify_changed(|bundle| bundle.records[0].marks[0].receipt = other.receipt.clone());
    assert_eq!(swap.state, State::Invalid, "mark with the receipt of a release");
    // An edge under another name than the parent's own, signed by the owner himself.
    let verdict = release.verify_changed(|bundle| {
        let key = countermark::io::keys::load(&release.path("keys/owner.key")).unwrap();
        let payload = STANDARD.decode(&bundle.records[0].statement.payload).unwrap();
        let payload = String::from_utf8(payload).unwrap().replace("\"name\":\"base\"", "\"name\":\"famous\"");
        bundle.records[0].statement = Envelope::sign(payload.as_bytes(), &*key).unwrap();
    });
    assert!(verdict.checks.iter().any(|check| check.name == "parent famous: edge"), "{verdict:#?}");
    let swap = release.verify_changed(|bundle| bundle.records.swap(0, 1));
    assert_eq!(swap.state, State::Invalid, "bundle of another model");
    let doubled = release.verify_changed(|bundle| bundle.records.push(bundle.records[1].clone()));
    assert_eq!(row(&doubled, State::Invalid), "bundle");

    // A stranger signs the same bytes under a key of his own, with everything in order.
    keyset::generate(&release.path("stranger"), "Example Lab").unwrap();
    let mut request = sign::Request::new(release.path("model"), release.path("stranger/owner.key"));
    request.log = Some(release.path("stranger-log"));
    request.out = Some(release.path("stranger.provenance.json"));
    let elsewhere = release.path("stranger");
    request.out = Some(elsewhere.join("model.provenance.json"));
    let signed = sign::sign(&request, &silent()).unwrap();
    let verdict = verify(&release.path("model"), Some(&signed.bundle), Some(&release.path("keys/policy.toml")));
    assert_eq!(row(&verdict, State::UnknownSigner), "signer");
    assert_ne!(verdict.state.exit_code(), 0);
}

fn stripped_evidence(release: &Release) {
    type Change = fn(&mut Bundle);
    let cases: [(&str, Change); 5] = [
        ("manifest", |bundle| bundle.records[0].manifest = None),
        ("receipt", |bundle| bundle.records[0].receipt = None),
        ("mark", |bundle| bundle.records[0].marks.clear()),
        ("mark receipt", |bundle| bundle.records[0].marks[0].receipt = None),
        ("parents", |bundle| bundle.records.truncate(1)),
    ];
    for (what, change) in cases {
        let verdict = release.verify_changed(change);
        assert!(verdict.state >= State::Unknown, "{what}: {verdict:#?}");
    }
    let extra = release.verify_changed(|bundle| {
        let mut stranger = Bundle::parse(&fs::read(release.path("stranger/model.provenance.json")).unwrap()).unwrap();
        bundle.records.append(&mut stranger.records);
    });
    assert_eq!(row(&extra, State::Invalid), "bundle");
}

fn policies(release: &Release) {
    let text = fs::read_to_string(release.path("keys/policy.toml")).unwrap();
    let judge = |text: &str| {
        let path = release.path("policy.toml");
        fs::write(&path, text).unwrap();
        verify(&release.path("model"), None, Some(&path)).state
    };
    assert_eq!(judge(&text), State::Unanchored);
    assert_eq!(judge(&format!("{text}\n[require]\nanchor = true\n")), State::Unknown);
    let statement = release.bundle().records[0].statement.id().unwrap();
    assert_eq!(
        judge(&format!("{text}\n[[revoked]]\nstatement = \"{statement}\"\nreason = \"withdrawn\"\n")),
        State::Revoked
    );
    let only_data = text.replacen("[[signer]]\n", "[[signer]]\nnames = [\"data*\"]\n", 1);
    assert_eq!(judge(&only_data), State::UnknownSigner);
    let no_edges = text.replacen("[[signer]]\n", "[[signer]]\nrelations = []\n", 1);
    assert_eq!(judge(&no_edges), State::UnknownSigner);
    let (before, after) = text.split_once("vkey = \"").unwrap();
    let other_log = format!("{before}vkey = \"x{after}");
    assert_eq!(judge(&other_log), State::UnknownSigner);
}
