//! Checkpoints (C2SP tlog-checkpoint v1.0.0): the log's signed tree head.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::SigningKey;

use super::note::{self, VerifierKey};
use crate::Error;
use crate::digest::{Hash, tree};

/// A tree head: how many entries, and their root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The note, signed by the log `origin`.
    pub fn sign(&self, origin: &str, key: &SigningKey) -> Result<String, Error> {
        let text = format!("{origin}\n{}\n{}\n", self.size, STANDARD.encode(self.root.0));
        note::sign(&text, origin, key)
    }

    /// Opens a note signed by `log`, whose name is the origin.
    ///
    /// # Errors
    /// [`Error::Input`] with the line that is wrong.
    pub fn open(note: &str, log: &VerifierKey) -> Result<Self, Error> {
        let refuse = |line: usize, problem: &str| {
            Err(Error::input(format!("checkpoint line {line}"), problem, "fetch the checkpoint again from the log"))
        };
        let Text { origin, head, extensions } = Text::parse(note::open(note, log)?)?;
        if origin != log.name {
            return refuse(1, "is not the origin of the log");
        }
        if !extensions.is_empty() {
            return refuse(4, "is an extension; this version knows none");
        }
        if head.size == 0 && head.root != tree::empty_root() {
            return refuse(3, "is not the root of the empty tree");
        }
        Ok(head)
    }
}

/// What the text of a checkpoint says.
pub(super) struct Text<'a> {
    pub origin: &'a str,
    pub head: Checkpoint,
    /// Lines behind the root, each with its line feed.
    pub extensions: &'a str,
}

impl<'a> Text<'a> {
    /// Reads the text of a note. Whether size and root fit is not looked at.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let refuse = |line: usize, problem: &str| {
            Err(Error::input(format!("checkpoint line {line}"), problem, "fetch the checkpoint again from the log"))
        };
        let mut lines = text.splitn(4, '\n');
        let Some(origin) = lines.next().filter(|origin| !origin.is_empty()) else { return refuse(1, "is empty") };
        let Some(size) = lines.next().and_then(decimal).filter(|size| *size <= tree::MAX_SIZE) else {
            return refuse(2, "is not a tree size");
        };
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|root| root.try_into().ok());
        let Some(root) = root.map(Hash) else { return refuse(3, "is not a root of 32 bytes in Base64") };
        let extensions = lines.next().unwrap_or_default();
        if extensions.split_terminator('\n').any(str::is_empty) {
            return refuse(4, "or one behind it is an empty extension");
        }
        Ok(Text { origin, head: Checkpoint { size, root }, extensions })
    }
}

/// A decimal number in its one spelling: digits, no sign, no zero in front.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_of_a_head() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let log = VerifierKey::new("log.example", key.verifying_key().into()).unwrap();
        let head = Checkpoint { size: 3, root: Hash::sha256(b"root") };
        assert_eq!(Checkpoint::open(&head.sign("log.example", &key).unwrap(), &log).unwrap(), head);
        let root = STANDARD.encode(head.root.0);
        for text in [
            format!("log.example\n03\n{root}\n"),
            format!("log.example\n+3\n{root}\n"),
            format!("log.example\n3\n{}\n", &root[..40]),
            format!("log.example\n3\n{root}\nextension\n"),
            format!("other.example\n3\n{root}\n"),
            format!("log.example\n0\n{root}\n"),
            format!("log.example\n18446744073709551615\n{root}\n"),
            "log.example\n3\n".to_owned(),
        ] {
            let note = note::sign(&text, "log.example", &key).unwrap();
            assert!(Checkpoint::open(&note, &log).is_err(), "{text:?}");
        }
    }
}
