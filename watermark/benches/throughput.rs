//! Embedding and detection on 100 million BF16 weights, beside a plain copy of the same bytes.

use std::hint::black_box;

use countermark_formats::Checkpoint;
use countermark_watermark::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// 24 matrices of 2048 × 2048: 100,663,296 weights.
fn model() -> Vec<u8> {
    const TENSOR_BYTES: usize = 2048 * 2048 * 2;
    let entry = |number: usize| {
        let (begin, end) = (number * TENSOR_BYTES, (number + 1) * TENSOR_BYTES);
        format!(r#""layer.{number}.weight":{{"dtype":"BF16","shape":[2048,2048],"data_offsets":[{begin},{end}]}}"#)
    };
    let entries: Vec<String> = (0..24).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    let mut state = 1u64;
    file.extend((0..24 * TENSOR_BYTES / 2).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let sum: f32 = (0..4).map(|i| ((state >> (16 * i)) & 0xffff) as f32 / 65536.0 - 0.5).sum();
        half::bf16::from_f32(sum * 0.03).to_le_bytes()
    }));
    file
}

fn throughput(criterion: &mut Criterion) {
    let file = model();
    let mut copy = vec![0; file.len()];
    let mut group = criterion.benchmark_group("100M BF16 weights");
    group.throughput(Throughput::Bytes(file.len() as u64)).sample_size(10);
    group.bench_function("memory copy", |bencher| bencher.iter(|| copy.copy_from_slice(black_box(&file))));
    drop(copy);

    let model = Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))]).expect("a valid file");
    let secret = MarkSecret::from_bytes([1; 32]);
    let key = MarkKey::derive(&secret, [2; 32], [3; 16], None);
    let embed = || embed(&model, &key, &EmbedOptions::default(), &|_| (), &mut |_, _| Ok(())).expect("room for a mark");
    let records = [embed().commitment];
    group.bench_function("detect", |bencher| {
        bencher.iter(|| detect(&model, &secret, &records, None, &|_| ()).expect("a known record"));
    });
    group.bench_function("embed", |bencher| bencher.iter(embed));
    group.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
