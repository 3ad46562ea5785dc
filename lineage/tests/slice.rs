//! Slice proofs against `bao-tree`, against a slow encoder, and against whoever wants a false one to hold.

use std::io::Cursor;
use std::sync::Arc;

use bao_tree::io::outboard::{EmptyOutboard, PreOrderMemOutboard};
use bao_tree::io::sync::{decode_ranges, encode_ranges_validated};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use countermark_formats::Source;
use countermark_lineage::Error;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::slice::{self, Claim, GROUP, Proven};
use proptest::prelude::*;

const GROUPS: BlockSize = BlockSize::from_chunk_log(4);

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251 + i / 16_384) as u8).collect()
}

fn source(bytes: &[u8]) -> Source {
    Arc::new(bytes.to_vec())
}

fn prove(bytes: &[u8], claim: &Claim) -> Vec<u8> {
    let mut proof = Vec::new();
    let proved = slice::prove(&source(bytes), claim, None, &mut proof, &|_| ()).unwrap();
    assert_eq!((proved.root, proved.bytes), (Hash::blake3(bytes), proof.len() as u64));
    proof
}

fn range(bytes: &[u8], begin: u64, end: u64) -> Vec<u8> {
    prove(bytes, &Claim::Range(begin..end))
}

fn check(proof: &[u8], root: Hash) -> Result<(Proven, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    let proven = slice::check(&mut Cursor::new(proof), root, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok((proven, bytes))
}

/// First line and encoding of a proof.
fn parts(proof: &[u8]) -> (String, &[u8]) {
    let end = proof.iter().position(|byte| *byte == b'\n').unwrap();
    (String::from_utf8(proof[..end].to_vec()).unwrap(), &proof[end + 1..])
}

fn forged(line: &str, encoding: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b"\n", encoding].concat()
}

#[track_caller]
fn refused(proof: &[u8], root: Hash, words: &str) {
    let message = check(proof, root).expect_err(words).to_string();
    assert!(message.contains(words), "{message:?} does not say {words:?}");
}

/// The wanted chunks as `bao-tree` writes them: whole groups, and everything from the last group on.
fn chunks(length: usize, begin: u64, end: u64) -> ChunkRanges {
    let last = (length as u64).saturating_sub(1) / GROUP * 16;
    let from = ChunkRanges::from(ChunkNum(last)..);
    if begin == end {
        return from;
    }
    from | ChunkRanges::from(ChunkNum(begin / GROUP * 16)..ChunkNum(end.div_ceil(GROUP) * 16))
}

/// Every value computed from the bytes anew, at every node.
fn slow(bytes: &[u8], start: usize, length: usize, wanted: &dyn Fn(usize, usize) -> bool, out: &mut Vec<u8>) {
    use blake3::hazmat::{HasherExt as _, left_subtree_len};
    if length <= GROUP as usize {
        return out.extend_from_slice(&bytes[start..start + length]);
    }
    let left = left_subtree_len(length as u64) as usize;
    let halves = [(start, left), (start + left, length - left)];
    for (start, length) in halves {
        let part = &bytes[start..start + length];
        out.extend(blake3::Hasher::new().set_input_offset(start as u64).update(part).finalize_non_root());
    }
    for (start, length) in halves {
        if wanted(start, start + length) {
            slow(bytes, start, length, wanted, out);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_bao_tree_and_with_the_slow_encoder(
        length in prop_oneof![0_usize..3000, 16_000_usize..50_000, 0_usize..3_000_000],
        from in 0.0..1.0_f64, to in 0.0..1.0_f64,
    ) {
        let bytes = pattern(length);
        let (from, to) = ((from * (length + 1) as f64) as u64, (to * (length + 1) as f64) as u64);
        let (begin, end) = (from.min(to).min(length as u64), from.max(to).min(length as u64));
        let proof = range(&bytes, begin, end);
        let (_, encoding) = parts(&proof);

        let outboard = PreOrderMemOutboard::create(&bytes, GROUPS);
        let ranges = chunks(length, begin, end);
        let mut theirs = Vec::new();
        encode_ranges_validated(&bytes[..], &outboard, &ranges, &mut theirs).unwrap();
        prop_assert!(encoding == theirs, "bao-tree encodes otherwise: {} and {} bytes", encoding.len(), theirs.len());
        let mut decoded = vec![0; length];
        let empty = EmptyOutboard { tree: BaoTree::new(length as u64, GROUPS), root: outboard.root };
        decode_ranges(Cursor::new(encoding), &ranges, &mut decoded[..], empty).unwrap();
        prop_assert!(decoded[begin as usize..end as usize] == bytes[begin as usize..end as usize]);

        let last = length.saturating_sub(1) / GROUP as usize * GROUP as usize;
        let meets = |a: u64, b: usize, from: usize, to: usize| (a as usize) < to && from < b;
        let wanted = |from: usize, to: usize| {
            to > last
                || begin < end && meets(begin / GROUP * GROUP, end.next_multiple_of(GROUP) as usize, from, to)
        };
        let mut expected = Vec::new();
        slow(&bytes, 0, length, &wanted, &mut expected);
        prop_assert!(encoding == expected);

        let (proven, found) = check(&proof, Hash::blake3(&bytes)).unwrap();
        prop_assert_eq!((proven.length, proven.range), (length as u64, (begin, end)));
        prop_assert!(found == bytes[begin as usize..end as usize]);
        prop_assert_eq!(proven.blake3, Hash::blake3(&found));
    }

    #[test]
    fn no_flipped_bit_goes_unseen(length in 1_usize..200_000, place: prop::sample::Index, bit in 0..8_u32) {
        let bytes = pattern(length);
        let mut proof = range(&bytes, length as u64 / 3, length as u64 / 2);
        let first = parts(&proof).0.len() + 1;
        let at = first + place.index(proof.len() - first);
        proof[at] ^= 1 << bit;
        prop_assert!(check(&proof, Hash::blake3(&bytes)).is_err());
    }
}

#[test]
fn an_outboard_is_that_of_bao_tree_and_gives_the_same_proofs() {
    for length in [0, 1, 16_384, 16_385, 100_000, 3 << 20, (70 << 20) + 5] {
        let bytes = pattern(length);
        let expected = PreOrderMemOutboard::create(&bytes, GROUPS);
        let mut outboard = vec![0; expected.data.len()];
        let root = slice::outboard(
            &bytes,
            &mut |at, piece| {
                outboard[at as usize..at as usize + piece.len()].copy_from_slice(piece);
                Ok(())
            },
            &|_| (),
        );
        assert_eq!(root.unwrap(), Hash::blake3(&bytes), "{length}");
        assert!(outboard == expected.data, "{length}");
        let claim = Claim::Range(length as u64 / 2..length as u64 / 2 + length as u64 / 100);
        let mut proof = Vec::new();
        slice::prove(&source(&bytes), &claim, Some(&outboard), &mut proof, &|_| ()).unwrap();
        assert!(proof == prove(&bytes, &claim), "{length}");
        if length > 16_384 {
            // The right half holds the last group, which every proof needs.
            outboard[63] ^= 1;
            let wrong = slice::prove(&source(&bytes), &claim, Some(&outboard), &mut Vec::new(), &|_| ());
            assert!(wrong.unwrap_err().to_string().contains("outboard is that of another file"));
        }
    }
}

#[test]
fn a_wrong_length_claim_is_refused() {
    for length in [1_u64, 1024, 16_384, 16_385, 65_536, 100_000] {
        let bytes = pattern(length as usize);
        let proof = range(&bytes, 0, 1);
        let (line, encoding) = parts(&proof);
        for claimed in (length.saturating_sub(3)..length + 3).chain([length * 2, length / 2, 1 << 40, 1 << 62]) {
            if claimed == length || claimed == 0 {
                continue;
            }
            let line = line.replace(&format!("\"length\":{length}"), &format!("\"length\":{claimed}"));
            assert!(check(&forged(&line, encoding), Hash::blake3(&bytes)).is_err(), "{length} claimed as {claimed}");
            // Also with the bytes that the claimed length asks for.
            let padded = [encoding, &[0; 64]].concat();
            assert!(check(&forged(&line, &padded), Hash::blake3(&bytes)).is_err(), "{length} claimed as {claimed}");
        }
    }
}

#[test]
fn a_shifted_range_is_refused_or_proves_what_it_says() {
    let bytes = pattern(100_000);
    let root = Hash::blake3(&bytes);
    let (line, encoding) = (parts(&range(&bytes, 20_000, 30_000)).0, range(&bytes, 20_000, 30_000));
    let (_, encoding) = parts(&encoding);
    let (_, moved) = check(&forged(&line.replace("20000", "20001"), encoding), root).unwrap();
    assert!(moved == bytes[20_001..30_000], "within the proven groups another range holds the bytes at its own place");
    assert!(check(&forged(&line.replace("20000,30000", "40000,50000"), encoding), root).is_err());
    assert!(check(&forged(&line.replace("20000,30000", "10000,30000"), encoding), root).is_err());
    refused(&forged(&line.replace("20000,30000", "30000,20000"), encoding), root, "claims bytes");
    refused(&forged(&line.replace("20000,30000", "20000,100001"), encoding), root, "claims bytes");
}

#[test]
fn a_proof_for_another_file_is_refused() {
    let (bytes, mut other) = (pattern(100_000), pattern(100_000));
    other[50_000] ^= 1;
    let proof = range(&bytes, 0, 10);
    refused(&proof, Hash::blake3(&other), "do not lead to this root");
    let inner = blake3::Hasher::new();
    refused(&proof, Hash(inner.finalize().into()), "do not lead to this root");
}

#[test]
fn trailing_and_missing_bytes_are_refused() {
    let bytes = pattern(100_000);
    let (proof, root) = (range(&bytes, 0, 10), Hash::blake3(&bytes));
    refused(&[&proof[..], &[0]].concat(), root, "something follows its end");
    refused(&[&proof[..], &proof[..]].concat(), root, "something follows its end");
    for length in [0, 1, 30, proof.len() / 2, proof.len() - 1] {
        assert!(check(&proof[..length], root).is_err(), "{length}");
    }
}

#[test]
fn swapped_siblings_are_refused() {
    let bytes = pattern(100_000);
    let proof = range(&bytes, 0, 10);
    let (line, encoding) = parts(&proof);
    let mut swapped = encoding.to_vec();
    swapped[..64].rotate_left(32);
    refused(&forged(&line, &swapped), Hash::blake3(&bytes), "do not lead to this root");
    let mut swapped = encoding.to_vec();
    swapped[64..128].rotate_left(32);
    refused(&forged(&line, &swapped), Hash::blake3(&bytes), "do not lead to this root");
}

/// A chaining value must never pass for a root: the last group or an inner node alone is no file.
#[test]
fn a_subtree_is_no_file() {
    use blake3::hazmat::HasherExt as _;
    let bytes = pattern(32_768);
    let part = blake3::Hasher::new().update(&bytes[..16_384]).finalize_non_root();
    let line = r#"{"schema":"countermark.dev/slice/v1","length":16384,"range":[0,10]}"#;
    refused(&forged(line, &bytes[..16_384]), Hash(part), "are not those of the file");
}

#[test]
fn ranges_outside_the_file_cannot_be_proven() {
    for (length, begin, end) in [(0, 0, 1), (10, 0, 11), (10, 11, 11), (10, 5, 4), (10, u64::MAX, u64::MAX)] {
        let claim = Claim::Range(begin..end);
        let answer = slice::prove(&source(&pattern(length)), &claim, None, &mut Vec::new(), &|_| ());
        assert!(matches!(answer, Err(Error::Usage { .. })), "{length} {begin} {end}");
    }
}

#[test]
fn empty_and_tiny_files() {
    let (proven, bytes) = check(&range(&[], 0, 0), Hash::blake3(b"")).unwrap();
    assert_eq!((proven.length, bytes.len()), (0, 0));
    let (proven, bytes) = check(&range(b"abc", 1, 2), Hash::blake3(b"abc")).unwrap();
    assert_eq!((proven.length, &bytes[..]), (3, &b"b"[..]));
    assert!(check(&range(&[], 0, 0), Hash::blake3(b"abc")).is_err());
    // An empty range still proves the length.
    let bytes = pattern(50_000);
    assert_eq!(check(&range(&bytes, 7, 7), Hash::blake3(&bytes)).unwrap().0.length, 50_000);
}

#[test]
fn hostile_first_lines() {
    let root = Hash::blake3(b"abc");
    refused(&vec![b'x'; 1 << 20], root, "no first line of a slice proof");
    refused(b"{}\n", root, "missing field");
    refused(b"", root, "ends inside its first line");
    let line = |rest: &str| forged(&format!("{{\"schema\":\"countermark.dev/slice/v1\",{rest}}}"), b"abc");
    assert!(check(&line(r#""length":3,"range":[0,3]"#), root).is_ok());
    refused(&line(r#""length":3,"range":[0,3],"extra":1"#), root, "unknown field");
    refused(&line(r#""length":3,"length":3,"range":[0,3]"#), root, "duplicate field");
    refused(&line(r#""length":18446744073709551615,"range":[0,3]"#), root, "claims a file of");
    refused(&line(r#""length":3,"range":[0,3],"tensor":"a""#), root, "belong together");
    refused(&line(r#""length":3,"range":[0,3],"front":3"#), root, "belong together");
    refused(&line(r#""length":3,"range":[0,3],"tensor":"a","front":4"#), root, "belong together");
    let huge = r#""length":4611686018427387904,"range":[0,3],"tensor":"a","front":4611686018427387904"#;
    refused(&line(huge), root, "claims a header of more than");
}

/// A safetensors file of two tensors of the same length.
fn model() -> Vec<u8> {
    let header = concat!(
        r#"{"a":{"dtype":"U8","shape":[40000],"data_offsets":[0,40000]},"#,
        r#""b":{"dtype":"U8","shape":[40000],"data_offsets":[40000,80000]}}"#
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend(pattern(80_000));
    file
}

#[test]
fn a_tensor_is_proven_with_the_header_that_places_it() {
    let (file, root) = (model(), Hash::blake3(&model()));
    let proof = prove(&file, &Claim::Tensor("b".into()));
    let (proven, bytes) = check(&proof, root).unwrap();
    let tensor = proven.tensor.unwrap();
    assert_eq!((&*tensor.name, &*tensor.dtype, &tensor.shape[..]), ("b", "U8", &[40_000][..]));
    assert!(bytes == pattern(80_000)[40_000..]);
    assert_eq!(tensor.blake3, Hash::blake3(&bytes));

    let (line, encoding) = parts(&proof);
    refused(&forged(&line.replace("\"b\"", "\"a\""), encoding), root, "does not lie at bytes");
    refused(&forged(&line.replace("\"b\"", "\"c\""), encoding), root, "holds no tensor");
    let start = file.len() - 40_000;
    let moved = line.replace(&format!("[{start},"), &format!("[{},", start + 1));
    refused(&forged(&moved, encoding), root, "does not lie at bytes");
    let front = start - 40_000;
    let cut = line.replace(&format!("\"front\":{front}"), &format!("\"front\":{}", front - 1));
    refused(&forged(&cut, encoding), root, "the header's end is not part of the proof");
}

#[test]
fn what_is_no_model_has_no_tensor_to_prove() {
    let none = slice::prove(&source(&pattern(5000)), &Claim::Tensor("a".into()), None, &mut vec![], &|_| ());
    assert!(matches!(none, Err(Error::Input { .. })));
    let none = slice::prove(&source(&model()), &Claim::Tensor("c".into()), None, &mut vec![], &|_| ());
    assert!(matches!(none, Err(Error::Usage { .. })));
}

/// A GGUF file of two F32 tensors behind a long string of metadata.
fn gguf(note: usize) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    [2_u64, 1].iter().for_each(|count| file.extend(count.to_le_bytes()));
    file.extend([text("note"), 8_u32.to_le_bytes().to_vec(), text(&"n".repeat(note))].concat());
    for (name, offset) in [("a", 0_u64), ("b", 40_000)] {
        file.extend([text(name), 1_u32.to_le_bytes().to_vec(), 10_000_u64.to_le_bytes().to_vec()].concat());
        file.extend([&0_u32.to_le_bytes()[..], &offset.to_le_bytes()].concat());
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(pattern(80_000));
    file
}

#[test]
fn a_tensor_of_a_gguf_file() {
    // The header's reader looks ahead; what it sees there is part of the proof, also at the end of the file.
    for note in [0, 30_000, 200_000] {
        let file = gguf(note);
        let (proven, bytes) = check(&prove(&file, &Claim::Tensor("b".into())), Hash::blake3(&file)).unwrap();
        assert_eq!((&*proven.tensor.unwrap().dtype, proven.range.1), ("F32", file.len() as u64), "{note}");
        assert!(bytes == pattern(80_000)[40_000..], "{note}");
        let (proven, _) = check(&prove(&file, &Claim::Tensor("a".into())), Hash::blake3(&file)).unwrap();
        assert_eq!(proven.range.1 - proven.range.0, 40_000);
    }
}
