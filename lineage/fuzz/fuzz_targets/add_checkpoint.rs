//! Requests to a witness and answers of one. Nothing panics, and nothing is cosigned that the log has not signed.
#![no_main]

use countermark_lineage::anchor::cosignature::{self, WitnessKey};
use countermark_lineage::anchor::note::VerifierKey;
use countermark_lineage::anchor::witness::{Request, decide};
use libfuzzer_sys::fuzz_target;

const LOG: &str = "countermark.dev/fuzz+6d2ee8ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const WITNESS: &str = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (Ok(log), Ok(witness)) = (VerifierKey::parse(LOG), WitnessKey::parse(WITNESS)) else { return };
    let _ = WitnessKey::parse(text);
    assert!(!matches!(cosignature::open(text, &witness), Ok(Some(_))));
    assert!(cosignature::add(text, text, &witness, u64::MAX).is_err());
    let _ = cosignature::merge(text, text);
    if let Ok(request) = Request::parse(text) {
        let again = request.to_text();
        assert_eq!(Request::parse(&again).ok(), Some(request.clone()));
        assert_ne!(decide(&request, &[log], None).status(), 200);
    }
});
