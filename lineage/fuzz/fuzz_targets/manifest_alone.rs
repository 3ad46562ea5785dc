//! C2PA stores from elsewhere, alone and as if a medium carried them: judging and reading them never panics, and never
//! says that damage is verified.
#![no_main]

use countermark_lineage::credential::alone::{Asset, Clock, judge};
use countermark_lineage::credential::c2pa;
use countermark_lineage::verdict::State;
use libfuzzer_sys::fuzz_target;

const FORMATS: [&str; 6] = ["image/png", "image/jpeg", "image/gif", "audio/wav", "image/tiff", "image/svg+xml"];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, store)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(*choice) % FORMATS.len()];
    let nobody = |_: &countermark_lineage::credential::alone::Signed<'_>| (State::UnknownSigner, String::new());
    let store_as_medium = store.to_vec();
    for asset in [
        Asset::Unseen,
        Asset::File([0; 32]),
        Asset::Folder([0; 32]),
        Asset::Medium { format, source: &store_as_medium, found: Ok("assertion.dataHash.match") },
    ] {
        let judged = judge(store, &asset, Clock::default(), &nobody);
        assert!(judged.rows.iter().any(|row| row.state != State::Verified));
    }
    let _ = (c2pa::read(store), c2pa::signer_key(store), c2pa::inspect(store, &[], 0));
});
