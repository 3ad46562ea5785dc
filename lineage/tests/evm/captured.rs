//! A block of a real node, kept in `block.json` with what the node and `cast` say of it: the oracle when no node is
//! there.

use countermark_lineage::anchor::evm::header::Header;
use countermark_lineage::anchor::evm::hex::{self, Address, Word};
use countermark_lineage::anchor::evm::receipt::{Log, Receipt, bloom};
use countermark_lineage::anchor::evm::transaction::Transaction;
use countermark_lineage::anchor::evm::{EventProof, TransactionProof, trie};
use countermark_lineage::anchor::{Evidence, Standing};
use serde_json::Value;

use super::{CHECKPOINT, check, policy};

pub fn address(value: &Value) -> Address {
    Address::parse(&value.as_str().unwrap().to_lowercase()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn number(value: &Value) -> u64 {
    hex::quantity(value.as_str().unwrap()).unwrap()
}

/// A receipt as nodes answer it.
pub fn receipt(json: &Value) -> Receipt {
    let log = |log: &Value| Log {
        address: address(&log["address"]),
        topics: log["topics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|topic| Word::parse(topic.as_str().unwrap()).unwrap())
            .collect(),
        data: bytes(&log["data"]),
    };
    let logs = json["logs"].as_array().unwrap().iter().map(log).collect();
    let kind = number(&json["type"]).try_into().unwrap();
    let receipt = Receipt::new(kind, number(&json["status"]) == 1, number(&json["cumulativeGasUsed"]), logs);
    assert_eq!(hex::encode(&receipt.bloom), json["logsBloom"].as_str().unwrap());
    receipt
}

struct Captured {
    json: Value,
    header: Vec<u8>,
    receipts: Vec<Vec<u8>>,
    transactions: Vec<Vec<u8>>,
}

impl Captured {
    fn read() -> Self {
        let json: Value = serde_json::from_str(include_str!("block.json")).unwrap();
        let receipts = json["receipts"].as_array().unwrap().iter().map(|json| receipt(json).to_bytes()).collect();
        let transactions = json["transactions"].as_array().unwrap().iter().map(bytes).collect();
        Captured { header: bytes(&json["header"]), receipts, transactions, json }
    }

    /// Places of the receipts with a log whose first topic begins so.
    fn with_topic(&self, topic: &str) -> Vec<u64> {
        let is = |json: &Value| json["logs"][0]["topics"][0].as_str().is_some_and(|first| first.starts_with(topic));
        let receipts = self.json["receipts"].as_array().unwrap();
        (0..).zip(receipts).filter(|(_, json)| is(json)).map(|(index, _)| index).collect()
    }

    /// A policy that pins the block.
    fn policy(&self) -> String {
        format!(
            "[[chain]]\nname = \"anvil\"\nchain_id = 31337\ncontract = {}\neas = {}\nrecorders = [{}]\nblocks = [{}]\n",
            self.json["contract"], self.json["eas"], self.json["recorder"], self.json["hash"]
        )
    }
}

#[test]
fn header_receipts_and_transactions_are_those_of_the_node() {
    let block = Captured::read();
    let header = Header::parse(&block.header).unwrap();
    assert_eq!(header.hash.to_string(), block.json["hash"].as_str().unwrap());
    assert_eq!(
        (header.number, header.timestamp),
        (block.json["number"].as_u64().unwrap(), block.json["timestamp"].as_u64().unwrap())
    );
    assert_eq!(trie::root(&block.receipts), header.receipts_root);
    assert_eq!(trie::root(&block.transactions), header.transactions_root);
    for value in &block.receipts {
        let receipt = Receipt::parse(value).unwrap();
        assert_eq!(receipt.bloom, bloom(&receipt.logs));
        assert_eq!(receipt.to_bytes(), *value);
    }
}

#[test]
fn every_type_of_transaction_has_its_sender() {
    let block = Captured::read();
    let mut kinds = vec![];
    for (place, raw) in block.transactions.iter().enumerate() {
        let transaction = Transaction::parse(raw).unwrap();
        assert_eq!(transaction.sender, address(&block.json["senders"][place]), "{place}");
        assert_eq!(transaction.chain_id, Some(31337));
        assert_eq!(transaction.hash.to_string(), block.json["receipts"][place]["transactionHash"].as_str().unwrap());
        let to = &block.json["receipts"][place]["to"];
        assert_eq!(transaction.to, (!to.is_null()).then(|| address(to)));
        kinds.push(transaction.kind);
    }
    // In a block of its own, as it stands in blocks: without the blobs.
    let blob = Transaction::parse(&bytes(&block.json["blob"]["transaction"])).unwrap();
    assert_eq!((blob.sender, blob.chain_id), (address(&block.json["blob"]["sender"]), Some(31337)));
    assert_eq!(blob.hash.to_string(), block.json["blob"]["hash"].as_str().unwrap());
    kinds.push(blob.kind);
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, [0, 1, 2, 3, 4]);
}

#[test]
fn each_kind_of_anchor_is_bound_to_the_block() {
    let block = Captured::read();
    let policy = policy(&block.policy());
    let event = |index| EventProof::make(31337, block.header.clone(), &block.receipts, index, 0).unwrap();
    let digest = countermark_lineage::digest::Hash::sha256(CHECKPOINT.as_bytes());
    let plain = |raw: &&Vec<u8>| {
        let transaction = Transaction::parse(raw).unwrap();
        transaction.input == digest.0 && transaction.sender == address(&block.json["recorder"])
    };
    let place = block.transactions.iter().position(|raw| plain(&raw)).unwrap() as u64;
    let transaction = TransactionProof::make(31337, block.header.clone(), &block.transactions, place).unwrap();
    let commits = block.with_topic("0x39b5d180");
    assert_eq!(commits.len(), 2, "one by the recorder, one by somebody else");
    let mut standings: Vec<_> =
        commits.iter().map(|index| check(Evidence::Evm(event(*index)), &policy, None)).collect();
    standings.push(check(Evidence::Eas(event(block.with_topic("0x5aafceeb")[0])), &policy, None));
    standings.push(check(Evidence::Calldata(transaction), &policy, None));
    let mut bound = 0;
    for standing in standings {
        match standing.unwrap() {
            Standing::Bound(of) => {
                assert_eq!(of.time, block.json["timestamp"].as_i64().unwrap());
                assert!(of.is_final && of.source.contains("block 4 of anvil") && of.source.contains("pins"), "{of:?}");
                bound += 1;
            }
            Standing::Unjudged(why) => assert!(why.contains("among the recorders"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bound, 3, "all but the commit of somebody else");
}

/// Two of the block's transactions failed: the revert of one that would have stamped is no stamp.
#[test]
fn what_was_not_carried_out_has_no_event() {
    let block = Captured::read();
    let failed = |(index, json): (u64, &Value)| (json["status"] == "0x0").then_some(index);
    let failed: Vec<u64> = (0..).zip(block.json["receipts"].as_array().unwrap()).filter_map(failed).collect();
    assert!(!failed.is_empty());
    for index in failed {
        let problem = EventProof::make(31337, block.header.clone(), &block.receipts, index, 0).unwrap_err().problem();
        assert!(problem.contains("not carried out"), "{problem}");
    }
}
