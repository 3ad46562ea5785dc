//! GGUF headers: what is read, and what must be refused, one rule at a time. Nothing may panic or take memory that the
//! file's length does not bound.

mod common;

use common::{Random, Value, number, numbers, string, text};
use countermark_formats::gguf::{self, Header};
use countermark_formats::{Checkpoint, CodeBlock, Dtype, Error, ReadAt};
use proptest::prelude::*;

/// A file with one of everything.
fn sample() -> Vec<u8> {
    let mut words = 8u32.to_le_bytes().to_vec();
    words.extend(2u64.to_le_bytes());
    words.extend([string(b"a"), string(b"bc")].concat());
    let metadata: Vec<(&str, Value)> = vec![
        ("general.architecture", text("llama")),
        ("llama.attention.head_count", number(2)),
        ("llama.attention.head_count_kv", numbers(&[1, 2])),
        ("flag", (7, vec![1])),
        ("small", (1, vec![0xff])),
        ("real", (6, 0.5f32.to_le_bytes().to_vec())),
        ("double", (12, 0.25f64.to_le_bytes().to_vec())),
        ("words", (9, words)),
    ];
    common::gguf(
        &metadata,
        &[
            ("blk.0.attn_q.weight", "2", &[4, 32], vec![0x3c; 72]),
            ("norm", "0", &[3], vec![0; 12]),
            ("blk.0.attn_k.weight", "1", &[2, 3], vec![0; 12]),
        ],
    )
}

#[test]
fn known_answer() {
    let file = sample();
    let header = gguf::parse(&file).unwrap();
    assert_eq!((header.data_start % 32, header.alignment), (0, 32));
    let text: Vec<(&str, String)> = header.metadata.iter().map(|(key, value)| (&key[..], value.to_string())).collect();
    let expected = [
        ("double", "0.25"),
        ("flag", "true"),
        ("general.architecture", "llama"),
        ("llama.attention.head_count", "2"),
        ("llama.attention.head_count_kv", "[1, 2]"),
        ("real", "0.5"),
        ("small", "-1"),
        ("words", "array of 2"),
    ];
    assert_eq!(text, expected.map(|(key, value)| (key, value.to_owned())));
    let tensors: Vec<_> = header.tensors.iter().map(|t| (&t.name[..], t.dtype, &t.shape[..], t.bytes())).collect();
    assert_eq!(
        tensors,
        [
            ("blk.0.attn_q.weight", Dtype::Q4_0, &[4, 32][..], 72),
            ("norm", Dtype::F32, &[3], 12),
            ("blk.0.attn_k.weight", Dtype::F16, &[2, 3], 12)
        ]
    );
    assert_eq!(header.tensors[1].range.start, header.data_start + 96);
    let model = open(file).unwrap();
    assert_eq!(model.shard_metadata(0).unwrap()["flag"], "true");
    assert_eq!(model.gguf_value("llama.attention.head_count"), Some(&gguf::Value::Integer(2)));
    assert_eq!(model.find("norm").map(|(index, _)| index), Some(2));
}

/// Version 2 is the same to the byte; trailing zeros up to the alignment may be there or not.
#[test]
fn what_may_differ() {
    let mut file = sample();
    let version3 = gguf::parse(&file).unwrap();
    file[4] = 2;
    assert_eq!(gguf::parse(&file).unwrap(), version3);
    file.resize(file.len().next_multiple_of(32), 0);
    assert_eq!(gguf::parse(&file).unwrap(), version3);
    // A vocabulary alone; a tensor without elements; scalars.
    assert!(gguf::parse(&common::gguf(&[("a", number(1))], &[])).unwrap().tensors.is_empty());
    let empty = common::gguf(&[], &[("a", "0", &[0, 4], vec![]), ("b", "0", &[], vec![0; 4])]);
    assert_eq!(gguf::parse(&empty).unwrap().tensors.len(), 2);
}

fn open(file: Vec<u8>) -> Result<Checkpoint, Error> {
    Checkpoint::open(vec![("model.gguf".into(), Box::new(file))])
}

/// The message, which must name the rule.
#[track_caller]
fn refused(file: &[u8], rule: &str) {
    let message = gguf::parse(&file.to_vec()).expect_err(rule).to_string();
    assert!(message.contains(rule), "{message:?} does not say {rule:?}");
}

fn one(kind: u32, bytes: Vec<u8>) -> Vec<u8> {
    common::gguf(&[("key", (kind, bytes))], &[])
}

fn array(kind: u32, length: u64, bytes: &[u8]) -> Vec<u8> {
    let mut value = kind.to_le_bytes().to_vec();
    value.extend(length.to_le_bytes());
    value.extend_from_slice(bytes);
    one(9, value)
}

#[test]
fn the_start() {
    let mut file = sample();
    file[0] = b'g';
    refused(&file, "does not begin with \"GGUF\"");
    for version in [0, 1, 4, 0x0100_0000] {
        file = sample();
        file[4..8].copy_from_slice(&u32::to_le_bytes(version));
        refused(&file, &format!("version {version} is not supported"));
    }
    file[4..8].copy_from_slice(&3u32.to_be_bytes());
    refused(&file, "big-endian");
    for at in [8, 16] {
        for count in [4, 9, u64::MAX] {
            file = sample();
            file[at..at + 8].copy_from_slice(&count.to_le_bytes());
            assert!(gguf::parse(&file).is_err(), "{count}");
        }
    }
}

#[test]
fn metadata() {
    refused(&common::gguf(&[("a", number(1)), ("a", number(1))], &[]), "the key \"a\" appears twice");
    refused(&common::gguf(&[("", number(1))], &[]), "a key has 0 bytes");
    refused(&common::gguf(&[("a\u{1}", number(1))], &[]), "control characters");
    refused(&common::gguf(&[(&"a".repeat(65_536), number(1))], &[]), "a key has 65536 bytes");
    refused(&one(13, vec![0; 8]), "unknown metadata type 13");
    refused(&one(7, vec![2]), "a boolean is 2");
    refused(&one(8, string(&[0xff])), "not UTF-8");
    refused(&one(8, u64::MAX.to_le_bytes().to_vec()), "can have only 0 more");
    refused(&one(10, vec![0; 7]), "8 bytes are needed here");
    refused(&array(9, 1, &[0; 20]), "an array in an array");
    refused(&array(13, 1, &[0; 20]), "unknown metadata type 13 in an array");
    refused(&array(10, u64::MAX, &[]), "exceeds 64 bits");
    refused(&array(0, u64::MAX, &[]), "can have only 0 more");
    refused(&array(8, u64::MAX, &string(b"a")), "8 bytes are needed here");
    refused(&array(8, 1, &u64::MAX.to_le_bytes()), "can have only 0 more");
    for alignment in [number(0), number(24), number(1 << 17), text("32"), (5, (-32i32).to_le_bytes().to_vec())] {
        refused(&common::gguf(&[("general.alignment", alignment)], &[]), "not a power of two");
    }
}

/// A file with one tensor whose entry is written as given.
fn entry(name: &str, dimensions: &[u64], kind: u32, offset: u64, data: usize) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(string(name.as_bytes()));
    file.extend((dimensions.len() as u32).to_le_bytes());
    dimensions.iter().for_each(|extent| file.extend(extent.to_le_bytes()));
    file.extend(kind.to_le_bytes());
    file.extend(offset.to_le_bytes());
    file.resize(file.len().next_multiple_of(32) + data, 0);
    file
}

#[test]
fn tensors() {
    assert!(gguf::parse(&entry("a", &[4, 2], 0, 0, 32)).is_ok());
    refused(&entry("", &[4], 0, 0, 16), "a tensor's name has 0 bytes");
    refused(&entry("a\nb", &[4], 0, 0, 16), "control characters");
    refused(&entry("a", &[1; 5], 0, 0, 4), "5 dimensions");
    for kind in [4, 5, 9, 31, 38, 42, u32::MAX] {
        refused(&entry("a", &[32], kind, 0, 64), &format!("type {kind} is unknown"));
    }
    refused(&entry("a", &[u64::MAX, 2], 0, 0, 64), "exceeds 64 bits");
    refused(&entry("a", &[u64::MAX], 0, 0, 64), "no whole number of blocks");
    refused(&entry("a", &[16, 2], 2, 0, 18), "rows of 16 elements of Q4_0");
    refused(&entry("a", &[4], 0, 16, 32), "no multiple of the alignment 32");
    refused(&entry("a", &[4], 0, u64::MAX - 31, 32), "exceed 64 bits");
    refused(&entry("a", &[1 << 61], 24, u64::MAX / 2 + 1, 32), "belong to no tensor");
    refused(&entry("a", &[4], 0, 32, 48), "belong to no tensor");
    refused(&entry("a", &[4], 0, 0, 15), "needs the bytes up to");
    refused(&entry("a", &[4], 0, 0, 48), "belong to no tensor");
    let two = |offset: u64| {
        let mut file = common::gguf(&[], &[("a", "0", &[16], vec![0; 64]), ("b", "0", &[4], vec![0; 16])]);
        let at = file.windows(8).rposition(|window| window == 64u64.to_le_bytes()).unwrap();
        file[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        file
    };
    assert!(gguf::parse(&two(64)).is_ok());
    refused(&two(32), "overlaps the tensor before it");
    refused(&two(0), "overlaps the tensor before it");
    refused(&two(96), "belong to no tensor");
    let twice = common::gguf(&[], &[("a", "0", &[8], vec![0; 32]), ("a", "0", &[8], vec![0; 32])]);
    refused(&twice, "\"a\" appears twice");
    let mut longer = sample();
    longer.resize(longer.len().next_multiple_of(32) + 32, 0);
    refused(&longer, "belong to no tensor");
}

/// Reads all that can be read.
fn use_up(file: Vec<u8>) {
    let Ok(model) = open(file) else { return };
    for matrix in model.matrices() {
        let Ok(rows) = model.rows(&matrix) else { continue };
        let mut values = Vec::new();
        rows.values(0..matrix.rows, &mut values).unwrap();
        assert_eq!(values.len() as u64, matrix.weights());
        let mut block = CodeBlock::default();
        if rows.codes(0..matrix.rows, &mut block).is_ok() {
            let mut edit = model.edit(matrix.tensor).unwrap();
            edit.put_codes(&matrix, 0..matrix.rows, &block.code).unwrap();
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = sample();
    for length in 0..whole.len() {
        assert!(open(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    use_up(whole);
}

#[test]
fn every_changed_byte_is_survived() {
    let whole = sample();
    let end = gguf::parse(&whole).unwrap().data_start as usize;
    for at in 0..end {
        for change in [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x7f, 0xff] {
            let mut file = whole.clone();
            file[at] ^= change;
            use_up(file);
        }
    }
}

/// A long file of which only the header is there.
struct Sparse(Vec<u8>, u64);

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        assert!(buffer.len() <= 1 << 17, "{} bytes at once", buffer.len());
        for (at, byte) in (offset as usize..).zip(buffer) {
            *byte = self.0.get(at).copied().unwrap_or(0);
        }
        Ok(())
    }
}

/// A header that claims much in a file that is long enough is read through a small buffer, and not beyond its limit.
#[test]
fn long_files_take_no_memory() {
    let parse = |file: Vec<u8>| gguf::parse(&Sparse(file, 1 << 50));
    let header = |result: Result<Header, Error>| result.expect_err("must be refused").to_string();
    assert!(header(parse(array(0, 1 << 49, &[]))).contains("can have only"));
    assert!(header(parse(one(8, (1u64 << 40).to_le_bytes().to_vec()))).contains("can have only"));
    assert!(header(parse(array(0, 1 << 20, &[]))).contains("belong to no tensor"));
}

#[test]
fn pickles_are_refused() {
    for file in [b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl".to_vec(), b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j".to_vec()] {
        let message = open(file).err().unwrap().to_string();
        assert!(message.contains("convert it to safetensors"), "{message}");
    }
    // A safetensors header of 0x0280 bytes begins like a pickle.
    let mut file = 0x0280u64.to_le_bytes().to_vec();
    file.extend(b"{}");
    file.resize(8 + 0x0280, b' ');
    assert!(open(file).unwrap().tensors().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_behind_the_magic(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        use_up([&b"GGUF\x03\0\0\0"[..], &rest].concat());
    }

    /// Many changes at once, numbers among them that are near a limit.
    #[test]
    fn random_changes(changes in prop::collection::vec((any::<prop::sample::Index>(), 0..8usize, any::<u64>()), 1..6)) {
        let mut file = sample();
        for (at, kind, value) in changes {
            let at = at.index(file.len() - 8);
            let value = [0, 1, 2, 31, u64::from(u32::MAX), u64::MAX, u64::MAX / 2, value][kind];
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        use_up(file);
    }

    /// What is written is read.
    #[test]
    fn round_trip(shapes in prop::collection::vec(prop::collection::vec(0..5u64, 0..5), 0..6), seed: u64) {
        let mut random = Random(seed);
        let names: Vec<String> = (0..shapes.len()).map(|i| format!("t{i}")).collect();
        let parts: Vec<common::Part<'_>> = shapes.iter().zip(&names).map(|(shape, name)| {
            (&name[..], "0", &shape[..], random.bytes(4 * shape.iter().product::<u64>() as usize))
        }).collect();
        let file = common::gguf(&[("a", number(7))], &parts);
        let model = open(file).unwrap();
        prop_assert_eq!(model.tensors().len(), parts.len());
        for (name, _, shape, bytes) in &parts {
            let (index, tensor) = model.find(name).unwrap();
            prop_assert_eq!(&tensor.info.shape[..], *shape);
            let mut read = Vec::new();
            model.read(index, &mut read).unwrap();
            prop_assert_eq!(&read, bytes);
        }
    }
}
