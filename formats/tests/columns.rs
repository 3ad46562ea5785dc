//! The canonical schema and rows of tables: one spelling, and back again.

use countermark_formats::records::columns::{self, Column, MAX_DEPTH, Type, Unit, row_to_json};
use proptest::prelude::*;
use serde_json::json;

fn kind() -> impl Strategy<Value = Type> {
    let unit = || prop_oneof![Just(Unit::S), Just(Unit::Ms), Just(Unit::Us), Just(Unit::Ns)];
    let leaf = prop_oneof![
        Just(Type::Null),
        Just(Type::Bool),
        Just(Type::String),
        Just(Type::Bytes),
        Just(Type::Date),
        Just(Type::DateMs),
        prop_oneof![Just(8), Just(16), Just(32), Just(64)].prop_map(Type::Int),
        prop_oneof![Just(8), Just(16), Just(32), Just(64)].prop_map(Type::Uint),
        prop_oneof![Just(16), Just(32), Just(64)].prop_map(Type::Float),
        (1_u8..77, -5_i8..40).prop_map(|(precision, scale)| Type::Decimal(precision, scale)),
        (0_u32..100).prop_map(Type::Fixed),
        unit().prop_map(Type::Time),
        (unit(), any::<bool>()).prop_map(|(unit, utc)| Type::Timestamp(unit, utc)),
        unit().prop_map(Type::Duration),
        prop_oneof![Just(4), Just(8), Just(16)].prop_map(Type::Interval),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Type::List(Box::new(item))),
            (inner.clone(), inner.clone()).prop_map(|pair| Type::Map(Box::new(pair))),
            proptest::collection::vec((".{0,6}", inner), 0..4).prop_map(|members| {
                Type::Struct(members.into_iter().map(|(name, kind)| Column { name, kind }).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_schema_reads_back_and_has_one_spelling(members in proptest::collection::vec((".{0,8}", kind()), 1..5)) {
        let columns: Vec<Column> = members.into_iter().map(|(name, kind)| Column { name, kind }).collect();
        let text = columns::schema(&columns);
        prop_assert_eq!(columns::parse(&text), Some(columns.clone()));
        prop_assert_ne!(columns::parse(&text.replacen(" ", "  ", 1)), Some(columns));
        prop_assert_eq!(columns::parse(&text[..text.len() - 1]), None);
    }

    #[test]
    fn no_text_and_no_row_makes_it_panic(text in ".{0,80}", row in proptest::collection::vec(0_u8..4, 0..60), kind in kind()) {
        let _ = columns::parse(&format!("countermark-columns/v1\n{text}"));
        let _ = columns::parse(&format!("countermark-columns/v1\n\"a\" {text}\n"));
        let _ = row_to_json(&[Column { name: "a".into(), kind }], &row);
    }
}

#[test]
fn the_documented_bytes_of_a_row() {
    let text = "countermark-columns/v1\n\"id\" int64\n\"tags\" list<string>\n\"at\" timestamp(us,utc)\n\
                \"price\" decimal(9,2)\n\"who\" struct<\"n\" string,\"ok\" bool>\n\"m\" map<string,uint8>\n";
    let columns = columns::parse(text).unwrap();
    let row = [
        &b"\x01\x07\0\0\0\0\0\0\0"[..],
        b"\x01\x02\0\0\0\x01\x01\0\0\0a\x00",
        b"\0",
        b"\x01\xd2\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x01\x01\x01\0\0\0n\x01\x01",
        b"\x01\x01\0\0\0\x01\x01\0\0\0k\x01\x09",
    ]
    .concat();
    let expected = json!({
        "id": 7, "tags": ["a", null], "at": null, "price": "1234e-2", "who": { "n": "n", "ok": true }, "m": [["k", 9]]
    });
    assert_eq!(row_to_json(&columns, &row), Some(expected));
    assert_eq!(row_to_json(&columns, &row[..row.len() - 1]), None, "cut");
    assert_eq!(row_to_json(&columns, &[&row[..], b"\0"].concat()), None, "something behind it");
}

#[test]
fn what_would_grow_without_end_is_refused() {
    let deep = format!("countermark-columns/v1\n\"a\" {}null{}\n", "list<".repeat(70), ">".repeat(70));
    assert!(MAX_DEPTH < 70 && columns::parse(&deep).is_none());
    let wide = format!("countermark-columns/v1\n{}", "\"a\" null\n".repeat(20_001));
    assert_eq!(columns::parse(&wide), None);
    // A long name for every byte of a row.
    let named = format!("countermark-columns/v1\n\"a\" list<struct<\"{}\" null>>\n", "n".repeat(60_000));
    let columns = columns::parse(&named).unwrap();
    let count = 100_000_u32;
    let row = [&[1][..], &count.to_le_bytes(), &[1, 0].repeat(count as usize)].concat();
    assert_eq!(row_to_json(&columns, &row), None);
    let lying = [&[1][..], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(row_to_json(&columns, &lying), None);
}
