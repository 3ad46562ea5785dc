//! One read, files that change while they are read, the cache, signing anew, and verdicts on a part.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use countermark::formats::ReadAt;
use countermark::io::cache::FileCache;
use countermark::io::files;
use countermark::lineage::digest::Hash;
use countermark::lineage::digest::artifact::{Artifact, Cache, Sha256, Wants};
use countermark::lineage::digest::{blob, checkpoint};
use countermark::lineage::graph::Relation;
use countermark::lineage::verdict::{SCHEMA_OF_PART, State, Verdict};
use countermark::sign::{self, ParentRequest};
use countermark::verify::{self, Part};
use countermark::{keyset, silent};

/// A model of two tensors, the second of which begins at an odd place.
fn model(seed: u8, large: usize) -> Vec<u8> {
    let (small, large) = (33_usize, large / 4 * 4);
    let header = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{small}],"data_offsets":[0,{small}]}},"w":{{"dtype":"F32","shape":[{}],"data_offsets":[{small},{}]}}}}"#,
        large / 4,
        small + large
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..small + large).map(|i| (i % 251) as u8 ^ seed ^ (i >> 16) as u8));
    bytes
}

/// Counts what is read of a source.
struct Counted {
    bytes: Vec<u8>,
    read: AtomicU64,
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.bytes.read_exact_at(buffer, offset)
    }
}

#[test]
fn every_digest_comes_from_one_read() {
    for length in [1000, 700_000, 9 << 20, 33 << 20] {
        let bytes = model(1, length);
        let header = 16 + u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let source = Arc::new(Counted { bytes: bytes.clone(), read: AtomicU64::new(0) });
        let artifact = Artifact {
            name: "model.safetensors".into(),
            is_folder: false,
            files: vec![("model.safetensors".into(), source.clone())],
            card: None,
            provenance: vec![],
            ignored: vec![],
            names: None,
        };
        for sha256 in [Sha256::No, Sha256::Manifest, Sha256::Every] {
            source.read.store(0, Ordering::Relaxed);
            let wants = Wants { sha256, tensors: true, cache: None };
            let reading = artifact.read_once(&wants, &|_| ()).unwrap();
            let read = source.read.load(Ordering::Relaxed);
            // The header is read before the pass: length, beginning and text.
            assert!(
                (bytes.len() as u64..=bytes.len() as u64 + header + 9).contains(&read),
                "{read} of {}",
                bytes.len()
            );
            assert_eq!(reading.bytes_read, bytes.len() as u64);
            assert_eq!(reading.measured.root, Hash::blake3(&bytes));
            let expected = if sha256 == Sha256::No { Hash::default() } else { Hash::sha256(&bytes) };
            assert_eq!(reading.measured.manifest_asset, expected);
            // The slow way: each tensor by itself.
            assert_eq!(reading.tensors.unwrap().unwrap(), artifact.tensors(&|_| ()).unwrap().unwrap());
        }
    }
}

/// Writes a file and makes it look old enough to be kept in the cache.
fn write_old(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
}

fn settle() {
    // Changing a time is a change, and nobody can set the time of that.
    std::thread::sleep(Duration::from_millis(2100));
}

fn measure(path: &Path, cache: Option<&dyn Cache>) -> (Hash, u64) {
    let wants = Wants { cache, ..Wants::default() };
    let reading = files::open(path).unwrap().read_once(&wants, &|_| ()).unwrap();
    (reading.measured.root, reading.bytes_read)
}

#[test]
fn the_cache_answers_for_untouched_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let (cache_path, set) = (folder.path().join("cache/c.sqlite"), folder.path().join("set"));
    for index in 0..600 {
        write_old(&set.join(format!("{}/{index}", index % 7)), format!("file {index}").as_bytes());
    }
    let young = || {
        let cache = FileCache::open(&cache_path);
        let measured = measure(&set, Some(&cache));
        cache.save();
        assert_eq!(cache.warnings(), Vec::<String>::new());
        measured
    };
    let (root, all) = young();
    assert_eq!(young(), (root, all), "files written less than two seconds ago are not kept");
    settle();
    assert_eq!(young(), (root, all));
    assert_eq!(young(), (root, 0), "everything comes from the cache");
    assert_eq!(measure(&set, None), (root, all));

    // The same length and the same time of the last write: the time of the change tells.
    let target = set.join("0/7");
    let modified = fs::metadata(&target).unwrap().modified().unwrap();
    fs::write(&target, "FILE 7").unwrap();
    fs::File::options().append(true).open(&target).unwrap().set_modified(modified).unwrap();
    assert_ne!(young(), (root, 6));
    assert_eq!(young(), (measure(&set, None).0, 6));
    // Another file in its place, with its size and time.
    let other = set.join("../other");
    fs::write(&other, "File 7").unwrap();
    fs::File::options().append(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(&other, &target).unwrap();
    assert_eq!(young(), (measure(&set, None).0, 6));
    settle();
    young();
    assert_eq!(young(), (measure(&set, None).0, 0));

    // Two at once, and both keep what they learned.
    let sets: Vec<PathBuf> = (0..4).map(|index| folder.path().join(format!("set{index}"))).collect();
    for (index, set) in sets.iter().enumerate() {
        for file in 0..300 {
            write_old(&set.join(file.to_string()), format!("{index} {file}").as_bytes());
        }
    }
    settle();
    std::thread::scope(|scope| {
        for set in &sets {
            scope.spawn(|| {
                let cache = FileCache::open(&cache_path);
                measure(set, Some(&cache));
                cache.save();
                assert_eq!(cache.warnings(), Vec::<String>::new());
            });
        }
    });
    let cache = FileCache::open(&cache_path);
    assert!(sets.iter().all(|set| measure(set, Some(&cache)).1 == 0));
}

#[test]
fn a_damaged_cache_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("c.sqlite"), folder.path().join("set/a"));
    write_old(&file, &vec![7; 5000]);
    settle();
    let root = measure(&file, None);
    let again = || {
        let cache = FileCache::open(&path);
        let measured = measure(&file, Some(&cache));
        cache.save();
        (measured, cache.warnings().len())
    };
    again();
    assert_eq!(again(), ((root.0, 0), 0));
    let good = fs::read(&path).unwrap();
    // Not a database; cut short; random bytes in the middle; a bit of a digest.
    let digest = good.windows(32).position(|window| window == root.0.0).unwrap();
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let damages: [Damage<'_>; 5] = [
        &|bytes| bytes[..16].fill(b'x'),
        &|bytes| bytes.truncate(1000),
        &|bytes| bytes[100..4000].fill(0xff),
        &|bytes| bytes[digest] ^= 1,
        &|bytes| bytes.clear(),
    ];
    for (index, damage) in damages.iter().enumerate() {
        let mut bytes = good.clone();
        damage(&mut bytes);
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(folder.path().join(format!("c.sqlite{ending}")));
        }
        fs::write(&path, bytes).unwrap();
        assert_eq!(again().0, root, "damage {index}: hashed again");
        assert_eq!(again(), ((root.0, 0), 0), "damage {index}: begun anew");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(again(), (root, 1), "others can write it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    // A database of somebody else stays as it is, and so does what is no file.
    let other = folder.path().join("other.sqlite");
    fs::create_dir(&other).unwrap();
    let cache = FileCache::open(&other);
    assert_eq!((measure(&file, Some(&cache)), cache.warnings().len()), (root, 1));
}

/// Keeps what was read of a file.
struct Recorded {
    file: files::OpenFile,
    bytes: Mutex<Vec<u8>>,
}

impl ReadAt for Recorded {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.file.read_exact_at(buffer, offset)?;
        self.bytes.lock().unwrap()[offset as usize..][..buffer.len()].copy_from_slice(buffer);
        Ok(())
    }

    fn unchanged(&self) -> std::io::Result<()> {
        self.file.unchanged()
    }
}

/// Stops the writer also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Somebody overwrites the file block by block while we read, again and again: each digest that comes out is of a state
/// that was there, which is new blocks, at most one that is being written, then old ones.
#[test]
fn files_that_change_while_they_are_read_are_named() {
    const BLOCK: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set/big");
    let (size, stop) = (8 << 20, AtomicBool::new(false));
    fs::create_dir_all(folder.path().join("set")).unwrap();
    fs::write(&path, vec![0_u8; size]).unwrap();
    let (mut refused, mut good) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::unix::fs::FileExt as _;
            let file = fs::File::options().write(true).open(&path).unwrap();
            let mut byte = 0_u8;
            while !stop.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                for at in (0..size).step_by(BLOCK) {
                    file.write_all_at(&[byte; BLOCK], at as u64).unwrap();
                }
                std::thread::sleep(Duration::from_millis(u64::from(byte % 4) * 20));
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..100 {
            let file = files::OpenFile::open(&path).unwrap();
            let recorded = Recorded { file, bytes: Mutex::new(vec![0; size]) };
            match blob::hash(&recorded) {
                Ok(root) => {
                    let bytes = recorded.bytes.lock().unwrap();
                    assert_eq!(root, Hash::blake3(&bytes));
                    let (first, last) = (bytes[0], bytes[size - 1]);
                    let mut blocks = bytes.chunks(BLOCK).skip_while(|block| *block == [first; BLOCK]).skip(1);
                    let is_a_state = blocks.all(|block| block == [last; BLOCK]);
                    assert!(is_a_state, "a mixture that never was there was given a root");
                    good += 1;
                }
                Err(error) => {
                    assert!(error.to_string().contains("changed while it was read"), "{error}");
                    refused += 1;
                }
            }
        }
    });
    println!("{refused} refused, {good} read whole");
    assert!(refused > 0);

    // One change each, at a moment in the middle of the read.
    let changes: [(&str, &(dyn Fn() + Sync)); 5] = [
        ("shrinks", &|| fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap()),
        ("grows", &|| fs::File::options().write(true).open(&path).unwrap().set_len(size as u64 + 1).unwrap()),
        ("replaced", &|| {
            fs::write(folder.path().join("new"), vec![1_u8; size]).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        }),
        ("removed", &|| fs::remove_file(&path).unwrap()),
        ("added", &|| fs::write(folder.path().join("set/extra"), "x").unwrap()),
    ];
    for (what, change) in changes {
        let _ = fs::remove_file(folder.path().join("set/extra"));
        for place in [path.clone(), folder.path().join("set")] {
            if what == "added" && place == path {
                continue;
            }
            fs::write(&path, vec![0_u8; size]).unwrap();
            let once = std::sync::Once::new();
            let result = files::open(&place).unwrap().measure(&|_| once.call_once(change));
            let error = result.expect_err(what).to_string();
            assert!(error.contains("while") || what == "removed", "{what}: {error}");
            let _ = fs::remove_file(folder.path().join("set/extra"));
        }
    }
}

/// The same in a folder of so many files that none is kept open.
#[test]
fn large_folders_notice_changes_too() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..500 {
        fs::write(folder.path().join(format!("{index:03}")), format!("{index}")).unwrap();
    }
    let expected = measure(folder.path(), None).0;
    let changes: [&dyn Fn(); 4] = [
        &|| fs::write(folder.path().join("new"), "x").unwrap(),
        &|| fs::remove_file(folder.path().join("499")).unwrap(),
        &|| fs::write(folder.path().join("499"), "longer").unwrap(),
        &|| std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap(),
    ];
    for (index, change) in changes.iter().enumerate() {
        let opened = files::open(folder.path()).unwrap();
        // Once looked at, a file stays that file.
        assert_eq!(opened.total_size(), 10 + 90 * 2 + 400 * 3);
        change();
        assert!(opened.measure(&|_| ()).is_err(), "change {index}");
        for extra in ["new", "link"] {
            let _ = fs::remove_file(folder.path().join(extra));
        }
        fs::write(folder.path().join("499"), "499").unwrap();
        assert_eq!(measure(folder.path(), None).0, expected);
    }
    // Version control may come and go.
    let opened = files::open(folder.path()).unwrap();
    fs::write(folder.path().join(".gitignore"), "x").unwrap();
    assert_eq!(opened.measure(&|_| ()).unwrap().root, expected);
}

/// A released model with a parent, and keys.
fn release(folder: &Path) -> sign::Request {
    keyset::generate(&folder.join("keys"), "Example Lab").unwrap();
    write_old(&folder.join("data.csv"), b"a,b\n1,2\n");
    write_old(&folder.join("model/model.safetensors"), &model(3, 3 << 20));
    write_old(&folder.join("model/config.json"), b"{}");
    write_old(&folder.join("model/README.md"), b"# Model\n");
    sign::sign(&sign::Request::new(folder.join("data.csv"), folder.join("keys/owner.key")), &silent()).unwrap();
    let mut request = sign::Request::new(folder.join("model"), folder.join("keys/owner.key"));
    request.parents = vec![ParentRequest {
        relation: Relation::TrainedOn,
        bundle: folder.join("data.csv.provenance.json"),
        path: None,
    }];
    request
}

fn verdict(folder: &Path, part: Option<Part>) -> Verdict {
    let mut request = verify::Request::new(folder.join("model"));
    request.policy = Some(folder.join("keys/policy.toml"));
    request.part = part;
    verify::verify(&request, &silent()).unwrap()
}

#[test]
fn a_verdict_on_a_part_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    sign::sign(&release(at), &silent()).unwrap();
    let file = |path: &str| verdict(at, Some(Part::File(path.into())));
    let tensor = |name: &str| verdict(at, Some(Part::Tensor(name.into())));
    let whole = verdict(at, None);
    assert_eq!((whole.state, whole.scope), (State::Unanchored, None));
    for (part, row) in [(file("config.json"), "file config.json"), (tensor("w"), "tensor w")] {
        assert_eq!(part.state, State::Unanchored, "{part:#?}");
        assert_eq!((part.scope.as_deref(), &*part.schema), (Some(row), SCHEMA_OF_PART));
        assert!(part.checks.iter().any(|check| check.name == row && check.detail.contains("only one looked at")));
        assert!(!part.checks.iter().any(|check| check.name == "files" || check.name == "tensors"), "{part:#?}");
    }
    for part in [file("nothing"), file("../keys/owner.key"), tensor("nothing")] {
        assert_eq!(part.state, State::Invalid, "{part:#?}");
    }
    assert_eq!(file("README.md").state, State::Unknown);

    // The last byte belongs to the tensor w: its part is wrong, the others stay good, the whole is wrong.
    let path = at.join("model/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!((tensor("w").state, tensor("a").state), (State::Invalid, State::Unanchored));
    assert_eq!((file("model.safetensors").state, file("config.json").state), (State::Invalid, State::Unanchored));
    assert_eq!(verdict(at, None).state, State::Invalid);
    // The header is not signed by itself: swapping names or shapes there does not pass.
    *bytes.last_mut().unwrap() ^= 1;
    let text = String::from_utf8_lossy(&bytes[8..200]).replacen("\"F32\"", "\"I32\"", 1);
    let mut forged = bytes.clone();
    forged[8..200].copy_from_slice(&text.as_bytes()[..192]);
    fs::write(&path, &forged).unwrap();
    assert_eq!(tensor("w").state, State::Invalid, "another dtype under the same name");
}

#[test]
fn signing_anew_reads_only_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Tests of this file run in one process, so the cache is named by the request's own environment only here.
    let cache = at.join("cache.sqlite");
    let mut first = release(at);
    settle();
    first.cache_at = Some(cache.clone());
    let signed = sign::sign(&first, &silent()).unwrap();
    let size = |name: &str| fs::metadata(at.join("model").join(name)).unwrap().len();
    assert_eq!(signed.bytes_read, size("model.safetensors") + size("config.json"));

    fs::write(at.join("model/README.md"), "# Another card\n").unwrap();
    let mut again = sign::Request::new(at.join("model"), at.join("keys/owner.key"));
    again.cache_at = Some(cache.clone());
    again.reuse = Some(signed.bundle.clone());
    let anew = sign::sign(&again, &silent()).unwrap();
    assert_eq!((anew.bytes_read, anew.recalled, anew.root), (0, 2, signed.root));
    let good = verdict(at, None);
    assert_eq!(good.state, State::Unanchored, "{good:#?}");
    assert!(good.checks.iter().any(|check| check.name.contains("data.csv")), "the parent stays: {good:#?}");

    // A change with the same size and time of writing is read, and gets its own digest.
    let path = at.join("model/config.json");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "[]").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    let anew = sign::sign(&again, &silent()).unwrap();
    assert_eq!((anew.bytes_read, anew.recalled), (2, 1));
    assert_ne!(anew.root, signed.root);
    assert_eq!(verdict(at, None).state, State::Unanchored);

    // Without a cache nothing is certain, so everything is read.
    again.cache_at = Some(at.join("empty.sqlite"));
    assert_eq!(sign::sign(&again, &silent()).unwrap().recalled, 0);
    // A cache that was made to lie about a file is not enough: the old statement says otherwise.
    fs::remove_file(&path).unwrap();
    write_old(&path, b"{}");
    settle();
    again.cache_at = Some(cache.clone());
    let lying = FileCache::open(&cache);
    let opened = files::open(&at.join("model")).unwrap();
    let source = &opened.files.iter().find(|(name, _)| name == "config.json").unwrap().1;
    let lie = countermark::lineage::digest::artifact::Known {
        size: 2,
        blake3: Hash::blake3(b"lie"),
        sha256: None,
        ranges: vec![],
    };
    assert_eq!(lying.recall(&**source), None);
    lying.remember(&**source, &lie);
    lying.save();
    let honest = sign::sign(&again, &silent()).unwrap();
    assert_eq!(honest.bytes_read, 2);
    assert_eq!(verdict(at, None).state, State::Unanchored);

    // Somebody else's bundle is no base.
    keyset::generate(&at.join("stranger"), "Stranger").unwrap();
    let mut foreign = sign::Request::new(at.join("model"), at.join("stranger/owner.key"));
    foreign.reuse = again.reuse.clone();
    foreign.out = Some(at.join("foreign.provenance.json"));
    let error = sign::sign(&foreign, &silent()).unwrap_err().to_string();
    assert!(error.contains("another key"), "{error}");
}

/// The tensors root of the one-read path is that of the documented preimage.
#[test]
fn the_tensors_root_is_the_same_either_way() {
    let folder = tempfile::tempdir().unwrap();
    write_old(&folder.path().join("m/a.safetensors"), &model(1, 5 << 20));
    let artifact = files::open(&folder.path().join("m")).unwrap();
    let reading = artifact.read_once(&Wants { tensors: true, ..Wants::default() }, &|_| ()).unwrap();
    let slow = artifact.tensors(&|_| ()).unwrap().unwrap();
    assert_eq!(checkpoint::root(&reading.tensors.unwrap().unwrap()), checkpoint::root(&slow));
}

/// Writes through a mapping: first makes its page dirty, then waits for the go, writes again, and ends.
const MAPPING: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
pages = mmap.mmap(file.fileno(), 0)
pages[0:4] = b'once'
print('dirty', flush=True)
sys.stdin.readline()
pages[0:4] = b'more'
print('written', flush=True)
sys.stdin.readline()
";

/// The second write to a page that is dirty sets no time: the kernel sees only the first one.
#[test]
fn a_write_through_an_old_mapping_is_not_hidden_by_the_cache() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: a write through an old mapping: no python3");
        return;
    }
    let caches = tempfile::tempdir().unwrap();
    for base in [std::env::temp_dir(), "/dev/shm".into()] {
        let Ok(folder) = tempfile::tempdir_in(&base) else { continue };
        let (path, cache_path) = (folder.path().join("a"), caches.path().join("c.sqlite"));
        fs::write(&path, vec![b'a'; 8192]).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", MAPPING]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut writer = command.spawn().unwrap();
        let mut go = writer.stdin.take().unwrap();
        let mut says = BufReader::new(writer.stdout.take().unwrap()).lines();
        let cached = || {
            let cache = FileCache::open(&cache_path);
            let root = measure(&path, Some(&cache)).0;
            cache.save();
            root
        };
        assert_eq!(says.next().unwrap().unwrap(), "dirty");
        settle();
        assert_eq!(cached(), Hash::blake3(&fs::read(&path).unwrap()));
        go.write_all(b"go\n").unwrap();
        assert_eq!(says.next().unwrap().unwrap(), "written");
        assert_eq!(cached(), Hash::blake3(&fs::read(&path).unwrap()), "a stale digest in {}", base.display());
        drop(go);
        writer.wait().unwrap();
    }
}

/// SQLite believes a log that lies beside its file, and whoever can write the folder can put one there.
#[cfg(unix)]
#[test]
fn a_cache_in_a_folder_that_others_can_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (open, file) = (folder.path().join("open"), folder.path().join("set/a"));
    fs::create_dir(&open).unwrap();
    write_old(&file, b"bytes");
    settle();
    for (mode, warnings, read) in [(0o700, 0, 0), (0o1777, 1, 5), (0o770, 1, 5), (0o755, 0, 0)] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        let mut last = (0, 0);
        for _ in 0..2 {
            let cache = FileCache::open(&open.join("c.sqlite"));
            last = (cache.warnings().len(), measure(&file, Some(&cache)).1);
            cache.save();
        }
        assert_eq!(last, (warnings, read), "{mode:o}");
    }
}

/// An array of four F32 as NumPy stores it.
fn npy(values: [f32; 4]) -> Vec<u8> {
    let mut header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }".to_owned();
    header = format!("{header:117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

/// The weights are NumPy files; somebody changes them, and adds the signed bytes in a format that is looked at first.
#[test]
fn a_tensor_in_a_file_that_was_not_signed_speaks_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    keyset::generate(&at.join("keys"), "Example Lab").unwrap();
    let values = [1.0, 2.0, 3.0, 4.0];
    write_old(&at.join("model/w.npy"), &npy(values));
    write_old(&at.join("model/config.json"), b"{}");
    sign::sign(&sign::Request::new(at.join("model"), at.join("keys/owner.key")), &silent()).unwrap();
    let tensor = || verdict(at, Some(Part::Tensor("w".into()))).state;
    assert_eq!(tensor(), State::Unanchored);
    fs::remove_file(at.join("model/config.json")).unwrap();
    assert_eq!(tensor(), State::Unanchored, "who checks one tensor need not have the other files");

    let header = r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let mut copy = (header.len() as u64).to_le_bytes().to_vec();
    copy.extend(header.as_bytes());
    values.iter().for_each(|value| copy.extend(value.to_le_bytes()));
    fs::write(at.join("model/w.npy"), npy([9.0; 4])).unwrap();
    assert_eq!(tensor(), State::Invalid);
    fs::write(at.join("model/a.safetensors"), copy).unwrap();
    assert_eq!(tensor(), State::Invalid, "taken from a file that was not signed");
}

/// Changes after the first time that it was asked whether it did.
struct Turning {
    states: [Vec<u8>; 2],
    asked: AtomicU64,
}

impl ReadAt for Turning {
    fn len(&self) -> u64 {
        self.states[0].len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let state = self.asked.load(Ordering::Relaxed).min(1) as usize;
        self.states[state].read_exact_at(buffer, offset)
    }

    fn unchanged(&self) -> std::io::Result<()> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if asked == 0 { Ok(()) } else { Err(std::io::Error::other("changed while it was read")) }
    }
}

/// An ONNX model of one tensor in typed fields, which are read after the pass over the file.
fn onnx(values: [u8; 2]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    // INT32, each value a varint of one byte.
    let tensor = [&[1 << 3, 2, 2 << 3, 6][..], &field(5, &values), &field(8, b"w")].concat();
    [&[1 << 3, 8][..], &field(7, &field(5, &tensor))].concat()
}

#[test]
fn tensors_that_are_read_after_the_pass_are_of_the_same_bytes() {
    let artifact = |second: [u8; 2]| Artifact {
        name: "m.onnx".into(),
        is_folder: false,
        files: vec![(
            "m.onnx".into(),
            Arc::new(Turning { states: [onnx([1, 2]), onnx(second)], asked: AtomicU64::new(0) }),
        )],
        card: None,
        provenance: vec![],
        ignored: vec![],
        names: None,
    };
    let wants = Wants { tensors: true, ..Wants::default() };
    let result = artifact([3, 4]).read_once(&wants, &|_| ());
    let error = result.map(|reading| reading.tensors).expect_err("the root of one state, the tensors of another");
    assert!(error.problem().contains("changed"), "{error}");
}

#[test]
fn the_url_of_a_file_is_verified_like_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    sign::sign(&release(at), &silent()).unwrap();
    let state = || {
        let mut request = verify::Request::new(format!("file://{}", at.join("model").display()));
        request.policy = Some(at.join("keys/policy.toml"));
        let found = verify::verify(&request, &silent()).unwrap();
        request.bundle = Some(at.join("model.provenance.json"));
        (found.state, verify::verify(&request, &silent()).unwrap().state)
    };
    assert_eq!(state(), (State::Unanchored, State::Unanchored));
    // A manifest beside it that is not the signed one is seen by its path, and by its URL.
    fs::write(at.join("model.c2pa"), "another manifest").unwrap();
    assert_eq!(verdict(at, None).state, State::Invalid);
    assert_eq!(state(), (State::Invalid, State::Invalid));
}
