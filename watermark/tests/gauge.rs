//! The gauge band on synthetic gated MLPs: what it promises under every symmetry, and what it must never claim.
//! Real models are in `fixtures/tests/gauge.rs`.

mod common;

use std::ops::Range;

use candle_core::{Device, Tensor};
use common::Random;
use countermark_watermark::statistics::sign_test;
use countermark_watermark::*;
use proptest::prelude::*;

const TOKENS: usize = 700;
const WIDTH: usize = 64;
const UNITS: usize = 160;
const LAYERS: usize = 4;
const PLAN: GaugePlan = GaugePlan { bits: 32, layers: LAYERS, tokens: TOKENS };

#[derive(Clone)]
struct Model {
    embedding: Tensor,
    layers: Vec<Option<GaugeLayer>>,
}

impl GaugeHost for Model {
    fn embedding_shape(&self) -> (usize, usize) {
        self.embedding.dims2().unwrap()
    }

    fn embedding_rows(&self, rows: Range<usize>) -> Result<Tensor> {
        Ok(self.embedding.narrow(0, rows.start, rows.len())?)
    }

    fn layer(&self, number: usize) -> Result<Option<GaugeLayer>> {
        Ok(self.layers.get(number).cloned().flatten())
    }
}

fn tensor(rows: usize, columns: usize, value: impl FnMut() -> f32) -> Tensor {
    let values: Vec<f32> = std::iter::repeat_with(value).take(rows * columns).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

/// A model with a lopsided embedding and with gains of either sign, some of them tiny.
fn model(seed: u64, mut draw: impl FnMut(&mut Random) -> f32) -> Model {
    let mut random = Random(seed);
    let mean: Vec<f32> = (0..WIDTH).map(|_| 3.0 * random.normal()).collect();
    let mut column = 0;
    let embedding = tensor(TOKENS, WIDTH, || {
        column = (column + 1) % WIDTH;
        draw(&mut random) + mean[column]
    });
    let layer = |_| {
        let gain = tensor(1, WIDTH, || {
            let size = 0.3 + 0.1 * random.normal();
            if random.bits().is_multiple_of(8) { -1e-4 * size } else { size }
        });
        let gain = gain.squeeze(0).unwrap();
        Some(GaugeLayer {
            up: tensor(UNITS, WIDTH, || draw(&mut random)),
            gate: tensor(UNITS, WIDTH, || draw(&mut random)),
            down: tensor(WIDTH, UNITS, || draw(&mut random)),
            gain: Some(gain),
        })
    };
    Model { embedding, layers: (0..LAYERS).map(layer).collect() }
}

fn normal(seed: u64) -> Model {
    model(seed, Random::normal)
}

fn key(number: u64) -> MarkKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    MarkKey::derive(&common::secret(), [1; 32], id, None)
}

fn codeword(bits: usize) -> Vec<bool> {
    let mut random = Random(5);
    (0..bits).map(|_| random.bits() & 1 == 1).collect()
}

/// A marked copy.
fn marked(host: &Model, plan: &GaugePlan, margin: f64) -> (Model, GaugeReport) {
    let mut copy = host.clone();
    let report = gauge_embed(host, &key(1), plan, &codeword(plan.bits), margin, &mut |number, change| {
        let layer = copy.layers[number].as_mut().unwrap();
        layer.up = (&layer.up + change.to_tensor()?)?;
        Ok(())
    });
    (copy, report.unwrap())
}

/// Scores towards the codeword.
fn scores(model: &Model, plan: &GaugePlan) -> Vec<f64> {
    let found = gauge_detect(model, &[key(1)], plan).unwrap();
    found.z[0].iter().zip(codeword(plan.bits)).map(|(z, side)| if side { *z } else { -z }).collect()
}

fn agreeing(scores: &[f64]) -> usize {
    scores.iter().filter(|z| **z > 0.0).count()
}

/// Product of reflections at random vectors: orthogonal.
fn rotation(random: &mut Random) -> Tensor {
    let mut product = Tensor::eye(WIDTH, candle_core::DType::F32, &Device::Cpu).unwrap();
    for _ in 0..WIDTH {
        let v = tensor(WIDTH, 1, || random.normal());
        let scale = 2.0 / v.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        let along = (product.matmul(&v).unwrap() * f64::from(scale)).unwrap();
        product = (product - along.matmul(&v.t().unwrap()).unwrap()).unwrap();
    }
    product
}

/// Every change at once that leaves the function alone: rotation with the gains folded in, units permuted, rows of
/// up_proj scaled by c of either sign against columns of down_proj.
fn reparameterised(model: &Model, seed: u64) -> Model {
    let mut random = Random(seed);
    let q = rotation(&mut random);
    let layers = model.layers.iter().flatten().map(|layer| {
        let fold = |w: &Tensor| w.broadcast_mul(layer.gain.as_ref().unwrap()).unwrap().matmul(&q).unwrap();
        let mut order: Vec<u32> = (0..UNITS as u32).collect();
        (1..UNITS).rev().for_each(|i| order.swap(i, random.bits() as usize % (i + 1)));
        let order = Tensor::from_vec(order, UNITS, &Device::Cpu).unwrap();
        let scale = tensor(UNITS, 1, || {
            let size = random.normal().exp();
            if random.bits() & 1 == 1 { size } else { -size }
        });
        let turned = q.t().unwrap().matmul(&layer.down).unwrap().index_select(&order, 1).unwrap();
        Some(GaugeLayer {
            up: fold(&layer.up).index_select(&order, 0).unwrap().broadcast_mul(&scale).unwrap(),
            gate: fold(&layer.gate).index_select(&order, 0).unwrap(),
            down: turned.broadcast_div(&scale.t().unwrap()).unwrap(),
            gain: None,
        })
    });
    Model { embedding: model.embedding.matmul(&q).unwrap(), layers: layers.collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    /// Each score is the same number, marked or not, but for rounding.
    #[test]
    fn scores_are_invariants(seed in any::<u64>()) {
        let host = normal(seed);
        for model in [marked(&host, &PLAN, 2.5).0, host] {
            let (before, after) = (scores(&model, &PLAN), scores(&reparameterised(&model, seed ^ 1), &PLAN));
            for (before, after) in before.iter().zip(after) {
                prop_assert!((before - after).abs() < 2e-3, "{before} became {after}");
            }
        }
    }
}

#[test]
fn every_bit_reaches_its_margin_at_the_predicted_cost() {
    // Few bits for the size, so that they hardly disturb each other.
    let plan = GaugePlan { bits: 16, ..PLAN };
    let (mut change, mut energy) = (0.0, 0.0);
    for seed in 0..12 {
        let host = normal(seed);
        let (marked, report) = marked(&host, &plan, 1.5);
        let found = scores(&marked, &plan);
        assert!(found.iter().all(|z| *z > 1.4), "{found:?}");
        assert!(found.iter().zip(&report.margins).all(|(z, margin)| (z - margin).abs() < 1e-3));
        change += report.change;
        energy += report.energy;
    }
    // K(1.5) = (1 + c²) Φ(c) + c φ(c) = 3.227, over m · n weights for each four bits.
    let predicted = 10.0 * (3.227 * 4.0 / (UNITS * WIDTH) as f64).log10();
    let measured = 10.0 * f64::log10(change / energy);
    assert!((measured - predicted).abs() < 1.0, "{measured} dB, predicted {predicted} dB");
}

#[test]
fn what_leans_far_enough_already_is_left_alone() {
    let host = normal(3);
    let (once, first) = marked(&host, &PLAN, 2.0);
    let (_, again) = marked(&once, &PLAN, 1.5);
    assert!(again.change <= 1e-4 * first.change, "{} after {}", again.change, first.change);
}

/// Strangers' keys find fair coins: on the marked model, on heavy tails, on a model of few tokens, on ternary weights
/// with most of them zero. 20,480 scores each.
#[test]
fn wrong_keys_toss_fair_coins() {
    let heavy = |random: &mut Random| random.normal() / (random.normal().powi(2) + 1e-3);
    let ternary = |random: &mut Random| if random.bits() % 10 < 8 { 0.0 } else { random.normal().signum() };
    let plan = GaugePlan { bits: 128, ..PLAN };
    let few = GaugePlan { tokens: 20, ..plan };
    let keys: Vec<MarkKey> = (100..260).map(key).collect();
    for (name, host, plan) in [
        ("marked", marked(&normal(1), &plan, 2.5).0, plan),
        ("heavy", model(2, heavy), plan),
        ("ternary", model(3, ternary), plan),
        ("fewer tokens than the width", normal(4), few),
    ] {
        let found = gauge_detect(&host, &keys, &plan).unwrap();
        let code = codeword(128);
        let hits: Vec<f64> = found
            .z
            .iter()
            .map(|z| z.iter().zip(&code).filter(|(z, side)| **z != 0.0 && (**z > 0.0) == **side).count() as f64)
            .collect();
        let count = keys.len() as f64;
        let mean = hits.iter().sum::<f64>() / count;
        let variance = hits.iter().map(|hit| (hit - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let z: Vec<f64> = found.z.concat();
        let square = z.iter().map(|z| z * z).sum::<f64>() / z.len() as f64;
        println!("{name}: mean {mean:.2} of 128, variance {variance:.1} (32), mean z² {square:.3}");
        // Four standard errors: of a mean of 160 binomial counts, of their variance, of a mean of 20,480 squares.
        assert!((mean - 64.0).abs() < 4.0 * (32.0 / count).sqrt(), "{name}: mean {mean}");
        assert!((variance - 32.0).abs() < 4.0 * 32.0 * (2.0 / count).sqrt(), "{name}: variance {variance}");
        assert!((square - 1.0).abs() < 4.0 * (2.0 / z.len() as f64).sqrt(), "{name}: mean z² {square}");
        for level in [0.5f64, 0.1, 0.01] {
            let below = found.z.iter().filter(|z| gauge_log10_p(z, &code) <= level.log10()).count() as f64;
            assert!(below <= level * count + 4.0 * (level * count).sqrt(), "{name}: {below} of {count} at {level}");
        }
    }
}

#[test]
fn the_vocabulary_may_grow_or_shrink() {
    let (model, _) = marked(&normal(6), &PLAN, 3.0);
    let mut random = Random(9);
    let more = tensor(300, WIDTH, || 10.0 * random.normal());
    let grown = Model { embedding: Tensor::cat(&[&model.embedding, &more], 0).unwrap(), ..model.clone() };
    assert_eq!(scores(&grown, &PLAN), scores(&model, &PLAN));
    let shrunk = Model { embedding: model.embedding.narrow(0, 0, 500).unwrap(), ..model.clone() };
    let found = gauge_detect(&shrunk, &[key(1)], &PLAN).unwrap();
    assert_eq!(found.tokens, 500);
    assert!(agreeing(&scores(&shrunk, &PLAN)) >= 30);
}

#[test]
fn missing_layers_and_broken_weights_are_misses() {
    let (mut model, _) = marked(&normal(7), &PLAN, 3.0);
    model.layers[2] = None;
    let found = scores(&model, &PLAN);
    assert!(found[16..24].iter().all(|z| *z == 0.0));
    assert_eq!(agreeing(&found), 24);
    model.layers[1].as_mut().unwrap().up = tensor(UNITS, WIDTH, || f32::NAN);
    model.layers[3].as_mut().unwrap().gate = tensor(UNITS, WIDTH, || 0.0);
    assert_eq!(agreeing(&scores(&model, &PLAN)), 8);
    // All rows equal, and as large as can be: some direction, and nothing found along it.
    model.embedding = tensor(TOKENS, WIDTH, || f32::MAX);
    assert!(gauge_log10_p(&scores(&model, &PLAN), &codeword(32)) > -3.0);
    for value in [0.0, f32::NAN] {
        model.embedding = tensor(TOKENS, WIDTH, || value);
        assert!(scores(&model, &PLAN).iter().all(|z| *z == 0.0), "an embedding of {value}");
    }
    let nothing = gauge_embed(&model, &key(1), &PLAN, &codeword(32), 2.0, &mut |_, _| Ok(()));
    assert!(matches!(nothing, Err(Error::NothingToMark)));
}

#[test]
fn single_broken_weights_do_not_spread() {
    let (mut model, _) = marked(&normal(8), &PLAN, 3.0);
    let mut values = model.embedding.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values[77] = f32::NAN;
    values[7777] = f32::INFINITY;
    model.embedding = Tensor::from_vec(values, (TOKENS, WIDTH), &Device::Cpu).unwrap();
    assert_eq!(agreeing(&scores(&model, &PLAN)), 32);
}

#[test]
fn bad_input_is_explained() {
    let host = normal(1);
    let embed = |host: &Model, plan: &GaugePlan, bits: usize, margin: f64| {
        gauge_embed(host, &key(1), plan, &codeword(bits), margin, &mut |_, _| Ok(())).unwrap_err().to_string()
    };
    assert!(embed(&host, &PLAN, 31, 2.5).contains("31 bits"));
    assert!(embed(&host, &GaugePlan { layers: 0, ..PLAN }, 32, 2.5).contains("0 layers"));
    assert!(embed(&host, &PLAN, 32, f64::NAN).contains("NaN standard deviations"));
    assert!(embed(&host, &GaugePlan { layers: 5, ..PLAN }, 32, 2.5).contains("layer 4: no such layer"));
    let mut wrong = host.clone();
    wrong.layers[1].as_mut().unwrap().down = tensor(UNITS, WIDTH, || 1.0);
    assert!(embed(&wrong, &PLAN, 32, 2.5).contains("layer 1: up_proj [160, 64]"));
    let error = gauge_detect(&wrong, &[key(1)], &PLAN).unwrap_err().to_string();
    assert!(error.contains("down_proj [160, 64]") && error.contains("expected"), "{error}");
    wrong.embedding = tensor(TOKENS, WIDTH + 1, || 1.0);
    assert!(gauge_detect(&wrong, &[key(1)], &PLAN).is_err());
}

#[test]
fn the_sum_says_more_than_the_signs() {
    let found = scores(&marked(&normal(2), &PLAN, 2.5).0, &PLAN);
    let code = vec![true; 32];
    let (signs, sum) = (sign_test(agreeing(&found) as u64, 32), gauge_log10_p(&found, &code));
    assert!(signs < -9.6 && sum < -40.0, "{signs} {sum}");
}
