//! Portable inclusion proofs (C2SP tlog-proof, draft): index, path and the checkpoint they lead to.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64            optional; nothing vouches for it, so it is read over and not kept
//! index NUMBER
//! BASE64                  each hash of the path, from the leaf's sibling to the root's child
//!
//! the checkpoint, a signed note
//! ```

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::checkpoint::{Checkpoint, decimal};
use super::note::{self, VerifierKey};
use crate::Error;
use crate::digest::{Hash, tree};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof as carried: unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Position of the entry.
    pub index: u64,
    /// From the leaf's sibling to the root's child.
    pub path: Vec<Hash>,
    /// The checkpoint note, verbatim.
    pub checkpoint: String,
}

/// A place in a log that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position of the entry.
    pub index: u64,
    /// The head it was proved under.
    pub head: Checkpoint,
    /// The checkpoint with the log's signature alone: what an anchor holds.
    pub anchored: String,
    /// The checkpoint with all its signatures, of which only the log's was checked.
    pub checkpoint: String,
}

impl Proof {
    /// The text form.
    pub fn to_text(&self) -> String {
        let path: String = self.path.iter().map(|hash| STANDARD.encode(hash.0) + "\n").collect();
        format!("{HEADER}\nindex {}\n{path}\n{}", self.index, self.checkpoint)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::Input`] with the line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |line: usize, problem: &str| {
            Err(Error::input(format!("proof line {line}"), problem, "fetch the proof again from the log"))
        };
        let Some((head, checkpoint)) = text.split_once("\n\n") else {
            return refuse(1, "no blank line before the checkpoint");
        };
        let mut lines = head.split('\n').zip(1..).peekable();
        if lines.next() != Some((HEADER, 1)) {
            return refuse(1, &format!("is not {HEADER}"));
        }
        if let Some((extra, line)) = lines.next_if(|(line, _)| line.starts_with("extra "))
            && STANDARD.decode(&extra["extra ".len()..]).is_err()
        {
            return refuse(line, "is not 'extra BASE64'");
        }
        let (index, line) = lines.next().unwrap_or(("", 2));
        let Some(index) = index.strip_prefix("index ").and_then(decimal) else {
            return refuse(line, "is not 'index NUMBER'");
        };
        let mut path = Vec::new();
        for (line, number) in lines {
            let hash = STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            match hash {
                Some(hash) if path.len() < tree::MAX_PATH => path.push(Hash(hash)),
                Some(_) => return refuse(number, "is one hash too many"),
                None => return refuse(number, "is not a hash of 32 bytes in Base64"),
            }
        }
        Ok(Proof { index, path, checkpoint: checkpoint.to_owned() })
    }

    /// Checks the checkpoint's signature by `log`, then that `entry` is at the index.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part.
    pub fn verify(&self, entry: &[u8], log: &VerifierKey) -> Result<Place, Error> {
        let head = Checkpoint::open(&self.checkpoint, log)?;
        if !tree::includes(self.index, head.size, tree::leaf(entry), &self.path, &head.root) {
            return Err(Error::input(
                "inclusion proof",
                format!("does not lead from this entry at index {} to the checkpoint's root", self.index),
                "the proof belongs to another entry or another checkpoint; fetch it again from the log",
            ));
        }
        let anchored = note::signed_only_by(&self.checkpoint, log)?;
        Ok(Place { index: self.index, head, anchored, checkpoint: self.checkpoint.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    /// Five entries, proved at index 2: the worked example that other implementations accept.
    fn worked_example() -> (Proof, VerifierKey) {
        let key = SigningKey::from_bytes(&std::array::from_fn(|i| i as u8));
        let log = VerifierKey::new("log.example/countermark", key.verifying_key().into()).unwrap();
        let leaves: Vec<Hash> = (0..5).map(|i| tree::leaf(format!("countermark vector {i}").as_bytes())).collect();
        let head = Checkpoint { size: 5, root: tree::root(&leaves) };
        let checkpoint = head.sign("log.example/countermark", &key).unwrap();
        (Proof { index: 2, path: tree::reference::inclusion(2, &leaves), checkpoint }, log)
    }

    #[test]
    fn worked_example_has_the_known_path() {
        let (proof, log) = worked_example();
        let path: Vec<String> = proof.path.iter().map(|hash| STANDARD.encode(hash.0)).collect();
        assert_eq!(
            path,
            [
                "R/woh0phmMB6NVsToOvjBxAXLvPE9YgJSqYb/IeWjRE=",
                "T+p4lxc4Im63QvZPpXyatEKRjwqdaBfN89fjhV2uXSY=",
                "pU/dxp1hu1WqfbUOP4qxLO0xmbtELfU/GOCLZ8O/GZA="
            ]
        );
        assert_eq!(Proof::parse(&proof.to_text()).unwrap(), proof);
        assert_eq!(proof.verify(b"countermark vector 2", &log).unwrap().index, 2);
        assert!(proof.verify(b"countermark vector 3", &log).is_err());
    }

    /// The same proof with some text replaced is refused, with the line.
    fn refused(from: &str, to: &str, place: &str) {
        let (proof, log) = worked_example();
        let text = proof.to_text().replacen(from, to, 1);
        assert_ne!(text, proof.to_text());
        let answer = Proof::parse(&text).and_then(|proof| proof.verify(b"countermark vector 2", &log));
        let error = answer.unwrap_err().to_string();
        assert!(error.contains(place), "{from:?} as {to:?}: {error}");
    }

    #[test]
    fn the_worked_example_is_what_other_implementations_read() {
        let (mut proof, log) = worked_example();
        let digest = |text: &str| Hash::sha256(text.as_bytes()).to_string();
        assert_eq!(
            digest(&proof.verify(b"countermark vector 2", &log).unwrap().anchored),
            "ac7ffb9ed1fdc229e4da9202589d397cd69ad68dffadf19b3f668d719ffe9d26"
        );
        // With the cosignature of witness.example/w1 at 1700000000, which is another key's line to the log's.
        proof.checkpoint += "\u{2014} witness.example/w1 \
            IDJKvgAAAABlU/EALA0aLa2PEFIC+Se8eXHucmFKcFUFSKandbXqIaHSxyRNAZGWErlSLqs9fcyU3eTyguAlljvVA2Ji2/eMP5JVDg==\n";
        let text = proof.to_text();
        assert_eq!(text.len(), 488);
        assert_eq!(digest(&text), "c7009511da561c41b6b34d7c306146301a70b4dcddbe81e3b7f15153d8623fe2");
        let place = Proof::parse(&text).unwrap().verify(b"countermark vector 2", &log).unwrap();
        assert_eq!((place.index, place.head.size, place.anchored.len()), (2, 5, 193));
    }

    #[test]
    fn another_header() {
        refused("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2", "line 1");
        refused("c2sp.org/tlog-proof@v1\n", "", "line 1");
    }

    #[test]
    fn an_index_that_is_missing_or_no_number() {
        for index in [
            "index -1",
            "index 01",
            "index +2",
            "index 2 ",
            "index",
            "index ",
            "Index 2",
            "2",
            "index 18446744073709551616",
        ] {
            refused("index 2", index, "line 2");
        }
        refused("index 2\n", "", "line 2");
        refused("index 2\n", "index 2\nindex 2\n", "line 3");
    }

    #[test]
    fn another_index_does_not_lead_to_the_root() {
        for index in ["0", "1", "3", "4", "5", "18446744073709551615"] {
            refused("index 2", &format!("index {index}"), "inclusion proof");
        }
    }

    #[test]
    fn a_hash_that_is_not_32_bytes() {
        let hash = "R/woh0phmMB6NVsToOvjBxAXLvPE9YgJSqYb/IeWjRE=";
        for other in
            [&hash[..40], "", " ", &STANDARD.encode([0; 33]), &hash.replace('=', ""), &hash.replace("RE=", "RF=")]
        {
            let line = if other.is_empty() { "note" } else { "line 3" };
            refused(hash, other, line);
        }
    }

    #[test]
    fn a_path_of_another_length() {
        let hash = "R/woh0phmMB6NVsToOvjBxAXLvPE9YgJSqYb/IeWjRE=\n";
        refused(hash, "", "inclusion proof");
        refused(hash, &hash.repeat(2), "inclusion proof");
        refused(hash, &hash.repeat(61), "inclusion proof");
        refused(hash, &hash.repeat(62), "line 66");
    }

    #[test]
    fn no_blank_line_before_the_checkpoint() {
        refused("\n\n", "\n", "line");
        assert!(Proof::parse("c2sp.org/tlog-proof@v1\nindex 2\n").is_err());
    }

    #[test]
    fn line_ends_of_windows() {
        let (proof, _) = worked_example();
        assert!(Proof::parse(&proof.to_text().replace('\n', "\r\n")).is_err());
        refused("index 2\n", "index 2\r\n", "line 2");
    }

    #[test]
    fn an_extra_line_is_read_over_and_nothing_rests_on_it() {
        let (proof, log) = worked_example();
        let with = |extra: &str| proof.to_text().replacen("index", &format!("{extra}index"), 1);
        let read = Proof::parse(&with("extra aW5kZXggMw==\n")).unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.to_text(), proof.to_text());
        assert_eq!(read.verify(b"countermark vector 2", &log).unwrap().index, 2);
        assert!(read.verify(b"countermark vector 3", &log).is_err());
        for extra in ["extra \u{e4}\n", "extra aW5kZXggMw\n", "extra\n", "extra AA==\nextra AA==\n"] {
            assert!(Proof::parse(&with(extra)).is_err(), "{extra:?}");
        }
        let behind = proof.to_text().replacen("index 2\n", "index 2\nextra AA==\n", 1);
        assert!(Proof::parse(&behind).is_err());
    }

    #[test]
    fn another_log_s_proof() {
        let (proof, _) = worked_example();
        let other =
            VerifierKey::new("log.example/countermark", SigningKey::from_bytes(&[9; 32]).verifying_key().into());
        let error = proof.verify(b"countermark vector 2", &other.unwrap()).unwrap_err().to_string();
        assert!(error.contains("none is by"), "{error}");
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let (proof, log) = worked_example();
        let text = proof.to_text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            let answer = Proof::parse(&flipped).and_then(|proof| proof.verify(b"countermark vector 2", &log));
            assert!(answer.is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(?s).{0,300}") {
            let _ = Proof::parse(&text);
        }
    }
}
