//! Manifests inside files: what the crate `c2pa` says of them, what we say, and what somebody with the signer's key or
//! without it can do to such a file.

use std::path::Path;
use std::sync::Arc;

use countermark_formats::Source;
use countermark_formats::manifest::{self, Found, encode};
use countermark_io::c2pa::{Signer, create, embed};
use countermark_io::certificate::issue;
use countermark_lineage::cbor::{Value, bytes};
use countermark_lineage::credential::c2pa::{self as checker, BINDING, Expected, SIGNATURE};
use countermark_lineage::credential::embedded::{EMBEDDING, Place, check_alone, embedding};
use countermark_lineage::credential::keys::PrivateKey;
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::Kind;
use countermark_lineage::verdict::{Check, State};
use sha2::{Digest as _, Sha256};

use crate::forge::{Forge, map, set};
use crate::{WORLD, crate_state, now, release, worst};

const NAME: &str = "m.safetensors";

/// A model file of one tensor.
fn model() -> Vec<u8> {
    let header = br#"{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[600],"data_offsets":[0,600]}}  "#;
    [&(header.len() as u64).to_le_bytes(), &header[..], &[7; 600]].concat()
}

/// A file with a manifest inside, and where its text is.
struct Made {
    file: Vec<u8>,
    store: Vec<u8>,
    span: std::ops::Range<u64>,
}

fn made(name: &str, bytes: &[u8], signer: &Signer) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let (source, out): (Source, _) = (Arc::new(bytes.to_vec()), folder.path().join("out"));
    let prepared = embed::prepare(release(name, b"", 1), &source, &out, signer, &|_| ()).unwrap();
    let (store, span) = (prepared.store().to_vec(), prepared.span());
    assert!(!out.exists());
    prepared.commit().unwrap();
    Made { file: std::fs::read(out).unwrap(), store, span }
}

fn good() -> Made {
    made(NAME, &model(), &WORLD.signer)
}

fn check_in(made: &Made, place: &Place) -> Vec<Check> {
    let (from, to) = (made.span.start as usize, made.span.end as usize);
    let asset_sha256 = Sha256::digest([&made.file[..from], &made.file[to..]].concat()).into();
    let expected = Expected { asset_sha256, statement: [1; 32], root: [2; 32], marks: &[[99; 32]], parents: &[] };
    checker::check_at(&made.store, place, &expected, &[WORLD.chain[1].clone()], now())
}

fn check(made: &Made) -> Vec<Check> {
    check_in(made, &Place::Inside(made.span.clone()))
}

fn trusted(made: &Made) -> bool {
    crate_state(&made.store, &made.file, &WORLD.root_pem) == Some(c2pa::ValidationState::Trusted)
}

fn inside(file: &[u8]) -> Result<manifest::Embedded, String> {
    match manifest::find(NAME, &file.to_vec(), None) {
        Ok(Some(Found::Embedded(found))) => Ok(found),
        Ok(_) => Err("nothing there".into()),
        Err(problem) => Err(problem.to_string()),
    }
}

#[test]
fn what_we_embed_verifies_here_and_in_the_crate() {
    let onnx = [&[8, 8][..], &[7 << 3 | 2, 3, 1, 2, 3]].concat();
    let parquet = [&b"PAR1columns"[..], &[0x15, 4, 0], &[3, 0, 0, 0], b"PAR1"].concat();
    for (name, bytes) in [(NAME, model()), ("m.onnx", onnx), ("d.parquet", parquet)] {
        let made = made(name, &bytes, &WORLD.signer);
        let rows = check(&made);
        assert_eq!(worst(&rows), State::Verified, "{name}: {rows:#?}");
        assert!(trusted(&made), "{name}");
        // An exact reserve: the store fills its room.
        let text = &made.file[made.span.start as usize..made.span.end as usize];
        assert_eq!(text, encode(&made.store).as_bytes());
        let said = embedding(&made.store).unwrap().unwrap();
        assert_eq!(said.root, Hash([2; 32]));
        let found = match manifest::find(name, &made.file, Some(said.format)) {
            Ok(Some(Found::Embedded(found))) => found,
            _ => panic!("{name}: not found"),
        };
        let source: Source = Arc::new(made.file.clone());
        let before = found.take_out(&source, &said.undo).unwrap().view;
        assert_eq!(Hash::blake3(&bytes), countermark_lineage::digest::blob::hash(&before).unwrap());
        let sha256 = countermark_lineage::credential::embedded::sha256(&source, &found, &|_| ()).unwrap();
        let alone = check_alone(&made.store, &made.span, sha256, &[WORLD.chain[1].clone()], now());
        assert_eq!(worst(&alone), State::Verified, "{alone:#?}");
        let other = check_alone(&made.store, &made.span, Hash::sha256(b""), &[WORLD.chain[1].clone()], now());
        assert_eq!(other.last().map(|row| (&*row.name, row.state)), Some((BINDING, State::Invalid)));
    }
}

#[test]
fn other_keys_have_their_own_exact_reserve() {
    let key = |seed: u8| -> [Arc<dyn PrivateKey>; 2] {
        [
            Arc::new(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()),
            Arc::new(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap()),
        ]
    };
    for key in key(5) {
        let chain = issue(&WORLD.root, &key.public(), "Ada", now() - 60).unwrap();
        let made = made(NAME, &model(), &Signer::new(key, &chain).unwrap());
        assert_eq!(worst(&check(&made)), State::Verified);
        assert!(trusted(&made));
        let flipped = |at: usize| {
            let mut store = made.store.clone();
            store[at] ^= 1;
            Made { store, file: made.file.clone(), span: made.span.clone() }
        };
        for at in (0..made.store.len()).step_by(7) {
            assert_ne!(worst(&check(&flipped(at))), State::Verified, "byte {at}");
        }
    }
}

/// Signs a file with a manifest whose binding excludes `exclusions` of the manifest's own range and the file's length.
fn forged(exclusions: impl Fn(u64, u64, u64) -> Vec<(u64, u64)>, pad: usize) -> Made {
    let source: Source = Arc::new(model());
    let first = good();
    let mut length = first.store.len();
    loop {
        let place = manifest::insert(NAME, &source, length).unwrap();
        let mut file = vec![0; countermark_formats::ReadAt::len(&place.view) as usize];
        countermark_formats::ReadAt::read_exact_at(&place.view, &mut file, 0).unwrap();
        let (start, size) = (place.span.start, place.span.end - place.span.start);
        let ranges = exclusions(start, size, file.len() as u64);
        let is_out = |at: u64| ranges.iter().any(|(from, size)| at >= *from && at - from < *size);
        let hashed: Vec<u8> = (0..file.len()).filter(|at| !is_out(*at as u64)).map(|at| file[at]).collect();
        let range = |(start, length): &(u64, u64)| {
            map([("start", Value::Unsigned(*start)), ("length", Value::Unsigned(*length))])
        };
        let mut forge = Forge::open(&first.store);
        forge.edit("c2pa.hash.data", |binding| {
            set(binding, "exclusions", Value::Array(ranges.iter().map(range).collect()));
            set(binding, "hash", bytes(Sha256::digest(&hashed).to_vec()));
        });
        if pad > 0 {
            forge.unprotected = vec![(countermark_lineage::cbor::text("pad"), bytes(vec![0; pad]))];
        }
        let store = forge.seal();
        if store.len() == length {
            file[start as usize..(start + size) as usize].copy_from_slice(encode(&store).as_bytes());
            return Made { file, store, span: start..start + size };
        }
        length = store.len();
    }
}

#[test]
fn only_the_text_itself_may_be_excluded() {
    // A file that was forged to be right is right, so each of these fails for its own reason alone.
    assert_eq!(worst(&check(&forged(|start, size, _| vec![(start, size)], 0))), State::Verified);
    type Ranges = fn(u64, u64, u64) -> Vec<(u64, u64)>;
    let cases: [(&str, Ranges, &str, bool); 10] = [
        ("st-exclusion-extra-range", |at, size, end| vec![(at, size), (end - 400, 400)], "excludes 2 ranges", true),
        ("st-exclusion-overlap", |at, size, _| vec![(at, size), (at + size - 4, 8)], "excludes 2 ranges", true),
        ("st-exclusion-unsorted", |at, size, end| vec![(end - 400, 400), (at, size)], "excludes 2 ranges", true),
        ("st-exclusion-off-by-one", |at, size, _| vec![(at, size + 1)], "exactly the manifest's own text", true),
        ("st-exclusion-with-quotes", |at, size, _| vec![(at - 1, size + 2)], "exactly the manifest's own text", true),
        ("st-exclusion-short", |at, size, _| vec![(at, size - 4)], "exactly the manifest's own text", false),
        ("st-exclusion-whole-file", |_, _, end| vec![(0, end)], "exactly the manifest's own text", true),
        ("st-exclusion-past-end", |at, _, end| vec![(at, end)], "exactly the manifest's own text", false),
        ("st-exclusion-overflow", |at, _, _| vec![(at, u64::MAX)], "cannot be read", false),
        ("st-exclusion-none", |_, _, _| vec![], "does not exclude its own text", false),
    ];
    for (name, ranges, reason, is_trusted) in cases {
        let made = forged(ranges, 0);
        let rows = check(&made);
        let first = rows.iter().find(|row| row.state != State::Verified).unwrap_or_else(|| panic!("{name} verified"));
        assert_eq!((&*first.name, first.state), (BINDING, State::Invalid), "{name}: {}", first.detail);
        assert!(first.detail.contains(reason), "{name}: {}", first.detail);
        assert_eq!(trusted(&made), is_trusted, "{name}: what the crate says");
    }
}

/// Why the crate does not decide: it trusts what was written over the manifest's text.
#[test]
fn injected_metadata() {
    let good = good();
    let attack = |text: &str, made: &Made, store: &[u8]| {
        let size = (made.span.end - made.span.start) as usize;
        let text = format!("{text}\",\"base_model\":\"attacker/evil\",\"p\":\"");
        let text = format!("{text}{}", "P".repeat(size - text.len()));
        let mut file = made.file.clone();
        file[made.span.start as usize..made.span.end as usize].copy_from_slice(text.as_bytes());
        Made { file, store: store.to_vec(), span: made.span.clone() }
    };
    // st-inject-metadata: tensors untouched, and a loader sees another base model.
    let injected = attack("X", &good, &good.store);
    assert!(trusted(&injected));
    let loaded = countermark_formats::safetensors::parse(&injected.file).unwrap();
    assert_eq!(loaded.metadata["base_model"], "attacker/evil");
    assert!(inside(&injected.file).is_err_and(|error| error.contains("not canonical Base64")));

    // st-inject-shrunk-store: the unsigned padding makes room, and what remains is a valid manifest.
    let padded = forged(|start, size, _| vec![(start, size)], 1000);
    assert!(trusted(&padded));
    let rows = check(&padded);
    assert!(rows.iter().any(|row| row.name == SIGNATURE && row.state == State::Invalid), "{rows:#?}");
    let mut shrunk = Forge::open(&padded.store);
    shrunk.unprotected = vec![];
    let shrunk = shrunk.seal();
    let injected = attack(&encode(&shrunk), &padded, &shrunk);
    let found = inside(&injected.file).unwrap();
    assert_eq!(found.store, shrunk);
    assert!(trusted(&injected));
    let rows = check(&Made { span: found.span, ..injected });
    let first = rows.iter().find(|row| row.state != State::Verified).unwrap();
    assert!(first.name == BINDING && first.detail.contains("exactly the manifest's own text"), "{rows:#?}");
}

#[test]
fn a_manifest_out_of_its_place() {
    let good = good();
    let state = |rows: &[Check]| {
        let row = rows.iter().find(|row| row.name == BINDING).unwrap();
        (row.state, row.detail.clone())
    };
    let (beside, reason) = state(&check_in(&good, &Place::Beside));
    assert!(beside == State::Invalid && reason.contains("sidecar excludes"), "{reason}");
    let (elsewhere, reason) = state(&check_in(&good, &Place::Elsewhere));
    assert!(elsewhere == State::Verified && reason.contains("only its form"), "{reason}");
    let moved = Place::Inside(good.span.start + 1..good.span.end + 1);
    assert_eq!(state(&check_in(&good, &moved)).0, State::Invalid);
    // A sidecar's store put inside.
    let sidecar = create(release(NAME, &model(), 1), &WORLD.signer).unwrap();
    let (inside, reason) = state(&check(&Made { store: sidecar, ..good }));
    assert!(inside == State::Invalid && reason.contains("does not exclude"), "{reason}");
}

#[test]
fn what_the_embedding_says_must_agree() {
    let changed = |key: &'static str, value: Value| {
        let mut forge = Forge::open(&good().store);
        forge.edit(EMBEDDING, |said| set(said, key, value));
        let store = forge.seal();
        (embedding(&store), check(&Made { store, ..good() }))
    };
    let text = |text: &str| countermark_lineage::cbor::text(text);
    let (said, rows) = changed("root", text(&Hash([9; 32]).to_string()));
    assert_eq!(said.unwrap().unwrap().root, Hash([9; 32]));
    assert!(rows.iter().any(|row| row.name == BINDING && row.detail.contains("two roots")), "{rows:#?}");
    for (key, value) in [
        ("format", text("gguf")),
        ("made", Value::Null),
        ("header", text("12")),
        ("root", text("12")),
        ("schema", text("countermark.dev/c2pa/embedding/v2")),
        ("other", Value::Null),
    ] {
        let (said, rows) = changed(key, value);
        assert!(said.is_err(), "{key}");
        assert_ne!(worst(&rows), State::Verified, "{key}");
    }
    assert_eq!(embedding(&WORLD.base).unwrap(), None);
}

#[test]
fn a_file_without_a_place_is_refused_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.bin");
    let refused = |name: &str, bytes: &[u8]| {
        let source: Source = Arc::new(bytes.to_vec());
        let root = Hash::blake3(bytes);
        embed::prepare_alone(name, Kind::Model, root, &source, &out, &WORLD.signer, &|_| ()).err().unwrap().to_string()
    };
    assert!(refused("a.csv", b"a,b\n").contains("neither safetensors nor ONNX nor Parquet"));
    assert!(refused(NAME, &good().file).contains("holds a C2PA manifest already"));
    assert!(refused(NAME, &model()[..100]).contains("data"));
    let left = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
    assert_eq!(left(folder.path()), 0);
    let source: Source = Arc::new(model());
    let root = Hash::blake3(&model());
    drop(embed::prepare_alone(NAME, Kind::Model, root, &source, &out, &WORLD.signer, &|_| ()).unwrap());
    assert_eq!(left(folder.path()), 0, "what is not committed leaves nothing");
}
