//! Salts of the records of one dataset.

use crate::digest::Hash;

/// What the key of one dataset's salts is derived under.
const CONTEXT: &[u8] = b"countermark.dev/record-salt/v1";

/// Gives each record of one dataset its salt.
///
/// ```text
/// key    = BLAKE3 keyed by the secret, of "countermark.dev/record-salt/v1" ‖ root of the artifact
/// salt i = BLAKE3 keyed by key, of i as u64, little-endian
/// ```
///
/// The root makes the salts of two datasets differ under one secret: a salt that is disclosed with a record of one says
/// nothing of the other.
#[derive(Clone)]
pub struct Salt {
    key: [u8; 32],
}

impl Salt {
    /// The salts of the artifact with this root.
    pub fn new(secret: &[u8; 32], root: &Hash) -> Self {
        let key = blake3::Hasher::new_keyed(secret).update(CONTEXT).update(&root.0).finalize();
        Salt { key: key.into() }
    }

    /// The salt of record `index`.
    pub fn of(&self, index: u64) -> [u8; 32] {
        blake3::keyed_hash(&self.key, &index.to_le_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_differ_by_secret_dataset_and_index() {
        let salt = |secret: u8, root: u8, index| Salt::new(&[secret; 32], &Hash([root; 32])).of(index);
        let all = [salt(1, 1, 0), salt(1, 1, 1), salt(1, 2, 0), salt(2, 1, 0)];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| other != one));
        }
    }
}
