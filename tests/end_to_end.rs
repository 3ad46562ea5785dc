//! Mark, sign, log, carry to another folder, verify; and every byte of the evidence flipped.

use std::fs;
use std::path::{Path, PathBuf};

use countermark::lineage::bundle::{Bundle, Bytes};
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
    let header = format!(
        r#"{{"w":{{"dtype":"F32","shape":[{ROWS},{COLUMNS}],"data_offsets":[0,{}]}}}}"#,
        ROWS * COLUMNS * 4
    );
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
    evidence_of_others(&release);
    stripped_evidence(&release);
    policies(&release);
}

fn carried_to_another_folder(release: &Release) {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = |name: &str| fs::copy(release.path(name), elsewhere.path().join(name.rsplit('/').next().unwrap())).unwrap();
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
    // The card is not part of the root: adding a badge to it changes nothing.
    fs::write(model.join("README.md"), "# A model with a badge\n").unwrap();
    let verdict = verify(&model, Some(&bundle), Some(&elsewhere.path().join("policy.toml")));
    assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
}

/// Each byte of the payload, the manifest, the entries and the proofs of the artifact and of its ancestors.
fn every_flipped_byte_of_the_evidence(release: &Release) {
    let bundle = release.bundle();
    let judge = |bundle: &Bundle, what: &str, at: usize| {
        let verdict = verdict_of(release, bundle);
        assert_eq!(verdict.state, State::Invalid, "{what} byte {at}: {verdict:#?}");
        row(&verdict, State::Invalid).to_owned()
    };
    for index in 0..bundle.records.len() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let payload = STANDARD.decode(&bundle.records[index].statement.payload).unwrap();
        for at in sample(payload.len(), index) {
            let mut flipped = payload.clone();
            flipped[at] ^= 1;
            let mut bundle = bundle.clone();
            bundle.records[index].statement.payload = STANDARD.encode(flipped);
            let row = judge(&bundle, "statement", at);
            assert!(row.ends_with("statement") || row == "bundle", "{row}");
        }
        let store = bundle.records[index].manifest.clone().unwrap().0;
        for at in sample(store.len(), index) {
            let mut flipped = store.clone();
            flipped[at] ^= 1;
            let mut bundle = bundle.clone();
            bundle.records[index].manifest = Some(Bytes(flipped));
            let row = judge(&bundle, "manifest", at);
            assert!(row.contains("manifest"), "{row}");
        }
        let receipt = bundle.records[index].receipt.clone().unwrap();
        for at in sample(receipt.entry.0.len(), index) {
            let mut bundle = bundle.clone();
            bundle.records[index].receipt.as_mut().unwrap().entry.0[at] ^= 1;
            let row = judge(&bundle, "entry", at);
            assert!(row.ends_with("log"), "{row}");
        }
        for at in sample(receipt.proof.len(), index) {
            let mut flipped = receipt.proof.clone().into_bytes();
            flipped[at] ^= 1;
            let Ok(flipped) = String::from_utf8(flipped) else { continue };
            let mut bundle = bundle.clone();
            bundle.records[index].receipt.as_mut().unwrap().proof = flipped;
            let row = judge(&bundle, "proof and checkpoint", at);
            assert!(row.ends_with("log"), "{row}");
        }
    }
    let mark = bundle.records[0].marks[0].clone();
    for at in 0..mark.record.0.len() {
        let mut bundle = bundle.clone();
        bundle.records[0].marks[0].record.0[at] ^= 1;
        let row = judge(&bundle, "mark", at);
        assert!(row.starts_with("mark"), "{row}");
    }
}

/// Every byte of the artifact's own record; of the ancestors', which the same code checks, one in seventeen.
fn sample(length: usize, record: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(if record == 0 { 1 } else { 17 })
}

/// Every byte of the bundle file, in two ways: one bit, and the bit that turns upper into lower case.
fn every_flipped_byte_of_the_bundle(release: &Release) {
    let bytes = fs::read(release.path("model.provenance.json")).unwrap();
    for (at, mask) in (0..bytes.len()).step_by(7).flat_map(|at| [(at, 0x01), (at, 0x20)]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= mask;
        let verdict = verdict_of_bytes(release, &flipped);
        assert_eq!(verdict.state, State::Invalid, "byte {at} mask {mask:#x}: {verdict:#?}");
    }
}

/// As `verify`, with the model opened once: its bytes do not change here, only the evidence does.
fn verdict_of_bytes(release: &Release, bundle: &[u8]) -> Verdict {
    use countermark::lineage::verify::{Request, verify};
    thread_local! {
        static OPENED: std::cell::RefCell<Option<(countermark::lineage::digest::artifact::Artifact,
            countermark::lineage::credential::policy::Policy)>> = const { std::cell::RefCell::new(None) };
    }
    OPENED.with_borrow_mut(|opened| {
        let (artifact, policy) = opened.get_or_insert_with(|| {
            let policy = keyset::load_policy(&release.path("keys/policy.toml")).unwrap();
            (countermark::io::files::open(&release.path("model")).unwrap(), policy)
        });
        let request = Request {
            artifact,
            bundle: Some(bundle),
            sidecars: &[],
            policy: Some(policy),
            require_anchor: false,
            now: keyset::now(),
        };
        verify(&request, &|_| ())
    })
}

fn verdict_of(release: &Release, bundle: &Bundle) -> Verdict {
    verdict_of_bytes(release, bundle.to_json().as_bytes())
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
    assert_eq!(row(&verdict, State::Invalid), "manifest sidecar");
    fs::write(&sidecar, good).unwrap();
    assert_eq!(judge().state, State::Unanchored);
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
    let cases: [(&str, fn(&mut Bundle)); 5] = [
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
    assert_eq!(judge(&format!("{text}\n[[revoked]]\nstatement = \"{statement}\"\nreason = \"withdrawn\"\n")), State::Revoked);
    let only_data = text.replacen("[[signer]]\n", "[[signer]]\nnames = [\"data*\"]\n", 1);
    assert_eq!(judge(&only_data), State::UnknownSigner);
    let no_edges = text.replacen("[[signer]]\n", "[[signer]]\nrelations = []\n", 1);
    assert_eq!(judge(&no_edges), State::UnknownSigner);
    let (before, after) = text.split_once("vkey = \"").unwrap();
    let other_log = format!("{before}vkey = \"x{after}");
    assert_eq!(judge(&other_log), State::UnknownSigner);
}
