//! What a statement says of a dataset's records.

use countermark_formats::records::Format;
use serde::{Deserialize, Serialize};

use crate::digest::listing::Listing;
use crate::digest::{Hash, tree};
use crate::limit::at_most;

/// Files of one dataset at most.
pub const MAX_FILES: usize = 1_000_000;

/// The record tree of a dataset, as signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// How files are cut into records.
    pub format: Format,
    /// Number of records.
    pub count: u64,
    /// Root of the tree.
    pub root: Hash,
    /// True when the leaves are sorted, false when they follow the data.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sorted: bool,
    /// True when each leaf has a salt that only the owner knows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub salted: bool,
    /// SHA-256 of the CSV header row, or of the columns' text ([`countermark_formats::records::columns`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Hash>,
    /// The files that hold records, in their order, which is by path. Other files of the artifact hold none.
    #[serde(deserialize_with = "at_most::<MAX_FILES, _, _>")]
    pub files: Vec<FileRecords>,
}

/// How many records a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecords {
    /// Path as in the listing.
    pub path: String,
    /// Number of records. The first one comes after those of the files before.
    pub count: u64,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Records {
    /// What contradicts itself or the listing, if anything does.
    pub fn contradiction(&self, listing: &Listing) -> Option<String> {
        let sum = self.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.count));
        let listed = |path: &str| listing.files().binary_search_by(|file| (*file.path).cmp(path)).is_ok();
        Some(if sum != Some(self.count) || self.count > tree::MAX_SIZE {
            "the count is not that of the files".to_owned()
        } else if self.sorted && self.salted {
            "a tree cannot be both sorted and salted".to_owned()
        } else if !self.files.is_sorted_by(|a, b| a.path < b.path) {
            "the files are not sorted by path".to_owned()
        } else if let Some(file) = self.files.iter().find(|file| !listed(&file.path)) {
            format!("{:?} is not in the listing", file.path)
        } else if self.schema.is_some() != self.format.has_schema() {
            format!("a schema is missing, or does not go with {}", self.format)
        } else if self.count == 0 && self.root != tree::empty_root() {
            "no records, and not the root of the empty tree".to_owned()
        } else {
            return None;
        })
    }

    /// The file that holds record `index` of the data, and its place there.
    pub fn place(&self, index: u64) -> Option<(&str, u64)> {
        let mut first = 0;
        for file in &self.files {
            if index < first + file.count {
                return Some((&file.path, index - first));
            }
            first += file.count;
        }
        None
    }
}
