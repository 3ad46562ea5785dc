//! Documents of parts from elsewhere: reading and merging them never panics, whatever they claim.
#![no_main]

use countermark_lineage::digest::parts::Document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::parse(bytes) {
        let _ = Document::merge(&[document]);
    }
});
