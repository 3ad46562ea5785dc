//! What the assertions of a manifest must say: the standard ones that a release needs, and ours.

use std::ops::Range;

use super::c2pa::{COLLECTION, ExpectedParent, LINEAGE, LINEAGE_SCHEMA, Refusal, WATERMARK, WATERMARK_SCHEMA};
use super::embedded::EMBEDDING;
use super::manifest::{Claim, HashedUri, Manifest};
use crate::cbor::Value;
use crate::digest::Hash;

/// Labels under our domain are exactly the known ones, and the signer's own word. Libraries find an assertion by the
/// beginning of its label, and number equal ones, so a twin could be taken for ours.
pub(super) fn check_labels(claim: &Claim<'_, '_>) -> Result<(), Refusal> {
    for assertion in &claim.assertions {
        if assertion.label.to_ascii_lowercase().starts_with("dev.countermark.") {
            if ![LINEAGE, WATERMARK, COLLECTION, EMBEDDING].contains(&assertion.label) {
                return Err(Refusal::invalid(format!("assertion {} is not one of ours", assertion.label)));
            }
            if !assertion.created {
                return Err(Refusal::invalid(format!(
                    "assertion {} is gathered, not the signer's own",
                    assertion.label
                )));
            }
        }
    }
    Ok(())
}

/// C2PA 2.2, 18.15: the first action is `c2pa.opened`, or `c2pa.created` with a source type.
pub(super) fn check_actions(manifest: &Manifest<'_>, claim: &Claim<'_, '_>) -> Result<(), Refusal> {
    let mut lists = claim.assertions.iter().filter(|assertion| assertion.label.starts_with("c2pa.actions"));
    let (Some(list), None) = (lists.next(), lists.next()) else {
        return Err(Refusal::invalid("expected exactly one list of actions".into()));
    };
    if list.label != "c2pa.actions.v2" || !list.created {
        return Err(Refusal::invalid("the actions are not c2pa.actions.v2, or not the signer's own".into()));
    }
    check_list(manifest, &list.cbor()?, true)
}

/// The same for manifests of other software, which may hold several lists, and gathered ones: the first of them begins.
pub(super) fn check_gathered_actions(manifest: &Manifest<'_>, claim: &Claim<'_, '_>) -> Result<(), Refusal> {
    let lists = claim.assertions.iter().filter(|assertion| {
        let base = assertion.base_label();
        base == "c2pa.actions.v2" || base == "c2pa.actions"
    });
    let mut begins = true;
    for list in lists {
        check_list(manifest, &list.cbor()?, begins)?;
        begins = false;
    }
    match begins {
        true => Err(Refusal::invalid("there is no list of actions".into())),
        false => Ok(()),
    }
}

/// One list of actions: how it begins, and that every input that it names is there.
fn check_list(manifest: &Manifest<'_>, value: &Value, begins: bool) -> Result<(), Refusal> {
    let actions = value.field("actions").and_then(Value::as_array).unwrap_or_default();
    let name = |action: &Value| action.field("action").and_then(Value::as_text).unwrap_or_default().to_owned();
    let Some(first) = actions.first() else {
        return Err(Refusal::invalid("the list of actions is empty".into()));
    };
    match &*name(first) {
        _ if !begins => {}
        "c2pa.opened" => {}
        "c2pa.created" if first.field("digitalSourceType").is_some_and(|source| source.as_text().is_some()) => {}
        "c2pa.created" => return Err(Refusal::invalid("c2pa.created does not name a source type".into())),
        other => {
            return Err(Refusal::invalid(format!("the first action is {other:?}, not c2pa.created or c2pa.opened")));
        }
    }
    for action in actions {
        let named = action.field("parameters").and_then(|parameters| parameters.field("ingredients"));
        for uri in named.and_then(Value::as_array).unwrap_or_default() {
            manifest.resolve(&HashedUri::parse(uri, Some("sha256"))?)?;
        }
    }
    Ok(())
}

/// What the one hard binding says.
pub(super) struct Bound {
    /// SHA-256 of what it covers.
    pub sha256: [u8; 32],
    /// What it leaves out. Whether it may, [`super::embedded::placed`] says.
    pub excluded: Vec<Range<u64>>,
}

/// Reads the one hard binding.
pub(super) fn binding(claim: &Claim<'_, '_>) -> Result<Bound, Refusal> {
    let mut bindings = claim.assertions.iter().filter(|assertion| assertion.label.starts_with("c2pa.hash."));
    let Some(binding) = bindings.next() else {
        return Err(Refusal::invalid("the manifest is not bound to any bytes".into()));
    };
    if let Some(second) = bindings.next() {
        return Err(Refusal::invalid(format!("two bindings: {} and {}", binding.label, second.label)));
    }
    if binding.label != "c2pa.hash.data" {
        return Err(Refusal::unsupported(format!("binding {} is not checked", binding.label)));
    }
    if !binding.created {
        return Err(Refusal::invalid("the binding is gathered, not the signer's own".into()));
    }
    let value = binding.cbor()?;
    let mut excluded = Vec::new();
    for (key, value) in value.as_map().unwrap_or_default() {
        match key.as_text() {
            Some("exclusions") => excluded = exclusions(value)?,
            Some("alg") if value.as_text() != Some("sha256") => {
                return Err(Refusal::unsupported("the binding's algorithm is not sha256".into()));
            }
            Some("pad" | "pad2") if !value.as_bytes().is_some_and(|pad| pad.iter().all(|byte| *byte == 0)) => {
                return Err(Refusal::invalid("the binding's padding is not zero".into()));
            }
            Some("alg" | "pad" | "pad2" | "name" | "hash") => {}
            _ => return Err(Refusal::invalid("the binding has a field that is not allowed".into())),
        }
    }
    if value.field("alg").is_none() {
        return Err(Refusal::invalid("the binding names no algorithm".into()));
    }
    let hash = value.field("hash").and_then(Value::as_bytes).and_then(|hash| hash.try_into().ok());
    let sha256 = hash.ok_or_else(|| Refusal::invalid("the binding has no hash of 32 bytes".into()))?;
    Ok(Bound { sha256, excluded })
}

/// A list of `{start, length}`, each of which ends somewhere.
fn exclusions(value: &Value) -> Result<Vec<Range<u64>>, Refusal> {
    let range = |value: &Value| match (value.field("start")?, value.field("length")?, value.as_map()?) {
        (Value::Unsigned(start), Value::Unsigned(length), [_, _]) => Some(*start..start.checked_add(*length)?),
        _ => None,
    };
    let ranges = value.as_array().and_then(|list| list.iter().map(range).collect());
    ranges.ok_or_else(|| Refusal::invalid("the exclusions of the binding cannot be read".into()))
}

/// Our assertion of this label, with no other fields than these and the schema.
pub(super) fn ours(
    claim: &Claim<'_, '_>,
    label: &str,
    schema: &str,
    fields: &[&str],
) -> Result<Option<Value>, Refusal> {
    let Some(assertion) = claim.assertions.iter().find(|assertion| assertion.label == label) else { return Ok(None) };
    let value = assertion.cbor()?;
    if value.field("schema").and_then(Value::as_text) != Some(schema) {
        return Err(Refusal::unsupported(format!("assertion {label} does not have the schema {schema}")));
    }
    let known = |key: &str| key == "schema" || fields.contains(&key);
    if !value.as_map().is_some_and(|pairs| pairs.iter().all(|(key, _)| key.as_text().is_some_and(known))) {
        return Err(Refusal::invalid(format!("assertion {label} has a field that its schema does not know")));
    }
    Ok(Some(value))
}

/// Statement and root in our assertion, if that is there.
pub(super) fn lineage(claim: &Claim<'_, '_>) -> Result<Option<ExpectedParent>, Refusal> {
    let Some(value) = ours(claim, LINEAGE, LINEAGE_SCHEMA, &["statement", "root", "kind"])? else { return Ok(None) };
    let hash = |key| value.field(key).and_then(Value::as_text).and_then(Hash::parse).map(|hash| hash.0);
    match (hash("statement"), hash("root")) {
        (Some(statement), Some(root)) => Ok(Some(ExpectedParent { statement, root })),
        _ => Err(Refusal::invalid(format!("assertion {LINEAGE} lacks statement or root"))),
    }
}

/// Commitments in our assertion.
pub(super) fn marks(claim: &Claim<'_, '_>) -> Result<Vec<[u8; 32]>, Refusal> {
    let Some(value) = ours(claim, WATERMARK, WATERMARK_SCHEMA, &["commitments"])? else { return Ok(Vec::new()) };
    let commitments = value.field("commitments").and_then(Value::as_array).unwrap_or_default();
    let hashes = commitments.iter().map(|hash| hash.as_text().and_then(Hash::parse).map(|hash| hash.0));
    hashes.collect::<Option<_>>().ok_or_else(|| Refusal::invalid(format!("assertion {WATERMARK} cannot be read")))
}
