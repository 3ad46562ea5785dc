//! What a log signs: entries, notes and their keys, proofs. Nothing panics, and an entry has one encoding.
#![no_main]

use countermark_lineage::anchor::entry::Entry;
use countermark_lineage::anchor::note::VerifierKey;
use countermark_lineage::anchor::proof::Proof;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "countermark.dev/fuzz+6d2ee8ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";

fuzz_target!(|data: &[u8]| {
    let _ = Entry::verify(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = VerifierKey::parse(text);
    if let (Ok(proof), Ok(key)) = (Proof::parse(text), VerifierKey::parse(KEY)) {
        assert!(proof.verify(b"entry", &key).is_err());
    }
});
