//! Portable inclusion proofs (C2SP tlog-proof, draft): index, path and the checkpoint they lead to.

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
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return refuse(1, &format!("is not {HEADER}"));
        }
        let Some(index) = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal) else {
            return refuse(2, "is not 'index NUMBER'");
        };
        let mut path = Vec::new();
        for (number, line) in lines.enumerate() {
            let hash = STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            match hash {
                Some(hash) if path.len() < tree::MAX_PATH => path.push(Hash(hash)),
                Some(_) => return refuse(number + 3, "is one hash too many"),
                None => return refuse(number + 3, "is not a hash of 32 bytes in Base64"),
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
