//! Killed writers, full disks, two writers at once: a store is as before or as after, never between.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use countermark_io::store::Sqlite;
use countermark_lineage::bundle::Bundle;
use countermark_lineage::graph::check::check;
use countermark_lineage::graph::store::{Batch, Store};
use countermark_lineage::graph::{Kind, Relation};

use super::lab::{Made, Place, bundle, family, honest, import};

/// Statements in each bundle of the killed importer.
const EACH: u64 = 5;
const BUNDLES: u64 = 40;

const STORE: &str = "COUNTERMARK_TEST_KILLED_STORE";
const INPUT: &str = "COUNTERMARK_TEST_KILLED_INPUT";

/// A chain of statements, the last first.
fn chain(prefix: &str, length: u64) -> Vec<Made> {
    let mut chain: Vec<Made> = Vec::new();
    for number in 0..length {
        let parents: Vec<_> = chain.first().map(|parent| (Relation::FineTunedFrom, parent)).into_iter().collect();
        let made = honest(&format!("{prefix}-{number}"), Kind::Model, &parents);
        chain.insert(0, made);
    }
    chain
}

#[test]
#[ignore = "what killed_importers_leave_a_whole_store starts"]
fn child_that_imports() {
    let (Ok(store), Ok(input)) = (std::env::var(STORE), std::env::var(INPUT)) else {
        panic!("only {STORE} and {INPUT} say what to do");
    };
    let mut store = Sqlite::open(Path::new(&store), true).unwrap();
    for number in 0..BUNDLES {
        let bytes = std::fs::read(Path::new(&input).join(number.to_string())).unwrap();
        let batch = Batch::of("killed", &Bundle::parse(&bytes).unwrap());
        store.import(&mut std::iter::once(batch)).unwrap();
    }
}

#[test]
fn killed_importers_leave_a_whole_store() {
    let kills: u64 = std::env::var("COUNTERMARK_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(1000);
    let input = tempfile::tempdir().unwrap();
    for number in 0..BUNDLES {
        let chain = chain(&format!("chain{number}"), EACH);
        let bytes = bundle(&chain.iter().collect::<Vec<_>>()).to_json();
        std::fs::write(input.path().join(number.to_string()), bytes).unwrap();
    }
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let (mut killed, mut nothing, mut some, mut unfinished) = (0, 0, 0, 0);
    let since = Instant::now();
    let mut folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    while killed < kills {
        let path = folder.path().join("lineage.db");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "faults::child_that_imports"])
            .envs([(STORE, &*path), (INPUT, input.path())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // SplitMix64.
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        thread::sleep(Duration::from_micros((mixed ^ mixed >> 31) % 40_000));
        let was_running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        killed += u64::from(was_running);
        // A log that was not moved into the file shows that the store was open when its writer died.
        let log = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len());
        unfinished += u64::from(log > 0);

        let Ok(mut store) = Sqlite::open(&path, false) else {
            // Killed before the store was made.
            assert_eq!(before, 0, "a store that was there is gone");
            nothing += 1;
            continue;
        };
        let counts = store.counts().unwrap();
        assert_eq!(counts.statements % EACH, 0, "a part of a bundle went in: {counts:?}");
        assert_eq!(counts.edges, counts.statements / EACH * (EACH - 1), "{counts:?}");
        assert!(counts.statements >= before && counts.missing == 0, "{counts:?} after {before}");
        let checked = check(&mut store, &|_| ()).unwrap();
        assert_eq!((checked.wrong, checked.statements), (0, counts.statements), "{:?}", checked.problems);
        some += u64::from(counts.statements > before && counts.statements < EACH * BUNDLES);
        before = counts.statements;
        if before > EACH * BUNDLES / 2 || killed % 20 == 0 {
            drop(store);
            (folder, before) = (tempfile::tempdir().unwrap(), 0);
        }
    }
    eprintln!(
        "{killed} kills in {:.0} s: {nothing} before the store was made, {some} between two imports or in one, {unfinished} left a log",
        since.elapsed().as_secs_f64()
    );
    // The test is worth something only when the kills fall where they could hurt.
    assert!(some > kills / 20 && unfinished > kills / 10, "{some} and {unfinished} of {killed} kills hit");
}

#[test]
fn a_full_disk_leaves_the_old_state() {
    let place = Place::Sqlite(tempfile::tempdir().unwrap());
    let mut store = Sqlite::open(&place.path(), true).unwrap();
    import(&mut store, &family().all()).unwrap();
    let before = store.counts().unwrap();
    store.limit_pages(40).unwrap();
    let large = chain("large", 200);
    let error = import(&mut store, &large.iter().collect::<Vec<_>>()).unwrap_err().to_string();
    assert!(error.contains("full") && error.contains("free some space"), "{error}");
    assert_eq!(store.counts().unwrap(), before);
    assert_eq!(check(&mut store, &|_| ()).unwrap().wrong, 0);
    drop(store);
    let mut store = Sqlite::open(&place.path(), true).unwrap();
    assert_eq!(store.counts().unwrap(), before);
    // With room it goes in.
    import(&mut store, &large.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(store.counts().unwrap().statements, before.statements + 200);
}

#[test]
fn two_writers_at_once_lose_nothing() {
    for place in Place::all("writers").into_iter().filter(Place::lasts) {
        // Both name the same parent, which is missing until one of them brings it.
        let shared = honest("shared", Kind::Dataset, &[]);
        thread::scope(|scope| {
            for writer in 0..2 {
                let (place, shared) = (&place, &shared);
                scope.spawn(move || {
                    let mut store = place.open();
                    for number in 0..30 {
                        let made = honest(&format!("{writer}-{number}"), Kind::Model, &[(Relation::TrainedOn, shared)]);
                        import(&mut *store, &[&made]).unwrap();
                        if number == 15 {
                            import(&mut *store, &[shared]).unwrap();
                        }
                    }
                });
            }
        });
        let mut store = place.open();
        let counts = store.counts().unwrap();
        assert_eq!((counts.statements, counts.missing, counts.edges), (61, 0, 60));
        assert_eq!(check(&mut *store, &|_| ()).unwrap().wrong, 0);
    }
}
