//! DSSE envelopes (github.com/secure-systems-lab/dsse, protocol 1.0), signed by one key or by several.
//!
//! [`Envelope`] is what a file holds and says nothing yet. Only [`Envelope::verify`] gives a [`Verified`] payload. Every
//! signature that is carried must hold: an envelope with one that does not was changed by somebody.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::keys::{PrivateKey, PublicKey, signature_to_der};
use crate::Error;
use crate::digest::Hash;
use crate::limit::at_most;

/// Payload type of statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Most signatures of one envelope.
pub const MAX_SIGNATURES: usize = 16;

/// What an envelope holds. Each has a payload type of its own, which is signed, so nothing is ever taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// [`crate::graph::statement::Statement`].
    Statement,
    /// [`super::revocation::Revocations`].
    Revocations,
    /// [`super::hand_over::HandOver`].
    HandOver,
}

impl Content {
    /// The payload type.
    pub fn payload_type(self) -> &'static str {
        match self {
            Content::Statement => PAYLOAD_TYPE,
            Content::Revocations => "application/vnd.countermark.revocations+json",
            Content::HandOver => "application/vnd.countermark.hand-over+json",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Content::Statement => "statement",
            Content::Revocations => "revocation list",
            Content::HandOver => "hand-over",
        }
    }
}

/// A signed payload as carried: unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Envelope {
    /// Standard Base64 of the payload.
    pub payload: String,
    /// One of [`Content::payload_type`].
    pub payload_type: String,
    /// At least one, each of another key. The first is the signer's, the others are co-signatures.
    #[serde(deserialize_with = "at_most::<MAX_SIGNATURES, _, _>")]
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

/// A payload whose signatures were verified, and by which keys. Whether they may vouch for it is the policy's matter.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// The key that signed first.
    pub key: PublicKey,
    /// The keys of the other signatures, in their order; all keys are distinct.
    pub cosigners: Vec<PublicKey>,
}

impl Verified {
    /// All keys, the signer's first.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.key).chain(&self.cosigners)
    }
}

impl Envelope {
    /// Signs the payload of a statement.
    ///
    /// # Errors
    /// When the key does not answer.
    pub fn sign(payload: &[u8], key: &dyn PrivateKey) -> Result<Self, Error> {
        Envelope::sign_as(Content::Statement, payload, &[key])
    }

    /// Signs a payload with each of `keys`, in their order.
    ///
    /// # Errors
    /// When a key does not answer, or stands there twice.
    pub fn sign_as(content: Content, payload: &[u8], keys: &[&dyn PrivateKey]) -> Result<Self, Error> {
        let payload_type = content.payload_type().to_owned();
        let mut envelope = Envelope { payload: STANDARD.encode(payload), payload_type, signatures: vec![] };
        keys.iter().try_for_each(|key| envelope.cosign(*key))?;
        Ok(envelope)
    }

    /// Adds a signature of one more key.
    ///
    /// # Errors
    /// When the key signed before or does not answer, or there is no room.
    pub fn cosign(&mut self, key: &dyn PrivateKey) -> Result<(), Error> {
        let public = key.public();
        let keyid = public.to_string();
        if self.signatures.iter().any(|signature| signature.keyid == keyid) {
            let problem = format!("{} has signed this already", public.short());
            return Err(Error::usage(problem, "co-sign with the key of somebody else"));
        }
        if self.signatures.len() == MAX_SIGNATURES {
            return Err(Error::usage(
                format!("{MAX_SIGNATURES} have signed this already"),
                "no more signatures are read",
            ));
        }
        let signature = key.sign(&pae(&self.payload_type, &self.payload_bytes()?))?;
        let sig = STANDARD.encode(signature_to_der(public.algorithm(), &signature));
        self.signatures.push(EnvelopeSignature { keyid, sig });
        Ok(())
    }

    /// SHA-256 of the payload: the id of the statement. Says nothing about the signatures.
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

    /// Checks every signature over the carried bytes of a statement.
    ///
    /// # Errors
    /// As [`Envelope::verify_as`].
    pub fn verify(&self) -> Result<Verified, Error> {
        self.verify_as(Content::Statement)
    }

    /// Checks every signature over the carried bytes, and that they are what is asked for.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part that is wrong.
    pub fn verify_as(&self, content: Content) -> Result<Verified, Error> {
        let refuse = |part: &str, problem: &str| {
            let place = format!("{} {part}", content.word());
            Err(Error::input(place, problem, "fetch it again from where it was published"))
        };
        if self.payload_type != content.payload_type() {
            return refuse("payloadType", &format!("is not {}", content.payload_type()));
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return refuse("signatures", &format!("are more than {MAX_SIGNATURES}"));
        }
        let Ok(payload) = STANDARD.decode(&self.payload) else {
            return refuse("payload", "is not canonical Base64");
        };
        let signed = pae(&self.payload_type, &payload);
        let mut keys = Vec::new();
        for signature in &self.signatures {
            let Some(key) = PublicKey::parse(&signature.keyid) else {
                return refuse("keyid", "is not a public key in its text form");
            };
            if keys.contains(&key) {
                return refuse("signatures", "one key signs twice; expected exactly one signature of each");
            }
            let Ok(bytes) = STANDARD.decode(&signature.sig) else {
                return refuse("signature", "is not canonical Base64");
            };
            if !key.verifies_der(&signed, &bytes) {
                return refuse("signature", &format!("of {} does not fit the payload and the key", key.short()));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        match keys.next() {
            Some(key) => Ok(Verified { payload, key, cosigners: keys.collect() }),
            None => refuse("signatures", "there is none"),
        }
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
        assert_eq!(bad.verify().unwrap().cosigners.len(), 1, "another key over the same payload");
        bad.signatures.push(good.signatures[0].clone());
        assert!(bad.verify().unwrap_err().problem().contains("signs twice"));
        let mut bad = good.clone();
        bad.signatures.clear();
        assert!(bad.verify().is_err());
        assert!(good.verify_as(Content::Revocations).is_err());
    }

    #[test]
    fn every_carried_signature_must_hold() {
        let first = SigningKey::from_bytes(&[7; 32]);
        let second = p256::ecdsa::SigningKey::from_slice(&[8; 32]).unwrap();
        let mut envelope = Envelope::sign(b"{}", &first).unwrap();
        envelope.cosign(&second).unwrap();
        assert!(envelope.cosign(&second).is_err());
        let verified = envelope.verify().unwrap();
        let keys: Vec<_> = verified.keys().copied().collect();
        assert_eq!(keys, [first.public(), second.public()]);
        let over_other = Envelope::sign(b"[]", &second).unwrap();
        envelope.signatures[1].sig = over_other.signatures[0].sig.clone();
        assert!(envelope.verify().is_err());
    }
}
