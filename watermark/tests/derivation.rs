//! The derivation test on synthetic models: what it must find, what it must not, and hostile weights.

mod common;

use candle_core::Device;
use common::{Part, Random, file, matrix, open, read};
use countermark_formats::{Checkpoint, Dtype};
use countermark_watermark::attack::{Attack, write_safetensors};
use countermark_watermark::derivation::{
    Alignment, DerivationOptions, DerivationReport, Kind, Relation, Statistic, TensorKind, align, derivation,
};
use countermark_watermark::statistics::THRESHOLD_LOG10_P;

#[derive(Clone, Copy)]
struct Shape {
    layers: usize,
    units: usize,
    width: usize,
    tokens: usize,
}

const SMALL: Shape = Shape { layers: 3, units: 192, width: 96, tokens: 256 };

/// A decoder's MLPs and embedding, with the names of Hugging Face.
fn parts(shape: Shape, dtype: Dtype, seed: u64) -> Vec<Part> {
    let mut seeds = Random(seed);
    let mut matrix = |name: String, rows, columns| matrix(&name, dtype, rows, columns, seeds.bits());
    let mut parts = vec![matrix("model.embed_tokens.weight".into(), shape.tokens, shape.width)];
    for layer in 0..shape.layers {
        let name = |part: &str| format!("model.layers.{layer}.mlp.{part}_proj.weight");
        parts.push(matrix(name("down"), shape.width, shape.units));
        parts.push(matrix(name("gate"), shape.units, shape.width));
        parts.push(matrix(name("up"), shape.units, shape.width));
    }
    let mut random = Random(seed ^ 0x0067_6169_6e73);
    for layer in 0..shape.layers {
        let name = format!("model.layers.{layer}.post_attention_layernorm.weight");
        let weights = (0..shape.width).map(|_| 1.0 + 0.2 * random.normal()).collect();
        parts.push(Part { name, dtype, shape: vec![shape.width], weights });
    }
    parts
}

fn model(shape: Shape, seed: u64) -> Vec<u8> {
    file(&parts(shape, Dtype::Bf16, seed))
}

fn changed(model: &[u8], attack: &str, other: Option<&[u8]>, seed: u64) -> Vec<u8> {
    let attack: Attack = attack.parse().unwrap();
    let other = other.map(|bytes| open(bytes.to_vec()));
    let mut bytes = Vec::new();
    write_safetensors(&attack, &open(model.to_vec()), other.as_ref(), seed, &mut bytes, &|_| ()).unwrap();
    bytes
}

fn test(child: &[u8], parent: &[u8]) -> DerivationReport {
    let options = DerivationOptions::default();
    derivation(&open(child.to_vec()), &open(parent.to_vec()), &options, &Device::Cpu).unwrap()
}

/// An exact finding by position of every unit.
#[track_caller]
fn all_match(report: &DerivationReport, shape: Shape, alignment: Alignment) {
    assert_eq!(report.verdict, "not independent");
    assert_eq!((report.related, report.kind, report.alignment), (true, Kind::Exact, alignment));
    assert_eq!(report.statistic, Some(Statistic::Position));
    let units = (shape.layers * shape.units) as u64;
    assert_eq!((report.matches, report.units, report.layers), (units, units, shape.layers as u64));
    assert!(report.log10_p < -900.0, "{}", report.log10_p);
}

#[track_caller]
fn unrelated(report: &DerivationReport) {
    assert_eq!(report.verdict, "no relation found");
    assert_eq!((report.related, report.relation_hint), (false, None));
    assert!(report.log10_p > -4.0, "{}", report.log10_p);
}

fn says(report: &DerivationReport, words: &str) -> bool {
    report.findings.iter().any(|finding| finding.contains(words))
}

#[test]
fn further_training_leaves_the_numbering() {
    let parent = model(SMALL, 1);
    for noise in ["noise:0.001", "noise:0.1", "noise:1"] {
        let report = test(&changed(&parent, noise, None, 2), &parent);
        all_match(&report, SMALL, Alignment::None);
    }
    let report = test(&changed(&parent, "noise:0.1", None, 2), &parent);
    assert_eq!(report.relation_hint, Some(Relation::FineTunedFrom));
    assert!(says(&report, "10 matrices trained further, median drift"), "{:?}", report.findings);
    let drift = report.tensors[0].drift.unwrap();
    assert!((drift - 0.1).abs() < 0.01, "{drift}");
    assert!(report.limits.iter().any(|limit| limit.contains("common ancestor")));
    assert!(!serde_json::to_string(&report).unwrap().to_lowercase().contains("derived from"));
}

#[test]
fn independent_models_match_like_poisson() {
    let shape = Shape { layers: 1, units: 48, width: 32, tokens: 8 };
    let models: Vec<Checkpoint> = (0..34)
        .map(|seed| {
            let mut parts = parts(shape, Dtype::F32, 100 + seed);
            parts.retain(|part| !part.name.contains("embed"));
            open(file(&parts))
        })
        .collect();
    let mut counts = [0u32; 49];
    for (i, child) in models.iter().enumerate() {
        for parent in models.iter().enumerate().filter(|&(j, _)| i != j).map(|(_, model)| model) {
            let report = derivation(child, parent, &DerivationOptions::default(), &Device::Cpu).unwrap();
            unrelated(&report);
            assert!(report.agreement.unwrap().agreeing < 12);
            counts[report.matches as usize] += 1;
        }
    }
    let pairs = f64::from(counts.iter().sum::<u32>());
    assert_eq!(pairs, 34.0 * 33.0);
    let mean = counts.iter().enumerate().map(|(m, &count)| m as f64 * f64::from(count)).sum::<f64>() / pairs;
    let share = |least: usize| f64::from(counts[least..].iter().sum::<u32>()) / pairs;
    // Poisson(1): mean 1, P(M ≥ 1) .632, P(M ≥ 3) .080, P(M ≥ 5) .0037; within five deviations of 1122 pairs.
    println!("mean {mean}, P(M ≥ 1) {}, P(M ≥ 3) {}, P(M ≥ 5) {}", share(1), share(3), share(5));
    assert!((mean - 1.0).abs() < 0.15, "{mean}");
    assert!((share(1) - 0.632).abs() < 0.075 && (share(3) - 0.080).abs() < 0.042 && share(5) < 0.013);
}

#[test]
fn other_shapes_have_no_relation() {
    let parent = model(SMALL, 3);
    unrelated(&test(&model(SMALL, 4), &parent));
    unrelated(&test(&model(Shape { units: 128, ..SMALL }, 5), &parent));
    unrelated(&test(&model(Shape { layers: 4, ..SMALL }, 6), &parent));
    unrelated(&test(&model(Shape { width: 64, ..SMALL }, 7), &parent));
    unrelated(&test(&model(Shape { layers: 2, units: 256, width: 128, tokens: 300 }, 8), &parent));
}

#[test]
fn more_candidates_cost_odds() {
    let parent = model(SMALL, 1);
    let child = changed(&parent, "noise:4", None, 2);
    let with = |candidates: u64| {
        let options = DerivationOptions { candidates, ..DerivationOptions::default() };
        derivation(&open(child.clone()), &open(parent.clone()), &options, &Device::Cpu).unwrap()
    };
    assert!((with(1).log10_hypotheses - 2f64.log10()).abs() < 1e-12, "as it is, and rotated");
    assert!((with(8).log10_p - with(1).log10_p - 8f64.log10()).abs() < 1e-9);
    assert!((with(8).log10_hypotheses - 16f64.log10()).abs() < 1e-12);
}

#[test]
fn fewer_units_give_weaker_odds_that_still_decide() {
    let parent = model(SMALL, 1);
    let child = changed(&parent, "noise:0.5", None, 2);
    let options = DerivationOptions { units_per_layer: 40, ..DerivationOptions::default() };
    let report = derivation(&open(child), &open(parent), &options, &Device::Cpu).unwrap();
    assert_eq!((report.matches, report.units, report.related), (120, 120, true));
}

#[test]
fn formats_and_rounding_are_conversions() {
    let parts = parts(SMALL, Dtype::F32, 9);
    let parent = file(&parts);
    let rounded = changed(&parent, "cast:bf16", None, 0);
    for (child, parent, kind, finding) in [
        (parent.clone(), parent.clone(), TensorKind::Identical, "all 10 matrices are identical"),
        (rounded.clone(), parent.clone(), TensorKind::Rounded, "10 of them rounded"),
        (changed(&rounded, "cast:f32", None, 0), rounded, TensorKind::Converted, "converted"),
    ] {
        let report = test(&child, &parent);
        all_match(&report, SMALL, Alignment::None);
        assert_eq!(report.relation_hint, Some(Relation::ConvertedFrom));
        assert!(says(&report, finding), "{:?}", report.findings);
        assert!(report.tensors.iter().all(|tensor| tensor.kind == kind));
    }
}

#[test]
fn quantisation_is_named_with_its_bits() {
    for dtype in [Dtype::Bf16, Dtype::F32] {
        let parent = file(&parts(Shape { units: 256, width: 128, ..SMALL }, dtype, 10));
        for (attack, bits, block) in [
            ("int8", 8, None),
            ("int4:128", 4, Some(128)),
            ("int4:32", 4, Some(32)),
            ("int3:64", 3, Some(64)),
            ("nf4:64", 4, Some(64)),
            ("gguf:q8_0", 8, Some(32)),
            ("gguf:q4_0", 4, Some(32)),
            ("gguf:q4_1", 4, Some(32)),
            ("gguf:q5_0", 5, Some(32)),
            ("gguf:q4_k", 4, Some(32)),
        ] {
            let report = test(&changed(&parent, attack, None, 0), &parent);
            assert!(report.related && report.log10_p < -1000.0, "{attack}: {}", report.log10_p);
            assert_eq!(report.relation_hint, Some(Relation::QuantisedFrom), "{attack} {:?}", report.findings);
            for tensor in &report.tensors {
                let grid = tensor.grid.as_ref().unwrap_or_else(|| panic!("{attack} {dtype} {tensor:?}"));
                // Where rows do not fill blocks of 256, Q5_0 stands in for Q4_K, as llama.cpp has it.
                let stand_in = attack == "gguf:q4_k" && !tensor.role.ends_with("down");
                assert_eq!(grid.bits, if stand_in { 5 } else { bits }, "{attack} {dtype} {tensor:?}");
                assert!(block.is_none() || grid.block == block, "{attack} {dtype} {tensor:?}");
                // Q4_0 and Q5_0 clip the largest values of one sign; levels of NF4 have no step.
                let plain = !["nf4:64", "gguf:q4_0", "gguf:q5_0", "gguf:q4_k"].contains(&attack);
                assert!(!plain || grid.nearest == Some(true), "{attack} {dtype} {tensor:?}");
                assert_eq!(tensor.pruning, None, "{attack} {dtype} {tensor:?}");
            }
        }
        let report = test(&changed(&parent, "noise:0.2+int4:32", None, 0), &parent);
        assert!(says(&report, "not by plain rounding of this parent"), "{:?}", report.findings);
        let quantised = changed(&parent, "int4:32", None, 0);
        let report = test(&changed(&quantised, "noise:0.1", None, 0), &quantised);
        assert_eq!(report.relation_hint, Some(Relation::FineTunedFrom), "{:?}", report.findings);
    }
}

#[test]
fn pruning_is_named_with_its_share() {
    let parent = model(SMALL, 11);
    for (attack, share, words) in [
        ("prune:0.5", 0.5, "pruned by 50 %, the smallest weights, the others unchanged"),
        ("prune:0.9", 0.9, "pruned by 90 %, the smallest weights, the others unchanged"),
        ("noise:0.05+prune:0.5", 0.5, "pruned by 50 %"),
    ] {
        let report = test(&changed(&parent, attack, None, 0), &parent);
        all_match(&report, SMALL, Alignment::None);
        assert_eq!(report.relation_hint, Some(Relation::PrunedFrom));
        assert!(says(&report, words), "{:?}", report.findings);
        let found = report.tensors[0].pruning.as_ref().unwrap();
        assert!((found.share - share).abs() < 0.01, "{found:?}");
    }
    let sparse = test(&changed(&parent, "prune:0.9", None, 0), &parent);
    assert!(sparse.tensors.iter().all(|tensor| tensor.grid.is_none()), "few values are no grid: {sparse:?}");
    let two_of_four = common::attack(&parent, |row| {
        for group in row.chunks_mut(4) {
            let mut sizes: Vec<f32> = group.iter().map(|w| w.abs()).collect();
            sizes.sort_by(f32::total_cmp);
            group.iter_mut().filter(|w| w.abs() <= sizes[1]).for_each(|w| *w = 0.0);
        }
    });
    let report = test(&two_of_four, &parent);
    assert!(says(&report, "two of every four"), "{:?}", report.findings);
    let chain = test(&changed(&parent, "noise:0.05+prune:0.5+int4:32", None, 1), &parent);
    all_match(&chain, SMALL, Alignment::None);
    assert!(says(&chain, "4 bits") && says(&chain, "pruned by 5"), "{:?}", chain.findings);
}

#[test]
fn removed_units_are_found_by_their_order() {
    let parent = model(Shape { units: 512, ..SMALL }, 12);
    let pruned = changed(&parent, "prune-units:0.5", None, 0);
    for child in [pruned.clone(), changed(&pruned, "noise:1", None, 3)] {
        let report = test(&child, &parent);
        assert_eq!((report.related, report.kind, report.statistic), (true, Kind::Exact, Some(Statistic::Order)));
        assert!(report.matches > 760 && report.units == 768, "{} of {}", report.matches, report.units);
        assert!(report.log10_p < -1000.0, "{}", report.log10_p);
        assert_eq!(report.relation_hint, Some(Relation::PrunedFrom));
        assert!(says(&report, "768 of 1536 hidden units removed"), "{:?}", report.findings);
    }
    let shuffled = test(&changed(&pruned, "permute", None, 4), &parent);
    assert_eq!((shuffled.related, shuffled.kind, shuffled.log10_p), (true, Kind::Empirical, 0.0));
    assert!(shuffled.agreement.unwrap().agreeing > 760);
    let grown = test(&parent, &pruned);
    assert!(grown.related && says(&grown, "768 hidden units added"), "{:?}", grown.findings);
}

#[test]
fn merged_adapters_are_named_with_their_rank() {
    let shape = Shape { layers: 1, units: 640, width: 512, tokens: 64 };
    for dtype in [Dtype::Bf16, Dtype::F32] {
        let parent = file(&parts(shape, dtype, 13));
        for rank in [8, 16, 64] {
            let adapted = changed(&parent, &format!("low-rank:{rank}:0.05"), None, rank);
            // Adapters are on the MLP alone.
            let mut merged = read(&adapted);
            merged[0] = read(&parent).swap_remove(0);
            let report = test(&file(&merged), &parent);
            all_match(&report, shape, Alignment::None);
            assert_eq!(report.relation_hint, Some(Relation::FineTunedFrom));
            let words = format!("differ by rank {rank}: a merged adapter; all others identical");
            assert!(says(&report, &words), "{dtype} {:?} {:?}", report.findings, report.tensors);
        }
    }
}

#[test]
fn merges_are_told_from_siblings() {
    let base = model(SMALL, 14);
    let one = changed(&base, "noise:0.05", None, 1);
    let two = changed(&base, "noise:0.05", None, 2);
    let three = changed(&base, "noise:0.05", None, 3);
    let merge = |child: &[u8]| {
        let two = open(two.clone());
        let options = DerivationOptions { second_parent: Some(&two), ..DerivationOptions::default() };
        derivation(&open(child.to_vec()), &open(one.clone()), &options, &Device::Cpu).unwrap()
    };
    for (attack, lambda) in [("soup:0.35", 0.35), ("slerp:0.4", 0.4)] {
        let report = merge(&changed(&one, attack, Some(&two), 0));
        let found = report.merge.as_ref().unwrap();
        assert_eq!((found.merged, found.second_is_nearest), (true, false), "{found:?}");
        assert!((found.lambda - lambda).abs() < 0.01 && found.residual < 0.2, "{found:?}");
        assert_eq!(report.relation_hint, Some(Relation::MergedFrom));
    }
    let sibling = merge(&three);
    let found = sibling.merge.as_ref().unwrap();
    assert!(!found.merged && (found.lambda - 0.5).abs() < 0.05, "{found:?}");
    assert!((found.residual - 0.866).abs() < 0.02, "{found:?}");
    assert_eq!(sibling.relation_hint, Some(Relation::FineTunedFrom));
    let tuned = merge(&changed(&one, "noise:0.01", None, 5)).merge.unwrap();
    assert!(!tuned.merged && tuned.lambda.abs() < 0.02, "{tuned:?}");
    for attack in ["ties:0.2", "dare:0.5"] {
        assert!(merge(&changed(&one, attack, Some(&base), 0)).related, "{attack}");
    }
}

#[test]
fn rotations_are_undone_and_stay_exact() {
    let parent = model(SMALL, 15);
    let rotated = changed(&parent, "rotate", None, 1);
    for child in [rotated.clone(), changed(&rotated, "noise:0.3", None, 2)] {
        let report = test(&child, &parent);
        all_match(&report, SMALL, Alignment::Rotation);
        assert_eq!(report.relation_hint, Some(Relation::DerivedFrom));
    }
    for attack in ["sign-flip", "scale:4"] {
        let report = test(&changed(&parent, attack, None, 3), &parent);
        all_match(&report, SMALL, Alignment::None);
        assert!(says(&report, "unlike the parent's at the same place"), "{attack} {:?}", report.findings);
    }
}

#[test]
fn reordered_units_are_empirical_evidence_only() {
    let parent = model(SMALL, 16);
    let permuted = changed(&parent, "permute", None, 1);
    let both = changed(&changed(&parent, "rotate", None, 1), "permute", None, 2);
    for (child, alignment) in
        [(permuted.clone(), Alignment::None), (changed(&permuted, "noise:0.5", None, 2), Alignment::None)]
            .into_iter()
            .chain([(both, Alignment::Rotation)])
    {
        let report = test(&child, &parent);
        assert_eq!((report.related, report.kind, report.alignment), (true, Kind::Empirical, alignment));
        assert_eq!(report.log10_p, 0.0, "agreement has no odds");
        assert!(report.verdict.contains("empirical"));
        let found = report.agreement.unwrap();
        assert!(found.agreeing as f64 > 0.95 * found.units as f64, "{found:?}");
    }
}

#[test]
fn other_depths_are_found_layer_by_layer() {
    let parent = model(Shape { layers: 4, ..SMALL }, 17);
    // Layers 0, 1, 1, 2, 3 and 0, 2.
    for order in [&[0, 1, 1, 2, 3][..], &[0, 2]] {
        let original = read(&parent);
        let mut parts = vec![original[0].clone()];
        for (new, old) in order.iter().enumerate() {
            let layer = format!("layers.{old}.");
            for part in original.iter().filter(|part| part.name.contains(&layer)) {
                parts.push(Part { name: part.name.replace(&layer, &format!("layers.{new}.")), ..part.clone() });
            }
        }
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        let report = test(&changed(&file(&parts), "noise:0.3", None, 5), &parent);
        assert_eq!((report.related, report.kind), (true, Kind::Exact));
        assert_eq!(report.statistic, Some(Statistic::BestLayerPair));
        let hypotheses = (2.0 * 4.0 * order.len() as f64).log10();
        assert!((report.log10_hypotheses - hypotheses).abs() < 1e-12);
        let found: Vec<_> = report.layer_map.iter().map(|pair| pair.parent.clone().unwrap()).collect();
        let expected: Vec<_> = order.iter().map(|layer| format!("layers.{layer}.mlp")).collect();
        assert_eq!(found, expected);
        assert!(says(&report, &format!("depth changed from 4 to {}", order.len())), "{:?}", report.findings);
    }
}

#[test]
fn a_larger_vocabulary_is_named() {
    let parent = model(SMALL, 18);
    let report = test(&changed(&changed(&parent, "noise:0.02", None, 1), "extend-vocabulary:64", None, 1), &parent);
    all_match(&report, SMALL, Alignment::None);
    assert!(says(&report, "vocabulary changed"), "{:?}", report.findings);
    let embedding = report.tensors.iter().find(|tensor| tensor.role == "embed").unwrap();
    assert_eq!(embedding.kind, TensorKind::Reshaped);
    assert!((embedding.drift.unwrap() - 0.02).abs() < 0.005, "the rows that both have: {embedding:?}");
}

#[test]
fn plain_mlps_are_tested_as_well() {
    let bert = |seed: u64| -> Vec<Part> {
        let mut parts = Vec::new();
        for layer in 0..2u64 {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}.dense.weight");
            parts.push(matrix(&name("intermediate"), Dtype::F32, 256, 64, seed * 10 + layer));
            parts.push(matrix(&name("output"), Dtype::F32, 64, 256, seed * 10 + layer + 5));
        }
        parts
    };
    let parent = file(&bert(1));
    let report = test(&changed(&parent, "noise:0.5", None, 0), &parent);
    assert_eq!((report.related, report.matches, report.units), (true, 512, 512));
    unrelated(&test(&file(&bert(2)), &parent));
}

/// A model whose layers' rows of `up` and `gate` and columns of `down` were changed.
fn with(seed: u64, change: impl Fn(&mut Part)) -> Vec<u8> {
    let mut parts = parts(SMALL, Dtype::F32, seed);
    parts.iter_mut().for_each(change);
    file(&parts)
}

#[test]
fn hostile_weights_give_no_matches_and_no_panic() {
    let normal = model(SMALL, 20);
    let one_value = |value: f32| with(21, |part| part.weights.fill(value));
    for hostile in [one_value(0.0), one_value(1.0), one_value(f32::NAN), one_value(f32::INFINITY), one_value(3e38)] {
        assert_eq!(test(&hostile, &hostile).matches, 0, "ties, zeros and what is not finite are misses");
        for report in [test(&hostile, &hostile), test(&hostile, &normal), test(&normal, &hostile)] {
            // Where all units of the parent are alike, all match the same one: at most one match in each layer.
            assert!(report.matches <= 3 && !report.related, "{report:?}");
            assert_eq!(report.log10_p, 0.0);
        }
    }
    // Rows 2k and 2k + 1 are the same, in every part.
    let doubled = with(22, |part| {
        let columns = *part.shape.last().unwrap();
        if part.name.contains("down") {
            part.weights.chunks_exact_mut(2).for_each(|pair| pair[1] = pair[0]);
        } else if part.shape.len() == 2 {
            part.weights.chunks_exact_mut(2 * columns).for_each(|pair| pair.copy_within(..columns, columns));
        }
    });
    assert_eq!(test(&doubled, &doubled).matches, 0, "ties are misses");
    // One bad value spoils its own unit only.
    let spoilt = with(23, |part| {
        if part.name.contains("layers.1.mlp.up") {
            part.weights[5] = f32::NAN;
        }
    });
    let report = test(&spoilt, &spoilt);
    assert_eq!((report.matches, report.units, report.related), (575, 576, true));
}

#[test]
fn tiny_and_foreign_models_are_told_as_such() {
    let tiny = model(Shape { layers: 1, units: 1, width: 1, tokens: 1 }, 24);
    let report = test(&tiny, &tiny);
    assert!(!report.related && report.limits.iter().any(|limit| limit.contains("even a copy could not")));
    let eight = model(Shape { layers: 2, units: 12, width: 64, tokens: 80 }, 25);
    let report = test(&eight, &eight);
    assert!(!report.related && report.matches == 24, "{report:?}");
    let foreign = file(&[matrix("weight", Dtype::F32, 40, 40, 1)]);
    let report = test(&foreign, &model(SMALL, 26));
    assert!(!report.related && report.limits[0].starts_with("Not tested: no MLP"), "{:?}", report.limits);
    let empty = file(&[Part { name: "x".into(), dtype: Dtype::F32, shape: vec![0, 7], weights: vec![] }]);
    assert!(!test(&empty, &empty).related);
}

#[test]
fn units_in_an_order_of_norms_prove_nothing() {
    // Rows of growing norm on both sides, otherwise independent.
    let sorted = |seed: u64| {
        with(seed, |part| {
            if part.name.contains("up_proj") {
                let columns = part.shape[1];
                for (index, row) in part.weights.chunks_mut(columns).enumerate() {
                    let norm = row.iter().map(|w| w * w).sum::<f32>().sqrt();
                    row.iter_mut().for_each(|w| *w *= (1.0 + index as f32 / 100.0) / norm);
                }
            }
        })
    };
    let (one, two) = (sorted(27), sorted(28));
    let report = test(&two, &one);
    assert_eq!((report.kind, report.related, report.log10_p), (Kind::Empirical, false, 0.0));
    assert!(report.limits.iter().any(|limit| limit.contains("order of their norms")), "{:?}", report.limits);
    let copy = test(&changed(&one, "noise:0.2", None, 1), &one);
    assert_eq!((copy.kind, copy.related, copy.log10_p), (Kind::Empirical, true, 0.0));
    assert_eq!(test(&one, &model(SMALL, 29)).kind, Kind::Exact, "one sorted side does no harm");
}

#[test]
fn reordered_units_are_traced_to_their_place() {
    let base = model(SMALL, 30);
    let order = |suspect: &[u8]| align(&open(base.clone()), &open(suspect.to_vec()), &Device::Cpu).unwrap();
    let identity: Vec<u32> = (0..SMALL.units as u32).collect();
    let still = order(&changed(&base, "noise:0.5", None, 1));
    assert_eq!(still.layers.len(), SMALL.layers);
    assert!(still.rotation.is_none());
    assert!(still.layers.iter().all(|layer| layer.units.as_ref() == Some(&identity) && layer.sure > 0.9));

    let row = |part: &Part, index: usize| part.weights[index * part.shape[1]..(index + 1) * part.shape[1]].to_vec();
    let permuted = changed(&base, "permute", None, 2);
    let parts = [read(&base), read(&permuted)];
    for (number, layer) in order(&changed(&permuted, "noise:0.1", None, 3)).layers.iter().enumerate() {
        let name = format!("model.layers.{number}.mlp.up_proj.weight");
        let [up, moved] = [&parts[0], &parts[1]].map(|parts| parts.iter().find(|part| part.name == name).unwrap());
        let units = layer.units.as_ref().unwrap();
        assert_ne!(*units, identity);
        for (unit, &place) in units.iter().enumerate() {
            assert_eq!(row(moved, unit), row(up, place as usize), "{name} {unit}");
        }
    }
    let rotated = order(&changed(&changed(&base, "rotate", None, 4), "permute", None, 2));
    assert_eq!(rotated.rotation.unwrap().dims(), [SMALL.width, SMALL.width]);
    assert_eq!(rotated.layers[0].units, order(&permuted).layers[0].units);
    assert!(order(&model(SMALL, 31)).layers.iter().all(|layer| layer.units.is_none() && layer.sure < 0.1));
    assert!(order(&model(Shape { layers: 2, ..SMALL }, 32)).layers.is_empty());
}

#[test]
fn the_threshold_is_that_of_the_mark() {
    let parent = model(SMALL, 33);
    assert_eq!(test(&parent, &parent).threshold_log10_p, THRESHOLD_LOG10_P);
}
