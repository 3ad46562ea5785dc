//! What the log costs: appending a large batch, appending one entry to a large log, and proofs, as one Markdown table.
//!
//! Run: `cargo bench -p countermark -p countermark-io --bench log` (one million entries), with `-- --quick` for a small smoke
//! run. Entries are made before the clock starts. `TMPDIR` names the disk.

use std::cell::Cell;
use std::time::{Duration, Instant};

use countermark_io::log::Log;
use countermark_lineage::Error;
use countermark_lineage::anchor::tiles::{self, ReadTile};
use countermark_lineage::digest::{Hash, tree};

/// Bytes of an entry, about those of a signed release.
const ENTRY: usize = 260;

/// Tiles of a log of any size whose hashes are computed when they are asked for. A real tile would be read from a file.
struct Simulated {
    reads: Cell<u64>,
}

impl ReadTile for Simulated {
    fn read_tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, Error> {
        self.reads.set(self.reads.get() + 1);
        // Not those of a real tree, which would have to be built: folding them costs the same.
        let hash = |at: u64| Hash::sha256(&[&[level][..], &(index * 256 + at).to_be_bytes()].concat());
        Ok((0..width).map(hash).collect())
    }
}

fn entries(count: usize, seed: u64) -> Vec<Vec<u8>> {
    let entry = |at: usize| {
        let mut bytes = vec![0; ENTRY];
        blake3::Hasher::new().update(&seed.to_le_bytes()).update(&at.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    };
    (0..count).map(entry).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (count, rounds) = if is_quick { (20_000, 2) } else { (1_000_000, 5) };
    println!("`cargo bench -p countermark -p countermark-io --bench log{}`", if is_quick { " -- --quick" } else { "" });
    println!("\n| what | best | median | worst | |\n|---|---|---|---|---|");
    let row = |what: &str, times: &[Duration], note: String| {
        let worst = times.iter().max().copied().unwrap_or_default();
        let best = times.iter().min().copied().unwrap_or_default();
        println!("| {what} | {best:.3?} | {:.3?} | {worst:.3?} | {note} |", median(times.to_vec()));
    };

    let batch = entries(count, 0);
    let mut times = vec![];
    let mut folder = tempfile::tempdir().unwrap();
    for _ in 0..rounds {
        folder = tempfile::tempdir().unwrap();
        let log = Log::create(&folder.path().join("log"), None).unwrap();
        let since = Instant::now();
        log.append(&batch).unwrap();
        times.push(since.elapsed());
    }
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    let best = times.iter().min().copied().unwrap_or_default();
    let note = format!("{:.0} entries/s, best {:.0}, durable when it returns", rate(median(times.clone())), rate(best));
    row(&format!("append {count} entries of {ENTRY} bytes at once"), &times, note);

    let log = Log::open(&folder.path().join("log")).unwrap();
    let (mut times, mut most) = (vec![], 0);
    for entry in entries(40, 1) {
        let (before, since) = (log.reads(), Instant::now());
        log.append(&[entry]).unwrap();
        times.push(since.elapsed());
        most = most.max(log.reads() - before);
    }
    row(
        &format!("append one entry to a log of {count}"),
        &times,
        format!("at most {most} files read; mostly waiting for the disk"),
    );

    let since = Instant::now();
    log.find(&batch[count / 2]).unwrap().unwrap();
    row("make the hint of where leaves are, once", &[since.elapsed()], String::new());
    let mut times = vec![];
    for entry in batch.iter().step_by(count / 50) {
        let since = Instant::now();
        log.find(entry).unwrap().unwrap();
        times.push(since.elapsed());
    }
    row("find an entry with it", &times, String::new());

    let size = log.head().unwrap().size;
    let (mut times, mut most) = (vec![], 0);
    for at in 0..100 {
        let (before, since) = (log.reads(), Instant::now());
        log.prove(&[at * 7919 % size]).unwrap();
        times.push(since.elapsed());
        most = most.max(log.reads() - before);
    }
    row(&format!("prove an entry of a log of {count} on disk"), &times, format!("at most {most} files read"));

    for size in [100_000_000_u64, 1 << 40] {
        let tiles = Simulated { reads: Cell::new(0) };
        let (mut inclusion, mut consistency) = (vec![], vec![]);
        for at in 0..200_u64 {
            let index = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (size - 1);
            let since = Instant::now();
            std::hint::black_box(tiles::inclusion(&tiles, index, size - 1).unwrap());
            inclusion.push(since.elapsed());
            let since = Instant::now();
            std::hint::black_box(tiles::consistency(&tiles, index.max(1), size - 1).unwrap());
            consistency.push(since.elapsed());
        }
        let reads = tiles.reads.get() / 400;
        let note = format!("simulated tiles, about {reads} of them, whose hashes are computed too");
        row(&format!("inclusion proof at {size} entries"), &inclusion, note.clone());
        row(&format!("consistency proof at {size} entries"), &consistency, note);
    }

    let leaves: Vec<Hash> = batch.iter().map(|entry| tree::leaf(entry)).collect();
    let since = Instant::now();
    std::hint::black_box(tree::root(&leaves));
    row(&format!("root of {count} leaf hashes in memory, one thread"), &[since.elapsed()], String::new());
}
