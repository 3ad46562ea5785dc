//! Requests over HTTP to authorities, nodes, calendars, logs and witnesses: a bounded answer, in bounded time.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};

use crate::remote::{Stopped, wait};

/// How often somebody may send us elsewhere.
const MOST_REDIRECTS: usize = 3;

/// One request.
pub(crate) struct Request<'a> {
    pub url: &'a str,
    /// The body of a POST and its type; a GET without.
    pub body: Option<(&'a str, Vec<u8>)>,
    /// The type that is asked for.
    pub accept: Option<&'a str>,
    /// An answer of more bytes is refused.
    pub at_most: usize,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// What came back, whatever its status.
pub(crate) struct Answer {
    pub status: u16,
    /// Without parameters; empty when none was given.
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a success.
    pub fn success(self) -> Result<Vec<u8>, String> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(format!("answers {}", self.status)) }
    }
}

/// A URL for messages: paths, and names and passwords of users, may be secrets.
pub(crate) fn shown(url: &str) -> String {
    match Url::parse(url).ok().and_then(|url| Some((url.host_str()?.to_owned(), url.port()))) {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host,
        None => "(not a URL)".to_owned(),
    }
}

/// What happened on the way.
struct Problem(String);

impl From<Stopped> for Problem {
    fn from(_: Stopped) -> Self {
        Problem("no thread could be started".to_owned())
    }
}

/// Sends a request and waits for the answer. The error says what went wrong, and does not repeat the URL.
pub(crate) fn send(request: &Request<'_>) -> Result<Answer, String> {
    send_over(request, MOST_REDIRECTS)
}

/// As [`send`], of somebody who may not send us elsewhere: whose word is counted is answered by itself.
pub(crate) fn send_direct(request: &Request<'_>) -> Result<Answer, String> {
    send_over(request, 0)
}

fn send_over(request: &Request<'_>, redirects: usize) -> Result<Answer, String> {
    let url = Url::parse(request.url).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is neither http:// nor https://".to_owned());
    }
    let body = request.body.as_ref().map(|(content_type, body)| ((*content_type).to_owned(), body.clone()));
    let accept = request.accept.map(str::to_owned);
    wait(exchange(url, body, accept, redirects, request.at_most, request.timeout)).map_err(|problem: Problem| problem.0)
}

async fn exchange(
    url: Url,
    body: Option<(String, Vec<u8>)>,
    accept: Option<String>,
    redirects: usize,
    at_most: usize,
    timeout: Duration,
) -> Result<Answer, Problem> {
    let told = |error: reqwest::Error| {
        let error = error.without_url();
        // The innermost cause says most: "connection refused" rather than "error sending request".
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Problem(cause.to_string())
    };
    // The crates bring no provider of cryptography of their own. It does not matter who was first to name one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = Policy::custom(move |attempt| {
        let is_same = attempt.previous().first().is_some_and(|first| first.scheme() == attempt.url().scheme());
        if is_same && attempt.previous().len() <= redirects {
            attempt.follow()
        } else {
            attempt.error("redirects too often, or to another scheme, or may not redirect at all")
        }
    });
    let client = Client::builder().timeout(timeout).redirect(redirects).build().map_err(told)?;
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut sent = client.request(method, url);
    if let Some(accept) = accept {
        sent = sent.header(ACCEPT, accept);
    }
    if let Some((content_type, body)) = body {
        sent = sent.header(CONTENT_TYPE, content_type).body(body);
    }
    let mut answer = sent.send().await.map_err(told)?;
    let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(told)? {
        if bytes.len() + chunk.len() > at_most {
            return Err(Problem(format!("answers with more than {} KiB", at_most >> 10)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Answer { status: answer.status().as_u16(), content_type, body: bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_urls_are_not_told() {
        assert_eq!(shown("https://user:secret@node.example:8443/v3/secret?key=secret"), "node.example:8443");
        for url in ["http://user:secret@127.0.0.1:1/secret?key=secret", "http://no-such-host.invalid/secret"] {
            let request = Request { url, body: None, accept: None, at_most: 10, timeout: Duration::from_secs(5) };
            let problem = send(&request).err().unwrap();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
