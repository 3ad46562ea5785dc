//! A record, or its absence, proven under the root that a statement signs. Schema [`SCHEMA`].

use countermark_formats::records::Format;
use serde::{Deserialize, Serialize};

use super::{Records, leaf};
use crate::Error;
use crate::bundle::Bytes;
use crate::digest::{Hash, tree};
use crate::limit::at_most;

/// Schema of the JSON form.
pub const SCHEMA: &str = "countermark.dev/record-proof/v1";

/// Larger files are refused before they are parsed.
pub const MAX_PROOF: u64 = 64 << 20;

/// A record and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordProof {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Id of the statement that signs the tree. Format, count and options come from there.
    pub statement: Hash,
    /// The CSV header row or the text of the columns, whose SHA-256 the statement signs, so that the record can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Bytes>,
    /// The record's bytes.
    pub record: Bytes,
    /// What is proven of it.
    pub proof: Evidence,
}

/// What is proven of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Evidence {
    /// It is the leaf at `index`.
    Inclusion {
        /// Index of the leaf: in the data, or among the sorted leaves.
        index: u64,
        /// Its salt, in a salted tree.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        salt: Option<Hash>,
        /// RFC 9162 inclusion path.
        #[serde(deserialize_with = "at_most::<{ tree::MAX_PATH }, _, _>")]
        path: Vec<Hash>,
    },
    /// It is no leaf of a sorted tree: these two stand next to each other, and it would be between them.
    Absence {
        /// The last leaf before it; none when it would be the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Neighbour>,
        /// The first leaf behind it; none when it would be the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Neighbour>,
    },
}

/// A leaf of a sorted tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// Index among the sorted leaves.
    pub index: u64,
    /// The leaf.
    pub leaf: Hash,
    /// RFC 9162 inclusion path.
    #[serde(deserialize_with = "at_most::<{ tree::MAX_PATH }, _, _>")]
    pub path: Vec<Hash>,
}

/// What a proof that holds has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The record is the leaf of this index.
    Included(u64),
    /// The record is not among the leaves, if these are sorted as signed.
    Absent,
}

/// Why these bytes can be no record of the format, whatever the data. Their absence would be true, and a reader would take
/// it for that of the line.
fn no_record(format: Format, record: &[u8]) -> Option<&'static str> {
    let is_no_record = match format {
        Format::Jsonl | Format::Text => record.contains(&b'\n'),
        Format::Csv => record.ends_with(b"\n"),
        Format::Parquet | Format::Arrow | Format::Webdataset | Format::Warc => false,
    };
    is_no_record.then_some("holds a line feed where no record of this format has one")
}

const HELP: &str = "ask for the proof again, made with `countermark lineage prove-record` from the signed dataset";

impl RecordProof {
    /// A proof about the tree of `statement`.
    pub fn new(statement: Hash, columns: Option<Vec<u8>>, record: Vec<u8>, proof: Evidence) -> Self {
        RecordProof { schema: SCHEMA.to_owned(), statement, columns: columns.map(Bytes), record: Bytes(record), proof }
    }

    /// Reads a proof. Nothing in it is checked by this.
    ///
    /// # Errors
    /// [`Error::Input`] with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > MAX_PROOF {
            return Err(Error::input("record proof", format!("is above {} MiB", MAX_PROOF >> 20), HELP));
        }
        let proof: RecordProof =
            serde_json::from_slice(bytes).map_err(|error| Error::input("record proof", error.to_string(), HELP))?;
        if proof.schema != SCHEMA {
            return Err(Error::input("record proof", format!("schema {:?} is not {SCHEMA:?}", proof.schema), HELP));
        }
        Ok(proof)
    }

    /// The file's bytes.
    pub fn to_json(&self) -> String {
        // Serialisation of these types cannot fail: no map has keys other than strings.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Checks the proof against what was signed.
    ///
    /// # Errors
    /// [`Error::Input`] that says which part does not fit.
    pub fn check(&self, records: &Records) -> Result<Shown, Error> {
        let refuse = |problem: String| Err(Error::input("record proof", problem, HELP));
        if let Some(columns) = &self.columns
            && records.schema != Some(Hash::sha256(&columns.0))
        {
            return refuse("the columns are not those that were signed".to_owned());
        }
        if let Some(problem) = no_record(records.format, &self.record.0) {
            return refuse(problem.to_owned());
        }
        match &self.proof {
            Evidence::Inclusion { index, salt, path } => {
                if salt.is_some() != records.salted {
                    let problem = if records.salted { "the salt is missing" } else { "a salt, and the tree has none" };
                    return refuse(problem.to_owned());
                }
                let leaf = leaf(salt.as_ref().map(|salt| &salt.0), &self.record.0);
                if *index >= records.count {
                    return refuse(format!("record {index} of {}", records.count));
                }
                if !tree::includes(*index, records.count, leaf, path, &records.root) {
                    return refuse(format!("the path does not lead from this record at {index} to the signed root"));
                }
                Ok(Shown::Included(*index))
            }
            Evidence::Absence { before, after } => {
                if !records.sorted {
                    return refuse("the tree is not sorted, and only a sorted one can prove absence".to_owned());
                }
                let leaf = leaf(None, &self.record.0);
                for neighbour in [before, after].into_iter().flatten() {
                    let Neighbour { index, leaf, path } = neighbour;
                    if !tree::includes(*index, records.count, *leaf, path, &records.root) {
                        return refuse(format!(
                            "the path does not lead from the neighbour at {index} to the signed root"
                        ));
                    }
                }
                let adjacent = match (before, after) {
                    (Some(before), Some(after)) => before.index.checked_add(1) == Some(after.index),
                    (None, Some(after)) => after.index == 0,
                    (Some(before), None) => before.index.checked_add(1) == Some(records.count),
                    (None, None) => records.count == 0,
                };
                if !adjacent {
                    return refuse("the two neighbours do not stand next to each other".to_owned());
                }
                if before.as_ref().is_some_and(|before| before.leaf >= leaf)
                    || after.as_ref().is_some_and(|after| after.leaf <= leaf)
                {
                    return refuse("the record does not belong between the two neighbours".to_owned());
                }
                Ok(Shown::Absent)
            }
        }
    }
}
