//! Asks a time-stamping authority over HTTP (RFC 3161, 3.4).
//!
//! The authority sees a hash and nothing else. `http://` will do: the answer is signed, and repeats a random number.

use std::path::Path;
use std::time::Duration;

use countermark_lineage::credential::rfc3161::{self, MAX_TOKEN, Query, Stamp};
use countermark_lineage::credential::{c2pa, countersign};
use countermark_lineage::digest::Hash;
use countermark_lineage::verdict::{State, printable};

use crate::{Error, http};

const REQUEST: &str = "application/timestamp-query";
const ANSWER: &str = "application/timestamp-reply";
/// How long the authority may take in all.
const TIMEOUT: Duration = Duration::from_secs(30);

const HELP: &str = "check the URL of the authority and the network, or sign without --timestamp";

/// A token over `message`. Its signature is not verified yet.
///
/// # Errors
/// [`Error::Refused`] when the authority cannot be reached, does not answer in time or refuses.
pub fn request(url: &str, message: &[u8]) -> Result<Vec<u8>, Error> {
    let refuse = |problem: String| Error::refused(http::shown(url).as_ref(), printable(&problem, 400), HELP);
    let mut nonce = [0; 8];
    nonce.copy_from_slice(&crate::keys::random()[..8]);
    let query = Query { imprint: Hash::sha256(message).0, nonce: u64::from_be_bytes(nonce) };
    let body = Some((REQUEST, query.to_der()));
    let request = http::Request { url, body, accept: Some(ANSWER), at_most: MAX_TOKEN, timeout: TIMEOUT };
    let answer = http::send(&request).map_err(refuse)?;
    let media = printable(&answer.content_type, 60);
    let is_answer = answer.content_type == ANSWER;
    let body = answer.success().map_err(refuse)?;
    if !is_answer {
        return Err(refuse(format!("answers with {media:?}, not {ANSWER}; is this a time-stamping authority?")));
    }
    query.token(&body).map_err(|error| refuse(error.problem()))
}

/// A manifest store with a time-stamp, and what that says, or why nobody of `roots` (certificates in DER) vouches for it.
///
/// Whoever verifies the manifest decides whom to believe, so a token is taken also when nobody is known to vouch for its
/// authority. One that is wrong in another way is an error.
///
/// # Errors
/// As [`request`], and when the store has a time-stamp already.
pub fn stamp(store: &[u8], url: &str, roots: &[Vec<u8>]) -> Result<(Vec<u8>, Result<Stamp, String>), Error> {
    let message = countersign::message(store)?;
    let token = rfc3161::tidy(&request(url, &message)?)?;
    rfc3161::verify_without_root(&token, &message)?;
    let stamp = rfc3161::verify(&token, &message, &[], roots).map_err(|error| error.problem());
    let stamped = countersign::add(store, &token)?;
    // The manifest was good before, so only what was done here can be wrong.
    match c2pa::inspect(&stamped, roots, i64::MAX).into_iter().find(|row| row.state == State::Invalid) {
        Some(row) => Err(Error::refused(Path::new(url), format!("{}: {}", row.name, row.detail), HELP)),
        None => Ok((stamped, stamp)),
    }
}
