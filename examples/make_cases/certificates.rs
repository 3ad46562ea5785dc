//! Certificates as a forger makes them: any names, times and purposes, one small DER encoder.

/// What stands in a certificate.
#[derive(Clone)]
pub struct Template<'a> {
    /// Common name of the subject.
    pub subject: &'a str,
    /// Common name of the issuer.
    pub issuer: &'a str,
    /// First and last day, as `YYYYMMDD`.
    pub valid: (&'a str, &'a str),
    /// An authority's.
    pub authority: bool,
    /// Bits of the key usage, the first one digital signature, the sixth keyCertSign; none when zero.
    pub usage: u8,
    /// Further extensions in DER.
    pub extensions: Vec<Vec<u8>>,
}

pub const DIGITAL_SIGNATURE: u8 = 0x80;
pub const CERTIFICATE_SIGN: u8 = 0x04;
/// 1.3.6.1.5.5.7.3.3
pub const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// Tag, length, content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = vec![tag];
    match length {
        0..0x80 => der.push(length as u8),
        0x80..0x100 => der.extend([0x81, length as u8]),
        _ => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    der.extend(content);
    der
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub fn oid(content: &[u8]) -> Vec<u8> {
    tlv(6, content)
}

/// An extension by its object identifier.
pub fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { vec![] };
    sequence(&[&oid(id), &critical, &tlv(4, value)])
}

/// Extended key usage with one purpose.
pub fn purpose(id: &[u8]) -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x25], false, &sequence(&[&oid(id)]))
}

pub fn name(common: &str) -> Vec<u8> {
    let attribute = sequence(&[&oid(&[0x55, 4, 3]), &tlv(12, common.as_bytes())]);
    if common.is_empty() { sequence(&[]) } else { sequence(&[&tlv(0x31, &attribute)]) }
}

pub fn time(day: &str) -> Vec<u8> {
    // UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280, 4.1.2.5).
    if *day < *"2050" {
        tlv(0x17, format!("{}000000Z", &day[2..]).as_bytes())
    } else {
        tlv(0x18, format!("{day}000000Z").as_bytes())
    }
}

impl Template<'_> {
    /// What is signed of a certificate.
    pub fn unsigned(&self, key: &[u8]) -> Vec<u8> {
        let mut extensions = Vec::new();
        if self.authority {
            extensions.extend(extension(&[0x55, 0x1d, 0x13], true, &sequence(&[&tlv(1, &[0xff])])));
        }
        if self.usage != 0 {
            let bits = tlv(3, &[self.usage.trailing_zeros() as u8, self.usage]);
            extensions.extend(extension(&[0x55, 0x1d, 0x0f], true, &bits));
        }
        self.extensions.iter().for_each(|extension| extensions.extend(extension));
        let extensions = if extensions.is_empty() { vec![] } else { tlv(0xa3, &tlv(0x30, &extensions)) };
        sequence(&[
            &tlv(0xa0, &tlv(2, &[2])),
            &tlv(2, &[1]),
            &sequence(&[&oid(ECDSA_WITH_SHA256)]),
            &name(self.issuer),
            &sequence(&[&time(self.valid.0), &time(self.valid.1)]),
            &name(self.subject),
            key,
            &extensions,
        ])
    }

    /// The certificate of `key` (SubjectPublicKeyInfo), signed by `issuer` with ECDSA over P-256 and SHA-256, in DER.
    pub fn certificate(&self, key: &[u8], issuer: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let unsigned = self.unsigned(key);
        let signature = issuer(&unsigned);
        sequence(&[&unsigned, &sequence(&[&oid(ECDSA_WITH_SHA256)]), &tlv(3, &[&[0][..], &signature].concat())])
    }
}
