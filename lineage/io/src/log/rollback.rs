//! Refuses to sign a second history: when somebody has seen more of this log than is here, an older copy was restored.

use std::fs;
use std::io;
use std::path::Path;

use countermark_lineage::anchor::checkpoint::{Checkpoint, decimal};
use countermark_lineage::anchor::tiles;

use super::{Log, MAX_NOTE};
use crate::{Error, files};

const HELP: &str = "an older copy of the log was restored: put the newest one back. Signing now would make two histories, \
                    which everybody can prove";

impl Log {
    /// Compares the head with what was anchored, and with what witnesses have seen.
    pub(super) fn refuse_rollback(&self, head: &Checkpoint) -> Result<(), Error> {
        let state = self.folder.join(".state");
        let anchored = self.folder.join("anchors");
        let mut newest = None;
        for folder in [&anchored, &state.join("anchors")] {
            for name in names(folder)? {
                let Some(size) = decimal(&name) else { continue };
                if size > head.size {
                    let problem = format!("was anchored, and the log here holds {}", head.size);
                    return Err(Error::refused(&folder.join(name), problem, HELP));
                }
                if *folder == anchored {
                    newest = newest.max(Some(size));
                }
            }
        }
        if let Some(size) = newest {
            self.agrees(head, &anchored.join(size.to_string()).join("checkpoint"))?;
        }
        let witnesses = state.join("witness");
        for name in names(&witnesses)? {
            let path = witnesses.join(&name);
            if name.starts_with('.') || !path.is_file() {
                continue;
            }
            let text = files::read_text(&path, MAX_NOTE)?;
            let Some(size) = text.lines().next().and_then(decimal) else {
                let help = "ask the witness again for what it has seen, or restore the file from a copy";
                return Err(Error::refused(&path, "does not begin with a size", help));
            };
            if size > head.size {
                let problem = format!("says that a witness has seen {size} entries; the log here holds {}", head.size);
                let help =
                    format!("{HELP}. A witness may lie: ask it for the checkpoint, and remove the file if it has none");
                return Err(Error::refused(&path, problem, &help));
            }
        }
        Ok(())
    }

    /// The tiles here must lead to an anchored checkpoint: a restored copy that grew again does not.
    fn agrees(&self, head: &Checkpoint, path: &Path) -> Result<(), Error> {
        if !path.exists() {
            return Ok(());
        }
        let old = Checkpoint::open(&files::read_text(path, MAX_NOTE)?, &self.verifier)?;
        if old.size > head.size || tiles::root(&self.tiles(head.size), old.size)? != old.root {
            return Err(Error::refused(path, "was anchored, and is not the beginning of the log here", HELP));
        }
        Ok(())
    }
}

/// Names in a folder; none when there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let help = "check that the log's folder can be read";
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(Error::io(folder, help))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        Ok(entry.map_err(Error::io(folder, help))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}
