//! Makes the next revocation list: the entries of the one before, and perhaps a new one.

use std::path::{Path, PathBuf};

use countermark_io::log::Log;
use countermark_io::{files, keys};
use countermark_lineage::anchor::entry::EntryType;
use countermark_lineage::anchor::note::VerifierKey;
use countermark_lineage::bundle::{Bytes, Receipt};
use countermark_lineage::credential::keys::{PrivateKey, PublicKey};
use countermark_lineage::credential::logged::{self, Logged, MAX_FILE};
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::credential::revocation::{Entry, Keeps, List, Revocations};
use countermark_lineage::digest::Hash;
use serde::Serialize;

use crate::sign::LogPlace;
use crate::trust::LIST;
use crate::{Error, keyset};

/// What to revoke, and with what.
#[derive(Clone, Debug)]
pub struct Request {
    /// The key of the list's issuer; best one that signs nothing else, such as `owner.root.key`.
    pub key: PathBuf,
    /// The list, made when it is not there, and replaced by its successor.
    pub list: PathBuf,
    /// What no longer counts. Without it the list says the same again, for longer.
    pub entry: Option<Entry>,
    /// The folder of the log, made when it is not there.
    pub log: Option<PathBuf>,
    /// Days until the list is stale.
    pub days: u32,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Revoked {
    /// The list.
    pub list: PathBuf,
    /// Whose it is.
    pub issuer: PublicKey,
    /// Its number.
    pub sequence: u64,
    /// How many entries it has.
    pub entries: usize,
    /// By when the next one is due.
    pub next_update: String,
    /// SHA-256 of its payload.
    pub id: Hash,
    /// Place in the log, when there is one.
    pub log: Option<LogPlace>,
    /// The policy to which the issuer was added, when that was needed.
    pub added_to: Option<PathBuf>,
}

/// Writes the next list, logged when a log is given. A policy beside the key that does not know the issuer yet learns it.
///
/// # Errors
/// When the key, the list that is there, or the log cannot be used; the old list stays then.
pub fn revoke(request: &Request) -> Result<Revoked, Error> {
    let key = keys::load(&request.key)?;
    let issuer = key.public();
    let previous = read_list(&request.list)?;
    if let Some(other) = previous.as_ref().filter(|list| list.content.issuer != issuer) {
        let problem = format!("was made by {}, not by this key", other.content.issuer);
        return Err(refuse(&request.list, problem, "name the key that made the list, or another list"));
    }
    let mut list = Revocations::after(previous.as_ref(), issuer, keyset::now(), request.days);
    if let Some(entry) = &request.entry {
        let same = |known: &Entry| {
            (known.target(), &known.keeps, known.successor) == (entry.target(), &entry.keeps, entry.successor)
        };
        if list.entries.iter().any(same) {
            let help = "nothing was changed; leave out what to revoke to make the list valid for longer";
            return Err(refuse(&request.list, "revokes this already".to_owned(), help));
        }
        list.entries.push(entry.clone());
    }
    let log = request.log.as_deref().map(|folder| keyset::open_log(folder, &request.key)).transpose()?;
    list.log = log.as_ref().map(|log| log.verifier().to_string());
    let List { content, id, mut file } = list.sign(&*key)?;
    let place = log.map(|log| enter(&log, &mut file, EntryType::Revocation, id, &*key)).transpose()?;
    files::write(&request.list, file.to_json().as_bytes(), files::PUBLIC)?;
    Ok(Revoked {
        list: request.list.clone(),
        issuer,
        sequence: content.sequence,
        entries: content.entries.len(),
        next_update: content.next_update,
        id,
        log: place,
        added_to: introduce(&request.key, &request.list, &issuer)?,
    })
}

/// Reads a list, when there is one.
///
/// # Errors
/// When there is something else under its name.
pub fn read_list(path: &Path) -> Result<Option<List>, Error> {
    if !files::exists(path) {
        return Ok(None);
    }
    let help = "name the list that this key made before, or a new file";
    List::parse(&files::read(path, MAX_FILE)?).map(Some).map_err(|error| refuse(path, error.problem(), help))
}

/// Reads `LOG:INDEX`, where LOG is the folder of a log or its verifier key.
///
/// # Errors
/// When it is not of that form, or there is no such log.
pub fn keeps(text: &str) -> Result<Keeps, Error> {
    let help = "write the log's folder or verifier key, a colon, and the first entry that no longer counts: log:17";
    let usage = || countermark_lineage::Error::usage(format!("{text:?} is no place in a log"), help);
    let (log, index) = text.rsplit_once(':').ok_or_else(usage)?;
    let before = index.parse().map_err(|_| usage())?;
    let log = match VerifierKey::parse(log) {
        Ok(log) => log.to_string(),
        Err(_) => Log::open(Path::new(log))?.verifier().to_string(),
    };
    Ok(Keeps { log, before })
}

/// Enters a signed object into a log, and puts the proof of its place beside it.
pub(crate) fn enter(
    log: &Log,
    file: &mut Logged,
    entry_type: EntryType,
    id: Hash,
    key: &dyn PrivateKey,
) -> Result<LogPlace, Error> {
    let entry = logged::entry(entry_type, id, key)?;
    let indices = log.append_once(std::slice::from_ref(&entry))?;
    let (Some(index), Some(proof)) = (indices.first(), log.prove(&indices)?.pop()) else {
        return Err(countermark_lineage::Error::usage("nothing was logged", "try again").into());
    };
    file.receipt = Some(Receipt { entry: Bytes(entry), proof: proof.to_text() });
    Ok(LogPlace { index: *index, vkey: log.verifier().to_string() })
}

/// Adds the issuer to the policy beside its key, whose owner it is. Answers which policy that was.
fn introduce(key: &Path, list: &Path, issuer: &PublicKey) -> Result<Option<PathBuf>, Error> {
    let policy = keyset::beside(key, "policy.toml");
    if !policy.is_file() {
        return Ok(None);
    }
    let text = files::read_text(&policy, 4 << 20)?;
    let knows = |policy: &Policy| policy.revocation_lists.iter().any(|known| known.key == *issuer);
    if Policy::parse(&text).is_ok_and(|policy| knows(&policy)) {
        return Ok(None);
    }
    // A list that lies beside the policy is found, so it can be asked for.
    let is_found = *list == keyset::beside(&policy, LIST);
    let required = if is_found { "required = true\n" } else { "" };
    let text = format!("{text}\n[[revocation_list]]\nkey = \"{issuer}\"\n{required}");
    // A policy that somebody edited into another shape is left as it is rather than broken.
    if !Policy::parse(&text).is_ok_and(|policy| knows(&policy)) {
        return Ok(None);
    }
    files::write(&policy, text.as_bytes(), files::PUBLIC)?;
    Ok(Some(policy))
}

fn refuse(path: &Path, problem: String, help: &str) -> Error {
    countermark_io::Error::refused(path, problem, help).into()
}
