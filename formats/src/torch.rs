//! PyTorch's zip files (`torch.save` since version 1.6, TorchScript): raw storages, and a pickle that is never read.
//!
//! `torch.save` writes `NAME/data.pkl`, which says what the storages mean, `NAME/data/0`, `NAME/data/1`… with their bytes,
//! and a few small members. NAME is the file's own name or `archive`, so it is left out here. Which tensor views which
//! part of which storage stands in the pickle alone, and a pickle runs code; so the storages are listed as they are and
//! the pickle beside them: nothing of the file escapes the tensors root.
//!
//! Older files are one bare pickle, and are not read at all.

use std::collections::BTreeSet;

use crate::tensors::StoredTensor;
use crate::{Error, ReadAt, Result, Source, zip};

/// Endings of files that `torch.save` writes. Others use them as well, so the first bytes decide.
const ENDINGS: [&str; 4] = [".pt", ".pth", ".bin", ".ckpt"];

/// The files of a PyTorch checkpoint: zip files that hold a pickle, and distributed checkpoints.
pub(crate) fn select(files: &[(String, Source)]) -> Vec<usize> {
    let is_distributed = |path: &str| path.ends_with(".distcp");
    let folders: BTreeSet<&str> =
        files.iter().map(|(path, _)| path.as_str()).filter(|path| is_distributed(path)).map(folder).collect();
    let mut chosen = Vec::new();
    for (number, (path, source)) in files.iter().enumerate() {
        let named = ENDINGS.iter().any(|ending| path.ends_with(ending));
        let metadata = path.strip_suffix(".metadata").is_some_and(|folder| folders.contains(folder));
        if is_distributed(path) || metadata || named && is_torch(&**source) {
            chosen.push(number);
        }
    }
    chosen
}

/// The folder of a path, with the `/` at its end.
fn folder(path: &str) -> &str {
    &path[..path.rfind('/').map_or(0, |slash| slash + 1)]
}

/// True for a zip file whose first member lies in a folder and is a pickle or a storage, as PyTorch writes them.
fn is_torch(source: &dyn ReadAt) -> bool {
    let mut front = [0; 30 + 256];
    let length = source.len().min(front.len() as u64) as usize;
    if length < 31 || source.read_exact_at(&mut front[..length], 0).is_err() || front[..4] != zip::MAGIC {
        return false;
    }
    let name = usize::from(u16::from_le_bytes([front[26], front[27]]));
    let name = front[..length].get(30..30 + name).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("");
    name.split_once('/').is_some_and(|(_, member)| {
        member.ends_with(".pkl") || member.starts_with("data/") || member.starts_with("code/") || member == "version"
    })
}

/// The members of a zip file.
pub(crate) fn tensors(source: &Source, file: usize) -> Result<Vec<StoredTensor>> {
    members(zip::parse(&**source)?, file, "")
}

/// The members of one archive, without the folder that all of them are in, each name behind `prefix`.
pub(crate) fn members(archive: zip::Archive, file: usize, prefix: &str) -> Result<Vec<StoredTensor>> {
    let fail = |reason: String| Error::Malformed { format: "PyTorch file", offset: archive.begin, reason };
    let top = archive.members.first().and_then(|member| Some(member.name.split_once('/')?.0.to_owned()));
    let top = top.ok_or_else(|| fail("holds no folder, so it is none of torch.save".into()))?;
    let name = |name: &str| -> Option<String> {
        let rest = name.strip_prefix(top.as_str())?.strip_prefix('/')?;
        (!rest.is_empty()).then(|| format!("{prefix}{rest}"))
    };
    // PyTorch looks members up without regard to the case of ASCII letters, and takes whichever it meets.
    let mut seen = BTreeSet::new();
    if let Some(member) = archive.members.iter().find(|member| !seen.insert(member.name.to_ascii_lowercase())) {
        let reason = format!("{:?} differs from another member in upper and lower case only", member.name);
        return Err(fail(reason));
    }
    let members = archive.members.iter().map(|member| {
        let name = name(&member.name).ok_or_else(|| fail(format!("{:?} is not in {top:?}", member.name)))?;
        Ok(StoredTensor::opaque(name, file, member.clone()))
    });
    members.collect()
}
