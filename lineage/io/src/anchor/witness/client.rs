//! Asks witnesses to cosign a log's newest checkpoint (C2SP tlog-witness).

use std::thread;
use std::time::Duration;

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::cosignature::{self, WitnessKey};
use countermark_lineage::anchor::witness::{Request, SIZE_TYPE};
use countermark_lineage::digest::tree;
use countermark_lineage::verdict::printable;

use crate::Error;
use crate::http::{self, Answer};
use crate::log::Log;

/// How long one exchange with a witness may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Answers are a few lines.
const MAX_ANSWER: usize = 1 << 16;
/// Clocks of witnesses may be ahead of ours by so many seconds.
const CLOCK_SKEW: u64 = 300;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The witness.
    pub key: WitnessKey,
    /// Its submission prefix, `http://…` or `https://…`.
    pub url: String,
}

/// What a witness said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It cosigned at this time, in Unix seconds.
    Cosigned(u64),
    /// It has seen more of this log than is here: an older copy was restored, or somebody else signs with the log's
    /// key.
    Ahead(u64),
    /// It has seen another tree of this log.
    Forked(String),
    /// It did not answer, refused, or answered nonsense.
    Failed(String),
}

/// A witness and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The witness.
    pub key: WitnessKey,
    /// What it said.
    pub reply: Reply,
}

/// Asks all witnesses at once to cosign the log's newest checkpoint, and adds what they answer to it. The text of the
/// checkpoint stays, and so does what anchors hold of it.
///
/// Also answers the checkpoint as it came back: with the lines of those that cosigned.
///
/// # Errors
/// When the log cannot be used. A witness that does not answer is no error.
pub fn ask(log: &Log, witnesses: &[Asked], now: u64) -> Result<(String, Vec<Answered>), Error> {
    let (head, note) = log.checkpoint()?;
    let one = |asked: &Asked| exchange(log, &head, &note, asked, now);
    let replies: Vec<Result<(Reply, Option<String>), Error>> = thread::scope(|scope| {
        let threads: Vec<_> = witnesses.iter().map(|asked| scope.spawn(move || one(asked))).collect();
        let failed = || Ok((Reply::Failed("no thread could be started".to_owned()), None));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
    });
    let mut cosigned = note;
    let mut answered = vec![];
    for (asked, reply) in witnesses.iter().zip(replies) {
        let (reply, line) = reply?;
        if let Some(line) = line {
            cosigned = cosignature::add(&cosigned, &line, &asked.key, now.saturating_add(CLOCK_SKEW))?;
        }
        answered.push(Answered { key: asked.key.clone(), reply });
    }
    if answered.iter().any(|answered| matches!(answered.reply, Reply::Cosigned(_))) {
        log.add_cosignatures(&cosigned)?;
    }
    Ok((cosigned, answered))
}

/// One witness: its reply, and its answer when it cosigned. The errors are those of the log.
fn exchange(
    log: &Log,
    head: &Checkpoint,
    note: &str,
    asked: &Asked,
    now: u64,
) -> Result<(Reply, Option<String>), Error> {
    // What it has said before; it may have seen more since then, and says so.
    let mut old = log.witnessed(&asked.key)?.unwrap_or(0).min(head.size);
    for is_last in [false, true] {
        let request = Request { old, proof: log.consistency(old, head.size)?, checkpoint: note };
        let answer = match send(&asked.url, request.to_text()) {
            Ok(answer) => answer,
            Err(problem) => return Ok((Reply::Failed(problem), None)),
        };
        match answer.status {
            200 => return accept(log, head, note, asked, &answer.body, now),
            409 => match recorded(&answer) {
                Some(size) if size > head.size => {
                    log.remember_witnessed(&asked.key, size)?;
                    return Ok((Reply::Ahead(size), None));
                }
                Some(size) if !is_last && size != old => old = size,
                // As an earlier version of the standard would have it: of one size, with another root.
                Some(size) if size == old && size == head.size => {
                    let problem = format!("refuses a checkpoint of {size} entries, which it says it has seen");
                    return Ok((Reply::Forked(problem), None));
                }
                Some(size) => {
                    let problem = format!("says that it has seen {size} entries, and refuses a proof from {old}");
                    return Ok((Reply::Failed(problem), None));
                }
                None => return Ok((Reply::Failed("answers 409 and no size".to_owned()), None)),
            },
            422 if old > 0 => {
                let problem = format!("refuses the proof from {old} entries to {}: {}", head.size, told(&answer));
                return Ok((Reply::Forked(problem), None));
            }
            404 => {
                let problem = format!("does not watch this log; its owner must add {}", log.verifier());
                return Ok((Reply::Failed(problem), None));
            }
            status => return Ok((Reply::Failed(format!("answers {status}: {}", told(&answer))), None)),
        }
    }
    Ok((Reply::Failed("changed its mind about what it has seen".to_owned()), None))
}

fn accept(
    log: &Log,
    head: &Checkpoint,
    note: &str,
    asked: &Asked,
    body: &[u8],
    now: u64,
) -> Result<(Reply, Option<String>), Error> {
    let latest = now.saturating_add(CLOCK_SKEW);
    let Ok(answer) = std::str::from_utf8(body) else {
        return Ok((Reply::Failed("answers something else than text".to_owned()), None));
    };
    let time = cosignature::add(note, answer, &asked.key, latest)
        .and_then(|cosigned| Ok(cosignature::open(&cosigned, &asked.key)?.unwrap_or_default()));
    match time {
        Ok(time) => {
            log.remember_witnessed(&asked.key, head.size)?;
            Ok((Reply::Cosigned(time), Some(answer.to_owned())))
        }
        Err(error) => Ok((Reply::Failed(error.problem()), None)),
    }
}

fn send(url: &str, body: String) -> Result<Answer, String> {
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let body = Some(("text/plain; charset=utf-8", body.into_bytes()));
    http::send(&http::Request { url: &url, body, accept: None, at_most: MAX_ANSWER, timeout: TIMEOUT })
}

/// The size in an answer 409.
fn recorded(answer: &Answer) -> Option<u64> {
    let text = std::str::from_utf8(&answer.body).ok()?.strip_suffix('\n')?;
    // No log has more, whatever a witness says that it has seen.
    let size: u64 = text.parse().ok().filter(|size| answer.content_type == SIZE_TYPE && *size <= tree::MAX_SIZE)?;
    (size.to_string() == text).then_some(size)
}

/// What a server says, as it may be shown.
fn told(answer: &Answer) -> String {
    printable(String::from_utf8_lossy(&answer.body).trim(), 200)
}
