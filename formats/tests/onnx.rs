//! ONNX models: tensors wherever they stand, and what must be refused.

#[path = "common/foreign.rs"]
mod foreign;

use foreign::{all, attribute, bytes_field, external, node, number_field, onnx, open, read, refused, tensor, varint};
use proptest::prelude::*;

const FLOATS: [f32; 3] = [1.0, -2.5, 3.25];

fn raw(bytes: &[u8]) -> Vec<u8> {
    bytes_field(9, bytes)
}

fn floats() -> Vec<u8> {
    FLOATS.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A model with one initializer.
fn one(shape: &[u64], kind: u64, values: &[u8]) -> Vec<u8> {
    onnx(&bytes_field(5, &tensor(shape, kind, "w", values)))
}

#[track_caller]
fn is(model: &[u8], dtype: &str, shape: &[u64], bytes: &[u8]) {
    let found = all("m.onnx", model);
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].0.name, &*found[0].0.dtype, &found[0].0.shape[..]), ("w", dtype, shape));
    assert_eq!(found[0].1, bytes);
}

#[test]
fn typed_fields_are_the_bytes_of_raw_data() {
    is(&one(&[3], 1, &raw(&floats())), "F32", &[3], &floats());
    is(&one(&[3], 1, &bytes_field(4, &floats())), "F32", &[3], &floats());
    // Values one by one, and several packed lists, are the same list to protocol buffers.
    let single: Vec<u8> =
        FLOATS.iter().flat_map(|value| [&varint(4 << 3 | 5)[..], &value.to_le_bytes()].concat()).collect();
    is(&one(&[3], 1, &single), "F32", &[3], &floats());
    let split = [bytes_field(4, &floats()[..4]), bytes_field(4, &[]), bytes_field(4, &floats()[4..])].concat();
    is(&one(&[3], 1, &split), "F32", &[3], &floats());

    let minus: Vec<u8> = [varint(5), varint(-2i64 as u64), varint(127)].concat();
    is(&one(&[3], 3, &bytes_field(5, &minus)), "I8", &[3], &[5, 0xfe, 127]);
    is(&one(&[3], 7, &bytes_field(7, &minus)), "I64", &[3], &[5i64, -2, 127].map(i64::to_le_bytes).concat());
    is(
        &one(&[2], 6, &[number_field(5, 7), number_field(5, -1i64 as u64)].concat()),
        "I32",
        &[2],
        &[7, 0, 0, 0, 255, 255, 255, 255],
    );
    is(&one(&[1], 10, &bytes_field(5, &varint(0x3c00))), "F16", &[1], &[0, 0x3c]);
    is(&one(&[1], 16, &bytes_field(5, &varint(0xbf80))), "BF16", &[1], &[0x80, 0xbf]);
    is(&one(&[1], 13, &bytes_field(11, &varint(u64::MAX))), "U64", &[1], &[255; 8]);
    is(&one(&[1], 12, &bytes_field(11, &varint(9))), "U32", &[1], &[9, 0, 0, 0]);
    is(&one(&[1], 11, &bytes_field(10, &0.5f64.to_le_bytes())), "F64", &[1], &0.5f64.to_le_bytes());
    is(&one(&[3], 22, &bytes_field(5, &[0x21, 0x03])), "INT4", &[3], &[0x21, 0x03]);
    is(&one(&[5], 26, &raw(&[1, 2])), "INT2", &[5], &[1, 2]);
    let strings = [bytes_field(6, b"ab"), bytes_field(6, b"")].concat();
    is(&one(&[2], 8, &strings), "STRING", &[2], &[&2u64.to_le_bytes()[..], b"ab", &[0; 8]].concat());
    is(&one(&[0, 4], 1, &[]), "F32", &[0, 4], &[]);
    is(&one(&[], 9, &raw(&[1])), "BOOL", &[], &[1]);
}

#[test]
fn tensors_in_attributes_nested_graphs_functions_and_training() {
    let value = |name: &str| tensor(&[3], 1, name, &raw(&floats()));
    let inner = [node("c", &[attribute("value", 5, &value(""))]), bytes_field(5, &value("w"))].concat();
    let branches = [attribute("then_branch", 6, &inner), attribute("else_branch", 6, &inner)];
    let several = [bytes_field(1, b"list"), bytes_field(10, &value("")), bytes_field(10, &value(""))].concat();
    let sparse = [bytes_field(1, &value("")), bytes_field(2, &tensor(&[3], 7, "", &raw(&[0; 24]))), number_field(3, 9)];
    let graph = [
        node("if", &branches),
        node("d", &[several]),
        node("", &[attribute("sparse_value", 22, &sparse.concat())]),
        bytes_field(5, &value("w")),
    ];
    let function = [
        bytes_field(1, b"f"),
        bytes_field(10, b"my.domain"),
        bytes_field(7, &node("c", &[attribute("value", 5, &value(""))])[2..]),
    ];
    let model = [
        onnx(&graph.concat()),
        bytes_field(20, &bytes_field(1, &bytes_field(5, &value("t")))),
        bytes_field(25, &function.concat()),
    ];
    let found = all("m.onnx", &model.concat());
    let names: Vec<&str> = found.iter().map(|(tensor, _)| &*tensor.name).collect();
    let mut expected = [
        "if.then_branch/c.value",
        "if.then_branch/w",
        "if.else_branch/c.value",
        "if.else_branch/w",
        "d.list[0]",
        "d.list[1]",
        "#2.sparse_value",
        "#2.sparse_value.indices",
        "w",
        "training[0].initialization/t",
        "function my.domain.f/c.value",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    let sparse = found.iter().find(|(tensor, _)| tensor.name == "#2.sparse_value").unwrap();
    assert_eq!(sparse.0.dtype, "F32 sparse in [9]");
    assert!(found.iter().all(|(tensor, bytes)| tensor.name.ends_with("indices") || *bytes == floats()));
}

#[test]
fn external_data_lies_below_the_folder_only() {
    let model = |fields: &[(&str, &str)]| one(&[3], 1, &external(fields));
    let weights = [&[9; 16][..], &floats()].concat();
    let place = [("location", "data/w.bin"), ("offset", "16"), ("length", "12")];
    let list: [(&str, &[u8]); 2] = [("sub/m.onnx", &model(&place)), ("sub/data/w.bin", &weights)];
    let tensors = open(&list).unwrap();
    assert_eq!(read(&tensors, 0).unwrap(), floats());

    let refuse = |fields: &[(&str, &str)], words: &str| {
        let error = open(&[("sub/m.onnx", &model(fields)), ("sub/w.bin", &weights), ("w.bin", &weights)]);
        let error = error.err().unwrap_or_else(|| panic!("accepted: {fields:?}")).to_string();
        assert!(error.contains(words), "{error} does not say {words:?}");
    };
    for location in ["../w.bin", "/w.bin", "./w.bin", "a/../w.bin", "a//w.bin", "..\\w.bin", "C:w.bin", ""] {
        refuse(&[("location", location), ("length", "12")], "not a file below the model's folder");
    }
    refuse(&[("location", "missing.bin")], "which is not here");
    refuse(&[("location", "w.bin"), ("length", "13")], "its shape needs 12");
    refuse(&[("location", "w.bin"), ("offset", "17")], "are not there");
    refuse(&[("location", "w.bin"), ("offset", "18446744073709551615")], "are not there");
    refuse(&[("location", "w.bin"), ("offset", "99999999999999999999")], "exceeds 64 bits");
    refuse(&[("location", "w.bin"), ("offset", "-1")], "no number of bytes");
    refuse(&[("location", "w.bin"), ("location", "w.bin")], "something twice");

    let pair = |first: &str, second: &str| {
        let tensor = |name: &str, offset: &str| {
            bytes_field(5, &tensor(&[3], 1, name, &external(&[("location", "w.bin"), ("offset", offset)])))
        };
        let model = onnx(&[tensor("a", first), tensor("b", second)].concat());
        open(&[("m.onnx", &model), ("w.bin", &weights)]).err().map(|error| error.to_string())
    };
    assert_eq!(pair("0", "12"), None);
    assert_eq!(pair("4", "4"), None, "tied weights");
    assert!(pair("0", "8").unwrap().contains("overlap in part"));
}

#[test]
fn models_that_must_be_refused() {
    let refuse = |model: &[u8], words: &str| refused("m.onnx", model, words);
    refuse(b"", "holds no graph");
    refuse(&number_field(1, 8), "holds no graph");
    refuse(&[onnx(&[]), bytes_field(7, &[])].concat(), "the graph appears twice");
    refuse(&[onnx(&[]), vec![0x0b]].concat(), "wire type 3");
    refuse(&onnx(&[0x2a, 0xff]), "inside a field");
    refuse(&onnx(&[0x2a, 5, 0]), "cut short");
    refuse(&onnx(&[&[0x2a][..], &[0xff; 10]].concat()), "more than 64 bits");
    refuse(&onnx(&number_field(5, 1)), "is no message");
    refuse(&onnx(&[0x00, 0x00]), "no field number");
    refuse(&one(&[4], 1, &raw(&floats())), "its shape needs 16");
    refuse(&one(&[3], 1, &[]), "has no data");
    refuse(&one(&[3], 1, &[raw(&floats()), bytes_field(4, &floats())].concat()), "values in two places");
    refuse(&one(&[3], 1, &[bytes_field(4, &floats()), bytes_field(10, &[0; 8])].concat()), "beside another one");
    refuse(&one(&[3], 1, &[raw(&floats()), raw(&floats())].concat()), "appears twice");
    refuse(&one(&[3], 1, &bytes_field(5, &[1, 2, 3])), "for other types");
    refuse(&one(&[3], 99, &raw(&floats())), "data type is unknown");
    refuse(&one(&[3], 0, &raw(&floats())), "data type is unknown");
    refuse(&one(&[3], 1, &[raw(&floats()), bytes_field(3, &[])].concat()), "in segments");
    refuse(&one(&[3], 1, &[raw(&floats()), number_field(14, 7)].concat()), "location is unknown");
    refuse(&one(&[u64::MAX], 1, &raw(&floats())), "negative extent");
    refuse(&one(&[1 << 40, 1 << 40], 1, &raw(&floats())), "exceeds 64 bits");
    refuse(&one(&[1 << 62], 1, &raw(&floats())), "its length exceeds 64 bits");
    refuse(&one(&[1; 65], 1, &raw(&floats()[..4])), "dimensions");
    refuse(&one(&[1], 2, &bytes_field(5, &varint(300))), "does not fit 1 bytes");
    refuse(&one(&[2], 8, &bytes_field(6, b"a")), "1 strings, not 2");
    refuse(&one(&[2], 8, &raw(b"ab")), "strings are never raw");
    refuse(&onnx(&bytes_field(5, &tensor(&[3], 1, "", &raw(&floats())))), "has no name");
    refuse(&onnx(&bytes_field(5, &tensor(&[3], 1, "a\nb", &raw(&floats())))), "control characters");
    refuse(&onnx(&bytes_field(5, &tensor(&[3], 1, &"n".repeat(5000), &raw(&floats())))), "a name of 5000 bytes");
    let twice = bytes_field(5, &tensor(&[3], 1, "w", &raw(&floats())));
    refuse(&onnx(&[twice.clone(), twice].concat()), "\"w\" appears twice");

    let mut graph = Vec::new();
    for _ in 0..40 {
        graph = node("o", &[attribute("g", 6, &graph)]);
    }
    refuse(&onnx(&graph), "nest deeper than 32");
    refuse(&onnx(&node("o", &[attribute("g", 6, &[])]).repeat(70_000)), "more than 65536 graphs");
    let mut long = Vec::new();
    for _ in 0..20 {
        long = node(&"o".repeat(1000), &[attribute("g", 6, &long)]);
    }
    refuse(&onnx(&long), "a name of more than");
}

proptest! {
    /// Integers of all widths, packed and single in any mixture, against the plain conversion.
    #[test]
    fn integers_however_they_are_written(values in prop::collection::vec((any::<i16>(), any::<bool>()), 0..50)) {
        let mut fields = Vec::new();
        let mut packed = Vec::new();
        for (value, alone) in &values {
            if *alone {
                fields.extend(bytes_field(5, &std::mem::take(&mut packed)));
                fields.extend(number_field(5, *value as i64 as u64));
            } else {
                packed.extend(varint(*value as i64 as u64));
            }
        }
        fields.extend(bytes_field(5, &packed));
        let expected: Vec<u8> = values.iter().flat_map(|(value, _)| value.to_le_bytes()).collect();
        let found = all("m.onnx", &one(&[values.len() as u64], 5, &fields));
        prop_assert_eq!(&found[0].1, &expected);
    }

    #[test]
    fn damaged_models_never_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let value = tensor(&[3], 1, "w", &raw(&floats()));
        let integers = tensor(&[3], 3, "i", &bytes_field(5, &[1, 2, 3]));
        let inner = [bytes_field(5, &value), bytes_field(5, &integers)].concat();
        let graph = [node("if", &[attribute("g", 6, &inner)]), node("s", &[attribute("t", 5, &value)]), inner];
        let mut model = onnx(&graph.concat());
        for (place, byte) in places {
            let at = place.index(model.len());
            model[at] = byte;
        }
        if let Ok(tensors) = open(&[("m.onnx", &model)]) {
            for index in 0..tensors.list().len() {
                let bytes = read(&tensors, index).unwrap();
                prop_assert_eq!(bytes.len() as u64, tensors.list()[index].bytes);
            }
        }
    }
}
