//! Keys through the command line: every kind that keygen makes, passphrases, renewal, devices, time-stamps.

#[allow(dead_code, reason = "shared with tests that need all of it")]
#[path = "../../lineage/io/tests/authority/mod.rs"]
mod authority;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use authority::{Authority, ECDSA};
use serde_json::Value;

/// A folder with something to sign.
struct Lab {
    folder: tempfile::TempDir,
    /// Set for every run.
    environment: Vec<(&'static str, String)>,
}

impl Lab {
    fn new() -> Self {
        let lab = Lab { folder: tempfile::tempdir().unwrap(), environment: vec![] };
        fs::write(lab.path("data.csv"), "question,answer\n1,2\n").unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("countermark"));
        for variable in ["COUNTERMARK_PASSPHRASE", "COUNTERMARK_PASSPHRASE_FILE"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.args(arguments).current_dir(self.folder.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
        stdout + &stderr
    }

    /// What is said when it cannot be done.
    fn refused(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {stdout}{stderr}");
        assert!(stderr.contains("help:"), "{stderr}");
        stderr
    }

    fn verdict(&self, policy: &str, options: &[&str]) -> Value {
        let common = ["verify", "data.csv", "--policy", policy, "--format", "json"];
        let (_, stdout, stderr) = self.run(&[&common[..], options].concat());
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"))
    }
}

fn row<'a>(verdict: &'a Value, name: &str) -> &'a Value {
    let rows = verdict["checks"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {verdict:#}"))
}

#[test]
fn every_kind_of_owner_key_signs_a_release() {
    for algorithm in ["ed25519", "p256", "p384", "p521"] {
        let lab = Lab::new();
        let said = lab.good(&["keygen", "--out", "keys", "--name", "Lab", "--algorithm", algorithm]);
        assert!(said.starts_with(&format!("{algorithm}:")), "{said}");
        lab.good(&["sign", "data.csv", "--key", "keys/owner.key", "--log", "log"]);
        let verdict = lab.verdict("keys/policy.toml", &[]);
        assert_eq!(verdict["state"], "unanchored", "{algorithm}: {verdict:#}");
        assert_eq!(row(&verdict, "manifest certificate")["state"], "verified");
    }
}

#[test]
fn a_passphrase_protects_every_private_key() {
    let mut lab = Lab::new();
    let keygen = ["keygen", "--out", "keys", "--passphrase"];
    let sign = ["sign", "data.csv", "--key", "keys/owner.key"];
    // Nobody sits at a terminal here.
    let said = lab.refused(&keygen);
    assert!(said.contains("COUNTERMARK_PASSPHRASE_FILE") && !lab.path("keys").exists(), "{said}");
    lab.environment = vec![("COUNTERMARK_PASSPHRASE", String::new())];
    assert!(lab.refused(&keygen).contains("protects nothing"));
    lab.environment = vec![("COUNTERMARK_PASSPHRASE", "correct horse".into())];
    lab.good(&keygen);
    for file in ["owner.key", "owner.root.key", "owner.p256.key"] {
        let text = fs::read_to_string(lab.path("keys").join(file)).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{file}");
    }
    lab.good(&sign);
    assert_eq!(lab.verdict("keys/policy.toml", &[])["state"], "unanchored");

    fs::write(lab.path("passphrase"), "correct horse\n").unwrap();
    lab.environment = vec![("COUNTERMARK_PASSPHRASE_FILE", "passphrase".into())];
    restrict(&lab.path("passphrase"), 0o644);
    assert!(lab.refused(&sign).contains("chmod 600"));
    restrict(&lab.path("passphrase"), 0o600);
    lab.good(&sign);
    lab.good(&["keygen", "--renew", "--out", "keys"]);
    lab.environment = vec![("COUNTERMARK_PASSPHRASE", "wrong".into())];
    assert!(lab.refused(&sign).contains("does not open with this passphrase"));
    lab.environment = vec![];
    assert!(lab.refused(&sign).contains("no terminal"));
}

fn restrict(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn certificates_are_renewed_and_the_old_ones_kept() {
    let lab = Lab::new();
    lab.good(&["keygen", "--out", "keys", "--name", "Lab"]);
    let old = fs::read_to_string(lab.path("keys/owner.crt")).unwrap();
    lab.good(&["sign", "data.csv", "--key", "keys/owner.key"]);
    // A second later, since a certificate of the same second is the same.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let said = lab.good(&["keygen", "--renew", "--out", "keys"]);
    assert!(said.contains("valid until 20") && said.contains("owner.p256.crt"), "{said}");
    let new = fs::read_to_string(lab.path("keys/owner.crt")).unwrap();
    assert_ne!(old, new);
    let root = |text: &str| text[text.rfind("-----BEGIN").unwrap()..].to_owned();
    assert_eq!(root(&old), root(&new), "the policy stays");
    let kept: Vec<String> = fs::read_dir(lab.path("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("owner.crt.20"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read_to_string(lab.path("keys").join(&kept[0])).unwrap(), old);
    lab.good(&["keygen", "--renew", "--out", "keys"]);
    assert!(lab.path(&format!("keys/{}-2", kept[0])).exists(), "nothing is overwritten");

    assert_eq!(lab.verdict("keys/policy.toml", &[])["state"], "unanchored");
    lab.good(&["sign", "data.csv", "--key", "keys/owner.key"]);
    assert_eq!(lab.verdict("keys/policy.toml", &[])["state"], "unanchored");

    // The root's key of somebody else.
    lab.good(&["keygen", "--out", "other", "--name", "Other"]);
    fs::copy(lab.path("other/owner.root.key"), lab.path("keys/owner.root.key")).unwrap();
    assert!(lab.refused(&["keygen", "--renew", "--out", "keys"]).contains("does not belong to the root"));
    // Somebody else's certificate for this key.
    let stolen = ["sign", "data.csv", "--key", "keys/owner.key", "--certificate", "other/owner.crt"];
    assert!(lab.refused(&stolen).contains("not for this signing key"));
}

#[test]
fn a_certificate_that_expires_soon_is_told() {
    let lab = Lab::new();
    if Command::new("openssl").arg("version").output().is_err() {
        return eprintln!("skipped: no openssl");
    }
    lab.good(&["keygen", "--out", "keys", "--name", "Lab"]);
    let (_, before, _) = lab.run(&["sign", "data.csv", "--key", "keys/owner.key"]);
    assert!(!before.contains("expires"));
    let extensions = "basicConstraints=CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=\
                      emailProtection\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n";
    fs::write(lab.path("ext"), extensions).unwrap();
    let pem = fs::read_to_string(lab.path("keys/owner.crt")).unwrap();
    fs::write(lab.path("root.pem"), &pem[pem.rfind("-----BEGIN").unwrap()..]).unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(lab.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["req", "-new", "-key", "keys/owner.key", "-subj", "/O=Lab/CN=Lab", "-out", "csr"]);
    let common = ["x509", "-req", "-in", "csr", "-CA", "root.pem", "-CAkey", "keys/owner.root.key", "-CAcreateserial"];
    openssl(&[&common[..], &["-extfile", "ext", "-days", "9", "-out", "leaf.pem"]].concat());
    let leaf = fs::read_to_string(lab.path("leaf.pem")).unwrap();
    fs::write(lab.path("short.crt"), leaf + &fs::read_to_string(lab.path("root.pem")).unwrap()).unwrap();
    let said = lab.good(&["sign", "data.csv", "--key", "keys/owner.key", "--certificate", "short.crt"]);
    assert!(said.contains("short.crt expires in ") && said.contains("keygen --renew"), "{said}");
    assert_eq!(lab.verdict("keys/policy.toml", &[])["state"], "unanchored");
}

#[test]
fn key_show_knows_every_file() {
    let lab = Lab::new();
    lab.good(&["keygen", "--out", "keys", "--name", "Example Lab"]);
    let show = |file: &str| -> Value {
        serde_json::from_str(&lab.run(&["key", "show", file, "--format", "json"]).1)
            .unwrap_or_else(|_| panic!("{file}"))
    };
    let (private, public) = (show("keys/owner.key"), show("keys/owner.pub"));
    assert_eq!((&private["kind"], &public["kind"]), (&"private key".into(), &"public key".into()));
    assert_eq!(private["key"], public["key"]);
    let certificates = show("keys/owner.crt");
    assert_eq!(certificates["key"], public["key"]);
    assert_eq!(certificates["certificates"][0]["subject"], "Example Lab");
    assert_eq!(certificates["certificates"][0]["issuer"], "Example Lab root (Example Lab)");
    assert_eq!(certificates["certificates"][1]["authority"], true);
    assert_eq!(show("keys/owner.p256.crt")["key"], show("keys/owner.p256.pub")["key"]);
    // What model-signing calls the key of RFC 6979, A.2.5.
    let known = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7\n\
        Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==\n\
        -----END PUBLIC KEY-----\n";
    fs::write(lab.path("known.pub"), known).unwrap();
    assert_eq!(show("known.pub")["oms_hint"], "4975c03dd2ad43f3803bf943ca231389c41f26352bf098c930568797eff44dcc");
    let human = lab.good(&["key", "show", "keys/owner.crt"]);
    assert!(human.contains("OMS hint") && human.contains("authority  Example Lab root"), "{human}");
    fs::write(lab.path("text"), "nothing").unwrap();
    assert!(lab.refused(&["key", "show", "text"]).contains("is not a private key"));
}

#[test]
fn a_release_is_stamped_by_an_authority() {
    let lab = Lab::new();
    let Some(authority) = Authority::new("Clock", ECDSA) else { return };
    let url = authority.serve();
    lab.good(&["keygen", "--out", "keys", "--name", "Lab"]);
    let sign = ["sign", "data.csv", "--key", "keys/owner.key", "--log", "log", "--timestamp", &url];
    let said = lab.good(&sign);
    assert!(said.contains("warning:") && said.contains("[[timestamp_root]]"), "{said}");
    let verdict = lab.verdict("keys/policy.toml", &[]);
    assert_eq!(verdict["state"], "unknown-signer", "{verdict:#}");
    assert_eq!(row(&verdict, "manifest timestamp")["state"], "unknown-signer");

    let mut policy = fs::read_to_string(lab.path("keys/policy.toml")).unwrap();
    let root = authority.root_pem();
    policy.push_str(&format!("\n[[timestamp_root]]\nname = \"Clock\"\ncertificate = \"\"\"\n{root}\"\"\"\n"));
    fs::write(lab.path("keys/policy.toml"), policy).unwrap();
    assert!(!lab.good(&sign).contains("warning:"));
    let verdict = lab.verdict("keys/policy.toml", &[]);
    assert_eq!(verdict["state"], "unanchored", "{verdict:#}");
    assert!(row(&verdict, "manifest timestamp")["detail"].as_str().unwrap().contains("Clock signer"));
    let later = lab.verdict("keys/policy.toml", &["--at", "2031-01-01T00:00:00Z"]);
    assert_eq!(row(&later, "manifest certificate")["state"], "verified", "{later:#}");
    let shown: Value = serde_json::from_str(
        &lab.run(&["manifest", "read", "data.csv.c2pa", "--policy", "keys/policy.toml", "--format", "json"]).1,
    )
    .unwrap();
    assert_eq!(shown["state"], "verified", "{shown:#}");

    let nowhere = ["sign", "data.csv", "--key", "keys/owner.key", "--timestamp", "http://127.0.0.1:1/"];
    let before = fs::read(lab.path("data.csv.c2pa")).unwrap();
    assert!(lab.refused(&nowhere).contains("127.0.0.1"));
    assert_eq!(fs::read(lab.path("data.csv.c2pa")).unwrap(), before);
}

/// A token of SoftHSM with a key in it.
fn device(lab: &mut Lab, options: &[&str]) -> Option<String> {
    let Ok(module) = std::env::var("COUNTERMARK_SOFTHSM") else {
        eprintln!("skipped: COUNTERMARK_SOFTHSM names no library");
        return None;
    };
    fs::create_dir_all(lab.path("tokens")).unwrap();
    let config = lab.path("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", lab.path("tokens").display());
    fs::write(&config, text).unwrap();
    lab.environment = vec![("SOFTHSM2_CONF", config.display().to_string())];
    let run = |tool: &str, arguments: &[&str]| {
        let mut command = Command::new(tool);
        command.args(arguments).current_dir(lab.folder.path()).env("SOFTHSM2_CONF", &config);
        let output = command.output().unwrap_or_else(|error| panic!("{tool}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    };
    run("softhsm2-util", &["--init-token", "--free", "--label", "my release", "--so-pin", "9999", "--pin", "1234"]);
    run("openssl", &[&["genpkey", "-out", "device.pem"], options].concat());
    let place = ["--token", "my release", "--label", "owner", "--id", "01ab", "--pin", "1234"];
    run("softhsm2-util", &[&["--import", "device.pem"], &place[..]].concat());
    fs::write(lab.path("pin"), "1234\n").unwrap();
    restrict(&lab.path("pin"), 0o600);
    Some(module)
}

#[test]
fn a_key_in_a_device_signs_a_release() {
    let kinds: [(&str, &[&str]); 3] = [
        ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("ed25519", &["-algorithm", "ED25519"]),
    ];
    for (algorithm, options) in kinds {
        let mut lab = Lab::new();
        let Some(module) = device(&mut lab, options) else { return };
        let pin = lab.path("pin").display().to_string();
        let uri = format!("pkcs11:token=my%20release;object=owner?module-path={module}&pin-source=file:{pin}");
        let said = lab.good(&["keygen", "--out", "keys", "--name", "Lab", "--key", &uri]);
        assert!(said.starts_with(&format!("{algorithm}:")), "{said}");
        assert!(!lab.path("keys/owner.key").exists() && lab.path("keys/owner.crt").exists());
        let certificate = ["--certificate", "keys/owner.crt"];
        let sign =
            |key: &str| [&["sign", "data.csv", "--key", key, "--log", "log"], &certificate[..]].concat().join("\n");
        let split = |joined: &str| joined.split('\n').map(str::to_owned).collect::<Vec<_>>();
        let run = |key: &str| {
            let arguments = split(&sign(key));
            lab.run(&arguments.iter().map(|argument| &**argument).collect::<Vec<_>>())
        };
        let (code, _, stderr) = run(&uri);
        assert_eq!(code, 0, "{stderr}");
        let policy = fs::read_to_string(lab.path("keys/policy.toml")).unwrap();
        let vkey = lab.run(&["verify", "data.csv", "--policy", "keys/policy.toml", "--format", "json"]);
        let verdict: Value = serde_json::from_str(&vkey.1).unwrap();
        assert_eq!(verdict["state"], "unanchored", "{policy}: {verdict:#}");
        assert_eq!(row(&verdict, "manifest certificate")["state"], "verified");

        // The same by a file, found by its id, with the PIN in a variable.
        let file = |name: &str, text: &str| {
            let text = format!("schema = \"countermark.dev/signer/v1\"\n[pkcs11]\nmodule = \"{module}\"\n{text}");
            fs::write(lab.path(name), text).unwrap();
            restrict(&lab.path(name), 0o600);
        };
        file("good.toml", "token = \"my release\"\nid = \"01ab\"\npin_file = \"pin\"");
        assert_eq!(run("good.toml").0, 0, "{}", run("good.toml").2);
        assert!(lab.good(&["key", "show", "good.toml"]).starts_with(&format!("{algorithm}:")));

        fs::write(lab.path("wrong-pin"), "4321\n").unwrap();
        restrict(&lab.path("wrong-pin"), 0o600);
        for (text, problem) in [
            ("token = \"my release\"\nlabel = \"owner\"\npin_file = \"wrong-pin\"", "the PIN is wrong"),
            ("token = \"my release\"\nlabel = \"nobody\"\npin_file = \"pin\"", "holds 0 private keys \"nobody\""),
            ("token = \"elsewhere\"\nlabel = \"owner\"\npin_file = \"pin\"", "0 tokens fit"),
            ("token = \"my release\"\nlabel = \"owner\"\npin_env = \"NOT_SET_HERE\"", "NOT_SET_HERE"),
            ("token = \"my release\"\nlabel = \"owner\"", "no terminal"),
            ("token = \"my release\"\nlabel = \"owner\"\npin_file = \"not-there\"", "not-there"),
        ] {
            file("bad.toml", text);
            let (code, _, stderr) = run("bad.toml");
            assert_eq!(code, 2, "{text}: {stderr}");
            assert!(stderr.contains(problem) && stderr.contains("help:"), "{text}: {stderr}");
        }
        let (code, _, stderr) = run("pkcs11:object=owner?module-path=/not/there.so");
        assert!(code == 2 && stderr.contains("/not/there.so"), "{stderr}");
    }
}
