//! The file that holds the secret of salted record trees.
//!
//! Two lines, readable by its owner only: `countermark-record-salt/v1`, then `secret` and 64 hexadecimal digits.

use std::path::Path;

use countermark_lineage::digest::Hash;
use zeroize::Zeroizing;

use crate::{Error, files, keys};

const HEADER: &str = "countermark-record-salt/v1";

/// Reads the secret, or makes a new one when the file is not there.
///
/// # Errors
/// [`Error::Refused`] when others can read the file, or it holds something else.
pub fn load_or_create(path: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    if !path.exists() {
        let secret = keys::random();
        let digits: Zeroizing<String> = secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        let text = Zeroizing::new(format!("{HEADER}\nsecret {}\n", *digits));
        keys::write_new(path, &text, files::SECRET)?;
        return Ok(secret);
    }
    load(path)
}

/// Reads the secret.
///
/// # Errors
/// [`Error::Refused`] when others can read the file, or it holds something else.
pub fn load(path: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    let text = keys::read_secret(path)?;
    let mut lines = text.lines();
    let header = lines.next();
    let secret = lines.next().and_then(|line| Hash::parse(line.strip_prefix("secret ")?));
    match (header, secret, lines.next()) {
        (Some(HEADER), Some(secret), None) => Ok(Zeroizing::new(secret.0)),
        _ => Err(Error::refused(path, "is not a salt file", "name the file that `sign --records --salt FILE` made")),
    }
}
