//! Exit codes, streams and messages of the verbs, as scripts depend on them.

use std::fs;

use run::countermark;

mod run;

#[test]
fn a_file_signed_verified_tampered_and_stripped() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    fs::write(at.join("data.csv"), "a,b\n1,2\n").unwrap();

    let (code, stdout, _) = run(&["digest", "data.csv"]);
    assert_eq!((code, stdout), (0, format!("{}  data.csv\n", blake3::hash(b"a,b\n1,2\n"))));

    assert_eq!(run(&["verify", "data.csv"]).0, 4, "absent");
    assert_eq!(run(&["keygen", "--out", "keys"]).0, 0);
    let (code, _, stderr) = run(&["keygen", "--out", "keys"]);
    assert_eq!(code, 2, "keys are never overwritten");
    assert!(stderr.contains("owner.key: is there already") && stderr.contains("help:"), "{stderr}");

    assert_eq!(run(&["sign", "data.csv", "--key", "keys/owner.key", "--log", "log"]).0, 0);
    let (code, stdout, _) = run(&["verify", "data.csv", "--policy", "keys/policy.toml", "--format", "json"]);
    assert_eq!(code, 0, "{stdout}");
    let verdict: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(verdict["state"], "unanchored");
    for check in verdict["checks"].as_array().unwrap() {
        assert!(check["name"].is_string() && check["state"].is_string() && check["detail"].is_string());
    }
    assert_eq!(run(&["verify", "data.csv", "--policy", "keys/policy.toml", "--require-anchor"]).0, 3);
    assert_eq!(run(&["verify", "data.csv"]).0, 3, "nobody is known without a policy");

    fs::write(at.join("data.csv"), "a,b\n1,3\n").unwrap();
    let (code, stdout, _) = run(&["verify", "data.csv", "--policy", "keys/policy.toml"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("data.csv is not the file that was signed"), "{stdout}");

    let (code, stdout, stderr) = run(&["badge", "svg", "data.csv", "--policy", "keys/policy.toml"]);
    assert_eq!(code, 0, "a badge is made whatever the state: {stderr}");
    assert!(stdout.starts_with("<svg"));
}

#[test]
fn bad_input_is_answered_with_what_where_and_help() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    assert_eq!(run(&["keygen", "--out", "keys"]).0, 0);
    fs::write(at.join("data.csv"), "a\n").unwrap();

    let expect = |arguments: &[&str], words: &[&str]| {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {stdout}{stderr}");
        assert!(stdout.is_empty(), "{stdout}");
        for word in words {
            assert!(stderr.contains(word), "{arguments:?}: {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    };
    expect(&["verify", "missing"], &["missing", "help:"]);
    expect(&["verify", "data.csv", "--bundle", "missing.json"], &["missing.json", "help:"]);
    expect(&["sign", "data.csv", "--key", "data.csv"], &["data.csv", "help:"]);
    expect(
        &["sign", "data.csv", "--key", "keys/owner.key", "--parent", "made-of=x.json"],
        &["made-of", "fine-tuned-from"],
    );
    expect(
        &["watermark", "embed", "data.csv", "--key", "keys/owner.mark.key", "--out", "x"],
        &["data.csv", "safetensors"],
    );
    expect(&["watermark", "detect", "data.csv", "--key", "keys/owner.mark.key"], &["commitment"]);

    fs::write(at.join("lying.safetensors"), [0xff; 64]).unwrap();
    expect(&["watermark", "embed", "lying.safetensors", "--key", "keys/owner.mark.key", "--out", "x"], &["byte 0"]);
    assert!(!at.join("x").exists(), "nothing is written");
    expect(&["sign", "lying.safetensors", "--key", "keys/owner.key"], &["lying.safetensors", "help:"]);
    assert!(!at.join("lying.safetensors.provenance.json").exists());

    fs::create_dir(at.join("linked")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", at.join("linked/x")).unwrap();
    expect(&["sign", "linked", "--key", "keys/owner.key"], &["symbolic link", "help:"]);

    use std::os::unix::ffi::OsStrExt as _;
    fs::create_dir(at.join("named")).unwrap();
    fs::write(at.join("named").join(std::ffi::OsStr::from_bytes(b"\xff.bin")), "x").unwrap();
    expect(&["sign", "named", "--key", "keys/owner.key"], &["not UTF-8", "help:"]);
    fs::create_dir(at.join("empty")).unwrap();
    expect(&["digest", "empty"], &["holds no file", "help:"]);

    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(at.join("keys/owner.key"), fs::Permissions::from_mode(0o644)).unwrap();
    expect(&["sign", "data.csv", "--key", "keys/owner.key"], &["read or written by others", "chmod 600"]);
    assert_eq!(run(&["frobnicate"]).0, 2);
}
