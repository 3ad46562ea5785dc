//! Takes stores apart, changes them and signs them again, as somebody with the signer's key could.

use countermark_lineage::cbor::{self, Rules, Value, bytes, int, text};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::WORLD;

/// A store taken apart, so that it can be changed and signed again.
pub struct Forge {
    /// Whole boxes.
    pub parents: Vec<Vec<u8>>,
    pub label: String,
    pub parts: Vec<Part>,
    pub claim: Vec<(Value, Value)>,
    pub key: SigningKey,
    pub chain: Vec<Vec<u8>>,
    /// Entries of the unprotected header.
    pub unprotected: Vec<(Value, Value)>,
}

/// An assertion.
pub struct Part {
    pub label: String,
    pub created: bool,
    /// Type UUID and content boxes.
    pub kind: [u8; 16],
    pub content: Vec<u8>,
}

pub const CBOR_KIND: &[u8; 16] = b"cbor\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71";

pub fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes(), &kind[..], content].concat()
}

pub fn unboxed(bytes: &[u8]) -> Vec<&[u8]> {
    let mut boxes = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        boxes.push(&rest[..length]);
        rest = &rest[length..];
    }
    boxes
}

pub fn superbox(kind: &[u8; 16], label: &str, content: &[u8]) -> Vec<u8> {
    let description = boxed(b"jumd", &[&kind[..], &[3], label.as_bytes(), &[0]].concat());
    boxed(b"jumb", &[&description, content].concat())
}

pub fn typed(kind: &[u8; 4]) -> [u8; 16] {
    let mut uuid = *CBOR_KIND;
    uuid[..4].copy_from_slice(kind);
    uuid
}

pub fn label_of(superbox: &[u8]) -> String {
    superbox[33..].iter().take_while(|byte| **byte != 0).map(|byte| *byte as char).collect()
}

pub fn set(map: &mut Vec<(Value, Value)>, key: &str, value: Value) {
    map.retain(|(found, _)| found.as_text() != Some(key));
    map.push((text(key), value));
}

impl Forge {
    pub fn open(store: &[u8]) -> Self {
        let mut manifests = unboxed(&unboxed(store)[0][8..])[1..].to_vec();
        let active = manifests.pop().unwrap();
        let boxes = unboxed(&active[8..]);
        let cbor_of = |superbox: &[u8]| cbor::decode(&unboxed(&superbox[8..])[1][8..], Rules::Lenient).unwrap();
        let Value::Map(claim) = cbor_of(boxes[2]) else { panic!("claim") };
        let assertions = unboxed(&boxes[1][8..]);
        let parts = assertions[1..].iter().map(|assertion| Part {
            label: label_of(assertion),
            created: true,
            kind: assertion[16..32].try_into().unwrap(),
            content: unboxed(&assertion[8..])[1..].concat(),
        });
        Forge {
            label: label_of(active),
            parts: parts.collect(),
            claim,
            parents: manifests.into_iter().map(<[u8]>::to_vec).collect(),
            key: WORLD.leaf.clone(),
            chain: WORLD.chain.to_vec(),
            unprotected: vec![],
        }
    }

    pub fn base() -> Self {
        Forge::open(&WORLD.base)
    }

    pub fn child() -> Self {
        Forge::open(&WORLD.child)
    }

    pub fn part(&mut self, label: &str) -> &mut Part {
        self.parts.iter_mut().find(|part| part.label == label).unwrap()
    }

    /// Adds an assertion of the signer's own.
    pub fn add(&mut self, label: &str, value: Value) {
        let content = boxed(b"cbor", &cbor::encode(&value));
        self.parts.push(Part { label: label.into(), created: true, kind: *CBOR_KIND, content });
    }

    /// Changes the CBOR map of an assertion.
    pub fn edit(&mut self, label: &str, change: impl FnOnce(&mut Vec<(Value, Value)>)) {
        let part = self.part(label);
        let Value::Map(mut map) = cbor::decode(&part.content[8..], Rules::Lenient).unwrap() else { panic!("{label}") };
        change(&mut map);
        part.content = boxed(b"cbor", &cbor::encode(&Value::Map(map)));
    }

    pub fn remove(&mut self, label: &str) {
        self.parts.retain(|part| part.label != label);
    }

    /// Signs it again, with every digest as it should be.
    pub fn seal(mut self) -> Vec<u8> {
        let mut digests: Vec<(String, Vec<u8>)> = Vec::new();
        let (mut assertions, mut created, mut gathered) = (Vec::new(), Vec::new(), Vec::new());
        for part in &mut self.parts {
            if part.kind == *CBOR_KIND {
                let mut value = cbor::decode(&part.content[8..], Rules::Lenient).unwrap();
                rehash(&mut value, &digests);
                part.content = boxed(b"cbor", &cbor::encode(&value));
            }
            let assertion = superbox(&part.kind, &part.label, &part.content);
            let url = format!("self#jumbf=c2pa.assertions/{}", part.label);
            let digest = Sha256::digest(&assertion[8..]).to_vec();
            let entry = map([("url", text(&*url)), ("hash", bytes(&*digest))]);
            if part.created {
                created.push(entry)
            } else {
                gathered.push(entry)
            }
            digests.push((url, digest));
            assertions.extend(assertion);
        }
        set(&mut self.claim, "created_assertions", Value::Array(created));
        if !gathered.is_empty() {
            set(&mut self.claim, "gathered_assertions", Value::Array(gathered));
        }
        set(&mut self.claim, "signature", text(format!("self#jumbf=/c2pa/{}/c2pa.signature", self.label)));
        let claim = cbor::encode(&Value::Map(self.claim.clone()));
        self.assemble(&assertions, &claim)
    }

    /// Signs these bytes as they are.
    pub fn assemble(&self, assertions: &[u8], claim: &[u8]) -> Vec<u8> {
        let chain = match &*self.chain {
            [leaf] => bytes(&**leaf),
            chain => Value::Array(chain.iter().map(|der| bytes(&**der)).collect()),
        };
        let protected = cbor::encode(&Value::Map(vec![(int(1), int(-8)), (int(33), chain)]));
        let covered = [text("Signature1"), bytes(&*protected), bytes([]), bytes(claim)];
        let signature = self.key.sign(&cbor::encode(&Value::Array(covered.to_vec()))).to_bytes();
        let sign1 = vec![bytes(protected), Value::Map(self.unprotected.clone()), Value::Null, bytes(signature)];
        let sign1 = cbor::encode(&Value::Tag(18, Box::new(Value::Array(sign1))));
        let manifest = [
            superbox(&typed(b"c2as"), "c2pa.assertions", assertions),
            superbox(&typed(b"c2cl"), "c2pa.claim.v2", &boxed(b"cbor", claim)),
            superbox(&typed(b"c2cs"), "c2pa.signature", &boxed(b"cbor", &sign1)),
        ];
        let active = superbox(&typed(b"c2ma"), &self.label, &manifest.concat());
        store_of(&[self.parents.concat(), active])
    }
}

/// A map with text keys.
pub fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.map(|(key, value)| (text(key), value)).to_vec())
}

/// The manifests of a store, as whole boxes.
pub fn manifests_of(store: &[u8]) -> Vec<Vec<u8>> {
    unboxed(&unboxed(store)[0][8..])[1..].iter().map(|manifest| manifest.to_vec()).collect()
}

/// A store of these manifests.
pub fn store_of(manifests: &[Vec<u8>]) -> Vec<u8> {
    superbox(&typed(b"c2pa"), "c2pa", &manifests.concat())
}

/// Gives every hashed URI in `value` the digest that its target has now.
fn rehash(value: &mut Value, digests: &[(String, Vec<u8>)]) {
    match value {
        Value::Map(pairs) => {
            let url = pairs.iter().find(|(key, _)| key.as_text() == Some("url")).and_then(|(_, url)| url.as_text());
            let digest = digests.iter().find(|(known, _)| Some(&**known) == url).map(|(_, digest)| digest.clone());
            for (key, value) in pairs {
                match &digest {
                    Some(digest) if key.as_text() == Some("hash") => *value = bytes(&**digest),
                    _ => rehash(value, digests),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rehash(item, digests)),
        _ => {}
    }
}
