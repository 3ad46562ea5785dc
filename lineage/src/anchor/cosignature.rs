//! Cosignatures of witnesses (C2SP tlog-cosignature v1.0.1), with Ed25519 (type 4).
//!
//! A cosignature says: at this time the witness had seen no larger head of this log, and every head that it saw was
//! consistent with the one before. It covers `cosignature/v1`, the time, and the text of the checkpoint:
//!
//! ```text
//! — name base64(key id, 4 bytes ‖ Unix seconds, 8 bytes big-endian ‖ signature, 64 bytes)
//! ```
//!
//! Lines of other types (6, ML-DSA-44, among them) are kept where they stand, and never counted.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};

use super::note::{self, COSIGNED, KeyText};
use crate::Error;
use crate::credential::keys::{Algorithm, PublicKey};

/// Signature type of an Ed25519 cosignature.
const ED25519: u8 = 0x04;
/// Signature type of an ML-DSA-44 cosignature, which this version cannot check.
pub(super) const ML_DSA_44: u8 = 0x06;

/// The verifier key of a witness: `name+hex(key id)+base64(type ‖ public key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    /// Name of the witness.
    pub name: String,
    /// Its Ed25519 key, which is no log's: what it signs does not name it.
    pub key: PublicKey,
}

impl WitnessKey {
    /// A key under a name.
    ///
    /// # Errors
    /// [`Error::Usage`] when the name is empty or holds a space, a `+` or a control character.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, Error> {
        if !note::is_name(name) || key.algorithm() != Algorithm::Ed25519 {
            return Err(Error::usage(
                format!("{name:?} cannot name a witness"),
                "use a URL without its scheme, such as witness.example/w1",
            ));
        }
        Ok(WitnessKey { name: name.to_owned(), key })
    }

    /// Reads the text form and recomputes the key id.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part.
    pub fn parse(text: &str) -> Result<Self, Error> {
        KeyText::parse(text)?.witness().ok_or_else(|| note::not_for(text, "a witness' Ed25519 cosignature key"))
    }

    /// First four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
    pub fn id(&self) -> [u8; 4] {
        note::key_id(&self.name, ED25519, self.key.as_bytes())
    }

    fn made(&self, line: &note::Line<'_>) -> bool {
        line.0 == self.name && line.1[..4] == self.id()
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        note::write_key(f, &self.name, ED25519, self.key.as_bytes())
    }
}

impl KeyText<'_> {
    /// The key of a witness, when it is one that this version can check.
    pub(super) fn witness(&self) -> Option<WitnessKey> {
        let key = PublicKey::from_bytes(Algorithm::Ed25519, &self.key).filter(|_| self.kind == ED25519)?;
        Some(WitnessKey { name: self.name.to_owned(), key })
    }
}

/// What a cosignature of `text` at `time` covers.
fn message(time: u64, text: &str) -> Vec<u8> {
    format!("{COSIGNED}\ntime {time}\n{text}").into_bytes()
}

/// The signature line of witness `name` for the text of a checkpoint, at `time` in Unix seconds.
///
/// # Errors
/// [`Error::Usage`] when the name is unusable, or the time is zero.
pub fn sign(text: &str, name: &str, key: &SigningKey, time: u64) -> Result<String, Error> {
    let witness = WitnessKey::new(name, key.verifying_key().into())?;
    if time == 0 {
        return Err(Error::usage("a cosignature has no time of zero", "set the clock of this machine"));
    }
    let signature = key.sign(&message(time, text)).to_bytes();
    Ok(note::line(name, &[&witness.id()[..], &time.to_be_bytes(), &signature].concat()))
}

/// When `witness` cosigned a note, in Unix seconds: the earliest time of its lines, `None` when there is none.
///
/// # Errors
/// [`Error::Input`] when a line of this witness is wrong, also when it stands beside a good one.
pub fn open(note: &str, witness: &WitnessKey) -> Result<Option<u64>, Error> {
    let (text, lines) = note::split(note)?;
    let mut earliest: Option<u64> = None;
    for line in lines.iter().filter(|line| witness.made(line)) {
        let refuse = |problem: &str| {
            let help = "leave the line out, and ask the witness again";
            Err(Error::input(format!("cosignature of {}", witness.name), problem, help))
        };
        let Some((time, signature)) = line.1[4..].split_first_chunk::<8>().filter(|(_, rest)| rest.len() == 64) else {
            return refuse("is not a time of 8 bytes and a signature of 64");
        };
        let time = u64::from_be_bytes(*time);
        if time == 0 {
            return refuse("says no time");
        }
        if !witness.key.verifies(&message(time, text), signature) {
            return refuse("does not fit the checkpoint");
        }
        earliest = Some(earliest.map_or(time, |known| known.min(time)));
    }
    Ok(earliest)
}

/// `note` with the lines of `witness` out of `answer`, which take the place of those that it had from the same witness.
///
/// # Errors
/// [`Error::Input`] when the answer holds no line of this witness, a wrong one, or one that is later than `latest`.
pub fn add(note: &str, answer: &str, witness: &WitnessKey, latest: u64) -> Result<String, Error> {
    let (text, lines) = note::split(note)?;
    let answered = format!("{text}\n{answer}");
    let refuse = |problem: String| {
        let help = "the witness is at fault; ask whoever runs it, or leave it out";
        Err(Error::input(format!("answer of {}", witness.name), problem, help))
    };
    let (covered, fresh) = note::split(&answered)?;
    // A blank line in the answer would move the end of the text.
    if covered != text {
        return refuse("is more than signature lines".to_owned());
    }
    let Some((name, blob)) = fresh.iter().find(|line| witness.made(line)) else {
        return refuse("holds no cosignature of its key".to_owned());
    };
    let fresh = note::line(name, blob);
    match open(&format!("{text}\n{fresh}"), witness) {
        Ok(Some(time)) if time > latest => return refuse(format!("is of the future: Unix second {time}")),
        Err(error) => return refuse(error.problem()),
        Ok(_) => {}
    }
    let kept = lines.iter().filter(|line| !witness.made(line));
    let cosigned = kept.fold(format!("{text}\n"), |note, (name, blob)| note + &note::line(name, blob)) + &fresh;
    // As many lines as a note may have, or refused here and not by whoever reads it.
    note::split(&cosigned)?;
    Ok(cosigned)
}

/// How many signature lines a note has. Nothing is verified by this.
pub fn lines(note: &str) -> usize {
    note::split(note).map_or(0, |(_, lines)| lines.len())
}

/// `note` with the signature lines of `other`, a note with the same text, that it does not have.
///
/// # Errors
/// [`Error::Input`] when the texts differ, or a note is none.
pub fn merge(note: &str, other: &str) -> Result<String, Error> {
    let ((text, lines), (other_text, others)) = (note::split(note)?, note::split(other)?);
    if text != other_text {
        return Err(Error::input("checkpoint", "is another one by now", "ask the witnesses again"));
    }
    let is_new = |line: &&note::Line<'_>| !lines.iter().any(|known| known.0 == line.0 && known.1[..4] == line.1[..4]);
    let merged = lines.iter().chain(others.iter().filter(is_new));
    let merged = merged.fold(format!("{text}\n"), |note, (name, blob)| note + &note::line(name, blob));
    note::split(&merged)?;
    Ok(merged)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::anchor::note::VerifierKey;
    use crate::anchor::proof::Proof;
    use crate::digest::{Hash, tree};

    pub const LOG: &str = "log.example/countermark";
    pub const WITNESS: &str = "witness.example/w1";
    pub const TIME: u64 = 1_700_000_000;

    /// Keys of the worked example: seeds 00…1f and 20…3f.
    pub fn log_key() -> SigningKey {
        SigningKey::from_bytes(&std::array::from_fn(|i| i as u8))
    }

    pub fn witness_key() -> SigningKey {
        SigningKey::from_bytes(&std::array::from_fn(|i| 0x20 + i as u8))
    }

    pub fn witness() -> WitnessKey {
        WitnessKey::new(WITNESS, witness_key().verifying_key().into()).unwrap()
    }

    pub fn leaves() -> Vec<Hash> {
        (0..5).map(|i| tree::leaf(format!("countermark vector {i}").as_bytes())).collect()
    }

    pub fn checkpoint(size: usize) -> String {
        let root = tree::root(&leaves()[..size]);
        crate::anchor::checkpoint::Checkpoint { size: size as u64, root }.sign(LOG, &log_key()).unwrap()
    }

    fn text() -> String {
        checkpoint(5).split_inclusive('\n').take(3).collect()
    }

    #[test]
    fn known_answers() {
        let vkey = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X";
        assert_eq!(witness().to_string(), vkey);
        assert_eq!(WitnessKey::parse(vkey).unwrap(), witness());
        let line = sign(&text(), WITNESS, &witness_key(), TIME).unwrap();
        let blob =
            "IDJKvgAAAABlU/EALA0aLa2PEFIC+Se8eXHucmFKcFUFSKandbXqIaHSxyRNAZGWErlSLqs9fcyU3eTyguAlljvVA2Ji2/eMP5JVDg==";
        assert_eq!(line, format!("\u{2014} witness.example/w1 {blob}\n"));
        assert_eq!(line.len(), 128);
        let note = checkpoint(5) + &line;
        assert_eq!(open(&note, &witness()).unwrap(), Some(TIME));
        let path = tree::reference::inclusion(2, &leaves());
        let proof = Proof { index: 2, path, checkpoint: note }.to_text();
        assert_eq!(proof.len(), 488);
        let sha256 = Hash::sha256(proof.as_bytes()).to_string();
        assert_eq!(sha256, "c7009511da561c41b6b34d7c306146301a70b4dcddbe81e3b7f15153d8623fe2");
    }

    #[test]
    fn keys_are_not_interchangeable() {
        let log = VerifierKey::new(LOG, log_key().verifying_key().into()).unwrap();
        assert!(WitnessKey::parse(&log.to_string()).is_err());
        assert!(VerifierKey::parse(&witness().to_string()).is_err());
        assert!(VerifierKey::new("cosignature/v1", log_key().verifying_key().into()).is_err());
        assert!(WitnessKey::parse(&witness().to_string().replace("2032", "2033")).is_err());
    }

    #[test]
    fn every_flipped_byte_of_a_cosignature_is_refused_or_nobodys() {
        let line = sign(&text(), WITNESS, &witness_key(), TIME).unwrap();
        let note = checkpoint(5) + &line;
        let start = note.len() - line.len();
        for at in start..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            assert!(!matches!(open(&flipped, &witness()), Ok(Some(_))), "byte {at}");
        }
    }

    #[test]
    fn a_bad_line_spoils_a_good_one_and_strangers_do_not_matter() {
        let (note, witness) = (checkpoint(5), witness());
        let good = sign(&text(), WITNESS, &witness_key(), TIME).unwrap();
        let other = sign(&text(), WITNESS, &witness_key(), TIME + 9).unwrap();
        let of_another = sign(checkpoint(3).split("\n\n").next().unwrap(), WITNESS, &witness_key(), TIME).unwrap();
        assert!(open(&format!("{note}{good}{of_another}"), &witness).is_err());
        assert!(open(&format!("{note}{of_another}{good}"), &witness).is_err());
        assert_eq!(open(&format!("{note}{other}{good}"), &witness).unwrap(), Some(TIME));
        assert_eq!(open(&note, &witness).unwrap(), None);
        let stranger = sign(&text(), "witness.example/w2", &SigningKey::from_bytes(&[7; 32]), TIME).unwrap();
        assert_eq!(open(&format!("{note}{stranger}"), &witness).unwrap(), None);
        // The name of a known witness with another key is another witness.
        let namesake = sign(&text(), WITNESS, &SigningKey::from_bytes(&[7; 32]), TIME).unwrap();
        assert_eq!(open(&format!("{note}{namesake}"), &witness).unwrap(), None);
        let short = note::line(WITNESS, &[&witness.id()[..], &[0; 71]].concat());
        assert!(open(&format!("{note}{short}"), &witness).is_err());
        assert!(sign(&text(), WITNESS, &witness_key(), 0).is_err());
    }

    #[test]
    fn answers_are_sifted() {
        let (note, witness) = (checkpoint(5), witness());
        let good = sign(&text(), WITNESS, &witness_key(), TIME).unwrap();
        let stranger = sign(&text(), "witness.example/w2", &SigningKey::from_bytes(&[7; 32]), TIME).unwrap();
        let unknown = note::line("witness.example/pq", &[&[1, 2, 3, 4][..], &[9; 2428]].concat());
        let cosigned = add(&note, &format!("{unknown}{good}{stranger}"), &witness, TIME).unwrap();
        assert_eq!(cosigned, format!("{note}{good}"));
        let again = sign(&text(), WITNESS, &witness_key(), TIME + 1).unwrap();
        assert_eq!(add(&cosigned, &again, &witness, TIME + 1).unwrap(), format!("{note}{again}"));
        assert!(add(&note, &good, &witness, TIME - 1).is_err(), "of the future");
        assert!(add(&note, &stranger, &witness, TIME).is_err());
        assert!(add(&note, "", &witness, TIME).is_err());
        let longer = sign(&format!("{}\ninjected\n", text()), WITNESS, &witness_key(), TIME).unwrap();
        assert!(add(&note, &format!("injected\n\n{longer}"), &witness, TIME).is_err(), "another text");
        assert!(add(&note, &good[..good.len() - 1], &witness, TIME).is_err());

        // What others added meanwhile stays, and so does what cannot be checked.
        let meanwhile = format!("{note}{unknown}");
        assert_eq!(merge(&meanwhile, &cosigned).unwrap(), format!("{note}{unknown}{good}"));
        assert!(merge(&meanwhile, &checkpoint(3)).is_err());
    }
}
