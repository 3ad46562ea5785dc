//! The error of every job: the part's own message, which says what, where and how to mend it.

use countermark_io::c2pa::C2paError;
use countermark_io::certificate::CertificateError;

/// What went wrong in a job.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a key or the log.
    #[error(transparent)]
    Io(#[from] countermark_io::Error),
    /// Evidence, or what was asked for.
    #[error(transparent)]
    Lineage(#[from] countermark_lineage::Error),
    /// The mark.
    #[error(transparent)]
    Watermark(#[from] countermark_watermark::Error),
    /// A model file.
    #[error("{path}: {source}")]
    Format {
        /// Which file or folder.
        path: String,
        /// What is wrong with it.
        source: countermark_formats::Error,
    },
    /// The C2PA manifest.
    #[error(transparent)]
    Manifest(#[from] C2paError),
    /// The certificates.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Error {
    /// True when the caller asked for something that cannot be done, false when bytes are wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Lineage(countermark_lineage::Error::Usage { .. }))
    }
}
