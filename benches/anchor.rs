//! Size of a whole receipt of a release that is anchored in a block, and what it costs to make and to check, as
//! Markdown.
//!
//! Run: `cargo bench -p countermark --bench anchor`. The block holds 150 commits of ERC-7053, the log 1,000,000
//! entries. Binary is the plain concatenation of the parts, each behind its length in four bytes: entry, tlog-proof,
//! header, every node; the checkpoint stands in the tlog-proof, and chain, index and log take 20 bytes. In the bundle
//! they are JSON.

#[allow(dead_code)]
#[path = "../lineage/tests/evm/block.rs"]
mod block;

use std::hint::black_box;
use std::time::Instant;

use block::{Block, CONTRACT, address};
use countermark::io::log::Log;
use countermark::lineage::anchor::entry::Entry;
use countermark::lineage::anchor::evm::trie;
use countermark::lineage::anchor::proof::Proof;
use countermark::lineage::anchor::{self, Anchor, Commitment, Evidence, Standing, Trust};
use countermark::lineage::bundle::{Bundle, Receipt};
use countermark::lineage::credential::policy::Policy;
use countermark::lineage::digest::Hash;
use countermark::{keyset, sign, silent};

/// Microseconds of the fastest of many rounds.
fn fastest(rounds: usize, mut work: impl FnMut()) -> f64 {
    let mut round = || {
        let since = Instant::now();
        work();
        since.elapsed().as_secs_f64() * 1e6
    };
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn bytes(bytes: usize) -> String {
    format!("{bytes} B")
}

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--quick") { 20 } else { 2000 };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    keyset::generate(&at("keys"), "Bench").unwrap();
    std::fs::write(at("data.csv"), "a,b\n1,2\n").unwrap();
    let mut request = sign::Request::new(at("data.csv"), at("keys/owner.key"));
    request.log = Some(at("log"));
    let signed = sign::sign(&request, &silent()).unwrap();
    let bundle = Bundle::parse(&std::fs::read(signed.bundle).unwrap()).unwrap();
    let entry = bundle.records[0].receipt.clone().unwrap().entry;
    let log = Log::open(&at("log")).unwrap();
    let (_, checkpoint) = log.anchorable().unwrap();
    let short = bundle.records[0].receipt.clone().unwrap().proof;
    // A path of 20 hashes is what a log of a million entries has. Its hashes are others here, so sizes alone are taken.
    let proof = Proof {
        index: 999_983,
        path: (0..20_u8).map(|level| Hash::sha256(&[level])).collect(),
        checkpoint: checkpoint.replacen("\n1\n", "\n1000000\n", 1),
    };

    println!("| receipt of one release, block of | entry | tlog-proof | header | nodes | binary | in the bundle |");
    println!("|---|---|---|---|---|---|---|");
    for count in [1, 150] {
        let index = count / 2;
        let block = Block::busy(1, keyset::now() as u64, &Commitment::of(&checkpoint), count, index);
        let event = block.event(index, 0);
        let (header, nodes) = (event.header.0.len(), event.nodes.iter().map(|node| node.0.len()).sum::<usize>());
        let proof_text = proof.to_text();
        let parts = 3 + event.nodes.len();
        let binary = entry.0.len() + proof_text.len() + header + nodes + 4 * parts + 20;
        let receipt = Receipt { entry: entry.clone(), proof: proof_text.clone() };
        let anchor = Anchor { checkpoint: checkpoint.clone(), evidence: Evidence::Evm(event) };
        let json =
            serde_json::to_vec_pretty(&receipt).unwrap().len() + serde_json::to_vec_pretty(&anchor).unwrap().len();
        let sizes = [entry.0.len(), proof_text.len(), header, nodes, binary, json].map(bytes).join(" | ");
        println!("| {count} | {sizes} |");
        assert!(binary <= 4096 && json <= 6144, "{binary} and {json} bytes are above 4 and 6 KiB");
    }

    let block = Block::busy(1, keyset::now() as u64, &Commitment::of(&checkpoint), 150, 77);
    let anchor = Anchor { checkpoint: checkpoint.clone(), evidence: Evidence::Evm(block.event(77, 0)) };
    let plain = Block::plain(1, keyset::now() as u64, &Commitment::of(&checkpoint));
    let calldata = Anchor { checkpoint: checkpoint.clone(), evidence: Evidence::Calldata(plain.transaction(0)) };
    let policy = Policy::parse(&format!(
        "schema = \"countermark.dev/policy/v1\"\n[[chain]]\nname = \"mainnet\"\nchain_id = 1\ncontract = \"{CONTRACT}\"\n\
         recorders = [\"{}\"]\nblocks = [\"{}\", \"{}\"]\n",
        address(0),
        block.hash(),
        plain.hash()
    ))
    .unwrap();
    let trust = Trust { policy: &policy, blocks: None };
    let check = |anchor: &Anchor| assert!(matches!(anchor::check(anchor, &trust), Ok(Standing::Bound(_))));
    let json = serde_json::to_vec(&anchor).unwrap();
    println!("\n| one thread, block of 150 transactions | time |\n|---|---|");
    let row = |what: &str, time: f64| println!("| {what} | {time:.1} µs |");
    row("check an anchor (ERC-7053), offline", fastest(rounds, || check(black_box(&anchor))));
    row("the same, read from JSON", fastest(rounds, || check(&serde_json::from_slice(black_box(&json)).unwrap())));
    let whole = || {
        Entry::verify(black_box(&entry.0)).unwrap();
        Proof::parse(&short).unwrap().verify(&entry.0, log.verifier()).unwrap();
        check(&serde_json::from_slice(&json).unwrap());
    };
    row("a whole receipt: signature of the entry, place in the log, anchor", fastest(rounds, whole));
    row("check an anchor (calldata), sender recovered", fastest(rounds, || check(black_box(&calldata))));
    row("build the trie and the proof", fastest(rounds, || drop(trie::prove(black_box(&block.receipts), 77))));
}
