//! Keys as other people's tools write them, and signers that are programs: what is read, what is refused, and that every
//! signature is one that OpenSSL accepts too.

mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use countermark_io::keys::{self, load_with};
use countermark_lineage::credential::keys::{Algorithm, PrivateKey, PublicKey, signature_to_der};
use zeroize::Zeroizing;

const PASSPHRASE: &str = "correct horse";

/// A folder for key files, and the tools that write them.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Lab { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a tool in the folder. False, with a line that says so, when it is not there.
    fn run(&self, tool: &str, arguments: &[&str]) -> bool {
        let output = Command::new(tool).args(arguments).current_dir(self.folder.path()).output();
        let Ok(output) = output else {
            eprintln!("skipped: no {tool}");
            return false;
        };
        assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        true
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        self.restrict(name, 0o600);
        path
    }

    fn restrict(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, name: &str) -> Result<Arc<dyn PrivateKey>, String> {
        self.restrict(name, 0o600);
        load(&self.path(name), PASSPHRASE)
    }
}

fn load(path: &Path, passphrase: &str) -> Result<Arc<dyn PrivateKey>, String> {
    load_with(path, &|_| Ok(Zeroizing::new(passphrase.to_owned()))).map_err(|error| error.to_string())
}

const KINDS: [(&str, &[&str]); 4] = [
    ("ed25519", &["-algorithm", "ED25519"]),
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
];

/// OpenSSL's word on a signature of ours.
fn openssl_agrees(lab: &Lab, key: &dyn PrivateKey) {
    let (message, public) = (b"a message", key.public());
    let signature = key.sign(message).unwrap();
    assert!(public.verifies(message, &signature));
    fs::write(lab.path("message"), message).unwrap();
    fs::write(lab.path("public"), public.to_pem()).unwrap();
    fs::write(lab.path("signature"), signature_to_der(public.algorithm(), &signature)).unwrap();
    let hash = match public.algorithm() {
        Algorithm::Ed25519 => {
            let common = ["pkeyutl", "-verify", "-pubin", "-inkey", "public", "-rawin", "-in", "message"];
            assert!(lab.run("openssl", &[&common[..], &["-sigfile", "signature"]].concat()));
            return;
        }
        Algorithm::P256 => "-sha256",
        Algorithm::P384 => "-sha384",
        Algorithm::P521 => "-sha512",
    };
    assert!(lab.run("openssl", &["dgst", hash, "-verify", "public", "-signature", "signature", "message"]));
}

#[test]
fn every_form_that_openssl_writes() {
    let lab = Lab::new();
    let pass = format!("pass:{PASSPHRASE}");
    for (name, options) in KINDS {
        if !lab.run("openssl", &[&["genpkey", "-out", "plain"], options].concat()) {
            return;
        }
        assert!(lab.run("openssl", &["pkey", "-in", "plain", "-pubout", "-out", "theirs"]));
        let theirs = fs::read_to_string(lab.path("theirs")).unwrap();
        let wrap = ["pkcs8", "-topk8", "-in", "plain", "-passout", &pass, "-out"];
        assert!(lab.run("openssl", &[&wrap[..], &["pbkdf2"]].concat()));
        assert!(lab.run("openssl", &[&wrap[..], &["aes128", "-v2", "aes128", "-v2prf", "hmacWithSHA512"]].concat()));
        assert!(lab.run("openssl", &[&wrap[..], &["scrypt", "-scrypt"]].concat()));
        // With the key in words before the block.
        assert!(lab.run("openssl", &["pkey", "-in", "plain", "-text", "-out", "words"]));
        let mut forms = vec!["plain", "pbkdf2", "aes128", "scrypt", "words"];
        if name != "ed25519" {
            assert!(lab.run("openssl", &["ec", "-in", "plain", "-out", "sec1"]));
            let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
            let sec1 = fs::read_to_string(lab.path("sec1")).unwrap();
            lab.write("parameters", &format!("{parameters}{sec1}"));
            forms.extend(["sec1", "parameters"]);
        }
        for form in forms {
            let key = lab.load(form).unwrap_or_else(|error| panic!("{name} {form}: {error}"));
            assert_eq!(key.public().algorithm().as_str(), name);
            assert_eq!(key.public().to_pem(), theirs, "{name} {form}");
            assert_eq!(keys::public_from_pem(&theirs), Some(key.public()));
        }
        openssl_agrees(&lab, &*lab.load("plain").unwrap());
        for form in ["pbkdf2", "scrypt"] {
            let error = load(&lab.path(form), "wrong").err().unwrap();
            assert!(error.contains("does not open with this passphrase"), "{error}");
        }
    }
}

#[test]
fn openssl_opens_what_we_write() {
    let lab = Lab::new();
    for algorithm in Algorithm::ALL {
        let (plain, key) = keys::pkcs8::generate(algorithm, None).unwrap();
        lab.write("plain", &plain);
        assert_eq!(lab.load("plain").unwrap().public(), key.public());
        let (sealed, key) = keys::pkcs8::generate(algorithm, Some(PASSPHRASE)).unwrap();
        assert!(sealed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n") && !sealed.contains('\r'));
        lab.write("sealed", &sealed);
        assert_eq!(lab.load("sealed").unwrap().public(), key.public());
        assert_ne!(*keys::pkcs8::generate(algorithm, Some(PASSPHRASE)).unwrap().0, *sealed);
        let pass = format!("pass:{PASSPHRASE}");
        if !lab.run("openssl", &["pkey", "-in", "sealed", "-passin", &pass, "-pubout", "-out", "theirs"]) {
            return;
        }
        assert_eq!(fs::read_to_string(lab.path("theirs")).unwrap(), key.public().to_pem());
    }
}

#[test]
fn keys_that_are_refused_say_why() {
    let lab = Lab::new();
    if !lab.run("openssl", &["genpkey", "-algorithm", "RSA", "-out", "rsa"]) {
        return;
    }
    assert!(lab.run("openssl", &["rsa", "-in", "rsa", "-traditional", "-out", "rsa1"]));
    assert!(lab.run("openssl", &["ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "koblitz"]));
    assert!(lab.run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "koblitz", "-out", "koblitz8"]));
    assert!(lab.run("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1"]));
    let old = ["ec", "-in", "sec1", "-aes128", "-passout", "pass:old way", "-out", "old"];
    assert!(lab.run("openssl", &old));
    let costly = ["pkcs8", "-topk8", "-in", "sec1", "-passout", "pass:x", "-iter", "20000000", "-out", "costly"];
    // Twenty million rounds take OpenSSL ten seconds, so the count is put in afterwards.
    let cheap: Vec<&str> = costly.iter().map(|part| if *part == "20000000" { "1000000" } else { part }).collect();
    assert!(lab.run("openssl", &cheap));
    let pem = fs::read_to_string(lab.path("costly")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, body).unwrap();
    let count = der.windows(5).position(|window| window == b"\x02\x03\x0f\x42\x40").unwrap();
    der[count + 2] = 0x7f;
    // 0x7f4240 is 8.3 million, which is allowed; a fourth byte is not there, so ask for a wrong passphrase to fail.
    let block = |der: &[u8]| {
        let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
        let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{}\n-----END ENCRYPTED PRIVATE KEY-----\n", lines.join("\n"))
    };
    // One more byte in the count, and in the five lengths around it.
    let mut bomb = der.clone();
    bomb.splice(count..count + 5, *b"\x02\x04\x7f\xff\xff\xff");
    for place in 0..count {
        // Every sequence that reaches beyond the count grows by one.
        if bomb[place] == 0x30 && bomb[place + 1] < 0x80 && place + 2 + usize::from(bomb[place + 1]) > count {
            bomb[place + 1] += 1;
        } else if bomb[place] == 0x30 && bomb[place + 1] == 0x81 && place + 3 + usize::from(bomb[place + 2]) > count {
            bomb[place + 2] += 1;
        }
    }
    lab.write("bomb", &block(&bomb));
    lab.write("text", "hello");
    lab.write("empty", "");
    lab.write("cut", &fs::read_to_string(lab.path("sec1")).unwrap()[..120]);
    lab.write("damaged", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n");
    for (name, problem) in [
        ("rsa", "type 1.2.840.113549.1.1.1"),
        ("rsa1", "RSA key"),
        ("koblitz", "not an ECDSA key of P-256"),
        ("koblitz8", "type 1.2.840.10045.2.1"),
        ("old", "openssl pkcs8 -topk8"),
        ("bomb", "too many rounds"),
        ("text", "is not a private key"),
        ("empty", "is not a private key"),
        ("cut", "is not a private key"),
        ("damaged", "is not a private key in PEM"),
    ] {
        let error = lab.load(name).err().unwrap_or_else(|| panic!("{name} was read"));
        assert!(error.contains(problem) && error.contains("help:"), "{name}: {error}");
    }
    lab.restrict("sec1", 0o640);
    let error = load(&lab.path("sec1"), "").err().unwrap();
    assert!(error.contains("chmod 600"), "{error}");
    let nobody = load_with(&lab.path("bomb"), &|_| unreachable!("asked before it was looked at"));
    drop(nobody.err().unwrap_or_else(|| panic!("group can read it")));
}

#[test]
fn keys_of_openssh() {
    let lab = Lab::new();
    let make = |kind: &str, passphrase: &str, file: &str| {
        lab.run("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-C", "a comment", "-f", file])
    };
    if !make("ed25519", "", "plain") {
        return;
    }
    assert!(make("ed25519", PASSPHRASE, "sealed") && make("ecdsa", "", "ecdsa"));
    for name in ["plain", "sealed"] {
        let key = lab.load(name).unwrap();
        // The last 32 bytes of the one-line public key are the key.
        let line = fs::read_to_string(lab.path(&format!("{name}.pub"))).unwrap();
        let blob = line.split(' ').nth(1).unwrap();
        let blob = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, blob).unwrap();
        let theirs = PublicKey::from_bytes(Algorithm::Ed25519, &blob[blob.len() - 32..]);
        assert_eq!(Some(key.public()), theirs);
        openssl_agrees(&lab, &*key);
    }
    let error = load(&lab.path("sealed"), "wrong").err().unwrap();
    assert!(error.contains("does not open with this passphrase"), "{error}");
    let error = lab.load("ecdsa").err().unwrap();
    assert!(error.contains("only ssh-ed25519"), "{error}");
    let text = fs::read_to_string(lab.path("plain")).unwrap();
    lab.write("cut", &text.replace("AAAA", "AAAB"));
    assert!(lab.load("cut").is_err());
}
