//! Certificates that must not vouch for a manifest, against what `expected_base` says.

use std::time::Duration;

use countermark_io::c2pa::create;
use countermark_lineage::credential::c2pa::CERTIFICATE;
use countermark_lineage::verdict::State::{Invalid, Unknown, UnknownSigner};
use ed25519_dalek::{Signer as _, SigningKey};
use x509_cert::der::asn1::{BitString, OctetString, UtcTime};
use x509_cert::der::oid::{AssociatedOid as _, ObjectIdentifier};
use x509_cert::der::{DateTime, Decode as _, Encode as _};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};
use x509_cert::ext::{AsExtension as _, Extension};
use x509_cert::time::Time;
use x509_cert::{Certificate, TbsCertificate};

use crate::cases::stranger;
use crate::forge::Forge;
use crate::{BASE, Case, WORLD, case, release};

pub fn cases() -> Vec<Case> {
    let ca = BasicConstraints { ca: true, path_len_constraint: None }.to_extension(&Default::default(), &[]).unwrap();
    let unknown_root = create(release("x", BASE, 1), &stranger()).unwrap();
    vec![
        case("unknown-root", unknown_root, CERTIFICATE, UnknownSigner, "no given root vouches"),
        case("self-signed", self_signed(), CERTIFICATE, UnknownSigner, "no given root vouches"),
        case("cert-expired", expired(), CERTIFICATE, Unknown, "expired"),
        case("cert-not-yet", leaf(|tbs| shift(tbs, 10)), CERTIFICATE, Unknown, "valid from"),
        case("cert-too-long", leaf(stretch), CERTIFICATE, Invalid, "366 days"),
        case("cert-no-eku", without(ExtendedKeyUsage::OID), CERTIFICATE, Invalid, "no extended key usage"),
        case(
            "cert-any-eku",
            with(purposes(&["1.3.6.1.5.5.7.3.4", "2.5.29.37.0"])),
            CERTIFICATE,
            Invalid,
            "not allowed",
        ),
        case("cert-other-eku", with(purposes(&["1.3.6.1.5.5.7.3.1"])), CERTIFICATE, Invalid, "not for claims"),
        case("cert-no-ku", without(KeyUsage::OID), CERTIFICATE, Invalid, "no critical key usage"),
        case("cert-no-ski", without(SubjectKeyIdentifier::OID), CERTIFICATE, Invalid, "no subject key identifier"),
        case("cert-no-aki", without(AuthorityKeyIdentifier::OID), CERTIFICATE, Invalid, "no authority key identifier"),
        case("cert-ca-as-leaf", with(ca), CERTIFICATE, Invalid, "an authority's certificate"),
        case("cert-critical-extension", with(unknown_extension()), CERTIFICATE, Invalid, "critical extension"),
        case("cert-extension-twice", leaf(double), CERTIFICATE, Invalid, "stands there twice"),
        case("cert-not-of-root", not_of_root(), CERTIFICATE, Invalid, "was not issued by the next"),
    ]
}

/// The same leaf, signed once more.
pub fn unchanged() -> Vec<u8> {
    leaf(|_| {})
}

/// The base, signed under a leaf that was valid long ago.
pub fn expired() -> Vec<u8> {
    leaf(|tbs| shift(tbs, -400))
}

/// The base, signed under a changed leaf.
fn leaf(change: impl FnOnce(&mut TbsCertificate)) -> Vec<u8> {
    let mut leaf = Certificate::from_der(&WORLD.chain[0]).unwrap();
    change(&mut leaf.tbs_certificate);
    let chain = vec![signed(leaf, &WORLD.root), WORLD.chain[1].clone()];
    Forge { chain, ..Forge::base() }.seal()
}

fn signed(mut certificate: Certificate, key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&certificate.tbs_certificate.to_der().unwrap());
    certificate.signature = BitString::from_bytes(&signature.to_bytes()).unwrap();
    certificate.to_der().unwrap()
}

fn without(oid: ObjectIdentifier) -> Vec<u8> {
    leaf(|tbs| tbs.extensions.as_mut().unwrap().retain(|extension| extension.extn_id != oid))
}

fn with(replacement: Extension) -> Vec<u8> {
    leaf(|tbs| {
        let extensions = tbs.extensions.as_mut().unwrap();
        extensions.retain(|extension| extension.extn_id != replacement.extn_id);
        extensions.push(replacement);
    })
}

fn double(tbs: &mut TbsCertificate) {
    let extensions = tbs.extensions.as_mut().unwrap();
    extensions.push(extensions[0].clone());
}

fn purposes(oids: &[&str]) -> Extension {
    let oids = oids.iter().map(|oid| ObjectIdentifier::new_unwrap(oid)).collect();
    ExtendedKeyUsage(oids).to_extension(&Default::default(), &[]).unwrap()
}

fn unknown_extension() -> Extension {
    let extn_value = OctetString::new(&b"\x05\x00"[..]).unwrap();
    Extension { extn_id: ObjectIdentifier::new_unwrap("1.2.3.4"), critical: true, extn_value }
}

/// Moves the validity by so many days.
fn shift(tbs: &mut TbsCertificate, days: i64) {
    let moved = |time: Time| {
        let unix = time.to_unix_duration().as_secs() as i64 + days * 86_400;
        let date = DateTime::from_unix_duration(Duration::from_secs(unix as u64)).unwrap();
        Time::UtcTime(UtcTime::from_date_time(date).unwrap())
    };
    tbs.validity.not_before = moved(tbs.validity.not_before);
    tbs.validity.not_after = moved(tbs.validity.not_after);
}

/// As long as the root.
fn stretch(tbs: &mut TbsCertificate) {
    tbs.validity = Certificate::from_der(&WORLD.chain[1]).unwrap().tbs_certificate.validity;
}

/// A leaf alone, which its own key signed.
fn self_signed() -> Vec<u8> {
    let mut leaf = Certificate::from_der(&WORLD.chain[0]).unwrap();
    leaf.tbs_certificate.issuer = leaf.tbs_certificate.subject.clone();
    Forge { chain: vec![signed(leaf, &WORLD.leaf)], ..Forge::base() }.seal()
}

fn not_of_root() -> Vec<u8> {
    let leaf = Certificate::from_der(&WORLD.chain[0]).unwrap();
    let chain = vec![signed(leaf, &WORLD.leaf), WORLD.chain[1].clone()];
    Forge { chain, ..Forge::base() }.seal()
}
