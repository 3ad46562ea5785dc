//! Trusted roots: no bytes make the parser panic.
#![no_main]

use countermark_lineage::credential::oms::sigstore::TrustedRoot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = TrustedRoot::parse(bytes);
});
