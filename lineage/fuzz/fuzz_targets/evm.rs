//! Proofs of chains: no bytes panic, and what is read has one spelling.
#![no_main]

use countermark_lineage::anchor::evm::{header::Header, receipt::Receipt, rlp, transaction::Transaction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = rlp::decode("fuzz", data);
    let _ = Header::parse(data);
    let _ = Transaction::parse(data);
    if let Ok(receipt) = Receipt::parse(data) {
        assert_eq!(receipt.to_bytes(), data);
    }
});
