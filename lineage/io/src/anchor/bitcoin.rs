//! Headers of Bitcoin, from a node of one's own (JSON-RPC as bitcoind speaks it) or from an explorer (Esplora's REST).
//!
//! Whoever is asked is believed as far as which block stands at which height, and no further: a header must fit its own
//! target, and who verifies decides by the policy whether that block counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use countermark_lineage::anchor::ots::bitcoin::{HEADER, Header};
use countermark_lineage::verdict::printable;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Error, files, http};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Headers are short, and so is everything else that is asked for.
const AT_MOST: usize = 64 << 10;
const HELP: &str = "check the URL, the network, and the file with user:password";

/// Where blocks of Bitcoin are asked for. No secret stands in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// Of a node, or of an explorer.
    pub url: String,
    /// A file with `user:password` for the node, such as bitcoind's `.cookie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<PathBuf>,
}

/// How the other side speaks.
enum Speech {
    /// An explorer.
    Esplora(Url),
    /// A node; the URL holds user and password.
    Rpc(Url),
}

/// Headers that can be asked for, and how many blocks there are.
pub(super) struct Chain {
    speech: Speech,
    /// Height of the newest block.
    pub tip: u64,
}

impl Headers {
    /// A source at this address.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is no URL of HTTP, or holds a password.
    pub fn new(url: &str, auth: Option<PathBuf>) -> Result<Self, Error> {
        let headers = Headers { url: url.to_owned(), auth };
        headers.parsed()?;
        Ok(headers)
    }

    fn parsed(&self) -> Result<Url, Error> {
        let refuse = |problem: String, help: &str| Err(Error::refused(Path::new("--bitcoin"), problem, help));
        match Url::parse(&self.url) {
            Err(error) => refuse(error.to_string(), "name a node or an explorer, such as http://127.0.0.1:8332"),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                refuse("is neither http:// nor https://".to_owned(), "name a node or an explorer")
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => refuse(
                "holds a password, which others can see".to_owned(),
                "put user:password into a file and name it with --bitcoin-auth",
            ),
            Ok(url) => Ok(url),
        }
    }

    /// Finds out how the other side speaks, and how many blocks it knows.
    pub(super) fn ask(&self) -> Result<Chain, Error> {
        let mut url = self.parsed()?;
        if self.auth.is_none()
            && let Ok(tip) = get(&below(&url, "blocks/tip/height"))
            && let Ok(tip) = tip.trim().parse()
        {
            return Ok(Chain { speech: Speech::Esplora(url), tip });
        }
        if let Some(path) = &self.auth {
            let secret = files::read_text(path, 4096)?;
            let Some((user, password)) = secret.trim_end_matches(['\r', '\n']).split_once(':') else {
                return Err(Error::refused(
                    path,
                    "is not user:password",
                    "write both on one line, with a colon between",
                ));
            };
            // A URL of HTTP has a host, so both can be set.
            let set = url.set_username(user).and_then(|()| url.set_password(Some(password)));
            set.map_err(|()| Error::refused(path, "cannot be sent with this URL", HELP))?;
        }
        let refuse = |problem: String| Error::refused(http::shown(&self.url).as_ref(), problem, HELP);
        let tip = call(&url, "getblockcount", json!([])).map_err(refuse)?;
        let tip = tip.as_u64().ok_or_else(|| refuse("getblockcount does not answer with a number".to_owned()))?;
        Ok(Chain { speech: Speech::Rpc(url), tip })
    }
}

impl Chain {
    /// The header at this height, which fits its own target.
    pub fn header(&self, height: u64) -> Result<Header, Error> {
        let read = || {
            let text = match &self.speech {
                Speech::Esplora(url) => {
                    let hash = get(&below(url, &format!("block-height/{height}")))?;
                    get(&below(url, &format!("block/{}/header", hash_text(&hash)?)))?
                }
                Speech::Rpc(url) => {
                    let hash = call(url, "getblockhash", json!([height]))?;
                    let hash = hash_text(hash.as_str().unwrap_or_default())?;
                    let header = call(url, "getblockheader", json!([hash, false]))?;
                    header.as_str().unwrap_or_default().to_owned()
                }
            };
            let bytes = unhex(text.trim()).filter(|bytes| bytes.len() == HEADER);
            let bytes = bytes.ok_or_else(|| "does not answer with 80 bytes in hexadecimal".to_owned())?;
            Header::parse(&bytes).map_err(|error| error.problem())
        };
        read().map_err(|problem: String| {
            let place = match &self.speech {
                Speech::Esplora(url) | Speech::Rpc(url) => url.host_str().unwrap_or_default().to_owned(),
            };
            Error::refused(Path::new(&place), format!("Bitcoin header {height}: {problem}"), HELP)
        })
    }
}

/// A hash as it may stand in a URL: nothing that somebody else made up.
fn hash_text(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(text.to_owned()) } else { Err("does not answer with a block's hash".to_owned()) }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?);
    digits.chunks(2).map(byte).collect()
}

fn below(url: &Url, path: &str) -> String {
    format!("{}/{path}", url.as_str().trim_end_matches('/'))
}

fn get(url: &str) -> Result<String, String> {
    let request = http::Request { url, body: None, accept: None, at_most: AT_MOST, timeout: TIMEOUT };
    let body = http::send(&request)?.success()?;
    String::from_utf8(body).map_err(|_| "does not answer with text".to_owned())
}

fn call(url: &Url, method: &str, parameters: Value) -> Result<Value, String> {
    let body = json!({"jsonrpc": "1.0", "id": 1, "method": method, "params": parameters}).to_string();
    let body = Some(("application/json", body.into_bytes()));
    let request = http::Request { url: url.as_str(), body, accept: None, at_most: AT_MOST, timeout: TIMEOUT };
    let answer = http::send(&request)?;
    let status = answer.status;
    // bitcoind answers an error with status 500 and says in the body what it is.
    let Ok(answer) = serde_json::from_slice::<Value>(&answer.body) else {
        return Err(match status {
            401 | 403 => "refuses the user or the password".to_owned(),
            status => format!("answers {status}, and not as a Bitcoin node or an explorer does"),
        });
    };
    match answer.get("error") {
        None | Some(Value::Null) => {}
        Some(error) => {
            let text = error.get("message").and_then(Value::as_str).unwrap_or("an error");
            return Err(format!("{method}: {}", printable(text, 200)));
        }
    }
    if answer.get("id") != Some(&json!(1)) {
        return Err(format!("{method}: answers another question"));
    }
    answer.get("result").cloned().ok_or_else(|| format!("{method}: answers without a result"))
}
