//! Records: the first byte chooses the format, the rest is the file. Whatever it holds, nothing may panic.
#![no_main]

use countermark_formats::records::columns::{parse, row_to_json};
use countermark_formats::records::csv::Csv;
use countermark_formats::records::tar::{self, Tar};
use countermark_formats::records::warc::{self, Warc};
use countermark_formats::records::{Batch, Lines, ReadRecords};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, file)) = data.split_first() else { return };
    match choice % 5 {
        0 => drop(read(Lines::with_batch(file, 16))),
        1 => drop(read(Csv::with_batch(file, 16))),
        2 => read(Tar::with_batch(file, 16)).iter().for_each(|sample| assert!(tar::files(sample).is_some())),
        3 => read(Warc::with_batch(file, 16)).iter().for_each(|record| assert!(warc::parts(record).is_some())),
        _ => {
            let end = file.iter().position(|byte| *byte == 0).unwrap_or(file.len());
            let schema = std::str::from_utf8(&file[..end]).ok().and_then(parse);
            schema.map(|columns| row_to_json(&columns, &file[end..]));
        }
    }
});

/// All records up to the first error.
fn read(mut reader: impl ReadRecords) -> Vec<Vec<u8>> {
    let (mut batch, mut records) = (Batch::default(), Vec::new());
    while let Ok(true) = reader.next(&mut batch) {
        records.extend(batch.iter().map(<[u8]>::to_vec));
    }
    records
}
