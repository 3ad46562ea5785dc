//! Headers that must be refused, one rule at a time, and a comparison with the upstream library on random ones: this
//! crate may refuse more, never less.

use countermark_formats::{Checkpoint, Dtype, Error, ReadAt, safetensors};
use proptest::prelude::*;

/// A file with this header and as many data bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..data).map(|i| i as u8));
    file
}

fn parse(header: &str, data: usize) -> Result<safetensors::Header, Error> {
    let file = file(header, data);
    let parsed = safetensors::parse(&file);
    if parsed.is_ok() {
        ::safetensors::SafeTensors::deserialize(&file).expect("upstream must accept what this crate accepts");
    }
    parsed
}

/// The message, which must name the rule.
#[track_caller]
fn refused(header: &str, data: usize, rule: &str) {
    let message = parse(header, data).expect_err(rule).to_string();
    assert!(message.contains(rule), "{message:?} does not say {rule:?}");
}

const F32_2: &str = r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#;

#[test]
fn known_answer() {
    let header = concat!(
        r#"{"__metadata__":{"format":"pt","note":"\u00e9"},"#,
        r#""b":{"dtype":"I64","shape":[],"data_offsets":[12,20]},"#,
        r#""a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"#,
        r#""e":{"dtype":"F8_E4M3","shape":[7,0],"data_offsets":[12,12]}}   "#,
    );
    let parsed = parse(header, 20).unwrap();
    let start = 8 + header.len() as u64;
    assert_eq!(parsed.data_start, start);
    assert_eq!(parsed.metadata["note"], "é");
    let names: Vec<&str> = parsed.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "e", "b"]);
    assert_eq!((parsed.tensors[0].dtype, &parsed.tensors[0].shape[..]), (Dtype::Bf16, &[2, 3][..]));
    assert_eq!(parsed.tensors[0].range, start..start + 12);
    assert_eq!((parsed.tensors[1].elements(), parsed.tensors[1].bytes()), (0, 0));
    assert_eq!((parsed.tensors[2].elements(), parsed.tensors[2].range.clone()), (1, start + 12..start + 20));
}

#[test]
fn an_empty_header_is_a_file_without_tensors() {
    assert!(parse("{}", 0).unwrap().tensors.is_empty());
    assert!(parse("{}      ", 0).unwrap().tensors.is_empty());
}

#[test]
fn length_field() {
    for length in 0..10 {
        assert!(matches!(safetensors::parse(&vec![0; length]), Err(Error::TooShort { .. })), "{length}");
    }
    let mut lying = file("{}", 4);
    for claimed in [0, 1, 7, 100_000_001, u64::MAX] {
        lying[..8].copy_from_slice(&u64::to_le_bytes(claimed));
        assert!(matches!(safetensors::parse(&lying), Err(Error::HeaderLength { .. })), "{claimed}");
    }
}

#[test]
fn text_around_the_object() {
    refused(" {}", 0, "must start with '{'");
    refused("\u{feff}{}", 0, "must start with '{'");
    refused("[]", 0, "must start with '{'");
    refused("{}\n", 0, "only spaces may follow");
    refused("{}\0", 0, "only spaces may follow");
    refused("{}{}", 0, "trailing characters");
    refused("{} }", 0, "trailing characters");
    refused("{\"a\"", 0, "only spaces may follow");
    refused("{\"a\":}", 0, "expected");
    let mut bad = file("{\"aa\":{}}", 0);
    bad[10] = 0xff;
    assert!(matches!(safetensors::parse(&bad), Err(Error::Header { offset: 10, .. })));
}

#[test]
fn errors_tell_the_byte() {
    let header = format!("{{\"a\":{{{F32_2}}},\n\"b\":{{\"dtype\":\"F31\"}}}}");
    let Err(Error::Header { offset, reason }) = parse(&header, 8) else { panic!("must be refused") };
    assert_eq!(offset as usize, 8 + header.find("}}").unwrap());
    assert!(reason.contains("F31") && reason.contains("\"b\""), "{reason}");
}

#[test]
fn repeated_keys() {
    refused(&format!(r#"{{"a":{{{F32_2}}},"a":{{{F32_2}}}}}"#), 8, "\"a\" appears twice");
    refused(&format!(r#"{{"a":{{{F32_2}}},"\u0061":{{{F32_2}}}}}"#), 8, "\"a\" appears twice");
    refused(r#"{"__metadata__":{},"__metadata__":{}}"#, 0, "appears twice");
    refused(r#"{"__metadata__":{"k":"1","\u006b":"2"}}"#, 0, "\"k\" appears twice in __metadata__");
    refused(&format!(r#"{{"a":{{{F32_2},"dtype":"F32"}}}}"#), 8, "has \"dtype\" twice");
    refused(&format!(r#"{{"a":{{{F32_2},"shape":[2]}}}}"#), 8, "has \"shape\" twice");
    refused(&format!(r#"{{"a":{{{F32_2},"data_offsets":[0,8]}}}}"#), 8, "has \"data_offsets\" twice");
}

#[test]
fn members() {
    refused(&format!(r#"{{"a":{{{F32_2},"strides":[1]}}}}"#), 8, "unknown member \"strides\"");
    refused(r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, 8, "lacks \"dtype\"");
    refused(r#"{"a":{"dtype":"F32","data_offsets":[0,8]}}"#, 8, "lacks \"shape\"");
    refused(r#"{"a":{"dtype":"F32","shape":[2]}}"#, 8, "lacks \"data_offsets\"");
    refused(r#"{"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}"#, 8, "unknown dtype");
    refused(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}"#, 8, "trailing characters");
    refused(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#, 8, "invalid length");
    refused(r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8, "invalid value");
    refused(r#"{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, 8, "invalid type");
    refused(r#"{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}"#, 8, "invalid type");
    refused(r#"{"a":null}"#, 0, "tensor \"a\" as an object");
    refused(r#"{"__metadata__":{"k":1}}"#, 0, "invalid type");
    refused(r#"{"__metadata__":null}"#, 0, "__metadata__ as an object of strings");
}

#[test]
fn names() {
    refused(&format!(r#"{{"":{{{F32_2}}}}}"#), 8, "name is empty");
    refused(&format!(r#"{{"a\u0000b":{{{F32_2}}}}}"#), 8, "control characters");
    refused(&format!(r#"{{"a\nb":{{{F32_2}}}}}"#), 8, "control characters");
    refused(&format!(r#"{{"a\u009bb":{{{F32_2}}}}}"#), 8, "control characters");
    refused(&format!(r#"{{"\ud800":{{{F32_2}}}}}"#), 8, "hex escape");
}

#[test]
fn shapes_and_offsets() {
    let tensor = |dtype: &str, shape: &str, begin: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
    };
    refused(&tensor("F32", "[4294967296,4294967296]", 0, 8), 8, "exceeds 64 bits");
    refused(&tensor("F32", "[4294967296,4294967296,0]", 0, 0), 0, "exceeds 64 bits");
    refused(&tensor("F64", "[2305843009213693952]", 0, 8), 8, "no whole number of bytes");
    refused(&tensor("F4", "[3]", 0, 2), 2, "no whole number of bytes");
    refused(&tensor("F32", "[2]", 8, 0), 8, "before they begin");
    refused(&tensor("F32", "[3]", 0, 8), 8, "needs 12");
    refused(&tensor("F32", "[2]", 0, 8), 7, "the file has only 7");
    refused(&tensor("F32", "[2]", 4, 12), 12, "belong to no tensor");
    refused(&tensor("F32", "[2]", 18446744073709551607, 18446744073709551615), 8, "belong to no tensor");
    refused(&tensor("F32", "[2]", 0, 8), 9, "belong to no tensor");
    refused("{}", 1, "belong to no tensor");
    let two = |second: &str| format!(r#"{{"a":{{{F32_2}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{second}}}}}"#);
    assert!(parse(&two("[8,12]"), 12).is_ok());
    refused(&two("[4,8]"), 8, "overlaps");
    refused(&two("[9,13]"), 13, "belong to no tensor");
    refused(r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}"#, 4, "belong to no tensor");
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    refused(&format!("{{\"a\":{}}}", "[".repeat(100_000)), 0, "tensor \"a\" as an object");
    refused(&format!("{{\"a\":{{\"x\":{}}}}}", "[".repeat(100_000)), 0, "unknown member \"x\"");
}

#[test]
fn every_truncation_is_refused() {
    let whole = file(&format!(r#"{{"a":{{{F32_2}}}}}"#), 8);
    assert!(safetensors::parse(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(safetensors::parse(&whole[..length].to_vec()).is_err(), "{length} bytes");
    }
}

/// A source that fails after its header.
struct Failing(Vec<u8>);

impl ReadAt for Failing {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        if offset > 8 { Err(std::io::ErrorKind::TimedOut.into()) } else { self.0.read_exact_at(buffer, offset) }
    }
}

#[test]
fn checkpoints_join_shards_and_name_what_fails() {
    let a = file(&format!(r#"{{"z":{{{F32_2}}}}}"#), 8);
    let b = file(r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#, 3);
    let open = |shards: Vec<(&str, Vec<u8>)>| {
        let boxed = shards.into_iter().map(|(path, file)| (path.to_owned(), Box::new(file) as Box<dyn ReadAt>));
        Checkpoint::open(boxed.collect())
    };
    let checkpoint = open(vec![("1.safetensors", a.clone()), ("2.safetensors", b.clone())]).unwrap();
    let order: Vec<_> = checkpoint.tensors().iter().map(|tensor| (&tensor.info.name[..], tensor.shard)).collect();
    assert_eq!(order, [("a", 1), ("z", 0)]);
    let mut buffer = vec![9; 100];
    checkpoint.read(0, &mut buffer).unwrap();
    assert_eq!(buffer, [0, 1, 2]);
    checkpoint.read_range(1, 2..5, &mut buffer).unwrap();
    assert_eq!(buffer, [2, 3, 4]);
    assert_eq!(checkpoint.find("z").map(|(index, _)| index), Some(1));
    assert!(checkpoint.find("y").is_none());
    assert_eq!(
        (checkpoint.shard_count(), checkpoint.shard_path(1), checkpoint.shard_path(2)),
        (2, Some("2.safetensors"), None)
    );
    for (index, start, end) in [(1, 2, 9), (2, 0, 0), (1, 5, 4)] {
        let range = start..end;
        assert!(matches!(checkpoint.read_range(index, range, &mut buffer), Err(Error::OutOfRange { .. })));
    }

    assert!(matches!(open(vec![]), Err(Error::NoShards)));
    let twice = open(vec![("1", a.clone()), ("2", b), ("3", a.clone())]).err().unwrap();
    assert_eq!(twice.to_string().split(':').next().unwrap(), "tensor \"z\" is in 1 and in 3");
    let broken = open(vec![("1", a.clone()), ("sub/2", vec![0; 9])]).err().unwrap();
    assert!(broken.to_string().starts_with("sub/2: the file has 9 bytes"), "{broken}");

    let failing = Checkpoint::open(vec![("net".into(), Box::new(Failing(a)))]).unwrap();
    let message = failing.read(0, &mut buffer).unwrap_err().to_string();
    assert!(message.starts_with("net: cannot read 8 bytes at byte 6"), "{message}");
}

/// A tensor whose offsets follow the one before it, but for a slip now and then.
#[derive(Clone, Debug)]
struct Drawn {
    name: String,
    dtype: &'static str,
    bits: u64,
    shape: Vec<u64>,
    slips: (i64, i64),
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let dtype = prop_oneof![Just(("F32", 32)), Just(("U8", 8)), Just(("BF16", 16)), Just(("F4", 4)), Just(("F33", 8))];
    let extent = prop_oneof![9 => 0u64..4, 1 => Just(u64::MAX)];
    let slip = || prop_oneof![12 => Just(0i64), 1 => -2i64..3];
    ("[a-d_]{0,3}", dtype, prop::collection::vec(extent, 0..3), (slip(), slip()))
        .prop_map(|(name, (dtype, bits), shape, slips)| Drawn { name, dtype, bits, shape, slips })
}

fn draw_file(tensors: &[Drawn], padding: &str, extra: i64) -> Vec<u8> {
    let mut end = 0u64;
    let mut entries = Vec::new();
    for Drawn { name, dtype, bits, shape, slips } in tensors {
        let begin = end.saturating_add_signed(slips.0);
        let elements = shape.iter().fold(1u64, |product, &extent| product.wrapping_mul(extent));
        end = (begin + elements.wrapping_mul(*bits) / 8 % 4096).saturating_add_signed(slips.1);
        entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#));
    }
    entries.reverse();
    file(&format!("{{{}}}{padding}", entries.join(",")), end.saturating_add_signed(extra) as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_laxer_than_upstream(
        tensors in prop::collection::vec(drawn(), 0..4),
        padding in "[ ]{0,3}|[ \n]{0,3}",
        extra in prop_oneof![9 => Just(0i64), 1 => -1i64..2],
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut file = draw_file(&tensors, &padding, extra);
        if let Some((position, byte)) = change {
            let position = position.index(file.len());
            file[position] = byte;
        }
        let (ours, theirs) = (safetensors::parse(&file), ::safetensors::SafeTensors::deserialize(&file));
        prop_assert!(theirs.is_ok() || ours.is_err(), "upstream refuses: {:?}", theirs.err());
        // Unchanged, with distinct names and spaces behind, both must agree.
        let mut names: Vec<&str> = tensors.iter().map(|tensor| &tensor.name[..]).collect();
        names.sort_unstable();
        names.dedup();
        let plain = change.is_none() && !padding.contains('\n');
        if plain && names.len() == tensors.len() && !names.contains(&"") {
            prop_assert_eq!(theirs.is_ok(), ours.is_ok(), "{:?}", ours.err());
        }
    }

    /// Files that upstream writes are read alike.
    #[test]
    fn upstream_files_are_read_alike(
        shapes in prop::collection::btree_map("[a-zé.]{1,4}", (prop::collection::vec(0usize..5, 0..4), 0..3usize), 0..6),
        note in prop::option::of("\\PC*"),
    ) {
        use ::safetensors::tensor::TensorView;
        let dtypes = [::safetensors::Dtype::F32, ::safetensors::Dtype::BF16, ::safetensors::Dtype::I64];
        let bytes = vec![7u8; 5 * 5 * 5 * 8];
        let views: Vec<(&String, TensorView<'_>)> = shapes.iter().map(|(name, (shape, dtype))| {
            let length = shape.iter().product::<usize>() * dtypes[*dtype].bitsize() / 8;
            (name, TensorView::new(dtypes[*dtype], shape.clone(), &bytes[..length]).unwrap())
        }).collect();
        let metadata = note.map(|note| [("note".to_owned(), note)].into());
        let file = ::safetensors::serialize(views, metadata.clone()).unwrap();
        let header = safetensors::parse(&file).unwrap();
        prop_assert_eq!(header.metadata.len(), metadata.map_or(0, |metadata: std::collections::HashMap<_, _>| metadata.len()));
        prop_assert_eq!(header.tensors.len(), shapes.len());
        let upstream = ::safetensors::SafeTensors::deserialize(&file).unwrap();
        for tensor in &header.tensors {
            let view = upstream.tensor(&tensor.name).unwrap();
            let shape: Vec<u64> = view.shape().iter().map(|&extent| extent as u64).collect();
            prop_assert_eq!(&tensor.shape, &shape);
            prop_assert_eq!(tensor.dtype.to_string(), view.dtype().to_string());
            let range = tensor.range.start as usize..tensor.range.end as usize;
            prop_assert_eq!(&file[range], view.data());
        }
    }
}
