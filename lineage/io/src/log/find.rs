//! Where a leaf is: for the few that log again what may be logged already.
//!
//! ```text
//! .state/leaves/<first byte of the leaf hash, two hex digits>     8 bytes of the leaf hash ‖ index, u64be; repeated
//! .state/leaves/size                                               entries of the log up to which the files know all
//! ```
//!
//! The files are only a hint, made from tiles when somebody asks: [`Log::append`] does not touch them. What they say is
//! looked up in its tile, and without them they are made again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use countermark_lineage::anchor::checkpoint::decimal;
use countermark_lineage::anchor::tiles::{ReadTile as _, WIDTH, width_at};
use countermark_lineage::digest::{Hash, tree};

use super::{Log, lock};
use crate::{Error, files};

/// Bytes of a leaf hash, and of an index.
const HALF: usize = 8;

/// Leaves of so many tiles are written at once: 16 MiB.
const AT_ONCE: u64 = 4096;

const HELP: &str = "remove the folder .state/leaves of the log; it is made again";

impl Log {
    /// Appends what is not there yet and answers the index of each entry. Durable when this returns.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_once<E: AsRef<[u8]> + Sync>(&self, entries: &[E]) -> Result<Vec<u64>, Error> {
        let _lock = lock(&self.folder)?;
        let head = self.settled()?;
        self.learn(head.size)?;
        let mut fresh: Vec<&[u8]> = vec![];
        let mut staged = HashMap::new();
        let mut indices = vec![];
        for entry in entries {
            let entry = entry.as_ref();
            let leaf = tree::leaf(entry);
            let known = match staged.get(&leaf) {
                Some(index) => Some(*index),
                None => self.look_up(&leaf, head.size)?,
            };
            indices.push(known.unwrap_or_else(|| {
                let index = head.size + fresh.len() as u64;
                staged.insert(leaf, index);
                fresh.push(entry);
                index
            }));
        }
        self.extend(&head, &fresh)?;
        Ok(indices)
    }

    /// The first index of this entry, when it is in the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn find(&self, entry: &[u8]) -> Result<Option<u64>, Error> {
        let _lock = lock(&self.folder)?;
        let size = self.head()?.size;
        self.learn(size)?;
        self.look_up(&tree::leaf(entry), size)
    }

    fn leaves(&self) -> PathBuf {
        self.folder.join(".state").join("leaves")
    }

    pub(super) fn shard(&self, leaf: &Hash) -> PathBuf {
        self.leaves().join(format!("{:02x}", leaf.0[0]))
    }

    /// Looks into the shard of a leaf, and believes nothing that the tile does not say.
    fn look_up(&self, leaf: &Hash, size: u64) -> Result<Option<u64>, Error> {
        let path = self.shard(leaf);
        if !path.exists() {
            return Ok(None);
        }
        // A crash may have written records twice, not more.
        let bytes = files::read(&path, size.saturating_mul(4 * HALF as u64).saturating_add(4096))?;
        let (records, rest) = bytes.as_chunks::<{ 2 * HALF }>();
        if !rest.is_empty() {
            return Err(Error::refused(&path, "is cut short", HELP));
        }
        let tiles = self.tiles(size);
        for record in records {
            let (start, index) = record.split_at(HALF);
            let Some(index) = index.first_chunk().map(|index| u64::from_be_bytes(*index)) else { continue };
            if start != &leaf.0[..HALF] || index >= size {
                continue;
            }
            if tiles.read_tile(0, index / WIDTH, index % WIDTH + 1)?.last() == Some(leaf) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Brings the shards up to a published size.
    fn learn(&self, size: u64) -> Result<(), Error> {
        let folder = self.leaves();
        let path = folder.join("size");
        let mut known = match files::read_text(&path, 64) {
            Ok(text) => decimal(&text).ok_or_else(|| Error::refused(&path, "is not a size", HELP))?,
            Err(_) => 0,
        };
        if known > size {
            // Of a newer copy of this log: made again.
            fs::remove_dir_all(&folder).map_err(Error::io(&folder, HELP))?;
            known = 0;
        }
        let tiles = self.tiles(size);
        while known < size {
            let end = size.min((known / WIDTH + AT_ONCE) * WIDTH);
            let mut shards: HashMap<PathBuf, Vec<u8>> = HashMap::new();
            for index in known / WIDTH..end.div_ceil(WIDTH) {
                let hashes = tiles.read_tile(0, index, width_at(0, index, size))?;
                for (at, leaf) in (index * WIDTH..).zip(&hashes).filter(|(at, _)| (known..end).contains(at)) {
                    let shard = shards.entry(self.shard(leaf)).or_default();
                    shard.extend_from_slice(&leaf.0[..HALF]);
                    shard.extend_from_slice(&at.to_be_bytes());
                }
            }
            for (path, records) in &shards {
                add(path, records)?;
            }
            files::write(&path, end.to_string().as_bytes(), files::SECRET)?;
            known = end;
        }
        Ok(())
    }
}

/// Adds whole records behind those that are there. What a crash cut short is overwritten.
fn add(path: &Path, records: &[u8]) -> Result<(), Error> {
    let folder = files::parent(path);
    fs::create_dir_all(folder).map_err(Error::io(folder, HELP))?;
    let write = || {
        let mut file = File::options().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        file.set_len(length - length % (2 * HALF) as u64)?;
        file.write_all(records)?;
        file.sync_data()
    };
    write().map_err(Error::io(path, HELP))
}
