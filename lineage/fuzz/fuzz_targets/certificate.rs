//! Certificates: no bytes panic, and what is read has one encoding.
#![no_main]

use countermark_lineage::credential::c2pa::certificate_key;
use countermark_lineage::credential::keys::{PublicKey, signature_from_der, signature_to_der};
use countermark_lineage::credential::x509::Summary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Summary::of(data);
    let _ = certificate_key(data);
    if let Some(key) = PublicKey::from_spki(data) {
        assert_eq!(PublicKey::parse(&key.to_string()), Some(key));
        if let Some(fixed) = signature_from_der(key.algorithm(), data) {
            assert_eq!(signature_to_der(key.algorithm(), &fixed), data);
        }
    }
});
