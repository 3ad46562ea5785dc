//! Digest of a 2 GiB file from the page cache, beside `b3sum` when it is installed (`cargo install b3sum`).
//!
//! Run: `cargo bench --bench digest`. The bytes are made at test time from a seed and removed afterwards.

use std::hint::black_box;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use countermark::io::files::OpenFile;
use countermark::lineage::digest::blob;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SIZE: u64 = 2 << 30;

fn digest(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut block = vec![0; 1 << 20];
    let mut reader = {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"seed");
        hasher.finalize_xof()
    };
    for _ in 0..SIZE >> 20 {
        reader.fill(&mut block);
        file.write_all(&block).unwrap();
    }
    drop(file);

    let mut group = criterion.benchmark_group("digest of 2 GiB");
    group.throughput(Throughput::Bytes(SIZE)).sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("countermark", |bencher| {
        bencher.iter(|| blob::hash(&OpenFile::open(black_box(&path)).unwrap()).unwrap());
    });
    if Command::new("b3sum").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        group.bench_function("b3sum", |bencher| {
            bencher.iter(|| Command::new("b3sum").arg(&path).stdout(Stdio::null()).status().unwrap());
        });
    } else {
        eprintln!("skipped: b3sum is not installed");
    }
    group.finish();
}

criterion_group!(benches, digest);
criterion_main!(benches);
