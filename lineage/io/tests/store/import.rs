//! What may enter a store, and what may not.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::check::check;
use countermark_lineage::graph::store::{Batch, Counts, Imported, Store};
use countermark_lineage::graph::{Kind, Relation};

use super::lab::{Draft, Made, Place, bundle, edge, family, find, honest, import, key, make};

fn is_sound(store: &mut dyn Store) {
    let checked = check(store, &|_| ()).unwrap();
    assert_eq!(checked.wrong, 0, "{:?}", checked.problems);
}

fn refused(store: &mut dyn Store, made: &[&Made]) -> String {
    let before = store.counts().unwrap();
    let error = import(store, made).unwrap_err().to_string();
    assert_eq!(store.counts().unwrap(), before, "a refused import changed the store");
    is_sound(store);
    error
}

#[test]
fn a_bundle_goes_in_once() {
    for place in Place::all("once") {
        let (mut store, family) = (place.open(), family());
        let imported = import(&mut *store, &family.all()).unwrap();
        assert_eq!(imported, Imported { statements: 6, edges: 6, already: 0, resolved: 0 });
        let again = import(&mut *store, &family.all()).unwrap();
        assert_eq!(again, Imported { statements: 0, edges: 0, already: 6, resolved: 0 });
        assert_eq!(store.counts().unwrap(), Counts { statements: 6, missing: 0, edges: 6 });
        is_sound(&mut *store);
        if place.lasts() {
            drop(store);
            assert_eq!(place.open().counts().unwrap(), Counts { statements: 6, missing: 0, edges: 6 });
        }
    }
}

#[test]
fn a_missing_parent_is_known_as_missing_and_resolved_later() {
    for place in Place::all("missing") {
        let (mut store, family) = (place.open(), family());
        let first = import(&mut *store, &[&family.base]).unwrap();
        assert_eq!(first, Imported { statements: 1, edges: 1, already: 0, resolved: 0 });
        assert_eq!(store.counts().unwrap(), Counts { statements: 1, missing: 1, edges: 1 });
        let (_, data) = find(&mut *store, "data");
        assert!(data.is_missing() && data.root == family.data.root);
        is_sound(&mut *store);
        let second = import(&mut *store, &[&family.data]).unwrap();
        assert_eq!(second, Imported { statements: 1, edges: 0, already: 0, resolved: 1 });
        assert_eq!(store.counts().unwrap(), Counts { statements: 2, missing: 0, edges: 1 });
        assert_eq!(find(&mut *store, "data").1.kind, Some(Kind::Dataset));
        is_sound(&mut *store);
    }
}

#[test]
fn a_parent_that_comes_later_and_disagrees_is_refused_and_both_are_named() {
    for place in Place::all("later") {
        let mut store = place.open();
        let data = honest("data", Kind::Dataset, &[]);
        for (name, root) in [("data", Hash([9; 32])), ("other", data.root)] {
            let mut wrong = edge(Relation::TrainedOn, &data);
            (wrong.name, wrong.root) = (name.to_owned(), root);
            let child = make(Draft { name: "child", kind: Kind::Model, bytes: name, signer: 1, parents: vec![wrong] });
            let mut store = if place.lasts() { store_of_its_own() } else { place.open() };
            import(&mut *store, &[&child]).unwrap();
            let error = refused(&mut *store, &[&data]);
            assert!(error.contains(&data.id.to_string()) && error.contains(&child.id.to_string()), "{error}");
        }
        // The same with the parent known first.
        import(&mut *store, &[&data]).unwrap();
        let mut wrong = edge(Relation::TrainedOn, &data);
        wrong.root = Hash([9; 32]);
        let child = make(Draft { name: "child", kind: Kind::Model, bytes: "c", signer: 1, parents: vec![wrong] });
        let error = refused(&mut *store, &[&child]);
        assert!(error.contains(&data.id.to_string()) && error.contains(&child.id.to_string()), "{error}");
    }
}

/// A SQLite store whose folder is left to the system.
fn store_of_its_own() -> Box<dyn Store> {
    let folder = tempfile::tempdir().unwrap().keep();
    Box::new(countermark_io::store::Sqlite::open(&folder.join("lineage.db"), true).unwrap())
}

#[test]
fn two_children_that_describe_one_missing_parent_differently_are_refused() {
    for place in Place::all("describe") {
        let mut store = place.open();
        let data = honest("data", Kind::Dataset, &[]);
        let first = honest("first", Kind::Model, &[(Relation::TrainedOn, &data)]);
        let mut wrong = edge(Relation::TrainedOn, &data);
        wrong.root = Hash([9; 32]);
        let second = make(Draft { name: "second", kind: Kind::Model, bytes: "s", signer: 1, parents: vec![wrong] });
        import(&mut *store, &[&first]).unwrap();
        let error = refused(&mut *store, &[&second]);
        assert!(error.contains(&first.id.to_string()) && error.contains(&second.id.to_string()), "{error}");
    }
}

#[test]
fn what_is_not_signed_does_not_go_in() {
    let family = family();
    let swap_payload = |made: &mut Made| made.envelope.payload = family.data.envelope.payload.clone();
    let swap_signature = |made: &mut Made| made.envelope.signatures = family.data.envelope.signatures.clone();
    let strip = |made: &mut Made| made.envelope.signatures.clear();
    let double = |made: &mut Made| {
        let again = made.envelope.signatures[0].clone();
        made.envelope.signatures.push(again);
    };
    let cut = |made: &mut Made| made.envelope.payload.truncate(8);
    let other_type = |made: &mut Made| made.envelope.payload_type = "application/json".to_owned();
    // Signed by somebody, but not by the signer whom the statement names.
    let foreign = |made: &mut Made| {
        let payload = STANDARD.decode(&made.envelope.payload).unwrap();
        made.envelope = countermark_lineage::credential::dsse::Envelope::sign(&payload, &key(7)).unwrap();
    };
    // A good signature over something that is no statement.
    let nonsense = |made: &mut Made| {
        made.envelope = countermark_lineage::credential::dsse::Envelope::sign(b"{}", &key(1)).unwrap()
    };
    let changes: [&dyn Fn(&mut Made); 8] =
        [&swap_payload, &swap_signature, &strip, &double, &cut, &other_type, &foreign, &nonsense];
    for place in Place::all("unsigned") {
        let mut store = place.open();
        for (number, change) in changes.iter().enumerate() {
            let mut base = family.base.clone();
            change(&mut base);
            let error = refused(&mut *store, &[&base, &family.data]);
            assert!(error.contains("test.provenance.json"), "change {number}: {error}");
        }
    }
}

#[test]
fn a_bundle_with_a_record_twice_or_a_stray_one_is_refused() {
    let family = family();
    let twice = Batch::of("b", &bundle(&[&family.base, &family.data, &family.data])).unwrap_err().to_string();
    assert!(twice.contains("stands there twice"), "{twice}");
    let stray = Batch::of("b", &bundle(&[&family.base, &family.data, &family.more])).unwrap_err().to_string();
    assert!(stray.contains("speaks for no ancestor"), "{stray}");
}

#[test]
fn a_second_signature_over_the_same_statement_changes_nothing() {
    // Ed25519 signatures are deterministic by custom only: a signer may make others that hold.
    let family = family();
    for place in Place::all("second") {
        let mut store = place.open();
        import(&mut *store, &[&family.data]).unwrap();
        let (row, _) = find(&mut *store, "data");
        let before = store.statement(row).unwrap();
        let payload = STANDARD.decode(&family.data.envelope.payload).unwrap();
        let pae = countermark_lineage::credential::dsse::pae(&family.data.envelope.payload_type, &payload);
        let mut other = family.data.clone();
        other.envelope.signatures[0].sig = STANDARD.encode(other_signature(&pae));
        assert_ne!(other.envelope, family.data.envelope);
        assert_eq!(import(&mut *store, &[&other]).unwrap().already, 1);
        assert_eq!(store.statement(row).unwrap(), before);
        is_sound(&mut *store);
    }
}

/// A valid signature of key 1 with another nonce than the customary one (RFC 8032, section 5.1.6, with r chosen freely).
fn other_signature(message: &[u8]) -> [u8; 64] {
    use curve25519_dalek::{EdwardsPoint, Scalar};
    use sha2::{Digest as _, Sha512};
    let mut secret: [u8; 32] = Sha512::digest(key(1).to_bytes())[..32].try_into().unwrap();
    secret[0] &= 248;
    secret[31] = secret[31] & 127 | 64;
    let nonce = Scalar::from(1_234_567_u64);
    let point = EdwardsPoint::mul_base(&nonce).compress();
    let hash =
        Sha512::new().chain_update(point.0).chain_update(key(1).verifying_key().as_bytes()).chain_update(message);
    let challenge = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let response = nonce + challenge * Scalar::from_bytes_mod_order(secret);
    [point.0, response.to_bytes()].concat().try_into().unwrap()
}

#[test]
fn an_import_is_all_or_nothing() {
    let family = family();
    let mut bad = family.right.clone();
    bad.envelope.signatures.clear();
    for place in Place::all("all") {
        let mut store = place.open();
        let batch = |made: &[&Made]| Batch::of("b", &bundle(made));
        let mut batches = [batch(&[&family.base, &family.data]), batch(&[&family.left]), batch(&[&bad])].into_iter();
        assert!(store.import(&mut batches).is_err());
        assert_eq!(store.counts().unwrap(), Counts::default());
        // And it still works.
        import(&mut *store, &family.all()).unwrap();
        is_sound(&mut *store);
    }
}
