//! Record trees of files: the same rows give the same root however they are stored, and hostile files are refused.

mod hostile;
mod python;
mod signed;
mod tables;

use std::io::Write as _;
use std::sync::Arc;

use countermark::formats::records::Format;
use countermark::io::records::{Dataset, Measured, Options, measure};
use countermark::lineage::Error;
use countermark::lineage::digest::artifact::Artifact;
use countermark::lineage::digest::records::Records;
use countermark::lineage::digest::tree::{self, reference};

fn artifact(files: &[(&str, &[u8])]) -> Artifact {
    let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), Arc::new(bytes.to_vec()) as Arc<_>)).collect();
    Artifact {
        name: "data".into(),
        is_folder: true,
        files,
        card: None,
        provenance: vec![],
        ignored: vec![],
        names: None,
    }
}

fn measured(files: &[(&str, &[u8])], format: Option<Format>) -> Result<Measured, Error> {
    let dataset = Dataset::open(&artifact(files), format)?;
    measure(&dataset, Options::default(), None, &|_| ())
}

fn records(files: &[(&str, &[u8])]) -> Records {
    measured(files, None).unwrap_or_else(|error| panic!("{error}")).records
}

fn problem(files: &[(&str, &[u8])]) -> String {
    match measured(files, None) {
        Ok(measured) => panic!("accepted: {} records", measured.records.count),
        Err(error) => error.problem(),
    }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lines(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|i| format!("{{\"id\":{i},\"text\":\"line {i}\"}}\n").into_bytes()).collect()
}

#[test]
fn lines_over_files_and_compression_are_one_tree() {
    let all: Vec<_> = lines(0..5000).split(|byte| *byte == b'\n').take(5000).map(tree::leaf).collect();
    let whole = records(&[("a.jsonl", &lines(0..5000))]);
    assert_eq!((whole.count, whole.root), (5000, reference::root(&all)));

    let members = [gz(&lines(1000..1500)), gz(&lines(1500..3000))].concat();
    let frames = [zst(&lines(3000..3001)), zst(&lines(3001..5000))].concat();
    // Given in another order than that of their paths.
    let parts = records(&[
        ("c.jsonl.zst", &frames),
        ("a.jsonl", &lines(0..1000)),
        ("b.jsonl.gz", &members),
        ("notes.md", b"no records"),
    ]);
    assert_eq!((parts.count, parts.root), (5000, whole.root));
    let counts: Vec<_> = parts.files.iter().map(|file| (&*file.path, file.count)).collect();
    assert_eq!(counts, [("a.jsonl", 1000), ("b.jsonl.gz", 2000), ("c.jsonl.zst", 2000)]);
    assert_eq!(parts.place(1000), Some(("b.jsonl.gz", 0)));
    assert_eq!(parts.place(5000), None);
}

#[test]
fn one_format_one_header() {
    assert!(problem(&[("a.jsonl", b"{}"), ("b.csv", b"a")]).contains("several formats: jsonl, csv"));
    assert!(problem(&[("a.bin", b"")]).contains("no file that is known"));
    assert!(problem(&[("a.csv", b"x,y\n1,2"), ("b.csv", b"y,x\n1,2")]).contains("other columns than a.csv"));
    let joined = records(&[("a.csv", b"x,y\r\n1,2\r\n"), ("b.csv", b"x,y\n3,4")]);
    assert_eq!(joined.root, reference::root(&[tree::leaf(b"1,2"), tree::leaf(b"3,4")]));
    // The same bytes as lines are another format in what is signed, whatever the root.
    let as_text = measured(&[("a.csv", b"x,y\n1,2")], Some(Format::Text));
    assert!(as_text.unwrap().records.schema.is_none());
}

#[test]
fn a_sorted_tree_does_not_depend_on_the_order() {
    let sorted = |files: &[(&str, &[u8])]| {
        let dataset = Dataset::open(&artifact(files), None).unwrap();
        measure(&dataset, Options { sorted: true, salt: None }, None, &|_| ()).unwrap().records
    };
    let one = sorted(&[("a.jsonl", b"1\n2\n3\n2\n")]);
    let other = sorted(&[("a.jsonl", b"2\n3"), ("b.jsonl", b"2\n1")]);
    assert_eq!((one.root, one.count), (other.root, 4));
    let mut leaves: Vec<_> = [&b"1"[..], b"2", b"2", b"3"].iter().map(|record| tree::leaf(record)).collect();
    leaves.sort();
    assert_eq!(one.root, reference::root(&leaves));
    assert_ne!(one.root, sorted(&[("a.jsonl", b"1\n2\n3\n")]).root, "duplicates count");
}

#[test]
fn a_file_that_changes_between_the_passes_is_named() {
    let before = artifact(&[("a.jsonl", &gz(&lines(0..100))), ("b.jsonl", b"1")]);
    let listing = before.measure_with(&|_| (), false).unwrap().listing;
    let after = artifact(&[("a.jsonl", &gz(&lines(0..100))), ("b.jsonl", b"2")]);
    let measured = |artifact: &Artifact| {
        measure(&Dataset::open(artifact, None).unwrap(), Options::default(), Some(&listing), &|_| ())
    };
    assert!(measured(&before).is_ok());
    assert!(measured(&after).err().unwrap().problem().contains("b.jsonl: changed while it was read"));
}
