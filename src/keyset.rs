//! The owner's keys: made together, found beside one another.
//!
//! | file | what it is |
//! |---|---|
//! | `owner.key` `owner.pub` | Ed25519, signs statements, entries and manifests |
//! | `owner.crt` `owner.root.key` | certificate of that key with its root; the root's key, to renew the leaf |
//! | `owner.mark.key` | the secret of the marks, and whose it is |
//! | `owner.p256.key` `owner.p256.pub` | P-256, for OpenSSF Model Signing |
//! | `policy.toml` | trusts these keys |
//! | `marks/` | commitment records of the marks struck with `owner.mark.key` |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use countermark_io::log::Log;
use countermark_io::{certificate, files, keys};
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::credential::policy::Policy;
use countermark_watermark::MarkSecret;

use crate::Error;

/// The files that [`generate`] makes, in the order in which a person reads about them.
pub const FILES: [&str; 8] = [
    "owner.key",
    "owner.pub",
    "owner.crt",
    "owner.root.key",
    "owner.mark.key",
    "owner.p256.key",
    "owner.p256.pub",
    "policy.toml",
];

/// Makes all keys of one owner, named `name` in certificates and in the policy.
///
/// # Errors
/// [`countermark_io::Error::Refused`] when one of the files is there already; nothing is written then.
pub fn generate(folder: &Path, name: &str) -> Result<PublicKey, Error> {
    for file in FILES {
        let path = folder.join(file);
        if fs::symlink_metadata(&path).is_ok() {
            let help = "choose another folder, or move the old keys away first";
            return Err(countermark_io::Error::refused(
                &path,
                "is there already, and a key is never overwritten",
                help,
            )
            .into());
        }
    }
    let (owner, root) = (keys::generate(), keys::generate());
    let public = PublicKey::from(owner.verifying_key());
    let chain = certificate::issue(&root, &public, name, now())?;
    let (p256, p256_public) = keys::generate_p256()?;
    let mark = MarkFile { secret: MarkSecret::from_bytes(*keys::random()), owner: public };
    let policy = policy_text(name, &public, &chain.root_pem);
    let contents: [(&str, &str, u32); 8] = [
        (FILES[0], &keys::to_pem(&owner)?, files::SECRET),
        (FILES[1], &keys::public_to_pem(&owner)?, files::PUBLIC),
        (FILES[2], &chain.to_pem(), files::PUBLIC),
        (FILES[3], &keys::to_pem(&root)?, files::SECRET),
        (FILES[4], &mark.to_text(), files::SECRET),
        (FILES[5], &p256, files::SECRET),
        (FILES[6], &p256_public, files::PUBLIC),
        (FILES[7], &policy, files::PUBLIC),
    ];
    for (file, text, mode) in contents {
        keys::write_new(&folder.join(file), text, mode)?;
    }
    Ok(public)
}

fn policy_text(name: &str, key: &PublicKey, root_pem: &str) -> String {
    let name = toml_string(name);
    format!(
        "# Whom to believe, and for what. Whoever holds this file trusts the keys in it: get it from their owner directly.\n\
         schema = \"countermark.dev/policy/v1\"\n\n\
         [[signer]]\nname = {name}\nkey = \"{key}\"\n\n\
         [[certificate_root]]\nname = {name}\ncertificate = \"\"\"\n{root_pem}\"\"\"\n"
    )
}

/// JSON strings are TOML basic strings.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The content of `owner.mark.key`.
pub struct MarkFile {
    /// The secret that all marks of this owner are derived from.
    pub secret: MarkSecret,
    /// The key that signs for this owner.
    pub owner: PublicKey,
}

impl MarkFile {
    const HEADER: &str = "countermark-mark-key/v1";

    /// Three lines: header, owner's public key, secret.
    fn to_text(&self) -> zeroize::Zeroizing<String> {
        let secret: zeroize::Zeroizing<String> =
            self.secret.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        zeroize::Zeroizing::new(format!("{}\nowner {}\nsecret {}\n", Self::HEADER, self.owner, *secret))
    }

    /// Reads `owner.mark.key`.
    ///
    /// # Errors
    /// [`countermark_io::Error::Refused`] when others can read the file, or it holds something else.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = keys::read_secret(path)?;
        let parsed = (|| {
            let mut lines = text.lines();
            lines.next().filter(|line| *line == Self::HEADER)?;
            let owner = PublicKey::parse(lines.next()?.strip_prefix("owner ")?)?;
            let secret = countermark_lineage::digest::Hash::parse(lines.next()?.strip_prefix("secret ")?)?;
            Some(MarkFile { secret: MarkSecret::from_bytes(secret.0), owner })
        })();
        parsed.ok_or_else(|| {
            let help = "name the file owner.mark.key that `countermark keygen` made";
            countermark_io::Error::refused(path, "is not a mark key", help).into()
        })
    }
}

/// The file `name` in the folder of `key`.
pub fn beside(key: &Path, name: &str) -> PathBuf {
    files::parent(key).join(name)
}

/// Reads a policy file.
///
/// # Errors
/// [`countermark_io::Error`] when it cannot be read, [`countermark_lineage::Error::Input`] with line and column.
pub fn load_policy(path: &Path) -> Result<Policy, Error> {
    const MAX_POLICY: u64 = 4 << 20;
    let text = files::read_text(path, MAX_POLICY)?;
    Policy::parse(&text).map_err(|error| {
        let help = "see the README for the policy file";
        countermark_io::Error::refused(path, error.problem(), help).into()
    })
}

/// Opens the log in `folder` or makes one; a new one is added to the policy beside `key`, whose owner made it.
///
/// # Errors
/// [`countermark_io::Error`] when the folder is not usable.
pub fn open_log(folder: &Path, key: &Path) -> Result<Log, Error> {
    let (log, is_new) = Log::open_or_create(folder)?;
    let policy = beside(key, "policy.toml");
    if is_new && policy.is_file() {
        let text = files::read_text(&policy, 4 << 20)?;
        let vkey = log.verifier().to_string();
        let text = format!("{text}\n[[log]]\nvkey = {}\n", toml_string(&vkey));
        // A policy that somebody edited into another shape is left as it is rather than broken.
        if Policy::parse(&text).is_ok_and(|policy| policy.logs.iter().any(|log| log.vkey == vkey)) {
            files::write(&policy, text.as_bytes(), files::PUBLIC)?;
        }
    }
    Ok(log)
}

/// Unix seconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
