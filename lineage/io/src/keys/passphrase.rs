//! Where a passphrase or a PIN comes from: the environment, a file, or a terminal. Never an argument, which every user of a
//! machine can read.

use std::io::IsTerminal as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::Error;

/// The environment variable that holds the passphrase.
pub const VARIABLE: &str = "COUNTERMARK_PASSPHRASE";
/// The environment variable that names the file whose first line is the passphrase.
pub const FILE_VARIABLE: &str = "COUNTERMARK_PASSPHRASE_FILE";

/// Answers the passphrase of the key at a path.
pub type Passphrase<'a> = dyn Fn(&Path) -> Result<Zeroizing<String>, Error> + 'a;

/// The passphrase of `key`, from [`VARIABLE`], from the file named by [`FILE_VARIABLE`], or typed at a terminal.
///
/// # Errors
/// [`Error::Refused`] when none of them is there.
pub fn ask(key: &Path) -> Result<Zeroizing<String>, Error> {
    match given()? {
        Some(passphrase) => Ok(passphrase),
        None => type_in(key, &format!("Passphrase of {}: ", key.display())),
    }
}

/// A passphrase for new keys: given as for [`ask`], or typed twice.
///
/// # Errors
/// [`Error::Refused`] when there is none, it is empty, or the two differ.
pub fn choose(folder: &Path) -> Result<Zeroizing<String>, Error> {
    let chosen = match given()? {
        Some(passphrase) => passphrase,
        None => {
            let first = type_in(folder, "New passphrase: ")?;
            if type_in(folder, "The same again: ")? != first {
                return Err(Error::refused(folder, "the two passphrases differ", "start again; nothing was written"));
            }
            first
        }
    };
    if chosen.is_empty() {
        return Err(Error::refused(
            folder,
            "an empty passphrase protects nothing",
            "leave out --passphrase, or give one",
        ));
    }
    Ok(chosen)
}

fn given() -> Result<Option<Zeroizing<String>>, Error> {
    if let Some(text) = std::env::var_os(VARIABLE) {
        let text = text
            .into_string()
            .map_err(|_| Error::refused(Path::new(VARIABLE), "is not UTF-8", "choose a passphrase that is text"))?;
        return Ok(Some(Zeroizing::new(text)));
    }
    match std::env::var_os(FILE_VARIABLE) {
        Some(path) => first_line(Path::new(&path)).map(Some),
        None => Ok(None),
    }
}

/// The first line of a secret file.
///
/// # Errors
/// [`Error::Refused`] when others can read it.
pub fn first_line(path: &Path) -> Result<Zeroizing<String>, Error> {
    let text = super::read_secret(path)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Asks at the terminal, when a person sits there.
pub(super) fn type_in(key: &Path, prompt: &str) -> Result<Zeroizing<String>, Error> {
    let help = format!("set {VARIABLE}, or {FILE_VARIABLE} to a file that only you can read");
    if !std::io::stdin().is_terminal() {
        return Err(Error::refused(key, "needs a passphrase, and there is no terminal to ask at", help));
    }
    let typed = rpassword::prompt_password(prompt);
    typed.map(Zeroizing::new).map_err(|error| Error::refused(key, format!("no passphrase: {error}"), help))
}
