//! Xet hash and its parts on bytes in memory, as one Markdown table. `cargo bench -p countermark --bench xet [-- --quick]`
//!
//! Ratios are to plain BLAKE3 of the same bytes on one thread, so that they hold on other machines.

use std::time::Instant;

use countermark::lineage::digest::{Hash, chunks, xet};

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let mebibytes: usize = if quick { 64 } else { 1024 };
    // SplitMix64: chunks end where they end in weights, which look random as well.
    let mut state = 0_u64;
    let words = (0..mebibytes << 17).map(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");

    let whole = |bytes: &[u8]| {
        std::hint::black_box(xet::hash(bytes, &|_| ()).expect("memory"));
    };
    let cut = |bytes: &[u8]| {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[chunks::cut(rest)..];
        }
    };
    let plain = |bytes: &[u8]| {
        std::hint::black_box(Hash::blake3(bytes));
    };
    let base = rate(&bytes, plain);
    println!("| {mebibytes} MiB in memory | GB/s | × BLAKE3 on one thread |");
    println!("|---|---|---|");
    let threads = rayon::current_num_threads();
    let rows = [
        ("BLAKE3, one thread".to_owned(), base),
        ("where chunks end, one thread".to_owned(), rate(&bytes, cut)),
        ("Xet hash, one thread".to_owned(), rate(&bytes, |bytes| one.install(|| whole(bytes)))),
        (format!("Xet hash, {threads} threads"), rate(&bytes, whole)),
    ];
    for (what, rate) in rows {
        println!("| {what} | {rate:.2} | {:.2} |", rate / base);
    }
}

/// The best of three, in GB/s.
fn rate(bytes: &[u8], work: impl Fn(&[u8])) -> f64 {
    let once = |_| {
        let begin = Instant::now();
        work(bytes);
        bytes.len() as f64 / begin.elapsed().as_secs_f64() / 1e9
    };
    (0..3).map(once).fold(0.0, f64::max)
}
