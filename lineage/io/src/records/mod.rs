//! Records of the datasets on disk: read, decompressed, and put into the trees of
//! [`countermark_lineage::digest::records`].
//!
//! `.gz` and `.zst` around lines, rows, tar and web archives are undone while reading; nothing is ever held whole. Feature
//! `columnar` (the crates `parquet` and `arrow-ipc`) adds tables.

#[cfg(feature = "columnar")]
mod columnar;
mod dataset;
mod measure;
mod salt;
mod sort;
mod source;

pub use dataset::{Dataset, Walked};
pub use measure::{Measured, Options, absence, inclusion, measure};
pub use salt::load as load_salt;
pub use salt::load_or_create as load_or_create_salt;
pub use sort::{Entry, Merge, Sorter};
