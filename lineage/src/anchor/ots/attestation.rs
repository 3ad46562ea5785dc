//! Attestations: who says that a message existed, and where.

use std::cmp::Ordering;

use super::file::{Reader, varbytes, varuint};
use crate::Error;

/// The longest payload of an attestation, in bytes.
const MAX_PAYLOAD: usize = 8192;
/// The longest address of a calendar, in bytes.
const MAX_URI: usize = 1000;

const BITCOIN: [u8; 8] = [0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01];
const LITECOIN: [u8; 8] = [0x06, 0x86, 0x9a, 0x0d, 0x73, 0xd7, 0x1b, 0x45];
const ETHEREUM: [u8; 8] = [0x30, 0xfe, 0x80, 0x87, 0xb5, 0xc7, 0xea, 0xd7];
const PENDING: [u8; 8] = [0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];

/// Somebody's word for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attestation {
    /// The message is the Merkle root of the Bitcoin block at this height.
    Bitcoin(u64),
    /// The same, of Litecoin.
    Litecoin(u64),
    /// The message is the root of the transactions of the Ethereum block at this height.
    Ethereum(u64),
    /// The calendar at this address has the message and will know more later.
    Pending(String),
    /// Something that this version does not know.
    Unknown {
        /// Its tag.
        tag: [u8; 8],
        /// Its payload, kept as it is.
        payload: Vec<u8>,
    },
}

impl Attestation {
    fn tag(&self) -> [u8; 8] {
        match self {
            Attestation::Bitcoin(_) => BITCOIN,
            Attestation::Litecoin(_) => LITECOIN,
            Attestation::Ethereum(_) => ETHEREUM,
            Attestation::Pending(_) => PENDING,
            Attestation::Unknown { tag, .. } => *tag,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let tag: [u8; 8] = reader.array()?;
        let payload = reader.varbytes(0, MAX_PAYLOAD)?;
        // What is known must use its payload up; what is not known is kept.
        let mut inner = reader.inside(payload);
        let attestation = match tag {
            BITCOIN => Attestation::Bitcoin(inner.varuint()?),
            LITECOIN => Attestation::Litecoin(inner.varuint()?),
            ETHEREUM => Attestation::Ethereum(inner.varuint()?),
            PENDING => {
                let uri = inner.varbytes(0, MAX_URI)?;
                match std::str::from_utf8(uri) {
                    Ok(uri) if is_uri(uri) => Attestation::Pending(uri.to_owned()),
                    _ => return Err(reader.refuse("the address of a calendar holds a character that it may not")),
                }
            }
            _ => return Ok(Attestation::Unknown { tag, payload: payload.to_vec() }),
        };
        inner.finish()?;
        Ok(attestation)
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.tag());
        let mut payload = vec![];
        match self {
            Attestation::Bitcoin(height) | Attestation::Litecoin(height) | Attestation::Ethereum(height) => {
                varuint(*height, &mut payload);
            }
            Attestation::Pending(uri) => varbytes(uri.as_bytes(), &mut payload),
            Attestation::Unknown { payload: bytes, .. } => payload.extend(bytes),
        }
        varbytes(&payload, to);
    }
}

/// Letters, digits and `-._/:`: no parameters, no user, nothing escaped.
fn is_uri(uri: &str) -> bool {
    uri.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/:".contains(&byte))
}

/// The order in which a proof lists them: by tag, then by height, address or payload.
impl Ord for Attestation {
    fn cmp(&self, other: &Self) -> Ordering {
        self.tag().cmp(&other.tag()).then_with(|| match (self, other) {
            (Attestation::Bitcoin(a), Attestation::Bitcoin(b))
            | (Attestation::Litecoin(a), Attestation::Litecoin(b))
            | (Attestation::Ethereum(a), Attestation::Ethereum(b)) => a.cmp(b),
            (Attestation::Pending(a), Attestation::Pending(b)) => a.cmp(b),
            (Attestation::Unknown { payload: a, .. }, Attestation::Unknown { payload: b, .. }) => a.cmp(b),
            // One tag stands for one kind.
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for Attestation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
