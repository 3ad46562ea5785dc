//! Signers that are programs: honest ones around `openssl`, and every way in which one can fail.

use std::fs;
use std::time::Instant;

use countermark_io::keys;
use countermark_lineage::credential::keys::{Algorithm, PrivateKey};

use super::{Lab, load, openssl_agrees};

/// A script, and the file that names it.
fn signer(lab: &Lab, name: &str, public: &str, script: &str, extra: &str) -> String {
    lab.write(&format!("{name}.sh"), &format!("#!/bin/sh\n{script}\n"));
    lab.restrict(&format!("{name}.sh"), 0o700);
    let file = format!("{name}.toml");
    let text = format!(
        "schema = \"countermark.dev/signer/v1\"\npublic_key = \"{public}\"\ncommand = [\"./{name}.sh\", \"an argument\"]\n{extra}"
    );
    lab.write(&file, &text);
    // Others may read which program it is.
    lab.restrict(&file, 0o644);
    file
}

fn open(lab: &Lab, file: &str) -> std::sync::Arc<dyn PrivateKey> {
    load(&lab.path(file), "").unwrap()
}

const ECDSA: &str = "openssl pkeyutl -sign -inkey key.pem";

#[test]
fn programs_that_sign() {
    let lab = Lab::new();
    if !lab.run("openssl", &["version"]) {
        return;
    }
    for algorithm in Algorithm::ALL {
        let (pem, key) = keys::pkcs8::generate(algorithm, None).unwrap();
        lab.write("key.pem", &pem);
        fs::write(lab.path("key.pub"), key.public().to_pem()).unwrap();
        let public = key.public().to_string();
        let script = match algorithm {
            // Ed25519 hashes the message itself, and OpenSSL wants a file for that.
            Algorithm::Ed25519 => "cat > in; openssl pkeyutl -sign -rawin -inkey key.pem -in in | base64".to_owned(),
            _ => ECDSA.to_owned(),
        };
        let file = signer(&lab, "signer", &public, &script, "");
        let found = open(&lab, &file);
        assert_eq!(found.public(), key.public());
        openssl_agrees(&lab, &*found);
        // The key may also be named by its file, and the answer may be Base64.
        let file = signer(&lab, "other", "key.pub", &format!("{{ {script}; }} | base64 -w 20"), "timeout_seconds = 20");
        if algorithm != Algorithm::Ed25519 {
            openssl_agrees(&lab, &*open(&lab, &file));
        }
    }
    // What is to be done stands in the environment, and a passphrase does not.
    let (pem, key) = keys::pkcs8::generate(Algorithm::P384, None).unwrap();
    lab.write("key.pem", &pem);
    let public = key.public().to_string();
    let script = format!(
        "[ \"$COUNTERMARK_ALGORITHM $COUNTERMARK_INPUT $1\" = 'p384 sha384 an argument' ] || exit 3\n\
         [ \"$COUNTERMARK_PUBLIC_KEY\" = {public} ] || exit 4\n\
         [ -z \"$COUNTERMARK_PASSPHRASE\" ] || exit 5\n{ECDSA}"
    );
    openssl_agrees(&lab, &*open(&lab, &signer(&lab, "careful", &public, &script, "")));
}

#[test]
fn programs_that_do_not() {
    let lab = Lab::new();
    let (pem, key) = keys::pkcs8::generate(Algorithm::P256, None).unwrap();
    let (other, _) = keys::pkcs8::generate(Algorithm::P256, None).unwrap();
    lab.write("key.pem", &pem);
    lab.write("other.pem", &other);
    let public = key.public().to_string();
    let short = "timeout_seconds = 1";
    for (name, script, extra, problem) in [
        ("silent", "cat > /dev/null", "", "not a signature of p256:"),
        ("deaf", "exec true", "", "not a signature"),
        ("wrong-key", "openssl pkeyutl -sign -inkey other.pem", "", "not a signature"),
        (
            "wrong-message",
            "echo 01234567890123456789012345678901 | head -c 32 | openssl pkeyutl -sign -inkey key.pem",
            "",
            "not a",
        ),
        ("text", "echo signed", "", "not a signature"),
        ("slow", "exec sleep 30", short, "did not answer within 1 seconds"),
        ("slow-after", "echo x; exec >&-; exec sleep 30", short, "did not answer within 1 seconds"),
        ("endless", "exec yes", short, "more than 4096 bytes"),
        ("failing", "echo the device is busy >&2; exit 7", "", "the device is busy"),
        ("noisy", "yes complaint | head -c 100000 >&2; exit 7", "", "complaint"),
        ("steering", "printf '\\033[2Jboo' >&2; exit 1", "", "boo"),
    ] {
        let file = signer(&lab, name, &public, script, extra);
        let begun = Instant::now();
        let error = open(&lab, &file).sign(b"message").err().unwrap_or_else(|| panic!("{name} signed")).to_string();
        assert!(error.contains(problem) && error.contains("help:"), "{name}: {error}");
        assert!(!error.contains('\u{1b}'), "{name}: {error:?}");
        assert!(begun.elapsed().as_secs() < 10, "{name} took {:?}", begun.elapsed());
    }
    // A child that outlives the program and keeps its pipes open does not hold us up longer than allowed.
    let file = signer(&lab, "lingering", &public, "sleep 30 & echo x", short);
    let begun = Instant::now();
    assert!(open(&lab, &file).sign(b"message").is_err() && begun.elapsed().as_secs() < 10);

    let missing =
        format!("schema = \"countermark.dev/signer/v1\"\npublic_key = \"{public}\"\ncommand = [\"./not-there\"]\n");
    lab.write("missing.toml", &missing);
    let error = open(&lab, "missing.toml").sign(b"message").unwrap_err().to_string();
    assert!(error.contains("cannot be run"), "{error}");
    lab.restrict("missing.toml", 0o666);
    let error = load(&lab.path("missing.toml"), "").err().unwrap();
    assert!(error.contains("others can write it"), "{error}");
}
