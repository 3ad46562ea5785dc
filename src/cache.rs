//! The user's re-hash cache, for the jobs that may use it.

use std::path::Path;

use countermark_io::cache::{FileCache, default_path};
use countermark_lineage::digest::artifact::Cache;

/// The cache while a job runs; it is written when the job is over.
pub(crate) struct Remembered(Option<FileCache>);

impl Remembered {
    /// Opens the cache at `path`, else the user's when it is wanted and there is a place for one.
    pub fn open(wanted: bool, path: Option<&Path>) -> Self {
        let path = path.map(Path::to_owned).or_else(|| if wanted { default_path() } else { None });
        Remembered(path.map(|path| FileCache::open(&path)))
    }

    pub fn as_cache(&self) -> Option<&dyn Cache> {
        self.0.as_ref().map(|cache| cache as &dyn Cache)
    }

    /// Writes what was learned. Answers what went wrong with the cache, for people.
    pub fn close(self) -> Vec<String> {
        self.0.map_or_else(Vec::new, |cache| {
            cache.save();
            cache.warnings()
        })
    }
}
