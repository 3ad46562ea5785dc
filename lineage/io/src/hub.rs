//! What a model hub says about a file without sending it: the headers of a HEAD request to a `resolve` address.
//!
//! The hub answers with a redirect to its storage, which is not followed; the answer itself names the file's Xet hash
//! (`X-Xet-Hash`) and, for large files, its SHA-256 (`X-Linked-Etag`). Both are the hub's word, signed by nobody. Nothing but
//! the address is sent: no token, no cookie.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use countermark_lineage::digest::Hash;
use countermark_lineage::digest::xet::XetHash;
use reqwest::header::HeaderMap;

use crate::Error;

/// The hash of a file as the hub knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Its Xet hash.
    Xet(XetHash),
    /// Its SHA-256.
    Sha256(Hash),
}

/// Longer waits are errors.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for the identity of the file at `url`.
///
/// # Errors
/// [`Error::Io`] when the hub cannot be asked, [`Error::Refused`] when its answer is an error or names no hash.
pub fn identity(url: &str) -> Result<Identity, Error> {
    let at = Path::new(url);
    let failed = |error: &dyn std::error::Error| {
        // The outer message says that a request failed; why is in its source.
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        Error::io(at, "check the address and the connection")(std::io::Error::other(text))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let (status, headers) = runtime.block_on(head(url)).map_err(|error| failed(&error))?;
    if !(status.is_success() || status.is_redirection()) {
        return Err(Error::refused(
            at,
            format!("answers {status}"),
            "check the address; private files are not asked for",
        ));
    }
    read(&headers).map_err(|problem| {
        Error::refused(at, problem, "name a file's address with /resolve/ in it, or download the file and compare that")
    })
}

async fn head(url: &str) -> Result<(reqwest::StatusCode, HeaderMap), reqwest::Error> {
    install_provider();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build()?;
    let answer = client.head(url).send().await?;
    Ok((answer.status(), answer.headers().clone()))
}

/// Makes ring the process's provider of TLS, unless there is one already.
fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that somebody else was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The Xet hash where there is one, else the SHA-256. A header that is there twice or is no hash is refused: two readers
/// could take it for two files.
fn read(headers: &HeaderMap) -> Result<Identity, String> {
    let one = |name: &str| -> Result<Option<String>, String> {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().map(str::to_owned));
        match (first, values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(value)), None) => Ok(Some(value)),
            _ => Err(format!("the header {name} is there twice or is no text")),
        }
    };
    if let Some(text) = one("x-xet-hash")? {
        let hash = XetHash::parse(&text).ok_or_else(|| format!("X-Xet-Hash {text:?} is no hash"))?;
        return Ok(Identity::Xet(hash));
    }
    let Some(text) = one("x-linked-etag")? else { return Err("the answer names no hash of the file".to_owned()) };
    let hash = Hash::parse(text.trim_matches('"'));
    // Small files have a git hash here, which is SHA-1 over a header and the bytes.
    hash.map(Identity::Sha256).ok_or_else(|| format!("X-Linked-Etag {text:?} is no SHA-256"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with `answer`, and hands back what was asked.
    fn serve(answer: String) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/org/model/resolve/main/model.safetensors", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut buffer = [0; 1024];
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                let count = stream.read(&mut buffer).unwrap();
                asked.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (url, asked)
    }

    fn ask(status: &str, headers: &str) -> Result<Identity, Error> {
        let (url, asked) = serve(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n"));
        let answer = identity(&url);
        assert!(asked.join().unwrap().starts_with("HEAD /org/model/resolve/main/model.safetensors HTTP/1.1\r\n"));
        answer
    }

    const XET: &str = "55b9df318a7c45f470d57b04d8ca79a15b0637ffe94b25041a58d00c3528afff";

    #[test]
    fn the_xet_hash_goes_first_and_no_redirect_is_followed() {
        let sha = Hash::sha256(b"abc");
        let headers = format!("Location: http://127.0.0.1:1/\r\nX-Xet-Hash: {XET}\r\nX-Linked-Etag: \"{sha}\"\r\n");
        assert_eq!(ask("302 Found", &headers).unwrap(), Identity::Xet(XetHash::parse(XET).unwrap()));
        assert_eq!(ask("200 OK", &format!("X-Linked-Etag: \"{sha}\"\r\n")).unwrap(), Identity::Sha256(sha));
    }

    #[test]
    fn answers_that_name_no_hash_are_refused() {
        for (status, headers, words) in [
            ("200 OK", String::new(), "names no hash"),
            ("401 Unauthorized", format!("X-Xet-Hash: {XET}\r\n"), "answers 401"),
            ("200 OK", format!("X-Xet-Hash: {XET}\r\nX-Xet-Hash: {XET}\r\n"), "there twice"),
            ("200 OK", "X-Xet-Hash: 55b9\r\n".to_owned(), "is no hash"),
            ("200 OK", "X-Linked-Etag: \"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0\"\r\n".to_owned(), "is no SHA-256"),
        ] {
            let message = ask(status, &headers).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("help:"), "{message}");
        }
        assert!(identity("http://127.0.0.1:1/x").is_err());
        assert!(identity("no address").is_err());
    }
}
