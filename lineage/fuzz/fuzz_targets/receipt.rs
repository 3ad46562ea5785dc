//! Receipts and anchors that stand alone: none panics, and without a policy none is green.
#![no_main]

use countermark_lineage::verdict::State;
use countermark_lineage::verify::receipt::{self, Request};
use countermark_lineage::verify::Belief;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let belief = Belief { policy: None, revocations: &[], hand_overs: &[], blocks: None, now: 1_800_000_000 };
    let verdict = receipt::verify(&Request { bytes, belief, require_anchor: false, at: false });
    // Anybody can sign an entry and a log: it is the policy that says whose word counts.
    assert!(verdict.state > State::Verified);
});
