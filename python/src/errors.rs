//! Which Python exception says that something went wrong. The classes are Python's own, in `countermark/errors.py`.

use countermark::io::c2pa::C2paError;
use countermark::{Error, formats, io, lineage, watermark};
use pyo3::PyErr;

pyo3::import_exception!(countermark.errors, CountermarkError);
pyo3::import_exception!(countermark.errors, FileError);
pyo3::import_exception!(countermark.errors, InputError);

/// Who is to blame.
enum Blame {
    /// The operating system.
    File,
    /// What the caller gave.
    Input,
    /// Neither.
    Other,
}

/// The exception, with the error's own message.
pub fn raise(error: Error) -> PyErr {
    let message = error.to_string();
    match blame(&error) {
        Blame::File => FileError::new_err(message),
        Blame::Input => InputError::new_err(message),
        Blame::Other => CountermarkError::new_err(message),
    }
}

/// A value of the caller's that is wrong: what, and what to give instead.
pub fn usage(problem: impl Into<String>, help: &str) -> Error {
    lineage::Error::usage(problem, help).into()
}

fn blame(error: &Error) -> Blame {
    match error {
        Error::Io(io::Error::Io { .. }) => Blame::File,
        Error::Io(io::Error::Refused { .. }) => Blame::Input,
        Error::Io(io::Error::Lineage(error)) | Error::Lineage(error) => match error {
            lineage::Error::Io { .. } => Blame::File,
            lineage::Error::Input { .. } | lineage::Error::Usage { .. } => Blame::Input,
        },
        Error::Format { source, .. } | Error::Watermark(watermark::Error::Weights(source)) => match source {
            formats::Error::Read { .. } => Blame::File,
            _ => Blame::Input,
        },
        Error::Watermark(watermark::Error::Write { .. }) => Blame::File,
        Error::Watermark(watermark::Error::Tensor(_)) => Blame::Other,
        Error::Watermark(_) | Error::Certificate(_) => Blame::Input,
        Error::Manifest(C2paError::Io { .. }) => Blame::File,
        Error::Manifest(C2paError::Crate(_) | C2paError::Verify(_)) => Blame::Other,
        Error::Manifest(_) => Blame::Input,
    }
}
