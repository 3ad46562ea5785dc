//! Several marks in one model, copies for recipients, and what a disclosed group allows.

mod common;

use common::*;
use countermark_formats::Dtype;
use countermark_watermark::*;

fn host() -> Vec<u8> {
    file(&parts(Dtype::F32, 9, 1000, 1003))
}

fn mark(file: &[u8], key: &MarkKey) -> (Vec<u8>, Commitment) {
    let model = open(file.to_vec());
    let mut copy = file.to_vec();
    let report = embed(&model, key, &EmbedOptions::default(), &|_| (), &mut |index, bytes| {
        let range = &model.tensors()[index].info.range;
        copy[range.start as usize..range.end as usize].copy_from_slice(bytes);
        Ok(())
    });
    (copy, report.unwrap().commitment)
}

fn recipient(name: &str) -> MarkKey {
    let mut id = [9; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    MarkKey::derive(&secret(), [1; 32], id, Some(recipient_commitment(name, &[3; 32])))
}

#[test]
fn owner_and_recipient_do_not_disturb_each_other_and_a_leak_is_traced() {
    let (owned, owner) = mark(&host(), &key());
    let copies: Vec<(Vec<u8>, Commitment)> = ["ann", "bob", "eve"].map(|name| mark(&owned, &recipient(name))).into();
    let records: Vec<Commitment> = copies.iter().map(|(_, record)| record.clone()).collect();
    for (number, (copy, record)) in copies.iter().enumerate() {
        let both = [owner.clone(), record.clone()];
        let found = detect(&open(copy.clone()), &secret(), &both, None, &|_| ()).unwrap();
        assert!(found.records.iter().all(|record| record.payload_ok == Some(true)));
        assert!(found.records.iter().all(|record| record.log10_p < -150.0));

        let traced = detect(&open(copy.clone()), &secret(), &records, None, &|_| ()).unwrap();
        assert_eq!(traced.hypotheses, 6);
        for (other, record) in traced.records.iter().enumerate() {
            assert_eq!(record.log10_p < -38.6, other == number, "{other}: {}", record.log10_p);
        }
    }
    // Two recipients average their copies: both are named, and the owner's mark stays whole.
    let mut mixed = read(&copies[0].0);
    for (a, b) in mixed.iter_mut().zip(read(&copies[2].0)) {
        a.weights.iter_mut().zip(b.weights).for_each(|(a, b)| *a = (*a + b) / 2.0);
    }
    let mixed = open(file(&mixed));
    let base = open(owned);
    let traced = detect(&mixed, &secret(), &records, Some(&base), &|_| ()).unwrap();
    let named: Vec<bool> = traced.records.iter().map(|record| record.log10_p < -38.6).collect();
    assert_eq!(named, [true, false, true]);
    assert_eq!(detect(&mixed, &secret(), &[owner], None, &|_| ()).unwrap().payload_ok, Some(true));
}

#[test]
fn a_disclosed_group_is_found_without_the_key_and_the_rest_survives_its_abuse() {
    let (marked, record) = mark(&host(), &key());
    let disclosure = Disclosure::new(&record, &secret(), 2, None).unwrap();
    let disclosure = Disclosure::from_json_bytes(&disclosure.to_json_bytes()).unwrap();
    let opened = disclosure.open().unwrap();
    let found = search(&Compute::cpu(), &open(marked.clone()), std::slice::from_ref(&opened), None, &|_| ()).unwrap();
    let slots = found.records[0].bands[0].slots;
    assert_eq!((found.verdict, slots), (Verdict::Detected, Rung::Full.slots_per_group() as u64));
    let null = search(&Compute::cpu(), &open(host()), &[opened], None, &|_| ()).unwrap();
    assert_eq!(null.verdict, Verdict::NotDetected);

    // The holder knows that group's chips: on its rows he can do what he likes. Here he puts noise over them.
    let mut random = Random(8);
    let mut row = 0;
    let abused = attack(&marked, |weights| {
        // All rows of one residue class, in every matrix: as many rows as a group has, not all of them the group's.
        if row % 4 == 2 {
            weights.iter_mut().for_each(|weight| *weight = random.normal());
        }
        row += 1;
    });
    let rest = record.open(&secret()).unwrap().without(&[2]);
    let found = search(&Compute::cpu(), &open(abused), &[rest], None, &|_| ()).unwrap();
    assert_eq!(found.verdict, Verdict::Detected);
    assert_eq!(found.records[0].bands[0].slots, 3 * Rung::Full.slots_per_group() as u64);
}

#[test]
fn disclosures_that_do_not_hold_together_are_refused() {
    let (_, record) = mark(&host(), &key());
    let good = Disclosure::new(&record, &secret(), 1, None).unwrap();
    assert!(matches!(Disclosure::new(&record, &secret(), 4, None), Err(Error::Disclosure(_))));
    let stranger = MarkSecret::from_bytes([8; 32]);
    assert!(matches!(Disclosure::new(&record, &stranger, 1, None), Err(Error::KeyMismatch { .. })));

    type Change = fn(&mut Disclosure);
    let changes: [(&str, Change); 6] = [
        ("group", |d| d.group = 2),
        ("no such group", |d| d.group = 9),
        ("key", |d| d.group_key[0] ^= 1),
        ("own hash", |d| d.group_hashes[1][0] ^= 1),
        ("other hash", |d| d.group_hashes[3][0] ^= 1),
        ("record", |d| d.commitment.transcript.mark_id[0] ^= 1),
    ];
    for (name, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(matches!(bad.open(), Err(Error::Disclosure(_))), "{name}");
    }
    let text = String::from_utf8(good.to_json_bytes()).unwrap();
    let extra = text.replacen('{', "{\"extra\":1,", 1);
    assert!(matches!(Disclosure::from_json_bytes(extra.as_bytes()), Err(Error::Disclosure(_))));
}
