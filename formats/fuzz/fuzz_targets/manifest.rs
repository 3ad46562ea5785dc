//! Manifests in model files, taken for each format. What is found is where it is said to be, and taking it out and putting it
//! in are each other's reverse.
#![no_main]

use std::sync::Arc;

use countermark_formats::manifest::{self, Format, Found, Undo, encode};
use countermark_formats::{ReadAt, Source};
use libfuzzer_sys::fuzz_target;

const FORMATS: [(&str, Format); 3] =
    [("m.safetensors", Format::Safetensors), ("m.onnx", Format::Onnx), ("m.parquet", Format::Parquet)];

fn bytes(source: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; source.len() as usize];
    source.read_exact_at(&mut bytes, 0).expect("a view of bytes in memory");
    bytes
}

fuzz_target!(|file: &[u8]| {
    for (name, format) in FORMATS {
        check(file, name, format);
    }
});

fn check(file: &[u8], name: &str, format: Format) {
    let source: Source = Arc::new(file.to_vec());
    match manifest::find(name, &*source, Some(format)) {
        Ok(Some(Found::Embedded(found))) => {
            let span = found.span.start as usize..found.span.end as usize;
            assert_eq!(&file[span], encode(&found.store).as_bytes());
            for made in [false, true] {
                for header in [None, Some(64), Some(file.len() as u64)] {
                    let Ok(before) = found.take_out(&source, &Undo { made, header }) else { continue };
                    let view = bytes(&before.view);
                    let (from, to) = (before.splice.at.start as usize, before.splice.at.end as usize);
                    let spliced = [&view[..from], &before.splice.bytes, &view[to..]].concat();
                    let whole = found.without_value();
                    let (from, to) = (whole.at.start as usize, whole.at.end as usize);
                    assert_eq!(spliced, [&file[..from], &file[to..]].concat());
                }
            }
        }
        Ok(None) => {
            let Ok(place) = manifest::insert(name, &source, 40) else { return };
            let mut whole = bytes(&place.view);
            whole[place.span.start as usize..place.span.end as usize].copy_from_slice(encode(&[5; 40]).as_bytes());
            let found = manifest::find(name, &whole, Some(place.format)).expect("what we wrote is right");
            let Some(Found::Embedded(found)) = found else { panic!("what we wrote is there") };
            let whole: Source = Arc::new(whole);
            let before = found.take_out(&whole, &place.undo).expect("and can be taken out");
            assert_eq!(bytes(&before.view), file);
        }
        _ => {}
    }
}
