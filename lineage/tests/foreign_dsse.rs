//! Our envelopes in the hands of securesystemslib and in-toto-attestation, and theirs in ours. COUNTERMARK_CREDENTIALS
//! names a Python interpreter that has both (`fixtures/services/credentials.sh`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use countermark_lineage::credential::dsse::{Content, Envelope, PAYLOAD_TYPE};
use countermark_lineage::credential::hand_over::HandOver;
use countermark_lineage::credential::keys::PrivateKey;
use countermark_lineage::credential::revocation::{Entry, Kind, Revocations, Target};
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::Measured;
use countermark_lineage::digest::listing::{File, Listing};
use countermark_lineage::graph::Kind as Artifact;
use countermark_lineage::graph::statement::{Predicate, Release, Statement, rfc3339};
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::Value;

struct Bench {
    python: std::ffi::OsString,
    folder: PathBuf,
}

impl Bench {
    fn new(test: &str) -> Option<Self> {
        let Some(python) = std::env::var_os("COUNTERMARK_CREDENTIALS") else {
            eprintln!(
                "skipped: DSSE and in-toto in Python: COUNTERMARK_CREDENTIALS is not set (fixtures/services/credentials.sh)"
            );
            return None;
        };
        let folder = std::env::temp_dir().join(format!("countermark-dsse-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Some(Bench { python, folder })
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> (bool, Value) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/foreign/dsse.py");
        let output = Command::new(&self.python).arg(script).args(arguments).current_dir(&self.folder).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let answer = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        (output.status.success(), answer)
    }

    /// What Python says of a document that all these keys must have signed.
    fn verify(&self, document: &impl serde::Serialize, keys: &[&dyn PrivateKey]) -> (bool, Value) {
        self.write("document.json", &serde_json::to_string(document).unwrap());
        let name = |index: usize| format!("{index}.pem");
        for (index, key) in keys.iter().enumerate() {
            self.write(&name(index), &key.public().to_pem());
        }
        let names: Vec<String> = (0..keys.len()).map(name).collect();
        let arguments: Vec<&str> = std::iter::once("document.json").chain(names.iter().map(|name| &**name)).collect();
        self.run(&arguments)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn ed25519() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

fn p256() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[8; 32]).unwrap()
}

fn statement(signer: &dyn PrivateKey) -> Vec<u8> {
    let listing = Listing::new(vec![File { path: "a".into(), size: 1, blake3: Hash::blake3(b"1") }]).unwrap();
    let measured =
        Measured { root: Hash::blake3(b"1"), listing: listing.clone(), card: None, manifest_asset: Hash::sha256(b"1") };
    let predicate = Predicate {
        kind: Artifact::Model,
        created: rfc3339(0),
        folder: false,
        listing,
        card: None,
        tensors: None,
        records: None,
        parents: vec![],
        process: None,
        evidence: vec![],
        release: Release { manifest: false, log: None },
        signer: signer.public(),
    };
    let payload = Statement::new("model \u{e9}", &measured, predicate).to_payload();
    Statement::parse(&payload).unwrap();
    payload
}

#[test]
fn our_envelopes_verify_in_python_and_tampered_ones_do_not() {
    let Some(bench) = Bench::new("envelopes") else { return };
    let p384 = p384::ecdsa::SigningKey::from_slice(&[9; 48]).unwrap();
    let keys: [&dyn PrivateKey; 3] = [&ed25519(), &p256(), &p384];
    for key in keys {
        let envelope = Envelope::sign(&statement(key), key).unwrap();
        let (good, answer) = bench.verify(&envelope, &[key]);
        assert!(good, "{answer}");
        assert_eq!(answer["payloadType"], PAYLOAD_TYPE);
        assert_eq!(answer["keys"][0], key.public().to_string());
        let digests: BTreeMap<&str, String> =
            [("blake3", Hash::blake3(b"1").to_string()), ("sha256", Hash::sha256(b"1").to_string())].into();
        assert_eq!(answer["statement"]["digest"], serde_json::to_value(digests).unwrap());
        assert_eq!(answer["statement"]["name"], "model \u{e9}");
        assert_eq!(answer["statement"]["predicateType"], "https://countermark.dev/lineage/v1");
    }

    let (first, second) = (&ed25519() as &dyn PrivateKey, &p256() as &dyn PrivateKey);
    let mut both = Envelope::sign(&statement(first), first).unwrap();
    both.cosign(second).unwrap();
    let (good, answer) = bench.verify(&both, &[first, second]);
    assert!(good && answer["keys"].as_array().unwrap().len() == 2, "{answer}");

    let other = Envelope::sign(&statement(second), second).unwrap();
    type Change<'a> = &'a dyn Fn(&mut Envelope);
    let tampered: [(&str, Change<'_>); 4] = [
        ("payload", &|envelope| envelope.payload.clone_from(&other.payload)),
        ("type", &|envelope| envelope.payload_type = "application/json".into()),
        ("signature of another", &|envelope| envelope.signatures[1].sig.clone_from(&other.signatures[0].sig)),
        ("stripped", &|envelope| envelope.signatures.truncate(1)),
    ];
    for (what, change) in tampered {
        let mut bad = both.clone();
        change(&mut bad);
        let (good, answer) = bench.verify(&bad, &[first, second]);
        assert!(!good && answer["refused"].is_string(), "{what}: {answer}");
        // We refuse the same, except that how many signers are enough is for the policy.
        assert_eq!(bad.verify().is_ok(), what == "stripped", "{what}");
    }
}

#[test]
fn lists_and_hand_overs_are_envelopes_like_any_other() {
    let Some(bench) = Bench::new("lists") else { return };
    let (old, new) = (ed25519(), p256());
    let mut list = Revocations::after(None, new.public(), 0, 90);
    list.entries.push(Entry::new(Target::Key(old.public()), Kind::Stolen, "laptop", 0));
    let list = list.sign(&new).unwrap().file;
    let (good, answer) = bench.verify(&list, &[&new]);
    assert!(good, "{answer}");
    assert_eq!(answer["payloadType"], Content::Revocations.payload_type());
    assert!(!bench.verify(&list, &[&old]).0, "another key");

    let hand_over = HandOver::new(old.public(), new.public(), 0, None).sign(&old, &new).unwrap().file;
    let (good, answer) = bench.verify(&hand_over, &[&old, &new]);
    assert!(good, "{answer}");
    assert_eq!(answer["payloadType"], Content::HandOver.payload_type());
    let mut as_list = hand_over.clone();
    as_list.envelope.payload_type = Content::Revocations.payload_type().into();
    assert!(!bench.verify(&as_list, &[&old, &new]).0, "another type");
}

#[test]
fn envelopes_made_in_python_verify_here() {
    let Some(bench) = Bench::new("made") else { return };
    let (first, second) = (ed25519(), p256());
    // PKCS#8 version 1 (RFC 5958): the public key that version 2 appends is refused by this Python.
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let pkcs8 = [&prefix[..], &first.to_bytes()].concat();
    bench.write("a.key", &der::pem::encode_string("PRIVATE KEY", LineEnding::LF, &pkcs8).unwrap());
    bench.write("b.key", &second.to_pkcs8_pem(LineEnding::LF).unwrap());
    bench.write("payload", std::str::from_utf8(&statement(&first)).unwrap());
    let (_, made) = bench.run(&["--sign", "payload", PAYLOAD_TYPE, "a.key", "b.key"]);
    let envelope: Envelope = serde_json::from_value(made).unwrap();
    let verified = envelope.verify().unwrap();
    assert_eq!(verified.payload, statement(&first));
    assert_eq!(verified.keys().copied().collect::<Vec<_>>(), [first.public(), second.public()]);
}
