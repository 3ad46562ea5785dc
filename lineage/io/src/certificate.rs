//! Issues the certificates that signatures need: a root of the owner's own, and leaves for the signing keys.
//!
//! A leaf for claims follows the certificate profile of the C2PA specification (2.2, section 14.5), one for code signing is
//! what OpenSSF Model Signing asks for. Such a chain is trusted where its root is named in a policy, and nowhere else.

use countermark_lineage::credential::keys::{Algorithm, PrivateKey, PublicKey, signature_to_der};
use sha2::{Digest as _, Sha256};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, BitString, GeneralizedTime, OctetString, SetOfVec, UtcTime};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{self, DateTime, Decode as _, DecodePem as _, Encode as _, EncodePem as _, Tag};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{AsExtension as _, Extension};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};

/// How long a leaf is valid, in days. The profile allows 366.
pub const LEAF_DAYS: i64 = 365;
/// How long a root is valid, in days.
pub const ROOT_DAYS: i64 = 3652;
/// The longest name of an owner, in characters: X.520 allows 64, and the root's name adds a word.
pub const MAX_NAME: usize = 59;

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_WITH_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// What a leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Claims of C2PA.
    Claims,
    /// Bundles of OpenSSF Model Signing.
    CodeSigning,
}

impl Profile {
    /// For claims also e-mail protection, because older validators know only that.
    fn purposes(self) -> Vec<ObjectIdentifier> {
        let oids: &[&str] = match self {
            Profile::Claims => &["1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.4"],
            Profile::CodeSigning => &["1.3.6.1.5.5.7.3.3"],
        };
        oids.iter().map(|oid| ObjectIdentifier::new_unwrap(oid)).collect()
    }
}

/// The most certificates of a chain.
const MOST: usize = 5;

/// Why no certificate was issued or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The owner's name does not fit into a certificate.
    #[error(
        "the owner's name has {0} characters\nhelp: give a name of 1 to {MAX_NAME} characters without control characters"
    )]
    Name(usize),
    /// The file is not a leaf certificate followed by those above it.
    #[error(
        "certificates: {0}\nhelp: give the file owner.crt as keygen wrote it, or the leaf followed by the certificates above it"
    )]
    Chain(String),
    /// The root key is not the one of the root certificate.
    #[error("the root key does not belong to the root certificate\nhelp: use the owner.root.key beside this owner.crt")]
    RootKey,
    /// The key of the issuer does not answer.
    #[error(transparent)]
    Key(#[from] countermark_lineage::Error),
    /// A certificate could not be encoded, for example because of a time outside the years 1970 to 9999.
    #[error("certificate: {0}\nhelp: check the clock")]
    Encoding(#[from] der::Error),
}

/// A leaf and the certificates above it, each as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The certificate of the signing key.
    pub leaf_pem: String,
    /// Between leaf and root, the leaf's issuer first. Empty in a chain that keygen made.
    pub intermediates_pem: Vec<String>,
    /// The last certificate: of the root key, signed by itself, or of whoever a certificate was bought from.
    pub root_pem: String,
}

impl Chain {
    /// Reads what [`Chain::to_pem`] wrote; text around the certificates does not matter.
    ///
    /// # Errors
    /// [`CertificateError::Chain`] unless the text holds a leaf and at least one certificate above it.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let mut found = Vec::new();
        for (position, pem) in blocks(text).enumerate() {
            let pem = format!("{pem}\n");
            let refuse = |error| CertificateError::Chain(format!("number {}: {error}", position + 1));
            Certificate::from_pem(&pem).map_err(refuse)?;
            found.push(pem);
        }
        if !(2..=MOST).contains(&found.len()) {
            return Err(CertificateError::Chain(format!("expected 2 to {MOST} certificates, found {}", found.len())));
        }
        let mut found = found.into_iter();
        let (Some(leaf_pem), Some(root_pem)) = (found.next(), found.next_back()) else {
            return Err(CertificateError::Chain("no certificates".to_owned()));
        };
        Ok(Chain { leaf_pem, intermediates_pem: found.collect(), root_pem })
    }

    /// The content of `owner.crt`: the leaf, then what is above it.
    pub fn to_pem(&self) -> String {
        format!("{}{}{}", self.leaf_pem, self.intermediates_pem.concat(), self.root_pem)
    }

    /// Leaf and root as DER.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] when one of them is not a certificate.
    pub fn to_der(&self) -> Result<[Vec<u8>; 2], CertificateError> {
        Ok([Certificate::from_pem(&self.leaf_pem)?.to_der()?, Certificate::from_pem(&self.root_pem)?.to_der()?])
    }

    /// All certificates as DER, the leaf first.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] when one of them is not a certificate.
    pub fn all_der(&self) -> Result<Vec<Vec<u8>>, CertificateError> {
        let all = std::iter::once(&self.leaf_pem).chain(&self.intermediates_pem).chain([&self.root_pem]);
        all.map(|pem| Ok(Certificate::from_pem(pem)?.to_der()?)).collect()
    }

    /// The first second after the leaf's validity, in Unix time.
    ///
    /// # Errors
    /// [`CertificateError::Encoding`] when the leaf is not a certificate.
    pub fn expires(&self) -> Result<i64, CertificateError> {
        let until = Certificate::from_pem(&self.leaf_pem)?.tbs_certificate.validity.not_after.to_unix_duration();
        Ok(i64::try_from(until.as_secs()).unwrap_or(i64::MAX).saturating_add(1))
    }
}

/// All certificates in a PEM text, as DER.
///
/// # Errors
/// [`CertificateError::Encoding`] when one of them is none.
pub fn all(text: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    blocks(text).map(|pem| Ok(Certificate::from_pem(pem)?.to_der()?)).collect()
}

/// The PEM blocks of certificates in a text.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    text.split_inclusive(END).filter_map(|part| Some(&part[part.find(BEGIN)?..])).filter(|block| block.ends_with(END))
}

/// Issues a root for `root` and a leaf for `leaf`, valid from `now` (seconds since 1970). Both carry the owner's `name`.
///
/// # Errors
/// [`CertificateError::Name`] when the name is empty or too long, [`CertificateError::Encoding`] when the time is absurd.
pub fn issue(root: &dyn PrivateKey, leaf: &PublicKey, name: &str, now: i64) -> Result<Chain, CertificateError> {
    let length = name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || name.chars().any(char::is_control) {
        return Err(CertificateError::Name(length));
    }
    let authority = distinguished_name(&format!("{name} root"), name)?;
    let key = root.public();
    let extensions = vec![
        BasicConstraints { ca: true, path_len_constraint: Some(0) }.to_extension(&authority, &[])?,
        KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign).to_extension(&authority, &[])?,
        SubjectKeyIdentifier(key_identifier(&key)?).to_extension(&authority, &[])?,
    ];
    let root_certificate = sign(root, &authority, &authority, &key, (now, ROOT_DAYS), extensions)?;
    Ok(Chain {
        leaf_pem: issue_leaf(root, &authority, &distinguished_name(name, name)?, leaf, Profile::Claims, now)?,
        intermediates_pem: vec![],
        root_pem: root_certificate.to_pem(LineEnding::LF)?,
    })
}

/// Issues a new leaf for `leaf` under the root of `chain`, with the subject of its old leaf, valid from `now`.
///
/// # Errors
/// [`CertificateError::RootKey`] when `root` is not the key of that root.
pub fn renew(
    chain: &Chain,
    root: &dyn PrivateKey,
    leaf: &PublicKey,
    profile: Profile,
    now: i64,
) -> Result<Chain, CertificateError> {
    let [old_leaf, old_root] = chain.to_der()?;
    let (old_leaf, old_root) = (Certificate::from_der(&old_leaf)?, Certificate::from_der(&old_root)?);
    if old_root.tbs_certificate.subject_public_key_info.to_der()? != root.public().to_spki() {
        return Err(CertificateError::RootKey);
    }
    let (authority, subject) = (&old_root.tbs_certificate.subject, &old_leaf.tbs_certificate.subject);
    let leaf_pem = issue_leaf(root, authority, subject, leaf, profile, now)?;
    Ok(Chain { leaf_pem, intermediates_pem: vec![], root_pem: chain.root_pem.clone() })
}

fn issue_leaf(
    root: &dyn PrivateKey,
    authority: &Name,
    subject: &Name,
    leaf: &PublicKey,
    profile: Profile,
    now: i64,
) -> Result<String, CertificateError> {
    let authority_key = AuthorityKeyIdentifier {
        key_identifier: Some(key_identifier(&root.public())?),
        ..AuthorityKeyIdentifier::default()
    };
    let extensions = vec![
        BasicConstraints { ca: false, path_len_constraint: None }.to_extension(subject, &[])?,
        KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(subject, &[])?,
        ExtendedKeyUsage(profile.purposes()).to_extension(subject, &[])?,
        SubjectKeyIdentifier(key_identifier(leaf)?).to_extension(subject, &[])?,
        authority_key.to_extension(subject, &[])?,
    ];
    Ok(sign(root, authority, subject, leaf, (now, LEAF_DAYS), extensions)?.to_pem(LineEnding::LF)?)
}

/// One certificate: RFC 5280 with the algorithms of RFC 8410 and RFC 5758.
fn sign(
    root: &dyn PrivateKey,
    issuer: &Name,
    subject: &Name,
    key: &PublicKey,
    (start, days): (i64, i64),
    extensions: Vec<Extension>,
) -> Result<Certificate, CertificateError> {
    let issuer_key = root.public();
    let oid = match issuer_key.algorithm() {
        Algorithm::Ed25519 => ED25519,
        Algorithm::P256 => ECDSA_WITH_SHA256,
        Algorithm::P384 => ECDSA_WITH_SHA384,
        Algorithm::P521 => ECDSA_WITH_SHA512,
    };
    let algorithm = AlgorithmIdentifierOwned { oid, parameters: None };
    // Unique for each issuer, key and second, and needs no random number. The first bit is cleared: serials are positive.
    let mut serial = Sha256::new_with_prefix(issuer_key.as_bytes());
    serial.update(key.as_bytes());
    serial.update(start.to_be_bytes());
    let mut serial = serial.finalize();
    serial[0] = serial[0] & 0x7f | 0x40;

    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&serial[..16])?,
        signature: algorithm.clone(),
        issuer: issuer.clone(),
        validity: Validity { not_before: time(start)?, not_after: time(start.saturating_add(days * 86_400))? },
        subject: subject.clone(),
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&key.to_spki())?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions),
    };
    let signature = root.sign(&tbs_certificate.to_der()?)?;
    let signature = BitString::from_bytes(&signature_to_der(issuer_key.algorithm(), &signature))?;
    Ok(Certificate { tbs_certificate, signature_algorithm: algorithm, signature })
}

fn distinguished_name(common: &str, organisation: &str) -> der::Result<Name> {
    let part = |oid, text: &str| {
        let value = Any::new(Tag::Utf8String, text.as_bytes())?;
        Ok::<_, der::Error>(RelativeDistinguishedName(SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }])?))
    };
    Ok(RdnSequence(vec![part(ORGANISATION, organisation)?, part(COMMON_NAME, common)?]))
}

/// RFC 7093, section 2, method 1: the first 160 bits of the SHA-256 of the key.
fn key_identifier(key: &PublicKey) -> der::Result<OctetString> {
    let info = SubjectPublicKeyInfoOwned::from_der(&key.to_spki())?;
    OctetString::new(&Sha256::digest(info.subject_public_key.raw_bytes())[..20])
}

/// UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280, 4.1.2.5).
fn time(unix: i64) -> der::Result<Time> {
    let seconds = u64::try_from(unix).map_err(|_| der::ErrorKind::DateTime)?;
    let date = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds))?;
    Ok(if date.year() <= UtcTime::MAX_YEAR {
        Time::UtcTime(UtcTime::from_date_time(date)?)
    } else {
        Time::GeneralTime(GeneralizedTime::from_date_time(date))
    })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    const NOW: i64 = 1_795_000_000;

    #[test]
    fn a_chain_survives_its_file_and_a_renewal() {
        let (root, leaf) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let chain = issue(&root, &leaf.public(), "Ada Löwe", NOW).unwrap();
        assert_eq!(Chain::from_pem(&chain.to_pem()).unwrap(), chain);
        assert_eq!(issue(&root, &leaf.public(), "Ada Löwe", NOW).unwrap(), chain, "no hidden randomness");

        let renewed = renew(&chain, &root, &leaf.public(), Profile::Claims, NOW + 300 * 86_400).unwrap();
        assert_eq!(renewed.root_pem, chain.root_pem);
        assert_ne!(renewed.leaf_pem, chain.leaf_pem);
        assert!(matches!(renew(&chain, &leaf, &leaf.public(), Profile::Claims, NOW), Err(CertificateError::RootKey)));
    }

    #[test]
    fn names_and_files_that_do_not_fit_are_refused() {
        let key = SigningKey::from_bytes(&[1; 32]);
        for name in ["", &"x".repeat(60), "two\nlines"] {
            assert!(matches!(issue(&key, &key.public(), name, NOW), Err(CertificateError::Name(_))));
        }
        assert!(issue(&key, &key.public(), "x", -1).is_err());
        for text in ["", " ", "-----END CERTIFICATE-----", "-----END CERTIFICATE----------END CERTIFICATE-----", "x"] {
            assert!(matches!(Chain::from_pem(text), Err(CertificateError::Chain(_))), "{text}");
        }
    }
}
