//! The time-stamp of a manifest: what it covers, and where in the store it goes (C2PA 2.2, section 10.3.2.5).
//!
//! A token covers the signature of the claim, and through it the claim. It stands alone in the unprotected header of that
//! signature, as `sigTst2`, so the store grows by it and nothing else in it changes. The signature is the last box of the
//! last manifest: only the lengths of the boxes around it are written anew.

use super::c2pa::Refusal;
use super::cose::{self, Unsigned};
use super::manifest::Store;
use super::{rfc3161, x509};
use crate::Error;
use crate::cbor::{self, Rules, Value};
use crate::graph::statement::rfc3339;

/// A stamp that is this much ahead of the clock is one of the future, in seconds.
const CLOCK_SKEW: i64 = 300;

/// The bytes over which an authority's token must be, for the active manifest of a store.
///
/// # Errors
/// [`Error::Input`] when this is no store, or has a time-stamp already.
pub fn message(store: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(open(store)?.countersigned())
}

fn open(store: &[u8]) -> Result<cose::Sign1, Error> {
    let sign1 = Store::parse(store)?.active.signature(Unsigned::TimeStamp)?;
    if sign1.token.is_some() {
        let help = "sign again to stamp it with a later time";
        return Err(Error::input("manifest", "has a time-stamp already", help));
    }
    Ok(sign1)
}

/// The store with `token` in it, in the one form that [`rfc3161::tidy`] gives.
///
/// # Errors
/// [`Error::Input`] when either is not what it must be, or the store has a time-stamp already.
pub fn add(store: &[u8], token: &[u8]) -> Result<Vec<u8>, Error> {
    open(store)?;
    let token = rfc3161::tidy(token)?;
    let malformed = || Error::input("manifest", "the signature is not the last box", "sign again");
    // Store, manifest, signature, and the box of its CBOR item: each the last child of the one before.
    let mut boxes = vec![0];
    for _ in 0..3 {
        let parent = boxes.last().copied().unwrap_or(0);
        boxes.push(last_child(store, parent).ok_or_else(malformed)?);
    }
    let cbor_box = boxes.last().copied().unwrap_or(0);
    let content = store.get(cbor_box + 8..).ok_or_else(malformed)?;
    let Ok(Value::Tag(18, sign1)) = cbor::decode(content, Rules::Deterministic) else { return Err(malformed()) };
    let Value::Array(mut parts) = *sign1 else { return Err(malformed()) };
    let header = parts.get_mut(1).ok_or_else(malformed)?;
    *header = Value::Map(vec![(cbor::text(cose::TIME_STAMP), container(token))]);
    let sign1 = cbor::encode(&Value::Tag(18, Box::new(Value::Array(parts))));

    let mut stamped = [&store[..cbor_box + 8], &sign1].concat();
    for start in boxes {
        let length = u32::try_from(stamped.len() - start).map_err(|_| malformed())?;
        stamped[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(stamped)
}

/// `{"tstTokens": [{"val": token}]}`.
fn container(token: Vec<u8>) -> Value {
    let token = Value::Map(vec![(cbor::text("val"), cbor::bytes(token))]);
    Value::Map(vec![(cbor::text("tstTokens"), Value::Array(vec![token]))])
}

/// The token in a [`container`], and nothing but that.
pub(super) fn token(value: &Value) -> Option<&[u8]> {
    let [(key, Value::Array(tokens))] = value.as_map()? else { return None };
    let [Value::Map(token)] = &**tokens else { return None };
    let [(label, Value::Bytes(token))] = &**token else { return None };
    (key.as_text() == Some("tstTokens") && label.as_text() == Some("val")).then_some(&**token)
}

/// The time of a time-stamp that counts: verified, not of the future, and within the validity of the signer's certificate.
pub(super) fn judge(sign1: &cose::Sign1, token: &[u8], roots: &[Vec<u8>], now: i64) -> Result<(String, i64), Refusal> {
    let stamp = rfc3161::check(token, &sign1.countersigned(), &[], roots)?;
    // What no signature covers in a token could be changed, so only its one form counts.
    if rfc3161::tidied(token)? != token {
        return Err(Refusal::invalid("time-stamp: holds what no signature covers and no check needs".into()));
    }
    let time = rfc3339(stamp.time);
    if stamp.time > now.saturating_add(CLOCK_SKEW) {
        return Err(Refusal::unsupported(format!("time-stamp: {time} has not come yet; check the clock")));
    }
    let (from, to) = x509::validity(&x509::parse(&sign1.chain[0])?);
    if !(from..=to).contains(&stamp.time) {
        let problem =
            format!("time-stamp: {time} is outside the validity of the signer's certificate, so it does not count");
        return Err(Refusal::unsupported(problem));
    }
    Ok((format!("signed by {time}, says {} under {}", stamp.authority, stamp.root), stamp.time))
}

/// Where the last box in the one at `parent` begins.
fn last_child(store: &[u8], parent: usize) -> Option<usize> {
    let length = |at: usize| Some(u32::from_be_bytes(*store.get(at..)?.first_chunk()?) as usize);
    let end = parent + length(parent)?;
    let mut child = parent + 8;
    loop {
        let next = child.checked_add(length(child)?.max(8))?;
        if next >= end {
            return (next == end).then_some(child);
        }
        child = next;
    }
}
