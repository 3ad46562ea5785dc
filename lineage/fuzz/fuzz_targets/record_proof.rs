//! Proofs about records: no text makes the parser or the check panic, and none proves anything of a root that no tree has.
#![no_main]

use countermark_formats::records::Format;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::records::{FileRecords, RecordProof, Records};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(proof) = RecordProof::parse(data) else { return };
    for (sorted, salted) in [(false, false), (true, false), (false, true)] {
        let files = vec![FileRecords { path: "a".into(), count: 1000 }];
        let root = Hash([7; 32]);
        let records = Records { format: Format::Jsonl, count: 1000, root, sorted, salted, schema: None, files };
        assert!(proof.check(&records).is_err());
    }
});
