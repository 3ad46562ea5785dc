//! Wrong keys: under the null hypothesis the share of keys with p ≤ x is at most x, whatever the weights are.

mod common;

use common::*;
use countermark_formats::Dtype;
use countermark_watermark::*;

const KEYS: u64 = 2_000;

/// Sign-test and sign-flip odds of many keys that never touched this model.
fn null(name: &str, change: impl FnOnce(&mut [f32])) {
    let mut model = matrix("layer.weight", Dtype::F32, 256, 256, 5);
    change(&mut model.weights);
    let model = open(file(&[model]));
    let records: Vec<Commitment> = (0..KEYS)
        .map(|number| {
            let mut mark_id = [0; 16];
            mark_id[..8].copy_from_slice(&number.to_le_bytes());
            let key = MarkKey::derive(&secret(), [1; 32], mark_id, None);
            Commitment::new(&key, Rung::Presence, 1, [0; 32], None).0
        })
        .collect();
    let report = detect(&model, &secret(), &records, None, &|_| ()).unwrap();
    assert_eq!(report.verdict, Verdict::NotDetected, "{name}");
    for statistic in 0..2 {
        for x in [0.5f64, 0.1, 0.05, 0.01] {
            let hits =
                report.records.iter().filter(|r| r.bands[0].statistics[statistic].log10_p <= x.log10()).count() as f64;
            let expected = x * KEYS as f64;
            let deviation = (expected * (1.0 - x)).sqrt();
            assert!(hits <= expected + 4.0 * deviation, "{name}, statistic {statistic}: {hits} of {KEYS} at {x}");
            // On ordinary weights the odds are exact but for the steps of the sign test.
            if name == "ordinary" && statistic == 1 {
                assert!(hits >= expected - 4.0 * deviation, "{name}: only {hits} of {KEYS} at {x}");
            }
        }
    }
    if name == "ordinary" {
        let agreeing: Vec<f64> = report.records.iter().map(|record| record.bands[0].slots_agreeing as f64).collect();
        let mean = agreeing.iter().sum::<f64>() / KEYS as f64;
        let variance = agreeing.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (KEYS - 1) as f64;
        assert!((mean - 128.0).abs() < 4.0 * (64.0f64 / KEYS as f64).sqrt(), "{mean}");
        assert!((variance - 64.0).abs() < 4.0 * 64.0 * (2.0 / KEYS as f64).sqrt(), "{variance}");
    }
}

#[test]
fn ordinary_weights() {
    null("ordinary", |_| ());
}

#[test]
fn sparse_heavy_tailed_weights() {
    null("sparse", |weights| {
        let mut random = Random(3);
        for weight in weights {
            *weight = if random.bits().is_multiple_of(10) { weight.powi(3) } else { 0.0 };
        }
    });
}

#[test]
fn all_zero() {
    null("zero", |weights| weights.fill(0.0));
}

#[test]
fn all_equal() {
    null("equal", |weights| weights.fill(0.25));
}

#[test]
fn all_nan() {
    null("nan", |weights| weights.fill(f32::NAN));
}

#[test]
fn one_outlier() {
    null("outlier", |weights| {
        weights.fill(0.0);
        weights[1000] = 1e30;
    });
}

#[test]
fn extreme_magnitudes() {
    null("extreme", |weights| {
        for (position, weight) in weights.iter_mut().enumerate() {
            *weight = match position % 7 {
                0 => f32::MAX,
                1 => f32::MIN,
                2 => f32::MIN_POSITIVE,
                3 => f32::from_bits(1),
                4 => f32::INFINITY,
                5 => -0.0,
                _ => *weight,
            };
        }
    });
}

/// The same for every band that looks at a base or at the gauge, on a model with its hidden units in another order.
#[test]
fn every_band() {
    const WIDTH: usize = 64;
    const UNITS: usize = 96;
    const TOKENS: usize = 300;
    let mut base = vec![matrix("model.embed_tokens.weight", Dtype::F32, TOKENS, WIDTH, 1)];
    for layer in 0..2u64 {
        let name = |part: &str| format!("model.layers.{layer}.mlp.{part}_proj.weight");
        base.push(matrix(&name("up"), Dtype::F32, UNITS, WIDTH, 10 * layer + 2));
        base.push(matrix(&name("gate"), Dtype::F32, UNITS, WIDTH, 10 * layer + 3));
        base.push(matrix(&name("down"), Dtype::F32, WIDTH, UNITS, 10 * layer + 4));
    }
    base.push(matrix("other.weight", Dtype::F32, 512, 64, 9));
    let mut suspect = base.clone();
    let mut random = Random(8);
    for part in &mut suspect {
        let columns = part.shape[1];
        if part.name.contains("up") || part.name.contains("gate") {
            part.weights = part.weights.chunks(columns).rev().flatten().copied().collect();
        } else if part.name.contains("down") {
            part.weights.chunks_mut(columns).for_each(<[f32]>::reverse);
        }
        part.weights.iter_mut().for_each(|weight| *weight *= 1.0 + 0.02 * random.normal());
    }
    let (base, suspect) = (open(file(&base)), open(file(&suspect)));
    let records: Vec<Commitment> = (0..KEYS)
        .map(|number| {
            let mut mark_id = [0; 16];
            mark_id[..8].copy_from_slice(&number.to_le_bytes());
            let key = MarkKey::derive(&secret(), [1; 32], mark_id, None);
            let mut record = Commitment::new(&key, Rung::Presence, 1, [0; 32], None).0;
            let gauge = Gauge { bits: 128, layers: 2, tokens: TOKENS as u32, version: "gated-mlp-v1".into() };
            record.transcript.algorithm.gauge = Some(gauge);
            record
        })
        .collect();
    let report = detect(&suspect, &secret(), &records, Some(&base), &|_| ()).unwrap();
    assert_eq!(report.hypotheses, 7 * KEYS);
    let hits = |odds: &dyn Fn(&RecordReport) -> f64, x: f64| {
        report.records.iter().filter(|record| odds(record) <= x.log10()).count() as f64
    };
    for x in [0.5f64, 0.1, 0.05, 0.01] {
        let (expected, deviation) = (x * KEYS as f64, (x * KEYS as f64 * (1.0 - x)).sqrt());
        for band in ["blind", "semi-blind", "aligned", "gauge"] {
            for statistic in 0..if band == "gauge" { 1 } else { 2 } {
                let hits = hits(&|record| record.band(band).unwrap().statistics[statistic].log10_p, x);
                println!("{band} {statistic}: {hits} of {KEYS} at {x}");
                assert!(hits <= expected + 4.0 * deviation, "{band}, {statistic}: {hits} of {KEYS} at {x}");
            }
        }
        // The best of all seven, each record by itself paying for seven.
        let best = |record: &RecordReport| {
            let statistics = record.bands.iter().flat_map(|band| &band.statistics);
            statistics.map(|statistic| statistic.log10_p).fold(0.0, f64::min) + 7f64.log10()
        };
        let hits = hits(&best, x);
        println!("combined: {hits} of {KEYS} at {x}");
        assert!(hits <= expected + 4.0 * deviation, "{hits} of {KEYS} at {x}");
    }
}
