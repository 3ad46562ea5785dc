//! Receipts that stand alone, held by Bitcoin or by an authority: each part flipped, cut off or put in the place of another.
//!
//! The blocks are of a private chain that was made here, on the easiest target there is, so they prove everything but that
//! they are of Bitcoin: that is for the policy to say.

use std::fs;

use countermark::anchor;
use countermark::io::log::Log;
use countermark::lineage::anchor::ots::TimestampProof;
use countermark::lineage::anchor::ots::attestation::Attestation;
use countermark::lineage::anchor::ots::bitcoin::{HEADER, Header};
use countermark::lineage::anchor::ots::file::File;
use countermark::lineage::anchor::ots::operation::Operation;
use countermark::lineage::anchor::ots::tree::Node;
use countermark::lineage::anchor::receipt::ReceiptFile;
use countermark::lineage::anchor::rfc3161::Token;
use countermark::lineage::anchor::{Anchor, Commitment, Evidence};
use countermark::lineage::bundle::Bytes;
use countermark::lineage::credential::rfc3161::{self, Query};
use countermark::lineage::digest::Hash;

use crate::keys::authority::{Authority, ECDSA};
use crate::{Case, Result, World};

/// The easiest target: every second hash fits.
const EASIEST: u32 = 0x207f_ffff;

/// A block upon another one, found by trying.
fn block(before: &[u8; 32], root: &[u8], time: u32) -> Result<Header> {
    for nonce in 0..u32::MAX {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend(before);
        bytes.extend(root);
        bytes.extend(time.to_le_bytes());
        bytes.extend(EASIEST.to_le_bytes());
        bytes.extend(nonce.to_le_bytes());
        if let Ok(header) = Header::parse(&bytes) {
            return Ok(header);
        }
    }
    Err("no block was found".into())
}

/// The hash as it stands in the next header.
fn internal(header: &Header) -> [u8; 32] {
    let mut hash = header.hash().0;
    hash.reverse();
    hash
}

/// A path from a digest to a Merkle root, as calendars make it.
fn path() -> Vec<Operation> {
    use Operation::{Append, Prepend, Sha256};
    vec![
        Append(vec![0x11; 16]),
        Sha256,
        Prepend(vec![1, 0, 0, 0, 1, 0x6a, 0x20]),
        Append(vec![0; 4]),
        Sha256,
        Sha256,
        Prepend(vec![0x22; 32]),
        Sha256,
        Sha256,
    ]
}

fn lead(digest: &Hash, attestation: Attestation) -> (File, Vec<u8>) {
    let mut message = digest.0.to_vec();
    for operation in path() {
        message = operation.apply(&message).unwrap_or_default();
    }
    let node = path().into_iter().rev().fold(Node::attested(attestation), Node::under);
    (File::new(digest, node), message)
}

fn proof(file: &File, headers: &[Header]) -> TimestampProof {
    let headers = headers.iter().map(|header| Bytes(header.as_bytes().to_vec())).collect();
    TimestampProof { file: Bytes(file.to_bytes()), headers }
}

struct Makers<'a> {
    world: &'a World,
    good: ReceiptFile,
    cases: Vec<Case>,
}

impl Makers<'_> {
    fn case(
        &mut self,
        name: &str,
        story: &str,
        receipt: &ReceiptFile,
        policy: &str,
        state: &str,
        reason: &str,
    ) -> Result<()> {
        let file = format!("stamps-{name}.json");
        fs::write(self.world.out.join(&file), receipt.to_json())?;
        let policy = format!("stamps-{policy}.toml");
        let options = &[("policy", &*policy)];
        self.cases.push(Case::new(&format!("stamps-{name}"), story, "anchor verify", &file, options, state, reason));
        Ok(())
    }

    /// A case with another proof of OpenTimestamps.
    fn ots(
        &mut self,
        name: &str,
        story: &str,
        proof: TimestampProof,
        policy: &str,
        state: &str,
        reason: &str,
    ) -> Result<()> {
        let receipt = self.held(vec![Evidence::OpenTimestamps(proof)]);
        self.case(name, story, &receipt, policy, state, reason)
    }

    fn held(&self, evidence: Vec<Evidence>) -> ReceiptFile {
        let checkpoint = checkpoint(&self.good);
        let anchors = evidence.into_iter().map(|evidence| Anchor { checkpoint: checkpoint.clone(), evidence });
        ReceiptFile { anchors: anchors.collect(), ..self.good.clone() }
    }
}

/// The checkpoint under which a receipt proves its entry. Nobody cosigned it.
fn checkpoint(receipt: &ReceiptFile) -> String {
    receipt.proof.split_once("\n\n").map_or_else(String::new, |(_, checkpoint)| checkpoint.to_owned())
}

/// The cases, with their receipts and policies written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    let good = anchor::receipt(&world.at("log"), 1)?;
    let digest = Commitment::of(&checkpoint(&good)).digest;
    let (file, root) = lead(&digest, Attestation::Bitcoin(840_000));
    let mut chain = vec![block(&[7; 32], &root, 1_790_000_000)?];
    for index in 1_u8..6 {
        let before = internal(&chain[chain.len() - 1]);
        chain.push(block(&before, &[index; 32], 1_790_000_000 + 600 * u32::from(index))?);
    }
    let clock = Authority::new("Clock", ECDSA).ok_or("openssl is needed")?;
    let stamp = |message: &str| -> Result<Vec<u8>> {
        let query = Query { imprint: Hash::sha256(message.as_bytes()).0, nonce: 7 };
        Ok(rfc3161::tidy(&query.token(&clock.answer(&query.to_der()))?)?)
    };
    let token = stamp(&checkpoint(&good))?;

    let keys = fs::read_to_string(world.at("keys/policy.toml"))?;
    // Signers and certificates; logs and demands are those of the case.
    let keys = keys.split("[require]").next().unwrap_or_default().split("[[log]]").next().unwrap_or_default();
    let log = format!("[[log]]\nvkey = \"{}\"\n", Log::open(&world.at("log"))?.verifier());
    let pin = format!("[bitcoin]\nblocks = [\"{}\"]\n", chain[0].hash());
    let root_of_clock =
        format!("[[timestamp_root]]\nname = \"Clock\"\ncertificate = \"\"\"\n{}\"\"\"\n", clock.root_pem());
    let signer = Hash::sha256(&rfc3161::certificates(&token)[0]);
    let revoked = format!("[[revoked]]\ncertificate = \"{signer}\"\nreason = \"its key was lost\"\n");
    let asked = "[require]\nanchor = true\n";
    for (name, text) in [
        ("pinned", format!("{log}{pin}{root_of_clock}{asked}")),
        ("last-pinned", format!("{log}[bitcoin]\nblocks = [\"{}\"]\n{asked}", chain[5].hash())),
        ("nobody", format!("{log}{asked}")),
        ("work", format!("{log}[bitcoin]\nmin_difficulty = 1\n{asked}")),
        ("revoked", format!("{log}{root_of_clock}{revoked}{asked}")),
        (
            "other-log",
            format!(
                "[[log]]\nvkey = \"log.example/countermark+5e680137+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\"\n{pin}{asked}"
            ),
        ),
    ] {
        fs::write(world.out.join(format!("stamps-{name}.toml")), format!("{keys}\n{text}"))?;
    }
    let mut makers = Makers { world, good, cases: vec![] };
    ots_cases(&mut makers, &digest, &file, &chain)?;
    receipt_cases(&mut makers, &proof(&file, &chain))?;

    let token_of = |token: Vec<u8>| vec![Evidence::Rfc3161(Token { token: Bytes(token) })];
    let held = makers.held(token_of(token.clone()));
    makers.case("token", "an authority's token, and its root is known", &held, "pinned", "verified", "")?;
    makers.case(
        "token-unknown",
        "nobody knows the authority",
        &held,
        "nobody",
        "unknown",
        "names no time-stamp root",
    )?;
    makers.case(
        "token-revoked",
        "the authority's certificate was revoked",
        &held,
        "revoked",
        "unknown",
        "was revoked",
    )?;
    let held = makers.held(token_of(stamp("another checkpoint")?));
    makers.case(
        "token-of-another",
        "a token over another checkpoint",
        &held,
        "pinned",
        "invalid",
        "about other bytes",
    )?;
    let mut flipped = token;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let held = makers.held(token_of(flipped));
    makers.case("token-flipped", "one bit of a token", &held, "pinned", "invalid", "anchor rfc3161")?;
    Ok(makers.cases)
}

fn ots_cases(makers: &mut Makers<'_>, digest: &Hash, file: &File, chain: &[Header]) -> Result<()> {
    let whole = || proof(file, chain);
    makers.ots("good", "nothing is wrong: the policy pins the block", whole(), "pinned", "verified", "")?;
    makers.ots("last-pinned", "the policy pins the last block", whole(), "last-pinned", "verified", "")?;
    makers.ots(
        "private-chain",
        "a perfect proof on a private chain",
        whole(),
        "nobody",
        "unknown",
        "does not vouch",
    )?;
    makers.ots(
        "easy-work",
        "six blocks without work to speak of",
        whole(),
        "work",
        "unknown",
        "less than the difficulty",
    )?;
    let cut = proof(file, &chain[..5]);
    makers.ots("last-pinned-cut", "the pinned block was cut off", cut, "last-pinned", "unknown", "does not vouch")?;
    makers.ots(
        "no-header",
        "the header is not kept",
        proof(file, &[]),
        "pinned",
        "unknown",
        "its header is not kept",
    )?;

    let (pending, _) = lead(digest, Attestation::Pending("https://calendar.example".into()));
    makers.ots("pending", "a calendar's promise", proof(&pending, &[]), "pinned", "unknown", "pending, promised by")?;
    let (litecoin, _) = lead(digest, Attestation::Litecoin(7));
    makers.ots(
        "litecoin",
        "an attestation of another chain",
        proof(&litecoin, &[]),
        "pinned",
        "unknown",
        "Litecoin block 7",
    )?;
    let alone = proof(&litecoin, chain);
    makers.ots(
        "litecoin-header",
        "no attestation of Bitcoin leads to the header",
        alone,
        "pinned",
        "invalid",
        "header 1",
    )?;
    let unknown = Attestation::Unknown { tag: [9; 8], payload: vec![1] };
    let strange = proof(&lead(digest, unknown).0, &[]);
    makers.ots("unknown-kind", "an attestation that nobody knows", strange, "pinned", "unknown", "0909090909090909")?;

    let other = proof(&lead(&Hash::sha256(b"another checkpoint"), Attestation::Bitcoin(1)).0, chain);
    makers.ots("of-another", "a proof about another checkpoint", other, "pinned", "invalid", "about something else")?;
    let reordered = proof(file, &[chain[0], chain[2], chain[1]]);
    makers.ots("reordered", "headers in another order", reordered, "pinned", "invalid", "header 2")?;
    let beheaded = proof(file, &chain[1..]);
    makers.ots("beheaded", "the attested header is gone", beheaded, "pinned", "invalid", "header 1")?;
    let mut changed = whole();
    changed.headers[0].0[70] ^= 0x40;
    makers.ots("header-time", "one bit of the header's time", changed, "pinned", "invalid", "")?;
    let mut changed = whole();
    // A hard target that the hash does not meet.
    changed.headers[0].0[72..76].copy_from_slice(&0x1d00_ffff_u32.to_le_bytes());
    makers.ots("no-work", "a target that the hash does not meet", changed, "pinned", "invalid", "above its target")?;
    let mut changed = whole();
    changed.headers[0].0[72..76].copy_from_slice(&0x2100_ffff_u32.to_be_bytes());
    makers.ots("bad-target", "a target that is none", changed, "pinned", "invalid", "target")?;

    let mut changed = whole();
    changed.file.0.push(0);
    makers.ots("trailing-byte", "a byte after the proof", changed, "pinned", "invalid", "more bytes follow")?;
    let mut changed = whole();
    changed.file.0.pop();
    makers.ots("truncated", "the last byte of the proof is gone", changed, "pinned", "invalid", "too early")?;
    let mut changed = whole();
    // Magic, version, hash, digest, then append with its length, and the first random byte.
    changed.file.0[31 + 1 + 1 + 32 + 2] ^= 1;
    makers.ots("path-flipped", "one bit of the path", changed, "pinned", "invalid", "header 1")?;
    let deep = (0..300).fold(file.tree.clone(), |node, _| node.under(Operation::Sha256));
    let deep = proof(&File::new(digest, deep), chain);
    makers.ots("too-deep", "three hundred operations", deep, "pinned", "invalid", "follow on each other")
}

fn receipt_cases(makers: &mut Makers<'_>, proof: &TimestampProof) -> Result<()> {
    let held = makers.held(vec![Evidence::OpenTimestamps(proof.clone())]);
    let other = anchor::receipt(&makers.world.at("log"), 2)?;
    makers.case(
        "other-log",
        "the policy knows another log",
        &held,
        "other-log",
        "unknown-signer",
        "does not know this log",
    )?;
    let mut changed = held.clone();
    changed.entry = other.entry;
    makers.case("other-entry", "the entry of another proof", &changed, "pinned", "invalid", "log")?;
    let mut changed = held.clone();
    let middle = changed.entry.0.len() / 2;
    changed.entry.0[middle] ^= 1;
    makers.case("entry-flipped", "one bit of the entry", &changed, "pinned", "invalid", "log entry")?;
    let mut changed = held.clone();
    changed.vkey = "log.example/countermark+5e680137+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4".into();
    makers.case("other-vkey", "the key of another log", &changed, "pinned", "invalid", "note signatures")?;
    let mut changed = held.clone();
    changed.anchors[0].checkpoint.push_str("\u{2014} w AAAAAAA=\n");
    makers.case(
        "cosigned",
        "the anchored note has a line more",
        &changed,
        "pinned",
        "invalid",
        "no proof here leads",
    )?;
    let mut changed = held.clone();
    changed.anchors.clear();
    makers.case(
        "stripped",
        "the anchor was taken away",
        &changed,
        "pinned",
        "unknown",
        "is required and none is there",
    )?;
    let mut changed = held.clone();
    changed.schema = "countermark.dev/receipt/v2".into();
    makers.case("schema", "a schema of the future", &changed, "pinned", "invalid", "schema")
}
