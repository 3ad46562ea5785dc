//! Time-stamps (RFC 3161, with RFC 5816): an authority's signed word that something existed at a time.
//!
//! A token is CMS SignedData (RFC 5652) around what the authority states. Demanded are one signer, its certificate with the
//! purpose of time-stamping and no other, signed attributes that name content and certificate, and a path to a given root
//! that is valid at the stated time. The time is that of the statement, never another one that the signer may have added.

mod message;

use cms::cert::CertificateChoices;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{CertificateSet, SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{Null, ObjectIdentifier, OctetStringRef};
use der::{Any, Decode, Encode};
use sha1::Sha1;
use sha2::Digest as _;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier};
use x509_cert::spki::AlgorithmIdentifierOwned;

pub use message::{Query, response_of, token_of};

use super::c2pa::Refusal;
use super::x509::signature::{self, HashFunction};
use super::x509::{self, path};
use crate::Error;
use message::{Accuracy, Info, SigningCertificate};

/// The longest token that is parsed, in bytes. Real ones have 1 to 8 KiB.
pub const MAX_TOKEN: usize = 64 << 10;
/// The most certificates in a token.
const MAX_CERTIFICATES: usize = 10;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RSA PKCS#1 v1.5 with SHA-256, SHA-384, SHA-512: another way to write [`RSA`] beside a hash.
const RSA_WITH_HASH: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"),
];

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The stated time, in whole Unix seconds.
    pub time: i64,
    /// By how many seconds the authority says that it may be off.
    pub accuracy: i64,
    /// Who states it.
    pub authority: String,
    /// The given root that vouches for it.
    pub root: String,
}

/// A token whose shape is right. Nothing is verified.
struct Token {
    /// DER of what is stated.
    content: Vec<u8>,
    info: Info,
    time: i64,
    signer: SignerInfo,
    /// Of the signer, and all others.
    leaf: Certificate,
    others: Vec<Certificate>,
}

fn refuse(problem: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("time-stamp: {problem}"))
}

/// `known` are certificates beside those in the token, which may leave out all of them.
fn parse(token: &[u8], known: &[Vec<u8>]) -> Result<Token, Refusal> {
    let found = framed(token)?;
    let known = known.iter().filter_map(|der| x509::parse(der).ok());
    let (mut leaf, mut others) = (None, Vec::new());
    for certificate in found.certificates.into_iter().chain(known) {
        if leaf.is_none() && is_named(&certificate, &found.signer.sid) {
            leaf = Some(certificate);
        } else {
            others.push(certificate);
        }
    }
    let leaf = leaf.ok_or_else(|| refuse("the signer's certificate is not in the token"))?;
    Ok(Token { content: found.content, info: found.info, time: found.time, signer: found.signer, leaf, others })
}

/// What can be read in a token before its signer's certificate is known.
struct Framed {
    content: Vec<u8>,
    info: Info,
    time: i64,
    signer: SignerInfo,
    certificates: Vec<Certificate>,
}

/// The certificates that a token holds, in DER; none when it cannot be read. Nothing is verified.
pub fn certificates(token: &[u8]) -> Vec<Vec<u8>> {
    let held = framed(token).map(|framed| framed.certificates).unwrap_or_default();
    held.iter().filter_map(|certificate| certificate.to_der().ok()).collect()
}

fn framed(token: &[u8]) -> Result<Framed, Refusal> {
    if token.len() > MAX_TOKEN {
        return Err(refuse(format!("the token is above {} KiB", MAX_TOKEN >> 10)));
    }
    let unreadable = |error: der::Error| refuse(format!("the token cannot be parsed: {error}"));
    let outer = ContentInfo::from_der(token).map_err(unreadable)?;
    if outer.content_type != SIGNED_DATA {
        return Err(refuse(format!("the token is of type {}, not signed data", outer.content_type)));
    }
    let signed: SignedData = outer.content.decode_as().map_err(unreadable)?;
    if signed.encap_content_info.econtent_type != TST_INFO {
        return Err(refuse(format!("the content is of type {}", signed.encap_content_info.econtent_type)));
    }
    let content = signed.encap_content_info.econtent.ok_or_else(|| refuse("the token has no content"))?;
    let content = content.decode_as::<OctetStringRef<'_>>().map_err(unreadable)?.as_bytes().to_vec();
    let info = Info::read(&content)?;
    let time = info.time.unix().ok_or_else(|| refuse("the time is not in UTC, or not in DER"))?;
    let signers = signed.signer_infos.0.into_vec();
    let Ok([signer]) = <[SignerInfo; 1]>::try_from(signers) else {
        return Err(refuse("the token does not have exactly one signer"));
    };
    let certificates = signed.certificates.map(|set| set.0.into_vec()).unwrap_or_default();
    if certificates.len() > MAX_CERTIFICATES {
        return Err(refuse(format!("more than {MAX_CERTIFICATES} certificates")));
    }
    let x509 = |choice| match choice {
        CertificateChoices::Certificate(certificate) => Ok(certificate),
        CertificateChoices::Other(_) => {
            Err(Refusal::unsupported("time-stamp: a certificate that is not one of X.509".into()))
        }
    };
    let certificates = certificates.into_iter().map(x509).collect::<Result<_, _>>()?;
    Ok(Framed { content, info, time, signer, certificates })
}

/// True when `id` names this certificate.
fn is_named(certificate: &Certificate, id: &SignerIdentifier) -> bool {
    let tbs = &certificate.tbs_certificate;
    match id {
        SignerIdentifier::IssuerAndSerialNumber(id) => id.issuer == tbs.issuer && id.serial_number == tbs.serial_number,
        SignerIdentifier::SubjectKeyIdentifier(id) => {
            tbs.get::<SubjectKeyIdentifier>().ok().flatten().is_some_and(|(_, found)| found == *id)
        }
    }
}

/// Checks that `token` is an authority's word over `message`, and that one of `anchors` (DER) vouches for that authority,
/// perhaps through `known` certificates (DER) that the token leaves out.
pub(super) fn check(token: &[u8], message: &[u8], known: &[Vec<u8>], anchors: &[Vec<u8>]) -> Result<Stamp, Refusal> {
    let token = parse(token, known)?;
    check_statement(&token, message)?;
    check_path(&token, anchors)
}

/// Everything but the path to a root.
fn check_statement(token: &Token, message: &[u8]) -> Result<(), Refusal> {
    let algorithm = &token.info.imprint.hash_algorithm.oid;
    let hash = HashFunction::from_oid(algorithm).ok_or_else(|| {
        Refusal::unsupported(format!("time-stamp: imprint by hash {algorithm}; only SHA-2 is checked"))
    })?;
    if hash.digest(message) != token.info.imprint.hashed_message.as_bytes() {
        return Err(refuse("it is about other bytes"));
    }
    check_signature(token)?;
    check_leaf(&token.leaf)
}

fn check_path(token: &Token, anchors: &[Vec<u8>]) -> Result<Stamp, Refusal> {
    let parsed = |certificate: &Certificate| {
        let der = certificate.to_der().map_err(|error| refuse(format!("a certificate: {error}")))?;
        x509::parse(&der).map_err(|refusal| refusal.within("time-stamp"))
    };
    let leaf = parsed(&token.leaf)?;
    let pool = token.others.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
    let anchors: Vec<Certificate> = anchors.iter().filter_map(|der| x509::parse(der).ok()).collect();
    let root = path::anchored(&leaf, &pool, &anchors, token.time).map_err(|refusal| refusal.within("time-stamp"))?;
    let accuracy = token.info.accuracy.as_ref().map_or(0, Accuracy::to_seconds);
    Ok(Stamp { time: token.time, accuracy, authority: x509::subject(&leaf), root: x509::subject(root) })
}

fn told(refusal: Refusal) -> Error {
    Error::input("token", refusal.problem(), "ask another time-stamping authority, or check the roots given for it")
}

/// As `check`, for callers that want an error.
///
/// # Errors
/// [`Error::Input`] with what is wrong.
pub fn verify(token: &[u8], message: &[u8], known: &[Vec<u8>], anchors: &[Vec<u8>]) -> Result<Stamp, Error> {
    check(token, message, known, anchors).map_err(told)
}

/// Checks that `token` is the word over `message` of whomever its certificate names, and not who vouches for that. The
/// stated time, in Unix seconds.
///
/// # Errors
/// [`Error::Input`] with what is wrong.
pub fn verify_without_root(token: &[u8], message: &[u8]) -> Result<i64, Error> {
    let checked = || {
        let token = parse(token, &[])?;
        check_statement(&token, message)?;
        Ok(token.time)
    };
    checked().map_err(told)
}

/// RFC 5652, 5.4, with the attributes that RFC 3161 asks for.
fn check_signature(token: &Token) -> Result<(), Refusal> {
    let signer = &token.signer;
    let algorithm = &signer.digest_alg.oid;
    let hash = HashFunction::from_oid(algorithm)
        .ok_or_else(|| Refusal::unsupported(format!("time-stamp: hash {algorithm}; only SHA-2 is checked")))?;
    let value = |oid| attribute(signer, oid);
    let content_type = value(CONTENT_TYPE)?.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    if content_type != Some(TST_INFO) {
        return Err(refuse("the signed content type is not that of a time-stamp"));
    }
    let digest = value(MESSAGE_DIGEST)?;
    let digest = digest.as_ref().and_then(|any| any.decode_as::<OctetStringRef<'_>>().ok());
    if digest.is_none_or(|digest| digest.as_bytes() != hash.digest(&token.content)) {
        return Err(refuse("the signed digest is not that of its content"));
    }
    check_certificate_id(token)?;
    let attributes = signer.signed_attrs.as_ref().and_then(|attributes| attributes.to_der().ok());
    let attributes = attributes.ok_or_else(|| refuse("no signed attributes"))?;
    let key = &token.leaf.tbs_certificate.subject_public_key_info;
    let signature = signer.signature.as_bytes();
    let holds = signature::verifies(key, &signer.signature_algorithm, Some(hash), &attributes, signature)
        .map_err(|refusal| refusal.within("time-stamp"))?;
    if holds { Ok(()) } else { Err(refuse("the signature is not by the key of its certificate")) }
}

/// The one value of a signed attribute, if that is there.
fn attribute(signer: &SignerInfo, oid: ObjectIdentifier) -> Result<Option<Any>, Refusal> {
    let attributes = signer.signed_attrs.iter().flat_map(|attributes| attributes.iter());
    let mut found = attributes.filter(|attribute| attribute.oid == oid);
    let Some(attribute) = found.next() else { return Ok(None) };
    match (attribute.values.as_slice(), found.next()) {
        ([value], None) => Ok(Some(value.clone())),
        _ => Err(refuse(format!("the signed attribute {oid} does not have exactly one value"))),
    }
}

/// The first certificate that the signed attribute names must be the signer's, or another with the same key could be put
/// in its place.
fn check_certificate_id(token: &Token) -> Result<(), Refusal> {
    let der = token.leaf.to_der().map_err(|error| refuse(format!("a certificate: {error}")))?;
    let (any, default) = match attribute(&token.signer, SIGNING_CERTIFICATE_V2)? {
        Some(any) => (any, HashFunction::Sha256.digest(&der)),
        None => match attribute(&token.signer, SIGNING_CERTIFICATE)? {
            // Here only a second pre-image would help an attacker, and SHA-1 still withstands that.
            Some(any) => (any, Sha1::digest(&der).to_vec()),
            None => return Err(refuse("no signed attribute names the signer's certificate")),
        },
    };
    let named = any.decode_as::<SigningCertificate<'_>>();
    let named = named.map_err(|error| refuse(format!("the name of the signer's certificate: {error}")))?;
    let id = named.certs.first().ok_or_else(|| refuse("no certificate is named"))?;
    let expected = match &id.algorithm {
        None => default,
        Some(algorithm) => {
            let hash = HashFunction::from_oid(&algorithm.oid);
            hash.map(|hash| hash.digest(&der)).ok_or_else(|| {
                Refusal::unsupported(format!("time-stamp: the certificate is named by hash {}", algorithm.oid))
            })?
        }
    };
    if id.hash.as_bytes() == expected { Ok(()) } else { Err(refuse("another certificate is named as the signer's")) }
}

/// RFC 3161, 2.3.
fn check_leaf(leaf: &Certificate) -> Result<(), Refusal> {
    let tbs = &leaf.tbs_certificate;
    let (Ok(purposes), Ok(usage)) = (tbs.get::<ExtendedKeyUsage>(), tbs.get::<KeyUsage>()) else {
        return Err(refuse("an extension of the signer's certificate cannot be parsed"));
    };
    match purposes {
        Some((true, ExtendedKeyUsage(purposes))) if purposes == [TIME_STAMPING] => {}
        _ => {
            return Err(refuse(
                "the signer's certificate is not for time-stamping alone, or does not say so critically",
            ));
        }
    }
    if usage.is_some_and(|(_, usage)| !usage.digital_signature() && !usage.non_repudiation()) {
        return Err(refuse("the signer's certificate may not sign"));
    }
    Ok(())
}

/// The token with everything left out that no signature covers and no check needs: other certificates than the signer's and
/// its issuers', revocation lists, unsigned attributes, and the choices of spelling.
///
/// One token has one such form, so whoever stores only this form notices any change of it.
///
/// # Errors
/// [`Error::Input`] when this is no token.
pub fn tidy(token: &[u8]) -> Result<Vec<u8>, Error> {
    tidied(token).map_err(told)
}

pub(super) fn tidied(token: &[u8]) -> Result<Vec<u8>, Refusal> {
    let Token { content, mut signer, leaf, others, .. } = parse(token, &[])?;
    signer.unsigned_attrs = None;
    signer.digest_alg.parameters = None;
    let algorithm = &mut signer.signature_algorithm;
    if algorithm.oid == RSA || RSA_WITH_HASH.contains(&algorithm.oid) {
        *algorithm = AlgorithmIdentifierOwned { oid: RSA, parameters: Some(Null.into()) };
    }
    signer.version = match signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(_) => CmsVersion::V1,
        SignerIdentifier::SubjectKeyIdentifier(_) => CmsVersion::V3,
    };
    let encode = || {
        let certificates = issuers(leaf, others).into_iter().map(CertificateChoices::Certificate).collect::<Vec<_>>();
        let signed = SignedData {
            version: CmsVersion::V3,
            digest_algorithms: vec![signer.digest_alg.clone()].try_into()?,
            encap_content_info: cms::signed_data::EncapsulatedContentInfo {
                econtent_type: TST_INFO,
                econtent: Some(Any::encode_from(&OctetStringRef::new(&content)?)?),
            },
            certificates: Some(CertificateSet::try_from(certificates)?),
            crls: None,
            signer_infos: vec![signer].try_into()?,
        };
        ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&signed)? }.to_der()
    };
    encode().map_err(|error: der::Error| refuse(error))
}

/// `leaf`, and those of `others` that lead up from it, without any that is signed by itself.
fn issuers(leaf: Certificate, mut others: Vec<Certificate>) -> Vec<Certificate> {
    others.retain(|certificate| certificate.tbs_certificate.issuer != certificate.tbs_certificate.subject);
    let mut kept = vec![leaf];
    let mut next = 0;
    while let Some(certificate) = kept.get(next) {
        let (found, rest) = others.into_iter().partition(|other| path::issued(certificate, other).unwrap_or(false));
        let found: Vec<Certificate> = found;
        others = rest;
        kept.extend(found);
        next += 1;
    }
    kept
}
