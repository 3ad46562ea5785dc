//! The format against the reference library, and proofs against real blocks.

use proptest::prelude::*;

use super::attestation::Attestation::{self, Bitcoin as InBitcoin, Litecoin, Pending};
use super::bitcoin::tests::{first_blocks, unhex};
use super::file::MAX_FILE;
use super::operation::Operation::{self, Append, Prepend, Sha256};
use super::tree::{MAX_DEPTH, Node};
use super::*;
use crate::credential::policy::Policy;

/// A file with every operation and kind of attestation, as the Python library `opentimestamps` 0.4.5 writes it.
const EVERYTHING: &str = concat!(
    "004f70656e54696d657374616d7073000050726f6f6600bf89e2e884e892940108004de383fa93d33da10aa50d2466a3e503e37e9579bfa3",
    "192ba706f0a44693fbff0001010101010101010a736f6d65206279746573ff000588960d73d719010101ff000588960d73d71901017fff00",
    "0588960d73d71901028001ff000588960d73d7190102ac02ff000588960d73d7190106808080808020ff0006869a0d73d71b450109ff0030",
    "fe8087b5c7ead7010aff0083dfe30d2ef90c8e121168747470733a2f2f612e6578616d706c65ff0083dfe30d2ef90c8e121168747470733a",
    "2f2f622e6578616d706c65fff00261620083dfe30d2ef90c8e0100fff001620083dfe30d2ef90c8e0100fff101610083dfe30d2ef90c8e01",
    "00f2f367020308f1026162f0c801787878787878787878787878787878787878787878787878787878787878787878787878787878787878",
    "7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878",
    "7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878",
    "78787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878000588960d73d7190101",
    "00"
);

/// The first transaction of Bitcoin around some 32 bytes of it, which here are a digest.
fn genesis() -> (Hash, Node) {
    let transaction = unhex(concat!(
        "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468652054",
        "696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420",
        "666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61",
        "deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
    ));
    let at = transaction.windows(10).position(|window| window == b"Chancellor").unwrap();
    let digest = Hash(transaction[at..at + 32].try_into().unwrap());
    let node = Node::attested(InBitcoin(0)).under(Sha256).under(Sha256).under(Append(transaction[at + 32..].to_vec()));
    (digest, node.under(Prepend(transaction[..at].to_vec())))
}

fn judge(node: &Node, headers: &[Vec<u8>], bitcoin: Option<Bitcoin>) -> Result<Standing, Error> {
    let (digest, _) = genesis();
    let file = Bytes(File::new(&digest, node.clone()).to_bytes());
    let proof = TimestampProof { file, headers: headers.iter().cloned().map(Bytes).collect() };
    let policy = Policy { bitcoin, ..Policy::default() };
    check(&proof, &Commitment { checkpoint: "", digest }, &Trust { policy: &policy, blocks: None })
}

fn work(least: u64, confirmations: u32) -> Option<Bitcoin> {
    let confirmations = std::num::NonZeroU32::new(confirmations);
    Some(Bitcoin { min_difficulty: Some(least), confirmations, ..Bitcoin::default() })
}

fn pinned(hash: &str) -> Option<Bitcoin> {
    Some(Bitcoin { blocks: vec![Hash::parse(hash).unwrap()], ..Bitcoin::default() })
}

const GENESIS: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
const SECOND: &str = "000000006a625f06636b8bb6ac7b960a8d03705d1ace08b1a19da3fdcc99ddbd";

#[test]
fn a_real_block_bounds_the_time_when_the_policy_vouches_for_it() {
    let (_, node) = genesis();
    let headers = first_blocks();
    let bound = |standing| match standing {
        Ok(Standing::Bound(bound)) => (bound.time, bound.is_final),
        other => panic!("{other:?}"),
    };
    assert_eq!(bound(judge(&node, &headers[..1], pinned(GENESIS))), (1_231_006_505, true));
    assert_eq!(bound(judge(&node, &headers, pinned(SECOND))), (1_231_006_505, true));
    assert_eq!(bound(judge(&node, &headers, work(1, 3))), (1_231_006_505, true));
    assert_eq!(bound(judge(&node, &headers, work(1, 4))), (1_231_006_505, false));
    assert_eq!(bound(judge(&node, &headers[..1], work(1, 3))), (1_231_006_505, false));
}

#[test]
fn without_anybody_who_vouches_nothing_is_bound() {
    let (_, node) = genesis();
    let headers = first_blocks();
    for policy in [None, Some(Bitcoin::default()), work(2, 1), work(0, 1), pinned(SECOND)] {
        let headers = if policy == pinned(SECOND) { &headers[..2] } else { &headers[..] };
        let standing = judge(&node, headers, policy.clone()).unwrap();
        assert!(matches!(&standing, Standing::Unjudged(why) if why.contains(GENESIS)), "{policy:?} {standing:?}");
    }
    let standing = judge(&node, &[], work(1, 1)).unwrap();
    let root = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
    assert!(matches!(&standing, Standing::Unjudged(why) if why.contains(root)), "{standing:?}");
}

#[test]
fn pending_and_foreign_attestations_never_count() {
    let pending = Node::attested(Pending("https://calendar.example".into()));
    let standing = judge(&pending, &[], work(1, 1)).unwrap();
    assert_eq!(standing, Standing::Pending("promised by https://calendar.example".into()));
    let litecoin = Node::attested(Litecoin(7));
    let standing = judge(&litecoin, &[], work(1, 1)).unwrap();
    assert!(matches!(&standing, Standing::Unjudged(why) if why.contains("Litecoin block 7")), "{standing:?}");
    // A header to which only an attestation of another chain leads.
    let (_, genesis) = genesis();
    let mut other = genesis.clone();
    let digest = self::genesis().0;
    other.prune(&digest.0, &mut |_, _| false);
    assert!(other.is_empty());
    let mut both = genesis;
    both.merge(pending);
    assert!(matches!(judge(&both, &first_blocks(), work(1, 1)).unwrap(), Standing::Bound(_)));
    assert!(matches!(judge(&both, &[], work(1, 1)).unwrap(), Standing::Unjudged(_)));
}

#[test]
fn headers_must_belong_to_the_proof_and_follow_on_each_other() {
    let (_, node) = genesis();
    let [a, b, c] = first_blocks();
    let refused = |headers: &[Vec<u8>], with: &str| {
        let error = judge(&node, headers, work(1, 1)).unwrap_err().to_string();
        assert!(error.contains(with), "{error}");
    };
    refused(&[b.clone(), c.clone()], "header 1");
    refused(&[a.clone(), c.clone()], "header 2");
    refused(&[a.clone(), c.clone(), b.clone()], "header 2");
    refused(&[b.clone(), a.clone()], "header 1");
    refused(&[a[..79].to_vec()], "79 bytes");
    // The same run twice is no more work than once.
    let twice = [a.clone(), b.clone(), a.clone(), b.clone()];
    assert!(matches!(judge(&node, &twice, work(1, 3)).unwrap(), Standing::Bound(bound) if !bound.is_final));
    // Another path to the header of this block.
    let strange = Node::attested(InBitcoin(0)).under(Sha256);
    assert!(judge(&strange, &[a], work(1, 1)).is_err());
}

#[test]
fn every_flipped_byte_of_a_real_proof_is_refused_or_proves_nothing() {
    let (digest, node) = genesis();
    let bytes = File::new(&digest, node).to_bytes();
    let headers: Vec<Bytes> = first_blocks().into_iter().map(Bytes).collect();
    let policy = Policy { bitcoin: work(1, 1), ..Policy::default() };
    let (of, trust) = (Commitment { checkpoint: "", digest }, Trust { policy: &policy, blocks: None });
    let judge = |file: Vec<u8>| check(&TimestampProof { file: Bytes(file), headers: headers.clone() }, &of, &trust);
    assert!(matches!(judge(bytes.clone()), Ok(Standing::Bound(_))));
    // The height is a hint to whoever looks for the header, and nothing is concluded from it.
    let height = bytes.len() - 1;
    for at in 0..height {
        for mask in [0x01, 0x20, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= mask;
            assert!(!matches!(judge(flipped), Ok(Standing::Bound(_))), "byte {at} mask {mask:#x}");
        }
    }
    for length in 0..bytes.len() {
        assert!(judge(bytes[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert!(judge([&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_proof_about_another_file_or_another_hash_is_refused() {
    let (digest, node) = genesis();
    let policy = Policy::default();
    let trust = Trust { policy: &policy, blocks: None };
    let proof = TimestampProof { file: Bytes(File::new(&digest, node.clone()).to_bytes()), headers: vec![] };
    let other = Commitment::of("another checkpoint");
    assert!(check(&proof, &other, &trust).is_err());
    let sha1 = File { hash: Operation::Sha1, digest: digest.0[..20].to_vec(), tree: Node::attested(InBitcoin(0)) };
    let proof = TimestampProof { file: Bytes(sha1.to_bytes()), headers: vec![] };
    assert!(check(&proof, &Commitment { checkpoint: "", digest }, &trust).is_err());
}

#[test]
fn a_file_of_the_reference_library_comes_out_as_it_went_in() {
    let bytes = unhex(EVERYTHING);
    let file = File::parse(&bytes).unwrap();
    assert_eq!(file.to_bytes(), bytes);
    let mut seen = vec![];
    file.tree.visit(&file.digest, &mut |_, attestation| seen.push(attestation.clone()));
    assert_eq!(seen.len(), 14, "{seen:?}");
    // Heights are in the order of numbers, not of their bytes.
    assert!(bytes.windows(3).any(|window| window == [0x00, 0x05, 0x88]));
}

#[test]
fn limits() {
    let file = |tree: &[u8]| [&File::new(&Hash([7; 32]), Node::default()).to_bytes(), tree].concat();
    let attested = [&[0][..], &[0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01, 1, 0]].concat();
    let parse = |tree: &[u8]| File::parse(&file(tree));
    assert!(parse(&attested).is_ok());
    let deep = |depth: usize| [vec![0x08; depth], attested.clone()].concat();
    assert!(parse(&deep(MAX_DEPTH)).is_ok());
    assert!(parse(&deep(MAX_DEPTH + 1)).unwrap_err().to_string().contains("follow on each other"));
    let refused = |tree: &[u8], with: &str| {
        let error = parse(tree).unwrap_err().to_string();
        assert!(error.contains(with), "{error}");
    };
    refused(&[], "too early");
    refused(&[0xff, 0xff], "not known");
    refused(&[0xf2], "too early");
    refused(&[0xf0, 0x00], "between 1 and 4096");
    refused(&[0xf0, 0x81, 0x20], "between 1 and 4096");
    refused(&[0xf0, 0x80, 0x00], "longer than it must be");
    refused(&[&[0xf0][..], &[0xff; 9], &[0x02]].concat(), "64 bits");
    refused(&[&[0xf0][..], &[0xff; 12]].concat(), "64 bits");
    refused(&[&[0xf0, 0xe1, 0x1f][..], &[1; 0xfe1], &attested].concat(), "of this length");
    refused(&[&[0xff][..], &attested, &attested].concat(), "twice");
    refused(&[&attested[..], &[0]].concat(), "more bytes follow");
    // Payloads of known kinds are used up; those of others are kept.
    refused(&[0, 0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01, 2, 0, 0], "more bytes follow");
    let unknown = [0, 1, 2, 3, 4, 5, 6, 7, 8, 2, 0xff, 0xff];
    assert_eq!(parse(&unknown).unwrap().to_bytes(), file(&unknown));
    let pending = |uri: &[u8]| {
        let mut bytes = vec![0, 0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];
        let mut payload = vec![];
        file::varbytes(uri, &mut payload);
        file::varbytes(&payload, &mut bytes);
        bytes
    };
    assert!(parse(&pending(&[b'a'; 1000])).is_ok());
    refused(&pending(&[b'a'; 1001]), "between 0 and 1000");
    for bad in ["https://a?b", "https://a@b", "a b", "\u{e9}", "a%20"] {
        refused(&pending(bad.as_bytes()), "character");
    }
    assert!(File::parse(&vec![0; MAX_FILE + 1]).unwrap_err().to_string().contains("KiB"));
    let magic = file(&attested);
    for hash in [0x67, 0xf0, 0xf2] {
        let mut bytes = magic.clone();
        bytes[32] = hash;
        assert!(File::parse(&bytes).is_err(), "{hash:#x}");
    }
    let mut version = magic;
    version[31] = 2;
    assert!(File::parse(&version).unwrap_err().to_string().contains("version"));
}

#[test]
fn many_branches_over_a_long_message_are_stopped() {
    // 4,064 bytes more, then branch after branch that hashes all of them.
    let mut tree = vec![0xf0, 0xe0, 0x1f];
    tree.extend([1; 0xfe0]);
    for height in 0..2000_u64 {
        tree.extend([
            0xff,
            0xf1,
            2,
            height as u8,
            (height >> 8) as u8,
            0x67,
            0,
            5,
            0x88,
            0x96,
            0x0d,
            0x73,
            0xd7,
            0x19,
            1,
            1,
            0,
        ]);
    }
    tree.extend([0x08, 0, 5, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 1, 1, 0]);
    let error = Node::parse(&tree, &[7; 32]).unwrap_err().to_string();
    assert!(error.contains("cannot be applied") || error.contains("KiB"), "{error}");
    let mut tree = vec![0xf0, 0xe0, 0x1e];
    tree.extend([1; 0xf60]);
    for height in 0..2000_u64 {
        tree.extend([
            0xff,
            0xf1,
            2,
            height as u8,
            (height >> 8) as u8,
            0x67,
            0,
            5,
            0x88,
            0x96,
            0x0d,
            0x73,
            0xd7,
            0x19,
            1,
            1,
            0,
        ]);
    }
    tree.extend([0x08, 0, 5, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 1, 1, 0]);
    let error = Node::parse(&tree, &[7; 32]).unwrap_err().to_string();
    assert!(error.contains("go over more than"), "{error}");
}

#[test]
fn grafts_go_where_the_message_is() {
    let digest = [3; 32];
    let nonce = Append(vec![9; 16]);
    let commitment = Sha256.apply(&nonce.apply(&digest).unwrap()).unwrap();
    let mut tree = Node::attested(Pending("https://a.example".into())).under(Sha256).under(nonce.clone());
    let known = Node::attested(InBitcoin(5)).under(Sha256);
    tree.graft(&digest, &commitment, &known);
    let mut expected = Node::attested(Pending("https://a.example".into()));
    expected.merge(known.clone());
    assert_eq!(tree, expected.under(Sha256).under(nonce));
    let before = tree.clone();
    tree.graft(&digest, &commitment, &known);
    tree.graft(&digest, b"elsewhere", &known);
    assert_eq!(tree, before);
    tree.prune(&digest, &mut |_, attestation| matches!(attestation, InBitcoin(_)));
    assert_eq!(tree, known.under(Sha256).under(Append(vec![9; 16])));
}

fn any_attestation() -> impl Strategy<Value = Attestation> {
    prop_oneof![
        any::<u64>().prop_map(InBitcoin),
        any::<u64>().prop_map(Litecoin),
        any::<u64>().prop_map(Attestation::Ethereum),
        "[a-zA-Z0-9._/:-]{0,40}".prop_map(Pending),
        (any::<[u8; 8]>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(tag, payload)| Attestation::Unknown { tag, payload }),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let argument = || prop::collection::vec(any::<u8>(), 1..60);
    prop_oneof![
        Just(Sha256),
        Just(Operation::Sha1),
        Just(Operation::Ripemd160),
        Just(Operation::Keccak256),
        Just(Operation::Reverse),
        argument().prop_map(Append),
        argument().prop_map(Prepend),
    ]
}

fn any_tree() -> impl Strategy<Value = Node> {
    let leaf = prop::collection::btree_set(any_attestation(), 1..4)
        .prop_map(|attestations| Node { attestations, ..Node::default() });
    leaf.prop_recursive(6, 30, 4, |inner| {
        let operations = prop::collection::btree_map(any_operation(), inner, 1..4);
        (prop::collection::btree_set(any_attestation(), 0..3), operations)
            .prop_map(|(attestations, operations)| Node { attestations, operations })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(tree in any_tree(), digest: [u8; 32]) {
        let bytes = File::new(&Hash(digest), tree.clone()).to_bytes();
        let file = File::parse(&bytes).unwrap();
        prop_assert_eq!(&file.tree, &tree);
        prop_assert_eq!(file.to_bytes(), bytes);
    }

    #[test]
    fn merging_twice_and_in_any_order_is_merging_once(a in any_tree(), b in any_tree()) {
        let merged = |first: &Node, second: &Node| {
            let mut both = first.clone();
            both.merge(second.clone());
            both
        };
        let both = merged(&a, &b);
        prop_assert_eq!(&merged(&b, &a), &both);
        prop_assert_eq!(&merged(&both, &a), &both);
        prop_assert_eq!(&merged(&a, &a), &a);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Node::parse(&bytes, &[1; 32]);
        let _ = Header::parse(&bytes);
        let file = [&File::new(&Hash([7; 32]), Node::default()).to_bytes()[..], &bytes].concat();
        if let Ok(file) = File::parse(&file) {
            // Read in any order, written in one.
            prop_assert_eq!(File::parse(&file.to_bytes()).unwrap(), file);
        }
    }
}
