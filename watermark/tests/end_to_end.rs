//! Marks that are embedded, attacked and found again, on synthetic models.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use countermark_formats::{Checkpoint, Dtype, ReadAt};
use countermark_watermark::*;

/// Nine million weights: the payload rung.
fn large(dtype: Dtype) -> Vec<u8> {
    file(&parts(dtype, 9, 1000, 1003))
}

/// A quarter of a million weights: the presence rung.
fn small(dtype: Dtype) -> Vec<u8> {
    file(&parts(dtype, 2, 300, 451))
}

fn gentle() -> EmbedOptions {
    EmbedOptions { strength: Strength::Decibel(-24.0), ..EmbedOptions::default() }
}

fn find(file: Vec<u8>, commitment: &Commitment) -> DetectReport {
    detect(&open(file), &secret(), std::slice::from_ref(commitment), None, &|_| ()).unwrap()
}

/// Slots that lean to the committed side, of the model alone.
fn agreeing(found: &DetectReport) -> u64 {
    found.records[0].band("blind").unwrap().slots_agreeing
}

#[test]
fn payload_is_exact_in_every_dtype() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        let host = large(dtype);
        let (marked, report) = marked(&host, &EmbedOptions::default());
        let base = open(host);
        let found =
            detect(&open(marked), &secret(), std::slice::from_ref(&report.commitment), Some(&base), &|_| ()).unwrap();
        println!(
            "{dtype}: {:.2} dB, log10 p {:.1}, {} of {} slots reached",
            report.distortion_db, found.log10_p, report.slots_reached, report.slots
        );
        assert_eq!(found.verdict, Verdict::Detected);
        assert_eq!((found.payload_ok, found.payload.is_some()), (Some(true), true));
        assert_eq!((report.slots_reached, report.rung), (report.slots, Rung::Full));
        let intact = -(report.slots as f64) * 2f64.log10();
        assert!(found.log10_p < intact + 1.0, "{}", found.log10_p);
        assert!(report.distortion_db < -36.0, "{}", report.distortion_db);
        // The base's norms are no matrices, so both sides measure the same tensors.
        assert!((found.distortion_db.unwrap() - report.distortion_db).abs() < 1e-9);
    }
}

#[test]
fn payload_survives_pruning_quantising_and_noise() {
    let host = large(Dtype::F32);
    let (marked, report) = marked(&host, &EmbedOptions::default());
    let mut random = Random(77);
    let check = |name: &str, attacked: Vec<u8>| {
        let found = find(attacked, &report.commitment);
        println!("{name}: log10 p {:.1}, {} slots", found.log10_p, agreeing(&found));
        assert_eq!((found.verdict, found.payload_ok), (Verdict::Detected, Some(true)), "{name}");
    };
    check(
        "half pruned by magnitude",
        attack(&marked, |row| {
            let mut magnitudes: Vec<f32> = row.iter().map(|x| x.abs()).collect();
            magnitudes.sort_by(f32::total_cmp);
            let limit = magnitudes[row.len() / 2];
            row.iter_mut().filter(|x| x.abs() < limit).for_each(|x| *x = 0.0);
        }),
    );
    check(
        "int8 for each row",
        attack(&marked, |row| {
            let scale = row.iter().fold(0f32, |max, x| max.max(x.abs())) / 127.0;
            row.iter_mut().for_each(|x| *x = (*x / scale).round() * scale);
        }),
    );
    check(
        "5 % noise",
        attack(&marked, |row| {
            let rms = (row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32).sqrt();
            row.iter_mut().for_each(|x| *x += 0.05 * rms * random.normal());
        }),
    );
    check("cast to bf16", {
        let mut parts = read(&marked);
        parts.iter_mut().for_each(|part| part.dtype = Dtype::Bf16);
        file(&parts)
    });
    check("overwritten with another mark", {
        let model = open(marked.clone());
        let mut copy = marked.clone();
        let other = MarkKey::derive(&MarkSecret::from_bytes([9; 32]), [1; 32], [2; 16], None);
        embed(&model, &other, &EmbedOptions::default(), &|_| (), &mut |index, bytes| {
            let range = &model.tensors()[index].info.range;
            copy[range.start as usize..range.end as usize].copy_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        copy
    });
}

/// Nobody releases F64, so no mark is struck into it; but casting to it hides none.
#[test]
fn a_cast_to_f64_hides_nothing() {
    let (marked, report) = marked(&small(Dtype::Bf16), &gentle());
    let mut wide = Vec::new();
    let cast = "cast:f64".parse().unwrap();
    countermark_watermark::attack::write_safetensors(&cast, &open(marked), None, 0, &mut wide, &|_| ()).unwrap();
    assert!(open(wide.clone()).tensors().iter().all(|tensor| tensor.info.dtype == Dtype::F64));
    assert_eq!(find(wide.clone(), &report.commitment).verdict, Verdict::Detected);
    let refused = embed(&open(wide), &key(), &gentle(), &|_| (), &mut |_, _| Ok(()));
    assert!(matches!(refused, Err(Error::TooSmall { weights: 0, .. })));
}

#[test]
fn sharding_order_and_threads_change_nothing() {
    let host = small(Dtype::Bf16);
    let (marked, report) = marked(&host, &gentle());
    let expected = find(marked.clone(), &report.commitment);
    assert_eq!(expected.verdict, Verdict::Detected);
    let shards: Vec<(String, Box<dyn ReadAt>)> = read(&marked)
        .into_iter()
        .rev()
        .enumerate()
        .map(|(number, part)| (format!("{number}.safetensors"), Box::new(file(&[part])) as Box<dyn ReadAt>))
        .collect();
    let sharded = Checkpoint::open(shards).unwrap();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool
            .install(|| detect(&sharded, &secret(), std::slice::from_ref(&report.commitment), None, &|_| ()).unwrap());
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        let again = pool.install(|| common::marked(&host, &gentle()));
        assert!(again.0 == marked, "embedding depends on the number of threads");
    }
}

#[test]
fn added_rows_and_tensors_leave_the_mark_in_place() {
    let (marked, report) = marked(&small(Dtype::F16), &gentle());
    let before = find(marked.clone(), &report.commitment);
    let mut parts = read(&marked);
    let embedding = &mut parts[1];
    assert_eq!(embedding.shape, [300, 451]);
    embedding.weights.extend(matrix("more", Dtype::F16, 37, 451, 99).weights);
    embedding.shape[0] += 37;
    parts.push(matrix("adapter.weight", Dtype::F32, 64, 64, 100));
    let after = find(file(&parts), &report.commitment);
    assert_eq!(after.verdict, Verdict::Detected);
    assert!(agreeing(&after) + 6 >= agreeing(&before));
}

#[test]
fn presence_is_found_only_where_it_is() {
    let host = small(Dtype::F32);
    let (marked, report) = marked(&host, &gentle());
    assert_eq!((report.rung, report.slots), (Rung::Presence, 256));
    let found = find(marked.clone(), &report.commitment);
    assert_eq!((found.verdict, found.payload, found.payload_ok), (Verdict::Detected, None, None));
    assert_eq!(find(host, &report.commitment).verdict, Verdict::NotDetected);

    // The same weights under other names: the record's carriers are elsewhere.
    let mut renamed = read(&marked);
    renamed.iter_mut().for_each(|part| part.name.push('x'));
    assert_eq!(find(file(&renamed), &report.commitment).verdict, Verdict::NotDetected);
}

#[test]
fn every_record_tried_is_paid_for() {
    let (marked, report) = marked(&small(Dtype::F32), &gentle());
    let others = (10..17).map(|id| {
        let key = MarkKey::derive(&secret(), [1; 32], [id; 16], None);
        Commitment::new(&key, Rung::Full, 1, [0; 32], None).0
    });
    let mut records: Vec<Commitment> = others.collect();
    records.insert(3, report.commitment.clone());
    let alone = find(marked.clone(), &report.commitment);
    let among = detect(&open(marked), &secret(), &records, None, &|_| ()).unwrap();
    assert_eq!((alone.hypotheses, among.hypotheses), (2, 16));
    assert_eq!(among.mark_id, alone.mark_id);
    assert!((among.log10_p - alone.log10_p - 8f64.log10()).abs() < 1e-9);
    assert_eq!(among.records[3].bands[0].statistics[0].log10_p, alone.records[0].bands[0].statistics[0].log10_p);
}

#[test]
fn a_payload_of_the_caller_is_decoded() {
    let payload = b"sixteen bytes of".to_vec();
    let options = EmbedOptions { payload: Some(payload.clone()), ..EmbedOptions::default() };
    let (marked, report) = marked(&large(Dtype::Bf16), &options);
    let found = find(marked, &report.commitment);
    assert_eq!((found.verdict, found.payload, found.payload_ok), (Verdict::Detected, Some(payload), Some(true)));
    // The record fixed the codeword, so the search for it costs nothing.
    let slots = report.slots as f64 * 2f64.log10();
    assert!((found.log10_p + slots - 2f64.log10()).abs() < 1e-3, "{}", found.log10_p);
}

#[test]
fn what_is_not_finite_stays_and_is_reported() {
    let mut model = parts(Dtype::Bf16, 2, 300, 451);
    for (position, value) in [(5, f32::NAN), (500, f32::INFINITY), (5000, f32::NEG_INFINITY), (6000, -0.0)] {
        model[0].weights[position] = value;
    }
    let host = file(&model);
    let (marked, report) = marked(&host, &gentle());
    assert_eq!(report.non_finite, 3);
    let weights = &read(&marked)[1].weights;
    assert!(weights[5].is_nan() && weights[500] == f32::INFINITY && weights[5000] == f32::NEG_INFINITY);
    assert_eq!(weights[6000].to_bits(), (-0.0f32).to_bits());
    assert!(report.distortion_db.is_finite());
    let found = find(marked, &report.commitment);
    assert_eq!((found.verdict, found.non_finite), (Verdict::Detected, 3));
}

#[test]
fn a_wish_in_decibels_is_met() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        for wish in [-36.0, -38.0] {
            let options = EmbedOptions { strength: Strength::Decibel(wish), ..EmbedOptions::default() };
            let (_, report) = marked(&large(dtype), &options);
            println!("{dtype}: {wish} dB wished, {:.3} dB measured", report.distortion_db);
            assert!((-0.4..=0.01).contains(&(report.distortion_db - wish)), "{dtype}: {}", report.distortion_db);
        }
    }
}

#[test]
fn progress_ends_at_the_announced_work() {
    let model = open(small(Dtype::F32));
    let last = AtomicU64::new(0);
    let progress = |done| assert!(last.swap(done, Ordering::Relaxed) < done);
    let report = embed(&model, &key(), &gentle(), &progress, &mut |_, _| Ok(())).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), embed_work(&model));
    last.store(0, Ordering::Relaxed);
    detect(&model, &secret(), &[report.commitment], Some(&model), &progress).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), detect_work(&model, Some(&model)));
}

#[test]
fn refusals() {
    let refuse = |file: Vec<u8>, options: EmbedOptions| {
        let never = &mut |_: usize, _: &[u8]| panic!("nothing may be written");
        embed(&open(file), &key(), &options, &|_| (), never).unwrap_err()
    };
    let tiny = file(&parts(Dtype::F32, 1, 128, 500));
    assert!(matches!(refuse(tiny.clone(), gentle()), Error::TooSmall { weights: 64_000, .. }));
    assert!(matches!(refuse(small(Dtype::F32), EmbedOptions::default()), Error::TooStrong { .. }));
    let with = |strength| EmbedOptions { strength, ..EmbedOptions::default() };
    assert!(matches!(refuse(small(Dtype::F32), with(Strength::Decibel(-60.0))), Error::TooWeak { .. }));
    assert!(matches!(refuse(small(Dtype::F32), with(Strength::Decibel(3.0))), Error::Strength(_)));
    let payload = EmbedOptions { payload: Some(vec![1; 16]), ..gentle() };
    assert!(matches!(refuse(small(Dtype::F32), payload), Error::PayloadLength { given: 16, room: 0, .. }));
    let mut zeros = parts(Dtype::F32, 2, 300, 451);
    zeros.iter_mut().for_each(|part| part.weights.fill(0.0));
    assert!(matches!(refuse(file(&zeros), gentle()), Error::NothingToMark));

    let (marked, report) = marked(&small(Dtype::F32), &gentle());
    let records = [report.commitment.clone()];
    let stranger = MarkSecret::from_bytes([8; 32]);
    let model = open(marked);
    let attempt = |secret: &MarkSecret, records: &[Commitment], base: Option<&Checkpoint>| {
        detect(&model, secret, records, base, &|_| ())
    };
    assert!(matches!(attempt(&stranger, &records, None), Err(Error::KeyMismatch { .. })));
    assert!(matches!(attempt(&secret(), &[], None), Err(Error::NoRecords)));
    assert!(matches!(attempt(&secret(), &records, Some(&open(tiny.clone()))), Err(Error::BaseDiffers)));
    assert_eq!(find(tiny, &report.commitment).verdict, Verdict::TooSmall);

    let full = &mut |_: usize, _: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
    let failed = embed(&open(small(Dtype::F32)), &key(), &gentle(), &|_| (), full);
    assert!(matches!(failed, Err(Error::Write { .. })));
}
