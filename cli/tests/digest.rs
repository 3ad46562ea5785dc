//! `digest` in parts, its cache under fire, and a full disk.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;

fn countermark(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("countermark").unwrap();
    let output = command.current_dir(folder).env("COUNTERMARK_CACHE", folder.join("cache.sqlite")).args(arguments);
    let output = output.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn parts_hashed_apart_merge_to_the_digest() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    fs::write(at.join("huge.bin"), (0..5_000_000_u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>()).unwrap();
    let (_, whole, _) = run(&["digest", "huge.bin", "--no-cache"]);
    for other in ["--xet", "--records", "--tensors", "--sha256"] {
        assert_eq!(run(&["digest", "huge.bin", "--part", "0:1024", other]).0, 2, "{other} is not silently left out");
    }
    for (index, part) in ["0:2097152", "2097152:2097152", "4194304:2097152"].iter().enumerate() {
        let (code, json, stderr) = run(&["digest", "huge.bin", "--part", part]);
        assert_eq!(code, 0, "{stderr}");
        assert!(json.contains("countermark.dev/parts/v1"), "{json}");
        fs::write(at.join(format!("{index}.json")), json).unwrap();
    }
    assert_eq!(run(&["digest", "--merge", "2.json", "0.json", "1.json"]), (0, whole, String::new()));
    let (code, stdout, stderr) = run(&["digest", "--merge", "0.json", "2.json"]);
    assert_eq!((code, &*stdout), (2, ""));
    assert!(stderr.contains("leaves a gap") && stderr.contains("help:"), "{stderr}");
    assert_eq!(run(&["digest", "--merge", "0.json", "1.json", "1.json", "2.json"]).0, 2, "a part twice");
    let (code, _, stderr) = run(&["digest", "huge.bin", "--part", "1024:4096"]);
    assert!(code == 2 && stderr.contains("no subtree"), "{stderr}");
    assert_eq!(run(&["digest", "huge.bin", "--part", "9000000:1024"]).0, 2, "behind the end");
    assert_eq!(run(&["digest"]).0, 2);
}

/// Killed at any moment, and several at once: the cache is never wrong and never in the way.
#[test]
fn a_cache_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sets: Vec<String> = (0..12).map(|set| format!("set{set}")).collect();
    for (index, set) in sets.iter().enumerate() {
        fs::create_dir(at.join(set)).unwrap();
        for file in 0..400 {
            fs::write(at.join(set).join(file.to_string()), format!("{index} {file}")).unwrap();
        }
    }
    std::thread::sleep(Duration::from_millis(2100));
    for (index, set) in sets.iter().enumerate() {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("countermark"));
        child.args(["digest", set]).current_dir(at).env("COUNTERMARK_CACHE", at.join("cache.sqlite"));
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let other = &sets[(index + 5) % sets.len()];
        let (code, digest, stderr) = countermark(at, &["digest", other]);
        // A cache that is busy for long is done without, and that is said; damage would be another matter.
        let is_quiet =
            stderr.is_empty() || stderr.contains("nothing was kept") || stderr.contains("everything is hashed");
        assert!(code == 0 && is_quiet && !stderr.contains("put aside"), "{stderr}");
        assert_eq!(digest, countermark(at, &["digest", other, "--no-cache"]).1);
        std::thread::sleep(Duration::from_millis(index as u64 * 2));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for set in &sets {
        let plain = countermark(at, &["digest", set, "--no-cache"]).1;
        assert_eq!(countermark(at, &["digest", set]).1, plain);
        assert_eq!(countermark(at, &["digest", set]).1, plain, "from the cache");
    }
}

/// A file may not grow beyond a few kilobytes, as on a full disk: the old bundle stays, and nothing half-written.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_the_old_state() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("data.csv"), "a,b\n1,2\n").unwrap();
    assert_eq!(countermark(at, &["keygen", "--out", "keys"]).0, 0);
    assert_eq!(countermark(at, &["sign", "data.csv", "--key", "keys/owner.key"]).0, 0);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| !name.to_string_lossy().starts_with("cache.sqlite"));
        names.sort();
        names
    };
    let before = (names(), fs::read(at.join("data.csv.provenance.json")).unwrap());
    let binary = assert_cmd::cargo::cargo_bin("countermark");
    // The limit counts blocks of 1024 bytes; the signal is ignored, so that writing fails as on a full disk.
    let script =
        format!("trap '' XFSZ; ulimit -f 2; {} sign data.csv --key keys/owner.key --no-cache", binary.display());
    let output = Command::new("bash").args(["-c", &script]).current_dir(at).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("nothing was replaced"), "{stderr}");
    assert_eq!((names(), fs::read(at.join("data.csv.provenance.json")).unwrap()), before);
    assert_eq!(countermark(at, &["verify", "data.csv", "--policy", "keys/policy.toml"]).0, 0);
    // Without room for the cache the digest comes all the same.
    let script = format!(
        "trap '' XFSZ; ulimit -f 2; COUNTERMARK_CACHE={}/c.sqlite {} digest data.csv",
        at.display(),
        binary.display()
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(at).output().unwrap();
    let expected = format!("{}  data.csv\n", blake3::hash(b"a,b\n1,2\n"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

/// Workers, servers and proofs are foreign; what they say is printed, and must not reach the terminal as commands.
#[test]
fn foreign_text_cannot_steer_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // As on a terminal: nothing is stripped on the way.
    let run = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("countermark").unwrap();
        let output = command.current_dir(at).env("CLICOLOR_FORCE", "1").args(arguments).output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let bytes = vec![7_u8; 5000];
    fs::write(at.join("a"), &bytes).unwrap();
    let [json, _] = run(&["digest", "a", "--part", "0:8192"]);
    let hostile = r#""\u001b[2J\u001b[32mverified\n0000  b\u202e""#;
    fs::write(at.join("a.json"), json.replace("\"a\"", hostile)).unwrap();
    let [stdout, stderr] = run(&["digest", "--merge", "a.json"]);
    assert!(stdout.starts_with(&blake3::hash(&bytes).to_string()), "{stdout:?}{stderr:?}");
    assert_eq!(stdout.lines().count(), 1, "{stdout:?}");
    assert!(!stdout.contains("\u{1b}[2J") && !stdout.contains('\u{202e}'), "{stdout:?}");

    let member = format!("{{{hostile}:1}}\n");
    fs::write(at.join("a.slice"), &member).unwrap();
    fs::write(at.join("b.json"), &member).unwrap();
    let root = "00".repeat(32);
    for arguments in [&["lineage", "check-slice", "a.slice", "--root", &root][..], &["digest", "--merge", "b.json"]] {
        for text in run(arguments) {
            assert!(!text.contains("\u{1b}[2J") && !text.contains('\u{202e}'), "{arguments:?}: {text:?}");
        }
    }
}
