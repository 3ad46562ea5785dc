//! Tables by their beginning: any bytes, under each name that is looked at.
#![no_main]

use countermark_formats::table::sniff;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for path in ["t.csv", "t.tsv", "t.jsonl"] {
        let whole = sniff(path, data, true);
        let begun = sniff(path, data, false);
        // A whole table that ends in a line feed has the same columns when more may follow.
        if let (Some(whole), Some(begun), true) = (whole, begun, data.ends_with(b"\n")) {
            assert!(whole.columns.iter().map(|c| &c.name).eq(begun.columns.iter().map(|c| &c.name)));
        }
    }
});
