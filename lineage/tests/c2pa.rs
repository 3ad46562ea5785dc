//! Hostile bytes against the C2PA checker: it answers, and never with yes. Real stores are damaged in `countermark-io`.

use countermark_lineage::cbor::{Value, bytes, encode, int, text};
use countermark_lineage::credential::c2pa::{Expected, FRAMING, certificate_key, check, inspect, read, signer_key};
use countermark_lineage::verdict::State;
use proptest::collection::vec;
use proptest::prelude::*;

const EXPECTED: Expected<'_> =
    Expected { asset_sha256: [0; 32], statement: [0; 32], root: [0; 32], marks: &[], parents: &[] };

/// Everything that takes a store, on a store that cannot be right.
fn refuse(store: &[u8]) -> Result<(), TestCaseError> {
    let rows = check(store, &EXPECTED, &[store.to_vec()], 0);
    prop_assert!(rows.iter().any(|row| row.state != State::Verified));
    prop_assert!(inspect(store, &[], i64::MAX).iter().any(|row| row.state != State::Verified));
    prop_assert!(read(store).is_err() && signer_key(store).is_err());
    Ok(())
}

fn boxed(kind: &[u8], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes(), kind, content].concat()
}

fn superbox(kind: &[u8], label: &str, content: &[u8]) -> Vec<u8> {
    let description = [kind, b"\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03", label.as_bytes(), &[0]].concat();
    boxed(b"jumb", &[&boxed(b"jumd", &description), content].concat())
}

/// A well-framed store of one manifest with these assertions, claim and signature.
fn framed(assertions: &[u8], claim: &[u8], signature: &[u8]) -> Vec<u8> {
    let parts = [
        superbox(b"c2as", "c2pa.assertions", assertions),
        superbox(b"c2cl", "c2pa.claim.v2", &boxed(b"cbor", claim)),
        superbox(b"c2cs", "c2pa.signature", &boxed(b"cbor", signature)),
    ];
    superbox(b"c2pa", "c2pa", &superbox(b"c2ma", "urn:c2pa:x", &parts.concat()))
}

/// A signature of the right form by a certificate that is any bytes.
fn sign1(certificate: &[u8], signature: [u8; 64]) -> Vec<u8> {
    let protected = encode(&Value::Map(vec![(int(1), int(-8)), (int(33), bytes(certificate))]));
    let parts = vec![bytes(protected), Value::Map(vec![]), Value::Null, bytes(signature)];
    encode(&Value::Tag(18, Box::new(Value::Array(parts))))
}

/// Boxes of any kind in each other, with labels that mean something.
fn boxes() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![Just(*b"c2pa"), Just(*b"c2ma"), Just(*b"c2as"), Just(*b"cbor"), any::<[u8; 4]>()];
    let labels = prop_oneof![
        Just("c2pa".to_owned()),
        Just("c2pa.assertions".to_owned()),
        Just("c2pa.claim.v2".to_owned()),
        "[ -~]{0,12}",
    ];
    let leaf = (any::<[u8; 4]>(), vec(any::<u8>(), 0..60)).prop_map(|(kind, data)| boxed(&kind, &data));
    leaf.prop_recursive(6, 40, 5, move |inner| {
        (kinds.clone(), labels.clone(), vec(inner, 0..5))
            .prop_map(|(kind, label, children)| superbox(&kind, &label, &children.concat()))
    })
}

proptest! {
    #[test]
    fn any_bytes(store in vec(any::<u8>(), 0..400)) {
        refuse(&store)?;
        prop_assert!(certificate_key(&store).is_err());
    }

    #[test]
    fn any_boxes(store in boxes()) {
        refuse(&store)?;
    }

    #[test]
    fn any_claim_and_certificate(
        claim in vec(any::<u8>(), 0..80),
        der in vec(any::<u8>(), 0..200),
        signature in any::<[u8; 32]>(),
    ) {
        let signature = [signature, signature].concat().try_into().unwrap();
        refuse(&framed(&[], &claim, &sign1(&der, signature)))?;
        refuse(&framed(&claim, &[0xa0], &der))?;
    }
}

#[test]
fn framing_has_one_spelling() {
    let store = framed(&[], &encode(&Value::Map(vec![(text("alg"), text("sha256"))])), &sign1(&[], [0; 64]));
    let state = |store: &[u8]| check(store, &EXPECTED, &[], 0).iter().find(|row| row.name == FRAMING).unwrap().state;
    assert_eq!(state(&store), State::Verified);

    // Length 0 means "to the end", length 1 a length of 64 bits.
    let mut to_the_end = store.clone();
    to_the_end[..4].fill(0);
    let long = [&[0, 0, 0, 1], &b"jumb"[..], &(store.len() as u64 + 8).to_be_bytes(), &store[8..]].concat();
    let deep = (0..40).fold(vec![], |inner, _| superbox(b"c2pa", "c2pa", &inner));
    let many = superbox(b"c2pa", "c2pa", &boxed(b"free", &[]).repeat(400_001));
    for (name, other) in [("to the end", to_the_end), ("64 bits", long), ("deep", deep), ("many", many)] {
        assert_eq!(state(&other), State::Invalid, "{name}");
    }
}
