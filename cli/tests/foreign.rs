//! The demo's model, released, in the hands of three tools of other people: they accept it, and refuse what was changed.

mod run;

use std::fs;
use std::path::Path;
use std::process::Command;

use run::countermark;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/foreign");

/// Exit code and output of a Python program in `folder`.
fn python(folder: &Path, arguments: &[&str]) -> Option<(bool, String)> {
    let python = std::env::var_os("COUNTERMARK_CREDENTIALS")?;
    let output = Command::new(python).current_dir(folder).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), text))
}

#[test]
fn the_demo_verifies_with_three_foreign_tools() {
    if std::env::var_os("COUNTERMARK_CREDENTIALS").is_none() {
        return eprintln!("skipped: COUNTERMARK_CREDENTIALS names no Python with other people's verifiers");
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let good = |arguments: &[&str]| {
        let (code, stdout, stderr) = countermark(at, arguments);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
        stdout
    };
    good(&["demo", "--out", "demo"]);
    let model = "demo/model";
    good(&["oms", "sign", model, "--key", "demo/keys/owner.p256.key", "--out", "demo/model/model.sig"]);
    good(&["verify", model, "--policy", "demo/policy.toml"]);

    // What the C2PA manifest of a folder is about is its listing.
    fs::write(at.join("listing"), good(&["digest", model, "--listing"])).unwrap();
    let chain = fs::read_to_string(at.join("demo/keys/owner.crt")).unwrap();
    let root = chain.split_inclusive("-----END CERTIFICATE-----\n").nth(1).unwrap();
    fs::write(at.join("root.pem"), root).unwrap();
    let manifest = || {
        let script = format!("{SCRIPTS}/content_credentials.py");
        let sidecar = "demo/model.c2pa";
        python(at, &[&script, "read", "root.pem", "application/octet-stream", "listing", sidecar]).unwrap().1
    };
    let signature = || {
        let key = ["--public_key", "demo/keys/owner.p256.pub", "--signature", "demo/model/model.sig", model];
        python(at, &[&["-m", "model_signing", "verify", "key"][..], &key].concat()).unwrap()
    };
    let statement = || {
        let script = format!("{SCRIPTS}/dsse.py");
        python(at, &[&script, "demo/model.provenance.json", "demo/keys/owner.pub"]).unwrap()
    };
    assert!(manifest().starts_with("Trusted"), "{}", manifest());
    assert!(signature().0, "{}", signature().1);
    assert!(statement().0, "{}", statement().1);

    let listing = fs::read_to_string(at.join("listing")).unwrap();
    fs::write(at.join("listing"), listing.replacen("model", "modal", 1)).unwrap();
    assert!(manifest().starts_with("Invalid"), "{}", manifest());
    let weights = at.join("demo/model/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert!(!signature().0, "model_signing accepts a changed file");
    let bundle = at.join("demo/model.provenance.json");
    let text = fs::read_to_string(&bundle).unwrap();
    let place = text.find("\"payload\": \"").unwrap() + 200;
    let other = if text.as_bytes()[place] == b'A' { "B" } else { "A" };
    fs::write(&bundle, format!("{}{other}{}", &text[..place], &text[place + 1..])).unwrap();
    assert!(!statement().0, "securesystemslib accepts a changed statement");
    assert_eq!(countermark(at, &["verify", model, "--policy", "demo/policy.toml"]).0, 1);
}
