//! Slices, comparisons and their exit codes, as scripts depend on them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use assert_cmd::Command;

fn countermark(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("countermark").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A safetensors file of F32 tensors.
fn model(tensors: &[(&str, Vec<f32>)]) -> Vec<u8> {
    let mut end = 0;
    let entry = |(name, values): &(&str, Vec<f32>)| {
        let begin = end;
        end += 4 * values.len();
        format!(r#""{name}":{{"dtype":"F32","shape":[{}],"data_offsets":[{begin},{end}]}}"#, values.len())
    };
    let header = format!("{{{}}}", tensors.iter().map(entry).collect::<Vec<_>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    tensors.iter().flat_map(|(_, values)| values).for_each(|value| file.extend(value.to_le_bytes()));
    file
}

#[test]
fn a_tensor_proven_against_a_root_and_against_a_signed_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    let values = |from: f32| (0..60_000).map(|i| from + i as f32).collect::<Vec<f32>>();
    fs::create_dir(at.join("model")).unwrap();
    let file = model(&[("a", values(0.0)), ("b", values(0.5))]);
    fs::write(at.join("model/m.safetensors"), &file).unwrap();
    fs::write(at.join("model/config.json"), "{}").unwrap();
    let root = blake3::hash(&file).to_string();

    let prove = ["lineage", "prove-slice", "model/m.safetensors", "--tensor", "b", "--out", "b.slice"];
    let (code, stdout, stderr) = run(&prove);
    assert_eq!((code, stdout.starts_with(&root)), (0, true), "{stdout}{stderr}");
    let (code, stdout, _) = run(&["lineage", "check-slice", "b.slice", "--root", &root, "--out", "b.bytes"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("F32 [60000] b"), "{stdout}");
    let bytes: Vec<u8> = values(0.5).iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(fs::read(at.join("b.bytes")).unwrap(), bytes);

    // With an outboard, made and then used, the proof is the same.
    let proof = fs::read(at.join("b.slice")).unwrap();
    for _ in 0..2 {
        let mut arguments = prove.to_vec();
        arguments.extend(["--outboard", "m.outboard"]);
        assert_eq!(run(&arguments).0, 0);
        assert_eq!(fs::read(at.join("b.slice")).unwrap(), proof);
    }

    let other = blake3::hash(b"other").to_string();
    let (code, stdout, _) = run(&["lineage", "check-slice", "b.slice", "--root", &other, "--out", "no.bytes"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("not proven") && !at.join("no.bytes").exists(), "{stdout}");
    let (code, _, stderr) =
        run(&["lineage", "prove-slice", "model/m.safetensors", "--range", "0:999999", "--out", "x"]);
    assert_eq!((code, stderr.contains("help:")), (2, true), "{stderr}");
    assert_eq!(run(&["lineage", "check-slice", "none.slice", "--root", &root]).0, 2);

    assert_eq!(run(&["keygen", "--out", "keys"]).0, 0);
    let (code, _, stderr) = run(&["sign", "model", "--key", "keys/owner.key", "--log", "log"]);
    assert_eq!(code, 0, "{stderr}");
    let check = ["lineage", "check-slice", "b.slice", "--bundle", "model.provenance.json"];
    let with = |more: &[&str]| run(&[&check[..], more].concat());
    assert_eq!(with(&["--file", "m.safetensors", "--out", "no.bytes"]).0, 3, "nobody is known without a policy");
    assert!(!at.join("no.bytes").exists());
    assert_eq!(with(&["--policy", "keys/policy.toml"]).0, 3, "which file is not said");
    let (code, stdout, _) = with(&["--policy", "keys/policy.toml", "--file", "m.safetensors"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("its other bytes were not looked at"), "{stdout}");
    assert!(stdout.contains("b is the signed F32 [60000]"), "{stdout}");
    assert!(stdout.contains("model: every check passed"), "{stdout}");
    assert!(stdout.contains("only bytes 240138 to 480138 of file m.safetensors was looked at"), "{stdout}");
    let (code, stdout, _) = with(&["--policy", "keys/policy.toml", "--file", "config.json", "--out", "no.bytes"]);
    assert_eq!((code, at.join("no.bytes").exists()), (1, false), "{stdout}");

    // A bundle whose statement was changed speaks for nothing.
    let bundle = fs::read_to_string(at.join("model.provenance.json")).unwrap();
    let payload = bundle.find("\"payload\": \"").unwrap() + 40;
    let mut forged = bundle.into_bytes();
    forged[payload] = if forged[payload] == b'A' { b'B' } else { b'A' };
    fs::write(at.join("forged.json"), forged).unwrap();
    let forged = ["lineage", "check-slice", "b.slice", "--bundle", "forged.json", "--file", "m.safetensors"];
    assert_eq!(run(&[&forged[..], &["--policy", "keys/policy.toml"]].concat()).0, 1);
}

#[test]
fn diff_by_tensor_by_name_by_content_and_by_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    let same = vec![1.0, 2.0];
    fs::write(at.join("a.safetensors"), model(&[("old", vec![7.0; 3]), ("same", same.clone()), ("w", vec![3.0, 4.0])]))
        .unwrap();
    let second = model(&[("extra", vec![9.0]), ("new", vec![7.0; 3]), ("same", same), ("w", vec![3.0, 5.0])]);
    fs::write(at.join("b.safetensors"), second).unwrap();
    let (code, stdout, _) = run(&["diff", "a.safetensors", "b.safetensors", "--chunks", "--format", "json"]);
    assert_eq!(code, 1);
    let diff: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(diff["schema"], "countermark.dev/diff/v1");
    let row = |name: &str| diff["tensors"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row("w")["change"], "changed");
    assert_eq!((row("w")["drift"].as_f64(), row("w")["max_difference"].as_f64()), (Some(0.2), Some(1.0)));
    assert_eq!((row("w")["norm_first"].as_f64(), row("w")["norm_difference"].as_f64()), (Some(5.0), Some(1.0)));
    assert_eq!((&row("new")["change"], &row("new")["renamed_from"]), (&"renamed".into(), &"old".into()));
    assert_eq!((&row("same")["change"], &row("extra")["change"]), (&"identical".into(), &"added".into()));
    assert_eq!(diff["summary"]["renamed"], 1);
    assert_eq!(diff["chunks"]["only_in_second"]["chunks"], 1);

    let (code, stdout, _) = run(&["diff", "a.safetensors", "a.safetensors", "--chunks"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("identical\n") && stdout.contains("3 identical, 0 changed"), "{stdout}");
    assert!(stdout.contains("stored together 2.000 to 1"), "{stdout}");
    let (_, stdout, _) = run(&["diff", "a.safetensors", "b.safetensors"]);
    assert!(stdout.contains("renamed") && stdout.contains("was old"), "{stdout}");
    assert!(!stdout.contains("identical\n"), "identical tensors are counted, not listed: {stdout}");
}

#[test]
fn a_file_against_the_hub_by_what_a_head_request_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("abc"), "abc").unwrap();
    let xet = "55b9df318a7c45f470d57b04d8ca79a15b0637ffe94b25041a58d00c3528afff";
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (headers, code, words) in [
        (format!("Location: /elsewhere\r\nX-Xet-Hash: {xet}\r\n"), 0, "same by xet hash"),
        (format!("X-Linked-Etag: \"{sha}\"\r\n"), 0, "same by sha256 hash"),
        (format!("X-Xet-Hash: {}\r\n", "0".repeat(64)), 1, "differs by xet hash"),
        (String::new(), 2, "names no hash"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/org/model/resolve/main/abc", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 2048];
            let count = stream.read(&mut asked).unwrap();
            assert!(asked[..count].starts_with(b"HEAD /org/model/resolve/main/abc "));
            write!(stream, "HTTP/1.1 302 Found\r\n{headers}Content-Length: 0\r\n\r\n").unwrap();
        });
        let (found, stdout, stderr) = countermark(at, &["diff", "abc", &url]);
        assert_eq!(found, code, "{stdout}{stderr}");
        assert!(stdout.contains(words) || stderr.contains(words), "{stdout}{stderr}");
        server.join().unwrap();
    }
}

/// A `.npy` file of F32 values.
fn npy(values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}\n", values.len());
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    file
}

#[test]
fn arrays_are_signed_by_tensor_and_compared_across_formats_and_shards() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    fs::create_dir_all(at.join("arrays")).unwrap();
    fs::write(at.join("arrays/a.npy"), npy(&[1.0, 2.0])).unwrap();
    fs::write(at.join("arrays/b.npy"), npy(&[3.0])).unwrap();
    assert_eq!(run(&["keygen", "--out", "keys"]).0, 0);
    assert_eq!(run(&["sign", "arrays", "--key", "keys/owner.key"]).0, 0);
    let verify = ["verify", "arrays", "--policy", "keys/policy.toml"];
    let (code, stdout, _) = run(&verify);
    assert_eq!((code, stdout.contains("2 tensors re-hashed")), (0, true), "{stdout}");

    fs::write(at.join("one.safetensors"), model(&[("a", vec![1.0, 2.0]), ("b", vec![3.0])])).unwrap();
    fs::create_dir_all(at.join("shards")).unwrap();
    fs::write(at.join("shards/1.safetensors"), model(&[("a", vec![1.0, 2.0])])).unwrap();
    fs::write(at.join("shards/2.safetensors"), model(&[("b", vec![3.0])])).unwrap();
    for other in ["arrays", "shards"] {
        let (_, stdout, _) = run(&["diff", "one.safetensors", other]);
        assert!(stdout.contains("tensors: 2 identical, 0 changed, 0 renamed, 0 added, 0 removed"), "{stdout}");
    }

    let index = r#"{"weight_map":{"a":"1.safetensors","b":"1.safetensors"}}"#;
    fs::write(at.join("shards/model.safetensors.index.json"), index).unwrap();
    let (code, _, stderr) = run(&["digest", "shards", "--tensors"]);
    assert_eq!((code, stderr.contains("gives tensor \"b\" to \"1.safetensors\"")), (2, true), "{stderr}");

    fs::write(at.join("arrays/b.npy"), npy(&[4.0])).unwrap();
    let (code, stdout, _) = run(&verify);
    assert_eq!((code, stdout.contains("changed or missing: b")), (1, true), "{stdout}");
    fs::write(at.join("legacy.pt"), b"\x80\x02}q\x00.").unwrap();
    let (code, _, stderr) = run(&["digest", "legacy.pt", "--tensors"]);
    assert_eq!((code, stderr.contains("to safetensors where you trust it")), (2, true), "{stderr}");
}
