//! Asks a time-stamping authority over HTTP (RFC 3161, 3.4).
//!
//! The authority sees a hash and nothing else. `http://` will do: the answer is signed, and repeats a random number.

use std::path::Path;
use std::time::Duration;

use countermark_lineage::credential::rfc3161::{self, MAX_TOKEN, Query, Stamp};
use countermark_lineage::credential::{c2pa, countersign};
use countermark_lineage::digest::Hash;
use countermark_lineage::verdict::{State, printable};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use crate::Error;
use crate::remote::{Stopped, wait};

const REQUEST: &str = "application/timestamp-query";
const ANSWER: &str = "application/timestamp-reply";
/// How long the authority may take in all.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it may send us elsewhere.
const MOST_REDIRECTS: usize = 3;

const HELP: &str = "check the URL of the authority and the network, or sign without --timestamp";

/// What happened on the way.
struct Problem(String);

impl From<Stopped> for Problem {
    fn from(_: Stopped) -> Self {
        Problem("no thread could be started".to_owned())
    }
}

/// A token over `message`. Its signature is not verified yet.
///
/// # Errors
/// [`Error::Refused`] when the authority cannot be reached, does not answer in time or refuses.
pub fn request(url: &str, message: &[u8]) -> Result<Vec<u8>, Error> {
    let refuse = |problem: String| Error::refused(Path::new(url), printable(&problem, 400), HELP);
    let parsed = Url::parse(url).map_err(|error| refuse(error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(refuse("is neither http:// nor https://".to_owned()));
    }
    let mut nonce = [0; 8];
    nonce.copy_from_slice(&crate::keys::random()[..8]);
    let query = Query { imprint: Hash::sha256(message).0, nonce: u64::from_be_bytes(nonce) };
    let answer = wait(post(parsed, query.to_der())).map_err(|problem| refuse(problem.0))?;
    query.token(&answer).map_err(|error| refuse(error.problem()))
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

async fn post(url: Url, body: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let told = |error: reqwest::Error| {
        // The innermost cause says most: "connection refused" rather than "error sending request".
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Problem(cause.to_string())
    };
    // The crates bring no provider of cryptography of their own. It does not matter who was first to name one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = Policy::custom(|attempt| {
        let is_same = attempt.previous().first().is_some_and(|first| first.scheme() == attempt.url().scheme());
        if is_same && attempt.previous().len() <= MOST_REDIRECTS {
            attempt.follow()
        } else {
            attempt.error("redirected too often, or to another scheme")
        }
    });
    let client = Client::builder().timeout(TIMEOUT).redirect(redirects).build().map_err(told)?;
    let mut answer = client.post(url).header(CONTENT_TYPE, REQUEST).body(body).send().await.map_err(told)?;
    if !answer.status().is_success() {
        return Err(Problem(format!("answers {}", answer.status())));
    }
    let media = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media.split(';').next().map(str::trim) != Some(ANSWER) {
        return Err(Problem(format!("answers with {media:?}, not {ANSWER}; is this a time-stamping authority?")));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(told)? {
        if bytes.len() + chunk.len() > MAX_TOKEN {
            return Err(Problem(format!("answers with more than {} KiB", MAX_TOKEN >> 10)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
