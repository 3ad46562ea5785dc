//! What a log's host answers: names of tiles, tiles, bundles, heads and forks. Nothing panics, and a name has one spelling.
#![no_main]

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::fork::Fork;
use countermark_lineage::anchor::note::VerifierKey;
use countermark_lineage::anchor::tiles::{self, Name};
use countermark_lineage::digest::tree;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "countermark.dev/fuzz+6d2ee8ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";

fuzz_target!(|data: &[u8]| {
    let Some((width, rest)) = data.split_first() else { return };
    let width = u64::from(*width) + 1;
    for name in [Name::Tile { level: 0, index: 0, width }, Name::Bundle { index: 0, width }] {
        let _ = tiles::decode_tile(&name, rest);
        if let Ok(cut) = name.cut(rest.to_vec()) {
            assert!(cut.len() <= rest.len());
        }
    }
    if let Ok(entries) = tiles::decode_bundle(rest) {
        let leaves: Vec<_> = entries.iter().map(|entry| tree::leaf(entry)).collect();
        let name = Name::Bundle { index: 0, width };
        assert_eq!(tiles::check_bundle(&name, rest, &leaves).unwrap(), entries);
        assert_eq!(tiles::encode_bundle(entries).unwrap(), rest);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = Name::parse(text) {
        assert_eq!(name.path(), text);
    }
    if let Ok(key) = VerifierKey::parse(KEY) {
        assert!(Checkpoint::open_with_extensions(text, &key).is_err());
    }
    if let Ok(fork) = serde_json::from_str::<Fork>(text) {
        assert!(fork.verify().is_err());
    }
});
