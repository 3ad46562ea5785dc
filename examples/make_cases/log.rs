//! Places in a log: proofs and checkpoints cut, doubled, respelled, and put in the place of others.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countermark::io::keys;
use countermark::lineage::anchor::checkpoint::Checkpoint;
use countermark::lineage::anchor::note::{self, VerifierKey};
use countermark::lineage::digest::Hash;

use crate::{Case, Result, World};

/// What the owner of the log can make.
struct Signer {
    key: ed25519_dalek::SigningKey,
    vkey: VerifierKey,
}

impl Signer {
    fn note(&self, text: &str) -> Result<String> {
        Ok(note::sign(text, &self.vkey.name, &self.key)?)
    }
}

/// A name, its one-line story, what becomes of the proof's text, the state it must come to, and words of the reason.
type Change = (&'static str, &'static str, fn(&str, &Signer) -> Result<String>, &'static str, &'static str);

fn parts(proof: &str) -> (&str, &str) {
    proof.split_once("\n\n").unwrap_or((proof, ""))
}

/// The proof with another text under the same checkpoint, signed anew by the log.
fn signed_anew(proof: &str, signer: &Signer, change: impl Fn(&str) -> String) -> Result<String> {
    let (head, checkpoint) = parts(proof);
    let text = note::open(checkpoint, &signer.vkey)?;
    Ok(format!("{head}\n\n{}", signer.note(&change(text))?))
}

const CHANGES: [Change; 20] = [
    (
        "log-proof-extra",
        "a good proof with an extra line, which nothing vouches for",
        |proof, _| Ok(proof.replacen("\nindex", "\nextra AAAA\nindex", 1)),
        "unanchored",
        "",
    ),
    (
        "log-checkpoint-extension",
        "a good checkpoint with an extension line, which the log signed",
        |proof, signer| signed_anew(proof, signer, |text| format!("{text}extension\n")),
        "unanchored",
        "",
    ),
    (
        "log-stranger-signs-too",
        "the signature of a key that nobody knows beside the log's",
        |proof, signer| {
            let text = note::open(parts(proof).1, &signer.vkey)?;
            let other = note::sign(text, "stranger.example", &keys::generate())?;
            Ok(format!("{proof}{}", parts(&other).1))
        },
        "unanchored",
        "",
    ),
    (
        "log-proof-header",
        "a version of the proof that there is not",
        |proof, _| Ok(proof.replacen("@v1", "@v2", 1)),
        "invalid",
        "proof line 1",
    ),
    (
        "log-proof-line-ends",
        "line ends of another system",
        |proof, _| Ok(proof.replace('\n', "\r\n")),
        "invalid",
        "blank line",
    ),
    (
        "log-proof-index-respelled",
        "a zero in front of the index",
        |proof, _| Ok(proof.replacen("index ", "index 0", 1)),
        "invalid",
        "proof line 2",
    ),
    (
        "log-proof-index-above",
        "an index behind the end of the log",
        |proof, _| Ok(proof.replacen("index ", "index 9", 1)),
        "invalid",
        "inclusion proof",
    ),
    (
        "log-proof-hash-missing",
        "the last hash of the path is gone",
        |proof, _| {
            let (head, checkpoint) = parts(proof);
            let (head, _) = head.rsplit_once('\n').ok_or("no path")?;
            Ok(format!("{head}\n\n{checkpoint}"))
        },
        "invalid",
        "inclusion proof",
    ),
    (
        "log-proof-hash-doubled",
        "the last hash of the path twice",
        |proof, _| {
            let (head, checkpoint) = parts(proof);
            let (_, last) = head.rsplit_once('\n').ok_or("no path")?;
            Ok(format!("{head}\n{last}\n\n{checkpoint}"))
        },
        "invalid",
        "inclusion proof",
    ),
    (
        "log-proof-endless",
        "a path of more hashes than any tree needs",
        |proof, _| {
            let (head, checkpoint) = parts(proof);
            Ok(format!("{head}{}\n\n{checkpoint}", format!("\n{}", STANDARD.encode([7; 32])).repeat(64)))
        },
        "invalid",
        "one hash too many",
    ),
    (
        "log-checkpoint-grown",
        "a larger size under the log's old signature",
        |proof, signer| {
            let size = Checkpoint::open(parts(proof).1, &signer.vkey)?.size;
            Ok(proof.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1))
        },
        "invalid",
        "does not fit the text",
    ),
    (
        "log-checkpoint-other-root",
        "another tree's root, signed by the log",
        |proof, signer| {
            let (head, checkpoint) = parts(proof);
            let size = Checkpoint::open(checkpoint, &signer.vkey)?.size;
            let other = Checkpoint { size, root: Hash([7; 32]) }.sign(&signer.vkey.name, &signer.key)?;
            Ok(format!("{head}\n\n{other}"))
        },
        "invalid",
        "inclusion proof",
    ),
    (
        "log-checkpoint-size-respelled",
        "a size with a zero in front, signed by the log",
        |proof, signer| signed_anew(proof, signer, |text| text.replacen('\n', "\n0", 1)),
        "invalid",
        "checkpoint line 2",
    ),
    (
        "log-checkpoint-empty-extension",
        "an empty extension line, signed by the log",
        |proof, signer| signed_anew(proof, signer, |text| format!("{text}x\n\ny\n")),
        "invalid",
        "checkpoint line 5",
    ),
    (
        "log-checkpoint-other-origin",
        "another origin above the log's signature",
        |proof, signer| signed_anew(proof, signer, |text| format!("other-{text}")),
        "invalid",
        "checkpoint line 1",
    ),
    (
        "log-checkpoint-unsigned",
        "the checkpoint without its signature",
        |proof, signer| {
            let text = note::open(parts(proof).1, &signer.vkey)?;
            Ok(format!("{}\n\n{text}\n", parts(proof).0))
        },
        "invalid",
        "note",
    ),
    (
        "log-checkpoint-by-another-key",
        "the same head, signed by another key under the log's name",
        |proof, signer| {
            let text = note::open(parts(proof).1, &signer.vkey)?;
            Ok(format!("{}\n\n{}", parts(proof).0, note::sign(text, &signer.vkey.name, &keys::generate())?))
        },
        "invalid",
        "none is by",
    ),
    (
        "log-checkpoint-signature-doubled-badly",
        "a bad signature of the log beside its good one",
        |proof, signer| {
            let other = signer.note("something else\n")?;
            Ok(format!("{proof}{}", parts(&other).1))
        },
        "invalid",
        "does not fit the text",
    ),
    (
        "log-checkpoint-hyphen",
        "a hyphen instead of the dash before the signature",
        |proof, _| Ok(proof.replacen("\u{2014} ", "- ", 1)),
        "invalid",
        "signature line 1",
    ),
    (
        "log-checkpoint-control-byte",
        "a byte that would move the cursor of a terminal",
        |proof, _| Ok(format!("{}\n\n\u{1b}{}", parts(proof).0, parts(proof).1)),
        "invalid",
        "control character",
    ),
];

pub fn cases(world: &World) -> Result<Vec<Case>> {
    let key = keys::load_ed25519(&world.at("log/.state/log.key"))?;
    let good = world.bundle("data.csv")?;
    let origin = fs::read_to_string(world.at("log/.state/origin"))?;
    let signer = Signer { vkey: VerifierKey::new(&origin, key.verifying_key().into())?, key };
    fs::copy(world.at("data.csv"), world.out.join("logged.csv"))?;
    let mut cases = vec![];
    for (name, story, change, state, reason) in CHANGES {
        let mut bundle = good.clone();
        let receipt = bundle.records[0].receipt.as_mut().ok_or("not logged")?;
        let changed = change(&receipt.proof, &signer)?;
        assert_ne!(changed, receipt.proof, "{name}");
        receipt.proof = changed;
        let file = format!("{name}.json");
        fs::write(world.out.join(&file), bundle.to_json())?;
        let options = [("bundle", &*file), ("policy", "policy.toml")];
        cases.push(Case::new(name, story, "verify", "logged.csv", &options, state, reason));
    }
    Ok(cases)
}
