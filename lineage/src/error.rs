//! The crate's error, split by who is to blame.

use std::io;

/// What went wrong, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes from elsewhere do not say what they must.
    #[error("{place}: {problem}\nhelp: {help}")]
    Input {
        /// Which object, and where in it: a path, a line, a byte offset.
        place: String,
        /// What is wrong there.
        problem: String,
        /// What to do next.
        help: String,
    },
    /// A source of bytes failed.
    #[error("{place}: {source}")]
    Io {
        /// Which source.
        place: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The caller asked for something that cannot be done.
    #[error("{problem}\nhelp: {help}")]
    Usage {
        /// What was asked for.
        problem: String,
        /// What to ask for instead.
        help: String,
    },
}

impl Error {
    /// An [`Error::Input`].
    pub fn input(place: impl Into<String>, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Input { place: place.into(), problem: problem.into(), help: help.into() }
    }

    /// An [`Error::Usage`].
    pub fn usage(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Usage { problem: problem.into(), help: help.into() }
    }

    /// Wraps an I/O error with the name of the source.
    pub fn io(place: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let place = place.into();
        move |source| Error::Io { place, source }
    }

    /// The message without its help, for a row of a verdict.
    pub fn problem(&self) -> String {
        match self {
            Error::Input { place, problem, .. } => format!("{place}: {problem}"),
            Error::Io { place, source } => format!("{place}: {source}"),
            Error::Usage { problem, .. } => problem.clone(),
        }
    }
}
