//! What a witness is asked, and what it answers (C2SP tlog-witness v1.0.0).
//!
//! ```text
//! old 20852014
//! <consistency proof, one base64 hash a line, at most 63>
//!
//! <checkpoint>
//! ```
//!
//! [`decide`] is the whole of a witness but its memory: the caller records the head that was accepted, durably and
//! before anybody sees the answer, and lets nobody else decide about the same log meanwhile.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::checkpoint::{Checkpoint, Text, decimal};
use super::note::{self, VerifierKey};
use crate::Error;
use crate::digest::{Hash, tree};

/// Type of the body that says which size a witness has recorded.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// Longer requests are refused: a checkpoint with the signatures of many witnesses is far shorter.
pub const MAX_REQUEST: usize = 1 << 18;

/// A request to cosign a checkpoint. Unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The size that the proof starts from: what the witness is thought to have seen last.
    pub old: u64,
    /// Proves that the tree of `old` entries is the beginning of the checkpoint's.
    pub proof: Vec<Hash>,
    /// The checkpoint note, verbatim.
    pub checkpoint: &'a str,
}

impl<'a> Request<'a> {
    /// The body of the request.
    pub fn to_text(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| STANDARD.encode(hash.0) + "\n").collect();
        format!("old {}\n{proof}\n{}", self.old, self.checkpoint)
    }

    /// Reads the body.
    ///
    /// # Errors
    /// [`Error::Input`] with the line.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let refuse = |line: usize, problem: &str| {
            let help = "see c2sp.org/tlog-witness for the form of the request";
            Err(Error::input(format!("request line {line}"), problem, help))
        };
        let Some((head, checkpoint)) = text.split_once("\n\n") else {
            return refuse(1, "no blank line before the checkpoint");
        };
        let mut lines = head.split('\n');
        let Some(old) = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal) else {
            return refuse(1, "is not 'old SIZE'");
        };
        let mut proof = Vec::new();
        for (number, line) in lines.enumerate() {
            let hash = STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            match hash {
                Some(hash) if proof.len() < tree::MAX_PATH => proof.push(Hash(hash)),
                Some(_) => return refuse(number + 2, "is one hash too many"),
                None => return refuse(number + 2, "is not a hash of 32 bytes in Base64"),
            }
        }
        Ok(Request { old, proof, checkpoint })
    }

    /// The origin that the checkpoint names, so that its log can be looked up. Nothing is verified by this.
    ///
    /// # Errors
    /// [`Error::Input`] when the checkpoint is none.
    pub fn origin(&self) -> Result<&'a str, Error> {
        let (text, _) = note::split(self.checkpoint)?;
        Ok(Text::parse(text)?.origin)
    }
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: cosign this, once the head is recorded. The text is what a cosignature covers.
    Cosign {
        /// What is to be recorded.
        head: Checkpoint,
        /// Text of the checkpoint, extension lines included.
        text: String,
    },
    /// 400: not a request, or it starts from a size above that of the checkpoint.
    Malformed(String),
    /// 403: no good signature of a key that this log is known by.
    Forbidden(String),
    /// 404: a log that the witness was not told of.
    Stranger,
    /// 409: this size is recorded, and not the one that the request starts from.
    Conflict(u64),
    /// 422: nothing shows that the checkpoint continues what was recorded.
    Inconsistent(&'static str),
}

impl Answer {
    /// The status of HTTP.
    pub fn status(&self) -> u16 {
        match self {
            Answer::Cosign { .. } => 200,
            Answer::Malformed(_) => 400,
            Answer::Forbidden(_) => 403,
            Answer::Stranger => 404,
            Answer::Conflict(_) => 409,
            Answer::Inconsistent(_) => 422,
        }
    }
}

/// Decides a request. `keys` are those by which the log of the request's [`Request::origin`] is known, none when it is
/// not; `recorded` is the head that was accepted last.
pub fn decide(request: &Request<'_>, keys: &[VerifierKey], recorded: Option<Checkpoint>) -> Answer {
    let text = match note::split(request.checkpoint).and_then(|(text, _)| Ok((text, Text::parse(text)?))) {
        Ok((text, parts)) => (text, parts),
        Err(error) => return Answer::Malformed(error.problem()),
    };
    let (text, Text { origin, head, .. }) = text;
    let mut known = keys.iter().filter(|key| key.name == origin).peekable();
    if known.peek().is_none() {
        return Answer::Stranger;
    }
    let mut signed = false;
    for key in known {
        match note::signature_of(request.checkpoint, key) {
            Ok(is_there) => signed |= is_there,
            Err(error) => return Answer::Forbidden(error.problem()),
        }
    }
    if !signed {
        return Answer::Forbidden(format!("no signature of a key by which {origin} is known"));
    }
    if request.old > head.size {
        return Answer::Malformed(format!("starts from {}, above the checkpoint's {}", request.old, head.size));
    }
    let seen = recorded.map_or(0, |recorded| recorded.size);
    if request.old != seen {
        return Answer::Conflict(seen);
    }
    if head.size == 0 && head.root != tree::empty_root() {
        return Answer::Inconsistent("the root is not that of the empty tree");
    }
    let is_consistent = match recorded.filter(|recorded| recorded.size > 0) {
        // Every tree begins with the empty one, and nothing is left to prove.
        None => request.proof.is_empty(),
        Some(recorded) => tree::is_consistent(recorded.size, &recorded.root, head.size, &head.root, &request.proof),
    };
    if !is_consistent {
        return Answer::Inconsistent("the proof does not lead from what was recorded to this checkpoint");
    }
    Answer::Cosign { head, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::tests::{LOG, checkpoint, leaves, log_key};
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    fn log() -> VerifierKey {
        VerifierKey::new(LOG, log_key().verifying_key().into()).unwrap()
    }

    fn head(size: usize) -> Checkpoint {
        Checkpoint { size: size as u64, root: tree::root(&leaves()[..size]) }
    }

    fn signed(text: &str) -> String {
        note::sign(text, LOG, &log_key()).unwrap()
    }

    /// Answers a body as a server does.
    fn answer(body: &str, recorded: Option<Checkpoint>) -> Answer {
        match Request::parse(body) {
            Ok(request) => decide(&request, &[log()], recorded),
            Err(error) => Answer::Malformed(error.problem()),
        }
    }

    #[test]
    fn the_worked_example() {
        let proof = tree::reference::consistency(3, &leaves());
        assert_eq!(STANDARD.encode(proof[0].0), "7oj7kB98bkJM173SToDnFhqHiMnSSei0JBe2Bt2dnLg=");
        let note = checkpoint(5);
        let request = Request { old: 3, proof, checkpoint: &note };
        let text = request.to_text();
        assert_eq!(Request::parse(&text).unwrap(), request);
        assert_eq!(request.origin().unwrap(), LOG);
        let Answer::Cosign { head: accepted, text } = decide(&request, &[log()], Some(head(3))) else { panic!() };
        assert_eq!(accepted, head(5));
        assert_eq!(text, note.split_inclusive('\n').take(3).collect::<String>());
    }

    /// Every row of the standard's table, and which of two faults is told first.
    #[test]
    fn every_status() {
        let five = checkpoint(5);
        let proof: String = tree::reference::consistency(3, &leaves())
            .iter()
            .map(|hash| format!("{}\n", STANDARD.encode(hash.0)))
            .collect();
        let hash = STANDARD.encode([7; 32]);
        let other_root = signed(&format!("{LOG}\n5\n{hash}\n"));
        let stranger =
            note::sign(&five[..five.find("\n\n").unwrap() + 1], LOG, &SigningKey::from_bytes(&[9; 32])).unwrap();
        let elsewhere = Checkpoint { size: 5, root: head(5).root }.sign("other.example", &log_key()).unwrap();
        let bad = five.replace("\n5\n", "\n4\n");
        let renamed = note::sign(&five[..five.find("\n\n").unwrap() + 1], "other.example", &log_key()).unwrap();
        let odd_origin = note::sign(&format!("other.example\n5\n{hash}\n"), LOG, &log_key()).unwrap();
        let empty = signed(&format!("{LOG}\n0\n{}\n", STANDARD.encode(tree::empty_root().0)));
        let false_empty = signed(&format!("{LOG}\n0\n{hash}\n"));
        let extended = signed(&format!("{LOG}\n5\n{}\nextension\n", STANDARD.encode(head(5).root.0)));
        let three = Some(head(3));
        for (story, body, recorded, status) in [
            ("first time", format!("old 0\n\n{five}"), None, 200),
            ("grown", format!("old 3\n{proof}\n{five}"), three, 200),
            ("same again", format!("old 5\n\n{five}"), Some(head(5)), 200),
            ("empty", format!("old 0\n\n{empty}"), None, 200),
            ("empty again", format!("old 0\n\n{empty}"), Some(head(0)), 200),
            ("after empty", format!("old 0\n\n{five}"), Some(head(0)), 200),
            ("with an extension", format!("old 0\n\n{extended}"), None, 200),
            ("with a stranger's line", format!("old 0\n\n{five}{}", stranger.split_once("\n\n").unwrap().1), None, 200),
            ("no size", format!("\n\n{five}"), None, 400),
            ("zero in front", format!("old 011\n\n{five}"), None, 400),
            ("zero zero", format!("old 00\n\n{five}"), None, 400),
            ("plus", format!("old +3\n{proof}\n{five}"), three, 400),
            ("two blanks", format!("old  3\n{proof}\n{five}"), three, 400),
            ("blank behind", format!("old 3 \n{proof}\n{five}"), three, 400),
            ("above u64", format!("old 18446744073709551616\n\n{five}"), None, 400),
            ("no blank line", format!("old 0\n{}", five.replace("\n\n", "\n")), None, 400),
            ("short hash", format!("old 3\n{}\n\n{five}", STANDARD.encode([7; 31])), three, 400),
            ("64 hashes", format!("old 3\n{}\n{five}", format!("{hash}\n").repeat(64)), three, 400),
            ("CR LF", format!("old 3\r\n{proof}\n{five}"), three, 400),
            ("no note", "old 0\n\nhello".to_owned(), None, 400),
            ("unsigned", format!("old 0\n\n{}", &five[..five.find("\n\n").unwrap() + 2]), None, 400),
            ("old above size", format!("old 6\n\n{five}"), three, 400),
            (
                "root of 31 bytes",
                format!("old 0\n\n{}", signed(&format!("{LOG}\n5\n{}\n", STANDARD.encode([7; 31])))),
                None,
                400,
            ),
            ("no origin", format!("old 0\n\n{}", signed(&format!("\n5\n{hash}\n"))), None, 400),
            ("signed by nobody known", format!("old 0\n\n{stranger}"), None, 403),
            ("signature of another text", format!("old 0\n\n{bad}"), None, 403),
            ("signed under another name", format!("old 0\n\n{renamed}"), None, 403),
            (
                "a bad line beside a good one",
                format!("old 0\n\n{five}{}", other_root.split_once("\n\n").unwrap().1),
                None,
                403,
            ),
            ("403 before 400", format!("old 6\n\n{stranger}"), three, 403),
            ("403 before 409", format!("old 1\n\n{stranger}"), three, 403),
            ("another origin", format!("old 0\n\n{elsewhere}"), None, 404),
            ("another origin, signed by the log", format!("old 0\n\n{odd_origin}"), None, 404),
            ("404 before 400", format!("old 6\n\n{elsewhere}"), None, 404),
            ("older than recorded", format!("old 3\n{proof}\n{five}"), Some(head(4)), 409),
            ("nothing recorded", format!("old 3\n{proof}\n{five}"), None, 409),
            ("says nothing is recorded", format!("old 0\n\n{five}"), three, 409),
            ("smaller than recorded", format!("old 3\n\n{}", checkpoint(3)), Some(head(5)), 409),
            ("409 before a bad proof", format!("old 2\n{hash}\n\n{five}"), three, 409),
            ("400 before 409", format!("old 6\n\n{five}"), Some(head(5)), 400),
            ("a proof from nothing", format!("old 0\n{hash}\n\n{five}"), None, 422),
            ("no proof", format!("old 3\n\n{five}"), three, 422),
            ("a hash too many", format!("old 3\n{proof}{hash}\n\n{five}"), three, 422),
            ("a bad proof", format!("old 3\n{hash}\n\n{five}"), three, 422),
            ("another past", format!("old 3\n{proof}\n{five}"), Some(Checkpoint { size: 3, root: head(4).root }), 422),
            ("same size, other root", format!("old 5\n\n{other_root}"), Some(head(5)), 422),
            ("same size with a proof", format!("old 5\n{hash}\n\n{five}"), Some(head(5)), 422),
            ("empty with a root", format!("old 0\n\n{false_empty}"), None, 422),
        ] {
            let answer = answer(&body, recorded);
            assert_eq!(answer.status(), status, "{story}: {answer:?}");
            if status == 409 {
                assert_eq!(answer, Answer::Conflict(recorded.map_or(0, |head| head.size)), "{story}");
            }
        }
    }

    /// Any history of honest and forked heads: what is accepted always continues what was accepted before, by the
    /// definition of the tree itself.
    #[test]
    fn no_order_of_requests_makes_it_accept_a_fork() {
        let fork = |size: usize, from: usize| -> Vec<Hash> {
            let changed = |index: usize| index >= from;
            let leaf = |index: usize| tree::leaf(format!("{} {index}", changed(index)).as_bytes());
            (0..size).map(leaf).collect()
        };
        let mut state = 7_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..60 {
            let (mut recorded, mut leaves) = (None, vec![]);
            for _ in 0..30 {
                let (size, from) = (next(12), 3 + next(9));
                let asked = fork(size, from);
                let old = if next(3) == 0 { next(12) } else { leaves.len() };
                let proof = if old > 0 && old <= size { tree::reference::consistency(old, &asked) } else { vec![] };
                let root = tree::root(&asked);
                let note = Checkpoint { size: size as u64, root }.sign(LOG, &log_key()).unwrap();
                let request = Request { old: old as u64, proof, checkpoint: &note };
                let continues = asked.starts_with(&leaves);
                let answer = decide(&request, &[log()], recorded);
                assert_eq!(answer.status() == 200, continues && old == leaves.len(), "{answer:?}");
                if let Answer::Cosign { head, .. } = answer {
                    (recorded, leaves) = (Some(head), asked);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(?s)(old [0-9]{1,3}\n)?.{0,300}") {
            let _ = answer(&text, None);
        }
    }
}
