//! What two artifacts share by content: chunks that end where the bytes say so, so that what was moved, inserted or put
//! into another shard is still found.

use std::collections::BTreeMap;

use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::digest::{Hash, chunks};
use serde::Serialize;

use super::total_size;
use crate::{Error, Progress};

/// How much of two artifacts is in the chunks that both hold. A chunk that an artifact holds several times counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ChunkDiff {
    /// Bytes of all files of the first and of the second.
    pub bytes: (u64, u64),
    /// Distinct chunks that both hold, and their bytes.
    pub shared: Count,
    /// Distinct chunks that only the first holds.
    pub only_in_first: Count,
    /// Distinct chunks that only the second holds: what a storage that holds the first must add.
    pub only_in_second: Count,
    /// Bytes of both artifacts to bytes of their distinct chunks.
    pub dedup_ratio: f64,
}

/// Chunks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Count {
    /// How many.
    pub chunks: u64,
    /// Their lengths together.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, length: u32) {
        self.chunks += 1;
        self.bytes += u64::from(length);
    }
}

pub(super) fn compare(a: &Artifact, b: &Artifact, progress: &impl Progress) -> Result<ChunkDiff, Error> {
    progress.begin("cut into chunks", total_size(a, b));
    let (in_a, in_b) = (cut(a, progress)?, cut(b, progress)?);
    let mut diff = ChunkDiff { bytes: (a.total_size(), b.total_size()), ..ChunkDiff::default() };
    for (hash, length) in &in_a {
        if in_b.contains_key(hash) { diff.shared.add(*length) } else { diff.only_in_first.add(*length) }
    }
    in_b.iter().filter(|(hash, _)| !in_a.contains_key(hash)).for_each(|(_, length)| diff.only_in_second.add(*length));
    let distinct = diff.shared.bytes + diff.only_in_first.bytes + diff.only_in_second.bytes;
    diff.dedup_ratio = if distinct == 0 { 1.0 } else { total_size(a, b) as f64 / distinct as f64 };
    Ok(diff)
}

/// The distinct chunks of all files.
fn cut(artifact: &Artifact, progress: &impl Progress) -> Result<BTreeMap<Hash, u32>, Error> {
    let mut found = BTreeMap::new();
    for (path, source) in &artifact.files {
        let mut keep = |chunk: chunks::Chunk| {
            found.insert(chunk.hash, chunk.length);
        };
        chunks::each(&**source, &|bytes| progress.advance(bytes), &mut keep)
            .map_err(countermark_lineage::Error::io(path))?;
    }
    Ok(found)
}
