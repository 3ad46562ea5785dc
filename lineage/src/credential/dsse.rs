//! DSSE envelopes (github.com/secure-systems-lab/dsse, protocol 1.0) around in-toto statements, with one key.
//!
//! [`Envelope`] is what a file holds and says nothing yet. Only [`Envelope::verify`] gives a [`Verified`] payload.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::keys::{PrivateKey, PublicKey, signature_to_der};
use crate::Error;
use crate::digest::Hash;
use crate::limit::at_most;

/// The only payload type that is signed or accepted.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A signed payload as carried: unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Envelope {
    /// Standard Base64 of the payload.
    pub payload: String,
    /// Must be [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// Exactly one.
    #[serde(deserialize_with = "at_most::<16, _, _>")]
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// Text form of the public key.
    pub keyid: String,
    /// Standard Base64 of the signature over the PAE: 64 bytes of Ed25519, or an ECDSA signature in DER.
    pub sig: String,
}

/// A payload whose signature was verified, and by which key. Whether that key may vouch for it is the policy's matter.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// The key that signed.
    pub key: PublicKey,
}

impl Envelope {
    /// Signs `payload`.
    ///
    /// # Errors
    /// When the key does not answer.
    pub fn sign(payload: &[u8], key: &dyn PrivateKey) -> Result<Self, Error> {
        let (public, signature) = (key.public(), key.sign(&pae(PAYLOAD_TYPE, payload))?);
        Ok(Envelope {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: public.to_string(),
                sig: STANDARD.encode(signature_to_der(public.algorithm(), &signature)),
            }],
        })
    }

    /// SHA-256 of the payload: the id of the statement. Says nothing about the signature.
    ///
    /// # Errors
    /// [`Error::Input`] when the payload is not canonical Base64.
    pub fn id(&self) -> Result<Hash, Error> {
        Ok(Hash::sha256(&self.payload_bytes()?))
    }

    fn payload_bytes(&self) -> Result<Vec<u8>, Error> {
        let help = "fetch the bundle again from where it was published";
        STANDARD.decode(&self.payload).map_err(|error| Error::input("statement payload", error.to_string(), help))
    }

    /// Checks the one signature over the carried bytes.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part that is wrong.
    pub fn verify(&self) -> Result<Verified, Error> {
        let refuse = |place: &str, problem: &str| {
            Err(Error::input(place, problem, "fetch the bundle again from where it was published"))
        };
        if self.payload_type != PAYLOAD_TYPE {
            return refuse("statement payloadType", &format!("is not {PAYLOAD_TYPE}"));
        }
        let [signature] = &*self.signatures else {
            return refuse("statement signatures", "expected exactly one");
        };
        let Some(key) = PublicKey::parse(&signature.keyid) else {
            return refuse("statement keyid", "is not a public key in its text form");
        };
        let payload = self.payload_bytes()?;
        let Ok(bytes) = STANDARD.decode(&signature.sig) else {
            return refuse("statement signature", "is not canonical Base64");
        };
        if !key.verifies_der(&pae(&self.payload_type, &payload), &bytes) {
            return refuse("statement signature", "does not fit the payload and the key");
        }
        Ok(Verified { payload, key })
    }
}

/// Pre-authentication encoding: `DSSEv1 LEN(type) type LEN(payload) payload`.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn pae_known_answer() {
        let bytes = pae(PAYLOAD_TYPE, b"{}");
        assert_eq!(bytes, b"DSSEv1 28 application/vnd.in-toto+json 2 {}");
        assert_eq!(
            Hash::sha256(&bytes).to_string(),
            "4842cb1ba6fed6e460d8a0d56f6b64ccf1f1e11f7714a7f282080d5780251b63"
        );
    }

    #[test]
    fn a_signature_covers_type_payload_and_key() {
        let good = Envelope::sign(b"{}", &SigningKey::from_bytes(&[7; 32])).unwrap();
        assert_eq!(good.verify().unwrap().payload, b"{}");
        let other = Envelope::sign(b"{}", &SigningKey::from_bytes(&[8; 32])).unwrap();
        let mut bad = good.clone();
        bad.payload = STANDARD.encode(b"[]");
        assert!(bad.verify().is_err());
        let mut bad = good.clone();
        bad.signatures[0].keyid = other.signatures[0].keyid.clone();
        assert!(bad.verify().is_err());
        let mut bad = good.clone();
        bad.payload_type = "application/json".into();
        assert!(bad.verify().is_err());
        let mut bad = good.clone();
        bad.signatures.push(other.signatures[0].clone());
        assert!(bad.verify().is_err());
    }
}
