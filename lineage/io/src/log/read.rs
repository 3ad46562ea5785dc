//! Reads tiles and entry bundles of one size of the log. Names follow from the size, so nothing is looked for.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use countermark_lineage::anchor::tiles::{self, Name, ReadTile, WIDTH, width_at};
use countermark_lineage::digest::Hash;

use crate::{Error, files};

/// A full bundle of the longest entries has 16 MiB and a little.
pub(crate) const MAX_FILE: u64 = 1 << 25;

/// Tiles of each level that are kept: a path goes through one, and ends at the right edge in another.
const KEPT: usize = 2;

/// The tiles that a log of `size` has, as files below a folder.
///
/// A partial tile may have been removed since the full one is there, which then serves instead.
pub struct Tiles<'a> {
    folder: &'a Path,
    size: u64,
    reads: &'a AtomicU64,
    kept: RefCell<Vec<Vec<Kept>>>,
}

/// Index of a tile in its level, and its hashes.
type Kept = (u64, Rc<Vec<Hash>>);

impl<'a> Tiles<'a> {
    pub(super) fn new(folder: &'a Path, size: u64, reads: &'a AtomicU64) -> Self {
        Tiles { folder, size, reads, kept: RefCell::default() }
    }

    /// The bytes under a name, cut to what the name says.
    pub(super) fn read(&self, name: &Name) -> Result<Vec<u8>, Error> {
        let read = |name: &Name| {
            self.reads.fetch_add(1, Ordering::Relaxed);
            files::read(&self.folder.join(name.path()), MAX_FILE)
        };
        match read(name) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && name.width() < WIDTH => {
                match read(&name.full()) {
                    Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                        let help = "restore the log from a copy";
                        Err(Error::refused(&self.folder.join(name.path()), "is missing", help))
                    }
                    read => Ok(name.cut(read?)?),
                }
            }
            read => read,
        }
    }

    /// The hashes of a tile, all that it has at this size.
    fn tile(&self, level: u8, index: u64) -> Result<Rc<Vec<Hash>>, countermark_lineage::Error> {
        let mut levels = self.kept.borrow_mut();
        let at = usize::from(level);
        if levels.len() <= at {
            levels.resize(at + 1, vec![]);
        }
        let Some(kept) = levels.get_mut(at) else { return Ok(Rc::default()) };
        if let Some((_, hashes)) = kept.iter().find(|(known, _)| *known == index) {
            return Ok(hashes.clone());
        }
        let name = Name::Tile { level, index, width: width_at(level, index, self.size) };
        let bytes = self.read(&name).map_err(|error| match error {
            Error::Lineage(error) => error,
            other => {
                let help = "restore the log from a copy";
                countermark_lineage::Error::input(name.path(), other.to_string().replace("\nhelp: ", "; "), help)
            }
        })?;
        let hashes = Rc::new(tiles::decode_tile(&name, &bytes)?);
        kept.truncate(KEPT - 1);
        kept.insert(0, (index, hashes.clone()));
        Ok(hashes)
    }
}

impl ReadTile for Tiles<'_> {
    fn read_tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, countermark_lineage::Error> {
        let there = width_at(level, index, self.size);
        if there < width {
            let problem = format!("has {there} hashes in a log of {}, not {width}", self.size);
            let help = "ask for what the log had at this size";
            return Err(countermark_lineage::Error::usage(
                format!("{} {problem}", tiles::tile_path(level, index, WIDTH)),
                help,
            ));
        }
        let hashes = self.tile(level, index)?;
        Ok(hashes.iter().take(width as usize).copied().collect())
    }
}
