//! Signing anew what was signed before, without hashing it again.

use std::collections::BTreeMap;
use std::path::Path;

use countermark_formats::ReadAt;
use countermark_io::files;
use countermark_lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Cache, Known};
use countermark_lineage::graph::statement::Statement;

use super::{OpenParent, refuse};
use crate::Error;

/// The older bundle of an artifact.
pub(super) struct Old {
    pub statement: Statement,
    bundle: Bundle,
}

impl Old {
    /// Reads it, and checks that one of the owner's keys signed it: nobody vouches for a listing that somebody else made.
    pub fn open(path: &Path, owners: &[PublicKey]) -> Result<Self, Error> {
        let help = "name the bundle that you signed before with this key, or leave --reuse out";
        let bundle =
            Bundle::parse(&files::read(path, MAX_BUNDLE)?).map_err(|error| refuse(path, error.problem(), help))?;
        let verified = bundle.records[0].statement.verify().map_err(|error| refuse(path, error.problem(), help))?;
        let statement = Statement::parse(&verified.payload).map_err(|error| refuse(path, error.problem(), help))?;
        if !owners.contains(&verified.key) || statement.predicate.signer != verified.key {
            return Err(refuse(path, "was signed by another key".to_owned(), help));
        }
        Ok(Old { statement, bundle })
    }

    /// Adds the edges that stand in the old statement and were not named again.
    pub fn add_parents(&self, parents: &mut Vec<OpenParent>) -> Result<(), Error> {
        let mut records = BTreeMap::new();
        for record in &self.bundle.records {
            records.insert(record.statement.id()?, record);
        }
        for edge in &self.statement.predicate.parents {
            if parents.iter().any(|parent| (parent.id, parent.relation) == (edge.statement, edge.relation)) {
                continue;
            }
            let Some(record) = records.get(&edge.statement) else {
                let help = "name the parent's bundle with --parent, or sign without --reuse";
                let problem = format!("{}: the bundle to reuse lacks this parent", edge.name);
                return Err(countermark_lineage::Error::usage(problem, help).into());
            };
            let statement = Statement::parse(&record.statement.verify()?.payload)?;
            let others = self.bundle.records.iter().filter(|other| other.statement != record.statement);
            let hand_overs = self.bundle.hand_overs.clone();
            let records = std::iter::once(*record).chain(others).cloned().collect();
            let bundle = Bundle { hand_overs, ..Bundle::new(records) };
            parents.push(OpenParent { relation: edge.relation, id: edge.statement, statement, bundle, path: None });
        }
        Ok(())
    }

    /// The cache, but only for digests that were signed.
    pub fn recorded<'a>(&'a self, cache: Option<&'a dyn Cache>) -> Recorded<'a> {
        let files = self.statement.predicate.listing.files();
        Recorded { signed: files.iter().map(|file| (file.blake3, file.size)).collect(), cache }
    }
}

/// Answers only what both the cache and the older statement say.
pub(super) struct Recorded<'a> {
    signed: BTreeMap<Hash, u64>,
    cache: Option<&'a dyn Cache>,
}

impl Cache for Recorded<'_> {
    fn recall(&self, source: &dyn ReadAt) -> Option<Known> {
        let known = self.cache?.recall(source)?;
        (self.signed.get(&known.blake3) == Some(&known.size)).then_some(known)
    }

    fn remember(&self, source: &dyn ReadAt, known: &Known) {
        if let Some(cache) = self.cache {
            cache.remember(source, known);
        }
    }
}
