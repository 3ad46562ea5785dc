//! Time-stamps: no token, answer or store panics, and what is tidy stays so.
#![no_main]

use countermark_lineage::credential::countersign;
use countermark_lineage::credential::rfc3161::{self, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Query { imprint: [0; 32], nonce: 1 }.token(data);
    let _ = rfc3161::token_of(data);
    let roots = [data.to_vec()];
    let _ = rfc3161::verify(data, b"message", &roots, &roots);
    if let Ok(tidy) = rfc3161::tidy(data) {
        assert_eq!(rfc3161::tidy(&tidy).as_deref().ok(), Some(&*tidy));
    }
    let _ = countersign::message(data);
    if let Some((head, rest)) = data.split_first_chunk::<2>() {
        let (store, token) = rest.split_at(usize::from(u16::from_le_bytes(*head)).min(rest.len()));
        let _ = countersign::add(store, token);
    }
});
