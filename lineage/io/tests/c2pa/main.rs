//! C2PA manifest stores as written by `countermark_io::c2pa`, read by our checker and by the crate `c2pa`, and every way
//! that we know to break them. Names of cases are stable: other test suites use the same ones.

#![cfg(all(feature = "c2pa", feature = "object-store"))]

#[path = "../authority/mod.rs"]
mod authority;
mod cases;
mod certificates;
mod embedded;
mod forge;
mod media;
mod parents;
mod timestamps;

use std::io::Cursor;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use countermark_io::c2pa::{C2paError, Parent, ParentManifest, Release, Signer, create};
use countermark_io::certificate::issue;
use countermark_lineage::credential::c2pa::{self as checker, CERTIFICATE, Expected, ExpectedParent};
use countermark_lineage::credential::declared::Declared;
use countermark_lineage::credential::keys::PrivateKey as _;
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::{Kind, Relation};
use countermark_lineage::verdict::{Check, State};
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};

const BASE: &[u8] = &[0xba; 1000];
const CHILD: &[u8] = b"the weights of the child, fine-tuned";
const LISTING: &str = "config.json\t12\taa\nmodel.safetensors\t34\tbb\n";

/// An owner with keys and certificates, and stores of three artifacts.
struct World {
    root: SigningKey,
    leaf: SigningKey,
    chain: [Vec<u8>; 2],
    root_pem: String,
    signer: Signer,
    base: Vec<u8>,
    child: Vec<u8>,
    folder: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (root, leaf) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let chain = issue(&root, &leaf.public(), "Ada", now() - 60).unwrap();
    let signer = Signer::new(Arc::new(leaf.clone()), &chain).unwrap();
    let base = create(release("base.safetensors", BASE, 1), &signer).unwrap();
    let child = sign_child(&base, BASE, &signer).unwrap();
    let folder = Release { listing: Some(LISTING), kind: Kind::Dataset, ..release("folder", LISTING.as_bytes(), 7) };
    let folder = create(folder, &signer).unwrap();
    World { root, leaf, chain: chain.to_der().unwrap(), root_pem: chain.root_pem, signer, base, child, folder }
});

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn release<'a>(name: &'a str, asset: &[u8], seed: u8) -> Release<'a> {
    let (statement, root) = ([seed; 32], [seed + 1; 32]);
    let marks = if seed == 1 { &[[99; 32]][..] } else { &[] };
    let (kind, generated, asset_sha256) = (Kind::Model, false, Sha256::digest(asset).into());
    static DECLARED: LazyLock<Declared> = LazyLock::new(Declared::default);
    let declared = &*DECLARED;
    Release { name, kind, generated, asset_sha256, statement, root, marks, listing: None, parents: vec![], declared }
}

/// The child of `base`, and of a dataset without a manifest.
fn sign_child(base: &[u8], base_asset: &[u8], signer: &Signer) -> Result<Vec<u8>, C2paError> {
    let mut base_asset = Cursor::new(base_asset);
    let parents = vec![
        Parent {
            relation: Relation::FineTunedFrom,
            name: "base",
            statement: [1; 32],
            root: [2; 32],
            kind: Kind::Model,
            manifest: Some(ParentManifest { store: base, asset: &mut base_asset }),
        },
        Parent {
            relation: Relation::TrainedOn,
            name: "data",
            statement: [5; 32],
            root: [6; 32],
            kind: Kind::Dataset,
            manifest: None,
        },
    ];
    create(Release { parents, ..release("child.safetensors", CHILD, 3) }, signer)
}

const CHILD_PARENTS: &[ExpectedParent] =
    &[ExpectedParent { statement: [5; 32], root: [6; 32] }, ExpectedParent { statement: [1; 32], root: [2; 32] }];

fn expected_base() -> Expected<'static> {
    let asset_sha256 = Sha256::digest(BASE).into();
    Expected { asset_sha256, statement: [1; 32], root: [2; 32], marks: &[[99; 32]], parents: &[] }
}

fn expected_child() -> Expected<'static> {
    let asset_sha256 = Sha256::digest(CHILD).into();
    Expected { asset_sha256, statement: [3; 32], root: [4; 32], marks: &[], parents: CHILD_PARENTS }
}

fn check(store: &[u8], expected: &Expected<'_>) -> Vec<Check> {
    checker::check(store, expected, &[WORLD.chain[1].clone()], now())
}

fn worst(rows: &[Check]) -> State {
    rows.iter().map(|row| row.state).max().unwrap()
}

/// What the crate says, with our root as its only anchor.
fn crate_state(store: &[u8], asset: &[u8], root_pem: &str) -> Option<c2pa::ValidationState> {
    let settings = serde_json::json!({
        "trust": {"trust_anchors": root_pem}, "verify": {"verify_trust": true}, "core": {"allowed_network_hosts": []},
    });
    let context = c2pa::Context::new().with_settings(settings.to_string()).unwrap();
    let reader = c2pa::Reader::from_context(context);
    let reader = reader.with_manifest_data_and_stream(store, "application/octet-stream", Cursor::new(asset));
    reader.ok().map(|reader| reader.validation_state())
}

#[test]
fn fresh_stores_verify_here_and_in_the_crate() {
    let world = &*WORLD;
    let listing = Sha256::digest(LISTING).into();
    let folder = Expected { asset_sha256: listing, statement: [7; 32], root: [8; 32], marks: &[], parents: &[] };
    for (store, asset, expected) in [
        (&world.base, BASE, expected_base()),
        (&world.child, CHILD, expected_child()),
        (&world.folder, LISTING.as_bytes(), folder),
    ] {
        let rows = check(store, &expected);
        assert_eq!(worst(&rows), State::Verified, "{rows:#?}");
        assert_eq!(crate_state(store, asset, &world.root_pem), Some(c2pa::ValidationState::Trusted));
        assert_eq!(checker::signer_key(store).unwrap(), world.leaf.public());
        assert_eq!(worst(&checker::inspect(store, &[world.chain[1].clone()], now())), State::Verified);
    }
    let summary = checker::read(&world.child).unwrap();
    assert_eq!(summary.title.as_deref(), Some("child.safetensors"));
    assert_eq!((summary.statement, summary.root), (Some(Hash([3; 32])), Some(Hash([4; 32]))));
    assert_eq!(summary.parents[0].relationship, "parentOf");
    assert_eq!(summary.parents[1].relationship, "inputTo");
    assert_eq!(summary.parents[1].statement, Some(Hash([5; 32])));
    assert_eq!(summary.manifests, 2);
    assert!(summary.assertions.iter().any(|label| label == "c2pa.asset-type.v2"), "{:?}", summary.assertions);
    // An exact reserve leaves no padding.
    assert!(world.base.len() < 3000 && !world.base.windows(3).any(|window| window == b"pad\x59"));
}

#[test]
fn three_generations_and_a_merge() {
    let world = &*WORLD;
    let (mut child, mut base) = (Cursor::new(CHILD), Cursor::new(BASE));
    let parent = |name, seed: u8, store, asset| Parent {
        relation: Relation::MergedFrom,
        name,
        statement: [seed; 32],
        root: [seed + 1; 32],
        kind: Kind::Model,
        manifest: Some(ParentManifest { store, asset }),
    };
    let parents = vec![parent("child", 3, &world.child, &mut child), parent("base", 1, &world.base, &mut base)];
    let release = Release { parents, ..release("grandchild", b"grandchild", 11) };
    let store = create(release, &world.signer).unwrap();
    let parents = [3, 1].map(|seed| ExpectedParent { statement: [seed; 32], root: [seed + 1; 32] });
    let asset_sha256 = Sha256::digest("grandchild").into();
    let expected = Expected { asset_sha256, statement: [11; 32], root: [12; 32], marks: &[], parents: &parents };
    let rows = check(&store, &expected);
    assert_eq!(worst(&rows), State::Verified, "{rows:#?}");
    assert_eq!(checker::read(&store).unwrap().manifests, 3);
    assert_eq!(crate_state(&store, b"grandchild", &world.root_pem), Some(c2pa::ValidationState::Trusted));
}

#[test]
fn every_single_byte_counts() {
    for (store, expected) in [(&WORLD.base, expected_base()), (&WORLD.child, expected_child())] {
        let anchors = [WORLD.chain[1].clone()];
        let mut flipped = store.clone();
        for place in 0..store.len() {
            for mask in [1, 0x80] {
                flipped[place] ^= mask;
                let rows = checker::check(&flipped, &expected, &anchors, now());
                assert_ne!(worst(&rows), State::Verified, "byte {place} ^ {mask:#x}");
                flipped[place] ^= mask;
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for (store, expected) in [(&WORLD.base, expected_base()), (&WORLD.child, expected_child())] {
        for length in 0..store.len() {
            let rows = check(&store[..length], &expected);
            assert_eq!((&*rows[0].name, rows[0].state), (checker::FRAMING, State::Invalid), "length {length}");
            assert!(checker::read(&store[..length]).is_err() && checker::signer_key(&store[..length]).is_err());
        }
    }
}

/// Several bytes at once: splices, runs and repeated parts. A cheap generator, always the same.
#[test]
fn random_damage_never_panics_or_verifies() {
    let store = &WORLD.child;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..3000 {
        let mut damaged = store.clone();
        for _ in 0..1 + draw(4) {
            let (from, to) = (draw(damaged.len()), draw(damaged.len()));
            let length = 1 + draw(40.min(damaged.len() - from.max(to)));
            match draw(4) {
                0 => damaged.copy_within(from..from + length, to),
                1 => damaged[to..to + length].fill(draw(256) as u8),
                2 => drop(damaged.drain(to..to + length)),
                _ => damaged[to] = damaged[to].wrapping_add(1),
            }
        }
        if damaged != *store {
            assert_ne!(worst(&check(&damaged, &expected_child())), State::Verified);
            drop((checker::read(&damaged), checker::signer_key(&damaged)));
        }
    }
}

/// A way to break a store.
struct Case {
    name: &'static str,
    store: Vec<u8>,
    /// The first row that is not verified, its state, and a part of its reason.
    row: &'static str,
    state: State,
    reason: &'static str,
}

fn case(name: &'static str, store: Vec<u8>, row: &'static str, state: State, reason: &'static str) -> Case {
    Case { name, store, row, state, reason }
}

#[test]
fn named_negative_cases() {
    // A store that was taken apart and signed again verifies, so each case fails for its own reason alone.
    assert_eq!(worst(&check(&forge::Forge::base().seal(), &expected_base())), State::Verified);
    assert_eq!(worst(&check(&forge::Forge::child().seal(), &expected_child())), State::Verified);
    assert_eq!(worst(&check(&certificates::unchanged(), &expected_base())), State::Verified);

    let of_base = cases::cases().into_iter().chain(certificates::cases()).map(|case| (case, expected_base()));
    let of_child = parents::cases().into_iter().map(|case| (case, expected_child()));
    for (Case { name, store, row, state, reason }, expected) in of_base.chain(of_child) {
        let rows = check(&store, &expected);
        let first = rows.iter().find(|row| row.state != State::Verified).unwrap_or_else(|| panic!("{name} verified"));
        assert_eq!((&*first.name, first.state), (row, state), "{name}: {}", first.detail);
        assert!(first.detail.contains(reason), "{name}: {}", first.detail);
    }
}

/// Why the crate does not decide: it trusts each of these stores.
#[test]
fn the_crate_trusts_what_we_refuse() {
    let trusted = [
        "store-trailing-garbage",
        "store-trailing-zeros",
        "store-twice",
        "store-unreferenced-manifest",
        "store-pad",
        "store-null-payload",
        "lineage-prefix-twin",
        "lineage-gathered",
        "side-exclusion-400-bytes",
        "side-exclusion-whole-file",
        "parent-of-other-bytes",
        "parent-signer-unknown",
        "dataset-without-hash",
    ];
    let of_base = cases::cases().into_iter().map(|case| (case, BASE));
    let of_child = parents::cases().into_iter().map(|case| (case, CHILD));
    let found: Vec<_> = of_base
        .chain(of_child)
        .filter(|(case, _)| trusted.contains(&case.name))
        .map(|(case, asset)| (case.name, crate_state(&case.store, asset, &WORLD.root_pem)))
        .collect();
    assert_eq!(found.len(), trusted.len());
    for (name, state) in found {
        assert_eq!(state, Some(c2pa::ValidationState::Trusted), "{name}");
    }
}

#[test]
fn what_is_expected_decides() {
    let good = expected_base();
    let differs = |change: fn(&mut Expected<'static>)| {
        let mut expected = good;
        change(&mut expected);
        let rows = check(&WORLD.base, &expected);
        rows.into_iter().find(|row| row.state != State::Verified).map(|row| row.name)
    };
    assert_eq!(differs(|_| {}), None);
    assert_eq!(differs(|expected| expected.asset_sha256[0] ^= 1).as_deref(), Some(checker::BINDING));
    assert_eq!(differs(|expected| expected.statement[31] ^= 1).as_deref(), Some(checker::STATEMENT));
    assert_eq!(differs(|expected| expected.root[0] ^= 1).as_deref(), Some(checker::STATEMENT));
    assert_eq!(differs(|expected| expected.marks = &[]).as_deref(), Some(checker::STATEMENT));
    assert_eq!(differs(|expected| expected.parents = &CHILD_PARENTS[..1]).as_deref(), Some(checker::PARENTS));

    let state = |anchors: &[Vec<u8>], now| {
        let rows = checker::check(&WORLD.base, &good, anchors, now);
        rows.into_iter().find(|row| row.name == CERTIFICATE).unwrap().state
    };
    assert_eq!(state(&[], now()), State::UnknownSigner);
    assert_eq!(state(&[b"no certificate".to_vec(), WORLD.chain[1].clone()], now()), State::Verified);
    assert_eq!(state(&[WORLD.chain[0].clone()], now()), State::UnknownSigner, "a leaf is no anchor");
    assert_eq!(state(&[WORLD.chain[1].clone()], now() + 400 * 86_400), State::Unknown);
    assert_eq!(state(&[WORLD.chain[1].clone()], now() - 400 * 86_400), State::Unknown);
}

#[test]
fn signing_refuses_bad_inputs() {
    let world = &*WORLD;
    assert!(matches!(sign_child(&world.base, b"other bytes", &world.signer), Err(C2paError::Parent { .. })));
    assert!(matches!(sign_child(&world.folder, LISTING.as_bytes(), &world.signer), Err(C2paError::Parent { .. })));
    assert!(matches!(sign_child(b"not a store", BASE, &world.signer), Err(C2paError::Parent { .. })));
    let mut flipped = world.base.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(sign_child(&flipped, BASE, &world.signer).is_err());

    let chain = issue(&world.root, &world.leaf.public(), "Ada", now() - 60).unwrap();
    assert!(matches!(Signer::new(Arc::new(SigningKey::from_bytes(&[9; 32])), &chain), Err(C2paError::Key)));
    let expired = issue(&world.root, &world.leaf.public(), "Ada", now() - 400 * 86_400).unwrap();
    let signer = Signer::new(Arc::new(world.leaf.clone()), &expired).unwrap();
    assert!(create(release("x", BASE, 1), &signer).is_err());
}
