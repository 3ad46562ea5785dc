//! Digests of files, folders, checkpoints and records.

pub mod artifact;
pub mod blob;
pub mod checkpoint;
mod hash;
pub mod listing;
pub mod records;
pub mod tree;

pub use hash::Hash;
