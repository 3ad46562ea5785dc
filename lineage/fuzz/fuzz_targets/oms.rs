//! OMS bundles and statements: no bytes make a parser panic, and none is believed without a signature. What is read of
//! a statement can be written, and is then read as the same.
#![no_main]

use countermark_lineage::credential::oms::{Bundle, Statement, Trust, open};
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::verdict::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Bundle::parse(bytes);
    for trust in [Trust::Anchors(&[]), Trust::Policy(&Policy::default())] {
        let (rows, _) = open(bytes, &trust, 0);
        assert!(rows.iter().any(|row| row.state != State::Verified));
    }
    if let Ok(statement) = Statement::parse(bytes) {
        if let Ok(payload) = statement.to_payload() {
            let again = Statement::parse(&payload).unwrap();
            assert_eq!(again.resources.len(), statement.resources.len());
        }
    }
});
