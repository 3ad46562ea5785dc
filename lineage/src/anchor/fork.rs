//! Proof that a log signed two histories: two heads of which neither is the beginning of the other.
//!
//! Two heads of one size need nothing more. For two sizes, a consistency path shows which tree the newer head begins with,
//! and that this is another one than the older head's. Nobody but the holder of the log's key can make it true.

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::note::VerifierKey;
use super::tiles::{self, ReadTile};
use crate::Error;
use crate::digest::{Hash, tree};

/// What shows it. Unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// The log's verifier key.
    pub log: String,
    /// A signed head, a note.
    pub older: String,
    /// Another one, of at least this size.
    pub newer: String,
    /// Root of the tree with which the newer head begins, at the older one's size.
    pub beginning: Hash,
    /// Path that proves this under the newer head.
    pub path: Vec<Hash>,
}

/// What two signed heads of one log and its tiles say about each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The older is the beginning of the newer.
    Consistent,
    /// It is not: root of the tree that is, and the path that shows it.
    Forked(Hash, Vec<Hash>),
    /// The tiles do not lead to the newer head, and so prove nothing.
    Unproven,
}

/// Compares two heads with tiles that nobody is believed about: all that they say is recomputed up to the newer head.
///
/// # Errors
/// [`Error::Usage`] when `older` is the larger one; what reading the tiles answers.
pub fn compare(older: &Checkpoint, newer: &Checkpoint, tiles: &impl ReadTile) -> Result<Relation, Error> {
    if older.size == newer.size {
        let is_same = older.root == newer.root;
        return Ok(if is_same { Relation::Consistent } else { Relation::Forked(newer.root, vec![]) });
    }
    if older.size == 0 {
        let is_led_to = tiles::root(tiles, newer.size)? == newer.root;
        return Ok(if is_led_to { Relation::Consistent } else { Relation::Unproven });
    }
    let beginning = tiles::root(tiles, older.size)?;
    let path = tiles::consistency(tiles, older.size, newer.size)?;
    Ok(if !tree::is_consistent(older.size, &beginning, newer.size, &newer.root, &path) {
        Relation::Unproven
    } else if beginning == older.root {
        Relation::Consistent
    } else {
        Relation::Forked(beginning, path)
    })
}

impl Fork {
    /// Checks both signatures and the path.
    ///
    /// # Errors
    /// [`Error::Input`] when this does not show that the log signed two histories.
    pub fn verify(&self) -> Result<(), Error> {
        let log = VerifierKey::parse(&self.log)?;
        let (older, newer) = (Checkpoint::open(&self.older, &log)?, Checkpoint::open(&self.newer, &log)?);
        let is_led_to = tree::is_consistent(older.size, &self.beginning, newer.size, &newer.root, &self.path);
        if !is_led_to || self.beginning == older.root {
            let help = "keep both checkpoints, and compare them with the log's tiles again";
            return Err(Error::input("fork", "does not show that the log signed two histories", help));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use std::collections::HashMap;

    struct Memory(HashMap<(u8, u64), Vec<Hash>>);

    impl ReadTile for Memory {
        fn read_tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, Error> {
            Ok(self.0.get(&(level, index)).map_or(vec![], |tile| tile[..width as usize].to_vec()))
        }
    }

    fn leaves(count: usize, seed: &str) -> Vec<Hash> {
        (0..count).map(|i| tree::leaf(format!("{seed} {i}").as_bytes())).collect()
    }

    fn tiles(leaves: &[Hash]) -> Memory {
        let tiles = tiles::append(&Memory(HashMap::new()), 0, leaves).unwrap();
        Memory(tiles.into_iter().map(|(level, index, hashes)| ((level, index), hashes)).collect())
    }

    fn head(leaves: &[Hash]) -> Checkpoint {
        Checkpoint { size: leaves.len() as u64, root: tree::root(leaves) }
    }

    #[test]
    fn every_pair_of_heads() {
        let (one, other) = (leaves(600, "one"), leaves(600, "other"));
        for (old, new) in
            [(1, 2), (1, 600), (2, 3), (4, 600), (255, 256), (256, 300), (300, 600), (512, 600), (599, 600)]
        {
            let served = tiles(&one[..new]);
            let newer = head(&one[..new]);
            assert_eq!(compare(&head(&one[..old]), &newer, &served).unwrap(), Relation::Consistent, "{old} {new}");
            // Tiles of another history than the newer head's prove nothing about either.
            let strange = tiles(&other[..new]);
            assert_eq!(compare(&head(&one[..old]), &newer, &strange).unwrap(), Relation::Unproven, "{old} {new}");
            let forked = compare(&head(&other[..old]), &newer, &served).unwrap();
            let Relation::Forked(beginning, path) = forked else { panic!("{old} {new}: {forked:?}") };
            let key = SigningKey::from_bytes(&[1; 32]);
            let log = VerifierKey::new("log.example", key.verifying_key().into()).unwrap().to_string();
            let sign = |head: Checkpoint| head.sign("log.example", &key).unwrap();
            let (older, newer) = (sign(head(&other[..old])), sign(newer));
            let fork = Fork { log, older, newer, beginning, path };
            fork.verify().unwrap();
            // What is no fork cannot be made to look like one.
            let honest = Fork { older: sign(head(&one[..old])), ..fork.clone() };
            assert!(honest.verify().is_err());
            let invented = Fork { beginning: Hash([7; 32]), ..honest };
            assert!(invented.verify().is_err());
            let by_another = head(&other[..old]).sign("log.example", &SigningKey::from_bytes(&[2; 32])).unwrap();
            assert!(Fork { older: by_another, ..fork }.verify().is_err());
        }
        let (a, b) = (head(&one[..5]), head(&other[..5]));
        assert_eq!(compare(&a, &a, &tiles(&[])).unwrap(), Relation::Consistent);
        assert_eq!(compare(&a, &b, &tiles(&[])).unwrap(), Relation::Forked(b.root, vec![]));
        let empty = Checkpoint { size: 0, root: tree::empty_root() };
        assert_eq!(compare(&empty, &a, &tiles(&one[..5])).unwrap(), Relation::Consistent);
        assert_eq!(compare(&empty, &a, &tiles(&other[..5])).unwrap(), Relation::Unproven);
        assert!(compare(&b, &empty, &tiles(&one)).is_err());
    }
}
