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
        Ok(Checkpoint::open_with_extensions(note, log)?.0)
    }

    /// As [`Checkpoint::open`], with the extension lines behind the root: signed by the log, and without a meaning here.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with_extensions<'a>(note: &'a str, log: &VerifierKey) -> Result<(Self, Vec<&'a str>), Error> {
        let refuse = |line: usize, problem: &str| {
            Err(Error::input(format!("checkpoint line {line}"), problem, "fetch the checkpoint again from the log"))
        };
        let Text { origin, head, extensions } = Text::parse(note::open(note, log)?)?;
        if origin != log.name {
            return refuse(1, "is not the origin of the log");
        }
        if head.size == 0 && head.root != tree::empty_root() {
            return refuse(3, "is not the root of the empty tree");
        }
        Ok((head, extensions))
    }
}

/// What the text of a checkpoint says.
pub(super) struct Text<'a> {
    pub origin: &'a str,
    pub head: Checkpoint,
    /// Lines behind the root.
    pub extensions: Vec<&'a str>,
}

impl<'a> Text<'a> {
    /// Reads the text of a note. Whether origin, size and root fit is not looked at.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let refuse = |line: usize, problem: &str| {
            Err(Error::input(format!("checkpoint line {line}"), problem, "fetch the checkpoint again from the log"))
        };
        // Every line ends in a line feed: that of the last one is the end of the text.
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let Some(origin) = lines.next().filter(|origin| !origin.is_empty()) else { return refuse(1, "is empty") };
        let Some(size) = lines.next().and_then(decimal).filter(|size| *size <= tree::MAX_SIZE) else {
            return refuse(2, "is not a tree size");
        };
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|root| root.try_into().ok());
        let Some(root) = root.map(Hash) else { return refuse(3, "is not a root of 32 bytes in Base64") };
        let extensions: Vec<&str> = lines.collect();
        if let Some(at) = extensions.iter().position(|line| line.is_empty()) {
            return refuse(4 + at, "is empty, and an extension is not");
        }
        Ok(Text { origin, head: Checkpoint { size, root }, extensions })
    }
}

/// A decimal number in its one spelling: digits, no sign, no zero in front.
pub fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "log.example";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[1; 32])
    }

    /// Opens a text under a good signature.
    fn open(text: &str) -> Result<Checkpoint, Error> {
        let log = VerifierKey::new(ORIGIN, key().verifying_key().into()).unwrap();
        Checkpoint::open(&note::sign(text, ORIGIN, &key()).unwrap(), &log)
    }

    fn root() -> String {
        STANDARD.encode(Hash::sha256(b"root").0)
    }

    fn refused(text: &str, line: usize) {
        let error = open(text).unwrap_err().to_string();
        assert!(error.contains(&format!("checkpoint line {line}")), "{text:?}: {error}");
    }

    #[test]
    fn a_head_is_read_as_it_was_signed() {
        let head = Checkpoint { size: 3, root: Hash::sha256(b"root") };
        let log = VerifierKey::new(ORIGIN, key().verifying_key().into()).unwrap();
        assert_eq!(Checkpoint::open(&head.sign(ORIGIN, &key()).unwrap(), &log).unwrap(), head);
        assert_eq!(open(&format!("{ORIGIN}\n{}\n{}\n", tree::MAX_SIZE, root())).unwrap().size, tree::MAX_SIZE);
        let empty = STANDARD.encode(tree::empty_root().0);
        assert_eq!(empty, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(open(&format!("{ORIGIN}\n0\n{empty}\n")).unwrap().size, 0);
    }

    #[test]
    fn too_few_lines() {
        refused(&format!("{ORIGIN}\n"), 2);
        refused(&format!("{ORIGIN}\n3\n"), 3);
        refused("\n", 1);
    }

    #[test]
    fn another_origin_than_the_key_s() {
        refused(&format!("other.example\n3\n{}\n", root()), 1);
        refused(&format!("\n3\n{}\n", root()), 1);
        refused(&format!("{ORIGIN} \n3\n{}\n", root()), 1);
    }

    #[test]
    fn a_size_with_a_sign_or_a_zero_in_front() {
        for size in ["+5", "05", "-5", "", " 5", "5 ", "0x5", "5.0", "00", "\u{665}"] {
            refused(&format!("{ORIGIN}\n{size}\n{}\n", root()), 2);
        }
    }

    #[test]
    fn a_size_above_what_others_can_hold() {
        for size in [tree::MAX_SIZE + 1, u64::MAX] {
            refused(&format!("{ORIGIN}\n{size}\n{}\n", root()), 2);
        }
        refused(&format!("{ORIGIN}\n18446744073709551616\n{}\n", root()), 2);
    }

    #[test]
    fn a_root_that_is_not_32_bytes_of_canonical_base64() {
        let canonical = root();
        for root in ["", &canonical[..40], &canonical[..43], &STANDARD.encode([7; 33]), &canonical.replace('=', "")] {
            refused(&format!("{ORIGIN}\n3\n{root}\n"), 3);
        }
        // The last character carries two bits that must be zero.
        let mut trailing = canonical.into_bytes();
        trailing[42] += 1;
        refused(&format!("{ORIGIN}\n3\n{}\n", String::from_utf8(trailing).unwrap()), 3);
    }

    #[test]
    fn an_empty_tree_with_another_root() {
        refused(&format!("{ORIGIN}\n0\n{}\n", root()), 3);
    }

    #[test]
    fn extension_lines_are_kept_and_none_is_empty() {
        let log = VerifierKey::new(ORIGIN, key().verifying_key().into()).unwrap();
        let text = format!("{ORIGIN}\n3\n{}\nfirst extension\nsecond\n", root());
        let note = note::sign(&text, ORIGIN, &key()).unwrap();
        let (head, extensions) = Checkpoint::open_with_extensions(&note, &log).unwrap();
        assert_eq!((head.size, extensions), (3, vec!["first extension", "second"]));
        assert_eq!(note::signed_only_by(&note, &log).unwrap(), note);
        for changed in [note.replace("second", "third"), note.replace("second\n", "")] {
            assert!(Checkpoint::open(&changed, &log).is_err());
        }
        refused(&format!("{ORIGIN}\n3\n{}\nfirst\n\nthird\n", root()), 5);
        refused(&format!("{ORIGIN}\n3\n{}\n\n", root()), 4);
    }
}
