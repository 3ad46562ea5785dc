//! Hashing a model into a statement, each byte read once.

use std::ops::Range;
use std::sync::Arc;

use countermark_formats::ReadAt;
use rayon::prelude::*;

use super::statement::{Method, Resource};
use crate::Error;
use crate::digest::Hash;
use crate::digest::artifact::{Artifact, CARD};
use crate::digest::blob;
use crate::digest::listing::{File, Listing, is_provenance, is_version_control};
use crate::digest::pieces::{self, Function};

/// What hashing a model gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// One for each file or shard.
    pub resources: Vec<Resource>,
    /// Countermark's root of the same files, where one read gives it: with whole files, SHA-256 or BLAKE3, and names
    /// that can be listed.
    pub root: Option<Hash>,
    /// Files without bytes, of which there are no shards.
    pub unprotected: Vec<String>,
}

/// Hashes all of [`Artifact::files`]; `root` asks for Countermark's root as well.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read, or changed while it was.
pub fn measure(
    model: &Artifact,
    function: Function,
    method: Method,
    root: bool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Sources, Error> {
    let root = root && method == Method::Files && function != Function::Blake2b;
    let read = |(path, source): &(String, Arc<dyn ReadAt>)| {
        one(path, &**source, function, method, root, progress).map_err(Error::io(path))
    };
    let files = model.files.par_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if let Some(names) = &model.names {
        names.unchanged().map_err(Error::io(&model.name))?;
    }
    let shards = matches!(method, Method::Shards(_));
    let unprotected = model.files.iter().filter(|(_, source)| shards && source.is_empty());
    let unprotected = unprotected.map(|(path, _)| path.clone()).collect();
    let (resources, listed): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let root = if root { root_of(model, listed.into_iter().flatten().collect()) } else { None };
    Ok(Sources { resources: resources.into_iter().flatten().collect(), root, unprotected })
}

fn one(
    path: &str,
    source: &dyn ReadAt,
    function: Function,
    method: Method,
    root: bool,
    progress: &(dyn Fn(u64) + Sync),
) -> std::io::Result<(Vec<Resource>, Option<File>)> {
    let resource = |digest: Vec<u8>, range: Option<Range<u64>>| Resource { path: path.to_owned(), range, digest };
    match method {
        Method::Files if root => {
            let wants = blob::Wants { sha256: function == Function::Sha256, ranges: &[], spliced: None };
            let found = blob::digests(source, wants, progress)?;
            let digest = found.sha256.unwrap_or(found.blake3).0.to_vec();
            let file = File { path: path.to_owned(), size: found.size, blake3: found.blake3 };
            Ok((vec![resource(digest, None)], Some(file)))
        }
        Method::Files => Ok((vec![resource(pieces::digest(source, function, progress)?, None)], None)),
        Method::Shards(size) => {
            let ranges: Vec<_> = shards(source.len(), size).collect();
            let digests = pieces::digests(source, function, &ranges, progress)?;
            Ok((digests.into_iter().zip(ranges).map(|(digest, range)| resource(digest, Some(range))).collect(), None))
        }
    }
}

/// The root of what belongs to a listing. Some names that OMS allows cannot stand there.
fn root_of(model: &Artifact, files: Vec<File>) -> Option<Hash> {
    if !model.is_folder {
        return files.first().map(|file| file.blake3);
    }
    let belongs = |file: &File| {
        let top = file.path.split('/').next().unwrap_or_default();
        file.path != CARD && !is_provenance(&file.path) && !is_version_control(top)
    };
    Some(Listing::new(files.into_iter().filter(belongs).collect()).ok()?.root())
}

/// The shards of a file of `length` bytes.
pub fn shards(length: u64, size: u64) -> impl Iterator<Item = Range<u64>> {
    (0..length.div_ceil(size)).map(move |index| index * size..((index + 1) * size).min(length))
}
