//! Witnesses as processes of their own: asked, raced, killed, lied to; and receipts for the COSE world.
//!
//! `fixtures/services/witness.sh` starts one that is not ours.

mod run;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use countermark::io::log::Log;
use countermark::lineage::anchor::checkpoint::Checkpoint;
use countermark::lineage::anchor::cose;
use countermark::lineage::anchor::cosignature::{self, WitnessKey};
use countermark::lineage::anchor::note::VerifierKey;
use countermark::lineage::anchor::witness::Request;
use countermark::lineage::digest::{Hash, tree};
use run::countermark;

/// A witness that is served; killed when it is dropped.
struct Server {
    child: Child,
    vkey: String,
    url: String,
}

impl Server {
    fn start(folder: &Path) -> Server {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("countermark"))
            .args(["anchor", "witness", "serve"])
            .arg(folder)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (vkey, url) = (line(), line());
        Server { child, vkey, url }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn asked(&self) -> String {
        format!("{}={}", self.vkey, self.url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn expect(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let (found, stdout, stderr) = countermark(folder, arguments);
    assert_eq!(found, code, "{arguments:?}\n{stdout}{stderr}");
    (stdout, stderr)
}

/// Makes a witness that watches this log.
fn witness(folder: &Path, name: &str, log: &str) -> String {
    let vkey = expect(folder, &["anchor", "witness", "init", name, "--name", &format!("witness.example/{name}")], 0).0;
    expect(folder, &["anchor", "witness", "add-log", name, log], 0);
    vkey.trim().to_owned()
}

/// One request of HTTP: status, head and body. `None` when the connection broke, as it does when the server is killed.
fn http(url: &str, method: &str, path: &str, body: &str) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: witness\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length: usize =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() == length).then(|| (status, head.to_owned(), body.to_owned()))
}

#[test]
fn a_release_needs_as_many_witnesses_as_the_policy_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    expect(folder, &["keygen", "--out", "keys"], 0);
    fs::write(folder.join("data.csv"), "a,b\n1,2\n").unwrap();
    expect(folder, &["sign", "data.csv", "--key", "keys/owner.key", "--log", "log"], 0);
    let vkey = Log::open(&folder.join("log")).unwrap().verifier().to_string();
    let mut servers: Vec<Server> = ["w1", "w2", "w3"]
        .into_iter()
        .map(|name| {
            witness(folder, name, &vkey);
            Server::start(&folder.join(name))
        })
        .collect();
    let mut text = format!("log {vkey}\n");
    for (index, server) in servers.iter().enumerate() {
        text += &format!("witness w{} {} {}\n", index + 1, server.vkey, server.url);
    }
    text += "group g 2 w1 w2 w3\nquorum g\n";
    fs::write(folder.join("quorum.txt"), &text).unwrap();
    // The log stands in [[log]], too, which must not make up for the witnesses.
    let policy = fs::read_to_string(folder.join("keys/policy.toml")).unwrap();
    assert!(policy.contains("[[log]]"));
    let (first, rest) = policy.split_once('\n').unwrap();
    fs::write(folder.join("policy.toml"), format!("{first}\ntlog_policy = '''\n{text}'''\n{rest}")).unwrap();
    let verify = ["verify", "data.csv", "--policy", "policy.toml", "--format", "json"];
    let (told, _) = expect(folder, &verify, 3);
    assert!(told.contains("0 of 3; asked for: 2 of w1, w2, w3"), "{told}");

    // With one witness down, and another in the list that is not there.
    servers[2].kill();
    let before = fs::read_to_string(folder.join("log/checkpoint")).unwrap();
    let (told, _) = expect(folder, &["anchor", "witness", "ask", "log", "--policy", "quorum.txt"], 0);
    assert!(told.contains("2 of 3"), "{told}");
    let note = fs::read_to_string(folder.join("log/checkpoint")).unwrap();
    assert!(note.starts_with(&before), "the log's own part stays");
    assert_eq!(note.lines().count(), before.lines().count() + 2);
    assert_eq!(fs::read_to_string(folder.join("log/anchors/2/checkpoint")).unwrap(), before);
    assert_eq!(fs::read_to_string(folder.join("log/anchors/2/cosigned")).unwrap(), note);
    expect(folder, &verify, 3);
    expect(folder, &["anchor", "upgrade", "log", "data.csv.provenance.json"], 0);
    let (told, _) = expect(folder, &verify, 0);
    assert!(told.contains("2 of 3: w1 at 2"), "{told}");
    let (told, _) = expect(folder, &["policy", "check", "policy.toml"], 0);
    assert!(told.contains("cosigned by 2 of w1, w2, w3"), "{told}");

    // Asked again, and once more after the log has grown: the record of the witness is what the proof starts from.
    expect(folder, &["anchor", "witness", "ask", "log", "--policy", "policy.toml"], 0);
    assert_eq!(fs::read_to_string(folder.join("log/checkpoint")).unwrap().lines().count(), note.lines().count());
    for index in 0..20 {
        fs::write(folder.join("more.csv"), format!("a,b\n{index},2\n")).unwrap();
        expect(folder, &["sign", "more.csv", "--key", "keys/owner.key", "--log", "log", "--out", "more.json"], 0);
    }
    servers[2] = Server::start(&folder.join("w3"));
    let arguments = ["anchor", "witness", "ask", "log", "--witness", &servers[2].asked(), "--policy", "quorum.txt"];
    let (told, _) = expect(folder, &[&arguments[..], &["--format", "json"]].concat(), 0);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["size"], &told["quorum"]["met"]), (&22.into(), &true.into()), "{told}");
    assert!(told["answers"].as_array().unwrap().iter().all(|answer| answer["state"] == "cosigned"), "{told}");
    // Two witnesses saw the checkpoint under which the release is proved, three the newer one: it moves there.
    expect(folder, &["anchor", "upgrade", "log", "data.csv.provenance.json"], 0);
    let (told, _) = expect(folder, &verify, 0);
    assert!(told.contains("3 of 3: w1 at 2") && told.contains("under 22 entries"), "{told}");
}

/// Trees with a common beginning, by the seeds of their leaves.
fn leaves(seeds: &[u64]) -> Vec<Hash> {
    seeds.iter().map(|seed| tree::leaf(&seed.to_be_bytes())).collect()
}

fn log_key(origin: &str) -> (ed25519_dalek::SigningKey, VerifierKey) {
    let key = countermark::io::keys::generate();
    let verifier = VerifierKey::new(origin, key.verifying_key().into()).unwrap();
    (key, verifier)
}

/// Two forks of one log ask a witness at random, and it is killed 200 times, at any moment. Whatever it has answered,
/// it never answers for an older size or another tree; and what it has signed is always what it has written.
#[test]
fn killed_two_hundred_times_under_load_it_never_goes_back() {
    const KILLS: usize = 200;
    const ORIGIN: &str = "log.example/killed";
    let folder = tempfile::tempdir().unwrap();
    let (key, verifier) = log_key(ORIGIN);
    let vkey = witness(folder.path(), "w", &verifier.to_string());
    let own = WitnessKey::parse(&vkey).unwrap();
    let record = format!("/{}/checkpoint", Hash::sha256(ORIGIN.as_bytes()));

    // What was signed at each size, in all lives of the witness, and the largest size of which an answer has come.
    let signed: Mutex<HashMap<u64, Hash>> = Mutex::default();
    let largest = AtomicU64::new(0);
    // What each root is made of, so that a client can go on from whatever the witness has.
    let known: Mutex<HashMap<Hash, Vec<u64>>> = Mutex::default();
    let (url, stop) = (Mutex::new(String::new()), AtomicBool::new(false));
    let (answers, conflicts, lost) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));

    let client = |seed: u64| {
        let mut state = seed;
        let mut tree: Vec<u64> = vec![];
        let mut old = 0_usize;
        while !stop.load(Ordering::SeqCst) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let grown = (state >> 33) % 4;
            let mut asked = tree.clone();
            asked.extend((0..grown).map(|index| (state >> 8) ^ index));
            // Old trees are asked for, too.
            if state >> 60 == 0 {
                asked.truncate(asked.len() / 2);
            }
            let hashes = leaves(&asked);
            let head = Checkpoint { size: asked.len() as u64, root: tree::root(&hashes) };
            known.lock().unwrap().insert(head.root, asked.clone());
            let note = head.sign(ORIGIN, &key).unwrap();
            let proof = match old {
                0 => vec![],
                old if old > asked.len() => vec![],
                old => tree::reference::consistency(old, &hashes),
            };
            let body = Request { old: old as u64, proof, checkpoint: &note }.to_text();
            let floor = largest.load(Ordering::SeqCst);
            let target = url.lock().unwrap().clone();
            match http(&target, "POST", "/add-checkpoint", &body) {
                Some((200, _, line)) => {
                    assert!(head.size >= floor, "went back from {floor} to {}", head.size);
                    assert!(cosignature::open(&format!("{note}{line}"), &own).unwrap().is_some());
                    let before = signed.lock().unwrap().insert(head.size, head.root);
                    assert!(before.is_none_or(|root| root == head.root), "two roots of size {}", head.size);
                    largest.fetch_max(head.size, Ordering::SeqCst);
                    answers.fetch_add(1, Ordering::SeqCst);
                    (tree, old) = (asked.clone(), asked.len());
                }
                Some((409 | 422 | 400, ..)) => {
                    conflicts.fetch_add(1, Ordering::SeqCst);
                    let Some((200, _, note)) = http(&target, "GET", &record, "") else { continue };
                    // Cosigned by the witness and of a tree that somebody asked for.
                    let head = Checkpoint::open(&note, &verifier).unwrap();
                    assert!(cosignature::open(&note, &own).unwrap().is_some(), "{note}");
                    assert!(head.size >= floor, "the record went back from {floor} to {}", head.size);
                    tree = known.lock().unwrap()[&head.root].clone();
                    old = tree.len();
                }
                Some((status, _, text)) => panic!("{status}: {text}"),
                None => {
                    lost.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
    };
    thread::scope(|scope| {
        let mut server = Server::start(&folder.path().join("w"));
        *url.lock().unwrap() = server.url.clone();
        let clients: Vec<_> = [11, 12].into_iter().map(|seed| scope.spawn(move || client(seed))).collect();
        let mut state = 5_u64;
        for _ in 0..KILLS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            thread::sleep(Duration::from_micros((state >> 33) % 30_000));
            server.kill();
            server = Server::start(&folder.path().join("w"));
            *url.lock().unwrap() = server.url.clone();
        }
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::SeqCst);
        let joined: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        assert!(joined.iter().all(Result::is_ok));
    });
    let signed = signed.into_inner().unwrap();
    let (answers, conflicts, lost) = (answers.into_inner(), conflicts.into_inner(), lost.into_inner());
    eprintln!("{KILLS} kills, {answers} cosignatures of {} sizes, {conflicts} refusals, {lost} lost", signed.len());
    assert!(answers > 50 && conflicts > 20, "{answers} {conflicts}");
    // All that was ever signed is one history.
    let mut sizes: Vec<u64> = signed.keys().copied().collect();
    sizes.sort_unstable();
    let known = known.into_inner().unwrap();
    for pair in sizes.windows(2) {
        let (old, new) = (&known[&signed[&pair[0]]], &known[&signed[&pair[1]]]);
        assert!(new.starts_with(old), "sizes {} and {} are of two trees", pair[0], pair[1]);
    }
    // The folder is left with one record, and the temporary files of writes that were cut short.
    let names: HashSet<String> = fs::read_dir(folder.path().join("w/logs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with(".countermark-"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn of_forks_that_race_one_wins_and_requests_are_bounded() {
    const ORIGIN: &str = "log.example/raced";
    let folder = tempfile::tempdir().unwrap();
    let (key, verifier) = log_key(ORIGIN);
    witness(folder.path(), "w", &verifier.to_string());
    let server = Server::start(&folder.path().join("w"));
    // Nobody else serves the same folder meanwhile.
    let (_, refused) = expect(folder.path(), &["anchor", "witness", "serve", "w", "--listen", "127.0.0.1:0"], 2);
    assert!(refused.contains("another process"), "{refused}");
    let mut trunk: Vec<u64> = vec![];
    for round in 0..40_u64 {
        let fork = |flavour: u64| {
            let seeds: Vec<u64> = trunk.iter().copied().chain([round * 10 + flavour]).collect();
            let hashes = leaves(&seeds);
            let note = Checkpoint { size: seeds.len() as u64, root: tree::root(&hashes) }.sign(ORIGIN, &key).unwrap();
            let proof = if trunk.is_empty() { vec![] } else { tree::reference::consistency(trunk.len(), &hashes) };
            (Request { old: trunk.len() as u64, proof, checkpoint: &note }.to_text(), seeds)
        };
        let forks: Vec<_> = (0..3).map(fork).collect();
        let won: Vec<bool> = thread::scope(|scope| {
            let ask = |body: &str| http(&server.url, "POST", "/add-checkpoint", body).unwrap().0 == 200;
            let asked: Vec<_> = forks.iter().map(|(body, _)| scope.spawn(move || ask(body))).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}");
        trunk = forks[won.iter().position(|won| *won).unwrap()].1.clone();
    }
    let post = |body: &str| http(&server.url, "POST", "/add-checkpoint", body);
    let (status, head, body) =
        post(&format!("old 0\n\n{}", Checkpoint { size: 1, root: tree::leaf(b"x") }.sign(ORIGIN, &key).unwrap()))
            .unwrap();
    assert_eq!((status, &*body), (409, "40\n"));
    assert!(head.to_lowercase().contains("content-type: text/x.tlog.size"), "{head}");
    assert_eq!(post("old 011\n\nx").unwrap().0, 400);
    let long = "x".repeat(1 << 20);
    assert!(post(&long).is_none_or(|(status, ..)| status == 413));
    assert_eq!(http(&server.url, "GET", "/00/checkpoint", "").unwrap().0, 404);
    assert_eq!(http(&server.url, "GET", &format!("/{}/checkpoint", "0".repeat(64)), "").unwrap().0, 404);
    assert_eq!(http(&server.url, "GET", "/..%2fwitness.key/checkpoint", "").unwrap().0, 404);
    // It goes on answering while others hold connections and say nothing.
    let idle: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap()).collect();
    assert_eq!(post("old 011\n\nx").unwrap().0, 400);
    drop(idle);
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_log_that_went_back_or_forked_is_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let log = Log::create(&folder.join("log"), Some("log.example/restored")).unwrap();
    witness(folder, "w", &log.verifier().to_string());
    let server = Server::start(&folder.join("w"));
    let asked = server.asked();
    let ask = |folder_of_log: &str, code: i32| {
        expect(folder, &["anchor", "witness", "ask", folder_of_log, "--witness", &asked], code)
    };
    log.append(&[b"one".to_vec(), b"two".to_vec()]).unwrap();
    ask("log", 0);
    copy(&folder.join("log"), &folder.join("old"));
    log.append(&[b"three".to_vec()]).unwrap();
    ask("log", 0);

    // An old copy was put back: the witness has seen more.
    let published = fs::read_to_string(folder.join("old/checkpoint")).unwrap();
    let (told, help) = ask("old", 1);
    assert!(told.contains("ahead") && told.contains("has seen 4 entries"), "{told}");
    assert!(help.contains("newest copy"), "{help}");
    assert_eq!(fs::read_to_string(folder.join("old/checkpoint")).unwrap(), published);
    // That is remembered, for whoever writes to the log next.
    let remembered: Vec<_> = fs::read_dir(folder.join("old/.state/witness")).unwrap().collect();
    assert_eq!(remembered.len(), 1);
    let path = remembered[0].as_ref().unwrap().path();
    let name = Hash::sha256(server.vkey.as_bytes()).to_string();
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), name);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("4\n{}\n", server.vkey));

    // … who is refused.
    let fork = Log::open(&folder.join("old")).unwrap();
    let refused = fork.append(&[b"other".to_vec()]).unwrap_err().to_string();
    assert!(refused.contains("has seen 4 entries"), "{refused}");

    // Somebody wrote to the old copy all the same: of the same size, and of a larger one.
    fs::remove_file(&path).unwrap();
    fork.append(&[b"other".to_vec()]).unwrap();
    let (told, _) = ask("old", 1);
    assert!(told.contains("forked"), "{told}");
    fork.append(&[b"and more".to_vec()]).unwrap();
    let (told, _) = ask("old", 1);
    assert!(told.contains("forked") && told.contains("422") | told.contains("refuses the proof"), "{told}");
    // The honest copy is as good as before.
    log.append(&[b"four".to_vec()]).unwrap();
    ask("log", 0);
}

/// A server that answers each request with these bytes.
fn liar(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 1 << 16]);
                let _ = stream.write_all(&answer);
                if answer.is_empty() {
                    thread::sleep(Duration::from_secs(60));
                }
            });
        }
    });
    url
}

#[test]
fn witnesses_that_lie_stall_or_talk_too_much_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let log = Log::create(&folder.join("log"), Some("log.example/lied-to")).unwrap();
    log.append(&[b"one".to_vec()]).unwrap();
    let before = fs::read_to_string(folder.join("log/checkpoint")).unwrap();
    let text: String = before.split_inclusive('\n').take(3).collect();
    let key = countermark::io::keys::generate();
    let vkey = WitnessKey::new("witness.example/w", key.verifying_key().into()).unwrap();
    let cosign = |text: &str, time: u64| cosignature::sign(text, "witness.example/w", &key, time).unwrap();
    let stranger = countermark::io::keys::generate();
    let of_stranger = cosignature::sign(&text, "witness.example/w", &stranger, 1_700_000_000).unwrap();
    let http = |status: &str, kind: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let ok = |body: &str| http("200 OK", "text/plain", body);
    let good = cosign(&text, 1_700_000_000);
    let injected = cosign(&format!("{text}\ninjected\n"), 1_700_000_000);
    for (story, answer, code, word) in [
        ("nothing in it", ok(""), 3, "no line feed"),
        ("another's line", ok(&of_stranger), 3, "no cosignature of its key"),
        ("another text", ok(&cosign("log.example/lied-to\n9\nAAAA\n", 1_700_000_000)), 3, "does not fit"),
        ("of the future", ok(&cosign(&text, 99_999_999_999)), 3, "of the future"),
        ("more text", ok(&format!("injected\n\n{injected}")), 3, "more than signature lines"),
        ("cut short", ok(&good[..good.len() - 9]), 3, "no line feed"),
        ("not text", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xff".to_vec(), 3, "something else than text"),
        ("too long", ok(&"x".repeat(1 << 20)), 3, "more than 64 KiB"),
        ("409 of the same", http("409 Conflict", "text/x.tlog.size", "0\n"), 3, "refuses a proof"),
        ("409 without size", http("409 Conflict", "text/plain", "7\n"), 3, "no size"),
        ("409 in words", http("409 Conflict", "text/x.tlog.size", "07\n"), 3, "no size"),
        ("409 above", http("409 Conflict", "text/x.tlog.size", "7\n"), 1, "has seen 7"),
        ("409 for ever", http("409 Conflict", "text/x.tlog.size", "1\n"), 3, "refuses a proof"),
        ("unknown log", http("404 Not Found", "text/plain", "no\n"), 3, "does not watch this log"),
        ("a terminal's codes", http("500 Oops", "text/plain", "\u{1b}[2Jgone\n"), 3, "answers 500"),
        ("silent", vec![], 3, "failed"),
    ] {
        let asked = format!("{vkey}={}", liar(answer));
        let started = Instant::now();
        let (told, _) = expect(folder, &["anchor", "witness", "ask", "log", "--witness", &asked], code);
        assert!(told.contains(word), "{story}: {told}");
        assert!(!told.contains('\u{1b}'), "{story}: {told:?}");
        assert!(started.elapsed() < Duration::from_secs(15), "{story}");
        assert_eq!(fs::read_to_string(folder.join("log/checkpoint")).unwrap(), before, "{story}");
        let _ = fs::remove_dir_all(folder.join("log/.state/witness"));
    }
    // The same key with an honest answer beside lines of strangers: only its own line is taken.
    let asked = format!("{vkey}={}", liar(ok(&format!("{of_stranger}{good}"))));
    expect(folder, &["anchor", "witness", "ask", "log", "--witness", &asked], 0);
    assert_eq!(fs::read_to_string(folder.join("log/checkpoint")).unwrap(), format!("{before}{good}"));
}

/// The witness of another project, and its checker of our proofs.
#[test]
fn another_witness_cosigns_and_its_checker_accepts_our_proofs() {
    let name = |name: &str| std::env::var(format!("COUNTERMARK_{name}")).ok();
    let (Some(url), Some(vkey), Some(db), Some(programs)) =
        (name("LITEWITNESS"), name("LITEWITNESS_VKEY"), name("LITEWITNESS_DB"), name("TORCHWOOD"))
    else {
        eprintln!(
            "skipped: litewitness and spicy-torchwood: COUNTERMARK_LITEWITNESS is not set (fixtures/services/witness.sh)"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Each run has a log of its own, since the witness remembers.
    let origin = format!("log.example/{}", &Hash(*countermark::io::keys::random()).to_string()[..16]);
    let log = Log::create(&folder.join("log"), Some(&origin)).unwrap();
    let ours = log.verifier().to_string();
    let witnessctl = |arguments: &[&str]| {
        let run = Command::new(Path::new(&programs).join("witnessctl")).args(arguments).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    let asked = format!("{vkey}={url}");
    let (told, _) = expect(folder, &["anchor", "witness", "ask", "log", "--witness", &asked], 3);
    assert!(told.contains("does not watch this log"), "{told}");
    witnessctl(&["add-log", "-db", &db, "-origin", &origin]);
    witnessctl(&["add-key", "-db", &db, "-origin", &origin, "-key", &ours]);
    let ask = |code: i32| expect(folder, &["anchor", "witness", "ask", "log", "--witness", &asked], code).0;
    ask(0);
    ask(0);
    copy(&folder.join("log"), &folder.join("old"));
    let entries: Vec<Vec<u8>> = (0..300).map(|index| format!("entry {index}").into_bytes()).collect();
    log.append(&entries).unwrap();
    // A client that has forgotten what the witness saw is told, and rebuilds its proof.
    fs::remove_dir_all(folder.join("log/.state/witness")).unwrap();
    ask(0);
    assert!(fs::read_to_string(folder.join("log/checkpoint")).unwrap().contains("witness.example/lite"));
    // An old copy, and a fork of it.
    let (told, _) = expect(folder, &["anchor", "witness", "ask", "old", "--witness", &asked], 1);
    assert!(told.contains("has seen 301 entries"), "{told}");
    let fork = Log::open(&folder.join("old")).unwrap();
    let _ = fs::remove_dir_all(folder.join("old/.state/witness"));
    fork.append(&(0..400).map(|index| format!("other {index}").into_bytes()).collect::<Vec<_>>()).unwrap();
    let (told, _) = expect(folder, &["anchor", "witness", "ask", "old", "--witness", &asked], 1);
    assert!(told.contains("forked"), "{told}");

    // spicy-torchwood reads a proof without its first line, beside the raw entry.
    for index in [1_u64, 7, 255, 256, 300] {
        let out = format!("{index}.tlog-proof");
        let arguments = ["anchor", "export", "log", &index.to_string(), "--format", "tlog-proof", "--out", &out];
        expect(folder, &arguments, 0);
        let proof = fs::read_to_string(folder.join(&out)).unwrap();
        let (_, spicy) = proof.split_once('\n').unwrap();
        let file = folder.join(format!("entry-{index}"));
        fs::write(&file, log.entry(index).unwrap()).unwrap();
        fs::write(folder.join(format!("entry-{index}.spicy")), spicy).unwrap();
        let check = || {
            Command::new(Path::new(&programs).join("spicy-torchwood"))
                .arg("-verify")
                .arg(&ours)
                .arg(&file)
                .output()
                .unwrap()
        };
        let run = check();
        assert!(run.status.success(), "{index}: {}", String::from_utf8_lossy(&run.stderr));
        fs::write(&file, "something else").unwrap();
        assert!(!check().status.success(), "{index}");
    }
}

/// Another implementation of COSE reads what is exported, and a log of one entry has nothing to export.
#[test]
fn cose_receipts_are_accepted_by_another_implementation() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    expect(folder, &["keygen", "--out", "keys"], 0);
    let log = Log::create(&folder.join("log"), Some("log.example/exported")).unwrap();
    let export = |index: &str, kind: &str, code: i32| {
        let out = format!("{kind}-{index}");
        expect(folder, &["anchor", "export", "log", index, "--format", kind, "--out", &out], code).1
    };
    let refused = export("0", "cose-receipt", 2);
    assert!(refused.contains("a log of one entry has no COSE receipt") && refused.contains("help:"), "{refused}");
    for index in 1..4 {
        fs::write(folder.join("data.csv"), format!("a\n{index}\n")).unwrap();
        expect(folder, &["sign", "data.csv", "--key", "keys/owner.key", "--log", "log"], 0);
    }
    let refused = export("4", "scitt", 2);
    assert!(refused.contains('4'), "{refused}");
    let verifier = log.verifier().clone();
    for index in ["0", "1", "2", "3"] {
        for kind in ["entry", "cose-receipt", "scitt"] {
            export(index, kind, 0);
        }
        let read = |kind: &str| fs::read(folder.join(format!("{kind}-{index}"))).unwrap();
        let (entry, receipt) = (read("entry"), read("cose-receipt"));
        assert_eq!(cose::verify_inclusion(&receipt, &verifier, &entry).unwrap(), (4, index.parse().unwrap()));
        assert_eq!(cose::split_transparent(&read("scitt")).unwrap(), (entry, vec![receipt]));
    }
    export("2", "cose-consistency", 0);
    let head = |size: u64| {
        let entries: Vec<Hash> = (0..size).map(|index| tree::leaf(&log.entry(index).unwrap())).collect();
        Checkpoint { size, root: tree::root(&entries) }
    };
    let receipt = fs::read(folder.join("cose-consistency-2")).unwrap();
    cose::verify_consistency(&receipt, &verifier, &head(2), &head(4)).unwrap();

    let Some(python) = std::env::var_os("COUNTERMARK_PYCOSE") else {
        eprintln!("skipped: COSE receipts by pycose: COUNTERMARK_PYCOSE is not set (fixtures/services/cose.sh)");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/foreign/cose_receipt.py");
    for index in ["0", "1", "2", "3"] {
        let files = ["entry", "cose-receipt", "scitt"].map(|kind| folder.join(format!("{kind}-{index}")));
        let run = Command::new(&python).arg(&script).arg(verifier.to_string()).args(&files).output().unwrap();
        assert!(run.status.success(), "{index}: {}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), format!("{index} 4"));
    }
}
