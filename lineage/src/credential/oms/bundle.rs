//! The bundle: what carries an OMS signature, as Sigstore bundles v0.3 do.
//!
//! The objects that the schema closes are closed here too, and each of the three methods has material of its own kind.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::json::strict;
use super::sigstore::{Entry, RawEntry};
use crate::Error;
use crate::credential::dsse::PAYLOAD_TYPE;
use crate::credential::keys::{Algorithm, PrivateKey, PublicKey, signature_to_der};
use crate::digest::Hash;
use crate::limit::at_most;

/// The longest bundle that is read, in bytes: about 300,000 files.
pub const MAX_BUNDLE: u64 = 64 << 20;

/// The only media type that is written or read.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A bundle in its parts. Nothing in it is verified.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What the signer is recognised by.
    pub material: Material,
    /// The type that the envelope carries, which the signature covers.
    pub payload_type: String,
    /// The bytes that were signed, as carried.
    pub payload: Vec<u8>,
    /// At least one signature, in DER.
    pub signatures: Vec<Vec<u8>>,
    /// Entries of logs and time-stamps beside material that has no use for them.
    pub unused: usize,
}

/// What the signer is recognised by; each method has its own kind.
#[derive(Clone, Debug)]
pub enum Material {
    /// Method `key`: a label of the key.
    Key(KeyHint),
    /// Method `certificate`: certificates in DER, leaf first.
    Chain(Vec<Vec<u8>>),
    /// Method `sigstore`.
    Sigstore {
        /// The short-lived certificate, in DER.
        leaf: Vec<u8>,
        /// Entries in transparency logs.
        entries: Vec<Entry>,
        /// RFC 3161 time-stamp responses, in DER.
        timestamps: Vec<Vec<u8>>,
    },
}

/// A label of a key, which decides nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHint {
    /// As [`hint`] makes it; bundles older than model-signing 1.1.0 have none.
    pub hint: Option<String>,
    /// The key itself, in those older bundles.
    pub key: Option<PublicKey>,
}

/// SHA-256 over the PEM text of a key, line ends and all: the label of the method `key`.
pub fn hint(key: &PublicKey) -> String {
    Hash::sha256(key.to_pem().as_bytes()).to_string()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawBundle {
    media_type: String,
    verification_material: RawMaterial,
    dsse_envelope: RawEnvelope,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawMaterial {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<RawKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<RawChain>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<RawCertificate>,
    #[serde(default)]
    tlog_entries: Option<Entries>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<RawTimestamps>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Entries(#[serde(deserialize_with = "at_most::<16, _, _>")] Vec<RawEntry>);

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawKey {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw_bytes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_details: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChain {
    #[serde(deserialize_with = "at_most::<16, _, _>")]
    certificates: Vec<RawCertificate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawTimestamps {
    #[serde(default, deserialize_with = "at_most::<16, _, _>")]
    rfc3161_timestamps: Vec<RawTimestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawTimestamp {
    signed_timestamp: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawEnvelope {
    payload: String,
    payload_type: String,
    #[serde(deserialize_with = "at_most::<4, _, _>")]
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    sig: String,
    #[serde(default)]
    keyid: Option<String>,
}

fn refuse<T>(place: &str, problem: impl Into<String>) -> Result<T, Error> {
    let help = "fetch the signature again from where the model was published";
    Err(Error::input(format!("OMS bundle {place}").trim_end(), problem, help))
}

pub(super) fn decode(place: &str, text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).or_else(|_| refuse(place, "is not canonical Base64"))
}

impl Bundle {
    /// Reads a bundle file.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > MAX_BUNDLE {
            return refuse("", format!("is above {} MiB", MAX_BUNDLE >> 20));
        }
        let raw: RawBundle = strict(bytes).or_else(|problem| refuse("", problem))?;
        if raw.media_type != MEDIA_TYPE {
            return refuse("mediaType", format!("is not {MEDIA_TYPE}"));
        }
        let envelope = raw.dsse_envelope;
        if envelope.signatures.is_empty() {
            return refuse("signatures", "there is none");
        }
        let signature = |signature: &RawSignature| decode("signature", &signature.sig);
        let signatures = envelope.signatures.iter().map(signature).collect::<Result<_, _>>()?;
        let payload = decode("payload", &envelope.payload)?;
        let (material, unused) = Material::of(raw.verification_material)?;
        Ok(Bundle { material, payload_type: envelope.payload_type, payload, signatures, unused })
    }

    /// Signs `payload`, as compact JSON. With a `chain` (DER, leaf first) by the method `certificate`, without one by
    /// `key`.
    ///
    /// # Errors
    /// [`Error::Usage`] when the key is none of P-256, P-384 and P-521; whatever the key answers.
    pub fn sign(payload: &[u8], key: &dyn PrivateKey, chain: &[Vec<u8>]) -> Result<String, Error> {
        let public = key.public();
        if public.algorithm() == Algorithm::Ed25519 {
            let help =
                "OpenSSF Model Signing knows only ECDSA; name owner.p256.key, which keygen writes beside owner.key";
            return Err(Error::usage("an Ed25519 key cannot sign an OMS bundle", help));
        }
        let signature = key.sign(&crate::credential::dsse::pae(PAYLOAD_TYPE, payload))?;
        let material = if chain.is_empty() {
            RawMaterial {
                public_key: Some(RawKey { hint: Some(hint(&public)), ..RawKey::default() }),
                ..RawMaterial::default()
            }
        } else {
            let certificates = chain.iter().map(|der| RawCertificate { raw_bytes: STANDARD.encode(der) }).collect();
            RawMaterial { x509_certificate_chain: Some(RawChain { certificates }), ..RawMaterial::default() }
        };
        let bundle = RawBundle {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: RawMaterial { tlog_entries: Some(Entries::default()), ..material },
            dsse_envelope: RawEnvelope {
                payload: STANDARD.encode(payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![RawSignature {
                    sig: STANDARD.encode(signature_to_der(public.algorithm(), &signature)),
                    keyid: Some(String::new()),
                }],
            },
        };
        serde_json::to_string(&bundle).map_err(|error| Error::input("OMS bundle", error.to_string(), "try again"))
    }
}

impl Material {
    /// The one kind that is there, and how much else is that nobody has a use for.
    fn of(raw: RawMaterial) -> Result<(Self, usize), Error> {
        let entries = raw.tlog_entries.map(|entries| entries.0).unwrap_or_default();
        let timestamps = raw.timestamp_verification_data.map(|data| data.rfc3161_timestamps).unwrap_or_default();
        let unused = entries.len() + timestamps.len();
        match (raw.public_key, raw.x509_certificate_chain, raw.certificate) {
            (Some(key), None, None) => Ok((Material::Key(KeyHint::of(key)?), unused)),
            (None, Some(chain), None) => {
                let der = |certificate: &RawCertificate| decode("certificate", &certificate.raw_bytes);
                let chain = chain.certificates.iter().map(der).collect::<Result<Vec<_>, _>>()?;
                if chain.is_empty() {
                    return refuse("certificates", "there is none");
                }
                Ok((Material::Chain(chain), unused))
            }
            (None, None, Some(certificate)) => {
                let leaf = decode("certificate", &certificate.raw_bytes)?;
                let entries = entries.into_iter().map(Entry::of).collect::<Result<_, _>>()?;
                let der = |timestamp: &RawTimestamp| decode("timestamp", &timestamp.signed_timestamp);
                let timestamps = timestamps.iter().map(der).collect::<Result<_, _>>()?;
                Ok((Material::Sigstore { leaf, entries, timestamps }, 0))
            }
            (None, None, None) => refuse("verificationMaterial", "names neither key nor certificate"),
            _ => refuse("verificationMaterial", "mixes the material of several methods"),
        }
    }

    /// Which method this is the material of.
    pub fn method(&self) -> &'static str {
        match self {
            Material::Key(_) => "key",
            Material::Chain(_) => "certificate",
            Material::Sigstore { .. } => "sigstore",
        }
    }
}

impl KeyHint {
    fn of(raw: RawKey) -> Result<Self, Error> {
        let key = raw.raw_bytes.map(|text| {
            // Base64 of the PEM text, and not of the DER as the field's name says.
            let pem = decode("publicKey", &text)?;
            let der = match der::pem::decode_vec(&pem) {
                Ok(("PUBLIC KEY", der)) => PublicKey::from_spki(&der),
                _ => PublicKey::from_spki(&pem),
            };
            der.map_or_else(|| refuse("publicKey", "its rawBytes are not a public key"), Ok)
        });
        Ok(KeyHint { hint: raw.hint.filter(|hint| !hint.is_empty()), key: key.transpose()? })
    }

    /// True when nothing in the bundle says that another key than `key` signed.
    pub fn fits(&self, key: &PublicKey) -> bool {
        self.hint.as_ref().is_none_or(|found| *found == hint(key)) && self.key.is_none_or(|found| found == *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::dsse::pae;

    /// The public test key of RFC 6979, A.2.5.
    fn key() -> p256::ecdsa::SigningKey {
        let scalar = Hash::parse("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721").unwrap();
        p256::ecdsa::SigningKey::from_slice(&scalar.0).unwrap()
    }

    #[test]
    fn known_answers_of_hint_and_signature() {
        let public = key().public();
        assert_eq!(hint(&public), "4975c03dd2ad43f3803bf943ca231389c41f26352bf098c930568797eff44dcc");
        let bundle = Bundle::parse(Bundle::sign(b"{}", &key(), &[]).unwrap().as_bytes()).unwrap();
        let der = &bundle.signatures[0];
        assert!(public.verifies_der(&pae(PAYLOAD_TYPE, b"{}"), der));
        // The known answer is the other of two equivalent signatures: ours has the smaller s.
        let known = "MEUCIQCIoEl/VgK+hSpwyuWRrNuBKQf3Nur1JoLQypJXbSp+MQIgG1rWR71LAP8BSA4WWAw45zr4LI8TV++ee05vBV+OM4I=";
        assert_eq!(STANDARD.encode(der), known);
    }

    #[test]
    fn only_one_shape_is_read() {
        let good = Bundle::sign(b"{}", &key(), &[]).unwrap();
        assert!(Bundle::parse(good.as_bytes()).is_ok());
        let cases = [
            ("v0.3+json", "v0.2+json"),
            (r#","tlogEntries":[]"#, r#","tlogEntries":[],"more":1"#),
            (r#""tlogEntries":[]"#, r#""tlogEntries":[],"tlogEntries":[]"#),
            (r#""publicKey":{"#, r#""publicKey":{"more":1,"#),
            (r#""publicKey":"#, r#""publikKey":"#),
            (r#""publicKey":"#, r#""certificate":{"rawBytes":""},"publicKey":"#),
            (r#""payload":""#, r#""payload":"="#),
            (r#""keyid":"""#, r#""keyid":"","cert":"""#),
            (r#""mediaType""#, r#" "mediatype""#),
            (r#""signatures":["#, r#""signatures":[],"ignored":["#),
        ];
        for (from, to) in cases {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(Bundle::parse(bad.as_bytes()).is_err(), "{to}");
        }
        // What the reference and its older versions write is read.
        for (from, to) in [
            (r#","tlogEntries":[]"#, ""),
            (r#""tlogEntries":[]"#, r#""tlogEntries":null"#),
            (r#","keyid":"""#, ""),
            (r#""keyid":"""#, r#""keyid":null"#),
            (r#""hint":"#, r#""keyDetails":"PKIX_ECDSA_P256_SHA_256","hint":"#),
        ] {
            let other = good.replacen(from, to, 1);
            assert_ne!(other, good, "{from}");
            assert!(Bundle::parse(other.as_bytes()).is_ok(), "{to}");
        }
    }
}
