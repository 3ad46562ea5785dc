//! With the base at hand: weaker traces are found, and nothing else is.

mod common;

use common::*;
use countermark_formats::{Checkpoint, Dtype};
use countermark_watermark::*;

fn host() -> Vec<u8> {
    file(&parts(Dtype::F32, 9, 1000, 1003))
}

fn find(suspect: Vec<u8>, commitment: &Commitment, base: &Checkpoint) -> RecordReport {
    let found = detect(&open(suspect), &secret(), std::slice::from_ref(commitment), Some(base), &|_| ()).unwrap();
    assert_eq!(found.hypotheses, 6);
    found.records[0].clone()
}

/// The mean of two models, weight by weight.
fn average(a: &[u8], b: &[u8]) -> Vec<u8> {
    let (mut a, b) = (read(a), read(b));
    for (a, b) in a.iter_mut().zip(b) {
        a.weights.iter_mut().zip(b.weights).for_each(|(a, b)| *a = (*a + b) / 2.0);
    }
    file(&a)
}

#[test]
fn the_payload_comes_back_where_blind_detection_struggles() {
    let host = host();
    let base = open(host.clone());
    let (marked, report) = marked(&host, &EmbedOptions::default());
    let mut random = Random(5);
    let mut noisy = |file: &[u8], share: f32| {
        attack(file, |row| {
            let rms = (row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32).sqrt();
            row.iter_mut().for_each(|x| *x += share * rms * random.normal());
        })
    };
    let soup = noisy(&average(&marked, &host), 0.02);
    let pruned = attack(&soup, |row| {
        let mut sizes: Vec<f32> = row.iter().map(|x| x.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let limit = sizes[row.len() / 2];
        row.iter_mut().filter(|x| x.abs() < limit).for_each(|x| *x = 0.0);
    });
    for (name, suspect) in [("soup", soup), ("soup, half pruned", pruned)] {
        let found = find(suspect, &report.commitment, &base);
        let (blind, semi) = (found.band("blind").unwrap(), found.band("semi-blind").unwrap());
        println!("{name}: {} slots blind, {} semi-blind", blind.slots_agreeing, semi.slots_agreeing);
        assert!(semi.slots_agreeing > blind.slots_agreeing, "{name}");
        assert_eq!(found.payload_ok, Some(true), "{name}");
    }
}

/// What was changed without the key differs from the base, too, and is no mark. Nor is the base itself.
#[test]
fn a_difference_without_the_key_is_no_mark() {
    let host = file(&parts(Dtype::F32, 2, 300, 451));
    let options = EmbedOptions { strength: Strength::Decibel(-24.0), ..EmbedOptions::default() };
    let (_, report) = marked(&host, &options);
    let mut random = Random(6);
    let tuned = attack(&host, |row| row.iter_mut().for_each(|x| *x *= 1.0 + 0.01 * random.normal()));
    for suspect in [tuned, host.clone()] {
        let found = find(suspect, &report.commitment, &open(host.clone()));
        assert!(found.log10_p > -3.0, "{}", found.log10_p);
    }
}

/// A base made up after the fact would show a mark anywhere; it counts only for records that committed to it.
#[test]
fn a_base_counts_only_for_records_that_committed_to_it() {
    let host = file(&parts(Dtype::F32, 2, 300, 451));
    let options = EmbedOptions { strength: Strength::Decibel(-24.0), base_digest: [7; 32], ..EmbedOptions::default() };
    let (marked, report) = marked(&host, &options);
    // The innocent: another model. The made-up base: the innocent less the mark.
    let mut made_up = read(&host);
    for (part, (a, b)) in made_up.iter_mut().zip(read(&marked).iter().zip(read(&host))) {
        let mark = a.weights.iter().zip(&b.weights).map(|(a, b)| a - b);
        part.weights.reverse();
        part.weights.iter_mut().zip(mark).for_each(|(weight, mark)| *weight -= mark);
    }
    let mut innocent = read(&host);
    innocent.iter_mut().for_each(|part| part.weights.reverse());
    let (innocent, made_up) = (open(file(&innocent)), open(file(&made_up)));
    let opened = [report.commitment.open(&secret()).unwrap()];
    let look = |digest| {
        search(&Compute::cpu(), &innocent, &opened, Some(Base { model: &made_up, digest: Some(digest) }), &|_| ())
            .unwrap()
    };
    let fooled = look([7; 32]);
    assert_eq!(fooled.verdict, Verdict::Detected, "the attack itself works: {}", fooled.log10_p);
    let refused = look([8; 32]);
    assert_eq!((refused.verdict, refused.hypotheses), (Verdict::NotDetected, 2));
    assert!(refused.records[0].band("semi-blind").is_none());
}
