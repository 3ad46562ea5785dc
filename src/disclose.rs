//! Discloses one group of a mark, so that somebody else can look for it.

use std::path::{Path, PathBuf};

use countermark_io::files;
use countermark_watermark::{Commitment, Disclosure};

use crate::Error;
use crate::keyset::MarkFile;
use crate::marks::{self, MAX_RECORD};

/// What to disclose.
#[derive(Clone, Debug)]
pub struct Request {
    /// `owner.mark.key`.
    pub key: PathBuf,
    /// The commitment record of the mark.
    pub commitment: PathBuf,
    /// Which group, 0 to 3.
    pub group: usize,
    /// The payload, when it was the caller's own.
    pub payload: Option<Vec<u8>>,
    /// Where the disclosure goes.
    pub out: PathBuf,
}

/// Writes the disclosure, after the owner's note says that the group is disclosed and no longer to be relied on.
///
/// # Errors
/// A key that does not open the record, a payload that is missing, or a file that cannot be written.
pub fn disclose(request: &Request) -> Result<Disclosure, Error> {
    let owner = MarkFile::load(&request.key)?;
    let commitment = Commitment::from_json_bytes(&files::read(&request.commitment, MAX_RECORD)?)?;
    let disclosure = Disclosure::new(&commitment, &owner.secret, request.group, request.payload.as_deref())?;
    remember(&request.commitment, request.group)?;
    files::write(&request.out, &disclosure.to_json_bytes(), files::SECRET)?;
    Ok(disclosure)
}

fn remember(record: &Path, group: usize) -> Result<(), Error> {
    let Some(mut note) = marks::read_note(record) else {
        let help = "give the record in the folder marks/ beside the key, where its note lies too";
        return Err(countermark_io::Error::refused(record, "has no note of the owner's beside it", help).into());
    };
    if !note.disclosed.contains(&group) {
        note.disclosed.push(group);
        note.disclosed.sort_unstable();
        marks::write_note(record, &note)?;
    }
    Ok(())
}
