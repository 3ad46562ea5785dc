//! The messages of RFC 3161: what a client asks, what an authority answers, what a token states.

use der::asn1::{AnyRef, BitStringRef, Int, Null, ObjectIdentifier, OctetString, SequenceRef};
use der::{Any, Decode, DecodeValue, Encode, EncodeValue, FixedTag, Header, Length, Reader, Sequence, Tag, Writer};
use x509_cert::ext::Extension;
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

use crate::Error;
use crate::credential::c2pa::Refusal;

/// What [`verify`](super::verify) says about the hash of SHA-2 that a request uses.
pub(super) const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// A request for a token over a message whose SHA-256 is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// SHA-256 of the message.
    pub imprint: [u8; 32],
    /// A number that the authority repeats, so that an old answer cannot be played again.
    pub nonce: u64,
}

/// `TimeStampReq` (2.4.1).
#[derive(Sequence)]
struct Request<'a> {
    version: u8,
    message_imprint: Imprint<'a>,
    nonce: u64,
    cert_req: bool,
}

#[derive(Sequence)]
struct Imprint<'a> {
    hash_algorithm: AlgorithmIdentifierRef<'a>,
    hashed_message: der::asn1::OctetStringRef<'a>,
}

/// `TimeStampResp` (2.4.2).
#[derive(Sequence)]
struct Response<'a> {
    status: Status<'a>,
    #[asn1(optional = "true")]
    token: Option<AnyRef<'a>>,
}

/// `PKIStatusInfo`.
#[derive(Sequence)]
struct Status<'a> {
    status: u32,
    #[asn1(optional = "true")]
    text: Option<Vec<String>>,
    #[asn1(optional = "true")]
    failure: Option<BitStringRef<'a>>,
}

impl Query {
    /// The request in DER, to be sent as `application/timestamp-query`. It asks for the authority's certificates.
    pub fn to_der(&self) -> Vec<u8> {
        let encode = || {
            let algorithm = AlgorithmIdentifierRef { oid: SHA256, parameters: Some(Null.into()) };
            let hashed_message = der::asn1::OctetStringRef::new(&self.imprint)?;
            let message_imprint = Imprint { hash_algorithm: algorithm, hashed_message };
            Request { version: 1, message_imprint, nonce: self.nonce, cert_req: true }.to_der()
        };
        // Numbers and 32 bytes fit into any DER.
        encode().unwrap_or_default()
    }

    /// The token in an authority's answer (`application/timestamp-reply`), which must repeat imprint and nonce. Its
    /// signature is not verified yet.
    ///
    /// # Errors
    /// [`Error::Input`] when the answer is a refusal, or to another question.
    pub fn token(&self, answer: &[u8]) -> Result<Vec<u8>, Error> {
        let token = token_of(answer)?;
        let info = super::framed(&token).map_err(super::told)?.info;
        if info.imprint.hash_algorithm.oid != SHA256 || info.imprint.hashed_message.as_bytes() != self.imprint {
            return Err(refuse("the answer is about other bytes than were sent".into()));
        }
        let nonce = Int::new(&signed(self.nonce)).ok();
        if info.nonce.is_none() || info.nonce != nonce {
            return Err(refuse("the answer does not repeat the number that was sent, so it may be an old one".into()));
        }
        Ok(token)
    }
}

fn refuse(problem: String) -> Error {
    Error::input("time-stamp", problem, "try again, or ask another time-stamping authority")
}

/// The token in an answer to any question.
///
/// # Errors
/// [`Error::Input`] when the answer is a refusal, or none.
pub fn token_of(answer: &[u8]) -> Result<Vec<u8>, Error> {
    let response =
        Response::from_der(answer).map_err(|error| refuse(format!("the answer is not one of RFC 3161: {error}")))?;
    // Granted, or granted with modifications.
    if response.status.status > 1 {
        let text = response.status.text.unwrap_or_default().join("; ");
        let text = crate::verdict::printable(&text, 400);
        return Err(refuse(format!("the authority refuses (status {}): {text}", response.status.status)));
    }
    let token = response.token.and_then(|token| token.to_der().ok());
    token.ok_or_else(|| refuse("the answer holds no token".into()))
}

/// A token as an authority answers with it: `TimeStampResp`, granted. Empty when `token` is not DER.
pub fn response_of(token: &[u8]) -> Vec<u8> {
    let encode = || {
        let status = Status { status: 0, text: None, failure: None };
        Response { status, token: Some(AnyRef::from_der(token)?) }.to_der()
    };
    encode().unwrap_or_default()
}

/// The shortest two's complement of a number.
fn signed(number: u64) -> Vec<u8> {
    let bytes: Vec<u8> = number.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    match bytes.first() {
        Some(first) if *first < 0x80 => bytes,
        _ => [&[0][..], &bytes].concat(),
    }
}

/// `TSTInfo` (2.4.2).
#[derive(Sequence)]
pub(super) struct Info {
    pub version: u8,
    pub policy: ObjectIdentifier,
    pub imprint: OwnedImprint,
    pub serial: Int,
    pub time: GenTime,
    #[asn1(optional = "true")]
    pub accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    pub ordering: bool,
    #[asn1(optional = "true")]
    pub nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub tsa: Option<Any>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub extensions: Option<Vec<Extension>>,
}

/// `MessageImprint`.
#[derive(Sequence)]
pub(super) struct OwnedImprint {
    pub hash_algorithm: AlgorithmIdentifierOwned,
    pub hashed_message: OctetString,
}

/// How far the clock may be off. For a signature the time that is stated counts; for an upper bound this comes on top.
#[derive(Sequence)]
pub(super) struct Accuracy {
    #[asn1(optional = "true")]
    seconds: Option<u64>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    millis: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    micros: Option<u16>,
}

impl Accuracy {
    /// In whole seconds, rounded up.
    pub fn to_seconds(&self) -> i64 {
        let rest = i64::from(self.millis.unwrap_or(0) > 0 || self.micros.unwrap_or(0) > 0);
        i64::try_from(self.seconds.unwrap_or(0)).unwrap_or(i64::MAX).saturating_add(rest)
    }
}

/// A GeneralizedTime, which may have a fraction here (2.4.2), as it stands in the token.
pub(super) struct GenTime(Vec<u8>);

impl FixedTag for GenTime {
    const TAG: Tag = Tag::GeneralizedTime;
}

impl<'a> DecodeValue<'a> for GenTime {
    fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
        Ok(GenTime(reader.read_vec(header.length)?))
    }
}

impl EncodeValue for GenTime {
    fn value_len(&self) -> der::Result<Length> {
        Length::try_from(self.0.len())
    }

    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        writer.write(&self.0)
    }
}

impl GenTime {
    /// Whole seconds since 1970. Nothing when this is not `YYYYMMDDhhmmss`, perhaps a fraction that does not end in zero,
    /// and `Z`.
    pub fn unix(&self) -> Option<i64> {
        let text = self.0.strip_suffix(b"Z")?;
        let (digits, fraction) = text.split_at_checked(14)?;
        let is_fraction = |fraction: &[u8]| match fraction.split_first() {
            None => true,
            Some((b'.', rest)) => rest.iter().all(u8::is_ascii_digit) && rest.last().is_some_and(|last| *last != b'0'),
            Some(_) => false,
        };
        if !digits.iter().all(u8::is_ascii_digit) || !is_fraction(fraction) {
            return None;
        }
        let number = |range: std::ops::Range<usize>| std::str::from_utf8(&digits[range]).ok()?.parse::<u16>().ok();
        let short = |range| number(range).and_then(|number| u8::try_from(number).ok());
        let time = der::DateTime::new(
            number(0..4)?,
            short(4..6)?,
            short(6..8)?,
            short(8..10)?,
            short(10..12)?,
            short(12..14)?,
        );
        i64::try_from(time.ok()?.unix_duration().as_secs()).ok()
    }
}

/// `SigningCertificate` (RFC 2634, 5.4) and `SigningCertificateV2` (RFC 5035, 3): which certificate signed.
#[derive(Sequence)]
pub(super) struct SigningCertificate<'a> {
    pub certs: Vec<CertificateId<'a>>,
    #[asn1(optional = "true")]
    policies: Option<SequenceRef<'a>>,
}

/// `ESSCertID` has no algorithm, which is SHA-1 then; `ESSCertIDv2` may leave it out, which is SHA-256.
#[derive(Sequence)]
pub(super) struct CertificateId<'a> {
    #[asn1(optional = "true")]
    pub algorithm: Option<AlgorithmIdentifierOwned>,
    pub hash: OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<SequenceRef<'a>>,
}

impl Info {
    /// Reads what a token states, in its one encoding.
    pub fn read(der: &[u8]) -> Result<Self, Refusal> {
        let refuse = |problem: String| Refusal::invalid(format!("time-stamp: {problem}"));
        let info = Info::from_der(der).map_err(|error| refuse(format!("its content cannot be parsed: {error}")))?;
        if info.to_der().ok().as_deref() != Some(der) {
            return Err(refuse("its content is not in DER".into()));
        }
        if info.version != 1 {
            return Err(refuse(format!("version {}", info.version)));
        }
        if info.extensions.iter().flatten().any(|extension| extension.critical) {
            return Err(Refusal::unsupported("time-stamp: an extension that is critical is not known".into()));
        }
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_that_of_openssl() {
        // openssl ts -query -digest 00…00 -sha256 -no_nonce -cert, with a nonce put in by hand.
        let query = Query { imprint: [0; 32], nonce: 0x80 };
        let mut expected = b"\x30\x3d\x02\x01\x01\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
            \x04\x20"
            .to_vec();
        expected.extend([0; 32]);
        expected.extend(b"\x02\x02\x00\x80\x01\x01\xff");
        assert_eq!(query.to_der(), expected);
        assert!(query.token(b"").is_err() && query.token(b"\x30\x03\x02\x01\x00").is_err());
    }

    #[test]
    fn times_with_and_without_a_fraction() {
        let unix = |text: &str| GenTime(text.as_bytes().to_vec()).unix();
        assert_eq!(unix("20261123130000Z"), Some(1_795_438_800));
        assert_eq!(unix("20261123130000.25Z"), Some(1_795_438_800));
        for bad in [
            "20261123130000",
            "20261123130000.Z",
            "20261123130000.20Z",
            "20261123130000,2Z",
            "202611231300Z",
            "20261323130000Z",
            "20261123130000+0100",
            "2026112313000.Z",
            "+0261123130000Z",
        ] {
            assert_eq!(unix(bad), None, "{bad}");
        }
    }
}
