//! The owner's keys: made together, found beside one another.
//!
//! | file | what it is |
//! |---|---|
//! | `owner.key` `owner.pub` | signs statements, entries and manifests: Ed25519, or ECDSA |
//! | `owner.crt` `owner.root.key` | certificate of that key with its root; the root's key, to renew the leaf |
//! | `owner.mark.key` | the secret of the marks, and whose it is |
//! | `owner.p256.key` `owner.p256.pub` `owner.p256.crt` | P-256, for OpenSSF Model Signing, and its certificate |
//! | `policy.toml` | trusts these keys |
//! | `marks/` | commitment records of the marks struck with `owner.mark.key` |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use countermark_io::certificate::{self, Chain, Profile};
use countermark_io::log::Log;
use countermark_io::{files, keys};
use countermark_lineage::credential::c2pa::certificate_key;
use countermark_lineage::credential::keys::{Algorithm, PublicKey};
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::graph::statement::rfc3339;
use countermark_watermark::MarkSecret;
use zeroize::Zeroizing;

use crate::Error;

/// The files that [`generate`] makes, in the order in which a person reads about them.
pub const FILES: [&str; 9] = [
    "owner.key",
    "owner.pub",
    "owner.crt",
    "owner.root.key",
    "owner.mark.key",
    "owner.p256.key",
    "owner.p256.pub",
    "owner.p256.crt",
    "policy.toml",
];

/// What keys to make.
pub struct NewKeys {
    /// Named in certificates and in the policy.
    pub name: String,
    /// The kind of `owner.key`.
    pub algorithm: Algorithm,
    /// Encrypts the private keys. The secret of the marks is not one of them.
    pub passphrase: Option<Zeroizing<String>>,
    /// A key that is there already, as [`keys::load`] finds it, to be used instead of a new `owner.key`.
    pub key: Option<PathBuf>,
}

impl NewKeys {
    /// An Ed25519 key, unencrypted.
    pub fn new(name: impl Into<String>) -> Self {
        NewKeys { name: name.into(), algorithm: Algorithm::Ed25519, passphrase: None, key: None }
    }
}

/// Makes all keys of one owner, named `name` in certificates and in the policy.
///
/// # Errors
/// [`countermark_io::Error::Refused`] when one of the files is there already; nothing is written then.
pub fn generate(folder: &Path, name: &str) -> Result<PublicKey, Error> {
    generate_with(folder, &NewKeys::new(name))
}

/// As [`generate`], with a choice of keys.
///
/// # Errors
/// As [`generate`], and when the given key cannot be used.
pub fn generate_with(folder: &Path, new: &NewKeys) -> Result<PublicKey, Error> {
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
    let name = &*new.name;
    let passphrase = new.passphrase.as_deref().map(String::as_str);
    let (owner, public) = match &new.key {
        Some(path) => (None, keys::load(path)?.public()),
        None => {
            let (pem, key) = keys::pkcs8::generate(new.algorithm, passphrase)?;
            (Some(pem), key.public())
        }
    };
    // The root signs certificates for longer than anything else is used, in validators of every age.
    let (root_pem, root) = keys::pkcs8::generate(Algorithm::Ed25519, passphrase)?;
    let chain = certificate::issue(&*root, &public, name, now())?;
    let (p256_pem, p256) = keys::pkcs8::generate(Algorithm::P256, passphrase)?;
    let p256 = p256.public();
    let p256_chain = certificate::renew(&chain, &*root, &p256, Profile::CodeSigning, now())?;
    let mark = MarkFile { secret: MarkSecret::from_bytes(*keys::random()), owner: public };
    let policy = policy_text(name, &[public, p256], &chain.root_pem);
    let contents: [(Option<&str>, u32); FILES.len()] = [
        (owner.as_deref().map(String::as_str), files::SECRET),
        (Some(&public.to_pem()), files::PUBLIC),
        (Some(&chain.to_pem()), files::PUBLIC),
        (Some(&root_pem), files::SECRET),
        (Some(&mark.to_text()), files::SECRET),
        (Some(&p256_pem), files::SECRET),
        (Some(&p256.to_pem()), files::PUBLIC),
        (Some(&p256_chain.to_pem()), files::PUBLIC),
        (Some(&policy), files::PUBLIC),
    ];
    for (file, (text, mode)) in FILES.into_iter().zip(contents) {
        if let Some(text) = text {
            keys::write_new(&folder.join(file), text, mode)?;
        }
    }
    Ok(public)
}

fn policy_text(name: &str, keys: &[PublicKey], root_pem: &str) -> String {
    let name = toml_string(name);
    let signers: String = keys.iter().map(|key| format!("[[signer]]\nname = {name}\nkey = \"{key}\"\n\n")).collect();
    format!(
        "# Whom to believe, and for what. Whoever holds this file trusts the keys in it: get it from their owner directly.\n\
         schema = \"countermark.dev/policy/v1\"\n\n\
         {signers}[[certificate_root]]\nname = {name}\ncertificate = \"\"\"\n{root_pem}\"\"\"\n"
    )
}

/// A certificate that was renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The new certificate, under the name of the old one.
    pub certificate: PathBuf,
    /// Where the old one went.
    pub kept: PathBuf,
    /// The first second in which the new leaf is not valid any more, in Unix time.
    pub expires: i64,
}

/// Issues the leaves in `folder` anew with `owner.root.key`, and keeps the old ones beside them. Roots and keys stay, so no
/// policy changes.
///
/// # Errors
/// When certificates or the root's key are missing, or do not belong together; nothing is replaced then.
pub fn renew(folder: &Path) -> Result<Vec<Renewed>, Error> {
    let root = keys::load(&folder.join("owner.root.key"))?;
    let now = now();
    let mut renewed = Vec::new();
    for (file, profile) in [("owner.crt", Profile::Claims), ("owner.p256.crt", Profile::CodeSigning)] {
        let path = folder.join(file);
        if file != "owner.crt" && fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let old = read_chain(&path)?;
        let leaf = certificate_key(&old.to_der()?[0])?;
        let new = certificate::renew(&old, &*root, &leaf, profile, now)?;
        renewed.push((path, old, new));
    }
    let write = |(path, old, new): (PathBuf, Chain, Chain)| {
        let kept = free_name(&path, &rfc3339(now)[..10]);
        keys::write_new(&kept, &old.to_pem(), files::PUBLIC)?;
        files::write(&path, new.to_pem().as_bytes(), files::PUBLIC)?;
        Ok(Renewed { certificate: path, kept, expires: new.expires()? })
    };
    renewed.into_iter().map(write).collect()
}

/// `PATH.DATE`, or with a number behind it when there is one of that day already.
fn free_name(path: &Path, date: &str) -> PathBuf {
    let named = |suffix: String| PathBuf::from(format!("{}.{date}{suffix}", path.display()));
    let numbered = (2..).map(|number| named(format!("-{number}")));
    let mut names = std::iter::once(named(String::new())).chain(numbered);
    names.find(|name| fs::symlink_metadata(name).is_err()).unwrap_or_else(|| named("-old".into()))
}

/// Reads a file of certificates, the leaf first.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn read_chain(path: &Path) -> Result<Chain, Error> {
    if !path.is_file() {
        let help = "a C2PA manifest needs one: name it with --certificate, or have `countermark keygen` issue it";
        return Err(countermark_io::Error::refused(path, "there is no certificate", help).into());
    }
    let text = files::read_text(path, 1 << 20)?;
    Ok(Chain::from_pem(&text)?)
}

/// Days until a certificate expires below which people are told.
pub const SOON: i64 = 30;

/// What to tell about a leaf that expires within [`SOON`] days, or has.
pub fn expiry_warning(chain: &Chain, path: &Path, now: i64) -> Result<Option<String>, Error> {
    let expires = chain.expires()?;
    let left = expires.saturating_sub(now);
    if left >= SOON * 86_400 {
        return Ok(None);
    }
    let when = if left > 0 { format!("expires in {} days", left / 86_400) } else { "has expired".to_owned() };
    let folder = files::parent(path).display();
    Ok(Some(format!(
        "the certificate {} {when}, on {}; renew it with `countermark keygen --renew --out {folder}`",
        path.display(),
        &rfc3339(expires)[..10],
    )))
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

/// The file `name` in the folder of `key`; for a key in a device, in the current one.
pub fn beside(key: &Path, name: &str) -> PathBuf {
    if keys::is_uri(key) { name.into() } else { files::parent(key).join(name) }
}

/// The certificate of `key`: the file that was named, or the one with the key's name, or `owner.crt` beside it.
pub fn certificate_path(key: &Path, named: Option<&Path>) -> PathBuf {
    if let Some(path) = named {
        return path.to_owned();
    }
    let own = key.with_extension("crt");
    if own.is_file() && !keys::is_uri(key) { own } else { beside(key, "owner.crt") }
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
        if Policy::parse(&text).is_ok_and(|policy| policy.knows_log(log.verifier())) {
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
