//! A key that stays in a device which speaks PKCS#11 (version 2.40 or 3): ECDSA over P-256, P-384 and P-521, and Ed25519
//! where the device has it.
//!
//! The PIN is tried once: devices lock themselves after a few wrong ones. No signature is used that the public key does not
//! verify.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use countermark_lineage::Error as LineageError;
use countermark_lineage::credential::keys::{Algorithm, PrivateKey, PublicKey};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as DeviceError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::config::{Pin, Pkcs11Config};
use super::{command, passphrase};
use crate::Error;

/// A key in a device.
pub struct Device {
    /// One at a time: a session has one state.
    session: Mutex<Session>,
    key: ObjectHandle,
    public: PublicKey,
    /// The file or URI that names it, for messages.
    place: PathBuf,
}

impl Device {
    /// Opens a session, logs in, and finds the one key that is asked for.
    ///
    /// # Errors
    /// [`Error::Refused`] when the library, the token or the key is not there, and when the PIN is wrong.
    pub fn open(place: &Path, config: &Pkcs11Config) -> Result<Self, Error> {
        let help = "see docs/keys.md for keys in devices";
        let refuse = |problem: String| Error::refused(place, problem, help);
        let told = |what: &'static str| move |error: DeviceError| refuse(format!("{what}: {error}"));
        let context =
            Pkcs11::new(&config.module).map_err(|error| refuse(format!("{}: {error}", config.module.display())))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(DeviceError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(told("the device's library does not start")(error)),
        }
        let slot = find_token(&context, config, place)?;
        let session = context.open_ro_session(slot).map_err(told("no session"))?;
        login(&context, &session, slot, config, place)?;

        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Sign(true)];
        template.extend(names(config));
        let found = session.find_objects(&template).map_err(told("cannot look for the key"))?;
        let wanted = match (&config.label, &config.id) {
            (Some(label), _) => format!("{label:?}"),
            (None, Some(id)) => format!("with id {}", id.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            (None, None) => "without a name".to_owned(),
        };
        let [key] = *found else {
            return Err(refuse(format!("the token holds {} private keys {wanted} that sign", found.len())));
        };
        let public = match config.public_key {
            Some(public) => public,
            None => read_public(&session, key, config, place)?,
        };
        Ok(Device { session: Mutex::new(session), key, public, place: place.to_owned() })
    }
}

fn names(config: &Pkcs11Config) -> impl Iterator<Item = Attribute> {
    let label = config.label.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec()));
    let id = config.id.as_ref().map(|id| Attribute::Id(id.clone()));
    label.into_iter().chain(id)
}

/// The one token that is asked for.
fn find_token(context: &Pkcs11, config: &Pkcs11Config, place: &Path) -> Result<Slot, Error> {
    let help = "list the tokens with `pkcs11-tool --list-slots` or `softhsm2-util --show-slots`";
    let refuse = |problem: String| Error::refused(place, problem, help);
    let slots = context.get_slots_with_initialized_token().map_err(|error| refuse(format!("no slots: {error}")))?;
    let mut seen = Vec::new();
    let mut fitting = Vec::new();
    for slot in slots {
        let Ok(token) = context.get_token_info(slot) else { continue };
        let is_asked = config.token.as_deref().is_none_or(|label| label == token.label())
            && config.serial.as_deref().is_none_or(|serial| serial == token.serial_number());
        if is_asked {
            fitting.push(slot);
        }
        seen.push(format!("{:?}", token.label()));
    }
    match *fitting {
        [slot] => Ok(slot),
        _ => Err(refuse(format!("{} tokens fit, of those that are there: {}", fitting.len(), seen.join(", ")))),
    }
}

fn login(context: &Pkcs11, session: &Session, slot: Slot, config: &Pkcs11Config, place: &Path) -> Result<(), Error> {
    let has_keypad = context.get_token_info(slot).is_ok_and(|token| token.protected_authentication_path());
    let pin = match &config.pin {
        Pin::File(path) => Some(passphrase::first_line(path)?),
        Pin::Environment(variable) => Some(std::env::var(variable).map(Zeroizing::new).map_err(|_| {
            Error::refused(place, format!("{variable}, which should hold the PIN, is not set"), "set it")
        })?),
        Pin::Typed if has_keypad => None,
        Pin::Typed => Some(passphrase::type_in(place, "PIN of the device: ").map_err(|_| {
            let help = "name a file that only you can read with pin_file or pin-source";
            Error::refused(place, "needs a PIN, and there is no terminal to ask at", help)
        })?),
    };
    let pin = pin.map(|pin| AuthPin::from(pin.as_str()));
    match session.login(UserType::User, pin.as_ref()) {
        Ok(()) | Err(DeviceError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(DeviceError::Pkcs11(RvError::PinIncorrect, _)) => {
            let help = "check it; devices lock themselves after a few wrong ones";
            Err(Error::refused(place, "the PIN is wrong", help))
        }
        Err(DeviceError::Pkcs11(RvError::PinLocked, _)) => {
            Err(Error::refused(place, "the device is locked", "unlock it with its own tools and its second PIN"))
        }
        Err(error) => Err(Error::refused(place, format!("cannot log in: {error}"), "check the device")),
    }
}

/// The public key: of the object beside the private key, by their common id.
fn read_public(session: &Session, key: ObjectHandle, config: &Pkcs11Config, place: &Path) -> Result<PublicKey, Error> {
    let refuse = |problem: String| {
        let help = "name the public key as public_key in the file of the signer";
        Error::refused(place, problem, help)
    };
    let told = |error: DeviceError| refuse(format!("cannot read the public key: {error}"));
    let mut template = vec![Attribute::Class(ObjectClass::PUBLIC_KEY)];
    let attributes = session.get_attributes(key, &[AttributeType::Id, AttributeType::KeyType]).map_err(told)?;
    let mut kind = None;
    for attribute in attributes {
        match attribute {
            Attribute::Id(id) if !id.is_empty() => template.push(Attribute::Id(id)),
            Attribute::KeyType(found) => kind = Some(found),
            _ => {}
        }
    }
    if template.len() == 1 {
        template.extend(names(config));
    }
    let found = session.find_objects(&template).map_err(told)?;
    let [public] = *found else {
        return Err(refuse(format!("the token holds {} public keys beside the private one", found.len())));
    };
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(told)?;
    let point = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(point),
        _ => None,
    });
    let point = point.ok_or_else(|| refuse("the public key has no point".into()))?;
    // PKCS#11 wraps the point into an OCTET STRING; some devices do not.
    let inner: Option<&[u8]> = match *point {
        [4, length, ref rest @ ..] if rest.len() == usize::from(length) => Some(rest),
        [4, 0x81, length, ref rest @ ..] if rest.len() == usize::from(length) => Some(rest),
        _ => None,
    };
    let curves: &[Algorithm] = match kind {
        Some(KeyType::EC) => &[Algorithm::P256, Algorithm::P384, Algorithm::P521],
        Some(KeyType::EC_EDWARDS) => &[Algorithm::Ed25519],
        _ => return Err(refuse("the key is neither of ECDSA nor of Ed25519".into())),
    };
    let forms = [inner, Some(&*point)].into_iter().flatten();
    forms
        .into_iter()
        .flat_map(|form| curves.iter().filter_map(move |curve| PublicKey::from_bytes(*curve, form)))
        .next()
        .ok_or_else(|| refuse("the key is not of P-256, P-384, P-521 or Ed25519".into()))
}

impl PrivateKey for Device {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, LineageError> {
        let refuse = |problem: String| {
            LineageError::input(self.place.display().to_string(), problem, "check the device, and try again")
        };
        let algorithm = self.public.algorithm();
        let mechanism = match algorithm {
            Algorithm::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
            _ => Mechanism::Ecdsa,
        };
        let (input, _) = command::input(algorithm, message);
        let session = self.session.lock().map_err(|_| refuse("an earlier signature failed".into()))?;
        let answer =
            session.sign(&mechanism, self.key, &input).map_err(|error| refuse(format!("no signature: {error}")))?;
        command::accept(&self.public, message, &answer)
            .ok_or_else(|| refuse(format!("the device's answer is not a signature of {}", self.public.short())))
    }
}
