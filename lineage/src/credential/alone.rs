//! A manifest store that speaks for an artifact on its own, without a bundle: its own rows, and one for each link of the
//! chain of inputs behind it.
//!
//! Everything that [`super::c2pa`] asks of a release is asked here too. Two things differ: nothing says which inputs there
//! must be, so each is shown as what it is; and stores of other software may carry padding and time-stamps that no
//! signature covers, which are ignored, and the row says so.

use std::ops::Range;

use countermark_formats::ReadAt;

use super::assertions::{check_actions, check_gathered_actions, check_labels, ours};
use super::c2pa::{
    ASSERTIONS, BINDING, COLLECTION, COLLECTION_SCHEMA, FRAMING, PARENTS, Refusal, SIGNATURE, TIMESTAMP, add,
};
pub use super::chain::Link;
use super::chain::{Walk, named, short};
use super::container;
use super::cose::{Sign1, Unsigned};
use super::countersign;
use super::declared::{self, Declarations};
use super::embedded::{self, Place};
use super::keys::PublicKey;
use super::manifest::{Claim, Manifest, Store};
use super::x509;
use crate::cbor::Value;
use crate::digest::Hash;
use crate::graph::Relation;
use crate::verdict::{Check, State};

/// The bytes that a store speaks for.
pub enum Asset<'a> {
    /// SHA-256 of a whole file.
    File([u8; 32]),
    /// SHA-256 of a folder's listing. A text with these bytes is no folder, and the manifest says which it is about.
    Folder([u8; 32]),
    /// A model file that holds the store's text at this range, and SHA-256 of all other bytes.
    Around(Range<u64>, [u8; 32]),
    /// A medium that carries the store.
    Medium {
        /// Its MIME type.
        format: &'a str,
        /// Its bytes.
        source: &'a dyn ReadAt,
        /// What a library for media found: the code of the hash that matched, or what did not.
        found: Result<&'a str, &'a str>,
    },
    /// None are at hand.
    Unseen,
}

/// One signature in a store, for whoever knows whom to believe.
pub struct Signed<'a> {
    /// Certificates in DER, the leaf first.
    pub chain: &'a [Vec<u8>],
    /// The token of a time-stamping authority beside the signature.
    pub token: Option<&'a [u8]>,
    /// The leaf's key, whose signature was verified.
    pub key: PublicKey,
    /// First second in which the leaf is valid: the signature is not older.
    pub not_before: i64,
    /// When an authority's time-stamp over the signature says that it was there, once that was verified.
    pub stamped: Option<i64>,
    /// What the claim calls its artifact.
    pub title: &'a str,
    /// Id of the statement that the manifest quotes.
    pub statement: Option<Hash>,
    /// Marks that it quotes.
    pub marks: &'a [Hash],
    /// Relations to its inputs, where it tells them.
    pub relations: &'a [Relation],
}

impl Asset<'_> {
    /// A file or folder by the SHA-256 that a manifest beside it is about.
    pub fn beside(is_folder: bool, sha256: [u8; 32]) -> Self {
        if is_folder { Asset::Folder(sha256) } else { Asset::File(sha256) }
    }
}

/// By which time to judge, and whose time-stamps count.
#[derive(Clone, Copy, Default)]
pub struct Clock<'a> {
    /// Unix seconds.
    pub now: i64,
    /// Root certificates of time-stamping authorities, in DER.
    pub timestamp_roots: &'a [Vec<u8>],
}

/// Whom to believe: a state, and why.
pub type Vouch<'a> = dyn Fn(&Signed<'_>) -> (State, String) + 'a;

/// What a store comes to.
#[derive(Default)]
pub struct Judged {
    /// The rows of the active manifest.
    pub rows: Vec<Check>,
    /// One for each input, and for theirs, in the order in which they are named.
    pub links: Vec<Link>,
    /// What is known of the active manifest once its signature has been verified.
    pub subject: Option<Subject>,
}

/// The active manifest, signature verified.
pub struct Subject {
    /// What it calls its artifact.
    pub title: String,
    /// Common name and organisation in the certificate.
    pub signer: String,
    /// The signer's key.
    pub key: PublicKey,
    /// First second in which the certificate is valid: the manifest was not signed before.
    pub not_before: i64,
    /// Id of the statement that it quotes.
    pub statement: Option<Hash>,
    /// What it declares.
    pub declared: Declarations,
}

/// Name of the row on who signed.
pub const SIGNER: &str = "manifest signer";

/// Who vouches for these certificates at `now`: the name of the root among `anchors`, or a state and why not.
pub fn certificate(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: i64) -> Result<String, (State, String)> {
    x509::evaluate(chain, anchors, now).map_err(Refusal::into_parts)
}

/// Judges a store that speaks for `asset`.
///
/// Later rows are missing where an earlier one left nothing to check. Linear in the length of the store, save for the
/// bytes of a medium that its hash leaves out, which are read once.
pub fn judge(bytes: &[u8], asset: &Asset<'_>, clock: Clock<'_>, vouch: &Vouch<'_>) -> Judged {
    let mut judged = Judged::default();
    let rows = &mut judged.rows;
    let (store_bytes, zeros) = match asset {
        Asset::Medium { .. } => without_zeros(bytes),
        _ => (bytes, 0),
    };
    let framed = Store::parse(store_bytes).map(|store| {
        let mut detail = format!("one store of {} bytes with {} manifests", bytes.len(), store.parents.len() + 1);
        if zeros > 0 {
            detail += &format!("; {zeros} zero bytes after it are ignored");
        }
        (detail, store)
    });
    let Some(store) = add(rows, FRAMING, framed) else { return judged };
    let Some((sign1, key)) = add(rows, SIGNATURE, signature(&store.active)) else { return judged };
    let stamped = sign1
        .token
        .as_ref()
        .and_then(|token| add(rows, TIMESTAMP, countersign::judge(&sign1, token, clock.timestamp_roots, clock.now)));
    let claimed = store.active.claim().and_then(|claim| {
        check_labels(&claim)?;
        // Whoever writes actions as the signer's own word writes them as C2PA 2.2 asks; other software gathers them.
        check_actions(&store.active, &claim).or_else(|_| check_gathered_actions(&store.active, &claim))?;
        let declared = declared::read(&claim)?;
        let gathered = claim.assertions.iter().filter(|assertion| !assertion.created).count();
        let gathered = match gathered {
            0 => String::new(),
            n => format!(", {n} of them gathered and not the signer's own word"),
        };
        let said = declared.source_type.as_deref().and_then(|url| url.rsplit('/').next());
        let said = said.map(|term| format!("; the signer says {term}")).unwrap_or_default();
        Ok((format!("{} assertions are as signed{gathered}{said}", claim.assertions.len()), (claim, declared)))
    });
    let Some((claim, declared)) = add(rows, ASSERTIONS, claimed) else {
        // Who signed it still matters to whoever wants to ask.
        return judged;
    };
    let named = match named(&claim) {
        Ok(named) => named,
        Err(refusal) => {
            let (state, problem) = refusal.into_parts();
            rows.push(Check::new(ASSERTIONS, state, problem));
            return judged;
        }
    };
    let mut walk = Walk::new(&store, vouch);
    let title = short(claim.title.as_deref().unwrap_or_default());
    let (state, detail) = walk.vouched(&store.active, &claim, (&sign1, stamped), key, &title, &named);
    rows.push(Check::new(SIGNER, state, detail));
    match asset {
        Asset::Unseen => {}
        asset => drop(add(rows, BINDING, binding(&claim, asset, store_bytes).map(|detail| (detail, ())))),
    }
    let unreached = walk.all(&claim);
    if let Some(label) = unreached {
        rows.push(Check::new(
            PARENTS,
            State::Invalid,
            format!("the store holds manifest {label}, which nothing refers to"),
        ));
    }
    let leaf = x509::parse(&sign1.chain[0]);
    judged.subject = Some(Subject {
        title,
        signer: leaf.as_ref().map(x509::subject).unwrap_or_default(),
        key,
        not_before: leaf.as_ref().map(|leaf| x509::validity(leaf).0).unwrap_or(i64::MIN),
        statement: named.statement,
        declared,
    });
    judged.links = walk.links;
    judged
}

/// A store without the zero bytes after it, and how many they are: some containers have them, and they are no part of it.
pub fn without_zeros(bytes: &[u8]) -> (&[u8], usize) {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    match bytes.split_at_checked(length) {
        Some((store, rest)) if length > 0 && rest.iter().all(|byte| *byte == 0) => (store, rest.len()),
        _ => (bytes, 0),
    }
}

/// The signature of a manifest, verified.
fn signature(manifest: &Manifest<'_>) -> Result<(String, (Sign1, PublicKey)), Refusal> {
    let (sign1, note) = match manifest.signature(Unsigned::TimeStamp) {
        Ok(sign1) => (sign1, ""),
        // Other software pads its signatures and adds time-stamps.
        Err(_) => (
            manifest.signature(Unsigned::Ignored)?,
            "; padding or a time-stamp beside it, which it does not cover, is ignored",
        ),
    };
    let key = sign1.verify(manifest.claim_bytes())?;
    Ok((format!("by {}{note}", key.short()), (sign1, key)))
}

fn binding(claim: &Claim<'_, '_>, asset: &Asset<'_>, store: &[u8]) -> Result<String, Refusal> {
    match asset {
        Asset::Unseen => Err(Refusal::unsupported("no bytes are at hand".into())),
        Asset::File(sha256) => {
            embedded::compare(embedded::placed(claim, &Place::Beside)?, Hash(*sha256))?;
            if ours(claim, COLLECTION, COLLECTION_SCHEMA, &["listing"])?.is_some() {
                return Err(Refusal::invalid(
                    "the manifest is about a folder with this listing, not about a file".into(),
                ));
            }
            Ok("it is about these bytes".to_owned())
        }
        Asset::Folder(sha256) => {
            embedded::compare(embedded::placed(claim, &Place::Beside)?, Hash(*sha256))?;
            let Some(collection) = ours(claim, COLLECTION, COLLECTION_SCHEMA, &["listing"])? else {
                return Err(Refusal::invalid(
                    "the manifest is about a file with these bytes, not about a folder".into(),
                ));
            };
            let listing = collection.field("listing").and_then(Value::as_text).unwrap_or_default();
            if Hash::sha256(listing.as_bytes()).0 != *sha256 {
                let problem = "the listing in the manifest is not the one that it is about";
                return Err(Refusal::invalid(problem.into()));
            }
            Ok("it is about the files of this folder".to_owned())
        }
        Asset::Around(span, sha256) => {
            embedded::compare(embedded::placed(claim, &Place::Inside(span.clone()))?, Hash(*sha256))?;
            Ok("it is about this file, all but its own text".to_owned())
        }
        Asset::Medium { format, source, found } => {
            let hard = container::hard(claim)?;
            match found {
                Err(problem) => Err(Refusal::invalid(format!("the C2PA library says {problem}"))),
                Ok(code) => {
                    let left_out = container::only_store(&hard, store, format, *source)?;
                    Ok(format!("the C2PA library says {code}; {left_out}"))
                }
            }
        }
    }
}
