//! The contract: that it is compiled from its source, what it costs, and that a foreign client reads what it holds.

use std::path::Path;
use std::process::Command;

use countermark::io::anchor::State;
use countermark::lineage::anchor::Commitment;
use countermark::lineage::anchor::evm::erc7053;
use serde_json::{Value, json};

use crate::anvil::{cast, quantity};
use crate::{ACCOUNTS, World, judged};

/// Compiles a Solidity file with the compiler that COUNTERMARK_SOLC names.
pub fn compile(path: &str) -> Option<Value> {
    let Some(modules) = std::env::var_os("COUNTERMARK_SOLC") else {
        eprintln!("skipped: solc: COUNTERMARK_SOLC is not set (fixtures/services/chain.sh)");
        return None;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("node")
        .env("NODE_PATH", modules)
        .arg(root.join("fixtures/foreign/solc.js"))
        .arg(root.join("lineage/contracts").join(path))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_committed_bytecode_is_what_the_compiler_makes_of_the_source() {
    let Some(made) = compile("CountermarkAnchor.sol") else { return };
    let committed: Value =
        serde_json::from_str(include_str!("../../lineage/contracts/CountermarkAnchor.json")).unwrap();
    assert_eq!(made, committed);
}

#[test]
fn a_commit_costs_little_and_foreign_programs_read_it() {
    let Some(world) = World::new() else { return };
    let job = world.submit(world.erc7053()).unwrap();
    assert_eq!(job.state, State::Included, "{}", job.detail);
    assert!(!judged(&job).source.is_empty());
    let [hash] = &world.signed(&job)[..] else { panic!() };
    let receipt = world.anvil.receipt(hash);
    let gas = quantity(&receipt["gasUsed"]);
    eprintln!("ERC-7053 commit of {} bytes: {gas} gas", job.checkpoint.len());
    assert_eq!(job.checkpoint.len(), 191);
    assert!(gas <= 32_620, "{gas} gas");

    // What cast says of the contract and the event, from its own reading of the signatures.
    let Some(selector) = cast(&["sig", "commit(string,string)"]) else { return };
    let transaction = world.anvil.rpc("eth_getTransactionByHash", json!([hash]));
    assert!(transaction["input"].as_str().unwrap().starts_with(&selector));
    let topic = cast(&["keccak", "Commit(address,string,string)"]).unwrap();
    assert_eq!(topic, erc7053::topic().to_string());
    let url = world.anvil.url();
    let logs = cast(&[
        "logs",
        "--rpc-url",
        &url,
        "--from-block",
        "0",
        "--address",
        &world.contract.to_string(),
        "--json",
        "Commit(address indexed, string indexed, string)",
    ])
    .unwrap();
    let logs: Value = serde_json::from_str(&logs).unwrap();
    assert_eq!(logs.as_array().unwrap().len(), 1);
    let cid = erc7053::cid(&Commitment::of(&job.checkpoint).digest);
    let topics = &logs[0]["topics"];
    assert_eq!(topics[2].as_str().unwrap(), cast(&["keccak", &cid]).unwrap());
    assert!(topics[1].as_str().unwrap().ends_with(&ACCOUNTS[0][2..]));
    // The chain alone gives back what the log signed.
    let decoded = cast(&["abi-decode", "--json", "x()(string)", logs[0]["data"].as_str().unwrap()]).unwrap();
    let decoded: Value = serde_json::from_str(&decoded).unwrap();
    assert_eq!(decoded[0], job.checkpoint);
    // The input reads the same to it.
    let input = cast(&["calldata-decode", "--json", "commit(string,string)", transaction["input"].as_str().unwrap()]);
    let input: Value = serde_json::from_str(&input.unwrap()).unwrap();
    assert_eq!((&input[0], &input[1]), (&json!(cid), &json!(job.checkpoint)));
    // The header that was captured is the one that cast writes.
    let raw = cast(&["block", receipt["blockNumber"].as_str().unwrap(), "--raw", "--rpc-url", &url]).unwrap();
    let evidence = serde_json::to_value(job.evidence.unwrap()).unwrap();
    let header = evidence["header"].as_str().unwrap();
    use base64::Engine as _;
    let header = base64::prelude::BASE64_STANDARD.decode(header).unwrap();
    assert_eq!(raw, countermark::lineage::anchor::evm::hex::encode(&header));
}
