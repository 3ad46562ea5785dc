//! The crate's error: always the path, and what to do next.

use std::io;
use std::path::Path;

/// What went wrong, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}\nhelp: {help}")]
    Io {
        /// Which file or folder.
        path: String,
        /// What it said.
        source: io::Error,
        /// What to do next.
        help: String,
    },
    /// A file is there but cannot be used as it is.
    #[error("{path}: {problem}\nhelp: {help}")]
    Refused {
        /// Which file or folder.
        path: String,
        /// Why not.
        problem: String,
        /// What to do next.
        help: String,
    },
    /// Bytes do not say what they must.
    #[error(transparent)]
    Lineage(#[from] countermark_lineage::Error),
}

impl Error {
    /// Wraps what the operating system said about `path`.
    pub fn io(path: &Path, help: &str) -> impl FnOnce(io::Error) -> Self {
        let (path, help) = (path.display().to_string(), help.to_owned());
        move |source| Error::Io { path, source, help }
    }

    /// A file that cannot be used as it is.
    pub fn refused(path: &Path, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Refused { path: path.display().to_string(), problem: problem.into(), help: help.into() }
    }
}
