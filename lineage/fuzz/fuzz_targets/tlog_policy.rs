//! Policies of logs and witnesses. Nothing panics, what is read is written and read again, and no quorum is met by nobody
//! unless nobody is asked for.
#![no_main]

use std::collections::BTreeSet;

use countermark_lineage::anchor::tlog_policy::TlogPolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(policy) = TlogPolicy::parse(data) else { return };
    assert_eq!(policy.is_met(&BTreeSet::new()), policy.quorum.is_none());
    let all = policy.witnesses().map(|(place, ..)| place).collect();
    assert!(policy.is_met(&all) && policy.is_met(&policy.voters()));
    let _ = policy.describe();
    // URLs are kept as text.
    if std::str::from_utf8(data).is_ok() {
        assert_eq!(TlogPolicy::parse(&policy.to_bytes()).unwrap(), policy);
    }
});
