//! OpenTimestamps: no file, calendar's answer or header panics, and what was read is written in one spelling.
#![no_main]

use countermark_lineage::anchor::ots::bitcoin::Header;
use countermark_lineage::anchor::ots::file::File;
use countermark_lineage::anchor::ots::tree::Node;
use countermark_lineage::anchor::ots::{self, TimestampProof};
use countermark_lineage::anchor::{Commitment, Trust};
use countermark_lineage::bundle::Bytes;
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::digest::Hash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Node::parse(data, b"message");
    let _ = Header::parse(data);
    if let Ok(file) = File::parse(data) {
        assert_eq!(File::parse(&file.to_bytes()).as_ref().ok(), Some(&file));
        let policy = Policy::default();
        let headers = data.chunks(80).take(20).map(|header| Bytes(header.to_vec())).collect();
        let proof = TimestampProof { file: Bytes(data.to_vec()), headers };
        let digest = Hash(std::array::from_fn(|at| file.digest.get(at).copied().unwrap_or_default()));
        let _ = ots::check(&proof, &Commitment { checkpoint: "", digest }, &Trust { policy: &policy, blocks: None });
    }
});
