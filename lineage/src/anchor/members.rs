//! Evidence as its members come, whatever the order.
//!
//! What tells the kinds apart is a member like the others, and may be the last one. To keep all that comes before it until
//! then would make gigabytes out of a bundle's bytes; so each member is read as what it must be, in any kind, and every list
//! is bounded.

use serde::{Deserialize, Deserializer};

use super::evm::trie::MAX_PROOF;
use super::evm::{EventProof, TransactionProof};
use super::ots::{MAX_HEADERS, TimestampProof};
use super::{Evidence, rfc3161};
use crate::bundle::Bytes;
use crate::credential::policy::AnchorKind;
use crate::limit::at_most;

/// The members of all kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Members {
    kind: AnchorKind,
    chain_id: Option<u64>,
    header: Option<Bytes>,
    index: Option<u64>,
    #[serde(default, deserialize_with = "some::<MAX_PROOF, _>")]
    nodes: Option<Vec<Bytes>>,
    log: Option<u64>,
    file: Option<Bytes>,
    #[serde(default, deserialize_with = "some::<MAX_HEADERS, _>")]
    headers: Option<Vec<Bytes>>,
    token: Option<Bytes>,
}

fn some<'de, const MOST: usize, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Bytes>>, D::Error> {
    at_most::<MOST, _, _>(deserializer).map(Some)
}

impl TryFrom<Members> for Evidence {
    type Error = String;

    fn try_from(members: Members) -> Result<Self, String> {
        let Members { kind, chain_id, header, index, nodes, log, file, headers, token } = members;
        let on_chain = (chain_id, header, index, nodes);
        Ok(match (kind, on_chain, log, file, headers, token) {
            (
                AnchorKind::Evm | AnchorKind::Eas,
                (Some(chain_id), Some(header), Some(index), Some(nodes)),
                Some(log),
                None,
                None,
                None,
            ) => {
                let proof = EventProof { chain_id, header, index, nodes, log };
                if kind == AnchorKind::Evm { Evidence::Evm(proof) } else { Evidence::Eas(proof) }
            }
            (
                AnchorKind::Calldata,
                (Some(chain_id), Some(header), Some(index), Some(nodes)),
                None,
                None,
                None,
                None,
            ) => Evidence::Calldata(TransactionProof { chain_id, header, index, nodes }),
            (AnchorKind::OpenTimestamps, (None, None, None, None), None, Some(file), headers, None) => {
                Evidence::OpenTimestamps(TimestampProof { file, headers: headers.unwrap_or_default() })
            }
            (AnchorKind::Rfc3161, (None, None, None, None), None, None, None, Some(token)) => {
                Evidence::Rfc3161(rfc3161::Token { token })
            }
            _ => return Err(format!("an anchor of kind {} has the members {}", kind.as_str(), needed(kind))),
        })
    }
}

fn needed(kind: AnchorKind) -> &'static str {
    match kind {
        AnchorKind::Evm | AnchorKind::Eas => "chain_id, header, index, nodes and log, and no others",
        AnchorKind::Calldata => "chain_id, header, index and nodes, and no others",
        AnchorKind::OpenTimestamps => "file and perhaps headers, and no others",
        AnchorKind::Rfc3161 => "token, and no others",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Anchor;
    use super::*;

    fn error(evidence: &str) -> String {
        let anchor = format!(r#"{{"checkpoint":"","evidence":{evidence}}}"#);
        serde_json::from_str::<Anchor>(&anchor).expect_err(evidence).to_string()
    }

    #[test]
    fn every_kind_is_read_in_any_order_and_written_again() {
        for evidence in [
            r#"{"kind":"evm","chain_id":1,"header":"AA==","index":2,"nodes":["AQ=="],"log":3}"#,
            r#"{"log":3,"nodes":["AQ=="],"index":2,"header":"AA==","chain_id":1,"kind":"eas"}"#,
            r#"{"kind":"calldata","chain_id":1,"header":"AA==","index":2,"nodes":[]}"#,
            r#"{"headers":["AQ=="],"file":"AA==","kind":"opentimestamps"}"#,
            r#"{"kind":"opentimestamps","file":"AA=="}"#,
            r#"{"token":"AA==","kind":"rfc3161"}"#,
        ] {
            let read: Evidence = serde_json::from_str(evidence).unwrap();
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(written, serde_json::from_str::<serde_json::Value>(evidence).unwrap());
        }
    }

    #[test]
    fn members_of_another_kind_are_refused() {
        for evidence in [
            r#"{"kind":"evm","chain_id":1,"header":"","index":2,"nodes":[]}"#,
            r#"{"kind":"calldata","chain_id":1,"header":"","index":2,"nodes":[],"log":1}"#,
            r#"{"kind":"calldata","chain_id":1,"header":"","index":2,"nodes":[],"headers":[]}"#,
            r#"{"kind":"opentimestamps","file":"","nodes":[]}"#,
            r#"{"kind":"rfc3161","token":"","file":""}"#,
            r#"{"kind":"rfc3161"}"#,
        ] {
            assert!(error(evidence).contains("has the members"), "{evidence}: {}", error(evidence));
        }
        assert!(error(r#"{"kind":"rfc3161","token":"","more":1}"#).contains("unknown field"));
        assert!(error(r#"{"kind":"rfc3162","token":""}"#).contains("unknown variant"));
        assert!(error(r#"{"kind":"rfc3161","kind":"evm","token":""}"#).contains("duplicate field"));
    }

    #[test]
    fn a_long_list_is_refused_where_it_becomes_too_long() {
        // Wherever the kind stands, and whatever it is: nothing is kept for later.
        for list in ["nodes", "headers", "strange", "token"] {
            let items = ["\"\""; 100_000].join(",");
            let told = error(&format!(r#"{{"{list}":[{items}],"kind":"evm"}}"#));
            let column: usize = told.rsplit_once("column ").unwrap().1.parse().unwrap();
            assert!(column < 1000, "{list}: {told}");
        }
    }
}
