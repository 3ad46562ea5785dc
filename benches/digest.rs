//! Speed of digests beside other tools, as one Markdown table.
//!
//! Run: `cargo bench -p countermark --bench digest` (3 GB and 100,000 files, made in a temporary folder and removed), with
//! `-- --quick` for a small smoke run. Linux only, as it asks `/proc` for CPU time. Every row is the best of several rounds,
//! all rows of a round one after the other, so that a busy machine is busy for all of them. `b3sum` is
//! `cargo install b3sum`; a tool that is missing is said to be.

mod table;

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use countermark::io::cache::FileCache;
use countermark::io::files;
use countermark::lineage::digest::artifact::{Cache, Sha256, Wants};
use countermark::lineage::digest::{Hash, blob};

use table::{Row, table};

fn run(command: &mut Command) {
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
}

fn fill(path: &Path, size: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut block = vec![0; 1 << 20];
    let mut reader = blake3::Hasher::new().update(b"seed").finalize_xof();
    for _ in 0..size >> 20 {
        reader.fill(&mut block);
        file.write_all(&block).unwrap();
    }
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (size, count, rounds) = if is_quick { (64 << 20, 2000, 2) } else { (3 << 30, 100_000, 5) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes");
    fill(&path, size);
    println!("`cargo bench -p countermark --bench digest{}`", if is_quick { " -- --quick" } else { "" });
    one_file(&path, size, rounds);
    std::fs::remove_file(&path).unwrap();
    many_files(folder.path(), count, rounds);
}

fn one_file(path: &Path, size: u64, rounds: usize) {
    let memory = std::fs::read(path).unwrap();
    let read = |sha256, tensors| {
        let wants = Wants { sha256, tensors, cache: None };
        black_box(files::open(path).unwrap().read_once(&wants, &|_| ()).unwrap());
    };
    let alone = || {
        let mut hasher = blake3::Hasher::new();
        for block in memory.chunks(1 << 20) {
            hasher.update(block);
        }
        black_box(hasher.finalize());
    };
    // Tensors of 16 MiB at odd places.
    let ranges: Vec<_> = (0..size >> 24).map(|i| (i << 24) + 41..((i + 1) << 24).min(size - 41) + 41).collect();
    let wants = blob::Wants { sha256: true, ranges: &ranges, ..blob::Wants::default() };
    let mut rows = vec![
        Row {
            what: "BLAKE3 of memory, all threads",
            beside: None,
            work: Box::new(|| {
                black_box(blake3::Hasher::new().update_rayon(&memory).finalize());
            }),
        },
        Row { what: "BLAKE3 of memory, one thread", beside: None, work: Box::new(alone) },
        Row {
            what: "SHA-256 of memory",
            beside: None,
            work: Box::new(|| {
                black_box(Hash::sha256(&memory));
            }),
        },
        Row { what: "digest", beside: Some(0), work: Box::new(|| read(Sha256::No, false)) },
        Row {
            what: "digest with SHA-256 (a release)",
            beside: Some(2),
            work: Box::new(|| read(Sha256::Manifest, false)),
        },
        Row {
            what: "the same with tensors of 16 MiB",
            beside: Some(4),
            work: Box::new(|| {
                drop(black_box(blob::digests(&files::open(path).unwrap().files[0].1, wants, &|_| ()).unwrap()))
            }),
        },
    ];
    if Command::new("b3sum").arg("--version").stdout(Stdio::null()).status().is_ok() {
        rows.push(Row { what: "b3sum", beside: Some(3), work: Box::new(|| run(Command::new("b3sum").arg(path))) });
    } else {
        println!("skipped: b3sum is not installed");
    }
    table(&format!("{} MiB in one file, page cache", size >> 20), size as f64 / 1e9, "GB", rounds, &rows);
}

fn many_files(folder: &Path, count: usize, rounds: usize) {
    let many = folder.join("many");
    std::fs::create_dir(&many).unwrap();
    for index in 0..count {
        let mut bytes = vec![0; 4096];
        blake3::Hasher::new().update(&index.to_le_bytes()).finalize_xof().fill(&mut bytes);
        std::fs::write(many.join(format!("{index:06}")), bytes).unwrap();
    }
    // What was written a moment ago is not kept in the cache.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let digest = |cache: Option<&dyn Cache>| {
        let wants = Wants { cache, ..Wants::default() };
        black_box(files::open(&many).unwrap().read_once(&wants, &|_| ()).unwrap().measured.root)
    };
    let cached = folder.join("cache.sqlite");
    let with_cache = |path: &Path| {
        let cache = FileCache::open(path);
        digest(Some(&cache));
        cache.save();
        assert!(cache.warnings().is_empty(), "{:?}", cache.warnings());
    };
    let script = format!("find {} -type f -print0 | xargs -0 sha256sum", many.display());
    let rows = [
        Row {
            what: "find \\| xargs sha256sum",
            beside: None,
            work: Box::new(|| run(Command::new("sh").args(["-c", &script]))),
        },
        Row {
            what: "digest --no-cache",
            beside: Some(0),
            work: Box::new(|| {
                digest(None);
            }),
        },
        Row {
            what: "digest, first time",
            beside: Some(0),
            work: Box::new(|| {
                for ending in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{ending}", cached.display()));
                }
                with_cache(&cached);
            }),
        },
        Row { what: "digest, second time", beside: Some(2), work: Box::new(|| with_cache(&cached)) },
    ];
    table(&format!("{count} files of 4 KiB, page cache"), count as f64 / 1e3, "thousand files", rounds, &rows);
}
