//! Blocks of a live node. `eval "$(fixtures/services/chain.sh)"` sets `COUNTERMARK_ANVIL` and `COUNTERMARK_CAST`;
//! without them these tests say that they were skipped.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countermark_lineage::anchor::evm::header::Header;
use countermark_lineage::anchor::evm::hex;
use countermark_lineage::anchor::evm::transaction::Transaction;
use countermark_lineage::anchor::evm::trie;
use serde_json::{Value, json};

use super::captured::{address, receipt};

struct Node {
    process: Child,
    cast: String,
    url: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    fn start() -> Option<Self> {
        let (Ok(anvil), Ok(cast)) = (std::env::var("COUNTERMARK_ANVIL"), std::env::var("COUNTERMARK_CAST")) else {
            eprintln!("skipped: COUNTERMARK_ANVIL or COUNTERMARK_CAST is not set");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(anvil)
            .args(["--host", "127.0.0.1", "-p", &port.to_string(), "--silent", "--no-mining"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let node = Node { process, cast, url: format!("http://127.0.0.1:{port}") };
        let begun = Instant::now();
        while node.cast(&["chain-id"]).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the node does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(node)
    }

    fn cast(&self, words: &[&str]) -> Option<String> {
        let output = Command::new(&self.cast).args(words).args(["--rpc-url", &self.url]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    fn rpc(&self, method: &str, parameters: &[Value]) -> Value {
        let words: Vec<String> = parameters.iter().map(Value::to_string).collect();
        let words: Vec<&str> = ["rpc", method].into_iter().chain(words.iter().map(|word| &**word)).collect();
        let answer = self.cast(&words).unwrap_or_else(|| panic!("{method} fails"));
        // cast prints strings without their quotes.
        serde_json::from_str(&answer).unwrap_or(Value::String(answer))
    }

    /// Mines a block of so many transactions: transfers, calls with data, deployments that fail.
    fn mine(&self, count: usize) {
        let accounts = self.rpc("eth_accounts", &[]);
        let accounts = accounts.as_array().unwrap();
        for place in 0..count {
            let mut transaction = json!({ "from": accounts[place % accounts.len()], "gas": "0x186a0", "value": "0x1" });
            // Without a price, the node asks less than the block's base fee of some, and drops those.
            let price = if place % 4 == 2 { "gasPrice" } else { "maxFeePerGas" };
            transaction[price] = json!("0x77359400");
            if price == "maxFeePerGas" {
                transaction["maxPriorityFeePerGas"] = json!("0x77359400");
            }
            match place % 4 {
                // A program that does nothing but emit an event with one topic.
                0 => transaction["data"] = json!("0x600160206000a100"),
                // One that fails.
                1 => transaction["data"] = json!("0xfe"),
                2 => transaction["to"] = accounts[0].clone(),
                _ => (transaction["to"], transaction["data"]) = (accounts[1].clone(), json!(format!("0x{place:08x}"))),
            }
            self.rpc("eth_sendTransaction", &[transaction]);
        }
        self.rpc("evm_mine", &[]);
    }
}

#[test]
fn blocks_of_a_live_node_are_rebuilt_to_the_byte() {
    let Some(node) = Node::start() else { return };
    for count in [0, 1, 150] {
        node.mine(count);
        let block = node.rpc("eth_getBlockByNumber", &[json!("latest"), json!(true)]);
        let transactions = block["transactions"].as_array().unwrap();
        assert_eq!(transactions.len(), count, "not all transactions are in the block");
        let header = hex::decode(&node.cast(&["block", "latest", "--raw"]).unwrap()).unwrap();
        let header = Header::parse(&header).unwrap();
        assert_eq!(header.hash.to_string(), block["hash"].as_str().unwrap());
        assert_eq!(Some(header.number), hex::quantity(block["number"].as_str().unwrap()));
        let receipts = node.rpc("eth_getBlockReceipts", &[json!("latest")]);
        let receipts: Vec<Vec<u8>> = receipts.as_array().unwrap().iter().map(|json| receipt(json).to_bytes()).collect();
        assert_eq!(trie::root(&receipts).to_string(), block["receiptsRoot"].as_str().unwrap());
        assert_eq!(trie::root(&receipts), header.receipts_root);
        for index in 0..count as u64 {
            let proof = trie::prove(&receipts, index).unwrap();
            assert_eq!(trie::verify(&header.receipts_root, index, &proof.nodes).unwrap(), receipts[index as usize]);
        }
        // As many raw transactions as can be asked for in reasonable time, each by a program of its own.
        for transaction in transactions.iter().take(8) {
            let raw = node.cast(&["tx", transaction["hash"].as_str().unwrap(), "--raw"]).unwrap();
            let raw = Transaction::parse(&hex::decode(&raw).unwrap()).unwrap();
            assert_eq!(raw.sender, address(&transaction["from"]));
            assert_eq!(raw.hash.to_string(), transaction["hash"].as_str().unwrap());
        }
    }
}
