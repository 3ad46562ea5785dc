//! Anchors on a chain from the command line: the demo, and processes that are killed while they submit.
//!
//! `eval "$(fixtures/services/chain.sh)"` sets `COUNTERMARK_ANVIL`. Without it these tests are skipped and say so.

#[path = "../../tests/chain/anvil.rs"]
#[allow(dead_code)]
mod anvil;
mod run;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anvil::{Anvil, key_file};
use countermark::io::anchor::{Jobs, Order};
use countermark::io::log::Log;
use run::countermark;
use serde_json::Value;

/// Runs the demo on a chain, stops the chain, and verifies.
#[test]
fn the_demo_stays_verified_when_the_chain_is_gone() {
    let Some(chain) = Anvil::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (code, stdout, stderr) = countermark(at, &["demo", "--out", "demo", "--chain", &chain.url()]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("One transaction for all") && stdout.contains("included: block 2"), "{stdout}");
    assert!(!stdout.contains(" 0 → "), "every bundle has a size: {stdout}");
    assert!(stdout.contains("committed before 20"), "{stdout}");
    // The contract, and one transaction for everything.
    assert_eq!(chain.nonce("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"), 2);
    drop(chain);

    for name in ["data", "tune", "base", "model", "child"] {
        let path = format!("demo/{name}");
        let arguments = ["verify", &path, "--policy", "demo/policy.toml", "--require-anchor", "--format", "json"];
        let (code, stdout, stderr) = countermark(at, &arguments);
        assert_eq!(code, 0, "{name}: {stdout}{stderr}");
        let verdict: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(verdict["state"], "verified", "{name}: {stdout}");
        let row = verdict["checks"].as_array().unwrap().iter().find(|row| row["name"] == "anchor evm").unwrap();
        assert!(row["detail"].as_str().unwrap().contains("whose hash the policy pins"), "{row}");
    }
    // Without the pin nobody vouches for the block, and the chain that is gone cannot be asked.
    let policy = fs::read_to_string(at.join("demo/policy.toml")).unwrap();
    let unpinned: String =
        policy.lines().filter(|line| !line.starts_with("blocks")).map(|line| format!("{line}\n")).collect();
    assert_ne!(policy.trim(), unpinned.trim());
    fs::write(at.join("unpinned.toml"), &unpinned).unwrap();
    let (code, stdout, _) = countermark(at, &["verify", "demo/model", "--policy", "unpinned.toml", "--require-anchor"]);
    assert_eq!(code, 3, "{stdout}");
    // With one bit of the header changed it is another block's header, and nobody vouches for that block.
    let bundle = fs::read_to_string(at.join("demo/model.provenance.json")).unwrap();
    let mut changed: Value = serde_json::from_str(&bundle).unwrap();
    let header = changed["anchors"][0]["evidence"]["header"].as_str().unwrap().to_owned();
    let middle = header.len() / 2;
    let other = if &header[middle..=middle] == "A" { "B" } else { "A" };
    changed["anchors"][0]["evidence"]["header"] =
        format!("{}{other}{}", &header[..middle], &header[middle + 1..]).into();
    fs::write(at.join("changed.json"), changed.to_string()).unwrap();
    let arguments =
        ["verify", "demo/model", "--policy", "demo/policy.toml", "--bundle", "changed.json", "--require-anchor"];
    let (code, stdout, _) = countermark(at, &arguments);
    assert!(code == 3 && stdout.contains("nobody vouches"), "{stdout}");
}

/// `verify --online` asks the policy's nodes, and nobody without it.
#[test]
fn nodes_of_the_policy_vouch_for_blocks_when_asked_to() {
    let Some(chain) = Anvil::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let good = |arguments: &[&str]| {
        let (code, stdout, stderr) = countermark(at, arguments);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
        (stdout, stderr)
    };
    good(&["keygen", "--out", "keys"]);
    fs::write(at.join("data.csv"), "a,b\n1,2\n").unwrap();
    good(&["sign", "data.csv", "--key", "keys/owner.key", "--log", "log"]);
    let url = chain.url();
    // The key is made here and paid for by the test node.
    let (address, _) = good(&["keygen", "--chain-key", "chain.key"]);
    chain.rpc("anvil_setBalance", serde_json::json!([address.trim(), "0xde0b6b3a7640000"]));
    let (entry, _) = good(&["anchor", "deploy", "--evm", &url, "--chain-id", "31337", "--chain-key", "chain.key"]);
    let contract =
        entry.lines().find_map(|line| line.strip_prefix("contract = ")).unwrap().trim_matches('"').to_owned();
    let submit = ["anchor", "submit", "log", "--evm", &url, "--chain-key", "chain.key", "--contract", &contract];
    let (_, stderr) = good(&submit);
    assert!(stderr.contains("anchor policy"), "{stderr}");
    let (stdout, _) = good(&["anchor", "upgrade", "log", "data.csv.provenance.json"]);
    assert!(stdout.contains("included"), "{stdout}");
    let (entry, _) = good(&["anchor", "policy", "log"]);
    let entry: String =
        entry.lines().filter(|line| !line.starts_with("blocks")).map(|line| format!("{line}\n")).collect();
    let policy = fs::read_to_string(at.join("keys/policy.toml")).unwrap();
    let online = format!("{policy}\n{entry}endpoints = [\"{url}\"]\n");
    fs::write(at.join("online.toml"), online).unwrap();
    let verify = |more: &[&str]| {
        let arguments = [&["verify", "data.csv", "--policy", "online.toml", "--require-anchor"], more].concat();
        countermark(at, &arguments)
    };
    let (code, stdout, _) = verify(&[]);
    assert_eq!(code, 3, "nobody was asked: {stdout}");
    let (code, stdout, _) = verify(&["--online"]);
    assert!(code == 0 && stdout.contains("may still be reorganised"), "{stdout}");
    chain.mine(9);
    let (code, stdout, _) = verify(&["--online"]);
    assert!(code == 0 && !stdout.contains("may still be reorganised"), "{stdout}");
    drop(chain);
    let (code, stdout, _) = verify(&["--online"]);
    assert!(code == 3 && stdout.contains("nobody could be asked"), "{stdout}");
}

/// Real SIGKILLs at random moments of submitting: every checkpoint ends with one transaction.
#[cfg(unix)]
#[test]
fn killed_while_submitting_never_signs_twice() {
    const ROUNDS: usize = 120;
    let Some(chain) = Anvil::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    key_file(at, 0);
    let log = Log::create(&at.join("log"), None).unwrap();
    let url = chain.url();
    let (code, entry, stderr) = countermark(at, &["anchor", "deploy", "--evm", &url, "--chain-key", "chain0.key"]);
    assert_eq!(code, 0, "{stderr}");
    let contract =
        entry.lines().find_map(|line| line.strip_prefix("contract = ")).unwrap().trim_matches('"').to_owned();
    let submit = ["anchor", "submit", "log", "--evm", &url, "--chain-key", "chain0.key", "--contract", &contract];
    // A fixed sequence of moments, spread over what one submission takes.
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // Every job goes on to its end, whatever was killed before. The node may be a moment behind.
    let settle = || {
        let mut last = (3, String::new(), String::new());
        for _ in 0..20 {
            last = countermark(at, &["anchor", "upgrade", "log"]);
            if last.0 == 0 {
                return;
            }
        }
        panic!("{last:?}");
    };
    let since = std::time::Instant::now();
    log.append(&[b"first".to_vec()]).unwrap();
    assert_eq!(countermark(at, &submit).0, 0);
    let whole = since.elapsed().as_micros() as u64;
    let mut killed = 0;
    for round in 0..ROUNDS {
        log.append(&[format!("entry {round}").into_bytes()]).unwrap();
        let arguments: &[&str] = if round % 4 == 3 { &["anchor", "upgrade", "log"] } else { &submit };
        let mut child = Command::new(env!("CARGO_BIN_EXE_countermark"))
            .current_dir(at)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random(whole)));
        if child.try_wait().unwrap().is_none() {
            killed += 1;
        }
        drop(child.kill());
        child.wait().unwrap();
        // Half of them are gone on with only after the next kill.
        if round % 2 == 0 {
            let (code, stdout, stderr) = countermark(at, &submit);
            assert!(matches!(code, 0 | 3), "round {round}: {stdout}{stderr}");
            settle();
        }
    }
    settle();
    eprintln!("{killed} of {ROUNDS} were killed before their end");
    assert!(killed >= ROUNDS / 3, "{killed}");

    let transactions = chain.transactions_of("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    let commits: Vec<&Value> = transactions.iter().filter(|sent| sent["to"] == contract.as_str()).collect();
    let jobs = Jobs::of(&at.join("log")).all().unwrap();
    let mut signed = BTreeSet::new();
    for (size, _, job) in &jobs {
        let Order::Evm(work) = &job.order else { panic!() };
        let hashes: Vec<String> = work.transactions().map(|hash| hash.to_string()).collect();
        assert_eq!(hashes.len(), 1, "size {size}: {hashes:?}");
        assert!(job.evidence.is_some(), "size {size}");
        signed.extend(hashes);
    }
    let sent: BTreeSet<String> = commits.iter().map(|sent| sent["hash"].as_str().unwrap().to_owned()).collect();
    assert_eq!(signed, sent, "what was written down is what is on the chain");
    assert!(jobs.len() > ROUNDS / 2, "{}", jobs.len());
    let inputs: BTreeSet<&str> = commits.iter().map(|sent| sent["input"].as_str().unwrap()).collect();
    assert_eq!(inputs.len(), commits.len(), "no checkpoint twice");
}
