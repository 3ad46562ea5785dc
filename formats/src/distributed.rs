//! Checkpoints of `torch.distributed`: `.distcp` files of one rank each, and `.metadata`.
//!
//! A `.distcp` file is what `torch.save` wrote, tensor after tensor, into one stream: zip archives back to back. Where
//! each begins stands in `.metadata`, a pickle, which is never read. An archive's end record tells its length, so the
//! archives are found from the last to the first, and must fill the file. Each storage is listed as
//! `NUMBER/data/0`, archives counted from the front; `.metadata` is listed as it is.

use crate::tensors::{OPAQUE, Place, StoredTensor};
use crate::{Error, Result, Source, torch, zip};

/// More archives than this in one file are refused.
const MAX_ARCHIVES: usize = 1 << 20;

/// The members of all archives of one rank's file.
pub(crate) fn tensors(source: &Source, file: usize) -> Result<Vec<StoredTensor>> {
    let mut archives = Vec::new();
    let mut end = source.len();
    while end > 0 {
        let archive = zip::parse_before(&**source, end)?;
        end = archive.begin;
        if archive.members.is_empty() || archives.len() == MAX_ARCHIVES {
            let reason = format!("an archive without members, or more than {MAX_ARCHIVES} archives");
            return Err(Error::Malformed { format: "distributed checkpoint", offset: end, reason });
        }
        archives.push(archive);
    }
    let mut tensors = Vec::new();
    for (number, archive) in archives.into_iter().rev().enumerate() {
        tensors.extend(torch::members(archive, file, &format!("{number}/"))?);
    }
    Ok(tensors)
}

/// The pickle that says what the storages mean.
pub(crate) fn metadata(path: &str, source: &Source, file: usize) -> StoredTensor {
    let bytes = source.len();
    let (dtype, shape) = (OPAQUE.to_owned(), vec![bytes]);
    StoredTensor { name: path.to_owned(), dtype, shape, bytes, place: Place::Plain { file, range: 0..bytes } }
}
