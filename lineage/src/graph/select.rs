//! What a person types to mean an artifact: an id, a root, a key or a name, or the beginning of a hash.

use std::collections::BTreeSet;

use serde::Serialize;

use super::node::Node;
use super::store::{Find, Key, Page, Store};
use crate::Error;
use crate::credential::keys::{Algorithm, PublicKey};
use crate::digest::Hash;
use crate::verdict::printable;

/// By what something was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The id of one statement.
    Statement,
    /// The root of an artifact: every statement about it.
    Root,
    /// The tensors root: every statement about a checkpoint with these tensors.
    Tensors,
    /// The key that signed.
    Signer,
    /// The name that its signer gave it.
    Name,
}

impl By {
    /// The word, as it is written before a colon.
    pub fn as_str(self) -> &'static str {
        match self {
            By::Statement => "statement",
            By::Root => "root",
            By::Tensors => "tensors",
            By::Signer => "signer",
            By::Name => "name",
        }
    }
}

/// What was meant.
#[derive(Clone, Debug)]
pub struct Selection {
    /// By what.
    pub by: By,
    /// Which nodes; none when nothing fits.
    pub nodes: Vec<(Key, Node)>,
}

/// A shorter beginning of a hash is taken for a name.
pub const SHORTEST_PREFIX: usize = 6;

/// Most nodes that one word may mean.
pub const MOST: u32 = 100_000;

/// Finds what `text` means: a key such as `ed25519:` and its digits; 64 hexadecimal digits of a statement's id, a root or a tensors root, or
/// the first digits of an id or root when only one has them; else a name. `statement:`, `root:`, `tensors:`, `signer:` and
/// `name:` before it leave no doubt.
///
/// # Errors
/// [`Error::Usage`] when the first digits fit several things, and when the store cannot be read.
pub fn select(store: &mut dyn Store, text: &str) -> Result<Selection, Error> {
    if let Some(name) = text.strip_prefix("name:") {
        return all(store, By::Name, Find::Name(name.to_owned()));
    }
    let signer = text.strip_prefix("signer:").unwrap_or(text);
    if Algorithm::ALL.iter().any(|word| signer.strip_prefix(word.as_str()).is_some_and(|rest| rest.starts_with(':'))) {
        let help = "a key is ed25519:, p256:, p384: or p521: and all its lower-case hexadecimal digits";
        let key = PublicKey::parse(signer).ok_or_else(|| bad(text, help))?;
        return all(store, By::Signer, Find::Signer(key));
    }
    for by in [By::Statement, By::Root, By::Tensors, By::Signer] {
        let Some(digits) = text.strip_prefix(by.as_str()).and_then(|rest| rest.strip_prefix(':')) else { continue };
        let help = "write at least 6 lower-case hexadecimal digits after the colon; keys and tensors roots need all 64";
        let (first, last) = range(digits).ok_or_else(|| bad(text, help))?;
        return match by {
            By::Statement => one_of(store, text, (first, last), true, false),
            By::Root => one_of(store, text, (first, last), false, true),
            _ if first != last => Err(bad(text, help)),
            By::Tensors => all(store, by, Find::Tensors(first)),
            _ => {
                let key = PublicKey::from_bytes(Algorithm::Ed25519, &first.0).ok_or_else(|| bad(text, "not a key"))?;
                all(store, by, Find::Signer(key))
            }
        };
    }
    if let Some((first, last)) = range(text) {
        let selection = one_of(store, text, (first, last), true, true)?;
        if !selection.nodes.is_empty() {
            return Ok(selection);
        }
        if first == last {
            let selection = all(store, By::Tensors, Find::Tensors(first))?;
            if !selection.nodes.is_empty() {
                return Ok(selection);
            }
        }
    }
    all(store, By::Name, Find::Name(text.to_owned()))
}

/// As [`select`], and it must be one artifact: one statement, or several about one root.
///
/// # Errors
/// As [`select`], and [`Error::Usage`] when the word means several artifacts.
pub fn select_artifact(store: &mut dyn Store, text: &str) -> Result<Selection, Error> {
    let selection = select(store, text)?;
    let roots: BTreeSet<Hash> = selection.nodes.iter().map(|(_, node)| node.root).collect();
    if roots.len() > 1 {
        return Err(ambiguous(text, selection.nodes.iter().map(|(_, node)| node)));
    }
    Ok(selection)
}

fn all(store: &mut dyn Store, by: By, find: Find) -> Result<Selection, Error> {
    Ok(Selection { by, nodes: store.find(&find, &Page::first(MOST))? })
}

/// The one statement, or else the statements about the one root, that begin with these digits.
fn one_of(
    store: &mut dyn Store,
    text: &str,
    (first, last): (Hash, Hash),
    ids: bool,
    roots: bool,
) -> Result<Selection, Error> {
    let mut by_id = if ids { store.find(&Find::Ids(first, last), &Page::first(11))? } else { vec![] };
    if first == last && !by_id.is_empty() {
        // A whole id means itself.
        return Ok(Selection { by: By::Statement, nodes: by_id });
    }
    let most = if first == last { MOST } else { 1000 };
    let by_root = if roots { store.find(&Find::Roots(first, last), &Page::first(most))? } else { vec![] };
    let things = by_id.len() + by_root.iter().map(|(_, node)| node.root).collect::<BTreeSet<_>>().len();
    if things > 1 {
        by_id.extend(by_root);
        return Err(ambiguous(text, by_id.iter().map(|(_, node)| node)));
    }
    let by = if by_root.is_empty() { By::Statement } else { By::Root };
    by_id.extend(by_root);
    Ok(Selection { by, nodes: by_id })
}

/// The first and the last hash that begin with these digits.
fn range(digits: &str) -> Option<(Hash, Hash)> {
    if !(SHORTEST_PREFIX..=64).contains(&digits.len()) || !digits.is_ascii() {
        return None;
    }
    let fill = |digit: &str| Hash::parse(&(digits.to_owned() + &digit.repeat(64 - digits.len())));
    Some((fill("0")?, fill("f")?))
}

fn bad(text: &str, help: &str) -> Error {
    Error::usage(format!("{:?} cannot be looked for", printable(text, 80)), help)
}

fn ambiguous<'a>(text: &str, nodes: impl Iterator<Item = &'a Node>) -> Error {
    let mut lines: Vec<String> =
        nodes.take(11).map(|node| format!("\n  statement:{}  root:{}  {}", node.id, node.root, node.name)).collect();
    if lines.len() > 10 {
        lines[10] = "\n  and more".to_owned();
    }
    let problem = format!("{:?} means several artifacts:{}", printable(text, 80), lines.concat());
    Error::usage(problem, "write one of them out, as statement:ID or root:ROOT")
}
