//! Speed of a whole verification beside the slowest digest that it needs, as one Markdown table.
//!
//! Run: `cargo bench -p countermark --bench verify` (a model of 2 GiB, made in a temporary folder and removed, twice that
//! with the copy that its manifest is inside of), with `-- --quick` for a small smoke run. SHA-256 is computed of bytes in
//! memory by one thread, which is as fast as it can be; verifying opens, reads and checks everything.

mod table;

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;

use countermark::lineage::digest::Hash;
use countermark::lineage::verdict::State;
use countermark::{keyset, sign, silent, verify};
use table::{Row, table};

/// Tensors of 16 MiB.
const TENSOR: u64 = 16 << 20;

/// Writes a model of `count` tensors.
fn fill(path: &Path, count: u64) {
    let entry = |i: u64| {
        let (begin, end) = (i * TENSOR, (i + 1) * TENSOR);
        format!(
            r#""layers.{i}.mlp.up_proj.weight":{{"dtype":"BF16","shape":[2048,4096],"data_offsets":[{begin},{end}]}}"#
        )
    };
    let header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let mut block = vec![0; TENSOR as usize];
    let mut reader = blake3::Hasher::new().update(b"seed").finalize_xof();
    for _ in 0..count {
        reader.fill(&mut block);
        file.write_all(&block).unwrap();
    }
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (count, rounds) = if is_quick { (4, 2) } else { (128, 5) };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    keyset::generate(&at("keys"), "Bench").unwrap();
    fill(&at("m.safetensors"), count);
    let sign = |embed: Option<&str>| {
        let mut request = sign::Request::new(at("m.safetensors"), at("keys/owner.key"));
        (request.log, request.embed) = (Some(at("log")), embed.map(at));
        sign::sign(&request, &silent()).unwrap();
    };
    sign(None);
    sign(Some("inside/m.safetensors"));
    let memory = std::fs::read(at("m.safetensors")).unwrap();
    let verify = |name: &str| {
        let mut request = verify::Request::new(at(name));
        request.policy = Some(at("keys/policy.toml"));
        let verdict = verify::verify(&request, &silent()).unwrap();
        assert_eq!(verdict.state, State::Unanchored, "{verdict:#?}");
    };
    println!("`cargo bench -p countermark --bench verify{}`", if is_quick { " -- --quick" } else { "" });
    let rows = [
        Row {
            what: "SHA-256 of memory, one thread",
            beside: None,
            work: Box::new(|| {
                black_box(Hash::sha256(&memory));
            }),
        },
        Row { what: "verify, manifest in the bundle", beside: Some(0), work: Box::new(|| verify("m.safetensors")) },
        Row {
            what: "verify, manifest inside the file",
            beside: Some(0),
            work: Box::new(|| verify("inside/m.safetensors")),
        },
    ];
    let size = memory.len() as f64;
    table(&format!("{} MiB in one file, page cache", memory.len() >> 20), size / 1e9, "GB", rounds, &rows);
}
