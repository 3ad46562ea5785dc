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
//!     until = "2028-01-01T00:00:00Z"
//!
//!     [[threshold]]                 # of these names, two signers must vouch
//!     names = ["team-*"]
//!     required = 2
//!
//!     [[revocation_list]]           # whose lists are believed
//!     key = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
//!     required = true
//!
//!     [require]
//!     max_age_days = 365
//! "#)?;
//! assert_eq!(policy.signers[0].name, "model team");
//! # Ok::<(), countermark_lineage::Error>(())
//! ```

mod review;
mod time;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::keys::PublicKey;
use crate::Error;
use crate::anchor::evm::hex::{Address, Word};
use crate::anchor::note::VerifierKey;
use crate::anchor::tlog_policy::TlogPolicy;
use crate::digest::Hash;
use crate::graph::Relation;

pub use review::Remark;
pub use time::Time;

/// Schema of the file.
pub const SCHEMA: &str = "countermark.dev/policy/v1";

/// Whom to believe, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Keys that may sign statements. Entries of one name are keys of one signer.
    #[serde(default, rename = "signer", skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<Signer>,
    /// How many signers must vouch for which names.
    #[serde(default, rename = "threshold", skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
    /// Certificate roots for C2PA manifests.
    #[serde(default, rename = "certificate_root", skip_serializing_if = "Vec::is_empty")]
    pub certificate_roots: Vec<CertificateRoot>,
    /// Roots of authorities whose time-stamps count.
    #[serde(default, rename = "timestamp_root", skip_serializing_if = "Vec::is_empty")]
    pub timestamp_roots: Vec<CertificateRoot>,
    /// Logs whose checkpoints count.
    #[serde(default, rename = "log", skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Log>,
    /// Logs that count when enough witnesses have signed their checkpoints: the text of a C2SP tlog-policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlog_policy: Option<TlogPolicy>,
    /// Chains whose blocks hold anchors.
    #[serde(default, rename = "chain", skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<Chain>,
    /// Which blocks of Bitcoin count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitcoin: Option<Bitcoin>,
    /// Whose revocation lists count.
    #[serde(default, rename = "revocation_list", skip_serializing_if = "Vec::is_empty")]
    pub revocation_lists: Vec<RevocationList>,
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
    /// Its key.
    pub key: PublicKey,
    /// Names of artifacts it may vouch for; `*` at the end stands for any rest. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Relations it may state. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<Vec<Relation>>,
    /// Its word counts from this second on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// Its word no longer counts after this second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// How many signers must vouch for artifacts of some names. Where several fit a name, all must be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Names of artifacts, as in [`Signer::names`].
    pub names: Vec<String>,
    /// Names of the signers that count; everybody who may vouch for the artifact when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signers: Option<Vec<String>>,
    /// How many different ones must have signed.
    pub required: NonZeroU32,
}

/// Somebody whose revocation lists count. Anybody else's do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationList {
    /// The key that signs the lists.
    pub key: PublicKey,
    /// Where the newest list is, beside the policy or below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Without a list of this issuer nothing is green.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// A list that was made more days ago is stale, whatever it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<u32>,
    /// Lists with a smaller number are older than one that was seen before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
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

/// A chain with Ethereum's machine, and what counts on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// How verdicts call it.
    pub name: String,
    /// Its number (EIP-155).
    pub chain_id: u64,
    /// The ERC-7053 contract. Without it no event of such a contract counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Address>,
    /// The EAS contract. Without it no time-stamp of EAS counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eas: Option<Address>,
    /// Accounts whose commits and transactions count. Anybody can commit anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorders: Vec<Address>,
    /// Hashes of blocks that are on this chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Word>,
    /// URLs of nodes, asked only when verification may use the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// How many of the nodes must agree; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<NonZeroU32>,
}

/// Which blocks of Bitcoin count. One that is pinned does; so does one with enough work on top of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bitcoin {
    /// Hashes of blocks, written as explorers do, the zeros in front.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Hash>,
    /// The least difficulty of a block, as explorers write it. Without it only pinned blocks count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_difficulty: Option<u64>,
    /// Blocks, its own included, after which it is final; 6 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<NonZeroU32>,
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
    /// SHA-256 of a certificate's DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Hash>,
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
    /// A verified time-stamp in the C2PA manifest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timestamp: bool,
    /// An OpenSSF model signature.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oms: bool,
    /// An anchor that is included.
    pub anchor: AnchorRule,
    /// Days since the statement was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<u32>,
}

/// Which anchor is asked for: `false`, `true` for any, or a list of kinds of which one is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected true, false, or a list of anchor kinds: evm, eas, calldata, opentimestamps, rfc3161"
)]
pub enum AnchorRule {
    /// Any, or none.
    Any(bool),
    /// One of these.
    OneOf(Vec<AnchorKind>),
}

impl Default for AnchorRule {
    fn default() -> Self {
        AnchorRule::Any(false)
    }
}

impl AnchorRule {
    /// True when there must be one.
    pub fn is_required(&self) -> bool {
        // An empty list is met by no anchor; it asks for something all the same.
        !matches!(self, AnchorRule::Any(false))
    }

    /// True when one of this kind is enough.
    pub fn accepts(&self, kind: AnchorKind) -> bool {
        match self {
            AnchorRule::Any(_) => true,
            AnchorRule::OneOf(kinds) => kinds.contains(&kind),
        }
    }

    /// What is asked for, for people: `an anchor`, or its kinds.
    pub fn describe(&self) -> String {
        match self {
            AnchorRule::Any(false) => "no anchor".to_owned(),
            AnchorRule::Any(true) => "an anchor".to_owned(),
            AnchorRule::OneOf(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
                format!("an anchor of kind {}", kinds.join(" or "))
            }
        }
    }
}

/// A kind of anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnchorKind {
    /// An ERC-7053 event on a chain with Ethereum's machine.
    Evm,
    /// The Ethereum Attestation Service.
    Eas,
    /// A transaction that carries the digest.
    Calldata,
    /// OpenTimestamps.
    OpenTimestamps,
    /// A time-stamp authority.
    Rfc3161,
}

impl AnchorKind {
    /// The word in the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            AnchorKind::Evm => "evm",
            AnchorKind::Eas => "eas",
            AnchorKind::Calldata => "calldata",
            AnchorKind::OpenTimestamps => "opentimestamps",
            AnchorKind::Rfc3161 => "rfc3161",
        }
    }
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
            let Revoked { key, statement, mark, certificate, .. } = entry;
            if key.is_none() && statement.is_none() && mark.is_none() && certificate.is_none() {
                let problem = "names neither key, statement, mark nor certificate";
                return Err(Error::input("policy [[revoked]]", problem, help));
            }
        }
        for list in &policy.revocation_lists {
            // Beside the policy, so that a policy can be handed on together with its lists.
            if list.file.as_deref().is_some_and(|file| crate::digest::listing::check_path(file).is_err()) {
                let problem = format!("file {:?} is not a path beside the policy or below it", list.file);
                return Err(Error::input("policy [[revocation_list]]", problem, help));
            }
        }
        for (place, chain) in policy.chains.iter().enumerate() {
            let refuse = |problem: String| {
                Err(Error::input(
                    format!("policy [[chain]] {:?}", chain.name),
                    problem,
                    "leave one of them and remove the other",
                ))
            };
            // Which of two entries counts would be anybody's guess, and each of two equal endpoints would have a vote.
            for before in &policy.chains[..place] {
                if before.chain_id == chain.chain_id {
                    return refuse(format!("has the chain_id {} of {:?}", chain.chain_id, before.name));
                }
                if before.name == chain.name {
                    return refuse(format!("is the name of chain {} and of chain {}", before.chain_id, chain.chain_id));
                }
            }
            if let Some(twice) = (1..).zip(&chain.endpoints).find(|(next, url)| chain.endpoints[*next..].contains(*url))
            {
                return refuse(format!("names the endpoint {:?} twice", twice.1));
            }
        }
        Ok(policy)
    }

    /// The chain with this number.
    pub fn chain(&self, chain_id: u64) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.chain_id == chain_id)
    }

    /// Why this statement no longer counts, if so: told without the statement at hand, so that stripping it hides nothing.
    pub fn revoked_statement(&self, id: &Hash) -> Option<&str> {
        self.revoked.iter().find(|entry| entry.statement.as_ref() == Some(id)).map(|entry| &*entry.reason)
    }

    /// True when the policy knows this log; where it is in [`Policy::tlog_policy`], its witnesses are asked for beside that.
    pub fn knows_log(&self, log: &VerifierKey) -> bool {
        let vkey = log.to_string();
        self.tlog_policy.as_ref().is_some_and(|policy| policy.lists(log))
            || self.logs.iter().any(|log| log.vkey == vkey)
    }

    /// True when the policy knows any log.
    pub fn names_logs(&self) -> bool {
        !self.logs.is_empty() || self.tlog_policy.as_ref().is_some_and(|policy| !policy.logs.is_empty())
    }

    /// The signer with this key.
    pub fn signer(&self, key: &PublicKey) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key == *key)
    }

    /// The thresholds for artifacts of this name.
    pub fn thresholds(&self, name: &str) -> impl Iterator<Item = &Threshold> {
        self.thresholds.iter().filter(move |threshold| matches(&threshold.names, name))
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

/// True when one of the patterns fits: the name itself, or its beginning and a `*`.
fn matches(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    })
}

impl Signer {
    /// True when the policy lets this signer vouch for an artifact of this name.
    pub fn may_name(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|patterns| matches(patterns, name))
    }

    /// True when the policy lets this signer state this relation.
    pub fn may_state(&self, relation: Relation) -> bool {
        self.relations.as_ref().is_none_or(|relations| relations.contains(&relation))
    }
}
