//! OpenSSF Model Signing through the command line: with the Python package model-signing in both directions, where
//! COUNTERMARK_CREDENTIALS names one (`fixtures/services/credentials.sh`), and as the conformance suite calls it.

mod run;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use run::countermark;
use serde_json::{Value, json};

fn python() -> Option<OsString> {
    let python = std::env::var_os("COUNTERMARK_CREDENTIALS");
    if python.is_none() {
        eprintln!("skipped: model-signing: COUNTERMARK_CREDENTIALS is not set (fixtures/services/credentials.sh)");
    }
    python
}

fn program() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/foreign/oms.py")
}

/// What the Python package says of each task.
fn theirs(python: &OsString, folder: &Path, tasks: &[Value]) -> Vec<bool> {
    let mut child = Command::new(python)
        .args([program().as_os_str(), "verify".as_ref(), folder.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(tasks).unwrap()).unwrap();
    let answer = child.wait_with_output().unwrap();
    assert!(answer.status.success());
    let text = String::from_utf8(answer.stdout).unwrap();
    serde_json::from_str(text.trim_end().lines().last().unwrap()).unwrap()
}

/// State and whole verdict of `oms verify`.
fn ours(folder: &Path, task: &Value) -> (String, Value) {
    let text = |member: &str| task[member].as_str().unwrap();
    let mut arguments = vec!["oms", "verify", text("model"), "--signature", text("bundle"), "--format", "json"];
    match task["roots"].as_array() {
        Some(roots) => roots.iter().for_each(|root| arguments.extend(["--certificate-root", root.as_str().unwrap()])),
        None => arguments.extend(["--key", text("key")]),
    }
    let (code, stdout, stderr) = countermark(folder, &arguments);
    let verdict: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{task}: {stdout}{stderr}"));
    let state = verdict["state"].as_str().unwrap().to_owned();
    assert_eq!(code == 0, state == "verified", "{task}");
    (state, verdict)
}

#[test]
fn bundles_of_the_python_package() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = Command::new(&python).args([program().as_os_str(), "make".as_ref(), folder.as_os_str()]).status();
    assert!(made.unwrap().success());
    let tasks: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("made.json")).unwrap()).unwrap();
    assert!(tasks.len() >= 15);
    let answers = theirs(&python, folder, &tasks);
    for (task, answer) in tasks.iter().zip(answers) {
        let (state, verdict) = ours(folder, task);
        assert_eq!(state, "verified", "{verdict:#}");
        // It cannot read what it wrote of these.
        let name = task["bundle"].as_str().unwrap();
        assert_eq!(answer, !name.contains("shards") && !name.contains("blake2b"), "{task}");
    }
    // The roots of Sigstore's public instances are read; a bundle signed by a key is none of theirs.
    let copied = Command::new(&python).args([program().as_os_str(), "roots".as_ref(), folder.as_os_str()]).status();
    assert!(copied.unwrap().success());
    for root in ["root-0.json", "root-1.json"] {
        let who = ["--trusted-root", root, "--identity", "ada@example.org", "--issuer", "https://accounts.example.org"];
        let all = [&["oms", "verify", "model", "--signature", "theirs/key-p256.sig"][..], &who].concat();
        let (code, stdout, stderr) = countermark(folder, &all);
        assert!(code == 1 && stdout.contains("the method sigstore was asked for"), "{root}: {stdout}{stderr}");
    }
    // The encoding of version 0.2.0 counts for its own predicate only; the package takes it for any.
    let encoding = json!({ "model": "model", "bundle": "legacy-encoding.sig", "key": "p256.pub" });
    assert_eq!(theirs(&python, folder, std::slice::from_ref(&encoding)), [true]);
    let (state, verdict) = ours(folder, &encoding);
    assert_eq!(state, "invalid", "{verdict:#}");

    ours_there(&python, folder);

    // A changed file, an added one, a flipped bit of each bundle.
    let readable: Vec<Value> = tasks.into_iter().filter(|task| task["model"] == "model").collect();
    for task in &readable {
        let path = folder.join(task["bundle"].as_str().unwrap());
        let mut bundle: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let flipped: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 40)).collect();
        bundle["dsseEnvelope"]["payload"] = STANDARD.encode(flipped).into();
        fs::write(path.with_extension("flipped"), bundle.to_string()).unwrap();
    }
    let flipped: Vec<Value> = readable
        .iter()
        .map(|task| {
            let mut task = task.clone();
            task["bundle"] = task["bundle"].as_str().unwrap().replace(".sig", ".flipped").into();
            task
        })
        .collect();
    let both_refuse = |tasks: &[Value], what: &str| {
        assert!(theirs(&python, folder, tasks).iter().all(|answer| !answer), "{what}");
        for task in tasks {
            assert_eq!(ours(folder, task).0, "invalid", "{what}: {task}");
        }
    };
    both_refuse(&flipped, "a flipped bit of the payload");
    fs::write(folder.join("model/B"), "5").unwrap();
    both_refuse(&readable, "a changed file");
    fs::write(folder.join("model/B"), "4").unwrap();
    fs::write(folder.join("model/more"), "").unwrap();
    let whole: Vec<Value> =
        readable.into_iter().filter(|task| !task["bundle"].as_str().unwrap().contains("shards")).collect();
    both_refuse(&whole, "a file that was not signed");
}

/// Bundles that this binary writes, judged by the package.
fn ours_there(python: &OsString, folder: &Path) {
    let mut tasks = Vec::new();
    let mut sign = |name: &str, model: &str, arguments: &[&str], by: &[Value]| {
        let out = format!("{name}.sig");
        let all = [&["oms", "sign", model, "--out", &out][..], arguments].concat();
        let (code, stdout, stderr) = countermark(folder, &all);
        assert_eq!(code, 0, "{name}: {stdout}{stderr}");
        for how in by {
            let mut task = how.clone();
            (task["model"], task["bundle"]) = (model.into(), out.clone().into());
            tasks.push(task);
        }
    };
    for curve in ["p256", "p384", "p521"] {
        let (key, public, leaf) = (format!("{curve}.key"), format!("{curve}.pub"), format!("{curve}.crt"));
        let by = [json!({ "key": public, "by": "cli" }), json!({ "key": public })];
        sign(&format!("our-{curve}"), "model", &["--key", &key], &by);
        let chain = ["--key", &key, "--certificate", &leaf, "--certificate", "middle.pem", "--certificate", "root.pem"];
        let by = [json!({ "roots": ["root.pem"], "by": "cli" }), json!({ "roots": ["root.pem"] })];
        sign(&format!("our-{curve}-certificate"), "model", &chain, &by);
    }
    let p256 = json!({ "key": "p256.pub" });
    sign("our-sec1", "model", &["--key", "p256.sec1.key", "--plain"], &[json!({ "key": "p256.pub", "by": "cli" })]);
    sign("our-blake3", "model", &["--key", "p256.key", "--hash", "blake3"], std::slice::from_ref(&p256));
    sign(
        "our-ignored",
        "model",
        &["--key", "p256.key", "--ignore", "a", "--ignore", "a-c"],
        std::slice::from_ref(&p256),
    );
    let answers = theirs(python, folder, &tasks);
    for (task, answer) in tasks.iter().zip(answers) {
        assert!(answer, "{task}");
        assert_eq!(ours(folder, task).0, "verified", "{task}");
    }
    // Inside the model, which then has one file more than is listed.
    let inside = json!({ "model": "model", "bundle": "model/model.sig", "key": "p256.pub", "by": "cli" });
    assert_eq!(countermark(folder, &["oms", "sign", "model", "--key", "p256.key"]).0, 0);
    assert_eq!(theirs(python, folder, std::slice::from_ref(&inside)), [true]);
    assert_eq!(ours(folder, &inside).0, "verified");
    fs::remove_file(folder.join("model/model.sig")).unwrap();
    // A single file by its name and BLAKE2b are beyond it. Our shards are not, while its own are: it writes their size
    // as a number with a point, and trips over that.
    let mut tasks = Vec::new();
    for (name, model, arguments) in [
        ("our-single", "model/B", &[][..]),
        ("our-blake2b", "model", &["--hash", "blake2b"]),
        ("our-shards", "model", &["--shard-size", "1000"]),
    ] {
        let out = format!("{name}.sig");
        let all = [&["oms", "sign", model, "--out", &out, "--key", "p256.key"][..], arguments].concat();
        assert_eq!(countermark(folder, &all).0, 0, "{name}");
        tasks.push(json!({ "model": model, "bundle": out, "key": "p256.pub" }));
        assert_eq!(ours(folder, &tasks[tasks.len() - 1]).0, "verified", "{name}");
    }
    assert_eq!(theirs(python, folder, &tasks), [false, false, true]);
}

/// The cases of the public conformance suite that need no network, constructed here: signed and verified through the
/// commands that it calls, with absolute paths. What must succeed and what must fail is counted apart: whoever always
/// fails passes half of any such suite.
struct Suite {
    folder: tempfile::TempDir,
    succeeded: usize,
    refused: usize,
}

impl Suite {
    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn model(&self, name: &str, files: &[(&str, &str)]) -> String {
        let model = self.at(name);
        fs::create_dir_all(&model).unwrap();
        for (file, text) in files {
            let path = Path::new(&model).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        model
    }

    fn call(&self, arguments: &[&str]) -> i32 {
        countermark(Path::new("/"), &[&["oms"], arguments].concat()).0
    }

    fn sign(&self, model: &str, bundle: &str, key: &str, more: &[&str]) -> i32 {
        let (bundle, key) = (self.at(bundle), self.at(key));
        let fixed = ["sign-model", "--model-path", model, "--output-bundle", &bundle, "--private-key", &key];
        let method = if more.contains(&"--signing-cert") { "certificate" } else { "key" };
        self.call(&[&fixed[..], &["--method", method], more].concat())
    }

    fn verify(&self, model: &str, bundle: &str, by: &[&str]) -> i32 {
        let bundle = self.at(bundle);
        self.call(&[&["verify-model", "--model-path", model, "--bundle", &bundle][..], by].concat())
    }

    /// Signs and verifies by `key`, and looks at what was signed.
    fn round_trip(&mut self, name: &str, model: &str, curve: &str, sign: &[&str], verify: &[&str], names: &[&str]) {
        let bundle = format!("{name}.sig");
        assert_eq!(self.sign(model, &bundle, &format!("{curve}.key"), sign), 0, "{name}");
        let key = self.at(&format!("{curve}.pub"));
        assert_eq!(
            self.verify(model, &bundle, &[&["--method", "key", "--public-key", &key], verify].concat()),
            0,
            "{name}"
        );
        assert_eq!(self.listed(&bundle), names, "{name}");
        self.succeeded += 1;
    }

    fn listed(&self, bundle: &str) -> Vec<String> {
        let bundle: Value = serde_json::from_slice(&fs::read(self.at(bundle)).unwrap()).unwrap();
        let keys: BTreeSet<&str> = bundle.as_object().unwrap().keys().map(|key| &**key).collect();
        assert_eq!(keys, ["dsseEnvelope", "mediaType", "verificationMaterial"].into());
        let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let resources = payload["predicate"]["resources"].as_array().unwrap();
        resources.iter().map(|resource| resource["name"].as_str().unwrap().to_owned()).collect()
    }

    fn refuses(&mut self, name: &str, code: i32) {
        assert!(code != 0 && code != 101, "{name}: {code}");
        self.refused += 1;
    }
}

#[test]
fn the_kinds_of_cases_of_the_conformance_suite() {
    let mut suite = Suite { folder: tempfile::tempdir().unwrap(), succeeded: 0, refused: 0 };
    let root = suite.folder.path().to_owned();
    for curve in ["p256", "p384", "p521"] {
        let keys = suite.at(&format!("keys-{curve}"));
        assert_eq!(countermark(&root, &["keygen", "--out", &keys, "--algorithm", curve, "--name", "Suite"]).0, 0);
        fs::rename(format!("{keys}/owner.key"), suite.at(&format!("{curve}.key"))).unwrap();
        fs::rename(format!("{keys}/owner.pub"), suite.at(&format!("{curve}.pub"))).unwrap();
    }
    let simple = suite.model("simple", &[("signme-1", "1"), ("signme-2", "2"), ("ignore-me", "3")]);
    let nested =
        suite.model("nested", &[("weights.bin", "1"), ("config.json", "{}"), ("subdir/deep/adapter.bin", "2")]);
    let git = suite.model(
        "git",
        &[
            ("w", "1"),
            (".git/config", "x"),
            (".gitignore", "x"),
            (".gitattributes", "x"),
            (".github/x", "x"),
            ("sub/.git/x", "2"),
        ],
    );
    let odd = suite.model(
        "odd",
        &[("a b & c.bin", "1"), ("Modèle-模型.bin", "2"), (".hidden", "3"), (".dir/x", "4"), ("empty", "")],
    );
    let ignored = format!("{simple}/ignore-me");
    let ignore = ["--ignore-paths", &*ignored];
    suite.round_trip("simple", &simple, "p256", &ignore, &ignore, &["signme-1", "signme-2"]);
    suite.round_trip("p384", &nested, "p384", &[], &[], &["config.json", "subdir/deep/adapter.bin", "weights.bin"]);
    suite.round_trip("p521", &nested, "p521", &[], &[], &["config.json", "subdir/deep/adapter.bin", "weights.bin"]);
    suite.round_trip("default-ignores", &git, "p256", &[], &[], &["sub/.git/x", "w"]);
    suite.round_trip("odd", &odd, "p256", &[], &[], &[".dir/x", ".hidden", "Modèle-模型.bin", "a b & c.bin", "empty"]);
    suite.round_trip("single", &format!("{nested}/weights.bin"), "p256", &[], &[], &["weights.bin"]);
    suite.round_trip(
        "ignored-folder",
        &nested,
        "p256",
        &["--ignore-paths", &format!("{nested}/subdir")],
        &[],
        &["config.json", "weights.bin"],
    );
    suite.round_trip(
        "nested/model",
        &nested,
        "p256",
        &[],
        &[],
        &["config.json", "subdir/deep/adapter.bin", "weights.bin"],
    );
    suite.round_trip(
        "nested/model",
        &nested,
        "p256",
        &[],
        &[],
        &["config.json", "subdir/deep/adapter.bin", "weights.bin"],
    );
    fs::remove_file(suite.at("nested/model.sig")).unwrap();
    suite.round_trip(
        "blake3",
        &nested,
        "p256",
        &["--hash-algorithm", "blake3"],
        &[],
        &["config.json", "subdir/deep/adapter.bin", "weights.bin"],
    );
    suite.round_trip(
        "shards",
        &nested,
        "p256",
        &["--shard-size", "1"],
        &[],
        &["config.json:0:1", "config.json:1:2", "subdir/deep/adapter.bin:0:1", "weights.bin:0:1"],
    );
    // The same bytes twice give the same bundle.
    assert_eq!(suite.sign(&nested, "again.sig", "p384.key", &[]), 0);
    assert_eq!(fs::read(suite.at("again.sig")).unwrap(), fs::read(suite.at("p384.sig")).unwrap());

    let key = suite.at("p256.pub");
    let by = ["--method", "key", "--public-key", &*key];
    let with = |more: &[&'static str]| [&by[..], more].concat();
    let with_other = suite.at("p384.pub");
    assert_eq!(suite.verify(&simple, "simple.sig", &[&by[..], &["--ignore-unsigned-files"]].concat()), 0);
    suite.succeeded += 1;

    // Certificates: the leaf and root that keygen makes.
    let chain = suite.at("keys-p256/owner.p256.crt");
    let text = fs::read_to_string(&chain).unwrap();
    let at = text.rfind("-----BEGIN").unwrap();
    let (leaf, anchor) = (suite.at("leaf.pem"), suite.at("root.pem"));
    fs::write(&leaf, &text[..at]).unwrap();
    fs::write(&anchor, &text[at..]).unwrap();
    let more = ["--signing-cert", &*leaf, "--cert-chain", &*anchor];
    assert_eq!(suite.sign(&nested, "certificate.sig", "keys-p256/owner.p256.key", &more), 0);
    assert_eq!(suite.verify(&nested, "certificate.sig", &["--method", "certificate", "--cert-chain", &anchor]), 0);
    // The leaf by itself, given as what is trusted.
    assert_eq!(suite.verify(&nested, "certificate.sig", &["--method", "certificate", "--cert-chain", &leaf]), 0);
    suite.succeeded += 2;

    // Must fail. Signing:
    let empty = suite.model("empty-model", &[]);
    let code = suite.sign(&empty, "x.sig", "p256.key", &[]);
    suite.refuses("empty model", code);
    let code = suite.sign(
        &git,
        "x.sig",
        "p256.key",
        &["--ignore-paths", &format!("{git}/w"), "--ignore-paths", &format!("{git}/sub")],
    );
    suite.refuses("everything ignored", code);
    let code = suite.sign(&nested, "x.sig", "p256.key", &["--ignore-paths", &simple]);
    suite.refuses("ignored path elsewhere", code);
    let code = suite.sign(&nested, "x.sig", "p384.key", &more);
    suite.refuses("certificate of another key", code);
    let code = suite.sign(&nested, "x.sig", "nobody.key", &[]);
    suite.refuses("no key", code);
    let code = suite.call(&[
        "sign-model",
        "--method",
        "sigstore",
        "--model-path",
        &nested,
        "--output-bundle",
        &suite.at("x.sig"),
    ]);
    suite.refuses("keyless signing", code);
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::fs::symlink;
        for (name, target) in [("inside", "w"), ("outside", "/etc/hostname"), ("cycle", ".")] {
            let model = suite.model(&format!("link-{name}"), &[("w", "1")]);
            symlink(target, format!("{model}/link")).unwrap();
            let code = suite.sign(&model, "x.sig", "p256.key", &[]);
            suite.refuses(name, code);
        }
        let model = suite.model("not-utf8", &[("w", "1")]);
        if fs::write(Path::new(&model).join(std::ffi::OsStr::from_bytes(b"\xff")), "").is_ok() {
            let code = suite.sign(&model, "x.sig", "p256.key", &[]);
            suite.refuses("name that is not UTF-8", code);
        }
    }
    assert!(!Path::new(&suite.at("x.sig")).exists());
    // Verifying:
    let code = suite.verify(&nested, "certificate.sig", &["--method", "certificate"]);
    suite.refuses("no anchors", code);
    let code = suite.verify(&nested, "certificate.sig", &by);
    suite.refuses("certificate verified as key", code);
    let code = suite.verify(&nested, "p384.sig", &["--method", "certificate", "--cert-chain", &anchor]);
    suite.refuses("key verified as certificate", code);
    let code = suite.verify(&nested, "p384.sig", &by);
    suite.refuses("wrong key", code);
    let code = suite.verify(&nested, "p384.sig", &["--method", "key", "--public-key", &suite.at("nobody.pub")]);
    suite.refuses("no such key", code);
    let stranger = suite.at("keys-p384/owner.crt");
    let code = suite.verify(&nested, "certificate.sig", &["--method", "certificate", "--cert-chain", &stranger]);
    suite.refuses("wrong anchor", code);
    let code = suite.verify(
        &nested,
        "ignored-folder.sig",
        &["--method", "sigstore", "--identity", "x", "--identity-provider", "y"],
    );
    suite.refuses("sigstore without a root", code);
    let code = suite.verify(&simple, "simple.sig", &["--method", "key", "--public-key", &with_other]);
    suite.refuses("key of another curve", code);
    for (name, change) in [
        ("extra file", &(|| fs::write(format!("{nested}/extra"), "").unwrap()) as &dyn Fn()),
        ("tampered", &|| {
            fs::remove_file(format!("{nested}/extra")).unwrap();
            fs::write(format!("{nested}/weights.bin"), "2").unwrap();
        }),
        ("missing", &|| fs::remove_file(format!("{nested}/weights.bin")).unwrap()),
    ] {
        change();
        let code = suite.verify(&nested, "blake3.sig", &with(&[]));
        suite.refuses(name, code);
    }
    let good = fs::read_to_string(suite.at("simple.sig")).unwrap();
    for (name, text) in [
        ("malformed-empty", String::new()),
        ("malformed-object", "{}".to_owned()),
        ("truncated", good[..good.len() / 2].to_owned()),
        ("no-signature", good.replace("\"sig\"", "\"gis\"")),
        ("media-type", good.replace("v0.3+json", "v0.4+json")),
        ("corrupted", good.replace("\"payload\":\"ey", "\"payload\":\"eX")),
    ] {
        fs::write(suite.at("bad.sig"), text).unwrap();
        let code = suite.verify(&simple, "bad.sig", &[&by[..], &ignore].concat());
        suite.refuses(name, code);
    }
    assert_eq!(suite.verify(&simple, "simple.sig", &[&by[..], &ignore].concat()), 0, "and the good one still holds");
    let (code, capabilities, _) = countermark(&root, &["oms", "capabilities"]);
    let capabilities: Value = serde_json::from_str(&capabilities).unwrap();
    assert_eq!((code, &capabilities["hash_algorithms"]), (0, &json!(["sha256", "blake2b", "blake3"])));
    eprintln!("conformance: {} must succeed and do, {} must fail and do", suite.succeeded, suite.refused);
    assert!(suite.succeeded >= 14 && suite.refused >= 24, "{} {}", suite.succeeded, suite.refused);
}

#[test]
fn what_speaks_for_a_release_is_left_out_and_nothing_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = |arguments: &[&str]| countermark(folder, arguments);
    assert_eq!(run(&["keygen", "--out", "keys", "--name", "Lab"]).0, 0);
    fs::create_dir(folder.join("model")).unwrap();
    for (name, text) in [("model.gguf", "x"), ("README.md", "# card"), ("badge.svg", "<svg/>"), ("old.c2pa", "?")] {
        fs::write(folder.join("model").join(name), text).unwrap();
    }
    let sign = ["oms", "sign", "model", "--key", "keys/owner.p256.key"];
    let (code, stdout, stderr) = run(&[&sign[..], &["--format", "json"]].concat());
    assert_eq!(code, 0, "{stderr}");
    let signed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(signed["left_out"], json!(["README.md", "badge.svg", "old.c2pa"]));
    assert_eq!((&signed["resources"], &signed["bundle"]), (&json!(1), &json!("model/model.sig")));
    fs::write(folder.join("model/README.md"), "# card with a badge").unwrap();
    let verify = ["oms", "verify", "model", "--signature", "model/model.sig", "--key", "keys/owner.p256.pub"];
    let (code, stdout, _) = run(&verify);
    assert!(code == 0 && stdout.contains("not covered: README.md; badge.svg; model.sig; old.c2pa"), "{stdout}");
    // Signed again, over itself; a model's own file is not.
    assert_eq!(run(&sign).0, 0);
    let (code, _, stderr) = run(&[&sign[..], &["--out", "model/model.gguf"]].concat());
    assert!(code == 2 && stderr.contains("no OMS bundle"), "{stderr}");
    // With everything, another card is another model.
    assert_eq!(run(&[&sign[..], &["--plain", "--out", "plain.sig", "--ignore", "model.sig"]].concat()).0, 0);
    fs::write(folder.join("model/README.md"), "# card").unwrap();
    let (code, stdout, _) =
        run(&["oms", "verify", "model", "--signature", "plain.sig", "--key", "keys/owner.p256.pub"]);
    assert!(code == 1 && stdout.contains("README.md was changed"), "{stdout}");
    let (code, _, stderr) = run(&["oms", "sign", "model", "--key", "keys/owner.key"]);
    assert!(code == 2 && stderr.contains("owner.p256.key"), "{stderr}");
    let (code, _, stderr) = run(&["oms", "verify", "model", "--signature", "plain.sig", "--trusted-root", "x"]);
    assert!(code == 2 && stderr.contains("--identity"), "{stderr}");
    let (code, _, stderr) = run(&["oms", "verify", "model", "--signature", "plain.sig"]);
    assert!(code == 2 && stderr.contains("--key"), "{stderr}");
}
