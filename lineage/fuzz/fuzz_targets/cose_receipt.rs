//! COSE receipts and transparent statements. Nothing panics, none is believed, and a statement has one way to be put together.
#![no_main]

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::cose;
use countermark_lineage::anchor::note::VerifierKey;
use countermark_lineage::digest::Hash;
use libfuzzer_sys::fuzz_target;

const LOG: &str = "countermark.dev/fuzz+6d2ee8ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";

fuzz_target!(|data: &[u8]| {
    let Ok(log) = VerifierKey::parse(LOG) else { return };
    let head = |size| Checkpoint { size, root: Hash::sha256(b"root") };
    assert!(cose::verify_inclusion(data, &log, b"entry").is_err());
    assert!(cose::verify_consistency(data, &log, &head(3), &head(5)).is_err());
    if let Ok((entry, receipts)) = cose::split_transparent(data) {
        assert_eq!(cose::transparent(&entry, &receipts).ok().as_deref(), Some(data));
    }
});
