//! What only the bytes know: SHA-256 of every file, which other formats ask for, and the columns of tables.

use std::collections::BTreeMap;

use countermark_formats::table::{self, Table};
use rayon::prelude::*;
use sha2::Digest as _;

use crate::Error;
use crate::digest::Hash;
use crate::digest::artifact::Artifact;
use crate::graph::statement::Statement;

/// So much of the beginning of a table is looked at for its columns, in bytes.
const HEAD: usize = 1 << 20;

/// What reading the artifact's files gave. Each was compared with the BLAKE3 that was signed, in the same pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// SHA-256 by path.
    pub sha256: BTreeMap<String, Hash>,
    /// Tables by path: CSV, TSV and JSON lines.
    pub tables: BTreeMap<String, Table>,
}

impl Measured {
    /// Reads every byte of `artifact` once.
    ///
    /// # Errors
    /// [`Error::Input`] when a file is not the one that was signed, [`Error::Io`] when one cannot be read.
    pub fn of(artifact: &Artifact, statement: &Statement, progress: &(dyn Fn(u64) + Sync)) -> Result<Self, Error> {
        let help = "name the very file or folder that the bundle is about";
        let listing = statement.predicate.listing.files();
        if artifact.is_folder != statement.predicate.folder || artifact.files.len() != listing.len() {
            let problem = format!("is not what {:?} was signed as: other files are here", statement.name());
            return Err(Error::input(&artifact.name, problem, help));
        }
        // Both are sorted by path; a single file may have been renamed, and keeps the name that was signed.
        let read = artifact.files.par_iter().zip(listing).map(|((path, source), signed)| {
            let refuse = |problem: &str| Err(Error::input(path, problem, help));
            if artifact.is_folder && *path != signed.path {
                return refuse("was not signed");
            }
            let (mut blake3, mut sha256) = (blake3::Hasher::new(), sha2::Sha256::new());
            let is_table = table::is_table(&signed.path);
            let (mut head, mut buffer, mut offset) = (Vec::new(), vec![0; 1 << 20], 0);
            while offset < source.len() {
                let size = (source.len() - offset).min(buffer.len() as u64) as usize;
                source.read_exact_at(&mut buffer[..size], offset).map_err(Error::io(path))?;
                blake3.update(&buffer[..size]);
                sha256.update(&buffer[..size]);
                if is_table && head.len() < HEAD {
                    head.extend_from_slice(&buffer[..size.min(HEAD - head.len())]);
                }
                offset += size as u64;
                progress(size as u64);
            }
            if Hash(blake3.finalize().into()) != signed.blake3 {
                return refuse("is not the file that was signed");
            }
            let table =
                is_table.then(|| table::sniff(&signed.path, &head, head.len() as u64 == source.len())).flatten();
            Ok((signed.path.clone(), Hash(sha256.finalize().into()), table))
        });
        let mut measured = Measured::default();
        for file in read.collect::<Result<Vec<_>, Error>>()? {
            let (path, sha256, table) = file;
            if let Some(table) = table {
                measured.tables.insert(path.clone(), table);
            }
            measured.sha256.insert(path, sha256);
        }
        Ok(measured)
    }
}
