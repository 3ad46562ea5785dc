//! Models made to deceive, and files made to break the reader.

mod common;

use common::*;
use countermark_formats::Dtype;
use countermark_watermark::*;

const WIDTH: usize = 64;
const UNITS: usize = 256;

/// A decoder with gated MLPs and nothing else.
fn decoder(tokens: usize) -> Vec<Part> {
    let mut parts = vec![matrix("model.embed_tokens.weight", Dtype::F32, tokens, WIDTH, 1)];
    for layer in 0..2u64 {
        let name = |part: &str| format!("model.layers.{layer}.mlp.{part}_proj.weight");
        parts.push(matrix(&name("up"), Dtype::F32, UNITS, WIDTH, 10 * layer + 2));
        parts.push(matrix(&name("gate"), Dtype::F32, UNITS, WIDTH, 10 * layer + 3));
        parts.push(matrix(&name("down"), Dtype::F32, WIDTH, UNITS, 10 * layer + 4));
    }
    parts
}

fn part<'a>(parts: &'a mut [Part], name: &str) -> &'a mut Part {
    parts.iter_mut().find(|part| part.name.contains(name)).unwrap()
}

/// Records of other people's marks, with a gauge band.
fn strangers(count: u64, tokens: u32) -> Vec<Commitment> {
    let record = |number: u64| {
        let mut mark_id = [0; 16];
        mark_id[..8].copy_from_slice(&number.to_le_bytes());
        let key = MarkKey::derive(&secret(), [1; 32], mark_id, None);
        let mut record = Commitment::new(&key, Rung::Presence, 1, [0; 32], None).0;
        record.transcript.algorithm.gauge =
            Some(Gauge { bits: 128, layers: 2, tokens, version: "gated-mlp-v1".into() });
        record
    };
    (0..count).map(record).collect()
}

fn best_gauge(parts: &[Part], count: u64, tokens: u32) -> f64 {
    let report = detect(&open(file(parts)), &secret(), &strangers(count, tokens), None, &|_| ()).unwrap();
    let gauge = |record: &RecordReport| record.band("gauge").unwrap().statistics[0].log10_p;
    report.records.iter().map(gauge).fold(0.0, f64::min)
}

/// Weights near 1e-23: their squares vanish in f32, their sums do not. A variance of too little made chance certain.
#[test]
fn an_embedding_of_vanishing_squares_is_no_mark() {
    let mut parts = decoder(5000);
    let embedding = &mut part(&mut parts, "embed").weights;
    embedding.fill(2.5e-23);
    embedding[..WIDTH].fill(0.0);
    embedding[0] = 8e-23;
    assert!(best_gauge(&parts, 16, 5000) > -6.0);
}

/// The band's odds do not depend on the size of an embedding, up to where its squares are infinite.
#[test]
fn the_gauge_band_does_not_see_the_size_of_an_embedding() {
    let scores = |scale: f32| {
        let mut parts = decoder(600);
        part(&mut parts, "embed").weights.iter_mut().for_each(|weight| *weight *= scale);
        best_gauge(&parts, 8, 600)
    };
    for exponent in [-70, -60, 60, 100] {
        assert_eq!(scores(1.0), scores(2f32.powi(exponent)), "2^{exponent}");
    }
}

/// Whoever makes a model chooses its shapes; detection goes on without a band that does not fit.
#[test]
fn shapes_that_are_no_gated_mlps_are_no_error() {
    let tokens = 300;
    let halved = |name: &str, down: usize, across: usize| {
        let mut parts = decoder(tokens);
        let part = part(&mut parts, name);
        part.shape = vec![part.shape[0] / down * across, part.shape[1] * down / across];
        parts
    };
    let mut cases = vec![
        halved("embed", 1, 2),
        halved("0.mlp.up", 1, 2),
        halved("0.mlp.gate", 2, 1),
        halved("0.mlp.gate", 1, 2),
        halved("0.mlp.down", 1, 2),
        halved("0.mlp.down", 2, 1),
    ];
    let with = |part: Part| [decoder(tokens), vec![part]].concat();
    let vector = |length: usize| Part {
        name: "a.layers.0.post_attention_layernorm.weight".into(),
        dtype: Dtype::F32,
        shape: vec![length],
        weights: vec![1.0; length],
    };
    cases.extend([with(vector(3)), with(matrix("layers.0.mlp.foo", Dtype::F32, 16, 16, 3))]);
    let mut fewer = decoder(tokens);
    let gate = part(&mut fewer, "0.mlp.gate");
    gate.shape = vec![UNITS / 2, WIDTH];
    gate.weights.truncate(UNITS / 2 * WIDTH);
    cases.push(fewer);
    // Whitening this would take terabytes.
    let mut wide = decoder(tokens);
    *part(&mut wide, "embed") = matrix("model.embed_tokens.weight", Dtype::F32, 1, 1_000_000, 1);
    cases.push(wide);

    let base = open(file(&decoder(tokens)));
    for (number, case) in cases.iter().enumerate() {
        let found = detect(&open(file(case)), &secret(), &strangers(1, 300), Some(&base), &|_| ());
        let found = found.unwrap_or_else(|error| panic!("case {number}: {error}"));
        assert!(found.log10_p > -3.0 && found.records[0].band("gauge").is_some(), "case {number}");
        embed(&open(file(case)), &key(), &EmbedOptions::default(), &|_| (), &mut |_, _| Ok(())).ok();
    }
}

/// 512 clipped weights in a row have an energy of 2³¹ steps, one more than an `i32` holds.
#[test]
fn the_energy_of_outliers_side_by_side_is_counted() {
    let mut weights = vec![0.0f32; 16 * 8192];
    weights.chunks_mut(8192).for_each(|row| row[512..1024].fill(1.0));
    let parts = [Part { name: "layer.weight".into(), dtype: Dtype::F32, shape: vec![16, 8192], weights }];
    let report = detect(&open(file(&parts)), &secret(), &strangers(1, 1), None, &|_| ()).unwrap();
    let z = report.records[0].bands.iter().find(|band| band.name == "blind").unwrap().z;
    assert!(z != 0.0 && z.abs() < 5.0, "{z}");
}

/// Every payload fits weights that say nothing, the decoder's first guess among them.
#[test]
fn no_payload_is_read_from_zeros() {
    let zeros = Part { name: "a.weight".into(), dtype: Dtype::F32, shape: vec![256, 256], weights: vec![0.0; 1 << 16] };
    for rung in [Rung::Full, Rung::Half, Rung::Quarter] {
        for byte in [0, 0xff] {
            let record = Commitment::new(&key(), rung, 1, [0; 32], Some(&vec![byte; rung.payload_bytes()])).0;
            let report =
                detect(&open(file(std::slice::from_ref(&zeros))), &secret(), &[record], None, &|_| ()).unwrap();
            assert_eq!((report.log10_p, report.payload_ok), (0.0, Some(false)), "{rung:?} {byte}");
        }
    }
}

/// A residual stream a million wide would need terabytes to be rotated; the models are compared without.
#[test]
fn wide_streams_are_not_rotated() {
    let wide = |seed: u64| {
        let parts = [
            ("model.embed_tokens.weight", 1, 1_000_000),
            ("model.layers.0.mlp.up_proj.weight", 1, 1_000_000),
            ("model.layers.0.mlp.gate_proj.weight", 1, 1_000_000),
            ("model.layers.0.mlp.down_proj.weight", 1_000_000, 1),
        ];
        let part = |(name, rows, columns)| matrix(name, Dtype::Bf16, rows, columns, seed);
        open(file(&parts.map(part)))
    };
    let options = derivation::DerivationOptions::default();
    let report = derivation::derivation(&wide(1), &wide(2), &options, &candle_core::Device::Cpu).unwrap();
    assert!(!report.related);
}

/// Time grows with the number of layers, not with its square.
#[test]
fn many_layers_take_no_longer_each() {
    let time = |layers: usize| {
        let mut parts = vec![matrix("model.embed_tokens.weight", Dtype::F32, 4, 2, 1)];
        for layer in 0..layers {
            for (part, shape) in [("up", [1, 2]), ("gate", [1, 2]), ("down", [2, 1])] {
                let name = format!("model.layers.{layer}.mlp.{part}_proj.weight");
                parts.push(Part { name, dtype: Dtype::F32, shape: shape.to_vec(), weights: vec![layer as f32, 1.0] });
            }
        }
        let model = open(file(&parts));
        let begin = std::time::Instant::now();
        let options = derivation::DerivationOptions::default();
        derivation::derivation(&model, &model, &options, &candle_core::Device::Cpu).unwrap();
        detect(&model, &secret(), &strangers(1, 4), Some(&model), &|_| ()).unwrap();
        begin.elapsed().as_secs_f64()
    };
    let (few, many) = (time(500), time(4000));
    assert!(many < 18.0 * few, "{few} s and {many} s");
}

/// A router decides which experts are asked; it is read, and left as it is.
#[test]
fn routers_are_not_marked() {
    let names = ["model.layers.0.mlp.gate.weight", "model.layers.0.mlp.up_proj.weight"];
    let model = open(file(&names.map(|name| matrix(name, Dtype::F32, 128, 64, 1))));
    let marked: Vec<(String, bool)> =
        tensors::matrices(&model).into_iter().map(|matrix| (matrix.role().to_owned(), matrix.marked)).collect();
    assert_eq!(marked, [("layers.0.mlp.up".to_owned(), true), ("layers.0.router".to_owned(), false)]);
}
