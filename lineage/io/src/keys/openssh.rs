//! OpenSSH's own form of private keys (its PROTOCOL.key), of Ed25519 only.

use std::path::Path;
use std::sync::Arc;

use countermark_lineage::credential::keys::PrivateKey;
use ssh_key::private::KeypairData;
use ssh_key::{Kdf, PrivateKey as SshKey};

use super::Block;
use super::passphrase::Passphrase;
use crate::Error;

pub(super) const LABEL: &str = "OPENSSH PRIVATE KEY";

/// Most rounds of bcrypt that are run; `ssh-keygen` writes 16 or 24.
const MOST_ROUNDS: u32 = 1000;

pub(super) fn read(path: &Path, block: &Block<'_>, passphrase: &Passphrase<'_>) -> Result<Arc<dyn PrivateKey>, Error> {
    let refuse = |problem: String| {
        Error::refused(path, problem, "make one with `ssh-keygen -t ed25519`, or see docs/keys.md for other kinds")
    };
    let mut key =
        SshKey::from_openssh(block.text).map_err(|error| refuse(format!("is not a key of OpenSSH: {error}")))?;
    if key.is_encrypted() {
        if let Kdf::Bcrypt { rounds, .. } = key.kdf()
            && *rounds > MOST_ROUNDS
        {
            return Err(refuse("asks for too many rounds to derive its key from a passphrase".into()));
        }
        let secret = passphrase(path)?;
        key = key.decrypt(secret.as_bytes()).map_err(|error| {
            Error::refused(
                path,
                format!("does not open with this passphrase ({error})"),
                format!("try again, or run `ssh-keygen -y -f {}`", path.display()),
            )
        })?;
    }
    match key.key_data() {
        KeypairData::Ed25519(pair) => {
            let key = ed25519_dalek::SigningKey::from_bytes(&pair.private.to_bytes());
            if key.verifying_key().as_bytes() != &pair.public.0 {
                return Err(refuse("holds a public key that is not its own".into()));
            }
            Ok(Arc::new(key))
        }
        _ => {
            Err(refuse(format!("is a key of type {}; of OpenSSH's keys only ssh-ed25519 signs here", key.algorithm())))
        }
    }
}
