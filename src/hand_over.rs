//! Hands the rights of one key over to another: both sign, the log says when, and the new key's releases carry it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use countermark_io::{files, keys};
use countermark_lineage::anchor::entry::EntryType;
use countermark_lineage::bundle::Bundle;
use countermark_lineage::credential::hand_over::{HandOver, MAX_CHAIN, MAX_HAND_OVERS, Signed};
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::credential::logged::{Logged, MAX_FILE};
use countermark_lineage::digest::Hash;
use serde::Serialize;

use crate::sign::LogPlace;
use crate::{Error, keyset, revoke};

/// Which key to hand over to which.
#[derive(Clone, Debug)]
pub struct Request {
    /// The key that gives.
    pub key: PathBuf,
    /// The key that takes.
    pub to: PathBuf,
    /// Where the hand-over goes; `hand-over.json` beside the new key when left out, where `sign` finds it.
    pub out: Option<PathBuf>,
    /// The folder of the log, made when it is not there.
    pub log: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct HandedOver {
    /// The file.
    pub hand_over: PathBuf,
    /// The key that gave.
    pub from: PublicKey,
    /// The key that took.
    pub to: PublicKey,
    /// SHA-256 of its payload.
    pub id: Hash,
    /// Place in the log, when there is one.
    pub log: Option<LogPlace>,
    /// Copies of the hand-overs to the old key, which the new one needs as well.
    pub earlier: Vec<PathBuf>,
}

/// Writes the hand-over, and copies beside it the ones by which the old key came to its own rights.
///
/// # Errors
/// When a key or the log cannot be used, or a file is in the way; nothing is written then.
pub fn hand_over(request: &Request) -> Result<HandedOver, Error> {
    let (old, new) = (keys::load(&request.key)?, keys::load(&request.to)?);
    let (from, to) = (old.public(), new.public());
    let out = request.out.clone().unwrap_or_else(|| keyset::beside(&request.to, "hand-over.json"));
    if files::exists(&out) {
        let help = "a hand-over is needed for good: choose another name that begins with hand-over";
        return Err(countermark_io::Error::refused(&out, "is there already", help).into());
    }
    if from == to {
        let help = "make a new key with `countermark keygen --out NEW`";
        return Err(countermark_io::Error::refused(&request.to, "is the same key", help).into());
    }
    let before = known(&request.key, &from)?;
    if let Some(circle) = before.iter().find(|earlier| earlier.content.from == to) {
        let problem = format!("gave its rights away before, to {}", circle.content.to.short());
        return Err(countermark_io::Error::refused(&request.to, problem, "make a new key").into());
    }
    let log = request.log.as_deref().map(|folder| keyset::open_log(folder, &request.key)).transpose()?;
    let vkey = log.as_ref().map(|log| log.verifier().to_string());
    let signed = HandOver::new(from, to, keyset::now(), vkey).sign(&*old, &*new)?;
    let Signed { id, mut file, .. } = signed;
    let place = log.map(|log| revoke::enter(&log, &mut file, EntryType::HandOver, id, &*old)).transpose()?;
    files::write(&out, file.to_json().as_bytes(), files::PUBLIC)?;
    let mut earlier = Vec::new();
    if !same_folder(&out, &request.key) {
        for signed in before {
            let path = keyset::beside(&out, &format!("hand-over-{}.json", signed.id.short()));
            if !path.exists() {
                files::write(&path, signed.file.to_json().as_bytes(), files::PUBLIC)?;
                earlier.push(path);
            }
        }
    }
    Ok(HandedOver { hand_over: out, from, to, id, log: place, earlier })
}

fn same_folder(a: &Path, b: &Path) -> bool {
    let folder = |path: &Path| fs::canonicalize(files::parent(path)).ok();
    folder(a).is_some() && folder(a) == folder(b)
}

/// The hand-overs by which `public` came to its rights, among the files `hand-over*.json` beside its key: the last first.
///
/// # Errors
/// When one of those files cannot be read, or a signature does not hold.
pub(crate) fn known(key: &Path, public: &PublicKey) -> Result<Vec<Signed>, Error> {
    let folder = files::parent(key);
    let mut by_new_key: BTreeMap<PublicKey, Vec<Signed>> = BTreeMap::new();
    let help = "check that the key's folder can be read";
    // A key that is not a file has nothing beside it.
    let entries = if key.is_file() { Some(fs::read_dir(folder)) } else { None };
    for entry in entries.transpose().map_err(countermark_io::Error::io(folder, help))?.into_iter().flatten() {
        let path = entry.map_err(countermark_io::Error::io(folder, help))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("hand-over") && name.ends_with(".json") {
            let signed = read(&path)?;
            by_new_key.entry(signed.content.to).or_default().push(signed);
        }
    }
    let (mut chain, mut waiting) = (Vec::new(), vec![*public]);
    while let Some(key) = waiting.pop() {
        for signed in by_new_key.remove(&key).unwrap_or_default() {
            waiting.push(signed.content.from);
            chain.push(signed);
        }
    }
    if chain.len() > MAX_CHAIN {
        let problem = format!("holds more than {MAX_CHAIN} hand-overs to this key");
        let help = "ask those who verify to put the newest key into their policy, and move the oldest hand-overs away";
        return Err(countermark_io::Error::refused(folder, problem, help).into());
    }
    Ok(chain)
}

/// Reads a hand-over and checks both signatures.
fn read(path: &Path) -> Result<Signed, Error> {
    Signed::parse(&files::read(path, MAX_FILE)?).map_err(|error| {
        let help = "move it away if it is none, or make it again with `countermark hand-over`";
        countermark_io::Error::refused(path, error.problem(), help).into()
    })
}

/// Leaves those hand-overs in a bundle by which somebody who signed in it came to rights.
///
/// # Errors
/// When there are more than any reader takes.
pub(crate) fn keep_needed(bundle: &mut Bundle) -> Result<(), Error> {
    if bundle.hand_overs.is_empty() {
        return Ok(());
    }
    let mut waiting: Vec<PublicKey> = Vec::new();
    for record in &bundle.records {
        waiting.extend(record.statement.verify()?.keys());
    }
    let mut others: Vec<Signed> =
        std::mem::take(&mut bundle.hand_overs).into_iter().map(Signed::open).collect::<Result<_, _>>()?;
    while let Some(key) = waiting.pop() {
        let (needed, rest) = others.into_iter().partition(|signed| signed.content.to == key);
        others = rest;
        let needed: Vec<Signed> = needed;
        waiting.extend(needed.iter().map(|signed| signed.content.from));
        bundle.hand_overs.extend(needed.into_iter().map(|signed| signed.file));
    }
    if bundle.hand_overs.len() > MAX_HAND_OVERS {
        let problem = format!("{} hand-overs; a bundle carries at most {MAX_HAND_OVERS}", bundle.hand_overs.len());
        let help = "give the older ones to those who verify, for `verify --hand-over`";
        return Err(countermark_lineage::Error::usage(problem, help).into());
    }
    Ok(())
}

/// Adds hand-overs to those that a bundle carries, each once.
pub(crate) fn add(carried: &mut Vec<Logged>, more: impl IntoIterator<Item = Logged>) {
    for one in more {
        match carried.iter_mut().find(|known| known.envelope == one.envelope) {
            Some(known) if known.receipt.is_none() => *known = one,
            Some(_) => {}
            None => carried.push(one),
        }
    }
}
