//! Signed notes (C2SP signed-note v1.0.0), with Ed25519 signatures of type 1.
//!
//! ```text
//! text
//!
//! — name base64(key id, 4 bytes ‖ signature)
//! ```

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};

use crate::Error;
use crate::credential::keys::{Algorithm, PublicKey};
use crate::digest::Hash;

/// Signature type of an Ed25519 note signature.
const ED25519: u8 = 0x01;
const MAX_NOTE: usize = 1 << 20;
const MAX_SIGNATURES: usize = 100;
const DASH: &str = "\u{2014} ";
/// First line of what an Ed25519 cosignature covers: a log of this name could pass its notes off as cosignatures.
pub(super) const COSIGNED: &str = "cosignature/v1";

/// A verifier key: `name+hex(key id)+base64(type ‖ public key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    /// Name of the key; for a log, its origin.
    pub name: String,
    /// The Ed25519 key.
    pub key: PublicKey,
}

impl VerifierKey {
    /// A key under a name.
    ///
    /// # Errors
    /// [`Error::Usage`] when the name is empty or holds a space, a `+` or a control character.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, Error> {
        if !is_name(name) || name == COSIGNED {
            return Err(Error::usage(
                format!("{name:?} cannot name a log"),
                "use a URL without its scheme, such as log.example/releases",
            ));
        }
        Ok(VerifierKey { name: name.to_owned(), key })
    }

    /// Reads the text form and recomputes the key id.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part.
    pub fn parse(text: &str) -> Result<Self, Error> {
        KeyText::parse(text)?.log().ok_or_else(|| not_for(text, "a log's Ed25519 note key"))
    }

    /// First four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, self.key.as_bytes())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.name, ED25519, self.key.as_bytes())
    }
}

/// A verifier key of whatever type, read as far as every type has in common: the name, and an id that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyText<'a> {
    pub name: &'a str,
    /// Signature type: 1 of an Ed25519 note, 4 of an Ed25519 cosignature, 6 of one with ML-DSA-44.
    pub kind: u8,
    pub key: Vec<u8>,
}

impl<'a> KeyText<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let refuse = |problem: &str| {
            let help = "copy the whole line that the log or witness printed";
            Err(Error::input(format!("verifier key {text:?}"), problem, help))
        };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return refuse("expected NAME+ID+KEY");
        };
        let Ok(bytes) = STANDARD.decode(encoded) else { return refuse("the key is not canonical Base64") };
        let Some((&kind, key)) = bytes.split_first() else { return refuse("the key is empty") };
        if !is_name(name) {
            return refuse("the name is empty or holds a space");
        }
        if hex(&key_id(name, kind, key)) != id {
            return refuse("the key id does not fit name and key");
        }
        Ok(KeyText { name, kind, key: key.to_vec() })
    }

    /// The key of a log, when it is one that this version can check.
    pub fn log(&self) -> Option<VerifierKey> {
        let key = PublicKey::from_bytes(Algorithm::Ed25519, &self.key).filter(|_| self.kind == ED25519)?;
        VerifierKey::new(self.name, key).ok()
    }
}

/// A key that has another use than the one it is given for, or is none.
pub(super) fn not_for(text: &str, what: &str) -> Error {
    Error::input(format!("verifier key {text:?}"), format!("is not {what}"), "use the key that was made for this")
}

/// First four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
pub(super) fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = Hash::sha256(&[name.as_bytes(), b"\n", &[kind], key].concat()).0;
    [a, b, c, d]
}

/// Writes `NAME+ID+KEY`.
pub(super) fn write_key(f: &mut fmt::Formatter<'_>, name: &str, kind: u8, key: &[u8]) -> fmt::Result {
    let encoded = STANDARD.encode([&[kind], key].concat());
    write!(f, "{name}+{}+{encoded}", hex(&key_id(name, kind, key)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// Signs `text`, which ends in a line feed, as `name`.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<String, Error> {
    let verifier = VerifierKey::new(name, key.verifying_key().into())?;
    let signature = key.sign(text.as_bytes()).to_bytes();
    Ok(format!("{text}\n{}", line(name, &[verifier.id().as_slice(), &signature].concat())))
}

/// The text of a note, shown only after a signature of `verifier` was checked.
///
/// Lines of other keys are ignored; a bad signature of `verifier` refuses the whole note, also when it stands beside a
/// good one.
///
/// # Errors
/// [`Error::Input`] with the line.
pub fn open<'a>(note: &'a str, verifier: &VerifierKey) -> Result<&'a str, Error> {
    if !signature_of(note, verifier)? {
        return refuse("signatures".to_owned(), &format!("none is by {}", verifier.name));
    }
    Ok(split(note)?.0)
}

/// True when a note has a line of `verifier`, all of which must be good.
pub(super) fn signature_of(note: &str, verifier: &VerifierKey) -> Result<bool, Error> {
    let (text, lines) = split(note)?;
    let mut good = false;
    for (name, blob) in lines {
        let (id, signature) = blob.split_at(4);
        if name != verifier.name || id != verifier.id() {
            continue;
        }
        if !verifier.key.verifies(text.as_bytes(), signature) {
            return refuse(format!("signature of {name}"), "does not fit the text");
        }
        good = true;
    }
    Ok(good)
}

/// The note with the signature lines of `verifier` alone, each kept once: what an anchor holds.
///
/// # Errors
/// As [`open`].
pub fn signed_only_by(note: &str, verifier: &VerifierKey) -> Result<String, Error> {
    let text = open(note, verifier)?;
    let (_, lines) = split(note)?;
    let mut kept = format!("{text}\n");
    for (name, blob) in lines {
        let line = line(name, &blob);
        if name == verifier.name && blob[..4] == verifier.id() && !kept.contains(&line) {
            kept.push_str(&line);
        }
    }
    Ok(kept)
}

/// The note without the lines of others than the one whom its first line names. Nothing is verified by this.
pub fn without_others(note: &str) -> Option<String> {
    let (text, _) = split(note).ok()?;
    let own = format!("{DASH}{} ", text.lines().next()?);
    let lines: String = note[text.len() + 1..].split_inclusive('\n').filter(|line| line.starts_with(&own)).collect();
    Some(format!("{text}\n{lines}"))
}

/// A signature line: the name, and the key id with the signature behind it.
pub(super) type Line<'a> = (&'a str, Vec<u8>);

/// A signature line as text.
pub(super) fn line(name: &str, blob: &[u8]) -> String {
    format!("{DASH}{name} {}\n", STANDARD.encode(blob))
}

/// Splits a note into its text and its signature lines, by the grammar and nothing laxer. Nothing is verified by this.
pub(super) fn split(note: &str) -> Result<(&str, Vec<Line<'_>>), Error> {
    if note.len() > MAX_NOTE {
        return refuse("length".to_owned(), "is above 1 MiB");
    }
    if let Some(at) = note.bytes().position(|byte| byte < 0x20 && byte != b'\n') {
        return refuse(format!("byte {at}"), "is a control character");
    }
    let Some(at) = note.rfind("\n\n") else {
        return refuse("text".to_owned(), "no blank line before the signatures");
    };
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    let Some(signatures) = signatures.strip_suffix('\n') else {
        return refuse("signatures".to_owned(), "no line feed at the end");
    };
    Ok((text, signature_lines(signatures)?))
}

/// Reads signature lines, without the line feed behind the last one.
fn signature_lines(signatures: &str) -> Result<Vec<Line<'_>>, Error> {
    let mut lines = Vec::new();
    for (index, line) in signatures.split('\n').enumerate() {
        let place = || format!("signature line {}", index + 1);
        if index == MAX_SIGNATURES {
            return refuse(place(), "is one too many");
        }
        let Some((name, blob)) = line.strip_prefix(DASH).and_then(|line| line.split_once(' ')) else {
            return refuse(place(), "is not '\u{2014} NAME BASE64'");
        };
        if !is_name(name) {
            return refuse(place(), "has an unusable name");
        }
        match STANDARD.decode(blob) {
            Ok(blob) if blob.len() > 4 => lines.push((name, blob)),
            Ok(_) => return refuse(place(), "is shorter than a key id and a signature"),
            Err(_) => return refuse(place(), "is not canonical Base64"),
        }
    }
    Ok(lines)
}

fn refuse<T>(place: String, problem: &str) -> Result<T, Error> {
    Err(Error::input(format!("note {place}"), problem, "fetch the checkpoint again from the log"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&std::array::from_fn(|i| i as u8))
    }

    fn verifier() -> VerifierKey {
        VerifierKey::new("log.example/countermark", key().verifying_key().into()).unwrap()
    }

    #[test]
    fn known_answer_of_a_verifier_key() {
        let text = "log.example/countermark+5e680137+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
        assert_eq!(verifier().to_string(), text);
        assert_eq!(VerifierKey::parse(text).unwrap(), verifier());
        assert!(VerifierKey::parse(&text.replace("5e68", "5e69")).is_err());
        assert!(VerifierKey::parse("x+00000000+AA==").is_err());
    }

    #[test]
    fn known_answer_of_a_note() {
        let text = "log.example/countermark\n5\n1eWxVJKOTWfdnGSKzk2xfCUqdfj5TaSAW+oRJSRW7Bg=\n";
        let note = sign(text, "log.example/countermark", &key()).unwrap();
        let line = "\u{2014} log.example/countermark XmgBN49D+dDU2S3TjW6WZiZ4EVBlyPERUrRt7ER1s3zql+LA4PXpTyUg7CCIz2FbDNijG7n7fv4GaSY9LLfebiY3HgA=\n";
        assert_eq!(note, format!("{text}\n{line}"));
        assert_eq!(note.len(), 193);
        assert_eq!(open(&note, &verifier()).unwrap(), text);
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let note = sign("log\n1\nroot\n", "log.example/countermark", &key()).unwrap();
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(flipped) = String::from_utf8(bytes) {
                assert!(open(&flipped, &verifier()).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_bad_line_of_a_known_key_spoils_the_note() {
        let note = sign("a\n", "log.example/countermark", &key()).unwrap();
        let other = sign("b\n", "log.example/countermark", &key()).unwrap();
        let bad = other.split_once("\n\n").unwrap().1;
        assert!(open(&format!("{note}{bad}"), &verifier()).is_err());
        let stranger = sign("a\n", "other.example", &SigningKey::from_bytes(&[9; 32])).unwrap();
        let line = stranger.split_once("\n\n").unwrap().1;
        assert_eq!(open(&format!("{note}{line}"), &verifier()).unwrap(), "a\n");
        assert!(open(&stranger, &verifier()).is_err());
        assert_eq!(signed_only_by(&format!("{note}{line}"), &verifier()).unwrap(), note);
        assert_eq!(without_others(&format!("{note}{line}")).unwrap(), "a\n\n");
        let own = note.split_once("\n\n").unwrap().1;
        assert_eq!(signed_only_by(&format!("{note}{line}{own}"), &verifier()).unwrap(), note);
    }

    /// A note with a good signature, changed, is refused with this in the reason.
    fn refused(change: impl Fn(&str) -> String, place: &str) {
        let note = sign("text\n", "log.example/countermark", &key()).unwrap();
        let changed = change(&note);
        let error = open(&changed, &verifier()).unwrap_err().to_string();
        assert!(error.contains(place), "{changed:?}: {error}");
        assert!(signed_only_by(&changed, &verifier()).is_err());
    }

    /// The signature line of a note.
    fn line(note: &str) -> &str {
        note.split_once("\n\n").unwrap().1
    }

    #[test]
    fn a_control_character() {
        for control in ["\r\n", "\0\n", "\t\n", "\u{1f}\n"] {
            refused(|note| note.replacen('\n', control, 1), "is a control character");
        }
    }

    #[test]
    fn no_blank_line() {
        refused(|note| note.replace("\n\n", "\n"), "no blank line");
        refused(|_| String::new(), "no blank line");
        refused(|_| "\n".to_owned(), "no blank line");
    }

    #[test]
    fn no_signature_line_or_one_without_end() {
        refused(|_| "text\n\n".to_owned(), "no line feed at the end");
        refused(|note| note.trim_end().to_owned(), "no line feed at the end");
        refused(|note| format!("{note}\n"), "signatures");
    }

    #[test]
    fn another_dash_or_spacing() {
        for dash in ["- ", "\u{2013} ", "\u{2014}", "\u{2014}  ", " \u{2014} ", "\u{2014}\u{a0}", "-- "] {
            refused(|note| note.replace(DASH, dash), "signature line 1");
        }
        refused(|note| note.replace("countermark ", "countermark  "), "signature line 1");
        refused(|note| note.replacen("=\n", "= \n", 1), "signature line 1");
    }

    #[test]
    fn an_unusable_name() {
        for name in ["", "log+example", "log\u{a0}example", "log\u{2003}example", "log\u{7f}example"] {
            refused(|note| note.replace("log.example/countermark", name), "signature line 1");
        }
    }

    #[test]
    fn a_signature_in_another_base64() {
        let change = |from: &'static str, to: &'static str| {
            move |note: &str| {
                let (text, line) = note.split_once("\n\n").unwrap();
                format!("{text}\n\n{}", line.replace(from, to))
            }
        };
        for (from, to) in [("=\n", "\n"), ("=\n", "==\n"), ("XmgB", "Xmg B"), ("XmgB", "Xmg-"), ("XmgB", "XmgB=")] {
            refused(change(from, to), "signature line 1");
        }
        // The bits behind the last byte must be zero: with others the same bytes would have a second spelling.
        let trailing = |note: &str| {
            let mut bytes = note.as_bytes().to_vec();
            let at = bytes.iter().rposition(|byte| *byte == b'=').unwrap() - 1;
            bytes[at] += 1;
            String::from_utf8(bytes).unwrap()
        };
        refused(trailing, "is not canonical Base64");
    }

    #[test]
    fn a_signature_that_is_too_short() {
        let short = |bytes: &[u8]| format!("text\n\n{DASH}log.example/countermark {}\n", STANDARD.encode(bytes));
        refused(|_| short(&[]), "signature line 1");
        refused(|_| short(&verifier().id()), "is shorter than a key id and a signature");
        // With the right key id it is that key's, and it does not verify.
        refused(|_| short(&[&verifier().id()[..], &[1]].concat()), "does not fit the text");
        refused(|_| short(&[&verifier().id()[..], &[1; 65]].concat()), "does not fit the text");
    }

    #[test]
    fn more_signatures_or_bytes_than_the_limit() {
        let stranger = sign("text\n", "other.example", &SigningKey::from_bytes(&[9; 32])).unwrap();
        let with = |count: usize| move |note: &str| format!("{note}{}", line(&stranger).repeat(count));
        let note = sign("text\n", "log.example/countermark", &key()).unwrap();
        assert_eq!(open(&with.clone()(99)(&note), &verifier()).unwrap(), "text\n");
        refused(with(100), "signature line 101");
        refused(|note| "x".repeat(MAX_NOTE) + note, "above 1 MiB");
    }

    #[test]
    fn a_line_matches_a_key_only_by_name_and_id() {
        let good = sign("text\n", "log.example/countermark", &key()).unwrap();
        // The right name with another id is a stranger, whatever its signature.
        let other = sign("other\n", "log.example/countermark", &SigningKey::from_bytes(&[9; 32])).unwrap();
        assert_eq!(open(&format!("{good}{}", line(&other)), &verifier()).unwrap(), "text\n");
        // And so is the right id under another name, alone and beside.
        let renamed = line(&good).replace("log.example/countermark", "log.example/other");
        assert!(open(&format!("text\n\n{renamed}"), &verifier()).is_err());
        let both = format!("{good}{renamed}");
        assert_eq!(open(&both, &verifier()).unwrap(), "text\n");
        assert_eq!(signed_only_by(&both, &verifier()).unwrap(), good);
    }

    #[test]
    fn a_repeated_line_is_checked_each_time() {
        let good = sign("text\n", "log.example/countermark", &key()).unwrap();
        let bad = sign("other\n", "log.example/countermark", &key()).unwrap();
        for lines in [[&good, &bad], [&bad, &good]] {
            let note = format!("text\n\n{}{}", line(lines[0]), line(lines[1]));
            assert!(open(&note, &verifier()).unwrap_err().to_string().contains("does not fit"));
        }
        let twice = format!("{good}{}", line(&good));
        assert_eq!(signed_only_by(&twice, &verifier()).unwrap(), good);
    }

    #[test]
    fn the_text_ends_at_the_last_blank_line() {
        let text = "first\n\n\u{2014} not a signature\n\nlast\n";
        let note = sign(text, "log.example/countermark", &key()).unwrap();
        assert_eq!(open(&note, &verifier()).unwrap(), text);
        // A whole note inside of a text vouches for nothing.
        let inner = sign("inner\n", "log.example/countermark", &key()).unwrap();
        let outer = sign(&inner, "other.example", &SigningKey::from_bytes(&[9; 32])).unwrap();
        assert!(open(&outer, &verifier()).is_err());
    }

    #[test]
    fn sixteen_signatures_and_more_are_read() {
        let mut note = sign("text\n", "log.example/countermark", &key()).unwrap();
        for seed in 1..40 {
            let name = format!("witness.example/w{seed}");
            let other = sign("text\n", &name, &SigningKey::from_bytes(&[seed; 32])).unwrap();
            note = format!("text\n\n{}{}", line(&other), line(&note));
        }
        assert_eq!(open(&note, &verifier()).unwrap(), "text\n");
    }

    #[test]
    fn a_verifier_key_in_another_spelling() {
        let good = verifier().to_string();
        for bad in [
            good.to_uppercase(),
            good.replace("5e680137", "5E680137"),
            format!("{good}\n"),
            format!(" {good}"),
            good.replace("+AQ", "+Ag"),
            good.replace("+AQ", "+BA"),
            good[..good.len() - 4].to_owned(),
            good.replace("log.example", "log example"),
            good.replace("log.example", ""),
            String::new(),
            good.replace("log.example/countermark", ""),
            "a+b".to_owned(),
            "a+5e680137+".to_owned(),
        ] {
            assert!(VerifierKey::parse(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(?s).{0,300}") {
            let _ = open(&text, &verifier());
        }
    }
}
