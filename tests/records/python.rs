//! Against an implementation in Python that shares no code with this one: `fixtures/records.py`.

use std::process::Command;

use parquet::file::properties::WriterProperties;

use super::records;
use super::tables::{ipc_stream, parquet, table};

#[test]
fn python_finds_the_same_roots() {
    let Some(python) = std::env::var_os("COUNTERMARK_PYTHON") else {
        eprintln!("skipped: python_finds_the_same_roots: COUNTERMARK_PYTHON names no Python with pyarrow");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/records.py");
    let run = |arguments: &[&str]| {
        let output = Command::new(&python).current_dir(&folder).arg(script).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let compare = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        let ours = records(&[(name, &bytes)]);
        let schema = ours.schema.map_or("-".to_owned(), |schema| schema.to_string());
        assert_eq!(run(&["root", name]).trim(), format!("{} {} {schema}", ours.count, ours.root), "{name}");
    };
    // Files that we write, read there; files that it writes, read here.
    for (name, bytes) in [
        ("ours.parquet", parquet(&table(300), WriterProperties::default())),
        ("ours.arrows", ipc_stream(&[table(100), table(7)])),
        ("ours.jsonl", super::lines(0..999)),
        ("ours.csv", b"a,b\r\n1,\"x\r\ny\"\r\n\r\n\"q\"\"\",2\n3,4".to_vec()),
    ] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        compare(name);
    }
    let written = run(&["write", "."]);
    assert!(written.lines().count() >= 8, "{written}");
    written.lines().for_each(compare);
}
