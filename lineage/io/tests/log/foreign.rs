//! Another implementation of C2SP logs, the Python package aics-tlog, builds the same tiles and accepts our proofs. The
//! interpreter that has it is named by COUNTERMARK_TLOG (`fixtures/services/tlog.sh`).

use std::fs;
use std::path::Path;
use std::process::Command;

use countermark_io::anchor::serve::Server;
use countermark_lineage::anchor::tiles;
use serde_json::{Value, json};

use super::lab::{entries, log};

#[test]
fn aics_tlog_builds_the_same_tiles_and_accepts_our_proofs() {
    let Some(python) = std::env::var_os("COUNTERMARK_TLOG") else {
        eprintln!("skipped: aics-tlog: COUNTERMARK_TLOG is not set (fixtures/services/tlog.sh)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let log = log(&at("log"), 3);
    fs::copy(at("log/checkpoint"), at("old")).unwrap();
    for (number, count) in [250, 1, 1, 1, 255, 256, 257, 1, 700].into_iter().enumerate() {
        log.append(&entries(&number.to_string(), count)).unwrap();
    }
    let size = log.head().unwrap().size;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let indices = [0, 1, 255, 256, 511, 512, 1023, 1024, size - 1];
    let mut proofs: Vec<Value> = log
        .prove(&indices)
        .unwrap()
        .into_iter()
        .map(|proof| json!({ "entry": hex(&log.entry(proof.index).unwrap()), "proof": proof.to_text() }))
        .collect();
    // And one that is not true, which the other one must say.
    proofs.push(json!({ "entry": "00", "proof": proofs[3]["proof"] }));
    let tiles = log.tiles(size);
    let mut consistency: Vec<Value> = [1, 4, 255, 256, 257, 1024, size - 1, size]
        .into_iter()
        .map(|old| {
            let root = |size| tiles::root(&tiles, size).unwrap().to_string();
            let path = tiles::consistency(&tiles, old, size).unwrap();
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            json!({ "old": old, "new": size, "old_root": root(old), "new_root": root(size), "path": path })
        })
        .collect();
    let mut false_one = consistency[2].clone();
    false_one["old_root"] = consistency[3]["old_root"].clone();
    consistency.push(false_one);
    let claims = json!({ "vkey": log.verifier().to_string(), "proofs": proofs, "consistency": consistency });
    fs::write(at("claims.json"), claims.to_string()).unwrap();
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/foreign/tlog.py");
    let output = Command::new(&python).arg(driver).args([at("log"), at("claims.json")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["size"], &found["other"]), (&json!(size), &json!([])), "{found}");
    assert_eq!(found["same"], json!(2 * size.div_ceil(256) + 1), "{found}");
    let expected = |count: usize| json!([vec![true; count], vec![false]].concat());
    assert_eq!(found["proofs"], expected(indices.len()), "{found}");
    assert_eq!(found["consistency"], expected(8), "{found}");

    // The same from what is served, with nothing else than the key.
    let server = Server::start(&at("log"), "127.0.0.1:0".parse().unwrap()).unwrap();
    let (url, vkey) = (format!("http://{}/", server.address()), log.verifier().to_string());
    let verify = |arguments: &[&str]| {
        let output = Command::new(&python)
            .args(["-m", "aics_tlog"])
            .args(arguments)
            .args(["--tiles", &url, "--log-key", &vkey])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.success(), said)
    };
    let leaf = at("leaf");
    fs::write(&leaf, log.entry(300).unwrap()).unwrap();
    let (leaf, old) = (leaf.to_str().unwrap(), at("old"));
    let (good, said) = verify(&["verify-inclusion", "--leaf", leaf, "--index", "300"]);
    assert!(good, "{said}");
    let (good, said) = verify(&["verify-inclusion", "--leaf", leaf, "--index", "301"]);
    assert!(!good, "{said}");
    let (good, said) = verify(&["verify-consistency", "--old-checkpoint", old.to_str().unwrap()]);
    assert!(good, "{said}");
}
