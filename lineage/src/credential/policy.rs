//! The policy: whom to believe, and for what. One TOML file; without it nobody is known and nothing is green.
//!
//! ```
//! use countermark_lineage::credential::policy::Policy;
//!
//! let policy = Policy::parse(r#"
//!     schema = "countermark.dev/policy/v1"
//!
//!     [[signer]]
//!     name = "model team"
//!     key = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
//!     names = ["team-*"]            # artifacts it may vouch for; all when left out
//!     relations = ["trained-on"]    # edges it may state; all when left out
//!
//!     [require]
//!     max_age_days = 365
//! "#)?;
//! assert_eq!(policy.signers[0].name, "model team");
//! # Ok::<(), countermark_lineage::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::keys::PublicKey;
use crate::Error;
use crate::digest::Hash;
use crate::graph::Relation;

/// Schema of the file.
pub const SCHEMA: &str = "countermark.dev/policy/v1";

/// Whom to believe, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Keys that may sign statements.
    #[serde(default, rename = "signer", skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<Signer>,
    /// Certificate roots for C2PA manifests.
    #[serde(default, rename = "certificate_root", skip_serializing_if = "Vec::is_empty")]
    pub certificate_roots: Vec<CertificateRoot>,
    /// Roots of authorities whose time-stamps count.
    #[serde(default, rename = "timestamp_root", skip_serializing_if = "Vec::is_empty")]
    pub timestamp_roots: Vec<CertificateRoot>,
    /// Logs whose checkpoints count.
    #[serde(default, rename = "log", skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Log>,
    /// What no longer counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revoked>,
    /// What every artifact must have.
    #[serde(default)]
    pub require: Require,
}

/// A key that may sign statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// How verdicts call it.
    pub name: String,
    /// Its Ed25519 key.
    pub key: PublicKey,
    /// Names of artifacts it may vouch for; `*` at the end stands for any rest. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Relations it may state. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<Vec<Relation>>,
}

/// A certificate root: for C2PA manifests, or for time-stamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRoot {
    /// How verdicts call it.
    pub name: String,
    /// One PEM certificate.
    pub certificate: String,
}

/// A log whose checkpoints count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// C2SP verifier key: `origin+hash+key`.
    pub vkey: String,
}

/// Something that no longer counts, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// A signer's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// The id of a statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Hash>,
    /// SHA-256 of a mark's commitment record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Hash>,
    /// Why, for the reader of a verdict.
    pub reason: String,
}

/// What every artifact must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// A release entry in one of the policy's logs.
    pub log: bool,
    /// A C2PA manifest.
    pub manifest: bool,
    /// An anchor on a chain that is included.
    pub anchor: bool,
    /// Days since the statement was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<u32>,
}

impl Policy {
    /// Reads the TOML text.
    ///
    /// # Errors
    /// [`Error::Input`] with line and column.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let help = "see the README for a policy file; keygen writes one that trusts its own keys";
        let policy: Policy =
            toml::from_str(text).map_err(|error| Error::input("policy", error.to_string().trim_end(), help))?;
        if policy.schema != SCHEMA {
            return Err(Error::input("policy schema", format!("{:?} is not {SCHEMA:?}", policy.schema), help));
        }
        for entry in &policy.revoked {
            if entry.key.is_none() && entry.statement.is_none() && entry.mark.is_none() {
                return Err(Error::input("policy [[revoked]]", "names neither key, statement nor mark", help));
            }
        }
        Ok(policy)
    }

    /// Why this statement no longer counts, if so: told without the statement at hand, so that stripping it hides nothing.
    pub fn revoked_statement(&self, id: &Hash) -> Option<&str> {
        self.revoked.iter().find(|entry| entry.statement.as_ref() == Some(id)).map(|entry| &*entry.reason)
    }

    /// The signer with this key.
    pub fn signer(&self, key: &PublicKey) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key == *key)
    }

    /// Why this key, statement or one of these marks no longer counts, if so.
    pub fn revocation(&self, key: &PublicKey, statement: &Hash, marks: &[Hash]) -> Option<&str> {
        let hit = |entry: &&Revoked| {
            entry.key.as_ref() == Some(key)
                || entry.statement.as_ref() == Some(statement)
                || entry.mark.is_some_and(|mark| marks.contains(&mark))
        };
        self.revoked.iter().find(hit).map(|entry| &*entry.reason)
    }
}

impl CertificateRoot {
    /// The certificate's DER.
    ///
    /// # Errors
    /// [`Error::Input`] when the text is not one PEM certificate.
    pub fn to_der(&self) -> Result<Vec<u8>, Error> {
        match x509_cert::der::pem::decode_vec(self.certificate.as_bytes()) {
            Ok(("CERTIFICATE", der)) => Ok(der),
            _ => Err(Error::input(
                format!("policy certificate root {:?}", self.name),
                "is not one PEM certificate",
                "paste the whole block from BEGIN to END CERTIFICATE",
            )),
        }
    }
}

impl Signer {
    /// True when the policy lets this signer vouch for an artifact of this name.
    pub fn may_name(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == pattern,
            })
        })
    }

    /// True when the policy lets this signer state this relation.
    pub fn may_state(&self, relation: Relation) -> bool {
        self.relations.as_ref().is_none_or(|relations| relations.contains(&relation))
    }
}
