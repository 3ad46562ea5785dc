//! Writers that are killed at random moments, and many writers at once: what was acknowledged is there, and no size is
//! signed twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countermark_io::log::Log;
use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::tiles;
use countermark_lineage::digest::tree;

use super::lab::Random;

const LOG: &str = "COUNTERMARK_TEST_LOG";
const ACKNOWLEDGED: &str = "COUNTERMARK_TEST_ACKNOWLEDGED";
const WRITER: &str = "COUNTERMARK_TEST_WRITER";
const BATCHES: &str = "COUNTERMARK_TEST_BATCHES";

/// Entries of one batch of a writer, each other than all others.
fn batch(writer: u64, number: u64) -> Vec<Vec<u8>> {
    let mut random = Random(writer << 32 | number);
    // Mostly small ones; some fill a bundle; few are so many that the file system is synced as a whole.
    let count = match random.below(40) {
        0 => 8_500 + random.below(600),
        1..8 => 200 + random.below(400),
        _ => 1 + random.below(20),
    };
    (0..count).map(|at| format!("{writer} {number} {at}").into_bytes()).collect()
}

#[test]
#[ignore = "what the other tests here start"]
fn child_that_appends() {
    let value = |name| std::env::var(name).unwrap_or_else(|_| panic!("only {name} says what to do"));
    let log = Log::open(Path::new(&value(LOG))).unwrap();
    let mut acknowledged = fs::File::options().create(true).append(true).open(value(ACKNOWLEDGED)).unwrap();
    let writer = value(WRITER).parse().unwrap();
    for number in 0..value(BATCHES).parse().unwrap() {
        let range = log.append(&batch(writer, number)).unwrap();
        let line = format!("{writer} {number} {} {}\n", range.start, range.end);
        acknowledged.write_all(line.as_bytes()).unwrap();
    }
}

fn start(log: &Path, acknowledged: &Path, writer: u64, batches: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "writers::child_that_appends"])
        .envs([(LOG, log), (ACKNOWLEDGED, acknowledged)])
        .envs([(WRITER, writer.to_string()), (BATCHES, batches.to_string())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Writer, number of its batch, and where it is.
fn acknowledged(path: &Path) -> Vec<(u64, u64, u64, u64)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line = |line: &str| {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1], numbers[2], numbers[3])
    };
    whole.lines().map(line).collect()
}

/// Reads the whole log, checks it against its head, and that what was acknowledged is where it was said to be.
fn check_all(log: &Log, acknowledged: &[(u64, u64, u64, u64)]) {
    let head = log.head().unwrap();
    let mut all: Vec<Vec<u8>> = vec![];
    for bundle in 0..head.size.div_ceil(256) {
        all.extend(log.bundle(bundle).unwrap());
    }
    assert_eq!(all.len() as u64, head.size);
    let leaves: Vec<_> = all.iter().map(|entry| tree::leaf(entry)).collect();
    assert_eq!(tree::root(&leaves), head.root);
    for (writer, number, start, end) in acknowledged {
        assert!(all[*start as usize..*end as usize] == batch(*writer, *number), "batch {number} of {writer} is lost");
    }
    // And nothing is there twice.
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

/// Heads that were signed, by size.
#[derive(Default)]
struct Heads(BTreeMap<u64, String>);

impl Heads {
    /// Looks at the published head.
    fn look(&mut self, log: &Path) {
        let Ok(note) = fs::read_to_string(log.join("checkpoint")) else { return };
        let size = note.lines().nth(1).unwrap().parse().unwrap();
        let known = self.0.entry(size).or_insert_with(|| note.clone());
        assert_eq!(*known, note, "two heads of one size were signed");
    }
}

#[test]
fn killed_writers_lose_nothing_that_was_acknowledged() {
    let kills: u64 = std::env::var("COUNTERMARK_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(1000);
    let mut random = Random(7);
    let (mut killed, mut staged, mut batches, mut entries, mut heads_seen) = (0, 0, 0, 0, 0);
    let since = Instant::now();
    let mut writer = 0;
    while killed < kills {
        let folder = tempfile::tempdir().unwrap();
        let (path, acks) = (folder.path().join("log"), folder.path().join("acknowledged"));
        let mut last = Log::create(&path, None).unwrap().head().unwrap();
        let mut heads = Heads::default();
        for _ in 0..50.min(kills - killed) {
            writer += 1;
            let mut child = start(&path, &acks, writer, u64::MAX);
            let end = Instant::now() + Duration::from_micros(3_000 + random.below(45_000));
            while Instant::now() < end {
                heads.look(&path);
                std::thread::sleep(Duration::from_micros(500));
            }
            let was_running = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(was_running, "a writer stopped by itself");
            killed += 1;
            let left = fs::read_dir(path.join(".state")).unwrap().flatten();
            staged +=
                u64::from(left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("pending")));
            heads.look(&path);

            // It opens as it is, and what is published is the continuation of what was.
            let log = Log::open(&path).unwrap();
            let head = log.head().unwrap();
            let proof = tiles::consistency(&log.tiles(head.size), last.size, head.size).unwrap();
            assert!(tree::is_consistent(last.size, &last.root, head.size, &head.root, &proof));
            let done = acknowledged(&acks);
            assert!(done.last().is_none_or(|(.., end)| *end <= head.size), "acknowledged, and not published");
            last = head;
        }
        // Whoever comes next finishes what was left, and goes on.
        let log = Log::open(&path).unwrap();
        let range = log.append(&[b"last"]).unwrap();
        assert!(range.start >= last.size && log.entry(range.start).unwrap() == b"last");
        heads.look(&path);
        for note in heads.0.values() {
            let head = Checkpoint::open(note, log.verifier()).unwrap();
            assert_eq!(tiles::root(&log.tiles(range.end), head.size).unwrap(), head.root, "{note}");
        }
        let done = acknowledged(&acks);
        check_all(&log, &done);
        batches += done.len();
        entries += done.iter().map(|(_, _, start, end)| end - start).sum::<u64>();
        heads_seen += heads.0.len();
    }
    eprintln!(
        "{killed} kills in {:.0} s: {staged} with a batch staged, {batches} batches of {entries} entries acknowledged, \
         {heads_seen} signed heads seen",
        since.elapsed().as_secs_f64()
    );
    // The test is worth something only when the kills fall where they could hurt.
    assert!(staged > kills / 4 && batches as u64 > kills / 4, "{staged} of {killed} kills hit, {batches} batches");
}

#[test]
fn processes_that_append_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    Log::create(&path, None).unwrap();
    let acks = |writer: u64| folder.path().join(writer.to_string());
    let children: Vec<Child> = (0..5).map(|writer| start(&path, &acks(writer), writer + 1_000_000, 12)).collect();
    let mut heads = Heads::default();
    for mut child in children {
        while child.try_wait().unwrap().is_none() {
            heads.look(&path);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(child.wait().unwrap().success());
    }
    let mut done: Vec<_> = (0..5).flat_map(|writer| acknowledged(&acks(writer))).collect();
    assert_eq!(done.len(), 60);
    done.sort_by_key(|(_, _, start, _)| *start);
    // One behind the other, without a gap.
    let mut end = 1;
    for (_, _, start, next) in &done {
        assert_eq!(*start, end);
        end = *next;
    }
    let log = Log::open(&path).unwrap();
    assert_eq!(log.head().unwrap().size, end);
    check_all(&log, &done);
    assert!(heads.0.len() > 5, "{} heads seen", heads.0.len());
}
