//! A log that is offered over HTTP, and what a monitor finds: honest logs, forked ones, and hosts that lie, stall or never
//! stop.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countermark_io::anchor::monitor::{Finding, Report, Source, watch};
use countermark_io::anchor::serve::Server;
use countermark_io::log::Log;
use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::fork::Fork;
use countermark_lineage::anchor::note::{self, VerifierKey};
use countermark_lineage::anchor::tiles;
use countermark_lineage::digest::{Hash, tree};

use super::lab::{copy, entries, key_of, log, public, request, server};

/// A log that is offered, and somebody who watches it.
struct Scene {
    folder: tempfile::TempDir,
    vkey: VerifierKey,
    server: Server,
}

impl Scene {
    fn new(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vkey = log(&folder.path().join("log"), count).verifier().clone();
        let server = Server::start(&folder.path().join("log"), "127.0.0.1:0".parse().unwrap()).unwrap();
        Scene { folder, vkey, server }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("log.seen")
    }

    fn open(&self) -> Log {
        Log::open(&self.log()).unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn watch_at(&self, place: &str, all: bool) -> Report {
        let source = Source { place: place.to_owned(), timeout: Duration::from_secs(2) };
        watch(&source, &self.vkey, &self.state(), all, &|_, _| ()).unwrap()
    }

    /// Looks over HTTP, and then at the folder: both must find the same.
    fn watch(&self, all: bool) -> Report {
        let before = fs::read(self.state()).ok();
        let by_folder = self.watch_at(self.log().to_str().unwrap(), all);
        match before {
            Some(before) => fs::write(self.state(), before).unwrap(),
            None => drop(fs::remove_file(self.state())),
        }
        let report = self.watch_at(&self.url(), all);
        assert_eq!(report.state, by_folder.state, "{report:?} {by_folder:?}");
        report
    }

    /// What is found, when the state must stay as it is.
    fn wrong(&self, all: bool, finding: Finding, reason: &str) -> Report {
        let before = fs::read(self.state()).ok();
        let report = self.watch(all);
        assert_eq!(report.state, finding, "{report:?}");
        assert!(report.detail.contains(reason), "{report:?}");
        assert_eq!(fs::read(self.state()).ok(), before, "the state was written though something is wrong");
        report
    }
}

#[test]
fn public_files_are_served_and_nothing_else() {
    let scene = Scene::new(700);
    let address = scene.server.address();
    fs::create_dir_all(scene.log().join("anchors/701")).unwrap();
    fs::write(scene.log().join("anchors/701/checkpoint"), "a note\n").unwrap();
    fs::write(scene.log().join("anchors/701/evm.json"), "{}").unwrap();
    fs::write(scene.log().join("anchors/701/.hidden"), "x").unwrap();
    fs::write(scene.log().join("tile/.writing-000"), "x").unwrap();
    for path in public(&scene.log()) {
        let name = path.strip_prefix(scene.log()).unwrap().to_str().unwrap();
        let (status, head, body) = request(address, "GET", &format!("/{name}"));
        if name.contains("/.") {
            assert_eq!(status, 404, "{name}");
            continue;
        }
        assert_eq!((status, body), (200, fs::read(&path).unwrap()), "{name}");
        assert_eq!(head.contains("immutable"), name.starts_with("tile/"), "{name}: {head}");
        let content_type = match name {
            name if name.starts_with("tile/") => "application/octet-stream",
            name if name.ends_with(".json") => "application/json",
            _ => "text/plain; charset=utf-8",
        };
        assert!(head.contains(&format!("content-type: {content_type}")), "{name}: {head}");
    }
    let (status, head, body) = request(address, "HEAD", "/tile/0/000");
    assert_eq!((status, body.len()), (200, 0));
    assert!(head.contains("content-length: 8192"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(request(address, method, "/checkpoint").0, 405, "{method}");
    }
    for path in [
        "/",
        "/.state/log.key",
        "/.state/origin",
        "/tile/../.state/log.key",
        "/tile/%2e%2e/.state/log.key",
        "/anchors/../.state/log.key",
        "/anchors/701/../../.state/log.key",
        "/anchors/701/..",
        "/anchors/..%2f.state",
        "//.state/log.key",
        "/tile/0/00%30",
        "/tile/0/0",
        "/tile/0/009",
        "/tile/0/002.p/188",
        "/tile/0/002.p/190",
        "/checkpoint/",
        "/Checkpoint",
        "/anchors/0701/checkpoint",
        "/anchors/701/",
        "/anchors/701",
        "/anchors/9/x",
        "/tile/entries/x000/000",
        "/tile",
        "/checkpoint%00",
    ] {
        let (status, _, body) = request(address, "GET", path);
        assert_eq!((status, body.len()), (404, 0), "{path}");
    }
    // A query is no part of the name.
    assert_eq!(request(address, "GET", "/checkpoint?x=1").0, 200);
}

#[test]
fn a_partial_tile_that_is_gone_is_the_beginning_of_the_full_one() {
    let scene = Scene::new(199);
    let address = scene.server.address();
    let get = |path: &str| request(address, "GET", path);
    let (tile, bundle) = (get("/tile/0/000.p/200").2, get("/tile/entries/000.p/200").2);
    assert_eq!(tile.len(), 6400);
    scene.open().append(&entries("more", 100)).unwrap();
    assert!(!scene.log().join("tile/0/000.p").exists() && !scene.log().join("tile/entries/000.p").exists());
    assert_eq!(get("/tile/0/000.p/200").2, tile);
    assert_eq!(get("/tile/entries/000.p/200").2, bundle);
    assert_eq!(get("/tile/0/000.p/1").2, tile[..32]);
    // Of one that is not full there is no other width.
    assert_eq!(get("/tile/0/001.p/3").0, 404);
}

#[test]
fn a_log_that_grows_is_consistent_each_time() {
    let scene = Scene::new(3);
    let report = scene.watch(false);
    assert_eq!((report.state, report.seen), (Finding::Consistent, None));
    assert!(report.detail.contains("seen for the first time"), "{}", report.detail);
    let mut size = 4;
    for more in [0, 1, 251, 1, 44, 700, 1] {
        scene.open().append(&entries(&size.to_string(), more)).unwrap();
        let report = scene.watch(size % 2 == 0);
        assert_eq!(report.state, Finding::Consistent, "{report:?}");
        assert_eq!(report.seen.unwrap().size, size);
        size += more as u64;
        assert_eq!(report.head.unwrap().size, size);
    }
    // The partial tile of what was seen first is gone meanwhile.
    assert!(!scene.log().join("tile/0/000.p").exists());
    assert_eq!(scene.watch(true).entries, Some(size));
}

#[test]
fn a_forked_log_is_caught_with_proof() {
    for (here, there) in [(3, 3), (3, 9), (9, 3), (300, 2), (2, 300), (700, 70_000 / 50)] {
        let scene = Scene::new(4);
        let other = scene.folder.path().join("other");
        copy(&scene.log(), &other);
        Log::open(&other).unwrap().append(&entries("there", there)).unwrap();
        scene.open().append(&entries("here", here)).unwrap();
        assert_eq!(scene.watch(false).state, Finding::Consistent);
        // The same URL shows the other history from now on.
        for name in ["checkpoint", "tile"] {
            let path = scene.log().join(name);
            if path.is_dir() { fs::remove_dir_all(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
        fs::copy(other.join("checkpoint"), scene.log().join("checkpoint")).unwrap();
        copy(&other.join("tile"), &scene.log().join("tile"));
        if there >= here {
            let report = scene.wrong(false, Finding::Forked, "contradict each other");
            let evidence = fs::read(report.evidence.unwrap()).unwrap();
            let fork: Fork = serde_json::from_slice(&evidence).unwrap();
            fork.verify().unwrap();
            assert_eq!(fork.log, scene.vkey.to_string());
        } else {
            // The tiles of what was seen are gone, so that nothing can be recomputed: both heads are kept.
            let report = scene.wrong(false, Finding::Shrunk, "older copy");
            let evidence: serde_json::Value =
                serde_json::from_slice(&fs::read(report.evidence.unwrap()).unwrap()).unwrap();
            for member in ["seen", "shown"] {
                Checkpoint::open(evidence[member].as_str().unwrap(), &scene.vkey).unwrap();
            }
        }
    }
}

#[test]
fn a_smaller_head_of_another_history_is_a_fork_when_the_tiles_are_there() {
    let scene = Scene::new(9);
    assert_eq!(scene.watch(false).state, Finding::Consistent);
    let forged = Checkpoint { size: 5, root: Hash([5; 32]) }.sign("log.example", &key_of(&scene.log())).unwrap();
    fs::write(scene.log().join("checkpoint"), forged).unwrap();
    let report = scene.wrong(false, Finding::Forked, "a head of 10 entries and one of 5");
    let fork: Fork = serde_json::from_slice(&fs::read(report.evidence.unwrap()).unwrap()).unwrap();
    fork.verify().unwrap();
}

#[test]
fn a_shrinking_log() {
    let scene = Scene::new(9);
    let old = fs::read(scene.log().join("checkpoint")).unwrap();
    scene.open().append(&entries("more", 3)).unwrap();
    assert_eq!(scene.watch(false).state, Finding::Consistent);
    fs::write(scene.log().join("checkpoint"), &old).unwrap();
    let report = scene.wrong(false, Finding::Shrunk, "shows 10 entries and had shown 13");
    // Seen twice it is kept once.
    assert_eq!(scene.watch(false).evidence, report.evidence);
    let kept = fs::read_dir(scene.folder.path()).unwrap().flatten();
    assert_eq!(kept.filter(|entry| entry.file_name().to_string_lossy().contains("shrunk")).count(), 1);
    // Also down to nothing.
    let empty = Checkpoint { size: 0, root: tree::empty_root() };
    let note = empty.sign("log.example", &key_of(&scene.log())).unwrap();
    fs::write(scene.log().join("checkpoint"), note).unwrap();
    scene.wrong(false, Finding::Shrunk, "shows 0 entries");
}

/// Changes a file of the log, looks, and puts it back.
fn changed(scene: &Scene, name: &str, change: impl Fn(&mut Vec<u8>), look: impl Fn(&Scene)) {
    let path = scene.log().join(name);
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    look(scene);
    fs::write(&path, good).unwrap();
}

#[test]
fn tiles_that_lie_are_found() {
    let scene = Scene::new(699);
    assert_eq!(scene.watch(false).state, Finding::Consistent);
    scene.open().append(&entries("more", 30)).unwrap();
    let flip = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    for (name, at) in
        [("tile/1/000.p/2", 0), ("tile/1/000.p/2", 63), ("tile/0/002.p/218", 40), ("tile/0/002.p/218", 6975)]
    {
        changed(&scene, name, flip(at), |scene| drop(scene.wrong(false, Finding::Damaged, "do not lead to its head")));
    }
    for length in [0, 1, 31, 6944, 6977, 7008] {
        let resize = |bytes: &mut Vec<u8>| bytes.resize(length, 0);
        changed(&scene, "tile/0/002.p/218", resize, |scene| {
            drop(scene.wrong(false, Finding::Damaged, "instead of 218"))
        });
    }
    // A tile below the right edge is not needed for two heads; whoever looks at everything sees it.
    changed(&scene, "tile/0/001", flip(40), |scene| {
        let before = fs::read(scene.state()).unwrap();
        assert_eq!(scene.watch(false).state, Finding::Consistent);
        fs::write(scene.state(), before).unwrap();
        scene.wrong(true, Finding::Damaged, "tile/0/001 is not the hashes");
    });
    assert_eq!(scene.watch(true).state, Finding::Consistent);
}

#[test]
fn entries_that_are_not_what_was_signed_are_found() {
    let scene = Scene::new(299);
    assert_eq!(scene.watch(true).state, Finding::Consistent);
    changed(
        &scene,
        "tile/entries/000",
        |bytes| bytes[60] ^= 1,
        |scene| {
            scene.wrong(true, Finding::Damaged, "tile/0/000 is not the hashes of what is below it");
        },
    );
    changed(
        &scene,
        "tile/entries/001.p/44",
        |bytes| bytes.truncate(bytes.len() - 1),
        |scene| {
            scene.wrong(true, Finding::Damaged, "cut short");
        },
    );
    changed(
        &scene,
        "tile/entries/001.p/44",
        |bytes| bytes.extend([0, 0]),
        |scene| {
            scene.wrong(true, Finding::Damaged, "holds 45 entries instead of 44");
        },
    );
    // What the log itself took in without a good signature.
    let mut forged = entries("forged", 1).remove(0);
    *forged.last_mut().unwrap() ^= 1;
    scene.open().append(&[forged]).unwrap();
    scene.wrong(true, Finding::Damaged, "entry 300");
    scene.open().append(&[b"no entry at all"]).unwrap();
    assert_eq!(scene.watch(false).state, Finding::Consistent);
}

#[test]
fn what_is_missing_is_unknown() {
    let scene = Scene::new(299);
    fs::rename(scene.log().join("tile/1"), scene.folder.path().join("gone")).unwrap();
    scene.wrong(false, Finding::Unknown, "tile/1/000.p/1 is not there");
    fs::rename(scene.folder.path().join("gone"), scene.log().join("tile/1")).unwrap();
    fs::remove_file(scene.log().join("tile/entries/000")).unwrap();
    scene.wrong(true, Finding::Unknown, "tile/entries/000 is not there");
    fs::remove_file(scene.log().join("checkpoint")).unwrap();
    scene.wrong(false, Finding::Unknown, "holds no checkpoint");
}

#[test]
fn what_the_log_s_key_did_not_sign_says_nothing_about_it() {
    let scene = Scene::new(5);
    assert_eq!(scene.watch(false).state, Finding::Consistent);
    let other = countermark_io::keys::generate();
    let note = Checkpoint { size: 2, root: Hash([1; 32]) }.sign("log.example", &other).unwrap();
    for text in [&note, "", "<html>please pay for your lunch</html>\n", "log.example\n6\n"] {
        fs::write(scene.log().join("checkpoint"), text).unwrap();
        scene.wrong(false, Finding::Unknown, "shows no checkpoint of this log");
    }
    fs::write(scene.log().join("checkpoint"), [0xff; 100]).unwrap();
    scene.wrong(false, Finding::Unknown, "shows no checkpoint of this log");
}

#[test]
fn extension_lines_and_cosignatures_are_read_over_and_reported() {
    let scene = Scene::new(5);
    let path = scene.log().join("checkpoint");
    let head = fs::read_to_string(&path).unwrap();
    let text = format!("{}\nan extension\n", head.split_once("\n\n").unwrap().0);
    let note = note::sign(&text, "log.example", &key_of(&scene.log())).unwrap();
    let other = note::sign(&text, "witness.example", &countermark_io::keys::generate()).unwrap();
    fs::write(&path, format!("{note}{}", other.split_once("\n\n").unwrap().1)).unwrap();
    let report = scene.watch(false);
    assert_eq!((report.state, report.extensions), (Finding::Consistent, vec!["an extension".to_owned()]));
    // What is remembered has the log's line alone.
    assert!(!fs::read_to_string(scene.state()).unwrap().contains("witness.example"));
}

#[test]
fn a_state_of_another_log_or_a_damaged_one_is_not_overwritten() {
    let scene = Scene::new(5);
    scene.watch(false);
    let good = fs::read_to_string(scene.state()).unwrap();
    let source = Source { place: scene.url(), timeout: Duration::from_secs(2) };
    let other = VerifierKey::new("other.example", scene.vkey.key).unwrap();
    let error = watch(&source, &other, &scene.state(), false, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("remembers another log"), "{error}");
    for text in ["", "{}", "[]", &good.replace("\\n6\\n", "\\n1\\n"), &good.replacen('{', "{\"x\":1,", 1)] {
        fs::write(scene.state(), text).unwrap();
        assert!(watch(&source, &scene.vkey, &scene.state(), false, &|_, _| ()).is_err(), "{text}");
        assert_eq!(fs::read_to_string(scene.state()).unwrap(), text);
    }
}

/// Reads a request, so that the other side is not reset.
fn path_of(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..count]).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A host that answers honestly until a path is asked for, and then does something else.
fn host(folder: &Path, bad: &'static str, then: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    let folder = folder.to_owned();
    server(move |mut stream| {
        let path = path_of(&mut stream);
        if path.starts_with(bad) {
            return then(&mut stream);
        }
        let body = fs::read(folder.join(&path[1..])).unwrap();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(&body);
    })
}

fn in_time(scene: &Scene, url: &str, all: bool, reason: &str) {
    let since = Instant::now();
    let before = fs::read(scene.state()).ok();
    let report = scene.watch_at(url, all);
    assert_eq!(report.state, Finding::Unknown, "{report:?}");
    assert!(report.detail.contains(reason), "{report:?}");
    assert!(since.elapsed() < Duration::from_secs(12), "took {:?}", since.elapsed());
    assert_eq!(fs::read(scene.state()).ok(), before);
}

#[test]
fn hosts_that_stall() {
    let scene = Scene::new(299);
    for bad in ["/checkpoint", "/tile/0", "/tile/entries"] {
        let silent = host(&scene.log(), bad, |stream| drop(stream.read(&mut [0; 1])));
        in_time(&scene, &silent, true, "");
        let drips = host(&scene.log(), bad, |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        in_time(&scene, &drips, true, "");
    }
}

#[test]
fn hosts_that_never_stop() {
    let scene = Scene::new(299);
    for bad in ["/checkpoint", "/tile/0", "/tile/entries"] {
        let endless = host(&scene.log(), bad, |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[0; 1 << 16]).is_ok() {}
        });
        in_time(&scene, &endless, true, "more than");
        let headers = host(&scene.log(), bad, |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").is_ok() {}
        });
        in_time(&scene, &headers, true, "");
        let round = host(&scene.log(), bad, |stream| {
            let _ = stream.write_all(
                b"HTTP/1.1 302 Found\r\nLocation: /checkpoint\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        });
        if bad == "/checkpoint" {
            in_time(&scene, &round, true, "redirects too often");
        }
    }
}

#[test]
fn hosts_that_fail_or_are_not_there() {
    let scene = Scene::new(5);
    let broken = host(&scene.log(), "/", |stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    in_time(&scene, &broken, false, "answers 500");
    let closed = host(&scene.log(), "/", |_| ());
    in_time(&scene, &closed, false, "");
    in_time(&scene, "http://127.0.0.1:1", false, "efused");
    in_time(&scene, scene.folder.path().join("nowhere").to_str().unwrap(), false, "holds no checkpoint");
}

#[test]
fn a_slow_reader_keeps_nobody_else_waiting() {
    let scene = Scene::new(5);
    let held: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(scene.server.address()).unwrap()).collect();
    let since = Instant::now();
    assert_eq!(request(scene.server.address(), "GET", "/checkpoint").0, 200);
    assert!(since.elapsed() < Duration::from_secs(2));
    drop(held);
}

#[test]
fn the_tree_of_the_watched_log_is_the_reference_s() {
    // The audit folds levels by itself; this is the same root by the definition.
    let scene = Scene::new(599);
    let log = scene.open();
    let leaves: Vec<Hash> = (0..3).flat_map(|at| log.bundle(at).unwrap()).map(|entry| tree::leaf(&entry)).collect();
    assert_eq!(scene.watch(true).head.unwrap().root, tree::reference::root(&leaves));
    assert_eq!(tiles::root(&log.tiles(600), 600).unwrap(), tree::reference::root(&leaves));
}
