//! The signature of a claim: a tagged COSE_Sign1 (RFC 9052) with a detached payload and its certificates (RFC 9360).

use super::c2pa::Refusal;
use super::countersign;
use super::keys::{Algorithm, PublicKey};
use super::x509;
use crate::cbor::{self, Rules, Value};

const ALGORITHM: i64 = 1;
const X5CHAIN: i64 = 33;
/// Label of a time-stamp over the signature.
pub(super) const TIME_STAMP: &str = "sigTst2";

/// A parsed signature. Nothing is verified yet.
pub(super) struct Sign1 {
    protected: Vec<u8>,
    algorithm: Algorithm,
    signature: Vec<u8>,
    /// DER, the leaf first. Not empty.
    pub chain: Vec<Vec<u8>>,
    /// The token of an authority, where [`Unsigned::TimeStamp`] lets it stand.
    pub token: Option<Vec<u8>>,
}

/// How much of what the signature does not cover is tolerated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// One time-stamp, which is looked at in turn: every byte counts.
    TimeStamp,
    /// Zero padding, time-stamps and revocation data. They are ignored. For parents, whose bytes the child's hash fixes.
    Ignored,
}

/// Reads the box `c2pa.signature`.
pub(super) fn parse(bytes: &[u8], unsigned: Unsigned) -> Result<Sign1, Refusal> {
    let refuse = |problem: &str| Refusal::invalid(format!("COSE signature: {problem}"));
    // Without padding the deterministic encoding is the one that signers write.
    let rules = if unsigned == Unsigned::TimeStamp { Rules::Deterministic } else { Rules::Lenient };
    let sign1 = cbor::decode(bytes, rules).map_err(|error| refuse(&error.to_string()))?;
    let Value::Tag(18, inner) = sign1 else {
        return Err(refuse("is not a tagged COSE_Sign1"));
    };
    let Value::Array(parts) = *inner else {
        return Err(refuse("is not an array"));
    };
    let Ok([Value::Bytes(protected), Value::Map(header), Value::Null, Value::Bytes(signature)]) =
        <[Value; 4]>::try_from(parts)
    else {
        return Err(refuse("is not [protected, unprotected, null, signature]"));
    };
    let mut token = None;
    for (label, value) in &header {
        let tolerated = match (label.as_text(), unsigned) {
            (Some("pad" | "pad2"), Unsigned::Ignored) => {
                value.as_bytes().is_some_and(|pad| pad.iter().all(|byte| *byte == 0))
            }
            (Some(TIME_STAMP | "rVals"), Unsigned::Ignored) => true,
            (Some(TIME_STAMP), Unsigned::TimeStamp) => {
                let found = countersign::token(value).ok_or_else(|| refuse("a time-stamp must be one token"))?;
                token = Some(found.to_vec());
                true
            }
            _ => false,
        };
        if !tolerated {
            let problem = "the unprotected header, which no signature covers, holds something else than a time-stamp";
            return Err(refuse(problem));
        }
    }

    let protected_header =
        cbor::decode(&protected, Rules::Deterministic).map_err(|error| refuse(&error.to_string()))?;
    let known = |(key, _): &(Value, Value)| matches!(key.as_int(), Some(ALGORITHM | X5CHAIN));
    if !protected_header.as_map().is_some_and(|pairs| pairs.iter().all(known)) {
        return Err(Refusal::unsupported("COSE signature: a protected header other than alg and x5chain".into()));
    }
    let Some(algorithm) = protected_header.get(ALGORITHM).and_then(Value::as_int) else {
        return Err(refuse("no algorithm"));
    };
    let Some(algorithm) = Algorithm::ALL.into_iter().find(|known| known.cose() == algorithm) else {
        let problem = format!("COSE algorithm {algorithm}; only EdDSA (-8), ES256, ES384 and ES512 are checked");
        return Err(Refusal::unsupported(problem));
    };
    // RFC 9360: one certificate is a byte string, several are an array.
    let chain = match protected_header.get(X5CHAIN) {
        Some(Value::Bytes(leaf)) => vec![leaf.clone()],
        Some(Value::Array(chain)) if chain.len() > 1 => chain
            .iter()
            .map(|der| der.as_bytes().map(<[u8]>::to_vec).ok_or_else(|| refuse("a certificate is not a byte string")))
            .collect::<Result<_, _>>()?,
        _ => return Err(refuse("no certificates")),
    };
    Ok(Sign1 { protected, algorithm, signature, chain, token })
}

impl Sign1 {
    /// The key of the leaf, once its signature over `payload` has been verified.
    pub fn verify(&self, payload: &[u8]) -> Result<PublicKey, Refusal> {
        let key = x509::key(&x509::parse(&self.chain[0])?)?;
        if key.algorithm() != self.algorithm {
            let problem = format!("the algorithm is not that of the certificate's {} key", key.algorithm());
            return Err(Refusal::invalid(problem));
        }
        if key.verifies(&self.covered("Signature1", payload), &self.signature) {
            Ok(key)
        } else {
            Err(Refusal::invalid("the signature does not fit the claim and the certificate's key".into()))
        }
    }

    /// What a time-stamp covers: the signature, as the countersignature of RFC 8152 would (section 4.5).
    pub fn countersigned(&self) -> Vec<u8> {
        self.covered("CounterSignature", &cbor::encode(&cbor::bytes(&*self.signature)))
    }

    /// `[context, protected, external data, payload]` (RFC 9052, section 4.4).
    fn covered(&self, context: &str, payload: &[u8]) -> Vec<u8> {
        let parts = [cbor::text(context), cbor::bytes(&*self.protected), cbor::bytes([]), cbor::bytes(payload)];
        cbor::encode(&Value::Array(parts.to_vec()))
    }
}
