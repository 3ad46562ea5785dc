//! Record trees per core-second: lines and tables in files of the page cache. Prints a Markdown table.
//!
//! Run: `cargo bench --bench records`, or `cargo bench --bench records -- --quick`. The bytes are made from a seed and
//! removed afterwards. Core-seconds are those of the process, on Linux; elsewhere the wall clock counts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use countermark::io::files;
use countermark::io::records::{Dataset, Options, measure};
use countermark::lineage::digest::Hash;
use countermark::lineage::digest::records::Salt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

const RUNS: usize = 5;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rows: u64 = if quick { 200_000 } else { 2_000_000 };
    let folder = tempfile::tempdir().unwrap();
    let salt = Salt::new(&[7; 32], &Hash([1; 32]));
    let (lines, quoted, table) = (lines(folder.path(), rows), quoted(folder.path(), rows), table(folder.path(), rows));
    let plain = Options::default();
    println!("| {rows} rows, {} threads | M rows per core-second | M rows per second | MB/s |", rayon_threads());
    println!("|---|---|---|---|");
    row("JSONL of 416-byte rows, with the tree", &lines, plain, rows);
    row("the same, salted", &lines, Options { salt: Some(&salt), ..plain }, rows);
    row("the same, sorted", &lines, Options { sorted: true, ..plain }, rows);
    row("CSV of 416-byte rows, two of four fields quoted", &quoted, plain, rows);
    row("Parquet, Snappy, an integer and 64 bytes of text", &table, plain, rows);
    println!("\nFastest of {RUNS} runs: `cargo bench --bench records`");
}

fn rayon_threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

fn row(what: &str, path: &Path, options: Options<'_>, rows: u64) {
    let size = std::fs::metadata(path).unwrap().len();
    let artifact = files::open(path).unwrap();
    let dataset = Dataset::open(&artifact, None).unwrap();
    let (mut cpu, mut wall) = (f64::MAX, f64::MAX);
    for _ in 0..RUNS {
        let (before, since) = (cpu_seconds(), Instant::now());
        assert_eq!(measure(&dataset, options, None, &|_| ()).unwrap().records.count, rows);
        let taken = since.elapsed().as_secs_f64();
        wall = wall.min(taken);
        cpu = cpu.min(match (before, cpu_seconds()) {
            (Some(before), Some(after)) => after - before,
            _ => taken,
        });
    }
    let million = rows as f64 / 1e6;
    println!("| {what} | {:.2} | {:.2} | {:.0} |", million / cpu, million / wall, size as f64 / 1e6 / wall);
}

/// User and system time of the process, from `/proc/self/stat` in ticks of 10 ms.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// Text of so many bytes, different for each row.
fn text(row: u64, length: usize) -> String {
    let mut state = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'a' + (state % 26) as u8)
        })
        .collect()
}

fn lines(folder: &Path, rows: u64) -> PathBuf {
    let path = folder.join("rows.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for row in 0..rows {
        let line = format!("{{\"id\":{row:08},\"text\":\"{}\"}}", text(row, 391));
        assert_eq!(line.len(), 416);
        writeln!(file, "{line}").unwrap();
    }
    path
}

fn quoted(folder: &Path, rows: u64) -> PathBuf {
    let path = folder.join("rows.csv");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    writeln!(file, "id,a,b,c").unwrap();
    for row in 0..rows {
        let line = format!("{row:08},\"{}\",{},\"x, \"\"y\"\"\"", text(row, 200), text(row + 1, 191));
        writeln!(file, "{line}").unwrap();
    }
    path
}

fn table(folder: &Path, rows: u64) -> PathBuf {
    const GROUP: u64 = 1 << 20;
    let path = folder.join("rows.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP as usize))
        .build();
    let batch = |begin: u64, end: u64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(begin as i64..end as i64));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((begin..end).map(|row| text(row, 64))));
        RecordBatch::try_from_iter([("id", ids), ("text", texts)]).unwrap()
    };
    let mut writer = ArrowWriter::try_new(file, batch(0, 1).schema(), Some(properties)).unwrap();
    for begin in (0..rows).step_by(1 << 16) {
        writer.write(&batch(begin, rows.min(begin + (1 << 16)))).unwrap();
    }
    writer.close().unwrap();
    path
}
