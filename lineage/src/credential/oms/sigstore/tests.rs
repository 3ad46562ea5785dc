//! An instance of our own: certificate authority, certificate log, transparency logs of both versions and a
//! time-stamping authority, all with real signatures. The public instance's own bundles verify as well (see the
//! command line's tests).

#[path = "../../../../../examples/make_cases/certificates.rs"]
mod certificates;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use certificates::{
    CERTIFICATE_SIGN, CODE_SIGNING, DIGITAL_SIGNATURE, Template, extension, oid, purpose, sequence, tlv,
};
use p256::ecdsa::SigningKey;
use serde_json::{Value, json};

use super::*;
use crate::credential::dsse::{PAYLOAD_TYPE, pae};
use crate::credential::keys::{Algorithm, PrivateKey, signature_to_der};
use crate::credential::oms::{Method, Resource, Statement, Trust, open};
use crate::digest::pieces::Function;
use crate::digest::{Hash, tree};

const SAN: &[u8] = &[0x55, 0x1d, 0x11];
const ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
const PROMISES: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const TIME_STAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];
const DECADES: (&str, &str) = ("20200101", "20991231");
/// Noon of 2030-01-02, and the day around it.
const SIGNED_AT: i64 = 1_893_585_600;
const THAT_DAY: (&str, &str) = ("20300102", "20300103");
const NOW: i64 = SIGNED_AT + 40 * 86_400;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    signature_to_der(Algorithm::P256, &PrivateKey::sign(key, message).unwrap())
}

fn spki(key: &dyn PrivateKey) -> Vec<u8> {
    key.public().to_spki()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Which keys sign, and what the leaf says; changed by the tests.
struct Instance {
    authority: SigningKey,
    certificate_log: SigningKey,
    leaf: SigningKey,
    log: SigningKey,
    log2: ed25519_dalek::SigningKey,
    stamper: SigningKey,
    identity: &'static str,
    usage: Vec<u8>,
    promised: bool,
    valid: (&'static str, &'static str),
}

impl Default for Instance {
    fn default() -> Self {
        Instance {
            authority: key(1),
            certificate_log: key(2),
            leaf: key(3),
            log: key(4),
            log2: ed25519_dalek::SigningKey::from_bytes(&[5; 32]),
            stamper: key(6),
            identity: "ada@example.org",
            usage: purpose(CODE_SIGNING),
            promised: true,
            valid: THAT_DAY,
        }
    }
}

fn authority<'a>(subject: &'a str) -> Template<'a> {
    let (usage, extensions) = (CERTIFICATE_SIGN, vec![]);
    Template { subject, issuer: subject, valid: DECADES, authority: true, usage, extensions }
}

fn payload() -> Vec<u8> {
    let resource = Resource { path: "w".into(), range: None, digest: Hash::sha256(b"1").0.to_vec() };
    let statement = Statement {
        name: "model".into(),
        blake3: None,
        resources: vec![resource],
        method: Method::Files,
        function: Function::Sha256,
        allow_symlinks: false,
        ignored: vec![],
    };
    statement.to_payload().unwrap()
}

impl Instance {
    fn self_signed(key: &SigningKey, subject: &str) -> Vec<u8> {
        let by = |bytes: &[u8]| sign(key, bytes);
        authority(subject).certificate(&spki(key), &by)
    }

    /// The short-lived certificate, with the log's promise over what it is without it.
    fn certificate(&self) -> Vec<u8> {
        let by = |bytes: &[u8]| sign(&self.authority, bytes);
        let names = extension(SAN, true, &sequence(&[&tlv(0x81, self.identity.as_bytes())]));
        let issuer = extension(ISSUER, false, &tlv(12, b"https://accounts.example.org"));
        let mut template = Template {
            subject: "",
            issuer: "Authority",
            valid: self.valid,
            authority: false,
            usage: DIGITAL_SIGNATURE,
            extensions: vec![self.usage.clone(), names, issuer],
        };
        if self.promised {
            let before = template.unsigned(&spki(&self.leaf));
            let milliseconds = (SIGNED_AT as u64 * 1000).to_be_bytes();
            let id = Hash::sha256(&spki(&authority_key())).0;
            let length = &(before.len() as u32).to_be_bytes()[1..];
            let signed = [&[0, 0], &milliseconds[..], &[0, 1], &id, length, &before, &[0, 0]].concat();
            let signature = sign(&self.certificate_log, &signed);
            let log = Hash::sha256(&spki(&key(2))).0;
            let one = [&[0], &log[..], &milliseconds, &[0, 0, 4, 3], &vector(&signature)].concat();
            template.extensions.push(extension(PROMISES, false, &tlv(4, &vector(&vector(&one)))));
        }
        template.certificate(&spki(&self.leaf), &by)
    }

    fn root(&self) -> Value {
        let log = |spki: &[u8]| {
            json!({ "baseUrl": "https://log.example", "hashAlgorithm": "SHA2_256",
                "publicKey": { "rawBytes": base64(spki), "validFor": { "start": "2020-01-01T00:00:00Z" } },
                "logId": { "keyId": base64(&Hash::sha256(spki).0) } })
        };
        let authority = |der: &[u8]| {
            json!({ "certChain": { "certificates": [{ "rawBytes": base64(der) }] },
                "validFor": { "start": "2020-01-01T00:00:00.000Z", "end": "2090-01-01T00:00:00Z" } })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&spki(&key(4))), log(&spki(&self.log2))],
            "certificateAuthorities": [authority(&Self::self_signed(&key(1), "Authority"))],
            "ctlogs": [log(&spki(&key(2)))],
            "timestampAuthorities": [authority(&Self::self_signed(&key(7), "Clock root"))],
        })
    }

    /// An entry of this body, between two others.
    fn entry(&self, kind: &str, version: &str, spec: Value, second: bool) -> Value {
        let body = json!({ "apiVersion": version, "kind": kind, "spec": spec }).to_string();
        let leaves = [tree::leaf(b"0"), tree::leaf(body.as_bytes()), tree::leaf(b"2")];
        let (root, path) = (tree::root(&leaves), tree::reference::inclusion(1, &leaves));
        let text = format!("log.example\n3\n{}\n", base64(&root.0));
        let (spki, signature) = if second {
            (spki(&self.log2), PrivateKey::sign(&self.log2, text.as_bytes()).unwrap())
        } else {
            (spki(&key(4)), sign(&self.log, text.as_bytes()))
        };
        let id = Hash::sha256(&spki);
        let blob = base64(&[&id.0[..4], &signature].concat());
        let hashes: Vec<String> = path.iter().map(|hash| base64(&hash.0)).collect();
        let mut entry = json!({
            "logIndex": "1", "logId": { "keyId": base64(&id.0) },
            "kindVersion": { "kind": kind, "version": version },
            "inclusionProof": { "logIndex": "1", "rootHash": base64(&root.0), "treeSize": "3", "hashes": hashes,
                "checkpoint": { "envelope": format!("{text}\n\u{2014} log.example {blob}\n") } },
            "canonicalizedBody": base64(body.as_bytes()),
        });
        if !second {
            let promised = format!(
                r#"{{"body":"{}","integratedTime":{SIGNED_AT},"logID":"{id}","logIndex":1}}"#,
                base64(body.as_bytes())
            );
            entry["integratedTime"] = SIGNED_AT.to_string().into();
            entry["inclusionPromise"] =
                json!({ "signedEntryTimestamp": base64(&sign(&self.log, promised.as_bytes())) });
        }
        entry
    }

    fn entry_of(&self, kind: &str, version: &str, signature: &[u8]) -> Value {
        let certificate = self.certificate();
        let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &certificate).unwrap();
        let pem = base64(pem.as_bytes());
        let of_payload = Hash::sha256(&payload());
        let of_encoding = Hash::sha256(&pae(PAYLOAD_TYPE, &payload()));
        let verifier =
            json!({ "keyDetails": "PKIX_ECDSA_P256_SHA_256", "x509Certificate": { "rawBytes": base64(&certificate) } });
        let signature = base64(signature);
        let spec = match (kind, version) {
            ("dsse", "0.0.1") => json!({
                "envelopeHash": { "algorithm": "sha256", "value": of_payload },
                "payloadHash": { "algorithm": "sha256", "value": of_payload },
                "signatures": [{ "signature": signature, "verifier": pem }] }),
            ("dsse", _) => json!({ "dsseV002": {
                "payloadHash": { "algorithm": "SHA2_256", "digest": base64(&of_payload.0) },
                "signatures": [{ "content": signature, "verifier": verifier }] } }),
            ("hashedrekord", "0.0.1") => json!({
                "data": { "hash": { "algorithm": "sha256", "value": of_encoding } },
                "signature": { "content": signature, "publicKey": { "content": pem } } }),
            _ => json!({ "hashedRekordV002": {
                "data": { "algorithm": "SHA2_256", "digest": base64(&of_encoding.0) },
                "signature": { "content": signature, "verifier": verifier } } }),
        };
        self.entry(kind, version, spec, version == "0.0.2")
    }

    fn bundle(&self, kind: &str, version: &str) -> Value {
        let signature = sign(&self.leaf, &pae(PAYLOAD_TYPE, &payload()));
        let mut bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": base64(&self.certificate()) },
                "tlogEntries": [self.entry_of(kind, version, &signature)],
            },
            "dsseEnvelope": { "payload": base64(&payload()), "payloadType": PAYLOAD_TYPE,
                "signatures": [{ "sig": base64(&signature) }] },
        });
        if version == "0.0.2" {
            bundle["verificationMaterial"]["timestampVerificationData"] =
                json!({ "rfc3161Timestamps": [{ "signedTimestamp": base64(&self.stamp(&signature)) }] });
        }
        bundle
    }

    /// A time-stamp response over `message` (RFC 3161, 2.4.2).
    fn stamp(&self, message: &[u8]) -> Vec<u8> {
        let by = |bytes: &[u8]| sign(&key(7), bytes);
        let critical = extension(&[0x55, 0x1d, 0x25], true, &sequence(&[&oid(TIME_STAMPING)]));
        let template = Template {
            subject: "Clock",
            issuer: "Clock root",
            valid: DECADES,
            authority: false,
            usage: DIGITAL_SIGNATURE,
            extensions: vec![critical],
        };
        let certificate = template.certificate(&spki(&self.stamper), &by);
        let sha256 = sequence(&[&oid(SHA256)]);
        let imprint = sequence(&[&sha256, &tlv(4, &Hash::sha256(message).0)]);
        let info =
            sequence(&[&tlv(2, &[1]), &oid(&[0x2a, 3, 4]), &imprint, &tlv(2, &[9]), &tlv(0x18, b"20300102120000Z")]);
        let pkcs9 = |rest: &[u8]| oid(&[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1][..], rest].concat());
        let info_type = pkcs9(&[9, 16, 1, 4]);
        let attribute = |id: Vec<u8>, value: &[u8]| sequence(&[&id, &tlv(0x31, value)]);
        let own = sequence(&[&sequence(&[&sequence(&[&tlv(4, &Hash::sha256(&certificate).0)])])]);
        let attributes = [
            attribute(pkcs9(&[9, 3]), &info_type),
            attribute(pkcs9(&[9, 4]), &tlv(4, &Hash::sha256(&info).0)),
            attribute(pkcs9(&[9, 16, 2, 47]), &own),
        ]
        .concat();
        let ecdsa = sequence(&[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])]);
        let signer = sequence(&[
            &tlv(2, &[1]),
            &sequence(&[&certificates::name("Clock root"), &tlv(2, &[1])]),
            &sha256,
            &tlv(0xa0, &attributes),
            &ecdsa,
            &tlv(4, &sign(&self.stamper, &tlv(0x31, &attributes))),
        ]);
        let data = sequence(&[
            &tlv(2, &[3]),
            &tlv(0x31, &sha256),
            &sequence(&[&info_type, &tlv(0xa0, &tlv(4, &info))]),
            &tlv(0xa0, &certificate),
            &tlv(0x31, &signer),
        ]);
        let token = sequence(&[&pkcs9(&[7, 2]), &tlv(0xa0, &data)]);
        sequence(&[&sequence(&[&tlv(2, &[0])]), &token])
    }
}

fn authority_key() -> SigningKey {
    key(1)
}

/// Bytes after their length of two bytes.
fn vector(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn judge(bundle: &Value, root: &Value, identity: &str, issuer: &str) -> (State, Vec<Check>) {
    let root = TrustedRoot::parse(root.to_string().as_bytes()).unwrap();
    let trust = Trust::Sigstore(Identity { root: &root, identity, issuer });
    let (rows, opened) = open(bundle.to_string().as_bytes(), &trust, NOW);
    let state = rows.iter().map(|row| row.state).max().unwrap();
    assert_eq!(opened.is_some(), state == State::Verified, "{rows:#?}");
    (state, rows)
}

fn judge_by_default(bundle: &Value, root: &Value) -> (State, Vec<Check>) {
    judge(bundle, root, "ada@example.org", "https://accounts.example.org")
}

const KINDS: [(&str, &str); 4] =
    [("dsse", "0.0.1"), ("hashedrekord", "0.0.1"), ("dsse", "0.0.2"), ("hashedrekord", "0.0.2")];

#[test]
fn entries_of_every_kind_verify_long_after_the_certificate_expired() {
    let instance = Instance::default();
    for (kind, version) in KINDS {
        let (state, rows) = judge_by_default(&instance.bundle(kind, version), &instance.root());
        assert_eq!(state, State::Verified, "{kind} {version}: {rows:#?}");
        assert!(rows.iter().any(|row| row.name == TIME && row.detail.contains("2030-01-02T12:00:00Z")));
    }
}

#[test]
fn whom_one_asks_for_is_compulsory_and_exact() {
    let instance = Instance::default();
    let bundle = instance.bundle("dsse", "0.0.1");
    for (identity, issuer) in [
        ("eve@example.org", "https://accounts.example.org"),
        ("ada@example.org", "https://accounts.example.com"),
        ("ada@example.or", "https://accounts.example.org"),
        ("", ""),
    ] {
        let (state, rows) = judge(&bundle, &instance.root(), identity, issuer);
        assert_eq!(state, State::Invalid, "{identity} {issuer}: {rows:#?}");
    }
}

#[test]
fn what_any_party_did_not_sign_is_refused() {
    let by = |change: fn(&mut Instance)| {
        let mut instance = Instance::default();
        change(&mut instance);
        instance
    };
    let good = Instance::default().root();
    let cases: [(&str, Instance, State, &str); 8] = [
        ("another authority", by(|it| it.authority = key(9)), State::UnknownSigner, "no given root"),
        ("a false certificate log", by(|it| it.certificate_log = key(9)), State::Invalid, "did not sign"),
        ("no promise of a certificate log", by(|it| it.promised = false), State::Invalid, "no promise"),
        ("a false log", by(|it| it.log = key(9)), State::Invalid, "not signed by the log"),
        ("another name", by(|it| it.identity = "eve@example.org"), State::Invalid, "eve@example.org"),
        ("not for code", by(|it| it.usage = purpose(TIME_STAMPING)), State::Invalid, "signing code"),
        ("expired when signed", by(|it| it.valid = ("20290101", "20290102")), State::Unknown, "expired"),
        ("not valid when signed", by(|it| it.valid = ("20310101", "20310102")), State::Unknown, "valid from"),
    ];
    for (what, instance, expected, reason) in cases {
        let (state, rows) = judge_by_default(&instance.bundle("dsse", "0.0.1"), &good);
        assert_eq!(state, expected, "{what}: {rows:#?}");
        assert!(rows.iter().any(|row| row.state == state && row.detail.contains(reason)), "{what}: {rows:#?}");
    }
    let other = by(|it| it.log2 = ed25519_dalek::SigningKey::from_bytes(&[9; 32]));
    assert_eq!(judge_by_default(&other.bundle("dsse", "0.0.2"), &good).0, State::UnknownSigner);
    let other = by(|it| it.stamper = key(9));
    assert_eq!(judge_by_default(&other.bundle("dsse", "0.0.2"), &good).0, State::Verified, "under the same root");
}

#[test]
fn an_entry_is_about_this_signature_and_stands_where_it_says() {
    let instance = Instance::default();
    let signature = sign(&instance.leaf, b"something else");
    let other_leaf = Instance { valid: ("20300102", "20300104"), ..Instance::default() };
    let payload_signature = sign(&instance.leaf, &pae(PAYLOAD_TYPE, &payload()));
    for (kind, version) in KINDS {
        let good = instance.bundle(kind, version);
        let refused = |what: &str, change: &dyn Fn(&mut Value)| {
            let mut bundle = good.clone();
            change(&mut bundle);
            assert_ne!(bundle, good, "{what}");
            let (state, rows) = judge_by_default(&bundle, &instance.root());
            assert_ne!(state, State::Verified, "{kind} {version} {what}: {rows:#?}");
        };
        let set = |bundle: &mut Value, member: &str, value: Value| {
            *bundle.pointer_mut(&format!("/verificationMaterial/tlogEntries/0/{member}")).unwrap() = value;
        };
        refused("no entry", &|bundle| bundle["verificationMaterial"]["tlogEntries"] = json!([]));
        refused("another signature", &|bundle| {
            bundle["verificationMaterial"]["tlogEntries"][0] = instance.entry_of(kind, version, &signature);
        });
        refused("another certificate", &|bundle| {
            bundle["verificationMaterial"]["tlogEntries"][0] = other_leaf.entry_of(kind, version, &payload_signature);
        });
        refused("another payload", &|bundle| {
            let other = String::from_utf8(payload()).unwrap().replace("\"model\"", "\"other\"");
            bundle["dsseEnvelope"]["payload"] = base64(other.as_bytes()).into();
            let signature = sign(&instance.leaf, &pae(PAYLOAD_TYPE, other.as_bytes()));
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64(&signature).into();
        });
        refused("another kind", &|bundle| set(bundle, "kindVersion/kind", "intoto".into()));
        refused("another size", &|bundle| set(bundle, "inclusionProof/treeSize", "4".into()));
        refused("another place", &|bundle| set(bundle, "inclusionProof/logIndex", "0".into()));
        refused("another root", &|bundle| set(bundle, "inclusionProof/rootHash", base64(&[0; 32]).into()));
        refused("a shorter path", &|bundle| set(bundle, "inclusionProof/hashes", json!([])));
        refused("another log", &|bundle| set(bundle, "logId/keyId", base64(&[0; 32]).into()));
        refused("an unsigned checkpoint", &|bundle| {
            set(bundle, "inclusionProof/checkpoint/envelope", "log.example\n3\nAAAA\n\n".into());
        });
        refused("no proof", &|bundle| {
            bundle["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove("inclusionProof");
        });
        refused("two signatures", &|bundle| {
            let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
            signatures.push(signatures[0].clone());
        });
        if version == "0.0.1" {
            refused("another time", &|bundle| set(bundle, "integratedTime", (SIGNED_AT + 1).to_string().into()));
            refused("another index", &|bundle| set(bundle, "logIndex", "2".into()));
            refused("no time at all", &|bundle| {
                let entry = bundle["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap();
                entry.remove("inclusionPromise");
            });
        } else {
            refused("no time-stamp", &|bundle| {
                bundle["verificationMaterial"].as_object_mut().unwrap().remove("timestampVerificationData");
            });
            refused("a time-stamp over something else", &|bundle| {
                let stamp = instance.stamp(&signature);
                bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
                    base64(&stamp).into();
            });
        }
        // A trusted root in which somebody is missing, or did not count then.
        for part in ["tlogs", "certificateAuthorities", "ctlogs"] {
            let mut root = instance.root();
            root[part] = json!([]);
            assert_eq!(judge_by_default(&good, &root).0, State::UnknownSigner, "{part}");
        }
        let mut root = instance.root();
        root["certificateAuthorities"][0]["validFor"]["end"] = "2029-12-31T00:00:00Z".into();
        assert_eq!(judge_by_default(&good, &root).0, State::UnknownSigner);
    }
}

#[test]
fn every_flipped_byte_of_the_material_is_refused() {
    let stamped = "time-stamped at 2030-01-02T12:00:00Z by Clock";
    let instance = Instance::default();
    let root = instance.root();
    for (kind, version) in [("dsse", "0.0.1"), ("hashedrekord", "0.0.2")] {
        let good = instance.bundle(kind, version);
        for pointer in [
            "/verificationMaterial/certificate/rawBytes",
            "/verificationMaterial/tlogEntries/0/canonicalizedBody",
            "/verificationMaterial/tlogEntries/0/inclusionPromise/signedEntryTimestamp",
            "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
            "/dsseEnvelope/signatures/0/sig",
        ] {
            let Some(text) = good.pointer(pointer).and_then(Value::as_str) else { continue };
            let bytes = STANDARD.decode(text).unwrap();
            for at in (0..bytes.len()).step_by(3) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                let mut bundle = good.clone();
                *bundle.pointer_mut(pointer).unwrap() = base64(&flipped).into();
                let (state, rows) = judge_by_default(&bundle, &root);
                // Around what a time-stamp's signature covers, CMS repeats algorithms: those bytes change nothing.
                let same_time = || rows.iter().any(|row| row.name == TIME && row.detail == stamped);
                let harmless = pointer.ends_with("signedTimestamp") && same_time();
                assert!(state != State::Verified || harmless, "{pointer} byte {at}: {rows:#?}");
            }
        }
    }
}

#[test]
fn trusted_roots_that_say_nothing_are_refused() {
    let good = Instance::default().root().to_string();
    for (from, to) in [
        ("trustedroot+json", "bundle+json"),
        ("2020-01-01T00:00:00Z", "yesterday"),
        ("\"keyId\":\"", "\"keyId\":\"AAAA"),
        ("\"certificates\":[{\"rawBytes\":\"", "\"certificates\":[{\"rawBytes\":\"AAAA"),
        ("\"tlogs\"", "\"ctlogs\""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(TrustedRoot::parse(bad.as_bytes()).is_err(), "{to}");
    }
}
