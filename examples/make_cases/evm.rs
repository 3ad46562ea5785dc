//! Anchors in blocks of a chain. The blocks are our own: anybody can make them, and the policy pins the one that
//! counts.

#[allow(dead_code)]
#[path = "../../lineage/tests/evm/block.rs"]
mod block;

use std::fs;

use block::{Block, CONTRACT, address, transaction};
use countermark::io::log::Log;
use countermark::lineage::anchor::evm::hex::Fixed;
use countermark::lineage::anchor::evm::receipt::{Log as Event, Receipt};
use countermark::lineage::anchor::evm::{EventProof, calldata, eas, erc7053};
use countermark::lineage::anchor::{Anchor, Commitment, Evidence};
use countermark::lineage::bundle::Bundle;
use countermark::{keyset, sign, silent};

use crate::{Case, Result, World};

const ARTIFACT: &str = "chain.csv";
const CHAIN: u64 = 11_155_111;
const EAS: Fixed<20> = Fixed([0xea; 20]);

struct Makers<'a> {
    world: &'a World,
    bundle: Bundle,
    checkpoint: String,
    cases: Vec<Case>,
}

impl Makers<'_> {
    fn of(&self) -> Commitment<'_> {
        Commitment::of(&self.checkpoint)
    }

    fn time() -> u64 {
        keyset::now() as u64 + 60
    }

    fn block(&self, number: u64) -> Block {
        Block { chain_id: CHAIN, number, timestamp: Self::time(), transactions: vec![], receipts: vec![] }
    }

    /// A block with one transaction, by account 0, that emitted these events.
    fn emitting(&self, events: Vec<Event>) -> Block {
        let mut block = self.block(7);
        block.push(transaction(CHAIN, 0, Some(CONTRACT), erc7053::calldata(&self.of())), true, events);
        block
    }

    /// The release with this evidence, judged by a policy that pins this block and counts the contracts and account 0.
    fn case(
        &mut self,
        name: &str,
        story: &str,
        evidence: Option<Evidence>,
        pinned: &Block,
        state: &str,
        reason: &str,
    ) -> Result<()> {
        let mut bundle = self.bundle.clone();
        bundle.anchors =
            evidence.into_iter().map(|evidence| Anchor { checkpoint: self.checkpoint.clone(), evidence }).collect();
        let vkey = Log::open(&self.world.at("chain-log"))?.verifier().to_string();
        let keys = fs::read_to_string(self.world.at("keys/policy.toml"))?;
        let signers: Vec<&str> = keys.split("[require]").take(1).collect();
        let log = if keys.contains(&vkey) { String::new() } else { format!("\n[[log]]\nvkey = \"{vkey}\"\n") };
        let policy = format!(
            "{}{log}\n[[chain]]\nname = \"sepolia\"\nchain_id = {CHAIN}\ncontract = \"{CONTRACT}\"\neas = \"{EAS}\"\n\
             recorders = [\"{}\"]\nblocks = [\"{}\"]\n\n[require]\nlog = true\nanchor = [\"evm\", \"eas\", \"calldata\"]\n",
            signers.concat(),
            address(0),
            pinned.hash()
        );
        let at = |kind: &str| format!("chain-{name}.{kind}");
        fs::write(self.world.out.join(at("bundle.json")), bundle.to_json())?;
        fs::write(self.world.out.join(at("toml")), policy)?;
        let (bundle, policy) = (at("bundle.json"), at("toml"));
        let options = [("bundle", &*bundle), ("policy", &*policy)];
        self.cases.push(Case::new(&format!("chain-{name}"), story, "verify", ARTIFACT, &options, state, reason));
        Ok(())
    }

    /// As [`Self::case`], for an event in a block that is pinned.
    fn event(&mut self, name: &str, story: &str, event: Event, state: &str, reason: &str) -> Result<()> {
        let block = self.emitting(vec![event]);
        self.case(name, story, Some(Evidence::Evm(block.event(0, 0))), &block, state, reason)
    }
}

/// The cases, with everything that they name written.
pub fn cases(world: &World) -> Result<Vec<Case>> {
    fs::write(world.at(ARTIFACT), "block,hash\n7,0x\n")?;
    fs::copy(world.at(ARTIFACT), world.out.join(ARTIFACT))?;
    let mut request = sign::Request::new(world.at(ARTIFACT), world.at("keys/owner.key"));
    request.log = Some(world.at("chain-log"));
    let signed = sign::sign(&request, &silent())?;
    let bundle = Bundle::parse(&fs::read(signed.bundle)?)?;
    let (_, checkpoint) = Log::open(&world.at("chain-log"))?.anchorable()?;
    let mut makers = Makers { world, bundle, checkpoint, cases: vec![] };
    events(&mut makers)?;
    proofs(&mut makers)?;
    other_kinds(&mut makers)?;
    Ok(makers.cases)
}

fn events(makers: &mut Makers<'_>) -> Result<()> {
    let good = erc7053::log(CONTRACT, address(0), &makers.of());
    makers.event("commit", "nothing is wrong", good.clone(), "verified", "whose hash the policy pins")?;
    let event = erc7053::log(Fixed([0xbd; 20]), address(0), &makers.of());
    makers.event("other-contract", "the event of another contract", event, "unknown", "counts the commits of")?;
    let event = erc7053::log(CONTRACT, address(1), &makers.of());
    makers.event("other-recorder", "committed by somebody else", event, "unknown", "among the recorders")?;
    let event = erc7053::log(CONTRACT, address(0), &Commitment::of("another\n"));
    makers.event("other-checkpoint", "the event of another checkpoint", event.clone(), "invalid", "another asset")?;
    let swapped = Event { data: event.data, ..good.clone() };
    makers.event("other-data", "the right asset, and other data", swapped, "invalid", "another checkpoint")?;
    let long = Event { data: [&good.data[..], &[0; 32]].concat(), ..good.clone() };
    makers.event("trailing-data", "a word behind the data", long, "invalid", "goes on behind")?;
    let mut topics = good.topics.clone();
    topics[1].0[0] = 1;
    let event = Event { topics, ..good };
    makers.event("dirty-recorder", "bytes in front of the address", event, "invalid", "no address")
}

fn proofs(makers: &mut Makers<'_>) -> Result<()> {
    let block = Block::busy(CHAIN, Makers::time(), &makers.of(), 20, 9);
    let good = block.event(9, 0);
    let mut changed = |name: &str, story: &str, change: &dyn Fn(&mut EventProof), state: &str, reason: &str| {
        let mut proof = good.clone();
        change(&mut proof);
        makers.case(name, story, Some(Evidence::Evm(proof)), &block, state, reason)
    };
    changed("among-others", "nothing is wrong", &|_| (), "verified", "block 1234567 of sepolia")?;
    changed("header-bit", "one bit of the header", &|proof| proof.header.0[480] ^= 1, "unknown", "nobody vouches")?;
    changed("other-index", "the place of the transaction before", &|proof| proof.index = 8, "invalid", "node")?;
    changed("other-event", "an event that the receipt does not have", &|proof| proof.log = 1, "invalid", "none at 1")?;
    let bit = |proof: &mut EventProof| proof.nodes.last_mut().into_iter().for_each(|node| node.0[300] ^= 1);
    changed("node-bit", "one bit of the receipt", &bit, "invalid", "its hash names")?;
    changed("node-missing", "the last node is left out", &|proof| drop(proof.nodes.pop()), "invalid", "is missing")?;
    let twice = |proof: &mut EventProof| proof.nodes.extend_from_within(proof.nodes.len() - 1..);
    changed("node-extra", "the last node stands there twice", &twice, "invalid", "is not needed")?;
    changed(
        "other-receipt",
        "the receipt of the next transaction",
        &|proof| *proof = block.event(10, 0),
        "invalid",
        "another asset",
    )?;
    changed("other-chain", "the number of another chain", &|proof| proof.chain_id = 1, "unknown", "names no chain 1")?;

    let private = Block::busy(CHAIN, Makers::time(), &makers.of(), 1, 0);
    let evidence = Some(Evidence::Evm(private.event(0, 0)));
    makers.case("private", "a perfect proof in a block of nobody's", evidence, &block, "unknown", "nobody vouches")?;
    makers.case("stripped", "the anchor is taken out", None, &block, "unknown", "the bundle holds none")?;
    let mut failed = makers.emitting(vec![erc7053::log(CONTRACT, address(0), &makers.of())]);
    failed.receipts[0] = Receipt { status: false, ..Receipt::parse(&failed.receipts[0])? }.to_bytes();
    let evidence = Some(Evidence::Evm(failed.event(0, 0)));
    makers.case("failed", "the transaction was not carried out", evidence, &failed, "invalid", "not carried out")?;
    let early = Block::busy(CHAIN, Makers::time() - 86_400, &makers.of(), 1, 0);
    let evidence = Some(Evidence::Evm(early.event(0, 0)));
    makers.case("early", "the block is older than the release", evidence, &early, "invalid", "said to be made")
}

fn other_kinds(makers: &mut Makers<'_>) -> Result<()> {
    let time = Makers::time();
    let mut stamped = makers.emitting(vec![]);
    (stamped.timestamp, stamped.receipts) = (time, vec![]);
    stamped.receipts.push(Receipt::new(2, true, 45_869, vec![eas::log(EAS, time, &makers.of())]).to_bytes());
    let evidence = Some(Evidence::Eas(stamped.event(0, 0)));
    makers.case("eas", "nothing is wrong", evidence, &stamped, "verified", "whose hash the policy pins")?;
    let evidence = Some(Evidence::Evm(stamped.event(0, 0)));
    makers.case(
        "eas-as-commit",
        "a time-stamp passed as a commit",
        evidence,
        &stamped,
        "invalid",
        "no ERC-7053 commit",
    )?;
    let plain = Block::plain(CHAIN, time, &makers.of());
    let evidence = Some(Evidence::Calldata(plain.transaction(0)));
    makers.case("calldata", "nothing is wrong", evidence, &plain, "verified", "whose hash the policy pins")?;
    let carrying = |makers: &Makers<'_>, chain_id: u64, from: u8, data: Vec<u8>| {
        let mut block = makers.block(8);
        block.push(transaction(chain_id, from, Some(address(0)), data), true, vec![]);
        block
    };
    let digest = calldata::calldata(&makers.of());
    let block = carrying(makers, 1, 0, digest.clone());
    let evidence = Some(Evidence::Calldata(block.transaction(0)));
    makers.case(
        "calldata-other-chain",
        "signed for another chain",
        evidence,
        &block,
        "invalid",
        "signed for chain 1",
    )?;
    let block = carrying(makers, CHAIN, 1, digest);
    let evidence = Some(Evidence::Calldata(block.transaction(0)));
    makers.case(
        "calldata-other-sender",
        "signed by somebody else",
        evidence,
        &block,
        "unknown",
        "among the recorders",
    )?;
    let block = carrying(makers, CHAIN, 0, vec![7; 32]);
    let evidence = Some(Evidence::Calldata(block.transaction(0)));
    makers.case("calldata-other-data", "carries another digest", evidence, &block, "invalid", "something else")
}
