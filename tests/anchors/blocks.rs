//! A release whose log's checkpoint stands in a block of a chain: green by its policy, and by nothing less.

#[allow(dead_code)]
#[path = "../../lineage/tests/evm/block.rs"]
mod block;

use std::fs;

use block::{Block, CONTRACT, address};
use countermark::io::log::Log;
use countermark::lineage::anchor::{Anchor, Commitment, Evidence};
use countermark::lineage::bundle::Bundle;
use countermark::lineage::credential::policy::{AnchorRule, Chain, Policy};
use countermark::lineage::verdict::{State, Verdict};
use countermark::lineage::verify::{self, Belief};
use countermark::{keyset, sign, silent};
use rayon::prelude::*;

const CHAIN: u64 = 11_155_111;
/// Where our transaction is among the 150 of its block.
const INDEX: u64 = 77;

/// A signed and logged file, and a block that holds its checkpoint.
struct Release {
    bundle: Bundle,
    policy: Policy,
    checkpoint: String,
    block: Block,
    now: i64,
}

impl Release {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        keyset::generate(&at("keys"), "Owner").unwrap();
        fs::write(at("data.csv"), "a,b\n1,2\n").unwrap();
        let mut request = sign::Request::new(at("data.csv"), at("keys/owner.key"));
        request.log = Some(at("log"));
        let signed = sign::sign(&request, &silent()).unwrap();
        let mut policy = Policy::parse(&fs::read_to_string(at("keys/policy.toml")).unwrap()).unwrap();
        let log = Log::open(&at("log")).unwrap();
        let vkey = log.verifier().to_string();
        if policy.logs.iter().all(|known| known.vkey != vkey) {
            policy.logs.push(countermark::lineage::credential::policy::Log { vkey });
        }
        let (_, checkpoint) = log.anchorable().unwrap();
        let now = keyset::now();
        let block = Block::busy(CHAIN, now as u64 + 60, &Commitment::of(&checkpoint), 150, INDEX);
        policy.require.anchor = AnchorRule::Any(true);
        policy.chains = vec![Chain {
            name: "sepolia".to_owned(),
            chain_id: CHAIN,
            contract: Some(CONTRACT),
            eas: None,
            recorders: vec![address(0)],
            blocks: vec![block.hash()],
            endpoints: vec![],
            agree: None,
        }];
        let mut bundle = Bundle::parse(&fs::read(signed.bundle).unwrap()).unwrap();
        let evidence = Evidence::Evm(block.event(INDEX, 0));
        bundle.anchors = vec![Anchor { checkpoint: checkpoint.clone(), evidence }];
        Release { bundle, policy, checkpoint, block, now: now + 120 }
    }

    fn judge_bytes(&self, bytes: &[u8]) -> Verdict {
        let policy = Some(&self.policy);
        verify::bundle(bytes, &Belief { policy, revocations: &[], hand_overs: &[], blocks: None, now: self.now })
    }

    fn judge(&self, change: impl FnOnce(&mut Bundle)) -> Verdict {
        let mut bundle = self.bundle.clone();
        change(&mut bundle);
        self.judge_bytes(bundle.to_json().as_bytes())
    }
}

#[track_caller]
fn expect(verdict: &Verdict, state: State, reason: &str) {
    assert_eq!(verdict.state, state, "{verdict:#?}");
    let found = verdict.checks.iter().any(|check| check.state == state && check.detail.contains(reason));
    assert!(found, "{reason}: {verdict:#?}");
}

#[test]
fn green_by_the_block_that_the_policy_pins() {
    let release = Release::make();
    expect(&release.judge(|_| {}), State::Verified, "of sepolia, hash");
    expect(&release.judge(|bundle| bundle.anchors.clear()), State::Unknown, "the bundle holds none");
}

#[test]
fn not_green_by_anything_less() {
    let release = Release::make();
    let (of, time) = (Commitment::of(&release.checkpoint), release.now as u64);
    // A perfect proof in a block that anybody can make.
    let private = Block::busy(CHAIN, time, &of, 1, 0);
    let verdict = release.judge(|bundle| bundle.anchors[0].evidence = Evidence::Evm(private.event(0, 0)));
    expect(&verdict, State::Unknown, "nobody vouches for it");
    // The event of another checkpoint, and the other way round: the event of ours as that of another.
    let other = release.block.event(INDEX + 1, 0);
    let verdict = release.judge(|bundle| bundle.anchors[0].evidence = Evidence::Evm(other));
    expect(&verdict, State::Invalid, "another asset");
    let verdict = release.judge(|bundle| bundle.anchors[0].checkpoint = "x\n1\n\n— x AAAA\n".to_owned());
    expect(&verdict, State::Invalid, "to which no proof here leads");
    let verdict = release.judge(|bundle| bundle.anchors[0].checkpoint.push_str("— witness.example/w1 AAAAAAAA\n"));
    expect(&verdict, State::Invalid, "to which no proof here leads");
    // A block from before the release.
    let mut early = Release::make();
    let of = Commitment::of(&early.checkpoint);
    let block = Block::busy(CHAIN, early.now as u64 - 86_400, &of, 1, 0);
    early.policy.chains[0].blocks = vec![block.hash()];
    let verdict = early.judge(|bundle| bundle.anchors[0].evidence = Evidence::Evm(block.event(0, 0)));
    expect(&verdict, State::Invalid, "said to be made");
}

/// A good anchor is enough, and one that is wrong beside it is not passed over.
#[test]
fn a_wrong_anchor_beside_a_good_one() {
    let release = Release::make();
    let private = Block::busy(CHAIN, release.now as u64, &Commitment::of(&release.checkpoint), 1, 0);
    let beside = |evidence: Evidence| {
        let anchor = Anchor { checkpoint: release.checkpoint.clone(), evidence };
        release.judge(|bundle| bundle.anchors.push(anchor))
    };
    expect(&beside(Evidence::Evm(private.event(0, 0))), State::Verified, "not counted: evm: block 1234567 of sepolia");
    let mut broken = release.block.event(INDEX, 0);
    broken.nodes.pop();
    expect(&beside(Evidence::Evm(broken)), State::Invalid, "node 2: is missing");
    expect(&beside(Evidence::Eas(release.block.event(INDEX, 0))), State::Invalid, "no EAS time-stamp");
}

/// Every byte of the receipt: entry, proof with its checkpoint, and anchor, as they stand in the bundle.
#[test]
fn any_byte_of_the_whole_receipt_tampered() {
    let release = Release::make();
    // Without spaces, which could be others.
    let whole = serde_json::to_string(&release.bundle).unwrap();
    assert_eq!(release.judge_bytes(whole.as_bytes()).state, State::Verified);
    let receipt = serde_json::to_string(release.bundle.records[0].receipt.as_ref().unwrap()).unwrap();
    let anchors = serde_json::to_string(&release.bundle.anchors).unwrap();
    let places: Vec<usize> = [receipt, anchors]
        .iter()
        .flat_map(|part| {
            let at = whole.find(part).unwrap();
            at..at + part.len()
        })
        .collect();
    assert!(places.len() > 4000, "{} bytes", places.len());
    let green: Vec<_> = places
        .par_iter()
        .flat_map_iter(|at| [1 << (at % 8), 0x20].map(|flip: u8| (*at, flip)))
        .filter(|(at, flip)| {
            let mut bytes = whole.clone().into_bytes();
            bytes[*at] ^= flip;
            release.judge_bytes(&bytes).state <= State::Unanchored
        })
        .collect();
    let around = |at: usize| String::from_utf8_lossy(&whole.as_bytes()[at.saturating_sub(20)..at + 20]).into_owned();
    let shown: Vec<_> = green.iter().take(5).map(|(at, flip)| (at, flip, around(*at))).collect();
    assert!(green.is_empty(), "{} bytes may be changed: {shown:?}", green.len());
}
