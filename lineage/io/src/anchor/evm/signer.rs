//! Accounts that pay: a secp256k1 key in a file, or a program that signs.
//!
//! | what `--chain-key` names | |
//! |---|---|
//! | 64 hexadecimal digits, with or without `0x` | as wallets export a key |
//! | PKCS#8 PEM, encrypted or not, and SEC1 PEM | as `openssl ecparam -name secp256k1 -genkey` writes it |
//! | a TOML file that names a program | for keys in a service or a device |
//!
//! ```toml
//! schema = "countermark.dev/chain-signer/v1"
//! address = "0x…"
//! command = ["kms-sign", "--key", "anchor"]
//! timeout_seconds = 60
//! ```
//!
//! The program gets the 32 bytes that are to be signed on standard input, without hashing them again, and the address in
//! `COUNTERMARK_ADDRESS`. It answers r and s, 32 bytes each, with or without a byte of recovery behind them, or DER; or
//! either in hexadecimal digits or Base64. No answer is used that does not lead back to the address.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countermark_lineage::anchor::evm::hex::{self, Address, Fixed, Word};
use countermark_lineage::anchor::evm::keccak256;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use k256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rand_core::OsRng;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::keys::command::Program;
use crate::keys::{self, Block, passphrase, pkcs8};
use crate::{Error, files};

const SCHEMA: &str = "countermark.dev/chain-signer/v1";
const MAX_KEY: u64 = 64 << 10;
const HELP: &str =
    "name a secp256k1 key; `countermark keygen --chain-key FILE` makes one, and docs/anchoring.md says more";

/// An account of a chain that this process can sign for.
pub struct Account {
    /// Its address.
    pub address: Address,
    place: PathBuf,
    signs: Signs,
}

enum Signs {
    Key(SigningKey),
    Program(Program),
}

/// A signature from which the signer can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whether the y of its point is odd.
    pub is_odd: bool,
    /// Big-endian.
    pub r: [u8; 32],
    /// Big-endian, in the lower half.
    pub s: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    schema: String,
    address: Address,
    command: Vec<String>,
    timeout_seconds: Option<u64>,
}

/// The last 20 bytes of the hash of a key (yellow paper, appendix F).
fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    let Fixed(hash) = keccak256(&point.as_bytes()[1..]);
    let mut address = Address::default();
    address.0.copy_from_slice(&hash[12..]);
    address
}

impl Account {
    /// Reads the key, or the file that names who has it.
    ///
    /// # Errors
    /// [`Error::Refused`] when others can read the key, or it is none.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = Zeroizing::new(files::read_text(path, MAX_KEY)?);
        let refuse = |problem: String| Error::refused(path, problem, HELP);
        if text.contains("countermark.dev/chain-signer/") {
            keys::check_unwritable(path)?;
            let config: Config =
                toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))?;
            if config.schema != SCHEMA || config.command.is_empty() {
                return Err(refuse(format!("must have the schema {SCHEMA:?} and a command")));
            }
            let folder = std::path::absolute(files::parent(path)).map_err(Error::io(path, "check the path"))?;
            let timeout = std::time::Duration::from_secs(config.timeout_seconds.unwrap_or(60).clamp(1, 3600));
            let program = Program { command: config.command, folder, timeout };
            return Ok(Account { address: config.address, place: path.to_owned(), signs: Signs::Program(program) });
        }
        keys::check_secret(path)?;
        let key = match Block::first(&text) {
            Some(block) if block.label == "EC PRIVATE KEY" && !block.text.contains("ENCRYPTED") => {
                k256::SecretKey::from_sec1_pem(block.text).ok().map(SigningKey::from)
            }
            Some(block) => {
                let document = pkcs8::document(path, &block, &passphrase::ask)?;
                SigningKey::from_pkcs8_der(document.as_bytes()).ok()
            }
            None => from_digits(&text),
        };
        let key = key.ok_or_else(|| refuse("is not a private key of secp256k1".to_owned()))?;
        let address = address_of(key.verifying_key());
        Ok(Account { address, place: path.to_owned(), signs: Signs::Key(key) })
    }

    /// Signs a hash. The same hash has the same signature, when the key is a file.
    ///
    /// # Errors
    /// When the program does not answer with a signature of this account.
    pub fn sign(&self, hash: &Word) -> Result<Signed, Error> {
        let help = "run the command by hand; docs/anchoring.md says what it gets and must answer";
        let refuse = |problem: String| Error::refused(&self.place, problem, help);
        let signature = match &self.signs {
            Signs::Key(key) => {
                let signed = key.sign_prehash_recoverable(&hash.0).map_err(|error| refuse(error.to_string()))?;
                vec![signed.0]
            }
            Signs::Program(program) => {
                let environment =
                    [("COUNTERMARK_INPUT", "hash".to_owned()), ("COUNTERMARK_ADDRESS", self.address.to_string())];
                forms(&program.ask(&environment, hash.0.to_vec()).map_err(refuse)?)
            }
        };
        let signed = signature.iter().find_map(|signature| recoverable(signature, hash, &self.address));
        signed.ok_or_else(|| refuse(format!("the answer is not a signature of {}", self.address)))
    }
}

fn from_digits(text: &str) -> Option<SigningKey> {
    let digits = text.trim();
    let digits = Zeroizing::new(format!("0x{}", digits.strip_prefix("0x").unwrap_or(digits)));
    SigningKey::from_slice(&Zeroizing::new(hex::decode(&digits)?)).ok()
}

/// Whatever an answer may be read as.
fn forms(answer: &[u8]) -> Vec<Signature> {
    let text: String = String::from_utf8_lossy(answer).split_whitespace().collect();
    let digits = hex::decode(&format!("0x{}", text.strip_prefix("0x").unwrap_or(&text)));
    let bytes = [Some(answer.to_vec()), digits, BASE64_STANDARD.decode(&text).ok()];
    let read = |bytes: Vec<u8>| {
        let fixed = matches!(bytes.len(), 64 | 65).then(|| Signature::from_slice(&bytes[..64]).ok()).flatten();
        fixed.or_else(|| Signature::from_der(&bytes).ok())
    };
    bytes.into_iter().flatten().filter_map(read).collect()
}

/// With s in the lower half, and the parity that leads back to the address.
fn recoverable(signature: &Signature, hash: &Word, address: &Address) -> Option<Signed> {
    let signature = signature.normalize_s().unwrap_or(*signature);
    let is_ours = |is_odd: &bool| {
        let key = VerifyingKey::recover_from_prehash(&hash.0, &signature, RecoveryId::new(*is_odd, false));
        key.is_ok_and(|key| address_of(&key) == *address)
    };
    let is_odd = [false, true].into_iter().find(is_ours)?;
    Some(Signed { is_odd, r: signature.r().to_bytes().into(), s: signature.s().to_bytes().into() })
}

/// Makes a key and writes it as PKCS#8 PEM. Answers its address.
///
/// # Errors
/// [`Error::Refused`] when there is such a file already.
pub fn generate(path: &Path) -> Result<Address, Error> {
    let key = SigningKey::random(&mut OsRng);
    let pem = key.to_pkcs8_pem(k256::pkcs8::LineEnding::LF);
    let pem = pem.map_err(|error| Error::refused(path, error.to_string(), "try again"))?;
    keys::write_new(path, &pem, files::SECRET)?;
    Ok(address_of(key.verifying_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first account of the mnemonic with which test nodes start, known to everybody.
    const DEV: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const DEV_ADDRESS: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

    fn secret(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        files::write(&path, text.as_bytes(), files::SECRET).unwrap();
        path
    }

    #[test]
    fn keys_are_read_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        let key = from_digits(DEV).unwrap();
        let pem = key.to_pkcs8_pem(Default::default()).unwrap();
        let sec1 = k256::SecretKey::from(&key).to_sec1_pem(Default::default()).unwrap();
        for (at, text) in [DEV, &format!("0x{DEV}\n"), &pem, &sec1].into_iter().enumerate() {
            let account = Account::load(&secret(folder.path(), &at.to_string(), text)).unwrap();
            assert_eq!(account.address.to_string(), DEV_ADDRESS);
        }
        for wrong in ["", &DEV[1..], &"0".repeat(64), &"f".repeat(64)] {
            assert!(Account::load(&secret(folder.path(), "wrong", wrong)).is_err(), "{wrong}");
        }
        let made = folder.path().join("made");
        let address = generate(&made).unwrap();
        assert_eq!(Account::load(&made).unwrap().address, address);
        assert!(generate(&made).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = secret(folder.path(), "key", DEV);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Account::load(&path).err().unwrap().to_string().contains("chmod 600"));
    }

    #[cfg(unix)]
    #[test]
    fn a_program_signs_in_every_form_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let key = from_digits(DEV).unwrap();
        let hash = keccak256(b"message");
        let (low, _) = key.sign_prehash_recoverable(&hash.0).unwrap();
        let high = Signature::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).unwrap();
        let expected = recoverable(&low, &hash, &Address::parse(DEV_ADDRESS).unwrap()).unwrap();
        let other = from_digits(&"1".repeat(64)).unwrap().sign_prehash_recoverable(&hash.0).unwrap().0;
        let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let digits = hex::encode(&low.to_bytes());
        for (answer, is_good) in [
            (base64(&low.to_bytes()), true),
            (base64(&high.to_bytes()), true),
            (base64(low.to_der().as_bytes()), true),
            (digits.clone(), true),
            (format!("{}1b", &digits[2..]), true),
            (base64(&other.to_bytes()), false),
            (digits[..100].to_owned(), false),
            (String::new(), false),
        ] {
            let text =
                format!("schema = \"{SCHEMA}\"\naddress = \"{DEV_ADDRESS}\"\ncommand = [\"echo\", \"{answer}\"]\n");
            let account = Account::load(&secret(folder.path(), "signer.toml", &text)).unwrap();
            match account.sign(&hash) {
                Ok(signed) => assert!(is_good && signed == expected, "{answer}"),
                Err(error) => assert!(!is_good, "{answer}: {error}"),
            }
        }
    }
}
