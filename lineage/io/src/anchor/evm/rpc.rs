//! One question to one node: JSON-RPC 2.0 over HTTP, read strictly, with a bounded answer in bounded time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countermark_lineage::anchor::evm::hex;
use countermark_lineage::verdict::printable;
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::http;

/// How long a short answer may take.
const SOON: Duration = Duration::from_secs(10);
/// How long a long one may take.
const LATE: Duration = Duration::from_secs(60);
/// The longest answer to most questions, in bytes.
pub(super) const SHORT: usize = 1 << 20;
/// The longest answer that holds a block's receipts or transactions. A full block of today has about 2 MiB of receipts.
pub(super) const LONG: usize = 32 << 20;
/// What a node is quoted with, in characters.
const QUOTED: usize = 200;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The node cannot be reached, or answers nonsense.
    Unusable(String),
    /// The node refuses, and says why.
    Refused(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Unusable(problem) => f.write_str(problem),
            Fault::Refused(message) => write!(f, "refuses: {message}"),
        }
    }
}

/// An answer. `result` is there as soon as the field is, be it null.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Reply<T> {
    jsonrpc: String,
    id: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    result: Option<T>,
    #[serde(default)]
    error: Option<Refusal>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// What is only read when a node refuses with another status than 200.
#[derive(Deserialize)]
struct Refused {
    error: Refusal,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Fault::Refused(printable(&refusal.message, QUOTED))
    }
}

/// Asks, and reads the answer as `T`; `at_most` is the longest answer in bytes.
pub(super) fn call<T: DeserializeOwned>(url: &str, method: &str, params: &Value, at_most: usize) -> Result<T, Fault> {
    let id = next_id();
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string().into_bytes();
    let (status, body) = post(url, body, at_most)?;
    if !(200..300).contains(&status) {
        return Err(match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) => refused.error.into(),
            Err(_) => Fault::Unusable(format!("answers {status}")),
        });
    }
    result(read(&body)?, id)
}

/// Asks the same with several parameters in one request. The answers come in the order of the questions.
pub(super) fn batch<T: DeserializeOwned>(
    url: &str,
    method: &str,
    params: &[Value],
    at_most: usize,
) -> Result<Vec<T>, Fault> {
    let ids: Vec<u64> = params.iter().map(|_| next_id()).collect();
    let question = |(id, params)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let questions: Vec<Value> = ids.iter().zip(params).map(question).collect();
    let (status, body) = post(url, Value::from(questions).to_string().into_bytes(), at_most)?;
    if !(200..300).contains(&status) {
        return Err(Fault::Unusable(format!("answers {status}")));
    }
    let mut replies: Vec<Reply<T>> = read(&body)?;
    // A node may answer in any order.
    replies.sort_by_key(|reply| reply.id);
    if replies.len() != ids.len() {
        return Err(Fault::Unusable(format!("answers {} of {} questions", replies.len(), ids.len())));
    }
    ids.into_iter().zip(replies).map(|(id, reply)| result(reply, id)).collect()
}

fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

fn post(url: &str, body: Vec<u8>, at_most: usize) -> Result<(u16, Vec<u8>), Fault> {
    let json = "application/json";
    let timeout = if at_most > SHORT { LATE } else { SOON };
    let request = http::Request { url, body: Some((json, body)), accept: Some(json), at_most, timeout };
    let answer = http::send_direct(&request).map_err(|problem| Fault::Unusable(printable(&problem, QUOTED)))?;
    Ok((answer.status, answer.body))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let error = printable(&error.to_string(), QUOTED);
        Fault::Unusable(format!("answers what was not asked for: {error}"))
    })
}

fn result<T>(reply: Reply<T>, id: u64) -> Result<T, Fault> {
    if reply.jsonrpc != "2.0" {
        return Err(Fault::Unusable("does not answer in JSON-RPC 2.0".to_owned()));
    }
    if let Some(refusal) = reply.error {
        return Err(refusal.into());
    }
    if reply.id != Some(id) {
        return Err(Fault::Unusable("answers another question".to_owned()));
    }
    reply.result.ok_or_else(|| Fault::Unusable("answers neither a result nor an error".to_owned()))
}

/// A number in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(pub u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = hex::quantity(&text).map(Quantity);
        read.ok_or_else(|| de::Error::custom("expected a number such as 0x1f, without zeros in front"))
    }
}

/// Bytes of any length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data(pub Vec<u8>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(&text).map(Data).ok_or_else(|| de::Error::custom("expected 0x and pairs of hexadecimal digits"))
    }
}

/// A number as a parameter.
pub(super) fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
        result(read(text.as_bytes())?, 7)
    }

    #[test]
    fn answers_are_read_strictly() {
        let number = |text: &str| answer::<Quantity>(text).map(|number| number.0).map_err(|fault| fault.to_string());
        assert_eq!(number(r#"{"jsonrpc":"2.0","id":7,"result":"0x1f"}"#), Ok(31));
        for (text, why) in [
            (r#"{"jsonrpc":"2.0","id":8,"result":"0x1f"}"#, "another question"),
            (r#"{"jsonrpc":"2.0","id":null,"result":"0x1f"}"#, "another question"),
            (r#"{"jsonrpc":"1.0","id":7,"result":"0x1f"}"#, "JSON-RPC 2.0"),
            (r#"{"jsonrpc":"2.0","id":7}"#, "neither"),
            (r#"{"jsonrpc":"2.0","id":7,"result":null}"#, "not asked for"),
            (r#"{"jsonrpc":"2.0","id":7,"result":"0x01"}"#, "zeros in front"),
            (r#"{"jsonrpc":"2.0","id":7,"result":31}"#, "not asked for"),
            (r#"{"jsonrpc":"2.0","id":7,"result":"0x1","result":"0x2"}"#, "duplicate"),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no\u001b[2J"}}"#, "refuses: no"),
            ("<html>", "not asked for"),
        ] {
            let told = number(text).unwrap_err();
            assert!(told.contains(why) && !told.contains('\u{1b}'), "{text}: {told}");
        }
        assert!(answer::<Option<Quantity>>(r#"{"jsonrpc":"2.0","id":7,"result":null}"#).unwrap().is_none());
    }
}
