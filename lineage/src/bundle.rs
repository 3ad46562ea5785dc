//! The bundle: one portable file with everything that speaks for an artifact, its ancestors included.
//!
//! `NAME.provenance.json`, schema [`SCHEMA`]. The first record is the artifact's, the others are its known ancestors'.
//! The bundle itself is not signed: each part in it proves itself, and the statement says which parts must be there.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;
use crate::anchor::Anchor;
use crate::credential::dsse::Envelope;
use crate::credential::hand_over::MAX_HAND_OVERS;
use crate::credential::logged::Logged;
use crate::limit::at_most;

/// Schema of the file.
pub const SCHEMA: &str = "countermark.dev/bundle/v1";

/// Larger files are refused before they are parsed.
pub const MAX_BUNDLE: u64 = 64 << 20;

/// Everything that speaks for an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The artifact's record, then those of its ancestors, each statement once.
    #[serde(deserialize_with = "at_most::<10_000, _, _>")]
    pub records: Vec<Record>,
    /// From keys that the policy may know to keys that signed here.
    #[serde(default, deserialize_with = "at_most::<MAX_HAND_OVERS, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub hand_overs: Vec<Logged>,
    /// What holds the checkpoints of the receipts.
    #[serde(default, deserialize_with = "at_most::<MAX_ANCHORS, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Anchor>,
}

/// A bundle holds at most this many anchors.
pub const MAX_ANCHORS: usize = 1000;

/// What speaks for one artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The signed statement.
    pub statement: Envelope,
    /// The C2PA manifest store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Bytes>,
    /// Place of the release in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Commitments of the marks that the statement names.
    #[serde(default, deserialize_with = "at_most::<1000, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

/// A mark's commitment, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The commitment record's bytes.
    pub record: Bytes,
    /// Its place in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Proof that an entry is in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The entry, see [`crate::anchor::entry`].
    pub entry: Bytes,
    /// C2SP tlog-proof text, checkpoint included.
    pub proof: String,
}

/// Bytes, in standard Base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes).map_err(de::Error::custom)
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Bundle {
    /// A bundle of these records.
    pub fn new(records: Vec<Record>) -> Self {
        Bundle { schema: SCHEMA.to_owned(), records, hand_overs: vec![], anchors: vec![] }
    }

    /// Reads a bundle. Nothing in it is verified by this.
    ///
    /// # Errors
    /// [`Error::Input`] with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |problem: String| {
            Err(Error::input("bundle", problem, "fetch the bundle again from where it was published"))
        };
        if bytes.len() as u64 > MAX_BUNDLE {
            return refuse(format!("is above {} MiB", MAX_BUNDLE >> 20));
        }
        let bundle: Bundle = match serde_json::from_slice(bytes) {
            Ok(bundle) => bundle,
            Err(error) => return refuse(error.to_string()),
        };
        if bundle.schema != SCHEMA {
            return refuse(format!("schema {:?} is not {SCHEMA:?}", bundle.schema));
        }
        if bundle.records.is_empty() {
            return refuse("holds no record".to_owned());
        }
        Ok(bundle)
    }

    /// The file's bytes.
    pub fn to_json(&self) -> String {
        // Serialisation of these types cannot fail: no map has keys other than strings.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// What is wrong with the ids of the records, if anything: one is unreadable, or stands there twice.
    pub fn duplicate(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        self.records.iter().find_map(|record| match record.statement.id() {
            Ok(id) if seen.insert(id) => None,
            Ok(id) => Some(format!("record {} stands there twice", id.short())),
            Err(error) => Some(error.problem()),
        })
    }
}
