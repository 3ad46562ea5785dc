//! Revocation lists, hand-overs and bundles: no bytes make the parsers or the verdict panic, and what nobody signed says
//! nothing.
#![no_main]

use countermark_lineage::credential::hand_over::Signed;
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::credential::revocation::{List, Target};
use countermark_lineage::verdict::State;
use countermark_lineage::verify::{self, Belief};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(list) = List::parse(data) {
        assert!(list.contradicts(&list).is_none());
        assert!(list.targets().len() <= list.content.entries.len());
        let _ = list.place();
    }
    if let Ok(hand_over) = Signed::parse(data) {
        assert_ne!(hand_over.content.from, hand_over.content.to);
        let _ = hand_over.place();
    }
    let _ = std::str::from_utf8(data).map(Target::of_pem);
    let (policy, files) = (Policy::default(), [("input".to_owned(), data.to_vec())]);
    let belief =
        Belief { policy: Some(&policy), revocations: &files, hand_overs: &files, blocks: None, now: 1_700_000_000 };
    // Nobody is known to an empty policy, and nobody can sign for somebody else by chance.
    assert!(verify::bundle(data, &belief).state > State::Unanchored);
});
