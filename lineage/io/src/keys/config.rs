//! The TOML file that says where a key is that is no file: behind a program, or in a device. Also the URI of a key in a
//! device (RFC 7512).
//!
//! ```toml
//! schema = "countermark.dev/signer/v1"
//! public_key = "p256:02…"                # or PEM, or the path of a PEM file
//! command = ["kms-sign", "--key", "release"]
//! timeout_seconds = 30
//! ```
//!
//! ```toml
//! schema = "countermark.dev/signer/v1"
//!
//! [pkcs11]
//! module = "/usr/lib/softhsm/libsofthsm2.so"
//! token = "release"
//! label = "owner"                        # or id = "01ab"
//! pin_file = "pin"                       # or pin_env = "RELEASE_PIN"; asked for at a terminal when left out
//! ```
//!
//! Relative paths start at the folder of the file.

use std::path::{Path, PathBuf};

use countermark_lineage::credential::keys::PublicKey;
use serde::Deserialize;

use super::command::Program;
use crate::{Error, files};

const SCHEMA: &str = "countermark.dev/signer/v1";
const HELP: &str = "see docs/keys.md for the file of a signer";

/// What the file names.
pub enum Config {
    /// A program that signs.
    Command(CommandConfig),
    /// A key in a device.
    Pkcs11(Pkcs11Config),
}

/// A program that signs.
pub struct CommandConfig {
    /// The key that verifies its answers.
    pub public_key: PublicKey,
    /// The program, its folder and its time.
    pub program: Program,
}

/// A key in a device.
pub struct Pkcs11Config {
    /// The device's library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: Option<String>,
    /// Serial number of the token.
    pub serial: Option<String>,
    /// Label of the key.
    pub label: Option<String>,
    /// Id of the key.
    pub id: Option<Vec<u8>>,
    /// Where the PIN is.
    pub pin: Pin,
    /// The key that verifies, for devices that do not keep it.
    pub public_key: Option<PublicKey>,
}

/// Where a PIN is.
pub enum Pin {
    /// The first line of this file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// With a person, at a terminal or at the device.
    Typed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: String,
    public_key: Option<String>,
    command: Option<Vec<String>>,
    timeout_seconds: Option<u64>,
    pkcs11: Option<Pkcs11Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pkcs11Text {
    module: PathBuf,
    token: Option<String>,
    serial: Option<String>,
    label: Option<String>,
    id: Option<String>,
    pin_file: Option<PathBuf>,
    pin_env: Option<String>,
}

/// Does this text look like the file of a signer?
pub(super) fn is_config(text: &str) -> bool {
    text.contains("countermark.dev/signer/")
}

/// Reads the file of a signer.
///
/// # Errors
/// [`Error::Refused`] with the line.
pub fn parse(path: &Path, text: &str) -> Result<Config, Error> {
    let refuse = |problem: String| Error::refused(path, problem, HELP);
    let parsed: Text = toml::from_str(text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))?;
    if parsed.schema != SCHEMA {
        return Err(refuse(format!("schema {:?} is not {SCHEMA:?}", parsed.schema)));
    }
    let folder = std::path::absolute(files::parent(path)).map_err(Error::io(path, "check the path"))?;
    let public_key = parsed.public_key.map(|text| public_key(path, &folder, &text)).transpose()?;
    match (parsed.command, parsed.pkcs11) {
        (Some(command), None) => {
            let public_key =
                public_key.ok_or_else(|| refuse("names no public_key to check the answers with".into()))?;
            if command.is_empty() {
                return Err(refuse("command is empty".into()));
            }
            let timeout = std::time::Duration::from_secs(parsed.timeout_seconds.unwrap_or(60).clamp(1, 3600));
            Ok(Config::Command(CommandConfig { public_key, program: Program { command, folder, timeout } }))
        }
        (None, Some(device)) => {
            if parsed.timeout_seconds.is_some() {
                return Err(refuse("timeout_seconds belongs to a command".into()));
            }
            let id =
                device.id.as_deref().map(|digits| hex(digits).ok_or_else(|| refuse("id is not hexadecimal".into())));
            let pin = match (device.pin_file, device.pin_env) {
                (Some(file), None) => Pin::File(folder.join(file)),
                (None, Some(variable)) => Pin::Environment(variable),
                (None, None) => Pin::Typed,
                (Some(_), Some(_)) => return Err(refuse("names both pin_file and pin_env".into())),
            };
            Ok(Config::Pkcs11(Pkcs11Config {
                module: folder.join(device.module),
                token: device.token,
                serial: device.serial,
                label: device.label,
                id: id.transpose()?,
                pin,
                public_key,
            }))
        }
        _ => Err(refuse("names neither or both of command and [pkcs11]".into())),
    }
}

/// The text form, PEM, or the path of a PEM file.
fn public_key(path: &Path, folder: &Path, text: &str) -> Result<PublicKey, Error> {
    if let Some(key) = PublicKey::parse(text.trim()) {
        return Ok(key);
    }
    let pem =
        if text.contains("-----BEGIN") { text.to_owned() } else { files::read_text(&folder.join(text), 64 << 10)? };
    super::public_from_pem(&pem).ok_or_else(|| {
        Error::refused(path, "public_key is neither a key's text form, nor a PEM public key, nor a file with one", HELP)
    })
}

/// Reads the URI of a key in a device (RFC 7512).
///
/// # Errors
/// [`Error::Refused`] for what cannot be asked for here: silence would sign with another key.
pub fn from_uri(uri: &str) -> Result<Pkcs11Config, Error> {
    let help = "write pkcs11:token=TOKEN;object=LABEL?module-path=LIBRARY&pin-source=file:PIN_FILE";
    let refuse = |problem: String| Error::refused(Path::new("pkcs11 URI"), problem, help);
    let rest = uri.strip_prefix("pkcs11:").ok_or_else(|| refuse("does not begin with pkcs11:".into()))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut token, mut serial, mut label, mut id, mut module) = (None, None, None, None, None);
    let mut pin = None;
    let parts = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
    for part in parts {
        let (name, value) = part.split_once('=').ok_or_else(|| refuse(format!("{part:?} has no =")))?;
        let bytes = unescape(value).ok_or_else(|| refuse(format!("{name}: escapes are % and two digits")))?;
        let text = || String::from_utf8(bytes.clone()).map_err(|_| refuse(format!("{name} is not UTF-8")));
        let is_new = match name {
            "token" => token.replace(text()?).is_none(),
            "serial" => serial.replace(text()?).is_none(),
            "object" => label.replace(text()?).is_none(),
            "id" => id.replace(bytes).is_none(),
            "type" if bytes == b"private" => true,
            "module-path" => module.replace(PathBuf::from(text()?)).is_none(),
            "pin-source" => {
                let source = text()?;
                let file = source.strip_prefix("file:").unwrap_or(&source);
                if file.starts_with('|') {
                    return Err(refuse("pin-source: a program is not run for a PIN".into()));
                }
                let file = file.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(file);
                pin.replace(Pin::File(file.into())).is_none()
            }
            "pin-value" => return Err(refuse("pin-value: every user of this machine can read an argument".into())),
            other => return Err(refuse(format!("{other} is not supported"))),
        };
        if !is_new {
            return Err(refuse(format!("{name} stands there twice")));
        }
    }
    let module = module.ok_or_else(|| refuse("names no module-path".into()))?;
    Ok(Pkcs11Config { module, token, serial, label, id, pin: pin.unwrap_or(Pin::Typed), public_key: None })
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2)?;
        bytes.extend(hex(std::str::from_utf8(digits).ok()?)?);
        rest = &rest[2..];
    }
    Some(bytes)
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_the_standard() {
        let uri = "pkcs11:token=My%20token;object=owner;type=private;id=%01%ab\
                   ?module-path=/lib/m.so&pin-source=file:///etc/pin";
        let config = from_uri(uri).unwrap();
        assert_eq!(config.token.as_deref(), Some("My token"));
        assert_eq!(config.label.as_deref(), Some("owner"));
        assert_eq!(config.id.as_deref(), Some(&[1, 0xab][..]));
        assert_eq!(config.module, Path::new("/lib/m.so"));
        assert!(matches!(config.pin, Pin::File(path) if path == Path::new("/etc/pin")));
        for (bad, problem) in [
            ("pkcs11:token=a", "no module-path"),
            ("pkcs11:token=a;token=b?module-path=/m", "twice"),
            ("pkcs11:token=a?module-path=/m&pin-value=1234", "pin-value"),
            ("pkcs11:token=a?module-path=/m&pin-source=|cat", "program"),
            ("pkcs11:token=a;slot-id=1?module-path=/m", "slot-id is not supported"),
            ("pkcs11:type=cert?module-path=/m", "type is not supported"),
            ("pkcs11:token=%4?module-path=/m", "escapes"),
            ("pkcs11:token=%+1?module-path=/m", "escapes"),
            ("pkcs11:token=%ff?module-path=/m", "UTF-8"),
            ("pkcs11:token?module-path=/m", "has no ="),
            ("pkcs12:", "does not begin"),
        ] {
            let error = from_uri(bad).err().unwrap().to_string();
            assert!(error.contains(problem), "{bad}: {error}");
        }
    }

    #[test]
    fn files_that_say_too_much_or_too_little() {
        let key = "public_key = \"ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c\"";
        let schema = "schema = \"countermark.dev/signer/v1\"";
        let at = Path::new("/keys/signer.toml");
        for (text, problem) in [
            (format!("{schema}\n{key}"), "neither or both"),
            (format!("{schema}\n{key}\ncommand = [\"x\"]\n[pkcs11]\nmodule = \"m\""), "neither or both"),
            (format!("{schema}\ncommand = [\"x\"]"), "no public_key"),
            (format!("{schema}\n{key}\ncommand = []"), "empty"),
            (format!("{schema}\n{key}\ncommand = \"x -y\""), "command"),
            (format!("{schema}\n{key}\ncommand = [\"x\"]\nshell = true"), "shell"),
            ("schema = \"countermark.dev/signer/v9\"".to_owned(), "is not"),
            (format!("{schema}\n[pkcs11]\nmodule = \"m\"\nid = \"abc\""), "hexadecimal"),
            (format!("{schema}\n[pkcs11]\nmodule = \"m\"\npin = \"1234\""), "pin"),
            (format!("{schema}\n[pkcs11]\nmodule = \"m\"\npin_env = \"A\"\npin_file = \"b\""), "both"),
        ] {
            let error = parse(at, &text).err().unwrap_or_else(|| panic!("{text}")).to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
        let Ok(Config::Command(config)) = parse(at, &format!("{schema}\n{key}\ncommand = [\"x\", \"-y\"]")) else {
            panic!("refused")
        };
        assert_eq!((config.program.command.len(), config.program.folder), (2, PathBuf::from("/keys")));
    }
}
