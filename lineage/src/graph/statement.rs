//! The statement: one in-toto Statement v1 that says what an artifact is, what it was made from, and by whom.
//!
//! The parents are inside what is signed, by the id of their own statements, so the graph is a Merkle DAG: one id fixes
//! the whole ancestry, and a cycle would need a hash that contains itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Kind, Relation};
use crate::Error;
use crate::credential::keys::PublicKey;
use crate::digest::Hash;
use crate::digest::artifact::Measured;
use crate::digest::checkpoint::{self, Tensor};
use crate::digest::listing::Listing;
use crate::digest::records::Records;
use crate::limit::at_most;
use crate::verdict::is_reordering;

/// in-toto Statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Our predicate, version 1.
pub const PREDICATE_TYPE: &str = "https://countermark.dev/lineage/v1";

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Statement {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub type_: String,
    /// Exactly one: the artifact.
    pub subject: Vec<Subject>,
    /// Always [`PREDICATE_TYPE`].
    pub predicate_type: String,
    /// What is said of the subject.
    pub predicate: Predicate,
}

/// The artifact's name and digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Base name.
    pub name: String,
    /// `blake3`: the artifact's root. `sha256`: of the file, or of a folder's listing, which a C2PA manifest binds.
    pub digest: BTreeMap<String, Hash>,
}

/// Where the artifact came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Predicate {
    /// What the artifact is.
    pub kind: Kind,
    /// When the signer says that this was made: RFC 3339, UTC. The signer's own word; an anchor gives a bound.
    pub created: String,
    /// True when the root is the root of a listing, false when the artifact is one file.
    pub folder: bool,
    /// Every file of the artifact.
    pub listing: Listing,
    /// BLAKE3 of the model card, which is not part of the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Hash>,
    /// The tensors, when the artifact holds a readable model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Tensors>,
    /// The record tree of a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<Records>,
    /// What it was made from.
    #[serde(deserialize_with = "at_most::<1000, _, _>")]
    pub parents: Vec<Parent>,
    /// How it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What else speaks for it.
    #[serde(default, deserialize_with = "at_most::<1000, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// What must accompany this statement, so that nobody can strip it.
    pub release: Release,
    /// The key that signs.
    pub signer: PublicKey,
}

/// The tensors root and what it was computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensors {
    /// See [`crate::digest::checkpoint`].
    pub root: Hash,
    /// Sorted by name.
    pub list: Vec<Tensor>,
}

/// One edge of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// How the child comes from it.
    pub relation: Relation,
    /// Its name.
    pub name: String,
    /// Id of its statement.
    pub statement: Hash,
    /// Its root.
    pub root: Hash,
}

/// How an artifact was made.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Parameters as the maker names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Revision of the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// Evidence that travels with the statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Evidence {
    /// A mark was struck into these weights under this commitment.
    WatermarkCommitment {
        /// SHA-256 of the commitment record.
        record: Hash,
    },
}

/// What must accompany a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// A C2PA manifest that quotes this statement.
    pub manifest: bool,
    /// The verifier key of the log that holds the release, as a C2SP vkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl Statement {
    /// A statement about one artifact.
    pub fn new(name: &str, measured: &Measured, predicate: Predicate) -> Self {
        let digest = [("blake3".to_owned(), measured.root), ("sha256".to_owned(), measured.manifest_asset)];
        Statement {
            type_: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject { name: name.to_owned(), digest: digest.into() }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate,
        }
    }

    /// The bytes to sign.
    pub fn to_payload(&self) -> Vec<u8> {
        // Serialisation of these types cannot fail: no map has keys other than strings.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a payload whose signature was verified, and checks that the statement agrees with itself.
    ///
    /// # Errors
    /// [`Error::Input`] naming the field.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let refuse = |place: &str, problem: String| {
            Err(Error::input(
                format!("statement {place}"),
                problem,
                "ask the signer for a statement made by a current version",
            ))
        };
        let statement: Statement = match serde_json::from_slice(payload) {
            Ok(statement) => statement,
            Err(error) => return refuse("payload", error.to_string()),
        };
        if statement.type_ != STATEMENT_TYPE {
            return refuse("_type", format!("is not {STATEMENT_TYPE}"));
        }
        if statement.predicate_type != PREDICATE_TYPE {
            return refuse("predicateType", format!("is not {PREDICATE_TYPE}"));
        }
        let [Subject { digest, .. }] = &*statement.subject else {
            return refuse("subject", "expected exactly one".to_owned());
        };
        let predicate = &statement.predicate;
        let sha256 = digest.get("sha256").copied().unwrap_or_default();
        let (root, sha256_expected) = if predicate.folder {
            (predicate.listing.root(), Hash::sha256(predicate.listing.to_text().as_bytes()))
        } else if let [file] = predicate.listing.files() {
            (file.blake3, sha256)
        } else {
            return refuse("listing", "a single file has a listing of one".to_owned());
        };
        if digest.len() != 2 || digest.get("blake3") != Some(&root) || digest.get("sha256") != Some(&sha256_expected) {
            return refuse("subject digest", "is not that of the listing".to_owned());
        }
        if let Some(tensors) = &predicate.tensors
            && (tensors.root != checkpoint::root(&tensors.list) || !tensors.list.is_sorted_by(|a, b| a.name < b.name))
        {
            return refuse("tensors root", "is not the root of the listed tensors".to_owned());
        }
        if let Some(problem) = predicate.records.as_ref().and_then(|records| records.contradiction(&predicate.listing))
        {
            return refuse("records", problem);
        }
        let names = predicate.parents.iter().map(|parent| &*parent.name).chain([statement.name()]);
        if let Some(name) = names.into_iter().find(|name| !is_name(name)) {
            return refuse(
                "name",
                format!("{:?} is not 1 to 255 printable bytes", crate::verdict::printable(name, 40)),
            );
        }
        let mut edges = BTreeSet::new();
        if !predicate.parents.iter().all(|parent| edges.insert((parent.statement, parent.relation))) {
            return refuse("parents", "the same edge stands there twice".to_owned());
        }
        if statement.created().is_none() {
            return refuse("created", "is not an RFC 3339 time".to_owned());
        }
        Ok(statement)
    }

    /// The artifact's name.
    pub fn name(&self) -> &str {
        self.subject.first().map_or("", |subject| &subject.name)
    }

    /// The artifact's root.
    pub fn root(&self) -> Hash {
        self.subject.first().and_then(|subject| subject.digest.get("blake3")).copied().unwrap_or_default()
    }

    /// SHA-256 of what a C2PA manifest binds: the file, or a folder's listing.
    pub fn sha256(&self) -> Hash {
        self.subject.first().and_then(|subject| subject.digest.get("sha256")).copied().unwrap_or_default()
    }

    /// When the signer says that this was made, in Unix seconds.
    pub fn created(&self) -> Option<i64> {
        unix(&self.predicate.created)
    }

    /// Records of the marks that the statement names.
    pub fn marks(&self) -> impl Iterator<Item = Hash> + '_ {
        self.predicate.evidence.iter().map(|Evidence::WatermarkCommitment { record }| *record)
    }
}

/// Refuses what cannot be the name of an artifact: a name is 1 to 255 bytes, all printable.
///
/// # Errors
/// [`Error::Input`].
pub fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    let shown = crate::verdict::printable(name, 40);
    Err(Error::input(format!("name {shown:?}"), "is not 1 to 255 printable bytes", "choose another name"))
}

/// Names reach terminals, pictures and pages, so they are short and hold nothing that steers those.
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.contains(|c: char| c.is_control() || is_reordering(c))
}

/// Unix seconds of an RFC 3339 text.
pub fn unix(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

/// RFC 3339 text of Unix seconds, UTC.
pub fn rfc3339(unix: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::listing::File;

    fn payload(change: impl FnOnce(&mut Statement)) -> Vec<u8> {
        let file = File { path: "a".into(), size: 1, blake3: Hash::blake3(b"1") };
        let parent = Parent {
            relation: Relation::TrainedOn,
            name: "data".into(),
            statement: Hash([1; 32]),
            root: Hash([2; 32]),
        };
        let predicate = Predicate {
            kind: Kind::Model,
            created: rfc3339(0),
            folder: false,
            listing: Listing::new(vec![file]).unwrap(),
            card: None,
            tensors: None,
            records: None,
            parents: vec![parent],
            process: None,
            evidence: vec![],
            release: Release { manifest: false, log: None },
            signer: ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().into(),
        };
        let measured = Measured {
            root: Hash::blake3(b"1"),
            listing: predicate.listing.clone(),
            card: None,
            manifest_asset: Hash::sha256(b"1"),
        };
        let mut statement = Statement::new("a", &measured, predicate);
        change(&mut statement);
        statement.to_payload()
    }

    #[test]
    fn a_statement_agrees_with_itself() {
        assert!(Statement::parse(&payload(|_| ())).is_ok());
        let wrong: [fn(&mut Statement); 9] = [
            |statement| statement.type_ = "other".into(),
            |statement| statement.predicate_type = "other".into(),
            |statement| statement.subject.push(statement.subject[0].clone()),
            |statement| statement.subject[0].digest = [("blake3".into(), Hash([0; 32]))].into(),
            |statement| statement.predicate.folder = true,
            |statement| statement.predicate.created = "yesterday".into(),
            |statement| statement.subject[0].name = "a\u{1b}[2J".into(),
            |statement| statement.predicate.parents[0].name = "x".repeat(70_000),
            |statement| statement.predicate.parents.push(statement.predicate.parents[0].clone()),
        ];
        for (index, change) in wrong.into_iter().enumerate() {
            assert!(Statement::parse(&payload(change)).is_err(), "change {index}");
        }
    }

    #[test]
    fn lists_are_bounded_while_they_are_read() {
        let many = |statement: &mut Statement| {
            statement.predicate.evidence = vec![Evidence::WatermarkCommitment { record: Hash([3; 32]) }; 1001];
        };
        let error = Statement::parse(&payload(many)).unwrap_err().problem();
        assert!(error.contains("more than 1000 items"), "{error}");
    }
}
