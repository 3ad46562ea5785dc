//! What can be wrong with records.

use std::io;

/// Records that cannot be read. Offsets are bytes from the start of the file, after decompression.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed, or its compression is broken.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The framing breaks a rule.
    #[error("byte {offset}: {problem}")]
    Bad {
        /// Where.
        offset: u64,
        /// Which rule.
        problem: String,
        /// What to do next.
        help: &'static str,
    },
}

impl Error {
    /// An [`Error::Bad`].
    pub fn bad(offset: u64, problem: impl Into<String>, help: &'static str) -> Self {
        Error::Bad { offset, problem: problem.into(), help }
    }

    /// What to do next.
    pub fn help(&self) -> &'static str {
        match self {
            Error::Read(_) => "the file is cut short, damaged or changed meanwhile; fetch it again",
            Error::Bad { help, .. } => help,
        }
    }

    /// A record above [`super::MAX_RECORD`].
    pub(super) fn too_long(offset: u64) -> Self {
        let problem = format!("a record of more than {} MiB begins here", super::MAX_RECORD >> 20);
        Error::bad(offset, problem, "is this the right format? Name another one with --records=FORMAT")
    }
}
