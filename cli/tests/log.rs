//! `anchor serve` and `anchor monitor` as programs of their own: a log is offered, watched, and caught when it goes back.

mod run;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use run::countermark;
use serde_json::Value;

struct Served(Child, String);

impl Served {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_countermark"))
            .args(["anchor", "serve", "log"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Served(child, line.trim().to_owned())
    }

    /// Ends it as a supervisor would.
    fn end(mut self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = self.0.wait().unwrap();
        assert!(!status.success() && status.code().is_none(), "{status}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let (code, _, stderr) = countermark(folder.path(), arguments);
        assert_eq!(code, 0, "{stderr}");
    };
    run(&["keygen", "--out", "keys"]);
    for name in ["a.csv", "b.csv"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    run(&["sign", "a.csv", "--key", "keys/owner.key", "--log", "log"]);
    folder
}

#[test]
fn a_served_log_is_watched() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (_, status, _) = countermark(folder.path(), &["anchor", "status", "log", "--format", "json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let vkey = status["vkey"].as_str().unwrap();
    let served = Served::start(folder.path());
    assert!(served.1.starts_with("http://127.0.0.1:"), "{}", served.1);
    let watch = |place: &str, more: &[&str]| {
        let arguments = [&["anchor", "monitor", place, "--vkey", vkey, "--state", "seen", "--format", "json"], more];
        let (code, stdout, stderr) = countermark(folder.path(), &arguments.concat());
        (code, serde_json::from_str::<Value>(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")))
    };
    let (code, report) = watch(&served.1, &[]);
    assert_eq!((code, &report["state"], &report["seen"]), (0, &"consistent".into(), &Value::Null));
    fs::copy(at("log/checkpoint"), at("older")).unwrap();
    let (code, _, stderr) = countermark(folder.path(), &["sign", "b.csv", "--key", "keys/owner.key", "--log", "log"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, report) = watch(&served.1, &["--all"]);
    assert_eq!((code, &report["head"]["size"], &report["entries"]), (0, &3.into(), &3.into()), "{report}");

    let newer = fs::read(at("log/checkpoint")).unwrap();
    fs::copy(at("older"), at("log/checkpoint")).unwrap();
    let (code, report) = watch(&served.1, &[]);
    assert_eq!((code, &report["state"]), (1, &"shrunk".into()), "{report}");
    assert!(at(report["evidence"].as_str().unwrap()).is_file());
    let human = ["anchor", "monitor", &served.1, "--vkey", vkey, "--state", "seen"];
    let (code, stdout, _) = countermark(folder.path(), &human);
    assert!(code == 1 && stdout.starts_with("shrunk ") && stdout.contains("evidence: seen.shrunk-"), "{stdout}");
    // Nothing may be signed behind an older head either, since its tiles are those of the newer one.
    fs::write(at("log/checkpoint"), newer).unwrap();

    let url = served.1.clone();
    served.end("-TERM");
    let (code, report) = watch(&url, &["--timeout", "2"]);
    assert_eq!((code, &report["state"]), (3, &"unknown".into()), "{report}");
    Served::start(folder.path()).end("-INT");

    // What is wrong with the arguments is neither.
    let (code, _, stderr) = countermark(folder.path(), &["anchor", "monitor", "log", "--vkey", "x", "--state", "seen"]);
    assert!(code == 2 && stderr.contains("verifier key"), "{stderr}");
    let (code, _, stderr) = countermark(folder.path(), &["anchor", "serve", "keys"]);
    assert!(code == 2 && stderr.contains("holds no log"), "{stderr}");
}

#[test]
fn an_older_copy_of_a_log_signs_nothing_more() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("log/anchors/7")).unwrap();
    let before = fs::read(at("log/checkpoint")).unwrap();
    let (code, _, stderr) = countermark(folder.path(), &["sign", "b.csv", "--key", "keys/owner.key", "--log", "log"]);
    assert!(code == 2 && stderr.contains("older copy of the log was restored"), "{stderr}");
    assert_eq!(fs::read(at("log/checkpoint")).unwrap(), before);
    let mut none = String::new();
    assert!(fs::File::open(at("b.csv.provenance.json")).and_then(|mut file| file.read_to_string(&mut none)).is_err());
}
