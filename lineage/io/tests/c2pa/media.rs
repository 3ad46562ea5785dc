//! Media that carry their manifest: every kind that can be written, judged here and by the crate; every flipped byte; and
//! what the crate lets through.

use std::io::Cursor;

use c2pa::{Builder, Context, SigningAlg};
use countermark_io::content::{Content, Input, InputManifest, Prompt, carried, embed, format, sidecar};
use countermark_lineage::cbor::{self, Rules, Value};
use countermark_lineage::credential::alone::{self, Asset, Judged};
use countermark_lineage::credential::c2pa as checker;
use countermark_lineage::credential::declared::{Declared, Disclosure};
use countermark_lineage::verify::manifest::{Binding, Carried};

use super::*;
use crate::forge::{boxed, label_of, manifests_of, store_of, superbox, typed, unboxed};

#[path = "../../../../tests/c2pa/samples.rs"]
mod samples;

/// What `base` produced, signed into a copy of `medium`.
fn signed(name: &str, medium: &[u8]) -> Vec<u8> {
    let mut base = Cursor::new(BASE);
    let declared = Declared {
        training_mining: vec!["data-mining=not-allowed".parse().unwrap()],
        disclosure: Some(Disclosure {
            model_type: Default::default(),
            model_name: Some("base".into()),
            model_identifier: None,
            oversight: Some("human_validated".parse().unwrap()),
        }),
        ..Declared::default()
    };
    let content = Content { name, declared: &declared, ..content(&mut base) };
    let mut copy = Cursor::new(Vec::new());
    embed(content, format::of(medium).unwrap(), &mut Cursor::new(medium), &mut copy, &WORLD.signer).unwrap();
    copy.into_inner()
}

fn content<'a>(base: &'a mut Cursor<&'static [u8]>) -> Content<'a> {
    static DECLARED: LazyLock<Declared> = LazyLock::new(Declared::default);
    let model = Input {
        relation: Relation::GeneratedBy,
        name: "base",
        kind: Some(Kind::Model),
        statement: Some([1; 32]),
        root: Some([2; 32]),
        manifest: Some(InputManifest::Beside(ParentManifest { store: &WORLD.base, asset: base })),
    };
    Content {
        name: "content",
        kind: Kind::GeneratedContent,
        inputs: vec![model],
        prompt: Some(Prompt::Text("a cat")),
        software: Some("base"),
        declared: &DECLARED,
        listing: None,
    }
}

/// Believes our root.
fn judge(store: &[u8], asset: &Asset<'_>) -> Judged {
    let anchors = [WORLD.chain[1].clone()];
    let clock = alone::Clock { now: now(), timestamp_roots: &[] };
    alone::judge(store, asset, clock, &|signed| match alone::certificate(signed.chain, &anchors, now()) {
        Ok(root) => (State::Verified, root),
        Err(refused) => refused,
    })
}

fn judge_medium(bytes: &Vec<u8>) -> Option<Judged> {
    let Carried { store, format, binding } = carried(bytes).ok()??;
    let found = match &binding {
        Binding::Holds(code) => Ok(&**code),
        Binding::Broken(problem) => Err(&**problem),
    };
    Some(judge(&store, &Asset::Medium { format, source: bytes, found }))
}

fn state(judged: &Judged) -> State {
    let links = judged.links.iter().map(|link| link.state);
    judged.rows.iter().map(|row| row.state).chain(links).max().unwrap()
}

/// What the crate says of a medium, with our root as its only anchor.
fn crate_says(bytes: &[u8]) -> Option<c2pa::ValidationState> {
    let settings = serde_json::json!({
        "trust": {"trust_anchors": WORLD.root_pem}, "verify": {"verify_trust": true}, "core": {"allowed_network_hosts": []},
    });
    let context = Context::new().with_settings(settings.to_string()).unwrap();
    let reader = c2pa::Reader::from_context(context).with_stream(format::of(bytes)?, Cursor::new(bytes));
    reader.ok().map(|reader| reader.validation_state())
}

#[test]
fn every_medium_holds_here_and_in_the_crate() {
    for (name, medium) in samples::all() {
        let copy = signed(name, &medium);
        let judged = judge_medium(&copy).unwrap_or_else(|| panic!("{name} carries nothing"));
        assert_eq!(state(&judged), State::Verified, "{name}: {:#?}", judged.rows);
        assert_eq!(crate_says(&copy), Some(c2pa::ValidationState::Trusted), "{name}");
        let titles: Vec<_> = judged.links.iter().map(|link| (&*link.title, &*link.relationship)).collect();
        assert_eq!(titles, [("base", "inputTo"), ("prompt", "inputTo")], "{name}");
        assert_eq!(judged.links[0].statement, Some(Hash([1; 32])));
        let declared = judged.subject.unwrap().declared;
        assert!(declared.source_type.unwrap().ends_with("/trainedAlgorithmicMedia"));
        assert_eq!(declared.software.as_deref(), Some("base"));
        assert_eq!(declared.training_mining, [("cawg.data_mining".to_owned(), "notAllowed".to_owned())]);
        assert!(declared.disclosure.contains(&("humanOversightLevel".into(), "human_validated".into())));
        println!("cell | our {name} | crate c2pa 0.90.22 | Trusted");
    }
}

/// Flips one bit after the other. What the crate refuses is refused here; what it lets through is let through only where
/// nothing that it covers was changed.
#[test]
fn a_flipped_byte_of_a_medium_is_noticed() {
    let mut let_through = 0;
    for (name, medium) in samples::all() {
        let copy = signed(name, &medium);
        let step = copy.len() / 120 + 1;
        for place in (0..copy.len()).step_by(step) {
            let mut flipped = copy.clone();
            flipped[place] ^= 1;
            let ours = judge_medium(&flipped).map(|judged| state(&judged));
            let theirs = crate_says(&flipped);
            if ours == Some(State::Verified) {
                // The brand of a film is left out by the standard, and no reader trusts it.
                assert!(name == "film.mp4" && place < 24, "{name}: byte {place} counts for nothing");
                let_through += 1;
            }
            if theirs == Some(c2pa::ValidationState::Invalid) {
                assert_ne!(ours, Some(State::Verified), "{name}: byte {place}, which the crate refuses");
            }
        }
    }
    assert!(let_through < 24, "{let_through}");
}

/// The crate's signer with room to spare, as other software signs.
struct Roomy;

impl c2pa::Signer for Roomy {
    fn sign(&self, data: &[u8]) -> c2pa::Result<Vec<u8>> {
        c2pa::Signer::sign(&WORLD.signer, data)
    }

    fn alg(&self) -> SigningAlg {
        SigningAlg::Ed25519
    }

    fn certs(&self) -> c2pa::Result<Vec<Vec<u8>>> {
        Ok(WORLD.chain.to_vec())
    }

    fn reserve_size(&self) -> usize {
        4096
    }
}

fn signed_with_room() -> Vec<u8> {
    let definition = serde_json::json!({"title": "photo", "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [
        {"action": "c2pa.created", "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"}]}}]});
    let mut builder = Builder::from_context(Context::new()).with_definition(definition.to_string()).unwrap();
    let mut copy = Cursor::new(Vec::new());
    builder.sign(&Roomy, "image/png", &mut Cursor::new(samples::png(0)), &mut copy).unwrap();
    copy.into_inner()
}

/// The store without the padding of its signature, which nothing signs.
fn without_room(store: &[u8]) -> Vec<u8> {
    let manifest = manifests_of(store).remove(0);
    let boxes = unboxed(&manifest[8..]);
    let sign1 = &unboxed(&boxes[3][8..])[1][8..];
    let Ok(Value::Tag(18, inner)) = cbor::decode(sign1, Rules::Lenient) else { panic!("no COSE_Sign1") };
    let Value::Array(mut parts) = *inner else { panic!("no array") };
    parts[1] = Value::Map(vec![]);
    let sign1 = cbor::encode(&Value::Tag(18, Box::new(Value::Array(parts))));
    let signature = superbox(&typed(b"c2cs"), "c2pa.signature", &boxed(b"cbor", &sign1));
    let manifest = [&boxes[1..3].concat(), &*signature].concat();
    store_of(&[superbox(&typed(b"c2ma"), &label_of(&manifests_of(store)[0]), &manifest)])
}

/// What another signer left as padding is room for anybody: the store is shortened, and a text nobody signed takes the
/// room that the hash leaves out. The crate trusts the result.
#[test]
fn nothing_but_the_store_may_stand_where_the_hash_looks_away() {
    let good = signed_with_room();
    let judged = judge_medium(&good).unwrap();
    assert_eq!(state(&judged), State::Verified, "{:#?}", judged.rows);
    assert!(judged.rows[1].detail.contains("is ignored"), "{}", judged.rows[1].detail);

    let store = carried(&good).unwrap().unwrap().store;
    let short = without_room(&store);
    let freed = store.len() - short.len();
    assert!(freed > 100);
    let chunk = samples::png_chunk(b"caBX", &store);
    let start = good.windows(chunk.len()).position(|window| window == chunk).unwrap();
    let text = [&b"Comment\0"[..], &vec![b'!'; freed - 12 - 8]].concat();
    let filled = [samples::png_chunk(b"caBX", &short), samples::png_chunk(b"tEXt", &text)].concat();
    assert_eq!(filled.len(), chunk.len());
    let injected = [&good[..start], &filled, &good[start + chunk.len()..]].concat();
    assert_eq!(crate_says(&injected), Some(c2pa::ValidationState::Trusted), "the crate's hole");
    let judged = judge_medium(&injected).unwrap();
    let row = judged.rows.iter().find(|row| row.name == checker::BINDING).unwrap();
    assert_eq!((row.state, row.detail.contains("more than the manifest")), (State::Invalid, true), "{}", row.detail);
}

#[test]
fn sidecars_say_what_binds_each_input() {
    let unbound = |manifest: bool, statement: Option<[u8; 32]>| {
        let mut base = Cursor::new(BASE);
        let mut content = content(&mut base);
        content.inputs[0].statement = statement;
        content.inputs[0].root = statement.map(|_| [2; 32]);
        if !manifest {
            content.inputs[0].manifest = None;
        }
        sidecar(content, [7; 32], &WORLD.signer).map(|store| judge(&store, &Asset::File([7; 32])))
    };
    let link = |judged: Judged| (judged.links[0].state, judged.links[0].detail.clone());
    assert_eq!(link(unbound(true, Some([1; 32])).unwrap()).0, State::Verified);
    let (state, detail) = link(unbound(false, Some([1; 32])).unwrap());
    // A statement is somebody's word, and here nobody can be asked whose.
    assert!(state == State::Unknown && detail.contains("bound by root"), "{detail}");
    let (state, detail) = link(unbound(false, None).unwrap());
    assert!(state == State::Unknown && detail.contains("named, not bound"), "{detail}");
    assert!(
        matches!(unbound(true, Some([9; 32])), Err(C2paError::Parent { .. })),
        "another statement than the manifest's"
    );
}

#[test]
fn a_store_for_other_bytes_is_refused() {
    let mut base = Cursor::new(BASE);
    let store = sidecar(content(&mut base), [7; 32], &WORLD.signer).unwrap();
    let judged = judge(&store, &Asset::File([8; 32]));
    let row = judged.rows.iter().find(|row| row.name == checker::BINDING).unwrap();
    assert_eq!(row.state, State::Invalid);
    // A sidecar is never judged by what a medium's library found, and a medium's store never by a whole file's hash.
    let copy = signed("cat.png", &samples::png(0));
    let carried = carried(&copy).unwrap().unwrap();
    let judged = judge(&carried.store, &Asset::File(Sha256::digest(&copy).into()));
    let row = judged.rows.iter().find(|row| row.name == checker::BINDING).unwrap();
    assert_eq!((row.state, row.detail.contains("excludes")), (State::Invalid, true), "{}", row.detail);
}

/// Our stores have one encoding, alone as with a statement.
#[test]
fn every_byte_of_a_sidecar_counts() {
    let mut base = Cursor::new(BASE);
    let mut store = sidecar(content(&mut base), [7; 32], &WORLD.signer).unwrap();
    assert_eq!(state(&judge(&store, &Asset::File([7; 32]))), State::Verified);
    for place in 0..store.len() {
        for mask in [1, 0x80] {
            store[place] ^= mask;
            let judged = judge(&store, &Asset::File([7; 32]));
            assert_ne!(state(&judged), State::Verified, "byte {place} ^ {mask:#x}");
            store[place] ^= mask;
        }
    }
    for length in 0..store.len() {
        assert_eq!(judge(&store[..length], &Asset::Unseen).rows[0].state, State::Invalid, "length {length}");
    }
}

/// Bundles' own rules and these agree: whatever the strict checker refuses of a store is refused alone too, save what only
/// a statement tells.
#[test]
fn alone_is_no_laxer_than_with_a_statement() {
    // What the bundle would be compared with.
    let by_comparison = [
        "lineage-missing",
        "lineage-root-differs",
        "statement-hash-differs",
        "watermark-commitment-differs",
        "watermark-commitment-added",
        "watermark-commitment-missing",
        "ingredient-dropped",
    ];
    // What other software writes, and a row tells.
    let told = ["store-pad", "ingredient-gathered"];
    // The child has an input that is bound by its statement alone, for which nobody vouches here.
    let is_verified = |judged: &Judged| {
        judged.rows.iter().all(|row| row.state == State::Verified)
            && judged.links.iter().all(|link| link.state == State::Verified || link.detail.contains("nobody was asked"))
    };
    let (mut refused, mut tolerated) = (0, 0);
    let of_base = crate::cases::cases().into_iter().chain(crate::certificates::cases()).map(|case| (case, BASE));
    let of_child = crate::parents::cases().into_iter().map(|case| (case, CHILD));
    for (case, asset) in of_base.chain(of_child) {
        let judged = judge(&case.store, &Asset::File(Sha256::digest(asset).into()));
        let expected = by_comparison.contains(&case.name) || told.contains(&case.name);
        assert_eq!(is_verified(&judged), expected, "{}: {:#?}", case.name, judged.rows);
        *(if expected { &mut tolerated } else { &mut refused }) += 1;
    }
    assert_eq!(tolerated, by_comparison.len() + told.len());
    assert!(refused > 50, "{refused}");
}
