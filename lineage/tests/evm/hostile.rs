//! Evidence that is wrong, of something else, or of somebody else: none of it binds.

use countermark_lineage::anchor::evm::hex::Fixed;
use countermark_lineage::anchor::evm::receipt::{Log, Receipt};
use countermark_lineage::anchor::evm::{
    BlockStanding, EventProof, TransactionProof, abi, calldata, eas, erc7053, rlp, trie,
};
use countermark_lineage::anchor::{Commitment, Evidence, Standing};
use countermark_lineage::bundle::Bytes;

use super::block::{Block, CONTRACT, address, transaction};
use super::{CHECKPOINT, Say, check, policy};

const CHAIN: u64 = 1;
const TIME: u64 = 1_700_000_000;
const INDEX: u64 = 77;
const EAS: Fixed<20> = Fixed([0xea; 20]);

fn of() -> Commitment<'static> {
    Commitment::of(CHECKPOINT)
}

/// A block of 150 commits, ours at [`INDEX`].
fn busy() -> Block {
    Block::busy(CHAIN, TIME, &of(), 150, INDEX)
}

/// A policy that pins these blocks, and counts our contract and account 0.
fn pins(blocks: &[&Block]) -> String {
    let hashes: Vec<String> = blocks.iter().map(|block| format!("\"{}\"", block.hash())).collect();
    format!(
        "[[chain]]\nname = \"mainnet\"\nchain_id = {CHAIN}\ncontract = \"{CONTRACT}\"\neas = \"{EAS}\"\n\
         recorders = [\"{}\"]\nblocks = [{}]\n",
        address(0),
        hashes.join(",")
    )
}

/// A block with one transaction that emitted these events.
fn emitting(logs: Vec<Log>) -> Block {
    let mut block = Block { chain_id: CHAIN, number: 9, timestamp: TIME, transactions: vec![], receipts: vec![] };
    block.push(transaction(CHAIN, 0, Some(CONTRACT), vec![]), true, logs);
    block
}

fn judged(block: &Block, evidence: Evidence) -> Result<Standing, String> {
    check(evidence, &policy(&pins(&[block])), None)
}

#[track_caller]
fn is_bound(standing: Result<Standing, String>) {
    assert!(matches!(standing, Ok(Standing::Bound(_))), "{standing:?}");
}

#[track_caller]
fn is_refused(standing: Result<Standing, String>, reason: &str) {
    assert!(standing.as_ref().is_err_and(|problem| problem.contains(reason)), "wants {reason:?}: {standing:?}");
}

#[track_caller]
fn is_unjudged(standing: Result<Standing, String>, reason: &str) {
    let is = matches!(&standing, Ok(Standing::Unjudged(why)) if why.contains(reason));
    assert!(is, "wants {reason:?}: {standing:?}");
}

#[test]
fn a_good_anchor_says_where_and_by_whose_word() {
    let block = busy();
    let Ok(Standing::Bound(bound)) = judged(&block, Evidence::Evm(block.event(INDEX, 0))) else { panic!("not bound") };
    assert_eq!((bound.time, bound.is_final), (TIME as i64, true));
    let expected = format!("block 1234567 of mainnet, hash {}, whose hash the policy pins", block.hash());
    assert!(bound.source.starts_with(&expected), "{}", bound.source);
    is_bound(judged(&emitting(vec![eas::log(EAS, TIME, &of())]), {
        Evidence::Eas(emitting(vec![eas::log(EAS, TIME, &of())]).event(0, 0))
    }));
    let plain = Block::plain(CHAIN, TIME, &of());
    is_bound(judged(&plain, Evidence::Calldata(plain.transaction(0))));
}

#[test]
fn the_word_of_nodes() {
    let block = busy();
    let evidence = || Evidence::Evm(block.event(INDEX, 0));
    let unpinned = policy(&pins(&[]));
    let hash = block.hash().to_string();
    is_unjudged(check(evidence(), &unpinned, None), &format!("add blocks = [\"{hash}\"]"));
    is_unjudged(check(evidence(), &unpinned, Some(&Say(Ok(None)))), "do not vouch");
    is_unjudged(check(evidence(), &unpinned, Some(&Say(Err("all are down")))), "all are down");
    for is_final in [false, true] {
        let say = Say(Ok(Some(BlockStanding { source: "2 of 3 endpoints".to_owned(), is_final })));
        let Ok(Standing::Bound(bound)) = check(evidence(), &unpinned, Some(&say)) else { panic!("not bound") };
        assert_eq!(bound.is_final, is_final);
        assert!(bound.source.contains("for which 2 of 3 endpoints vouch"), "{}", bound.source);
    }
    // A pin is enough without them, and in spite of them.
    is_bound(check(evidence(), &policy(&pins(&[&block])), Some(&Say(Ok(None)))));
}

/// Nodes that vouch for everything do not make up for a contract, an account or a chain that the policy does not name.
#[test]
fn nobody_in_the_policy() {
    let block = busy();
    let evidence = || Evidence::Evm(block.event(INDEX, 0));
    let say = Say(Ok(Some(BlockStanding { source: "all".to_owned(), is_final: true })));
    let judge = |text: &str| check(evidence(), &policy(text), Some(&say));
    is_unjudged(judge(""), "[[chain]] with chain_id = 1");
    let good = pins(&[&block]);
    is_unjudged(judge(&good.replace("chain_id = 1", "chain_id = 2")), "names no chain 1");
    is_unjudged(judge(&good.replace("\ncontract", "\n# contract")), "names no contract");
    is_unjudged(judge(&good.replace(&CONTRACT.to_string(), &address(9).to_string())), "counts the commits of");
    is_unjudged(judge(&good.replace(&address(0).to_string(), &address(1).to_string())), "among the recorders");
    is_unjudged(judge(&good.replace("\nrecorders", "\n# recorders")), "among the recorders");
    is_bound(judge(&good));
}

/// The hash is pinned for one chain, and the proof names another which the policy knows as well.
#[test]
fn a_block_of_another_chain() {
    let block = busy();
    let other = pins(&[&block]).replace("mainnet", "other").replace("chain_id = 1", "chain_id = 2");
    let both = policy(&(pins(&[]) + &other));
    is_unjudged(check(Evidence::Evm(block.event(INDEX, 0)), &both, None), "nobody vouches for it");
    let moved = EventProof { chain_id: 2, ..block.event(INDEX, 0) };
    is_bound(check(Evidence::Evm(moved), &both, None));
}

#[test]
fn an_event_of_another_contract_or_account() {
    let (attacker, recorder) = (Fixed([0xbd; 20]), address(0));
    // The attacker's contract says whatever he wants, the recorder of the policy included.
    let block = emitting(vec![erc7053::log(attacker, recorder, &of())]);
    is_unjudged(judged(&block, Evidence::Evm(block.event(0, 0))), "counts the commits of");
    let block = emitting(vec![erc7053::log(CONTRACT, address(3), &of())]);
    is_unjudged(judged(&block, Evidence::Evm(block.event(0, 0))), "among the recorders");
    let block = emitting(vec![eas::log(attacker, TIME, &of())]);
    is_unjudged(judged(&block, Evidence::Eas(block.event(0, 0))), "counts the time-stamps of");
}

#[test]
fn an_event_of_another_checkpoint() {
    let other = Commitment::of("another\n");
    let log = erc7053::log(CONTRACT, address(0), &of());
    let about = |log: Log| {
        let block = emitting(vec![log]);
        judged(&block, Evidence::Evm(block.event(0, 0)))
    };
    is_bound(about(log.clone()));
    is_refused(about(erc7053::log(CONTRACT, address(0), &other)), "another asset");
    // The asset is right and the data is not, and the other way round.
    is_refused(
        about(Log { data: erc7053::log(CONTRACT, address(0), &other).data, ..log.clone() }),
        "another checkpoint",
    );
    let topics = erc7053::log(CONTRACT, address(0), &other).topics;
    is_refused(about(Log { topics, ..log.clone() }), "another asset");
    let data = |data: Vec<u8>| about(Log { data, ..log.clone() });
    is_refused(data([&log.data[..], &[0; 32]].concat()), "goes on behind");
    is_refused(data(log.data[..log.data.len() - 32].to_vec()), "shorter than it says");
    is_refused(data([&abi::word(64)[..], &[0; 32], &log.data[32..]].concat()), "place of one string");
    let mut padded = log.data.clone();
    *padded.last_mut().unwrap() = 1;
    is_refused(data(padded), "goes on behind");
    is_refused(data(vec![]), "cut short");
    // Cosignatures are not part of what is held.
    let more = format!("{CHECKPOINT}— witness.example/w1 AAAA\n");
    is_refused(data([abi::word(32), abi::string(&more)].concat()), "another checkpoint");
}

#[test]
fn an_event_that_looks_like_a_commit() {
    let log = erc7053::log(CONTRACT, address(0), &of());
    let with = |change: &dyn Fn(&mut Vec<Fixed<32>>)| {
        let mut log = log.clone();
        change(&mut log.topics);
        let block = emitting(vec![log]);
        judged(&block, Evidence::Evm(block.event(0, 0)))
    };
    is_refused(with(&|topics| topics[0].0[0] ^= 1), "no ERC-7053 commit");
    is_refused(with(&|topics| topics.truncate(2)), "three topics");
    is_refused(with(&|topics| topics.push(Fixed([0; 32]))), "three topics");
    is_refused(with(&|topics| topics.clear()), "three topics");
    // Bytes in front of the address.
    is_refused(with(&|topics| topics[1].0[11] = 1), "no address");
    is_refused(with(&|topics| topics.swap(1, 2)), "no address");
}

#[test]
fn one_kind_passed_as_another() {
    let block = emitting(vec![erc7053::log(CONTRACT, address(0), &of()), eas::log(EAS, TIME, &of())]);
    is_bound(judged(&block, Evidence::Evm(block.event(0, 0))));
    is_bound(judged(&block, Evidence::Eas(block.event(0, 1))));
    is_refused(judged(&block, Evidence::Eas(block.event(0, 0))), "no EAS time-stamp");
    is_refused(judged(&block, Evidence::Evm(block.event(0, 1))), "no ERC-7053 commit");
    // A receipt as a transaction, and a transaction as a receipt.
    let EventProof { chain_id, header, index, nodes, .. } = block.event(0, 0);
    let proof = TransactionProof { chain_id, header, index, nodes };
    is_refused(judged(&block, Evidence::Calldata(proof)), "node 0");
    let plain = Block::plain(CHAIN, TIME, &of());
    let TransactionProof { chain_id, header, index, nodes } = plain.transaction(0);
    is_refused(judged(&plain, Evidence::Evm(EventProof { chain_id, header, index, nodes, log: 0 })), "node 0");
}

/// A header whose two roots are swapped by whoever built the block is his chain's business; the types still differ.
#[test]
fn a_transaction_where_a_receipt_should_be() {
    let mut block = Block::plain(CHAIN, TIME, &of());
    block.receipts = block.transactions.clone();
    is_refused(judged(&block, Evidence::Evm(block.event(0, 0))), "receipt");
    let mut block = emitting(vec![erc7053::log(CONTRACT, address(0), &of())]);
    block.transactions = block.receipts.clone();
    is_refused(judged(&block, Evidence::Calldata(block.transaction(0))), "transaction");
}

#[test]
fn a_time_stamp_of_something_else() {
    let stamp = |log: Log| {
        let block = emitting(vec![log]);
        judged(&block, Evidence::Eas(block.event(0, 0)))
    };
    let log = eas::log(EAS, TIME, &of());
    is_bound(stamp(log.clone()));
    is_refused(stamp(eas::log(EAS, TIME, &Commitment::of("another"))), "another digest");
    is_refused(stamp(eas::log(EAS, TIME - 86_400, &of())), "time of its block");
    is_refused(stamp(Log { data: vec![0; 32], ..log.clone() }), "nothing else");
    let mut high = log.clone();
    high.topics[2].0[0] = 1;
    is_refused(stamp(high), "time of its block");
    is_refused(stamp(Log { topics: log.topics[..2].to_vec(), ..log }), "three topics");
}

#[test]
fn a_transaction_that_was_not_carried_out() {
    let mut block = busy();
    let receipt = Receipt::parse(&block.receipts[INDEX as usize]).unwrap();
    block.receipts[INDEX as usize] = Receipt { status: false, ..receipt }.to_bytes();
    is_refused(judged(&block, Evidence::Evm(block.event(INDEX, 0))), "not carried out");
}

#[test]
fn another_place() {
    let block = busy();
    let good = block.event(INDEX, 0);
    for (reason, proof) in [
        ("node", EventProof { index: INDEX + 1, ..good.clone() }),
        ("node", EventProof { index: u64::MAX, ..good.clone() }),
        ("none at 1", EventProof { log: 1, ..good.clone() }),
        ("none at", EventProof { log: u64::MAX, ..good.clone() }),
        // The neighbour's receipt, with its own perfect proof.
        ("another asset", block.event(INDEX + 1, 0)),
        ("node", EventProof { nodes: block.event(INDEX + 1, 0).nodes, ..good.clone() }),
        (
            "node",
            EventProof { nodes: Block::busy(CHAIN, TIME, &of(), 149, INDEX).event(INDEX, 0).nodes, ..good.clone() },
        ),
        ("node", EventProof { header: Bytes(Block::busy(CHAIN, TIME, &of(), 149, INDEX).header()), ..good }),
    ] {
        is_refused(judged(&block, Evidence::Evm(proof)), reason);
    }
}

#[test]
fn nodes_that_miss_or_are_too_many() {
    let block = busy();
    let good = block.event(INDEX, 0);
    assert_eq!(good.nodes.len(), 3);
    for at in 0..3 {
        let mut proof = good.clone();
        let node = proof.nodes.remove(at);
        is_refused(judged(&block, Evidence::Evm(proof)), "node");
        let mut proof = good.clone();
        proof.nodes.insert(at, node);
        is_refused(judged(&block, Evidence::Evm(proof)), "node");
        let mut proof = good.clone();
        proof.nodes.swap(at, (at + 1) % 3);
        is_refused(judged(&block, Evidence::Evm(proof)), "node");
    }
    let mut proof = good.clone();
    proof.nodes.push(Bytes(vec![]));
    is_refused(judged(&block, Evidence::Evm(proof)), "node 3: is not needed");
    let empty = EventProof { nodes: vec![], ..good };
    is_refused(judged(&block, Evidence::Evm(empty)), "node 0: is missing");
}

/// The header is what the hash is of: one bit changed, and it is another block, which nobody pinned.
#[test]
fn a_header_with_one_bit_changed() {
    let block = busy();
    let policy = policy(&pins(&[&block]));
    let good = block.event(INDEX, 0);
    for bit in 0..good.header.0.len() * 8 {
        let mut proof = good.clone();
        proof.header.0[bit / 8] ^= 1 << (bit % 8);
        let standing = check(Evidence::Evm(proof), &policy, None);
        assert!(!matches!(standing, Ok(Standing::Bound(_))), "bit {bit}: {standing:?}");
    }
    for length in 0..good.header.0.len() {
        let mut proof = good.clone();
        proof.header.0.truncate(length);
        is_refused(check(Evidence::Evm(proof), &policy, None), "header");
    }
}

/// Whoever builds a block of his own can prove anything but that it is on the chain.
#[test]
fn a_private_chain_with_a_perfect_proof() {
    let (real, private) = (busy(), Block::busy(CHAIN, TIME - 86_400 * 365, &of(), 1, 0));
    is_unjudged(check(Evidence::Evm(private.event(0, 0)), &policy(&pins(&[&real])), None), "nobody vouches");
}

#[test]
fn a_time_that_is_none() {
    for timestamp in [u64::MAX, i64::MAX as u64, 253_402_300_800] {
        let block = Block::plain(CHAIN, timestamp, &of());
        is_refused(judged(&block, Evidence::Calldata(block.transaction(0))), "no time");
    }
}

#[test]
fn a_transaction_of_something_else_or_somebody_else() {
    let carrying = |raw: Vec<u8>| {
        let mut block = Block { chain_id: CHAIN, number: 9, timestamp: TIME, transactions: vec![], receipts: vec![] };
        block.push(raw, true, vec![]);
        judged(&block, Evidence::Calldata(block.transaction(0)))
    };
    let digest = calldata::calldata(&of());
    is_bound(carrying(transaction(CHAIN, 0, Some(address(5)), digest.clone())));
    is_bound(carrying(transaction(CHAIN, 0, None, digest.clone())));
    is_unjudged(carrying(transaction(CHAIN, 1, Some(address(0)), digest.clone())), "among the recorders");
    is_refused(carrying(transaction(2, 0, Some(address(0)), digest.clone())), "signed for chain 2, not 1");
    is_refused(carrying(transaction(CHAIN, 0, Some(address(0)), vec![])), "something else");
    is_refused(carrying(transaction(CHAIN, 0, Some(address(0)), [&digest[..], &[0]].concat())), "something else");
    is_refused(carrying(transaction(CHAIN, 0, Some(address(0)), digest[..31].to_vec())), "something else");
    // The digest stands in another field.
    is_refused(carrying(transaction(CHAIN, 0, Some(address(0)), erc7053::calldata(&of()))), "something else");
}

/// Of an old transaction without a chain anybody can make one on any chain: it is refused, whoever signed it.
#[test]
fn a_transaction_for_no_chain() {
    use countermark_lineage::anchor::evm::keccak256;
    let fields = vec![
        rlp::number(0),
        rlp::number(1),
        rlp::number(30_000),
        rlp::bytes(&address(0).0),
        rlp::number(0),
        rlp::bytes(&of().digest.0),
    ];
    let (signature, id) = super::block::account(0).sign_prehash_recoverable(&keccak256(&rlp::list(&fields)).0).unwrap();
    let mut signed = fields;
    signed.push(rlp::number(27 + u128::from(id.is_y_odd())));
    signed.extend([rlp::bytes(&signature.r().to_bytes()), rlp::bytes(&signature.s().to_bytes())]);
    let mut block = Block { chain_id: CHAIN, number: 9, timestamp: TIME, transactions: vec![], receipts: vec![] };
    block.push(rlp::list(&signed), true, vec![]);
    is_refused(judged(&block, Evidence::Calldata(block.transaction(0))), "for no chain");
}

/// Deep, long and endless values are answered at once.
#[test]
fn values_that_claim_to_be_huge() {
    let block = busy();
    let good = block.event(INDEX, 0);
    for head in [&[0xbf][..], &[0xff], &[0xbb], &[0xfb]] {
        let huge = [head, &[0xff; 40]].concat();
        let proof = EventProof { header: Bytes(huge.clone()), ..good.clone() };
        is_refused(judged(&block, Evidence::Evm(proof)), "header byte");
        // A root is whatever the header says, so that the node is parsed.
        let mut private = emitting(vec![]);
        private.receipts = vec![huge];
        let proof = private.event(0, 0);
        is_refused(judged(&private, Evidence::Evm(proof)), "receipt");
    }
    let deep = (0..10_000).fold(vec![0xc0], |inner, _| rlp::list(&[inner]));
    let proof = EventProof { header: Bytes(deep[..60_000.min(deep.len())].to_vec()), ..good };
    is_refused(judged(&block, Evidence::Evm(proof)), "header");
}

/// The trie of receipts has the transaction's place as its key: the same receipt elsewhere is another proof.
#[test]
fn the_proof_of_a_place_is_of_that_place_alone() {
    let block = busy();
    let nodes = block.event(INDEX, 0).nodes;
    let root = trie::prove(&block.receipts, 0).unwrap().root;
    let held: Vec<u64> = (0..1000).filter(|index| trie::verify(&root, *index, &nodes).is_ok()).collect();
    assert_eq!(held, [INDEX]);
}
