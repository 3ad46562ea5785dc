use super::*;

fn entries(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("entry {i}").into_bytes()).collect()
}

fn at(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("log")
}

/// A log of which only the empty head is published, with the same key each time.
fn empty(path: &Path) -> Log {
    fs::create_dir_all(path.join(".state")).unwrap();
    let key = SigningKey::from_bytes(&[3; 32]);
    let verifier = VerifierKey::new("log.example", key.verifying_key().into()).unwrap();
    let log = Log::with(path, key, verifier);
    log.publish(&Checkpoint { size: 0, root: tree::empty_root() }).unwrap();
    log
}

/// Every public file below a log and its bytes; temporary ones only when asked for.
fn public(folder: &Path) -> Vec<(String, Vec<u8>)> {
    fn collect(top: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            if name == ".state" {
                continue;
            }
            if path.is_dir() { collect(top, &path, found) } else { found.push((name, fs::read(path).unwrap())) }
        }
    }
    let mut found = vec![];
    collect(folder, folder, &mut found);
    found.sort();
    found
}

#[test]
fn appended_entries_are_proved_and_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::create(&at(&folder), Some("log.example")).unwrap();
    let all = entries(300);
    assert_eq!(log.append(&all[..200]).unwrap(), 1..201);
    assert_eq!(log.append_once(&all).unwrap(), (1..301).collect::<Vec<_>>());
    let log = Log::open(&at(&folder)).unwrap();
    assert_eq!(log.head().unwrap().size, 301);
    for (index, entry) in [(1, &all[0]), (255, &all[254]), (256, &all[255]), (300, &all[299])] {
        assert_eq!(log.entry(index).unwrap(), *entry);
        log.prove(&[index]).unwrap()[0].verify(entry, log.verifier()).unwrap();
    }
    assert!(log.entry(301).is_err());
    assert!(log.prove(&[301]).is_err());
    assert!(Log::create(&at(&folder), None).is_err());
    // Without looking, the same entry gets a second place.
    assert_eq!(log.append(&all[..1]).unwrap(), 301..302);
    assert_eq!(log.append_once(&[&all[0], &all[0], &all[7]]).unwrap(), [1, 1, 8]);
}

#[test]
fn what_is_found_does_not_rest_on_the_hint() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::create(&at(&folder), None).unwrap();
    let all = entries(600);
    log.append(&all).unwrap();
    assert_eq!(log.find(&all[599]).unwrap(), Some(600));
    assert_eq!(log.find(b"another").unwrap(), None);
    let leaves = at(&folder).join(".state/leaves");
    // Records that lie about their place: nothing is believed that the tile does not say.
    for shard in fs::read_dir(&leaves).unwrap() {
        let path = shard.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if path.ends_with("size") {
            continue;
        }
        bytes[15] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    assert_ne!(log.find(&all[599]).unwrap(), Some(601));
    fs::remove_dir_all(&leaves).unwrap();
    assert_eq!(log.find(&all[599]).unwrap(), Some(600));
    // A hint of a newer copy of the log is made again.
    fs::write(leaves.join("size"), "9000").unwrap();
    assert_eq!(log.find(&all[5]).unwrap(), Some(6));
    // A record that a crash cut short does not spoil those behind it.
    let shard = log.shard(&tree::leaf(b"later"));
    let mut bytes = fs::read(&shard).unwrap_or_default();
    bytes.extend([1; 5]);
    fs::write(&shard, bytes).unwrap();
    log.append(&[b"later"]).unwrap();
    assert_eq!(log.find(b"later").unwrap(), Some(601));
}

#[test]
fn files_of_a_log_are_those_of_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    let all = entries(70_000);
    let mut size = 0;
    for batch in [1, 255, 1, 254, 1, 1, 187, 69_300] {
        log.append(&all[size..size + batch]).unwrap();
        size += batch;
    }
    let leaves: Vec<Hash> = all.iter().map(|entry| tree::leaf(entry)).collect();
    assert_eq!(log.head().unwrap(), Checkpoint { size: 70_000, root: tree::root(&leaves) });
    let files = public(&at(&folder));
    // 273 full tiles and bundles and a partial one of each, level 1, level 2, the checkpoint; no partial tile beside its
    // full one.
    assert_eq!(files.len(), 2 * 274 + 2 + 1 + 1, "{:?}", files.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for (name, bytes) in files.iter().filter(|(name, _)| name != "checkpoint") {
        match Name::parse(name).unwrap() {
            Name::Tile { level, index, width } => {
                assert_eq!(width, width_at(level, index, 70_000), "{name}");
                let span = 1 << (8 * level);
                let hashes = tiles::decode_tile(&Name::Tile { level, index, width }, bytes).unwrap();
                for (at, hash) in hashes.iter().enumerate() {
                    let start = (index as usize * 256 + at) * span;
                    assert_eq!(*hash, tree::root(&leaves[start..start + span]), "{name}");
                }
            }
            Name::Bundle { index, .. } => {
                let entries = tiles::decode_bundle(bytes).unwrap();
                let start = index as usize * 256;
                assert_eq!(entries, &all[start..start + entries.len()], "{name}");
            }
        }
    }
}

#[test]
fn an_append_reads_a_few_files_however_large_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    let mut worst = vec![];
    for size in [1_000, 19_950, 199_920_usize] {
        let there = log.head().unwrap().size as usize;
        log.append(&entries(size - there)).unwrap();
        let mut most = 0;
        for entry in entries(30) {
            let before = log.reads();
            log.append(&[entry]).unwrap();
            most = most.max(log.reads() - before);
        }
        worst.push(most);
    }
    // Three levels at 200,000: of each the tile at the right edge, before and after, twice where a path leaves it.
    assert!(worst.iter().all(|reads| *reads <= 16), "{worst:?}");
    let before = log.reads();
    log.prove(&[5]).unwrap();
    assert!(log.reads() - before <= 6, "{}", log.reads() - before);
}

/// Stops a writer after every one of its steps and lets another one go on: the same bytes whatever happened.
#[test]
fn a_crash_after_any_step_leaves_the_same_log() {
    let all = entries(900);
    let whole = |stops: &[usize]| {
        let folder = tempfile::tempdir().unwrap();
        let log = empty(&at(&folder));
        log.append(&all[..10]).unwrap();
        let mut stopped = None;
        for stop in stops {
            let log = empty_again(&at(&folder));
            *log.stops.left.lock().unwrap() = Some(*stop);
            stopped = log.append(&all[10..]).err();
            assert!(stopped.is_some(), "nothing to stop after {stop} steps");
            let size = log.head().unwrap().size;
            assert!(size == 10 || size == 900, "{size}");
            if size == 900 {
                break;
            }
        }
        let log = empty_again(&at(&folder));
        // Staged is not acknowledged, and it is there all the same: what is appended now comes behind it.
        let size = log.settled().unwrap().size;
        if size == 10 {
            assert_eq!(log.append(&all[10..]).unwrap(), 10..900, "{stopped:?}");
        }
        assert!(
            !fs::read_dir(at(&folder).join(".state"))
                .unwrap()
                .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("pending") })
        );
        (public(&at(&folder)), log.head().unwrap())
    };
    let expected = whole(&[]);
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    log.append(&all[..10]).unwrap();
    log.stops.passed.lock().unwrap().clear();
    log.append(&all[10..]).unwrap();
    let steps = log.stops.passed.lock().unwrap().clone();
    assert!(steps.len() >= 12, "{steps:?}");
    for (stop, step) in (1..=steps.len()).zip(&steps) {
        let found = whole(&[stop]);
        assert_eq!(found.1, expected.1, "after {stop} steps, {step}");
        assert!(found.0 == expected.0, "after {stop} steps, {step}: other files");
    }
    // And stopped again while it finishes what was left.
    for (first, second) in [(1, 1), (1, 4), (3, 2), (5, 9), (9, 10), (10, 1)] {
        let found = whole(&[first, second]);
        assert!(found.0 == expected.0, "after {first} and {second} steps");
    }
}

fn empty_again(path: &Path) -> Log {
    let key = SigningKey::from_bytes(&[3; 32]);
    let verifier = VerifierKey::new("log.example", key.verifying_key().into()).unwrap();
    Log::with(path, key, verifier)
}

#[test]
fn a_stage_that_never_completed_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    log.append(&entries(3)).unwrap();
    for bytes in [vec![], b"cut".to_vec(), vec![0; 300]] {
        fs::write(log.folder.join(".state/pending-3"), bytes).unwrap();
        assert_eq!(log.settled().unwrap().size, 3);
        assert!(!log.folder.join(".state/pending-3").exists());
    }
}

#[test]
fn what_a_loss_of_power_left_of_a_tile_is_written_again() {
    let batch = entries(300);
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    *log.stops.left.lock().unwrap() = Some(6);
    log.append(&batch).unwrap_err();
    let tile = at(&folder).join("tile/0/000");
    for left in [vec![], vec![0; 8192], fs::read(&tile).unwrap()[..4096].to_vec()] {
        fs::write(&tile, left).unwrap();
        let log = empty_again(&at(&folder));
        *log.stops.left.lock().unwrap() = Some(4);
        let _ = log.settled();
    }
    let log = empty_again(&at(&folder));
    assert_eq!(log.settled().unwrap().size, 300);
    let leaves: Vec<Hash> = batch.iter().map(|entry| tree::leaf(entry)).collect();
    assert_eq!(log.head().unwrap().root, tree::root(&leaves));
}

#[test]
fn a_tile_with_other_bytes_under_a_new_name_stops_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    log.append(&entries(5)).unwrap();
    let tile = at(&folder).join(tiles::tile_path(0, 0, 6));
    fs::write(&tile, [9; 192]).unwrap();
    let before = log.note().unwrap();
    let error = log.append(&[b"new"]).unwrap_err().to_string();
    assert!(error.contains("a tile never changes"), "{error}");
    assert_eq!(log.note().unwrap(), before);
    // Also when it looks torn, as long as no crash was seen.
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    fs::create_dir_all(at(&folder).join("tile/0/000.p")).unwrap();
    fs::write(at(&folder).join("tile/0/000.p/1"), [0; 32]).unwrap();
    assert!(log.append(&[b"new"]).is_err());
}

#[test]
fn a_changed_tile_or_bundle_stops_the_writer() {
    for name in [tiles::tile_path(0, 0, 6), tiles::bundle_path(0, 6)] {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&at(&folder), None).unwrap();
        log.append(&entries(5)).unwrap();
        let path = at(&folder).join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, bytes).unwrap();
        let before = log.note().unwrap();
        assert!(log.append(&[b"new"]).is_err(), "{}", path.display());
        assert_eq!(log.note().unwrap(), before);
    }
}

#[test]
fn a_head_that_the_key_did_not_sign_stops_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    log.append(&entries(5)).unwrap();
    let other = SigningKey::from_bytes(&[4; 32]);
    let note = Checkpoint { size: 2, root: Hash([1; 32]) }.sign("log.example", &other).unwrap();
    fs::write(at(&folder).join("checkpoint"), note).unwrap();
    assert!(log.append(&[b"new"]).is_err());
}

/// A copy of a log folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { assert!(fs::copy(&path, &to).is_ok()) }
    }
}

#[test]
fn an_older_copy_of_an_anchored_log_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    log.append(&entries(5)).unwrap();
    let old = folder.path().join("old");
    copy(&at(&folder), &old);
    log.append(&[b"six"]).unwrap();
    let (size, note) = log.anchorable().unwrap();
    for anchors in ["anchors", ".state/anchors"] {
        let restored = folder.path().join(format!("restored {}", anchors.len()));
        copy(&old, &restored);
        fs::create_dir_all(restored.join(anchors).join(size.to_string())).unwrap();
        let before = fs::read(restored.join("checkpoint")).unwrap();
        let error = empty_again(&restored).append(&[b"another"]).unwrap_err().to_string();
        assert!(error.contains("older copy"), "{error}");
        assert!(empty_again(&restored).append_once(&[b"another"]).is_err());
        assert_eq!(fs::read(restored.join("checkpoint")).unwrap(), before);
    }
    // A copy that grew again, without what was anchored, before that came back.
    copy(&old, &folder.path().join("grown"));
    let grown = empty_again(&folder.path().join("grown"));
    grown.append(&[b"another", b"and one"]).unwrap();
    fs::create_dir_all(grown.folder.join("anchors/6")).unwrap();
    fs::write(grown.folder.join("anchors/6/checkpoint"), note).unwrap();
    let error = grown.append(&[b"more"]).unwrap_err().to_string();
    assert!(error.contains("is not the beginning of the log"), "{error}");
    // The log itself goes on.
    copy(&grown.folder.join("anchors"), &at(&folder).join("anchors"));
    log.append(&[b"seven"]).unwrap();
}

#[test]
fn a_witness_that_has_seen_more_stops_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    log.append(&entries(5)).unwrap();
    let witness = at(&folder).join(".state/witness/0123abcd");
    fs::create_dir_all(witness.parent().unwrap()).unwrap();
    for (text, is_good) in [("5\n", true), ("3\nwhatever\n", true), ("6\n", false), ("", false), ("06\n", false)] {
        fs::write(&witness, text).unwrap();
        assert_eq!(log.append::<&[u8]>(&[]).is_ok(), is_good, "{text:?}");
    }
    // Also when a staged batch waits to be signed.
    fs::remove_file(&witness).unwrap();
    *log.stops.left.lock().unwrap() = Some(1);
    log.append(&entries(2)).unwrap_err();
    fs::write(&witness, "9\n").unwrap();
    assert!(empty_again(&at(&folder)).append(&[b"more"]).is_err());
    assert_eq!(log.head().unwrap().size, 5);
}

#[test]
fn an_older_checkpoint_under_a_newer_state_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    log.append(&entries(5)).unwrap();
    let old = fs::read(at(&folder).join("checkpoint")).unwrap();
    log.append(&entries(2)).unwrap();
    *log.stops.left.lock().unwrap() = Some(1);
    log.append(&entries(2)).unwrap_err();
    fs::write(at(&folder).join("checkpoint"), old).unwrap();
    let error = empty_again(&at(&folder)).append(&[b"more"]).unwrap_err().to_string();
    assert!(error.contains("was staged at size 7"), "{error}");
    // And without the staged batch the tiles of the history that is gone stand in the way.
    fs::remove_file(at(&folder).join(".state/pending-7")).unwrap();
    let error = empty_again(&at(&folder)).append(&[b"a", b"b"]).unwrap_err().to_string();
    assert!(error.contains("a tile never changes"), "{error}");
}

#[test]
fn a_log_whose_making_was_interrupted_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let state = at(&folder).join(".state");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("lock"), "").unwrap();
    Log::open_or_create(&at(&folder)).unwrap();
    for gone in [vec!["checkpoint", "tile"], vec!["checkpoint", "tile", ".state/origin"]] {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&at(&folder), None).unwrap();
        let head = log.head().unwrap();
        for name in gone {
            let path = at(&folder).join(name);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        // A log that lost its head is none that was never finished.
        assert!(Log::open_or_create(&at(&folder)).is_err());
        fs::write(at(&folder).join(".state").join(UNFINISHED), "").unwrap();
        assert_eq!(Log::open_or_create(&at(&folder)).unwrap().0.head().unwrap(), head);
        assert!(!Log::open_or_create(&at(&folder)).unwrap().1);
    }
}

#[test]
fn too_much_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = empty(&at(&folder));
    let before = public(&at(&folder));
    assert!(log.append(&[vec![0; 65_536]]).is_err());
    let large = vec![0_u8; 65_535];
    assert!(log.append(&vec![&large[..]; (1 << 30) / 65_537 + 1]).is_err());
    assert_eq!(public(&at(&folder)), before);
    assert_eq!(log.append(&[&large, &vec![]]).unwrap(), 0..2);
    assert_eq!(log.entry(0).unwrap(), large);
}

#[test]
fn threads_that_append_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    Log::create(&at(&folder), None).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = at(&folder);
            scope.spawn(move || {
                let log = Log::open(&path).unwrap();
                for number in 0..10 {
                    let entry = format!("{writer}-{number}").into_bytes();
                    let range = log.append(std::slice::from_ref(&entry)).unwrap();
                    assert_eq!(log.entry(range.start).unwrap(), entry);
                }
            });
        }
    });
    assert_eq!(Log::open(&at(&folder)).unwrap().head().unwrap().size, 41);
}
