//! What a witness remembers: its key, the logs that it watches, and of each the last checkpoint that it cosigned.
//!
//! ```text
//! witness.key name lock
//! logs/<hex SHA-256 of the origin>.keys          verifier keys of the log, one a line
//! logs/<hex SHA-256 of the origin>.checkpoint    the last cosigned note, with its lines and ours
//! ```
//!
//! One process serves the folder. A record is replaced by rename, and synced, before its cosignature leaves the
//! machine; one that is there and cannot be read stops that log rather than beginning it anew.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::cosignature::{self, WitnessKey};
use countermark_lineage::anchor::note::{self, VerifierKey};
use countermark_lineage::anchor::witness::{Answer, MAX_REQUEST, Request, decide};
use countermark_lineage::digest::Hash;
use ed25519_dalek::SigningKey;

use crate::{Error, files, keys};

/// A record is a request's checkpoint with one line more.
const MAX_RECORD: u64 = 2 * MAX_REQUEST as u64;
const MAX_KEYS: u64 = 1 << 16;

/// A witness whose folder this process may use.
pub struct Witness {
    folder: PathBuf,
    key: SigningKey,
    verifier: WitnessKey,
    /// One decision at a time for each log.
    busy: Mutex<HashMap<Hash, Arc<Mutex<()>>>>,
}

impl Witness {
    /// Makes a witness with a key of its own.
    ///
    /// # Errors
    /// [`Error::Refused`] when the folder holds anything, [`Error::Lineage`] when the name is unusable.
    pub fn create(folder: &Path, name: &str) -> Result<Self, Error> {
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::refused(folder, "is not empty", "name a new folder, or go on with this witness"));
        }
        let key = keys::generate();
        let verifier = WitnessKey::new(name, key.verifying_key().into())?;
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).map_err(Error::io(&logs, "choose a folder that can be written"))?;
        keys::write_new(&folder.join("witness.key"), &keys::to_pem(&key)?, files::SECRET)?;
        // The last file, so that a folder with a name is whole; writing it syncs the folder that `logs` is in.
        files::write(&folder.join("name"), name.as_bytes(), files::PUBLIC)?;
        Ok(Witness { folder: folder.to_owned(), key, verifier, busy: Mutex::default() })
    }

    /// Opens a witness.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let name = files::read_text(&folder.join("name"), 4096)?;
        let key = keys::load_ed25519(&folder.join("witness.key"))?;
        let verifier = WitnessKey::new(&name, key.verifying_key().into())?;
        Ok(Witness { folder: folder.to_owned(), key, verifier, busy: Mutex::default() })
    }

    /// The key that verifies this witness' cosignatures.
    pub fn verifier(&self) -> &WitnessKey {
        &self.verifier
    }

    /// Keeps every other process from serving this folder, for as long as the answer is kept.
    ///
    /// # Errors
    /// [`Error::Refused`] when one does.
    pub fn lock(&self) -> Result<File, Error> {
        let path = self.folder.join("lock");
        let help = "choose a folder that can be written";
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path, help))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                let help = "two that answer for one key could sign two trees; stop the other one first";
                Err(Error::refused(&path, "is held: another process serves this witness", help))
            }
            Err(TryLockError::Error(error)) => Err(Error::io(&path, "use a file system with locks")(error)),
        }
    }

    /// Watches a log, also while the witness is served. A log may have several keys.
    ///
    /// # Errors
    /// When the key is the witness' own, or nothing can be written.
    pub fn add_log(&self, log: &VerifierKey) -> Result<(), Error> {
        if log.key == self.verifier.key {
            let help = "a witness has a key that nobody else uses";
            return Err(Error::refused(&self.folder, "has the key of this log", help));
        }
        let path = self.path(&origin_hash(&log.name), "keys");
        let guard = self.folder.join("logs.lock");
        let help = "choose a folder that can be written";
        let lock =
            File::options().create(true).truncate(false).write(true).open(&guard).map_err(Error::io(&guard, help))?;
        lock.lock().map_err(Error::io(&guard, help))?;
        let mut keys = if path.is_file() { self.keys(&path)? } else { vec![] };
        if keys.contains(log) {
            return Ok(());
        }
        keys.push(log.clone());
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        files::write(&path, text.as_bytes(), files::PUBLIC)
    }

    fn path(&self, origin: &Hash, kind: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{origin}.{kind}"))
    }

    fn keys(&self, path: &Path) -> Result<Vec<VerifierKey>, Error> {
        let text = files::read_text(path, MAX_KEYS)?;
        Ok(text.lines().map(VerifierKey::parse).collect::<Result<_, _>>()?)
    }

    /// The last cosigned note of the log whose origin has this SHA-256.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn checkpoint(&self, origin: &Hash) -> Result<Option<String>, Error> {
        let path = self.path(origin, "checkpoint");
        if path.exists() { files::read_text(&path, MAX_RECORD).map(Some) } else { Ok(None) }
    }

    /// Decides a request at `now`, in Unix seconds. A cosignature comes with the answer once its head is on disk.
    ///
    /// # Errors
    /// When what is recorded cannot be read, or the new head cannot be written: nothing is cosigned then.
    pub fn consider(&self, body: &str, now: u64) -> Result<(Answer, String), Error> {
        let malformed = |error: countermark_lineage::Error| Ok((Answer::Malformed(error.problem()), String::new()));
        let request = match Request::parse(body) {
            Ok(request) => request,
            Err(error) => return malformed(error),
        };
        let origin = match request.origin() {
            Ok(origin) => origin,
            Err(error) => return malformed(error),
        };
        let hash = origin_hash(origin);
        let path = self.path(&hash, "keys");
        if !path.is_file() {
            return Ok((Answer::Stranger, String::new()));
        }
        let keys = self.keys(&path)?;
        // Only for logs that are known, so there are not more than those.
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner).entry(hash).or_default().clone();
        let _turn = busy.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = self.recorded(&hash, &keys)?;
        let answer = decide(&request, &keys, recorded.map(|(head, _)| head));
        let Answer::Cosign { head, text } = &answer else { return Ok((answer, String::new())) };
        // A clock that was set back does not make what was seen later look earlier.
        let time = recorded.map_or(now, |(_, time)| time.max(now));
        let line = cosignature::sign(text, &self.verifier.name, &self.key, time)?;
        if recorded.map(|(head, _)| head) != Some(*head) {
            // One of these keys signed it, or it would not have been accepted.
            let signed = keys.iter().find_map(|key| note::signed_only_by(request.checkpoint, key).ok());
            let signed = signed.ok_or_else(|| self.broken(&hash, "is to hold a note that nobody signed"))?;
            files::write(&self.path(&hash, "checkpoint"), format!("{signed}{line}").as_bytes(), files::PUBLIC)?;
        }
        Ok((answer, line))
    }

    /// The head that was accepted last, and when. What is on disk counts only with our own cosignature.
    fn recorded(&self, hash: &Hash, keys: &[VerifierKey]) -> Result<Option<(Checkpoint, u64)>, Error> {
        let Some(record) = self.checkpoint(hash)? else { return Ok(None) };
        let time = cosignature::open(&record, &self.verifier)?;
        let time = time.ok_or_else(|| self.broken(hash, "was not cosigned by this witness"))?;
        let head = keys.iter().find_map(|key| Checkpoint::open(&record, key).ok());
        let head = head.ok_or_else(|| self.broken(hash, "is not a checkpoint of this log"))?;
        Ok(Some((head, time)))
    }

    fn broken(&self, hash: &Hash, problem: &str) -> Error {
        let help = "restore the newest copy of it; beginning anew could cosign two trees";
        Error::refused(&self.path(hash, "checkpoint"), problem, help)
    }
}

fn origin_hash(origin: &str) -> Hash {
    Hash::sha256(origin.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use countermark_lineage::digest::tree;

    struct Lab {
        folder: tempfile::TempDir,
        log: SigningKey,
    }

    impl Lab {
        fn new() -> Self {
            let lab = Lab { folder: tempfile::tempdir().unwrap(), log: SigningKey::from_bytes(&[3; 32]) };
            let witness = Witness::create(&lab.folder.path().join("w"), "witness.example/w1").unwrap();
            witness.add_log(&lab.vkey()).unwrap();
            lab
        }

        fn witness(&self) -> Witness {
            Witness::open(&self.folder.path().join("w")).unwrap()
        }

        fn vkey(&self) -> VerifierKey {
            VerifierKey::new("log.example", self.log.verifying_key().into()).unwrap()
        }

        /// A request for a tree of `size` leaves of this flavour, from `old`.
        fn request(&self, flavour: &str, old: usize, size: usize) -> String {
            let leaves: Vec<Hash> = (0..size).map(|i| tree::leaf(format!("{flavour} {i}").as_bytes())).collect();
            let head = Checkpoint { size: size as u64, root: tree::root(&leaves) };
            let checkpoint = head.sign("log.example", &self.log).unwrap();
            let proof = if old == 0 { vec![] } else { tree::reference::consistency(old, &leaves) };
            Request { old: old as u64, proof, checkpoint: &checkpoint }.to_text()
        }
    }

    #[test]
    fn what_was_cosigned_is_on_disk_and_outlives_the_process() {
        let lab = Lab::new();
        let (answer, line) = lab.witness().consider(&lab.request("a", 0, 3), 1000).unwrap();
        assert_eq!(answer.status(), 200);
        // Another process: it goes on from there.
        let witness = lab.witness();
        let record = witness.checkpoint(&origin_hash("log.example")).unwrap().unwrap();
        assert!(record.ends_with(&line), "{record}");
        assert_eq!(witness.consider(&lab.request("a", 0, 5), 1001).unwrap().0, Answer::Conflict(3));
        assert_eq!(witness.consider(&lab.request("b", 3, 5), 1001).unwrap().0.status(), 422);
        assert_eq!(witness.consider(&lab.request("a", 3, 5), 1001).unwrap().0.status(), 200);
        assert_eq!(witness.consider(&lab.request("a", 3, 3), 1001).unwrap().0, Answer::Conflict(5));
        assert_eq!(Witness::create(&lab.folder.path().join("w"), "x").err().unwrap().to_string().lines().count(), 2);
    }

    #[test]
    fn a_clock_that_was_set_back_is_not_believed() {
        let lab = Lab::new();
        let witness = lab.witness();
        witness.consider(&lab.request("a", 0, 3), 2000).unwrap();
        let (_, line) = witness.consider(&lab.request("a", 3, 5), 1000).unwrap();
        let note = lab.request("a", 3, 5).split_once("\n\n").unwrap().1.to_owned() + &line;
        assert_eq!(cosignature::open(&note, witness.verifier()).unwrap(), Some(2000));
        assert!(witness.consider(&lab.request("a", 5, 5), 0).is_ok(), "2000 again");
    }

    #[test]
    fn a_record_that_was_changed_stops_the_log_and_is_not_begun_anew() {
        let lab = Lab::new();
        let witness = lab.witness();
        witness.consider(&lab.request("a", 0, 3), 1000).unwrap();
        let path = witness.path(&origin_hash("log.example"), "checkpoint");
        let record = fs::read_to_string(&path).unwrap();
        let cut = record.rsplit_once('\u{2014}').unwrap().0.to_owned();
        for changed in [record.replace("\n3\n", "\n2\n"), String::new(), "x".into(), cut] {
            fs::write(&path, changed).unwrap();
            assert!(witness.consider(&lab.request("b", 0, 5), 1001).is_err());
        }
        fs::write(&path, record).unwrap();
        assert_eq!(witness.consider(&lab.request("a", 3, 5), 1001).unwrap().0.status(), 200);
    }

    #[test]
    fn one_process_serves_and_no_key_is_a_log_and_a_witness() {
        let lab = Lab::new();
        let witness = lab.witness();
        let held = witness.lock().unwrap();
        assert!(lab.witness().lock().err().unwrap().to_string().contains("another process"));
        drop(held);
        assert!(lab.witness().lock().is_ok());
        let own = VerifierKey::new("log.example", witness.verifier().key).unwrap();
        assert!(witness.add_log(&own).is_err());
        witness.add_log(&lab.vkey()).unwrap();
        assert_eq!(witness.keys(&witness.path(&origin_hash("log.example"), "keys")).unwrap().len(), 1);
    }

    #[test]
    fn of_two_forks_at_once_one_wins() {
        let lab = Lab::new();
        for round in 0..20 {
            let witness = Witness::create(&lab.folder.path().join(format!("w{round}")), "witness.example/w").unwrap();
            witness.add_log(&lab.vkey()).unwrap();
            let won = std::thread::scope(|scope| {
                let ask = |flavour: &'static str| {
                    let (witness, request) = (&witness, lab.request(flavour, 0, 4));
                    scope.spawn(move || witness.consider(&request, 1000).unwrap().0.status() == 200)
                };
                let asked: Vec<_> = ["a", "b", "c", "d"].into_iter().map(ask).collect();
                asked.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
            });
            assert_eq!(won, 1);
        }
    }
}
