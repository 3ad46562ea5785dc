//! The commands of `docs/lost-key.md` work as written, in their order, and verifiers see what the page says.

mod run;

use std::fs;
use std::path::Path;
use std::process::Command;

use run::countermark;

#[test]
fn the_page_for_the_day_a_key_is_lost() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/lost-key.md")).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 5);

    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("model")).unwrap();
    fs::write(at.join("model/weights.txt"), "1 2 3\n").unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_countermark")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &blocks.concat()])
        .current_dir(at)
        .env("PATH", path)
        .env("COUNTERMARK_CACHE", at.join("digests.sqlite"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("revoked (stolen) by list 3"), "{stdout}");
    assert!(stdout.contains("entry 1 is before 3, and stays"), "{stdout}");
    assert!(stdout.contains("by hand-over from"), "{stdout}");
    assert_eq!(stdout.matches("unanchored model: every check passed").count(), 5, "{stdout}");

    // The thief signs with the stolen key, and hands it over to himself.
    let run = |arguments: &[&str]| countermark(at, arguments);
    let verify = |bundle: &str, more: &[&str]| {
        let arguments = ["verify", "model", "--bundle", bundle, "--policy", "keys/policy.toml", "--format", "json"];
        let (code, stdout, stderr) = run(&[&arguments, more].concat());
        let verdict: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
        (code, verdict["state"].as_str().unwrap().to_owned(), stdout)
    };
    let sign = ["sign", "model", "--log", "log", "--out"];
    assert_eq!(run(&[&sign[..], &["thief-out/loot.json", "--key", "keys/owner.key"]].concat()).0, 0);
    assert_eq!(verify("thief-out/loot.json", &[]).1, "revoked");
    assert_eq!(run(&["keygen", "--out", "thief"]).0, 0);
    let hand_over = ["hand-over", "--key", "keys/owner.key", "--to", "thief/owner.key", "--log", "log"];
    assert_eq!(run(&hand_over).0, 0);
    assert_eq!(run(&hand_over).0, 2, "never overwritten");
    assert_eq!(run(&[&sign[..], &["thief-out/loot.json", "--key", "thief/owner.key"]].concat()).0, 0);
    let (code, state, stdout) = verify("thief-out/loot.json", &[]);
    assert_eq!((code, &*state), (1, "revoked"), "{stdout}");
    assert!(stdout.contains("does not count, as the old key was revoked (stolen)"), "{stdout}");
    // The key that was rotated away still cannot sign, and no longer hands over to anybody but its successor.
    assert_eq!(run(&[&sign[..], &["thief-out/late.json", "--key", "keys2/owner.key"]].concat()).0, 0);
    assert_eq!(verify("thief-out/late.json", &[]).1, "revoked");

    // Without its list the policy has nothing green; with a list of later days it is stale.
    fs::rename(at.join("keys/revocations.json"), at.join("elsewhere.json")).unwrap();
    assert_eq!(verify("handed-over.provenance.json", &[]).1, "unknown");
    assert_eq!(verify("handed-over.provenance.json", &["--revocations", "elsewhere.json"]).0, 0);
    let later = ["--revocations", "elsewhere.json", "--at", "2199-01-01T00:00:00Z"];
    assert_ne!(verify("handed-over.provenance.json", &later).0, 0);
}

#[test]
fn verbs_say_what_is_wrong_and_change_nothing_then() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let run = |arguments: &[&str]| countermark(at, arguments);
    fs::write(at.join("data.csv"), "a,b\n1,2\n").unwrap();
    for keys in ["alice", "bob"] {
        assert_eq!(run(&["keygen", "--out", keys]).0, 0);
    }
    assert_eq!(run(&["sign", "data.csv", "--key", "alice/owner.key", "--log", "log"]).0, 0);

    let revoke = ["revoke", "--key", "bob/owner.root.key", "--list", "list.json"];
    let with = |more: &[&str]| run(&[&revoke[..], more].concat());
    assert_eq!(with(&["--stolen-key", "alice/owner.pub"]).0, 2, "a reason is wanted");
    assert_eq!(with(&["--reason", "x"]).0, 2, "nothing is named");
    assert_eq!(with(&["--stolen-key", "alice/owner.key", "--reason", "x"]).0, 2, "not a public key");
    assert_eq!(with(&["--statement", "0", "--reason", "x"]).0, 2);
    assert_eq!(with(&["--stolen-key", "alice/owner.pub", "--lost-key", "bob/owner.pub", "--reason", "x"]).0, 2);
    let (code, _, stderr) = with(&["--stolen-key", "alice/owner.pub", "--reason", "x", "--keep-before", "17"]);
    assert!(code == 2 && stderr.contains("log:17"), "{stderr}");
    assert!(!at.join("list.json").exists());
    let (code, stdout, stderr) = with(&["--stolen-key", "alice/owner.pub", "--reason", "x", "--format", "json"]);
    let made: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert_eq!((code, &made["sequence"], &made["entries"]), (0, &1.into(), &1.into()));
    let before = fs::read(at.join("list.json")).unwrap();
    let (code, _, stderr) = with(&["--stolen-key", "alice/owner.pub", "--reason", "y"]);
    assert!(code == 2 && stderr.contains("revokes this already"), "{stderr}");
    let (code, _, stderr) = run(&["revoke", "--key", "alice/owner.key", "--list", "list.json"]);
    assert!(code == 2 && stderr.contains("not by this key") && stderr.contains("help:"), "{stderr}");
    assert_eq!(fs::read(at.join("list.json")).unwrap(), before);
    let arguments = ["verify", "data.csv", "--policy", "alice/policy.toml", "--revocations", "list.json"];
    let (code, stdout, _) = run(&arguments);
    assert!(code == 3 && stdout.contains("names no such"), "{stdout}");

    let cosign = ["cosign", "data.csv.provenance.json", "--key"];
    let (code, _, stderr) = run(&[&cosign[..], &["alice/owner.key"]].concat());
    assert!(code == 2 && stderr.contains("has signed this already"), "{stderr}");
    let (code, stdout, stderr) = run(&[&cosign[..], &["bob/owner.key", "--artifact", "data.csv"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.matches("signed by").count(), 2, "{stdout}");
    let (code, stdout, _) = run(&["verify", "data.csv", "--policy", "alice/policy.toml"]);
    assert!(code == 0 && stdout.contains("co-signed by"), "{stdout}");

    let (code, stdout, stderr) = run(&["policy", "check", "alice/policy.toml"]);
    assert!(code == 0 && stdout.contains("may vouch for any name"), "{stdout}{stderr}");
    let policy = fs::read_to_string(at.join("alice/policy.toml")).unwrap();
    fs::write(at.join("odd.toml"), format!("{policy}\n[[threshold]]\nnames = [\"x\"]\nrequired = 9\n")).unwrap();
    let (code, stdout, _) = run(&["policy", "check", "odd.toml", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &found["warnings"]), (3, &1.into()), "{stdout}");
    fs::write(at.join("bad.toml"), format!("{policy}\n[[threshold]]\nnames = \"x\"\nrequired = 9\n")).unwrap();
    let (code, _, stderr) = run(&["policy", "check", "bad.toml"]);
    assert!(code == 2 && stderr.contains("line ") && stderr.contains("column "), "{stderr}");
    let (code, stdout, _) = run(&["policy", "show", "odd.toml"]);
    assert!(code == 0 && stdout.contains("all signers"), "{stdout}");
}
