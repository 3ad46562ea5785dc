//! Damage to ingredients and the manifests that they quote, against what `expected_child` says.

use countermark_io::c2pa::create;
use countermark_lineage::cbor::{Value, text};
use countermark_lineage::credential::c2pa::{BINDING, PARENT_SIGNERS, PARENTS};
use countermark_lineage::verdict::State::{Invalid, UnknownSigner};

use crate::cases::stranger;
use crate::forge::{Forge, boxed, label_of, manifests_of, map, set, store_of};
use crate::{BASE, Case, WORLD, case, release, sign_child};

const INGREDIENT: &str = "c2pa.ingredient.v3";

pub fn cases() -> Vec<Case> {
    let [parent, child] = <[Vec<u8>; 2]>::try_from(manifests_of(&WORLD.child)).unwrap();
    let stripped = Forge { parents: vec![], ..Forge::child() };
    let unseen = results("claimSignature.validated", None);
    let mismatched = results("claimSignature.validated", Some("assertion.dataHash.mismatch"));
    vec![
        case("child-stripped", WORLD.base.clone(), BINDING, Invalid, "is about bytes"),
        case("manifests-swapped", store_of(&[child, parent]), BINDING, Invalid, "is about bytes"),
        case("parent-stripped", stripped.seal(), PARENTS, Invalid, "missing from the store"),
        case("parent-replaced-relabelled", relabelled(), PARENTS, Invalid, "not that of the statement quoted"),
        case("parent-resigned", resigned(), PARENTS, Invalid, "not the manifest that was quoted"),
        case("parent-of-other-bytes", recorded(Some(mismatched)), PARENTS, Invalid, "assertion.dataHash.mismatch"),
        case("parent-match-not-recorded", recorded(Some(unseen)), PARENTS, Invalid, "did not see the bytes"),
        case("parent-without-results", recorded(None), PARENTS, Invalid, "not validated"),
        case("parent-signer-unknown", of_stranger(), PARENT_SIGNERS, UnknownSigner, "no given root vouches"),
        case("ingredient-gathered", gathered(), PARENTS, Invalid, "gathered"),
        case("ingredient-dropped", dropped(), PARENTS, Invalid, "other than the statement's"),
        case("ingredient-of-another-statement", redescribed(), PARENTS, Invalid, "not that of the statement quoted"),
    ]
}

/// The child, with another record of how its parent was validated.
fn recorded(results: Option<Value>) -> Vec<u8> {
    let mut forge = Forge::child();
    forge.edit(INGREDIENT, |ingredient| {
        ingredient.retain(|(key, _)| key.as_text() != Some("validationResults"));
        ingredient.extend(results.map(|results| (text("validationResults"), results)));
    });
    forge.seal()
}

fn results(success: &str, failure: Option<&str>) -> Value {
    let list = |code: Option<&str>| Value::Array(code.iter().map(|code| map([("code", text(*code))])).collect());
    let codes = [("success", list(Some(success))), ("informational", list(None)), ("failure", list(failure))];
    map([("activeManifest", map(codes))])
}

fn of_stranger() -> Vec<u8> {
    let base = create(release("base", BASE, 1), &stranger()).unwrap();
    sign_child(&base, BASE, &WORLD.signer).unwrap()
}

/// Another manifest under the parent's label.
fn relabelled() -> Vec<u8> {
    let label = label_of(&manifests_of(&WORLD.child)[0]);
    let parents = manifests_of(&Forge { label, ..Forge::open(&WORLD.folder) }.seal());
    Forge { parents, ..Forge::child() }.seal()
}

/// The parent, changed in nothing that we compare, by its own signer.
fn resigned() -> Vec<u8> {
    let mut parent = Forge::base();
    set(&mut parent.claim, "dc:title", text("other"));
    Forge { parents: manifests_of(&parent.seal()), ..Forge::child() }.seal()
}

fn gathered() -> Vec<u8> {
    let mut forge = Forge::child();
    forge.part(INGREDIENT).created = false;
    forge.seal()
}

fn dropped() -> Vec<u8> {
    let mut forge = Forge::child();
    forge.remove("c2pa.ingredient.v3__1");
    let source = text("http://c2pa.org/digitalsourcetype/trainedAlgorithmicData");
    let created = map([("action", text("c2pa.created")), ("digitalSourceType", source)]);
    forge.edit("c2pa.actions.v2", |actions| set(actions, "actions", Value::Array(vec![created])));
    forge.seal()
}

/// The descriptor beside the parent's manifest names another statement.
fn redescribed() -> Vec<u8> {
    let mut forge = Forge::child();
    let part = forge.part("c2pa.embedded-data");
    let (description, data) = part.content.split_at(26);
    let json = String::from_utf8_lossy(&data[8..]).replace(&"01".repeat(32), &"0a".repeat(32));
    part.content = [description, &boxed(b"bidb", json.as_bytes())].concat();
    forge.seal()
}
