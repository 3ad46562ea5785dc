//! C2PA manifest stores: no bytes make the checker panic, and none pass for an artifact that nobody signed.
#![no_main]

use countermark_lineage::credential::c2pa::{Expected, certificate_key, check, inspect, read, signer_key};
use countermark_lineage::verdict::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let expected = Expected { asset_sha256: [7; 32], statement: [7; 32], root: [7; 32], marks: &[], parents: &[] };
    let rows = check(data, &expected, &[data.to_vec()], 1_795_000_000);
    assert!(rows.iter().any(|row| row.state != State::Verified));
    let _ = inspect(data, &[], 1_795_000_000);
    let _ = (read(data), signer_key(data), certificate_key(data));
});
