//! What the owner commits to before a marked model is released: the record `marks/<mark id>.json`.
//!
//! The **transcript** says how the mark is made and under which key hash. The **payload** is the first 128 bits of the
//! transcript's hash, or 128 bits that the caller chose. The record is the transcript and the codeword's hash, so that
//! neither can be chosen after the weights are known. A caller's payload that can be guessed can be confirmed from the
//! record, since the codeword's hash has no salt.

use serde::{Deserialize, Serialize};

use crate::gauge::GaugePlan;
use crate::hex::{hex, hex_bytes, optional_hex_bytes};
use crate::key::{self, GROUPS, MarkKey, MarkSecret};
use crate::payload::{self, Code};
use crate::{Error, Result};

/// Step of the capacity ladder: what a model of a given size can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// A payload of 128 bits.
    Full,
    /// A payload of 64 bits.
    Half,
    /// A payload of 32 bits.
    Quarter,
    /// 256 slots with secret, committed signs: shows presence only, which is all that a small model has room for.
    Presence,
}

impl Rung {
    /// All rungs, the largest first.
    pub const ALL: [Rung; 4] = [Rung::Full, Rung::Half, Rung::Quarter, Rung::Presence];
    /// Weights below which no mark is embedded or looked for: 256 for each slot, and even cancelling the host's own
    /// noise costs −25 dB.
    pub const LEAST_WEIGHTS: u64 = 65_536;

    /// The rung for a number of markable weights; `None` when they are too few.
    pub fn for_weights(weights: u64) -> Option<Rung> {
        Rung::ALL.into_iter().find(|rung| weights >= rung.least_weights())
    }

    /// Weights from which a model carries this much: −36 dB at c = 0.6.
    pub fn least_weights(self) -> u64 {
        match self {
            Rung::Full => 8_000_000,
            Rung::Half => 4_000_000,
            Rung::Quarter => 2_500_000,
            Rung::Presence => Rung::LEAST_WEIGHTS,
        }
    }

    /// Number of slots, each of which carries one coded bit.
    pub fn slots(self) -> usize {
        self.payload_code().map_or(256, |code| code.slots())
    }

    /// Slots of one group of rows.
    pub fn slots_per_group(self) -> usize {
        self.slots() / GROUPS
    }

    /// Bytes of the payload; 0 for [`Rung::Presence`].
    pub fn payload_bytes(self) -> usize {
        self.payload_code().map_or(0, |code| code.payload_bytes())
    }

    /// The codeword of a payload of [`Rung::payload_bytes`].
    pub(crate) fn encode(self, payload: &[u8]) -> Vec<bool> {
        self.payload_code().map(|code| code.encode(payload)).unwrap_or_default()
    }

    /// The code of the payload.
    pub(crate) fn payload_code(self) -> Option<Code> {
        match self {
            Rung::Full => Some(Code::FULL),
            Rung::Half => Some(Code::HALF),
            Rung::Quarter => Some(Code::QUARTER),
            Rung::Presence => None,
        }
    }

    fn code_name(self) -> &'static str {
        self.payload_code().map_or("keyed-presence", |code| code.name())
    }
}

/// Everything that fixes how a mark is made, apart from keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Algorithm {
    /// Target correlation of each weight, α, in billionths.
    pub alpha_nano: u64,
    /// How matrices are named and turned: by role, rows are outputs; see [`Matrix`](countermark_formats::Matrix).
    pub canon: String,
    /// Which keystream gives the chips.
    pub chips: String,
    /// Weights beyond this many times their row's RMS count as this much.
    pub clip: u32,
    /// Which code fills the slots.
    pub code: String,
    /// How the weights are changed.
    pub embedding: String,
    /// The band that re-parameterisations leave alone, when the model has room for one.
    pub gauge: Option<Gauge>,
    /// Number of groups, each with a key of its own.
    pub groups: u32,
    /// Which tensors are marked; see [`tensors`](crate::tensors).
    pub selection: String,
    /// Number of slots.
    pub slots: u32,
}

impl Algorithm {
    /// The algorithm of this version for a rung, with α in billionths.
    pub fn new(rung: Rung, alpha_nano: u64) -> Algorithm {
        Algorithm {
            alpha_nano,
            canon: "role-v1".into(),
            chips: "chacha8".into(),
            clip: 4,
            code: rung.code_name().into(),
            embedding: "host-cancelling-v1".into(),
            gauge: None,
            groups: GROUPS as u32,
            selection: "matrix-4096-v1".into(),
            slots: rung.slots() as u32,
        }
    }

    /// α itself.
    pub fn alpha(&self) -> f64 {
        self.alpha_nano as f64 * 1e-9
    }

    /// The rung, or the first field that this version does not know.
    fn rung(&self) -> std::result::Result<Rung, String> {
        let rung = Rung::ALL.into_iter().find(|rung| self.code == rung.code_name());
        let rung = rung.ok_or_else(|| format!("code {:?}", self.code))?;
        let mut known = Algorithm::new(rung, self.alpha_nano);
        if let Some(gauge) = &self.gauge {
            if gauge.plan().is_none() {
                return Err(format!("gauge band {:?} of {} bits", gauge.version, gauge.bits));
            }
            known.gauge = Some(gauge.clone());
        }
        let fields = [
            ("canon", &self.canon, &known.canon),
            ("chips", &self.chips, &known.chips),
            ("embedding", &self.embedding, &known.embedding),
            ("selection", &self.selection, &known.selection),
        ];
        match fields.into_iter().find(|(_, value, known)| value != known) {
            Some((name, value, _)) => Err(format!("{name} {value:?}")),
            None if *self != known => {
                Err(format!("{} slots, {} groups and clip {}", self.slots, self.groups, self.clip))
            }
            None => Ok(rung),
        }
    }
}

/// The shape of the gauge band; see the module of that name in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gauge {
    /// Bits, all of which read as `true`.
    pub bits: u32,
    /// Layers of the model.
    pub layers: u32,
    /// Tokens of the model.
    pub tokens: u32,
    /// Which band.
    pub version: String,
}

impl Gauge {
    const VERSION: &str = "gated-mlp-v1";

    pub(crate) fn new(plan: &GaugePlan) -> Gauge {
        let (bits, layers, tokens) = (plan.bits as u32, plan.layers as u32, plan.tokens as u32);
        Gauge { bits, layers, tokens, version: Gauge::VERSION.into() }
    }

    /// The band, if this version knows it and it is of a sensible size.
    pub(crate) fn plan(&self) -> Option<GaugePlan> {
        let sizes = [(self.bits, 4096), (self.layers, 1024), (self.tokens, 1 << 24)];
        let sensible = sizes.iter().all(|&(size, most)| (1..=most).contains(&size));
        let plan = GaugePlan { bits: self.bits as usize, layers: self.layers as usize, tokens: self.tokens as usize };
        (sensible && self.version == Gauge::VERSION).then_some(plan)
    }
}

/// What the payload is a hash of. Its canonical form is JSON without spaces, keys in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    /// How the mark is made.
    pub algorithm: Algorithm,
    /// Root of the unmarked model.
    #[serde(with = "hex_bytes")]
    pub base_digest: [u8; 32],
    /// Hash of the mark's keys, [`MarkKey::hash`].
    #[serde(with = "hex_bytes")]
    pub key_hash: [u8; 32],
    /// Random identifier of the mark.
    #[serde(with = "hex_bytes")]
    pub mark_id: [u8; 16],
    /// Ed25519 key of the owner.
    #[serde(with = "hex_bytes")]
    pub owner_public_key: [u8; 32],
    /// [`recipient_commitment`](crate::recipient_commitment) of the copy's recipient, or null.
    #[serde(with = "optional_hex_bytes")]
    pub recipient: Option<[u8; 32]>,
    /// Version of this record, 1.
    pub version: u32,
}

impl Transcript {
    /// The canonical bytes that are hashed.
    pub fn to_json_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a transcript has string keys and finite numbers only")
    }

    /// The first bytes of the transcript's hash, as many as the rung carries.
    pub(crate) fn payload(&self, rung: Rung) -> Vec<u8> {
        key::hash("payload", &[&self.to_json_bytes()])[..rung.payload_bytes()].to_vec()
    }
}

/// The record of one mark, to be logged before the marked model is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Hash of the codeword.
    #[serde(with = "hex_bytes")]
    pub codeword_hash: [u8; 32],
    /// What the mark was made from.
    pub transcript: Transcript,
}

/// A record opened with the owner's secret, or for one group with a [`Disclosure`](crate::Disclosure): keys, and what
/// is known of the codeword.
#[derive(Clone, Debug)]
pub struct Opened {
    pub(crate) mark_id: [u8; 16],
    pub(crate) key: MarkKey,
    pub(crate) rung: Rung,
    pub(crate) gauge: Option<GaugePlan>,
    /// Root of the unmarked model.
    pub(crate) base_digest: [u8; 32],
    /// Hash of the committed codeword.
    pub(crate) codeword_hash: [u8; 32],
    /// The committed codeword, bit by bit; `None` when the payload was the caller's own and must be decoded first.
    pub(crate) codeword: Option<Vec<bool>>,
    /// Groups whose slots are looked at.
    pub(crate) groups: [bool; GROUPS],
}

impl Opened {
    /// For one group, without a codeword on the payload rungs.
    pub(crate) fn of_group(commitment: &Commitment, key: MarkKey, rung: Rung, group: usize) -> Opened {
        let codeword = (rung == Rung::Presence).then(|| presence_codeword(&key));
        let mut groups = [false; GROUPS];
        groups[group] = true;
        Opened { groups, codeword, ..Opened::whole(commitment, key, rung) }
    }

    fn whole(commitment: &Commitment, key: MarkKey, rung: Rung) -> Opened {
        Opened {
            mark_id: commitment.transcript.mark_id,
            key,
            rung,
            gauge: commitment.transcript.algorithm.gauge.as_ref().and_then(Gauge::plan),
            base_digest: commitment.transcript.base_digest,
            codeword_hash: commitment.codeword_hash,
            codeword: None,
            groups: [true; GROUPS],
        }
    }

    /// Leaves out the slots of groups whose keys were disclosed, since others may have changed them on purpose.
    pub fn without(mut self, disclosed: &[usize]) -> Opened {
        disclosed.iter().filter(|&&group| group < GROUPS).for_each(|&group| self.groups[group] = false);
        self
    }

    /// Root of the unmarked model, as committed. A base given to [`search`](crate::search) must have it.
    pub fn base_digest(&self) -> [u8; 32] {
        self.base_digest
    }

    /// Identifier of the mark.
    pub fn mark_id(&self) -> [u8; 16] {
        self.mark_id
    }

    /// Whether a single group is looked at, as with a disclosure.
    pub(crate) fn is_one_group(&self) -> bool {
        self.groups.iter().filter(|&&group| group).count() == 1
    }

    /// The slots of the groups that are looked at.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> {
        let per_group = self.rung.slots_per_group();
        let groups = self.groups;
        (0..self.rung.slots()).filter(move |slot| groups[slot / per_group])
    }
}

impl Commitment {
    /// Commits to a mark before it is embedded. Returns the record with the codeword to embed. Without a payload of
    /// the caller's ([`Rung::payload_bytes`] long), the payload is drawn from the transcript; on the presence rung there
    /// is none.
    pub fn new(
        key: &MarkKey,
        rung: Rung,
        alpha_nano: u64,
        base_digest: [u8; 32],
        payload: Option<&[u8]>,
    ) -> (Commitment, Vec<bool>) {
        Commitment::with(key, rung, Algorithm::new(rung, alpha_nano), base_digest, payload)
    }

    /// The same for any algorithm of the rung.
    pub(crate) fn with(
        key: &MarkKey,
        rung: Rung,
        algorithm: Algorithm,
        base_digest: [u8; 32],
        payload: Option<&[u8]>,
    ) -> (Commitment, Vec<bool>) {
        let transcript = Transcript {
            algorithm,
            base_digest,
            key_hash: key.hash(),
            mark_id: key.mark_id(),
            owner_public_key: key.owner_public_key(),
            recipient: key.recipient(),
            version: 1,
        };
        let codeword = match (rung, payload) {
            (Rung::Presence, _) => presence_codeword(key),
            (_, Some(payload)) => rung.encode(payload),
            (_, None) => rung.encode(&transcript.payload(rung)),
        };
        (Commitment { codeword_hash: codeword_hash(&codeword), transcript }, codeword)
    }

    /// Derives the keys anew and checks them against the record.
    ///
    /// # Errors
    /// A secret that does not belong to this record, or an algorithm that this version does not know.
    pub fn open(&self, secret: &MarkSecret) -> Result<Opened> {
        let transcript = &self.transcript;
        let rung = self.rung()?;
        let key = MarkKey::derive(secret, transcript.owner_public_key, transcript.mark_id, transcript.recipient);
        if key.hash() != transcript.key_hash {
            return Err(Error::KeyMismatch { mark_id: self.mark_id_hex() });
        }
        let codeword = match rung {
            Rung::Presence => presence_codeword(&key),
            _ => rung.encode(&transcript.payload(rung)),
        };
        let known = codeword_hash(&codeword) == self.codeword_hash;
        if rung == Rung::Presence && !known {
            let mark_id = self.mark_id_hex();
            return Err(Error::Record(format!("the codeword's hash of mark {mark_id} is not the key's")));
        }
        Ok(Opened { codeword: known.then_some(codeword), ..Opened::whole(self, key, rung) })
    }

    /// What the mark can carry.
    ///
    /// # Errors
    /// An algorithm or version that this version does not know.
    pub fn rung(&self) -> Result<Rung> {
        let unknown = |what| Error::UnknownAlgorithm { mark_id: self.mark_id_hex(), what };
        if self.transcript.version != 1 {
            return Err(unknown(format!("record version {}", self.transcript.version)));
        }
        self.transcript.algorithm.rung().map_err(unknown)
    }

    /// The record's canonical bytes: JSON without spaces, keys in alphabetical order. This is the file's content, and
    /// what gets hashed and logged.
    pub fn to_json_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has string keys and finite numbers only")
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Anything but JSON of this schema, unknown members included.
    pub fn from_json_bytes(bytes: &[u8]) -> Result<Commitment> {
        serde_json::from_slice(bytes).map_err(|error| Error::Record(error.to_string()))
    }

    /// The mark's identifier in hex: the name of the record's file.
    pub fn mark_id_hex(&self) -> String {
        hex(&self.transcript.mark_id)
    }
}

/// Hash of a codeword, packed eight bits to a byte.
pub(crate) fn codeword_hash(codeword: &[bool]) -> [u8; 32] {
    key::hash("codeword", &[&payload::pack(codeword)])
}

/// Secret fair bits for every slot, each group's from its own key, so that a group can be disclosed alone.
fn presence_codeword(key: &MarkKey) -> Vec<bool> {
    let per_group = Rung::Presence.slots_per_group();
    let bits = |group| {
        let bytes = key.expand(group, "presence", &[]);
        (0..per_group).map(move |slot| bytes[slot / 8] >> (slot % 8) & 1 == 1).collect::<Vec<_>>()
    };
    (0..GROUPS).flat_map(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> MarkSecret {
        MarkSecret::from_bytes([1; 32])
    }

    fn commit(rung: Rung, payload: Option<&[u8]>) -> Commitment {
        let key = MarkKey::derive(&secret(), [2; 32], [3; 16], Some([4; 32]));
        Commitment::new(&key, rung, 2_130_000, [5; 32], payload).0
    }

    #[test]
    fn records_round_trip_and_are_canonical() {
        for rung in Rung::ALL {
            let record = commit(rung, None);
            let bytes = record.to_json_bytes();
            assert_eq!(Commitment::from_json_bytes(&bytes).unwrap(), record);
            // A sorted map writes the same bytes, so the keys are in alphabetical order.
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let sorted: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_value(value).unwrap();
            assert_eq!(serde_json::to_vec(&sorted).unwrap(), bytes);
        }
    }

    #[test]
    fn records_with_anything_unknown_are_refused() {
        let good = String::from_utf8(commit(Rung::Full, None).to_json_bytes()).unwrap();
        let slots = format!("\"slots\":{}", Rung::Full.slots());
        for (from, to) in [
            ("{\"codeword_hash\"", "{\"extra\":1,\"codeword_hash\""),
            (&*slots, &*format!("{slots},{slots}")),
            ("0303", "03G3"),
            ("0303", "0A03"),
            ("03030303\"", "030303\""),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(Commitment::from_json_bytes(good.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        for (from, to) in [
            (&*slots, "\"slots\":665"),
            ("chacha8", "chacha20"),
            ("\"clip\":4", "\"clip\":5"),
            ("\"version\":1", "\"version\":2"),
        ] {
            let record = Commitment::from_json_bytes(good.replace(from, to).as_bytes()).unwrap();
            assert!(matches!(record.open(&secret()), Err(Error::UnknownAlgorithm { .. })), "{to}");
        }
    }

    #[test]
    fn opening_needs_the_right_secret() {
        let record = commit(Rung::Full, None);
        assert!(record.open(&secret()).unwrap().codeword.is_some());
        let stranger = MarkSecret::from_bytes([9; 32]);
        assert!(matches!(record.open(&stranger), Err(Error::KeyMismatch { .. })));
    }

    #[test]
    fn a_payload_of_the_caller_stays_unknown() {
        let opened = commit(Rung::Full, Some(&[7; 16])).open(&secret()).unwrap();
        assert!(opened.codeword.is_none());
        let opened = commit(Rung::Presence, None).open(&secret()).unwrap();
        let ones = opened.codeword.unwrap().iter().filter(|&&bit| bit).count();
        assert!((96..160).contains(&ones), "{ones}");
    }

    #[test]
    fn any_changed_field_changes_the_payload() {
        let record = commit(Rung::Full, None);
        let mut other = record.clone();
        other.transcript.base_digest[0] ^= 1;
        assert_ne!(record.transcript.payload(Rung::Full), other.transcript.payload(Rung::Full));
        assert!(other.open(&secret()).unwrap().codeword.is_none());
    }
}
