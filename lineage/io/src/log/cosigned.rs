//! What others add to a log's checkpoints, and what is exported from them.
//!
//! ```text
//! checkpoint                   public: the newest, with the lines of witnesses
//! anchors/<size>/checkpoint    public: one of some time, with the log's signature alone
//! anchors/<size>/cosigned      public: the same with the lines of witnesses
//! .state/witness/<hash>        private: the size that a witness said it has seen, and its verifier key
//! ```

use std::fs;
use std::path::PathBuf;

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::cosignature::{self, WitnessKey};
use countermark_lineage::anchor::tiles;
use countermark_lineage::anchor::{cose, note};
use countermark_lineage::digest::{Hash, tree};

use super::{Log, MAX_NOTE, lock};
use crate::{Error, files};

impl Log {
    /// The published checkpoint with all its signatures, and its head.
    ///
    /// # Errors
    /// As [`Log::head`].
    pub fn checkpoint(&self) -> Result<(Checkpoint, String), Error> {
        let note = self.note()?;
        Ok((Checkpoint::open(&note, &self.verifier)?, note))
    }

    /// Adds the signature lines of `cosigned` to the published checkpoint, and keeps them with that size. False when
    /// another checkpoint was published meanwhile: then they are kept with their size alone.
    ///
    /// # Errors
    /// When the note is not the log's, or nothing can be written.
    pub fn add_cosignatures(&self, cosigned: &str) -> Result<bool, Error> {
        let _lock = lock(&self.folder)?;
        let head = Checkpoint::open(cosigned, &self.verifier)?;
        self.keep_cosigned(head.size, cosigned)?;
        let published = self.note()?;
        let Ok(merged) = cosignature::merge(&published, cosigned) else { return Ok(false) };
        if merged != published {
            files::write(&self.folder.join("checkpoint"), merged.as_bytes(), files::PUBLIC)?;
        }
        Ok(true)
    }

    fn keep_cosigned(&self, size: u64, cosigned: &str) -> Result<(), Error> {
        let folder = self.anchored(size);
        let path = folder.join("cosigned");
        let kept = match path.is_file() {
            true => cosignature::merge(cosigned, &files::read_text(&path, MAX_NOTE)?)?,
            false => cosigned.to_owned(),
        };
        let alone = note::signed_only_by(cosigned, &self.verifier)?;
        files::write(&folder.join("checkpoint"), alone.as_bytes(), files::PUBLIC)?;
        files::write(&path, kept.as_bytes(), files::PUBLIC)
    }

    fn anchored(&self, size: u64) -> PathBuf {
        self.folder.join("anchors").join(size.to_string())
    }

    /// The checkpoints that were kept with the lines of witnesses, as size and note, in order of size. Each is the
    /// log's.
    ///
    /// # Errors
    /// When one cannot be read, or is not the log's.
    pub fn cosigned(&self) -> Result<Vec<(u64, String)>, Error> {
        let folder = self.folder.join("anchors");
        let help = "check that the log's folder can be read";
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(Error::io(&folder, help))?,
        };
        let mut found = vec![];
        for entry in entries {
            let path = entry.map_err(Error::io(&folder, help))?.path().join("cosigned");
            if path.is_file() {
                let note = files::read_text(&path, MAX_NOTE)?;
                found.push((Checkpoint::open(&note, &self.verifier)?.size, note));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Proves that the log of `old` entries is the beginning of the one of `new`; nothing is to be proved of the empty
    /// log.
    ///
    /// # Errors
    /// When the tiles do not hold both.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        if old == 0 || old == new { Ok(vec![]) } else { Ok(tiles::consistency(&self.tiles(new), old, new)?) }
    }

    fn seen_by(&self, witness: &WitnessKey) -> PathBuf {
        let name = Hash::sha256(witness.to_string().as_bytes()).to_string();
        self.folder.join(".state/witness").join(name)
    }

    /// The size that a witness said it has seen, when it was asked before.
    ///
    /// # Errors
    /// When that was written down and cannot be read.
    pub fn witnessed(&self, witness: &WitnessKey) -> Result<Option<u64>, Error> {
        let path = self.seen_by(witness);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path, 1 << 16)?;
        let size = text.lines().next().and_then(|line| line.parse().ok());
        size.map(Some).ok_or_else(|| Error::refused(&path, "does not begin with a size", "remove it and ask again"))
    }

    /// Writes down the size that a witness says it has seen. One above the log's own means that a newer log was lost,
    /// or that somebody else signs with its key: it signs nothing then.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn remember_witnessed(&self, witness: &WitnessKey, size: u64) -> Result<(), Error> {
        files::write(&self.seen_by(witness), format!("{size}\n{witness}\n").as_bytes(), files::SECRET)
    }

    /// A COSE receipt (RFC 9942) of the entry at `index`, under the checkpoint that is published now.
    ///
    /// # Errors
    /// [`Error::Lineage`] when there is no such entry, or it is the only one.
    pub fn cose_receipt(&self, index: u64) -> Result<Vec<u8>, Error> {
        let head = self.head()?;
        let path = tiles::inclusion(&self.tiles(head.size), index, head.size)?;
        let leaf = tree::leaf(&self.entry(index)?);
        Ok(cose::inclusion((&self.verifier, &self.key), &head, index, leaf, &path)?)
    }

    /// A COSE receipt that the log of `old` entries is the beginning of the one that is published now.
    ///
    /// # Errors
    /// [`Error::Lineage`] when `old` is 0, or not below the log's size.
    pub fn cose_consistency(&self, old: u64) -> Result<Vec<u8>, Error> {
        let head = self.head()?;
        let tiles = self.tiles(head.size);
        let path = tiles::consistency(&tiles, old, head.size)?;
        let old = Checkpoint { size: old, root: tiles::root(&tiles, old)? };
        Ok(cose::consistency((&self.verifier, &self.key), &old, &head, &path)?)
    }

    /// The entry at `index` as a transparent statement (RFC 9943): as it was logged, with its receipt beside its
    /// signature.
    ///
    /// # Errors
    /// As [`Log::cose_receipt`].
    pub fn transparent(&self, index: u64) -> Result<Vec<u8>, Error> {
        let receipt = self.cose_receipt(index)?;
        Ok(cose::transparent(&self.entry(index)?, &[receipt])?)
    }
}
