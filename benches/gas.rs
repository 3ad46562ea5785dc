//! What an anchor costs and how large its proof is, on a node of its own: one Markdown table.
//!
//! Run: `eval "$(fixtures/services/chain.sh)" && cargo bench -p countermark --bench gas -- docs/anchoring.md README.md`. With
//! the paths of files, the table there between the lines `<!-- gas -->` and `<!-- /gas -->` is replaced.

#[path = "../tests/chain/anvil.rs"]
#[allow(dead_code)]
mod anvil;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anvil::{Anvil, key_file, quantity};
use countermark::io::anchor::evm::{Backend, Deployment, Fees, Plan, Work};
use countermark::io::anchor::{Job, Jobs, Order, State};
use countermark::io::log::Log;
use countermark::lineage::anchor::evm::hex::{self, Address};
use countermark::lineage::anchor::{Commitment, Evidence, evm::erc7053};
use serde_json::{Value, json};

const PAYER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const OTHER: &str = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc";
const TRANSFER: u64 = 21_000;
const CROWD: u64 = 150;

/// Header and nodes, in bytes.
fn size(job: &Job) -> (usize, usize) {
    let (header, nodes) = match job.evidence.as_ref().unwrap() {
        Evidence::Evm(proof) | Evidence::Eas(proof) => (&proof.header, &proof.nodes),
        Evidence::Calldata(proof) => (&proof.header, &proof.nodes),
        _ => unreachable!("an anchor on a chain"),
    };
    (header.0.len(), nodes.iter().map(|node| node.0.len()).sum())
}

struct Bench {
    folder: tempfile::TempDir,
    anvil: Anvil,
    log: Log,
    entries: u64,
}

impl Bench {
    /// Anchors a new checkpoint, in a block of its own or in one with 149 commits of others.
    fn anchor(&mut self, backend: Backend, crowd: u64) -> (Job, u64) {
        self.entries += 1;
        self.log.append(&[self.entries.to_be_bytes().to_vec()]).unwrap();
        let folder = self.folder.path().join("log");
        let (size, checkpoint) = self.log.anchorable().unwrap();
        self.anvil.automine(false);
        let plan = Plan {
            endpoints: vec![self.anvil.url()],
            agree: None,
            chain_id: None,
            key: self.folder.path().join("chain0.key"),
            backend,
            fees: Fees::default(),
        };
        let jobs = Jobs::of(&folder);
        let job = jobs.submit(size, &checkpoint, Order::Evm(Work::plan(plan).unwrap()), 0).unwrap();
        let others = hex::encode(&erc7053::calldata(&Commitment::of(&checkpoint)));
        let to = match backend {
            Backend::Erc7053 { contract } | Backend::Eas { contract } => contract.to_string(),
            Backend::Calldata => OTHER.to_owned(),
        };
        for place in 1..crowd {
            // Half of them pay more, so that ours stands in the middle, where proofs are longest.
            let tip = if place <= crowd / 2 { "0x77359400" } else { "0x1" };
            let sent = json!([{
                "from": OTHER, "to": to, "data": others, "gas": "0xc350",
                "maxPriorityFeePerGas": tip, "maxFeePerGas": "0x174876e800",
            }]);
            self.anvil.rpc("eth_sendTransaction", sent);
        }
        self.anvil.mine(1);
        let job = jobs.advance(size, job, 0).unwrap();
        assert_eq!(job.state, State::Included, "{}", job.detail);
        let newest = self.anvil.rpc("eth_getBlockByNumber", json!(["latest", false]));
        assert_eq!(newest["transactions"].as_array().unwrap().len() as u64, crowd);
        let Order::Evm(work) = &job.order else { unreachable!("an anchor on a chain") };
        let hash = work.transactions().last().unwrap().to_string();
        let gas = quantity(&self.anvil.receipt(&hash)["gasUsed"]);
        (job, gas)
    }
}

/// A stand-in for EAS, compiled by solc.
fn timestamps(anvil: &Anvil) -> Option<Address> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("node")
        .env("NODE_PATH", std::env::var_os("COUNTERMARK_SOLC")?)
        .arg(root.join("fixtures/foreign/solc.js"))
        .arg(root.join("lineage/contracts/test/Timestamps.sol"))
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let call = json!([{ "from": OTHER, "data": made["bytecode"], "gas": "0x100000" }]);
    let sent = anvil.rpc("eth_sendTransaction", call);
    Address::parse(anvil.receipt(sent.as_str().unwrap())["contractAddress"].as_str().unwrap())
}

fn main() {
    let Some(anvil) = Anvil::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(folder.path(), 1);
    key_file(folder.path(), 0);
    let deployment = Deployment::sign(&[anvil.url()], None, None, &key, Fees::default()).unwrap();
    let deployed = deployment.send(Duration::from_secs(30)).unwrap();
    let deploy = quantity(&anvil.receipt(&deployed.transaction.to_string())["gasUsed"]);
    let transfer = json!([{ "from": OTHER, "to": PAYER, "value": "0x1" }]);
    let transfer = anvil.rpc("eth_sendTransaction", transfer);
    let transfer = quantity(&anvil.receipt(transfer.as_str().unwrap())["gasUsed"]);
    let stamps = timestamps(&anvil);
    // The name with which a checkpoint has 191 bytes.
    let log = Log::create(&folder.path().join("log"), Some("log.example/provenance")).unwrap();
    let mut bench = Bench { folder, anvil, log, entries: 0 };

    let mut rows = vec![("plain transfer".to_owned(), transfer, None, None)];
    let contract = deployed.contract;
    let mut backends = vec![
        ("`--calldata`: digest".to_owned(), Backend::Calldata),
        ("**`--contract`: ERC-7053, checkpoint**".to_owned(), Backend::Erc7053 { contract }),
    ];
    backends.extend(stamps.map(|contract| ("`--eas`: time-stamp of the digest".to_owned(), Backend::Eas { contract })));
    for (name, backend) in backends {
        let (job, gas) = bench.anchor(backend, 1);
        assert_eq!(job.checkpoint.len(), 191);
        let alone = size(&job);
        let crowded = size(&bench.anchor(backend, CROWD).0);
        rows.push((name, gas, Some(alone), Some(crowded)));
    }
    let mut text = format!(
        "| one anchor | gas | × transfer | gas per manifest at 10^3 | at 10^6 | proof, block of 1 | block of {CROWD} |\n\
         |---|---|---|---|---|---|---|\n"
    );
    let bytes = |size: Option<(usize, usize)>| {
        size.map_or_else(String::new, |(header, nodes)| format!("{} B ({header} + {nodes})", header + nodes))
    };
    for (name, gas, alone, crowded) in rows {
        let (times, thousand, million) = (gas as f64 / TRANSFER as f64, gas as f64 / 1e3, gas as f64 / 1e6);
        text += &format!(
            "| {name} | {gas} | {times:.2} | {thousand:.1} | {million:.3} | {} | {} |\n",
            bytes(alone),
            bytes(crowded)
        );
    }
    text += &format!(
        "\nProof: header + nodes of the trie, in bytes. Deploying the contract: {deploy} gas, once. A checkpoint of 191 \
         bytes; each further byte costs 40, and padding 10, up to a full word of 32.\n"
    );
    print!("{text}");
    for path in std::env::args().skip(1).filter(|argument| !argument.starts_with('-')) {
        const MARKS: [&str; 2] = ["<!-- gas -->\n", "<!-- /gas -->"];
        let page = std::fs::read_to_string(&path).unwrap();
        let start = page.find(MARKS[0]).expect("<!-- gas -->") + MARKS[0].len();
        let end = page.find(MARKS[1]).expect("<!-- /gas -->");
        std::fs::write(&path, format!("{}{text}{}", &page[..start], &page[end..])).unwrap();
    }
}
