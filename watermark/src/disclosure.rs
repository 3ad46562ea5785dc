//! Showing one group of slots to somebody else: a quarter of the key, and nothing that endangers the rest.
//!
//! A mark's key is four group keys, of which the record holds the hash of hashes. A disclosure is the record, one group
//! key and the four hashes. Whoever has it can look for that group's slots without the owner: the hashes bind the
//! group key to the record, and the record, logged before the release, binds the codeword. The other three keys stay
//! secret, since each is derived from the root on its own. Who has a disclosure can also erase or invert that group's
//! slots, so the owner leaves disclosed groups out of later searches: [`Opened::without`].

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::commitment::{Commitment, Opened, Rung, codeword_hash};
use crate::hex::{self, hex_bytes};
use crate::key::{GROUPS, MarkKey, MarkSecret, group_hash};
use crate::{Error, Result};

/// One group's key, with what binds it to the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// The mark's record.
    pub commitment: Commitment,
    /// Which group, 0 to 3.
    pub group: usize,
    /// Hashes of the keys of all groups.
    #[serde(with = "hashes")]
    pub group_hashes: [[u8; 32]; GROUPS],
    /// The group's key.
    #[serde(with = "hex_bytes")]
    pub group_key: [u8; 32],
    /// The payload in hex, when it was the caller's own and cannot be drawn from the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

impl Disclosure {
    /// Discloses one group of a mark. `payload` is needed when it was the caller's own.
    ///
    /// # Errors
    /// A secret that does not open the record, a group above 3, a mark whose groups are too small to be found alone, or
    /// a payload that is missing or not the committed one.
    pub fn new(
        commitment: &Commitment,
        secret: &MarkSecret,
        group: usize,
        payload: Option<&[u8]>,
    ) -> Result<Disclosure> {
        if group >= GROUPS {
            return Err(Error::Disclosure(format!("there is no group {group}; choose 0 to {}", GROUPS - 1)));
        }
        let opened = commitment.open(secret)?;
        let slots = opened.rung.slots_per_group();
        if slots <= 128 {
            let why = format!("would be of no use: {slots} slots of one group cannot reach 2⁻¹²⁸");
            return Err(Error::Disclosure(format!("{why}; only marks with a payload of 128 bits can be disclosed")));
        }
        let disclosure = Disclosure {
            commitment: commitment.clone(),
            group,
            group_hashes: opened.key.group_hashes(),
            group_key: *opened.key.group(group),
            payload: payload.filter(|_| opened.codeword.is_none()).map(hex::hex),
        };
        disclosure.open()?;
        Ok(disclosure)
    }

    /// Checks that the group key belongs to the record, and opens the record for this group alone.
    ///
    /// # Errors
    /// Keys, hashes or a payload that do not belong to the record.
    pub fn open(&self) -> Result<Opened> {
        let transcript = &self.commitment.transcript;
        let refuse = |what: &str| Err(Error::Disclosure(what.to_owned()));
        if self.group >= GROUPS {
            return refuse("names a group that does not exist");
        }
        if self.group_hashes[self.group] != group_hash(&self.group_key) {
            return refuse("holds a group key that does not have the hash beside it");
        }
        let key = MarkKey::of_group(
            transcript.owner_public_key,
            transcript.mark_id,
            transcript.recipient,
            (self.group, Zeroizing::new(self.group_key)),
            self.group_hashes,
        );
        if key.hash() != transcript.key_hash {
            return refuse("holds hashes that do not belong to the record");
        }
        let rung = self.commitment.rung()?;
        let codeword = match (rung, &self.payload) {
            // Each group's signs come from its key alone, so nothing but the key needs checking.
            (Rung::Presence, _) => return Ok(Opened::of_group(&self.commitment, key, rung, self.group)),
            (_, None) => rung.encode(&transcript.payload(rung)),
            (_, Some(text)) => match hex::parse(text) {
                Some(payload) if payload.len() == rung.payload_bytes() => rung.encode(&payload),
                _ => return refuse("holds a payload of another length"),
            },
        };
        if codeword_hash(&codeword) != self.commitment.codeword_hash {
            return refuse("does not hold the committed payload, which was the owner's own choice");
        }
        let mut opened = Opened::of_group(&self.commitment, key, rung, self.group);
        opened.codeword = Some(codeword);
        Ok(opened)
    }

    /// The file's content: JSON without spaces.
    pub fn to_json_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a disclosure has string keys and finite numbers only")
    }

    /// Reads a disclosure.
    ///
    /// # Errors
    /// Anything but JSON of this schema, unknown members included.
    pub fn from_json_bytes(bytes: &[u8]) -> Result<Disclosure> {
        serde_json::from_slice(bytes).map_err(|error| Error::Disclosure(format!("is not readable: {error}")))
    }
}

/// Four hashes as lower-case hex.
mod hashes {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{GROUPS, hex};

    pub fn serialize<S: Serializer>(hashes: &[[u8; 32]; GROUPS], serializer: S) -> Result<S::Ok, S::Error> {
        hashes.each_ref().map(|hash| hex::hex(hash)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[[u8; 32]; GROUPS], D::Error> {
        let texts = <[String; GROUPS]>::deserialize(deserializer)?;
        let parsed = texts.each_ref().map(|text| hex::parse(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()));
        match parsed {
            [Some(a), Some(b), Some(c), Some(d)] => Ok([a, b, c, d]),
            _ => Err(D::Error::custom("expected four times 64 lower-case hex digits")),
        }
    }
}
