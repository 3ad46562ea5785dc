//! Every state of an anchor on a chain, and every way from one to another.

use countermark::io::anchor::evm::{Backend, Fees, GWEI};
use countermark::io::anchor::{Job, Jobs, Order, State};
use countermark::io::log::Log;
use countermark::lineage::anchor::evm::hex::Address;
use countermark::lineage::credential::policy::AnchorKind;
use serde_json::{Value, json};

use crate::anvil::{key_file, quantity};
use crate::contract::compile;
use crate::{ACCOUNTS, World, judged};

fn state(job: &Job) -> State {
    job.state
}

#[test]
fn pending_included_final() {
    let Some(world) = World::new() else { return };
    world.anvil.automine(false);
    let job = world.submit(world.erc7053()).unwrap();
    assert_eq!(state(&job), State::Pending, "{}", job.detail);
    assert!(job.evidence.is_none() && job.detail.contains("nonce 0"), "{}", job.detail);
    // Nothing is signed twice, however often it is asked for.
    let again = world.submit(world.erc7053()).unwrap();
    let again = world.advance(&again).unwrap();
    assert_eq!((state(&again), world.signed(&again)), (State::Pending, world.signed(&job)));
    world.anvil.mine(1);
    let job = world.advance(&again).unwrap();
    assert_eq!(state(&job), State::Included, "{}", job.detail);
    assert!(job.detail.contains("may still be reorganised"), "{}", job.detail);
    let bound = judged(&job);
    // Eight blocks are two epochs here.
    world.anvil.mine(7);
    let job = world.advance(&job).unwrap();
    assert_eq!(state(&job), State::Included, "{}", job.detail);
    world.anvil.mine(1);
    let job = world.advance(&job).unwrap();
    assert_eq!(state(&job), State::Final, "{}", job.detail);
    assert_eq!(judged(&job).time, bound.time);
    // What is final is asked of nobody any more.
    drop(world.anvil);
    let jobs = Jobs::of(&world.folder.path().join("log"));
    assert_eq!(jobs.advance(5, job, 0).unwrap().state, State::Final);
    assert!(world.folder.path().join("log/anchors/5").read_dir().unwrap().count() >= 2);
}

#[test]
fn a_size_is_anchored_once_and_the_next_size_again() {
    let Some(world) = World::new() else { return };
    for _ in 0..3 {
        assert_eq!(world.submit(world.erc7053()).unwrap().state, State::Included);
    }
    assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 1);
    Log::open(&world.log()).unwrap().append(&[b"more".to_vec()]).unwrap();
    assert_eq!(world.submit(world.erc7053()).unwrap().state, State::Included);
    assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 2);
}

#[test]
fn what_a_reorganisation_drops_is_sent_again_until_it_is_final() {
    let Some(world) = World::new() else { return };
    let job = world.submit(world.erc7053()).unwrap();
    assert_eq!(state(&job), State::Included, "{}", job.detail);
    world.anvil.automine(false);
    world.anvil.rpc("anvil_reorg", json!([1, []]));
    assert_eq!(world.anvil.receipt(&world.signed(&job)[0]), Value::Null);
    let dropped = world.advance(&job).unwrap();
    assert_eq!(state(&dropped), State::Dropped, "{}", dropped.detail);
    assert!(dropped.detail.contains("is 0x") && dropped.evidence.is_none(), "{}", dropped.detail);
    let evidence = world.log().join("anchors/5").join(format!("{}.json", job.order.name()));
    assert!(!evidence.exists(), "evidence that no longer holds is not offered");
    // The same bytes are on their way again.
    assert_eq!(world.signed(&dropped), world.signed(&job));
    world.anvil.mine(1);
    let job = world.advance(&dropped).unwrap();
    assert_eq!(state(&job), State::Included, "{}", job.detail);
    judged(&job);
    assert!(evidence.exists());
    world.anvil.mine(8);
    assert_eq!(state(&world.advance(&job).unwrap()), State::Final);
    assert_eq!(world.anvil.transactions_of(ACCOUNTS[0]).len(), 1);
}

#[test]
fn a_nonce_that_something_else_used_is_replaced() {
    let Some(world) = World::new() else { return };
    world.anvil.automine(false);
    let job = world.submit(world.erc7053()).unwrap();
    assert_eq!(state(&job), State::Pending);
    world.anvil.rpc("anvil_dropTransaction", json!([world.signed(&job)[0]]));
    let other = json!([{ "from": ACCOUNTS[0], "to": ACCOUNTS[2], "value": "0x1", "nonce": "0x0" }]);
    world.anvil.rpc("eth_sendTransaction", other);
    world.anvil.mine(1);
    assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 1);
    let job = world.advance(&job).unwrap();
    assert_eq!(state(&job), State::Pending, "{}", job.detail);
    assert!(job.detail.contains("nonce 1"), "{}", job.detail);
    assert_eq!(world.signed(&job).len(), 2);
    world.anvil.mine(1);
    let job = world.advance(&job).unwrap();
    assert_eq!(state(&job), State::Included, "{}", job.detail);
    judged(&job);
}

#[test]
fn what_is_stuck_gets_higher_fees_up_to_the_cap() {
    let Some(world) = World::new() else { return };
    world.anvil.automine(false);
    let capped = Fees { max_fee: Some(20 * GWEI), ..Fees::default() };
    let job = world.submit(crate::Plan { fees: capped, ..world.erc7053() }).unwrap();
    assert_eq!(state(&job), State::Pending);
    // The base fee rises above what was offered, so that no block takes the transaction.
    world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", json!([format!("{:#x}", 30 * GWEI)]));
    world.anvil.mine(1);
    let waiting = world.advance(&job).unwrap();
    assert_eq!((state(&waiting), world.signed(&waiting).len()), (State::Pending, 1), "{}", waiting.detail);
    assert!(waiting.detail.contains("--max-fee 20"), "{}", waiting.detail);
    // Submitted again without a cap: the same nonce, fees that nodes accept as a replacement.
    let raised = world.submit(world.erc7053()).unwrap();
    assert_eq!((state(&raised), world.signed(&raised).len()), (State::Pending, 2), "{}", raised.detail);
    assert!(raised.detail.contains("nonce 0") && raised.detail.contains("raised 1"), "{}", raised.detail);
    world.anvil.mine(1);
    let job = world.advance(&raised).unwrap();
    assert_eq!(state(&job), State::Included, "{}", job.detail);
    assert_eq!(world.anvil.transactions_of(ACCOUNTS[0]).len(), 1);

    // Time does it as well: after five minutes without a block.
    Log::open(&world.log()).unwrap().append(&[b"more".to_vec()]).unwrap();
    let job = world.submit(world.erc7053()).unwrap();
    world.clock.set(world.clock.get() + 299);
    let raised = world.advance(&job).unwrap();
    assert_eq!((state(&raised), world.signed(&raised).len()), (State::Pending, 2), "{}", raised.detail);
}

#[test]
fn a_transaction_that_is_not_carried_out_is_a_failure_and_can_be_submitted_again() {
    let Some(world) = World::new() else { return };
    world.anvil.automine(false);
    let job = world.submit(world.erc7053()).unwrap();
    let contract = world.contract.to_string();
    let code = world.anvil.rpc("eth_getCode", json!([contract, "latest"]));
    // A contract that refuses everything, in the place of ours, between sending and inclusion.
    world.anvil.rpc("anvil_setCode", json!([contract, "0x5f5ffd"]));
    world.anvil.mine(1);
    let failed = world.advance(&job).unwrap();
    assert_eq!(state(&failed), State::Failed, "{}", failed.detail);
    assert!(failed.detail.contains("status 0") && failed.evidence.is_none(), "{}", failed.detail);
    assert_eq!(world.advance(&failed).unwrap().state, State::Failed);
    world.anvil.rpc("anvil_setCode", json!([contract, code]));
    world.anvil.automine(true);
    assert_eq!(state(&world.submit(world.erc7053()).unwrap()), State::Included);
}

#[test]
fn an_address_without_the_contract_is_refused_before_anything_is_signed() {
    let Some(world) = World::new() else { return };
    let nowhere = Backend::Erc7053 { contract: Address::parse(ACCOUNTS[2]).unwrap() };
    let error = world.submit(world.plan(nowhere)).unwrap_err().to_string();
    assert!(error.contains("no contract") && error.contains("anchor deploy"), "{error}");
    assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 0);
    // Another contract than ours takes the call and emits nothing: its transaction is no anchor.
    world.anvil.rpc("anvil_setCode", json!([ACCOUNTS[2], "0x00"]));
    let job = world.submit(world.plan(nowhere)).unwrap();
    assert_eq!(state(&job), State::Failed, "{}", job.detail);
    assert!(job.detail.contains("no event"), "{}", job.detail);
}

#[test]
fn another_chain_or_another_key_signs_nothing() {
    let Some(world) = World::new() else { return };
    let error = world.submit(crate::Plan { chain_id: Some(1), ..world.erc7053() }).unwrap_err().to_string();
    assert!(error.contains("chain 31337, not for 1"), "{error}");
    world.anvil.automine(false);
    let job = world.submit(world.erc7053()).unwrap();
    world.anvil.rpc("anvil_setNextBlockBaseFeePerGas", json!([format!("{:#x}", 30 * GWEI)]));
    world.anvil.mine(1);
    std::fs::copy(world.folder.path().join("chain1.key"), world.folder.path().join("chain0.key")).unwrap();
    let error = world.advance(&job).unwrap_err().to_string();
    assert!(error.contains("is the key of"), "{error}");
}

#[test]
fn an_account_without_money_is_told_so_and_goes_on_when_it_has_some() {
    let Some(world) = World::new() else { return };
    world.anvil.rpc("anvil_setBalance", json!([ACCOUNTS[0], "0x0"]));
    let error = world.submit(world.erc7053()).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("fund") && error.contains(ACCOUNTS[0]), "{error}");
    let jobs = Jobs::of(&world.log()).all().unwrap();
    let [(_, _, job)] = &jobs[..] else { panic!() };
    assert_eq!(state(job), State::Pending);
    world.anvil.rpc("anvil_setBalance", json!([ACCOUNTS[0], "0xde0b6b3a7640000"]));
    let job = world.advance(job).unwrap();
    assert_eq!((state(&job), world.signed(&job).len()), (State::Included, 1), "{}", job.detail);
}

#[test]
fn jobs_of_one_account_do_not_share_nonces() {
    let Some(world) = World::new() else { return };
    world.anvil.automine(false);
    let log = Log::open(&world.log()).unwrap();
    let first = world.submit(world.erc7053()).unwrap();
    // The node forgets it, so that only the log's folder knows of the nonce.
    world.anvil.rpc("anvil_dropTransaction", json!([world.signed(&first)[0]]));
    log.append(&[b"more".to_vec()]).unwrap();
    let second = world.submit(world.erc7053()).unwrap();
    let third = world.submit(world.plan(Backend::Calldata)).unwrap();
    for (job, nonce) in [(&first, 0), (&second, 1), (&third, 2)] {
        assert!(job.detail.contains(&format!("nonce {nonce},")), "{}", job.detail);
    }
    // The second had it sent again, so that it waits for nothing.
    world.anvil.mine(1);
    for job in [first, second, third] {
        assert_eq!(state(&world.advance(&job).unwrap()), State::Included);
    }

    // At the same moment, from several threads.
    world.anvil.automine(true);
    log.append(&[b"still more".to_vec()]).unwrap();
    let (_, checkpoint) = log.anchorable().unwrap();
    let plans = [world.erc7053(), world.plan(Backend::Calldata), world.erc7053(), world.plan(Backend::Calldata)];
    let folder = world.log();
    std::thread::scope(|scope| {
        for plan in plans {
            let (folder, checkpoint) = (&folder, &checkpoint);
            scope.spawn(move || {
                let order = Order::Evm(countermark::io::anchor::evm::Work::plan(plan).unwrap());
                assert_eq!(Jobs::of(folder).submit(7, checkpoint, order, 0).unwrap().state, State::Included);
            });
        }
    });
    assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 5);
}

#[test]
fn data_of_a_transaction_is_proved_among_others() {
    let Some(world) = World::new() else { return };
    world.anvil.automine(false);
    for nonce in 0..20 {
        let other = json!([{ "from": ACCOUNTS[2], "to": ACCOUNTS[1], "value": "0x1", "nonce": format!("{nonce:#x}") }]);
        world.anvil.rpc("eth_sendTransaction", other);
    }
    let job = world.submit(world.plan(Backend::Calldata)).unwrap();
    world.anvil.mine(1);
    let job = world.advance(&job).unwrap();
    assert_eq!((state(&job), job.order.kind()), (State::Included, AnchorKind::Calldata), "{}", job.detail);
    judged(&job);
    let receipt = world.anvil.receipt(&world.signed(&job)[0]);
    assert_eq!(quantity(&world.anvil.rpc("eth_getBlockTransactionCountByNumber", json!(["latest"]))), 21);
    assert!(quantity(&receipt["gasUsed"]) <= 22_280, "{receipt}");
}

/// A stand-in for EAS on the private chain.
fn timestamps(world: &World) -> Option<Address> {
    let made = compile("test/Timestamps.sol")?;
    let deployed = world
        .anvil
        .rpc("eth_sendTransaction", json!([{ "from": ACCOUNTS[1], "data": made["bytecode"], "gas": "0x100000" }]));
    world.anvil.mine(1);
    let receipt = world.anvil.receipt(deployed.as_str().unwrap());
    Address::parse(receipt["contractAddress"].as_str().unwrap())
}

#[test]
fn a_digest_that_somebody_stamped_before_has_its_earlier_time() {
    let Some(world) = World::new() else { return };
    let Some(contract) = timestamps(&world) else { return };
    key_file(world.folder.path(), 2);
    let stranger =
        || crate::Plan { key: world.folder.path().join("chain2.key"), ..world.plan(Backend::Eas { contract }) };
    let first = world.submit(stranger()).unwrap();
    assert_eq!((state(&first), first.order.kind()), (State::Included, AnchorKind::Eas), "{}", first.detail);
    world.anvil.rpc("anvil_setBlockTimestampInterval", json!([12]));
    world.anvil.mine(30);
    let second = world.submit(world.plan(Backend::Eas { contract })).unwrap();
    assert_eq!(state(&second), State::Final, "{}", second.detail);
    assert_eq!(judged(&second).time, judged(&first).time);
    assert!(world.signed(&second).is_empty());
    assert_eq!(world.anvil.nonce(ACCOUNTS[0]), 0);
}

#[test]
fn a_race_for_a_time_stamp_has_no_loser() {
    let Some(world) = World::new() else { return };
    let Some(contract) = timestamps(&world) else { return };
    key_file(world.folder.path(), 2);
    world.anvil.automine(false);
    let ours = world.submit(world.plan(Backend::Eas { contract })).unwrap();
    let rich = Fees { tip: 50 * GWEI, max_fee: None };
    let stranger = crate::Plan {
        key: world.folder.path().join("chain2.key"),
        fees: rich,
        ..world.plan(Backend::Eas { contract })
    };
    let theirs = world.submit(stranger).unwrap();
    world.anvil.mine(1);
    let receipt = world.anvil.receipt(&world.signed(&ours)[0]);
    assert_eq!(receipt["status"], "0x0", "the stranger pays more and comes first");
    let ours = world.advance(&ours).unwrap();
    assert_eq!(state(&ours), State::Included, "{}", ours.detail);
    let theirs = world.advance(&theirs).unwrap();
    assert_eq!(judged(&ours).time, judged(&theirs).time);
}

#[test]
fn a_thousand_releases_are_one_transaction() {
    use countermark::io::keys;
    use countermark::lineage::anchor::entry::{Entry, EntryType};
    use countermark::lineage::digest::Hash;
    let Some(world) = World::new() else { return };
    let log = Log::open(&world.log()).unwrap();
    let key = keys::generate();
    let entry = |at: u32| {
        let object = Hash::sha256(&at.to_be_bytes());
        let signer = key.verifying_key().into();
        Entry { entry_type: EntryType::Release, object, root: object, statement: object, signer }.sign(&key).unwrap()
    };
    let entries: Vec<Vec<u8>> = (0..1000).map(entry).collect();
    let indices: Vec<u64> = log.append(&entries).unwrap().collect();
    let job = world.submit(world.erc7053()).unwrap();
    assert_eq!(state(&job), State::Included, "{}", job.detail);
    assert_eq!(world.anvil.transactions_of(ACCOUNTS[0]).len(), 1);
    let proofs = log.prove_under(&indices, &job.checkpoint).unwrap();
    assert_eq!(proofs.len(), 1000);
    for (proof, entry) in proofs.iter().zip(&entries) {
        proof.verify(entry, log.verifier()).unwrap();
        assert_eq!(proof.checkpoint, job.checkpoint);
    }
}
