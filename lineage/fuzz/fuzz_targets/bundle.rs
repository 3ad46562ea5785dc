//! Bundles: no bytes make the verdict panic, and none are good for a file that nobody signed.
#![no_main]

use std::sync::Arc;

use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::verify::{Request, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file: Arc<dyn countermark_formats::ReadAt> = Arc::new(b"unsigned".to_vec());
    let artifact = Artifact {
        name: "model".into(),
        is_folder: false,
        files: vec![("model".into(), file)],
        card: None,
        provenance: vec![],
        ignored: vec![],
        names: None,
    };
    let request = Request {
        artifact: &artifact,
        bundle: Some(data),
        sidecars: &[],
        policy: None,
        require_anchor: false,
        name: None,
        records: None,
        media: None,
        now: 1_795_000_000,
        at: false,
        revocations: &[],
        hand_overs: &[],
        blocks: None,
    };
    assert_ne!(verify(&request, &|_| ()).state.exit_code(), 0);
});
