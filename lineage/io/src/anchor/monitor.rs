//! Watches a log that somebody else runs: is what it shows today a continuation of what it showed before?
//!
//! The log is believed only what its key signed. Tiles come from anywhere: every statement about two heads is recomputed from
//! hashes up to the signed root, so that tiles that lie prove nothing, and two histories prove themselves. The state file
//! holds the last head that was found consistent; it is written after that, and never when something is wrong.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::entry::Entry;
use countermark_lineage::anchor::fork::{self, Fork, Relation};
use countermark_lineage::anchor::note::{self, VerifierKey};
use countermark_lineage::anchor::tiles::{self, Name, ReadTile, WIDTH, width_at};
use countermark_lineage::digest::{Hash, tree};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::http::{self, Request};
use crate::log::{MAX_FILE, MAX_NOTE};
use crate::remote::is_url;
use crate::{Error, files};

/// Bytes of a full tile.
const TILE: u64 = WIDTH * 32;

/// Where a log is, and how long one answer may take.
#[derive(Clone, Debug)]
pub struct Source {
    /// URL or folder, above `checkpoint` and `tile`.
    pub place: String,
    /// For each file.
    pub timeout: Duration,
}

impl Source {
    /// The bytes of a file; `None` when there is no such file.
    fn fetch(&self, path: &str, at_most: u64) -> Result<Option<Vec<u8>>, String> {
        let place = self.place.trim_end_matches('/');
        if !is_url(place) {
            return match files::read(&Path::new(place).join(path), at_most) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.to_string().replace("\nhelp: ", "; ")),
            };
        }
        let url = format!("{place}/{path}");
        let request = Request { url: &url, body: None, accept: None, at_most: at_most as usize, timeout: self.timeout };
        let answer = http::send(&request).map_err(|problem| format!("{url}: {problem}"))?;
        match answer.status {
            404 | 410 => Ok(None),
            _ => answer.success().map(Some).map_err(|problem| format!("{url}: {problem}")),
        }
    }

    /// The bytes under a name, or the beginning of the full tile or bundle, when the partial one is gone.
    fn fetch_named(&self, name: &Name, at_most: u64) -> Result<Vec<u8>, Failure> {
        let path = name.path();
        if let Some(bytes) = self.fetch(&path, at_most).map_err(Failure::Unreachable)? {
            return Ok(bytes);
        }
        let full = match name.width() {
            WIDTH => None,
            _ => self.fetch(&name.full().path(), at_most).map_err(Failure::Unreachable)?,
        };
        match full {
            Some(bytes) => name.cut(bytes).map_err(|error| Failure::Wrong(error.to_string())),
            None => Err(Failure::Unreachable(format!("{}/{path} is not there", self.place.trim_end_matches('/')))),
        }
    }
}

/// What became of something that was asked for.
enum Failure {
    /// It did not come: nothing is known.
    Unreachable(String),
    /// It came, and is not what it must be.
    Wrong(String),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// The log is a continuation of what was seen.
    Consistent,
    /// The log signed two histories.
    Forked,
    /// The log shows an older head than was seen.
    Shrunk,
    /// Its files are not what its head says.
    Damaged,
    /// It could not be seen.
    Unknown,
}

impl Finding {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Consistent => "consistent",
            Finding::Forked => "forked",
            Finding::Shrunk => "shrunk",
            Finding::Damaged => "damaged",
            Finding::Unknown => "unknown",
        }
    }
}

/// A head, for people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl From<Checkpoint> for Head {
    fn from(Checkpoint { size, root }: Checkpoint) -> Self {
        Head { size, root }
    }
}

/// What one look at a log came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was found.
    pub state: Finding,
    /// What that means here, and what to do.
    pub detail: String,
    /// Name of the log.
    pub log: String,
    /// The head that was seen last time.
    pub seen: Option<Head>,
    /// The head that it shows now.
    pub head: Option<Head>,
    /// Entries that were hashed and whose signatures were checked, when all were asked for.
    pub entries: Option<u64>,
    /// Extension lines of the checkpoint: signed by the log, and without a meaning here.
    pub extensions: Vec<String>,
    /// Where both heads are kept, when they contradict each other.
    pub evidence: Option<PathBuf>,
}

/// The last head that was found consistent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    vkey: String,
    /// The note with the log's signature alone.
    checkpoint: String,
}

/// Two heads that were both signed, one of them older than what was seen before it.
#[derive(Serialize)]
struct Shrunk<'a> {
    log: String,
    seen: &'a str,
    shown: &'a str,
}

/// Looks at a log, compares it with what `state` remembers, and remembers it. With `all`, every entry is fetched, hashed and
/// its signature checked; `progress` hears of done and total.
///
/// # Errors
/// When the state file cannot be used or written; what is wrong with the log is in the report.
pub fn watch(
    source: &Source,
    log: &VerifierKey,
    state: &Path,
    all: bool,
    progress: &dyn Fn(u64, u64),
) -> Result<Report, Error> {
    let seen = load(state, log)?;
    let mut report = Report {
        state: Finding::Unknown,
        detail: String::new(),
        log: log.name.clone(),
        seen: seen.as_ref().map(|(head, _)| (*head).into()),
        head: None,
        entries: None,
        extensions: vec![],
        evidence: None,
    };
    let shown = match source.fetch("checkpoint", MAX_NOTE) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Report { detail: format!("{} holds no checkpoint", source.place), ..report }),
        Err(detail) => return Ok(Report { detail, ..report }),
    };
    let shown = String::from_utf8_lossy(&shown);
    let opened = Checkpoint::open_with_extensions(&shown, log);
    let (head, extensions) = match opened {
        Ok(opened) => opened,
        // Anybody can answer nonsense: without a signature it says nothing about the log.
        Err(error) => {
            let detail = format!("shows no checkpoint of this log: {}", error.to_string().replace("\nhelp: ", "; "));
            return Ok(Report { detail, ..report });
        }
    };
    let note = note::signed_only_by(&shown, log)?;
    report.extensions = extensions.into_iter().map(str::to_owned).collect();
    report.head = Some(head.into());
    let empty = Checkpoint { size: 0, root: tree::empty_root() };
    let (last, last_note) = seen.as_ref().map_or((empty, ""), |(head, note)| (*head, note));
    let has_shrunk = head.size < last.size;
    let [(older, older_note), (newer, newer_note)] =
        if has_shrunk { [(head, &*note), (last, last_note)] } else { [(last, last_note), (head, &*note)] };
    let tiles = Fetched { source, size: newer.size, kept: RefCell::default(), failure: RefCell::default() };
    let relation = match fork::compare(&older, &newer, &tiles) {
        Ok(relation) => relation,
        Err(_) if has_shrunk => Relation::Unproven,
        Err(error) => {
            (report.state, report.detail) = match tiles.failure.take() {
                Some(unreachable) => (Finding::Unknown, unreachable),
                None => (Finding::Damaged, error.to_string().replace("\nhelp: ", "; ")),
            };
            return Ok(report);
        }
    };
    match relation {
        Relation::Forked(beginning, path) => {
            let (older, newer) = (older_note.to_owned(), newer_note.to_owned());
            let fork = Fork { log: log.to_string(), older, newer, beginning, path };
            fork.verify()?;
            report.state = Finding::Forked;
            report.detail = format!(
                "signed a head of {} entries and one of {} that contradict each other; publish the evidence, and trust \
                 nothing that only this log says",
                last.size, head.size
            );
            report.evidence = Some(keep(state, "fork", &fork)?);
            return Ok(report);
        }
        _ if has_shrunk => {
            report.state = Finding::Shrunk;
            report.detail = format!(
                "shows {} entries and had shown {}: an older copy, or a second history in the making; look again later",
                head.size, last.size
            );
            let shrunk = Shrunk { log: log.to_string(), seen: last_note, shown: &note };
            report.evidence = Some(keep(state, "shrunk", &shrunk)?);
            return Ok(report);
        }
        Relation::Unproven => {
            report.state = Finding::Damaged;
            report.detail = format!("its tiles do not lead to its head of {} entries", head.size);
            return Ok(report);
        }
        Relation::Consistent => {}
    }
    if all {
        match audit(source, &head, progress) {
            Ok(()) => report.entries = Some(head.size),
            Err(failure) => {
                (report.state, report.detail) = match failure {
                    Failure::Unreachable(detail) => (Finding::Unknown, detail),
                    Failure::Wrong(detail) => (Finding::Damaged, detail),
                };
                return Ok(report);
            }
        }
    }
    // Another look at the same log may have seen more meanwhile, and that must not be forgotten.
    if load(state, log)?.is_none_or(|(known, _)| known.size <= head.size) {
        save(state, &Seen { vkey: log.to_string(), checkpoint: note })?;
    }
    report.state = Finding::Consistent;
    let entries = |count: u64| format!("{count} {}", if count == 1 { "entry" } else { "entries" });
    report.detail = match &report.seen {
        None => format!("{}, seen for the first time; nothing is known of the time before", entries(head.size)),
        Some(last) if last.size == head.size => format!("{} as before", entries(head.size)),
        Some(last) => format!("{}, {} of them new", entries(head.size), head.size - last.size),
    };
    Ok(report)
}

fn load(state: &Path, log: &VerifierKey) -> Result<Option<(Checkpoint, String)>, Error> {
    if !state.exists() {
        return Ok(None);
    }
    let help = "name another --state file for another log; restore it from a copy when it is damaged";
    let seen: Seen = serde_json::from_slice(&files::read(state, MAX_NOTE * 2)?)
        .map_err(|error| Error::refused(state, error.to_string(), help))?;
    if seen.vkey != log.to_string() {
        return Err(Error::refused(state, "remembers another log", help));
    }
    let head =
        Checkpoint::open(&seen.checkpoint, log).map_err(|error| Error::refused(state, error.to_string(), help))?;
    Ok(Some((head, seen.checkpoint)))
}

fn save(state: &Path, seen: &Seen) -> Result<(), Error> {
    files::write(state, &json(state, seen)?, files::PUBLIC)
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::refused(path, error.to_string(), "please report this"))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Keeps evidence beside the state, under a name that follows from it: the same is kept once, and nothing is overwritten.
fn keep(state: &Path, what: &str, evidence: &impl Serialize) -> Result<PathBuf, Error> {
    let bytes = json(state, evidence)?;
    let mut name = state.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}-{}.json", &Hash::sha256(&bytes).to_string()[..16]));
    let path = state.with_file_name(name);
    files::write(&path, &bytes, files::PUBLIC)?;
    Ok(path)
}

/// Tiles of a head, fetched once each.
struct Fetched<'a> {
    source: &'a Source,
    size: u64,
    kept: RefCell<std::collections::HashMap<(u8, u64), Vec<Hash>>>,
    /// Why nothing came, as opposed to something wrong.
    failure: RefCell<Option<String>>,
}

impl ReadTile for Fetched<'_> {
    fn read_tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, countermark_lineage::Error> {
        let first = |hashes: &Vec<Hash>| hashes.iter().take(width as usize).copied().collect();
        if let Some(hashes) = self.kept.borrow().get(&(level, index)) {
            return Ok(first(hashes));
        }
        let name = Name::Tile { level, index, width: width_at(level, index, self.size) };
        let bytes = self.source.fetch_named(&name, TILE).map_err(|failure| {
            let (Failure::Unreachable(detail) | Failure::Wrong(detail)) = &failure;
            let error = countermark_lineage::Error::input(name.path(), detail.clone(), "look again later");
            if let Failure::Unreachable(detail) = failure {
                *self.failure.borrow_mut() = Some(detail);
            }
            error
        })?;
        let hashes = tiles::decode_tile(&name, &bytes)?;
        let answer = first(&hashes);
        self.kept.borrow_mut().insert((level, index), hashes);
        Ok(answer)
    }
}

/// Fetches every entry, hashes it, compares it with every tile, and checks its signature. In memory is one tile of each level.
fn audit(source: &Source, head: &Checkpoint, progress: &dyn Fn(u64, u64)) -> Result<(), Failure> {
    let wrong = |error: countermark_lineage::Error| Failure::Wrong(error.to_string().replace("\nhelp: ", "; "));
    let tile = |level, index, hashes: &[Hash]| {
        let name = Name::Tile { level, index, width: hashes.len() as u64 };
        let bytes = source.fetch_named(&name, TILE)?;
        match tiles::decode_tile(&name, &bytes).map_err(wrong)? == hashes {
            true => Ok(()),
            false => Err(Failure::Wrong(format!("{} is not the hashes of what is below it", name.path()))),
        }
    };
    // Of each level above the leaves the hashes of the tile that is not full yet, and how many are.
    let mut levels: Vec<(Vec<Hash>, u64)> = vec![];
    let mut last = vec![];
    for index in 0..head.size.div_ceil(WIDTH) {
        let name = Name::Bundle { index, width: width_at(0, index, head.size) };
        let bundle = source.fetch_named(&name, MAX_FILE)?;
        let entries = tiles::decode_bundle(&bundle).map_err(wrong)?;
        if entries.len() as u64 != name.width() {
            let detail = format!("{} holds {} entries instead of {}", name.path(), entries.len(), name.width());
            return Err(Failure::Wrong(detail));
        }
        let leaves: Vec<Hash> = entries.iter().map(|entry| tree::leaf(entry)).collect();
        tile(0, index, &leaves)?;
        let bad = entries.par_iter().enumerate().find_map_first(|(at, entry)| {
            let error = Entry::verify(entry).err()?;
            Some(format!("entry {}: {}", index * WIDTH + at as u64, error.problem()))
        });
        if let Some(detail) = bad {
            return Err(Failure::Wrong(detail));
        }
        progress(index * WIDTH + name.width(), head.size);
        if name.width() < WIDTH {
            last = leaves;
            break;
        }
        let (mut level, mut carried) = (0, tree::root(&leaves));
        loop {
            if levels.len() == level {
                levels.push((vec![], 0));
            }
            let (hashes, full) = &mut levels[level];
            hashes.push(carried);
            if (hashes.len() as u64) < WIDTH {
                break;
            }
            tile(level as u8 + 1, *full, hashes)?;
            carried = tree::root(hashes);
            hashes.clear();
            *full += 1;
            level += 1;
        }
    }
    // What is not complete at one level is the last node of the level above, as the tree splits.
    let mut root = (!last.is_empty()).then(|| tree::root(&last));
    for (level, (hashes, full)) in levels.iter().enumerate() {
        if !hashes.is_empty() {
            tile(level as u8 + 1, *full, hashes)?;
        }
        let nodes: Vec<Hash> = hashes.iter().copied().chain(root).collect();
        root = (!nodes.is_empty()).then(|| tree::root(&nodes));
    }
    match root.unwrap_or_else(tree::empty_root) == head.root {
        true => Ok(()),
        false => Err(Failure::Wrong(format!("its entries do not lead to its head of {} entries", head.size))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Log;

    #[test]
    fn two_looks_at_once_do_not_forget_what_one_of_them_saw() {
        let folder = tempfile::tempdir().unwrap();
        let (place, state) = (folder.path().join("log"), folder.path().join("seen.json"));
        let log = Log::create(&place, Some("log.example/provenance")).unwrap();
        let source = Source { place: place.display().to_string(), timeout: Duration::from_secs(5) };
        let look = |all, progress: &dyn Fn(u64, u64)| watch(&source, log.verifier(), &state, all, progress).unwrap();
        // While the first one still reads entries, the log grows and somebody else looks.
        let slow = look(true, &|_, _| {
            log.append(&[b"one more"]).unwrap();
            assert_eq!(look(false, &|_, _| ()).state, Finding::Consistent);
        });
        assert_eq!((slow.state, slow.head.unwrap().size), (Finding::Consistent, 1), "{}", slow.detail);
        let seen = look(false, &|_, _| ()).seen.unwrap();
        assert_eq!(seen.size, 2, "an older head came after the newer one");
    }
}
