//! Entries of Rekor, the transparency log of Sigstore: that one stands in the log, and that it is about this signature.
//!
//! Version 1 of the log gives a *promise* (a signature over body, time and place) and an inclusion proof under a signed
//! checkpoint; version 2 gives the proof alone, and no time. The proof is compulsory here, a promise is checked when
//! it is there, and only a promise makes the time count.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::super::bundle::decode;
use super::super::json::strict;
use super::Evidence;
use super::root::{LogKey, TrustedRoot};
use crate::Error;
use crate::credential::c2pa::Refusal;
use crate::credential::dsse::pae;
use crate::digest::{Hash, tree};
use crate::limit::at_most;

/// A number of 64 bits, which protobuf's JSON writes as a text.
#[derive(Clone, Copy)]
struct Number(u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::String(text) => text.parse::<u64>().ok().filter(|number| number.to_string() == text),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        // Beyond this, no reader of JSON agrees with another on what it read.
        let number = number.filter(|number| *number < 1 << 53);
        number.map(Number).ok_or_else(|| de::Error::custom("expected a whole number"))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in super::super) struct RawEntry {
    log_index: Number,
    log_id: RawLogId,
    kind_version: RawKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    integrated_time: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inclusion_promise: Option<RawPromise>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inclusion_proof: Option<RawProof>,
    canonicalized_body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawLogId {
    key_id: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKind {
    kind: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawPromise {
    signed_entry_timestamp: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawProof {
    // Left out when it is zero, as protobuf's JSON does.
    #[serde(default)]
    log_index: Option<Number>,
    root_hash: String,
    tree_size: Number,
    #[serde(default, deserialize_with = "at_most::<64, _, _>")]
    hashes: Vec<String>,
    checkpoint: RawCheckpoint,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheckpoint {
    envelope: String,
}

/// An entry of a transparency log, as carried.
#[derive(Clone, Debug)]
pub struct Entry {
    log: [u8; 32],
    index: u64,
    kind: String,
    version: String,
    time: Option<u64>,
    promise: Option<Vec<u8>>,
    proof: Option<Proof>,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Proof {
    index: u64,
    root: Hash,
    size: u64,
    path: Vec<Hash>,
    checkpoint: String,
}

/// Where an entry stands, and when it was entered if the log says so.
pub(super) struct Logged {
    pub place: String,
    pub time: Option<i64>,
}

fn hash(text: &str) -> Result<Hash, Error> {
    let bytes = decode("log entry", text)?;
    let refuse = |_| Error::input("OMS bundle log entry", "a hash is not 32 bytes", "fetch the signature again");
    Ok(Hash(bytes.try_into().map_err(refuse)?))
}

impl Entry {
    pub(in super::super) fn of(raw: RawEntry) -> Result<Self, Error> {
        let proof = |raw: RawProof| {
            Ok::<_, Error>(Proof {
                index: raw.log_index.map_or(0, |index| index.0),
                root: hash(&raw.root_hash)?,
                size: raw.tree_size.0,
                path: raw.hashes.iter().map(|text| hash(text)).collect::<Result<_, _>>()?,
                checkpoint: raw.checkpoint.envelope,
            })
        };
        let promise = |raw: RawPromise| decode("log entry", &raw.signed_entry_timestamp);
        Ok(Entry {
            log: hash(&raw.log_id.key_id)?.0,
            index: raw.log_index.0,
            kind: raw.kind_version.kind,
            version: raw.kind_version.version,
            time: raw.integrated_time.map(|time| time.0).filter(|time| *time > 0),
            promise: raw.inclusion_promise.map(promise).transpose()?,
            proof: raw.inclusion_proof.map(proof).transpose()?,
            body: decode("log entry", &raw.canonicalized_body)?,
        })
    }

    /// Checks proof and promise by the log's key.
    pub(super) fn verify(&self, root: &TrustedRoot) -> Result<Logged, Refusal> {
        let Some(log) = root.logs.iter().find(|log| log.id == self.log) else {
            return Err(Refusal::unknown_signer("the trusted root does not know the log of the entry".to_owned()));
        };
        let wrong = |problem: &str| Err(Refusal::invalid(format!("entry {} of {}: {problem}", self.index, log.name)));
        let Some(proof) = &self.proof else {
            return wrong("there is no inclusion proof");
        };
        let (size, head) = open_checkpoint(&proof.checkpoint, log)?;
        if size != proof.size || head != proof.root {
            return wrong("the proof is not under the checkpoint");
        }
        if !tree::includes(proof.index, size, tree::leaf(&self.body), &proof.path, &head) {
            return wrong("the proof does not lead from this entry to the checkpoint's root");
        }
        let place = format!("entry {} of {}, inclusion proved under {size} entries", self.index, log.name);
        let Some(promise) = &self.promise else { return Ok(Logged { place, time: None }) };
        let Some(time) = self.time else {
            return wrong("there is a promise without a time");
        };
        // RFC 8785: sorted keys, no blanks; the numbers are below 2^53.
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{time},"logID":"{}","logIndex":{}}}"#,
            STANDARD.encode(&self.body),
            Hash(self.log),
            self.index
        );
        if !log.verifies(promised.as_bytes(), promise)? {
            return wrong("the promise is not signed by the log");
        }
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        if !log.counted(time) {
            return wrong("it was made when the log's key did not count");
        }
        Ok(Logged { place, time: Some(time) })
    }

    /// Checks that the body speaks of this payload, this signature and this certificate.
    pub(super) fn is_about(&self, evidence: &Evidence<'_>) -> Result<(), Refusal> {
        let wrong = |problem: &str| Err(Refusal::invalid(format!("log entry {}: {problem}", self.index)));
        let Ok(body) = strict::<Value>(&self.body) else {
            return wrong("its body is not JSON");
        };
        if body["kind"] != *self.kind || body["apiVersion"] != *self.version {
            return wrong("its body is of another kind than it says");
        }
        let Some(found) = Subject::of(&self.kind, &self.version, &body["spec"]) else {
            return Err(Refusal::unsupported(format!(
                "log entry {}: kind {} {} is not checked, or it is malformed",
                self.index, self.kind, self.version
            )));
        };
        let digest = match found.digest {
            Digest::Payload(digest) => digest == Hash::sha256(evidence.payload),
            Digest::Encoding(digest) => digest == Hash::sha256(&pae(evidence.payload_type, evidence.payload)),
        };
        if !digest {
            return wrong("it is about another payload");
        }
        if found.signature != evidence.signature {
            return wrong("it is about another signature");
        }
        if found.certificate != evidence.leaf {
            return wrong("it is about another certificate");
        }
        Ok(())
    }
}

/// What an entry says was signed, by whom.
struct Subject {
    digest: Digest,
    signature: Vec<u8>,
    certificate: Vec<u8>,
}

enum Digest {
    /// SHA-256 of the payload.
    Payload(Hash),
    /// SHA-256 of the DSSE encoding around it.
    Encoding(Hash),
}

impl Subject {
    fn of(kind: &str, version: &str, spec: &Value) -> Option<Self> {
        let text = |value: &Value| STANDARD.decode(value.as_str()?).ok();
        let raw = |value: &Value| Some(Hash(text(value)?.try_into().ok()?));
        let hex = |value: &Value| Hash::parse(value.as_str()?);
        let sole = |value: &'_ Value| match value.as_array()?.as_slice() {
            [sole] => Some(sole.clone()),
            _ => None,
        };
        match (kind, version) {
            ("dsse", "0.0.1") => {
                let signature = sole(&spec["signatures"])?;
                (spec["payloadHash"]["algorithm"] == "sha256").then_some(())?;
                Some(Subject {
                    digest: Digest::Payload(hex(&spec["payloadHash"]["value"])?),
                    signature: text(&signature["signature"])?,
                    certificate: pem(&text(&signature["verifier"])?)?,
                })
            }
            ("dsse", "0.0.2") => {
                let spec = &spec["dsseV002"];
                let signature = sole(&spec["signatures"])?;
                (spec["payloadHash"]["algorithm"] == "SHA2_256").then_some(())?;
                Some(Subject {
                    digest: Digest::Payload(raw(&spec["payloadHash"]["digest"])?),
                    signature: text(&signature["content"])?,
                    certificate: text(&signature["verifier"]["x509Certificate"]["rawBytes"])?,
                })
            }
            ("hashedrekord", "0.0.1") => {
                (spec["data"]["hash"]["algorithm"] == "sha256").then_some(())?;
                Some(Subject {
                    digest: Digest::Encoding(hex(&spec["data"]["hash"]["value"])?),
                    signature: text(&spec["signature"]["content"])?,
                    certificate: pem(&text(&spec["signature"]["publicKey"]["content"])?)?,
                })
            }
            ("hashedrekord", "0.0.2") => {
                let spec = &spec["hashedRekordV002"];
                (spec["data"]["algorithm"] == "SHA2_256").then_some(())?;
                Some(Subject {
                    digest: Digest::Encoding(raw(&spec["data"]["digest"])?),
                    signature: text(&spec["signature"]["content"])?,
                    certificate: text(&spec["signature"]["verifier"]["x509Certificate"]["rawBytes"])?,
                })
            }
            _ => None,
        }
    }
}

fn pem(text: &[u8]) -> Option<Vec<u8>> {
    match der::pem::decode_vec(text) {
        Ok(("CERTIFICATE", der)) => Some(der),
        _ => None,
    }
}

/// Size and root of a tree, from a note that `log` signed (C2SP signed-note and tlog-checkpoint). The signature's first
/// four bytes are those of the log's id, whatever the type of its key.
fn open_checkpoint(note: &str, log: &LogKey) -> Result<(u64, Hash), Refusal> {
    let wrong = |problem: &str| Refusal::invalid(format!("checkpoint of {}: {problem}", log.name));
    let (text, signatures) = note.rsplit_once("\n\n").ok_or_else(|| wrong("has no signatures"))?;
    let signed = format!("{text}\n");
    let mut good = false;
    for line in signatures.lines() {
        let blob = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
        let blob = blob.and_then(|(_, blob)| STANDARD.decode(blob).ok()).ok_or_else(|| wrong("a line is malformed"))?;
        let (id, signature) = blob.split_first_chunk::<4>().ok_or_else(|| wrong("a line is malformed"))?;
        if *id == log.id[..4] {
            if !log.verifies(signed.as_bytes(), signature)? {
                return Err(wrong("is not signed by the log"));
            }
            good = true;
        }
    }
    if !good {
        return Err(wrong("is not signed by the log"));
    }
    let mut lines = text.lines().skip(1);
    let size = lines.next().and_then(|line| line.parse().ok());
    let root = lines.next().and_then(|line| STANDARD.decode(line).ok()?.try_into().ok());
    match (size, root) {
        (Some(size), Some(root)) => Ok((size, Hash(root))),
        _ => Err(wrong("names no size and root")),
    }
}
