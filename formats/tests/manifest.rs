//! Manifests in model files: put in, found, taken out, and every way that we know to have one read in two ways.

use std::sync::Arc;

use countermark_formats::manifest::{self, Embedded, Format, Found, KEY, Splice, Undo, encode};
use countermark_formats::{ReadAt, Source};
use proptest::prelude::*;

/// Not a manifest store: nothing here looks into it.
const STORE: &[u8] = b"the bytes of a manifest store, whose text needs padding";

fn bytes(source: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; source.len() as usize];
    source.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn source(file: &[u8]) -> Source {
    Arc::new(file.to_vec())
}

fn embed(name: &str, file: &[u8], store: &[u8]) -> (Vec<u8>, Undo) {
    let place = manifest::insert(name, &source(file), store.len()).unwrap();
    let mut whole = bytes(&place.view);
    assert!(whole[place.span.start as usize..place.span.end as usize].iter().all(|byte| *byte == b'A'));
    whole[place.span.start as usize..place.span.end as usize].copy_from_slice(encode(store).as_bytes());
    (whole, place.undo)
}

fn found(name: &str, file: &[u8]) -> Option<Embedded> {
    match manifest::find(name, &file.to_vec(), None).map_err(|problem| problem.to_string()).unwrap() {
        Some(Found::Embedded(embedded)) => Some(embedded),
        Some(Found::Unspecified { place }) => panic!("{place}"),
        None => None,
    }
}

fn refused(name: &str, file: &[u8]) -> String {
    match manifest::find(name, &file.to_vec(), None) {
        Err(problem) => problem.to_string(),
        Ok(found) => panic!("nothing wrong; found: {}", found.is_some()),
    }
}

/// The slow obvious version of a splice.
fn spliced(stream: &[u8], splice: &Splice) -> Vec<u8> {
    let (from, to) = (splice.at.start as usize, splice.at.end as usize);
    [&stream[..from], &splice.bytes, &stream[to..]].concat()
}

/// Everything that must hold of a file with a manifest put in.
fn round_trip(name: &str, file: &[u8], store: &[u8]) -> Vec<u8> {
    assert!(found(name, file).is_none());
    let (whole, undo) = embed(name, file, store);
    let embedded = found(name, &whole).unwrap();
    assert_eq!(embedded.store, store);
    let span = embedded.span.start as usize..embedded.span.end as usize;
    assert_eq!(&whole[span.clone()], encode(store).as_bytes());
    let original = embedded.take_out(&source(&whole), &undo).unwrap();
    assert_eq!(bytes(&original.view), file);
    let hashed = [&whole[..span.start], &whole[span.end..]].concat();
    assert_eq!(spliced(file, &original.splice), hashed);
    assert_eq!(spliced(&whole, &embedded.without_value()), hashed);
    assert!(manifest::insert(name, &source(&whole), 5).is_err(), "a second manifest");
    whole
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..data).map(|i| i as u8));
    file
}

const TENSOR: &str = r#""w":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}"#;

#[test]
fn safetensors_headers_of_every_kind() {
    for header in [
        format!("{{{TENSOR}}}"),
        format!("{{{TENSOR}}}      "),
        format!("{{ \"__metadata__\" : {{ }} , {TENSOR} }} "),
        format!(r#"{{"__metadata__":{{}},{TENSOR}}}"#),
        format!(r#"{{"__metadata__":{{"format":"pt","a":"b{{\"}},"}},{TENSOR}}}   "#),
        format!(r#"{{{TENSOR},"__metadata__":{{"format":"pt"}}}}"#),
        format!("{{\n  {TENSOR},\n  \"\\u005f_metadata__\": {{\n \"c2pa\": \"c2pa:manifest\" }}\n}}"),
    ] {
        let file = safetensors(&header, 5);
        for length in [1, 2, 3, 100, 5000] {
            let whole = round_trip("m.safetensors", &file, &vec![7; length]);
            assert_eq!(u64::from_le_bytes(whole[..8].try_into().unwrap()) % 8, 0);
            assert_eq!(whole[whole.len() - 5..], [0, 1, 2, 3, 4]);
            ::safetensors::SafeTensors::deserialize(&whole).unwrap();
        }
    }
    let empty = safetensors("{}", 0);
    round_trip("anything", &empty, STORE);
    // First in the metadata, as drafted.
    let (whole, _) = embed("m", &safetensors(&format!(r#"{{{TENSOR},"__metadata__":{{"z":"z"}}}}"#), 5), STORE);
    let text = String::from_utf8_lossy(&whole).into_owned();
    assert!(text.contains(r#""__metadata__":{"c2pa:manifest":""#), "{text}");
}

#[test]
fn safetensors_that_could_be_read_in_two_ways() {
    let value = encode(STORE);
    let entry = format!(r#""{KEY}":"{value}""#);
    let with = |metadata: &str| safetensors(&format!(r#"{{"__metadata__":{{{metadata}}},{TENSOR}}}"#), 5);
    assert_eq!(found("m", &with(&entry)).unwrap().store, STORE);
    let escaped = format!(r#""\u0063\u0032pa:manifest":"{value}""#);
    assert_eq!(found("m", &with(&escaped)).unwrap().store, STORE);
    let good = with(&entry);
    let inside = |text: &str| with(&format!(r#""{KEY}":"{text}""#));
    let cut = |by: usize| value[..value.len() - by].to_owned();
    let claimed = |length: u64| [&length.to_le_bytes(), &good[8..]].concat();
    for (file, reason) in [
        (with(&format!("{entry},{entry}")), "appears twice"),
        (with(&format!("{entry},{escaped}")), "appears twice"),
        (
            safetensors(&format!(r#"{{"__metadata__":{{{entry}}},{TENSOR},"__metadata__":{{}}}}"#), 5),
            "\"__metadata__\" appears twice",
        ),
        (safetensors(&format!(r#"{{"__metadata__":{{{entry}}},{TENSOR},{TENSOR}}}"#), 5), "appears twice"),
        (inside(&format!("\\u{:04x}{}", u32::from(value.as_bytes()[0]), &value[1..])), "not plain Base64"),
        (inside(&format!("{}\\n", &value)), "not plain Base64"),
        (inside(&value.replace(&value[..1], "-")), "not plain Base64"),
        (inside(&cut(1)), "not canonical Base64"),
        (inside("QQ"), "not canonical Base64"),
        (inside("QR=="), "not canonical Base64"),
        (inside("QQ==QQ=="), "not canonical Base64"),
        (inside(""), "empty"),
        (with(&format!(r#""{KEY}":1"#)), "invalid type"),
        (with(&format!(r#""{KEY}":null"#)), "invalid type"),
        (claimed(good.len() as u64), "header claims"),
        (claimed(100_000_001), "header claims"),
        (claimed(good.len() as u64 - 8 - 5 + 1), "header"),
        (safetensors(&format!(r#"{{"__metadata__":{{{entry}}},{TENSOR}}} x"#), 5), "spaces"),
        (safetensors(&format!(r#"{{"__metadata__":{{{entry}}},{TENSOR}}}"#), 6), "belong to no tensor"),
        (good[..good.len() - 1].to_vec(), "data"),
    ] {
        let error = refused("m.safetensors", &file);
        assert!(error.contains(reason), "{reason}: {error}");
    }
    // A key of that name elsewhere is no manifest.
    let tensor = TENSOR.replace("\"w\"", &format!("\"{KEY}\""));
    assert!(found("m", &safetensors(&format!("{{{tensor}}}"), 5)).is_none());
}

/// A header that is made to be slow: a million strings before the one escape.
#[test]
fn a_long_header_is_gone_through_once() {
    let strings = r#""a","#.repeat(1 << 20);
    let header = format!(r#"{{"b":[{strings}"\"]}}"#);
    assert!(found("m.safetensors", &safetensors(&header, 0)).is_none());
    let fields = [&VERSION[..], &[0x20, 1].repeat(1 << 20)].concat();
    assert!(found("m.onnx", &fields).is_none());
}

#[test]
fn an_undo_that_cannot_be_true_is_refused() {
    let file = safetensors(&format!(r#"{{"__metadata__":{{"a":"b"}},{TENSOR}}}"#), 5);
    let (whole, undo) = embed("m", &file, STORE);
    let embedded = found("m", &whole).unwrap();
    let refused = |undo| embedded.take_out(&source(&whole), &undo).is_err();
    assert!(refused(Undo { made: true, ..undo }));
    assert!(refused(Undo { header: None, ..undo }));
    assert!(refused(Undo { header: Some(10), ..undo }));
    assert!(refused(Undo { header: Some(u64::MAX), ..undo }));
    // One that could be true gives other bytes.
    let other = embedded.take_out(&source(&whole), &Undo { header: undo.header.map(|length| length + 8), ..undo });
    assert_ne!(bytes(&other.unwrap().view), file);
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn field(number: usize, value: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2)[..], &varint(value.len()), value].concat()
}

fn prop(key: &str, value: &[u8]) -> Vec<u8> {
    field(14, &[field(1, key.as_bytes()), field(2, value)].concat())
}

const VERSION: [u8; 2] = [8, 8];

#[test]
fn onnx_models_of_every_kind() {
    let graph = field(7, &[1; 300]);
    let imports = field(8, b"\x10\x11");
    let functions = field(25, b"x");
    for parts in [
        vec![&VERSION[..], &graph],
        vec![&VERSION, &graph, &imports],
        vec![&VERSION, &prop("a", b"b"), &graph, &functions],
        vec![&graph, &functions, &VERSION, &functions, &imports, &functions],
    ] {
        for length in [1, 90, 3000] {
            round_trip("m.ONNX", &parts.concat(), &vec![3; length]);
        }
    }
    let (whole, _) = embed("m.onnx", &[&VERSION[..], &graph, &functions].concat(), STORE);
    assert!(whole.ends_with(&functions), "after the last field of a number up to 14");
    // Known by its name, or when it must be one.
    assert!(found("m.bin", &whole).is_none());
    assert!(manifest::find("m.bin", &whole, Some(Format::Onnx)).unwrap().is_some());
}

#[test]
fn onnx_that_could_be_read_in_two_ways() {
    let value = encode(STORE);
    let good = prop(KEY, value.as_bytes());
    let with = |parts: &[&[u8]]| [&[&VERSION[..]], parts].concat().concat();
    assert!(found("m.onnx", &with(&[&good])).is_some());
    let key = field(1, KEY.as_bytes());
    let text = field(2, value.as_bytes());
    let entry = |parts: &[&[u8]]| with(&[&field(14, &parts.concat())]);
    for (file, reason) in [
        (with(&[&good, &good]), "twice"),
        (with(&[&good, &prop(KEY, b"")]), "twice"),
        (entry(&[&key, &key, &text]), "one key and one value"),
        (entry(&[&key, &text, &text]), "one key and one value"),
        (entry(&[&field(1, b"other"), &key, &text]), "one key and one value"),
        (entry(&[&key, &text, &field(3, b"")]), "one key and one value"),
        (entry(&[&key]), "no value"),
        (entry(&[&key, &[2 << 3, 1]]), "one that is no text"),
        (prop(KEY, value.as_bytes()), "ir_version"),
        (with(&[&good, &[7 << 3 | 3]]), "wire type 3"),
        (with(&[&good, &[2]]), "no field number"),
        (with(&[&good, &[8, 0x80]]), "ends inside"),
        (with(&[&good[..good.len() - 1]]), "cut short"),
        (with(&[&[14 << 3, 1]]), "no message"),
        (with(&[&prop(KEY, value.replace('=', "").as_bytes())]), "canonical"),
    ] {
        let error = refused("m.onnx", &file);
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

/// A Parquet file whose footer has these fields: `(delta and type, value)`.
fn parquet(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut footer = vec![];
    for (header, value) in fields {
        footer.push(*header);
        footer.extend_from_slice(value);
    }
    footer.push(0);
    with_footer(&footer)
}

fn with_footer(footer: &[u8]) -> Vec<u8> {
    [b"PAR1columns", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    [&[0x18][..], &varint(key.len()), key.as_bytes(), &[0x18], &varint(value.len()), value, &[0]].concat()
}

fn list(entries: &[Vec<u8>]) -> Vec<u8> {
    let header = if entries.len() < 15 {
        vec![(entries.len() as u8) << 4 | 12]
    } else {
        [&[0xfc][..], &varint(entries.len())].concat()
    };
    [header, entries.concat()].concat()
}

#[test]
fn parquet_footers_of_every_kind() {
    type Field = (u8, &'static [u8]);
    let (version, rows): (Field, Field) = ((0x15, &[4]), (0x26, &[8]));
    let created: &[u8] = b"\x03abc";
    let groups: Field = (0x19, &[0x1c, 0x16, 2, 0]);
    // Without metadata: at the end, before created_by, and before one in the long form.
    for fields in [
        vec![version, rows, groups],
        vec![version, rows, groups, (0x28, created)],
        vec![version, rows, groups, (0x08, b"\x0c\x03abc")],
        // The same, its number longer than it need be.
        vec![version, rows, groups, (0x08, b"\x8c\x00\x03abc")],
        vec![],
        vec![version, rows, groups, (0x19, &[0x0c])],
        vec![version, rows, groups, (0x19, &[0x0c]), (0x18, created)],
    ] {
        for length in [1, 400, 70_000] {
            round_trip("m.parquet", &parquet(&fields), &vec![9; length]);
        }
    }
    for count in 1..40 {
        let entries: Vec<Vec<u8>> = (0..count).map(|i| pair(&format!("key {i}"), b"value")).collect();
        let entries = list(&entries);
        round_trip("m.parquet", &parquet(&[version, (0x49, &entries)]), STORE);
        round_trip("m.parquet", &parquet(&[version, (0x49, &entries), (0x18, created)]), STORE);
    }
}

#[test]
fn parquet_that_could_be_read_in_two_ways() {
    let value = encode(STORE);
    let good = pair(KEY, value.as_bytes());
    let with = |entries: &[Vec<u8>]| parquet(&[(0x59, &list(entries))]);
    assert!(found("m.parquet", &with(std::slice::from_ref(&good))).is_some());
    let whole = with(std::slice::from_ref(&good));
    let length = whole.len();
    let claimed = |footer: u32| [&whole[..length - 8], &footer.to_le_bytes(), b"PAR1"].concat();
    let footer = (length - 8 - 11) as u32;
    let deep = [vec![0x4c], vec![0x1c; 100], vec![0; 101]].concat();
    let one = list(std::slice::from_ref(&good));
    let mut no_value = pair(KEY, b"");
    no_value.truncate(no_value.len() - 3);
    no_value.push(0);
    for (file, reason) in [
        (with(&[good.clone(), good.clone()]), "twice"),
        (with(&[no_value]), "one key and one value"),
        (with(&[[&good[..good.len() - 1], &[0x15, 2, 0]].concat()]), "one key and one value"),
        (with(&[pair(KEY, b"QR==")]), "canonical"),
        (parquet(&[(0x59, &one), (0x09, &[&[10][..], &one].concat())]), "twice"),
        (parquet(&[(0x59, &one), (0x3c, &[0])]), "encrypted"),
        ([&whole[..length - 4], b"PARE"].concat(), "encrypted"),
        ([&whole[..length - 4], b"PAR2"].concat(), "PAR1"),
        (claimed(footer + 1), "Parquet"),
        (claimed(u32::MAX), "at most"),
        (with_footer(&[&whole[11..length - 8], &[0]].concat()), "follow the footer's end"),
        (with_footer(&deep), "nest deeper"),
        (with_footer(&[0x59, 0xfc, 0xff, 0xff, 0x03]), "longer than the footer"),
        (with_footer(&[0x59, 0xfc, 0xff]), "ends inside"),
        (with_footer(&[0x10]), "end of a struct"),
        (parquet(&[(0x55, &[2])]), "no list"),
        (whole[..10].to_vec(), "short"),
    ] {
        let error = refused("m.parquet", &file);
        assert!(error.contains(reason), "{reason}: {error}");
    }
    // Begun a byte later it is another footer, without any metadata.
    assert!(found("m.parquet", &claimed(footer - 1)).is_none());
    assert_eq!(found("m.parquet", &claimed(footer)).map(|embedded| embedded.store), Some(STORE.to_vec()));
}

#[test]
fn a_gguf_header_is_only_looked_at() {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(0_u64.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.extend((KEY.len() as u64).to_le_bytes());
    file.extend(KEY.as_bytes());
    file.extend(8_u32.to_le_bytes());
    file.extend(4_u64.to_le_bytes());
    file.extend(b"QQ==");
    let found = manifest::find("m.gguf", &file, None).unwrap();
    assert!(matches!(found, Some(Found::Unspecified { place }) if place.contains("GGUF")));
    assert!(manifest::insert("m.gguf", &source(&file), 10).is_err());
    assert!(manifest::find("m.gguf", &file[..20].to_vec(), None).unwrap().is_none());
}

#[test]
fn other_files_hold_none() {
    for file in [&b""[..], b"a,b\n1,2\n", b"PK\x03\x04", &[0xff; 40]] {
        assert!(found("data.csv", file).is_none());
        assert!(manifest::insert("data.csv", &source(file), 10).is_err());
    }
}

proptest! {
    /// Whatever a byte becomes: no panic, and never the old store at another place than where its text stands.
    #[test]
    fn damage_is_refused_or_harmless(kind in 0..3_usize, at: prop::sample::Index, value: u8, cut in 0..3_usize) {
        let (name, file) = match kind {
            0 => ("m.safetensors", safetensors(&format!(r#"{{"__metadata__":{{"a":"b"}},{TENSOR}}}"#), 5)),
            1 => ("m.onnx", [&VERSION[..], &field(7, &[1; 30]), &prop("a", b"b")].concat()),
            _ => ("m.parquet", parquet(&[(0x15, &[4]), (0x49, &list(&[pair("a", b"b")]))])),
        };
        let (mut whole, undo) = embed(name, &file, STORE);
        let at = at.index(whole.len());
        match cut {
            0 => whole[at] = value,
            1 => whole.truncate(at),
            _ => whole.insert(at, value),
        }
        if let Ok(Some(Found::Embedded(embedded))) = manifest::find(name, &whole, None) {
            let span = embedded.span.start as usize..embedded.span.end as usize;
            let text = encode(&embedded.store);
            prop_assert_eq!(&whole[span], text.as_bytes());
            if let Ok(original) = embedded.take_out(&source(&whole), &undo) {
                let original_bytes = bytes(&original.view);
                prop_assert_eq!(spliced(&original_bytes, &original.splice), spliced(&whole, &embedded.without_value()));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..3_usize) {
        let format = [Format::Safetensors, Format::Onnx, Format::Parquet][kind];
        drop(manifest::find("m", &bytes, Some(format)));
        drop(manifest::find("m.onnx", &bytes, None));
        drop(manifest::insert("m.onnx", &source(&bytes), 3));
    }
}
