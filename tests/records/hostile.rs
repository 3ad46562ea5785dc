//! Files that are cut, lie or swell.

use arrow_array::RecordBatch;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::tables::{ipc_file, ipc_stream, parquet, table};
use super::{gz, lines, measured, problem, records, zst};

#[test]
fn compressed_files_that_are_cut_or_followed_by_something_are_refused() {
    let text = lines(0..2000);
    for (name, whole) in [("a.jsonl.gz", gz(&text)), ("a.jsonl.zst", zst(&text))] {
        assert_eq!(records(&[(name, &whole)]).count, 2000);
        for length in [1, 10, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            problem(&[(name, &whole[..length])]);
        }
        problem(&[(name, &[&whole[..], b"appended"].concat())]);
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        assert!(measured(&[(name, &damaged)], None).is_err(), "{name}: the checksum holds it");
    }
    problem(&[("a.jsonl.gz", b"{}\n")]);
}

#[test]
fn a_bomb_stops_at_the_longest_record() {
    // 1 GiB of one line in a megabyte.
    let zeros = vec![b'0'; 1 << 20];
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..1024 {
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    assert!(problem(&[("a.jsonl.zst", &bomb)]).contains("a record of more than 256 MiB"));
}

fn small() -> RecordBatch {
    table(200)
}

#[test]
fn tables_that_are_cut_are_refused() {
    let file = parquet(&small(), WriterProperties::default());
    for length in [0, 4, 8, 100, file.len() / 2, file.len() - 1] {
        problem(&[("a.parquet", &file[..length])]);
    }
    // A stream cut between two batches too, since its end mark is asked for.
    let halves = [small().slice(0, 100), small().slice(100, 100)];
    let stream = ipc_stream(&halves);
    assert_eq!(records(&[("a.arrows", &stream)]).count, 200);
    for length in (0..stream.len()).step_by(stream.len() / 97) {
        problem(&[("a.arrows", &stream[..length])]);
    }
    problem(&[("a.arrows", &stream[..stream.len() - 8])]);
    problem(&[("a.arrows", &[&stream[..], b"more"].concat())]);
    let file = ipc_file(&halves, Default::default());
    for length in [0, 8, 100, file.len() / 2, file.len() - 1] {
        problem(&[("a.arrow", &file[..length])]);
    }
}

#[test]
fn a_footer_that_lies_about_rows_is_refused() {
    use parquet::file::metadata::ParquetMetaData;
    use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData};
    let file = parquet(&small(), WriterProperties::default());
    let bytes = bytes::Bytes::from(file.clone());
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let footer = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize;
    let data = &file[..file.len() - 8 - footer];
    let rewritten = |rows: i64, change: &dyn Fn(RowGroupMetaData) -> RowGroupMetaData| {
        let old = metadata.file_metadata();
        let new = parquet::file::metadata::FileMetaData::new(
            old.version(),
            rows,
            None,
            None,
            old.schema_descr_ptr(),
            old.column_orders().cloned(),
        );
        let groups = metadata.row_groups().iter().cloned().map(change).collect();
        let mut bytes = data.to_vec();
        ParquetMetaDataWriter::new(&mut bytes, &ParquetMetaData::new(new, groups)).finish().unwrap();
        bytes
    };
    let honest = rewritten(200, &|group| group);
    assert_eq!(records(&[("a.parquet", &honest)]).count, 200, "the rewriting itself does no harm");
    for rows in [0, 1, 199, 201, 1 << 40, -1] {
        let lying = rewritten(rows, &|group| group.into_builder().set_num_rows(rows).build().unwrap());
        problem(&[("a.parquet", &lying)]);
    }
    let moved = |offset: i64, size: i64| {
        rewritten(200, &|group| {
            let columns = group.columns().iter().cloned().map(|column| {
                column
                    .into_builder()
                    .set_data_page_offset(offset)
                    .set_dictionary_page_offset(None)
                    .set_total_compressed_size(size)
                    .build()
                    .unwrap()
            });
            let columns: Vec<_> = columns.collect();
            group.into_builder().set_column_metadata(columns).build().unwrap()
        })
    };
    for (offset, size) in [(-4, 100), (4, i64::MAX), (i64::MAX, 100), (1 << 40, 100), (4, -1)] {
        let found = problem(&[("a.parquet", &moved(offset, size))]);
        assert!(found.contains("outside the file"), "{found}");
    }
}

#[test]
fn a_buffer_that_says_it_is_huge_reserves_nothing() {
    let options = arrow_ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(arrow_ipc::CompressionType::ZSTD))
        .unwrap();
    let column = arrow_array::Int64Array::from_iter_values(std::iter::repeat_n(7, 4096));
    let table = RecordBatch::try_from_iter([("a", std::sync::Arc::new(column) as _)]).unwrap();
    let file = ipc_file(&[table], options);
    assert_eq!(records(&[("a.arrow", &file)]).count, 4096);
    // The length in front of the compressed values: 32768, once.
    let says = 32768_i64.to_le_bytes();
    let at: Vec<usize> = (0..file.len() - 8).step_by(8).filter(|at| file[*at..at + 8] == says).collect();
    assert_eq!(at.len(), 1);
    for lie in [1_i64 << 62, 1 << 45, 2 << 30, -7, i64::MIN] {
        let mut lying = file.clone();
        lying[at[0]..at[0] + 8].copy_from_slice(&lie.to_le_bytes());
        let found = problem(&[("a.arrow", &lying)]);
        assert!(found.contains("MiB") || found.contains("negative"), "{found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn damaged_tables_are_read_or_refused(at in any::<proptest::sample::Index>(), flip in 1_u8.., which in 0_usize..3) {
        let (name, mut bytes) = match which {
            0 => ("a.parquet", parquet(&table(20), WriterProperties::default())),
            1 => ("a.arrow", ipc_file(&[table(20)], Default::default())),
            _ => ("a.arrows", ipc_stream(&[table(20)])),
        };
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = measured(&[(name, &bytes)], None);
    }
}
