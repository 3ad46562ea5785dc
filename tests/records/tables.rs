//! Rows of Parquet and Arrow: written in many ways, read as the same bytes.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Int64Builder, ListBuilder, MapBuilder, StringBuilder, StructBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::*;
use arrow_schema::{DataType, Field, Fields, Schema};
use countermark::formats::records::columns::{self, row_to_json};
use countermark::lineage::digest::{Hash, tree};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::{measured, records};

/// A row of every kind of nesting, some of them null.
pub fn table(rows: usize) -> RecordBatch {
    let mut ids = Int64Builder::new();
    let mut names = StringBuilder::new();
    let mut flags = BooleanBuilder::new();
    let mut prices = Decimal128Builder::new().with_precision_and_scale(9, 2).unwrap();
    let mut tags = ListBuilder::new(StringBuilder::new());
    let members = Fields::from(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Utf8, true)]);
    let mut pairs = StructBuilder::from_fields(members, 0);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for row in 0..rows as i64 {
        let some = |divisor| row % divisor != 0;
        ids.append_value(row - 3);
        names.append_option(some(5).then(|| format!("name {}", row % 7)));
        flags.append_option(some(3).then_some(row % 2 == 0));
        prices.append_option(some(4).then_some(i128::from(row) * -101));
        for item in 0..row % 4 {
            tags.values().append_option((item != 1).then(|| format!("t{item}")));
        }
        tags.append(some(6));
        pairs.field_builder::<Int64Builder>(0).unwrap().append_value(row);
        pairs.field_builder::<StringBuilder>(1).unwrap().append_option(some(2).then_some("y"));
        pairs.append(some(9));
        for item in 0..row % 3 {
            maps.keys().append_value(format!("k{item}"));
            maps.values().append_option((item != 1).then_some(item));
        }
        maps.append(some(8)).unwrap();
    }
    let floats: Float64Array = (0..rows).map(|row| if row == 2 { f64::NAN } else { row as f64 / 4.0 }).collect();
    let days = Date32Array::from_iter_values((0..rows).map(|row| row as i32));
    let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| row as i64)).with_timezone("UTC");
    let fixed = FixedSizeBinaryArray::try_from_iter((0..rows).map(|row| [row as u8; 3])).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(ids.finish())),
        ("name", Arc::new(names.finish())),
        ("flag", Arc::new(flags.finish())),
        ("price", Arc::new(prices.finish())),
        ("tags", Arc::new(tags.finish())),
        ("pair", Arc::new(pairs.finish())),
        ("map", Arc::new(maps.finish())),
        ("float", Arc::new(floats)),
        ("day", Arc::new(days)),
        ("time", Arc::new(times)),
        ("fixed", Arc::new(fixed)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

pub fn parquet(table: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, table.schema(), Some(properties)).unwrap();
    writer.write(table).unwrap();
    writer.close().unwrap();
    bytes
}

pub fn ipc_file(batches: &[RecordBatch], options: arrow_ipc::writer::IpcWriteOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    let schema = batches[0].schema();
    let mut writer = arrow_ipc::writer::FileWriter::try_new_with_options(&mut bytes, &schema, options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

pub fn ipc_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn the_same_rows_give_the_same_root_however_they_are_stored() {
    let table = table(1000);
    let plain = records(&[("a.parquet", &parquet(&table, WriterProperties::builder().build()))]);
    assert_eq!(plain.count, 1000);
    let zstd = Compression::ZSTD(ZstdLevel::try_new(3).unwrap());
    let ways = [
        WriterProperties::builder().set_max_row_group_row_count(Some(17)).set_compression(Compression::SNAPPY),
        WriterProperties::builder().set_dictionary_enabled(false).set_compression(zstd),
        WriterProperties::builder().set_writer_version(WriterVersion::PARQUET_2_0).set_data_page_row_count_limit(5),
        WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_column_encoding("name".into(), Encoding::DELTA_BYTE_ARRAY)
            .set_column_encoding("id".into(), Encoding::DELTA_BINARY_PACKED),
    ];
    for (way, properties) in ways.into_iter().enumerate() {
        let found = records(&[("a.parquet", &parquet(&table, properties.build()))]);
        assert_eq!((found.root, found.schema), (plain.root, plain.schema), "way {way}");
    }
    let two = [
        parquet(&table.slice(0, 400), WriterProperties::default()),
        parquet(&table.slice(400, 600), WriterProperties::default()),
    ];
    let found = records(&[("a.parquet", &two[0]), ("b.parquet", &two[1])]);
    assert_eq!((found.root, found.schema), (plain.root, plain.schema), "two files");

    // Arrow says the same of these types, in files and streams, sliced or not, compressed or not.
    let parts = [table.slice(0, 1), table.slice(1, 300), table.slice(301, 699)];
    let lz4 = arrow_ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME))
        .unwrap();
    for bytes in [ipc_file(&parts, lz4), ipc_file(std::slice::from_ref(&table), Default::default()), ipc_stream(&parts)]
    {
        let found = records(&[("a.arrow", &bytes)]);
        assert_eq!((found.root, found.schema), (plain.root, plain.schema));
    }
}

#[test]
fn widths_of_offsets_dictionaries_views_and_runs_do_not_matter() {
    let words = ["b", "a", "b", "", "c", "b"];
    let optional: Vec<Option<&str>> = words.iter().map(|word| (!word.is_empty()).then_some(*word)).collect();
    let ends = Int32Array::from_iter_values(1..=6);
    type Rows = Vec<Option<Vec<Option<i32>>>>;
    let lists = |item: fn(Rows) -> ArrayRef| item((0..6).map(|i| (i != 3).then(|| vec![Some(i), None])).collect());
    let texts: [ArrayRef; 5] = [
        Arc::new(StringArray::from(optional.clone())),
        Arc::new(LargeStringArray::from(optional.clone())),
        Arc::new(StringViewArray::from(optional.clone())),
        Arc::new(optional.iter().copied().collect::<DictionaryArray<Int32Type>>()),
        Arc::new(RunArray::try_new(&ends, &StringArray::from(optional.clone())).unwrap()),
    ];
    let lists: [ArrayRef; 3] = [
        lists(|rows| Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))),
        lists(|rows| Arc::new(LargeListArray::from_iter_primitive::<Int32Type, _, _>(rows))),
        lists(|rows| Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(rows, 2))),
    ];
    let root = |text: &ArrayRef, list: &ArrayRef| {
        let fields =
            [("text", text), ("list", list)].map(|(name, array)| Field::new(name, array.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let batch = RecordBatch::try_new(schema, vec![text.clone(), list.clone()]).unwrap();
        let found = records(&[("a.arrow", &ipc_file(&[batch], Default::default()))]);
        (found.root, found.schema)
    };
    let expected = root(&texts[0], &lists[0]);
    for text in &texts {
        assert_eq!(root(text, &lists[0]), expected, "{}", text.data_type());
    }
    for list in &lists {
        assert_eq!(root(&texts[0], list), expected, "{}", list.data_type());
    }
}

#[test]
fn known_answer_of_a_small_table() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ("text", Arc::new(StringArray::from(vec![Some("a"), None]))),
    ];
    let table = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let file = parquet(&table, WriterProperties::default());
    let found = measured(&[("a.parquet", &file)], None).unwrap();
    let schema = "countermark-columns/v1\n\"id\" int32\n\"text\" string\n";
    assert_eq!(found.columns.as_deref(), Some(schema.as_bytes()));
    assert_eq!(found.records.schema, Some(Hash::sha256(schema.as_bytes())));
    let rows = [&b"\x01\x01\0\0\0\x01\x01\0\0\0a"[..], b"\x01\x02\0\0\0\0"];
    let leaves = rows.map(tree::leaf);
    assert_eq!(found.records.root, tree::node(&leaves[0], &leaves[1]));
    let parsed = columns::parse(schema).unwrap();
    assert_eq!(row_to_json(&parsed, rows[1]), Some(serde_json::json!({ "id": 2, "text": null })));
}

#[test]
fn every_row_reads_back_as_what_was_written() {
    let file = parquet(&table(60), WriterProperties::default());
    let artifact = super::artifact(&[("a.parquet", &file)]);
    let dataset = countermark::io::records::Dataset::open(&artifact, None).unwrap();
    let mut rows = Vec::new();
    let walked = dataset.walk(None, &|_| (), &mut |_, batch| {
        rows.extend(batch.iter().map(<[u8]>::to_vec));
        Ok(())
    });
    let columns = columns::parse(std::str::from_utf8(&walked.unwrap().columns.unwrap()).unwrap()).unwrap();
    let json: Vec<_> = rows.iter().map(|row| row_to_json(&columns, row).unwrap()).collect();
    assert_eq!(json.len(), 60);
    let expected = serde_json::json!({
        "id": 8, "name": "name 4", "flag": false, "price": "-1111e-2", "tags": ["t0", null, "t2"],
        "pair": { "x": 11, "y": "y" }, "map": [["k0", 0], ["k1", null]], "float": 2.75, "day": 11, "time": 11,
        "fixed": "0b0b0b"
    });
    assert_eq!(json[11], expected);
    assert_eq!(json[2]["float"], "NaN");
    assert!(json[0]["pair"].is_null() && json[0]["map"].is_null() && json[0]["name"].is_null());
}
