//! Digests of files, folders, checkpoints and records.

pub mod artifact;
pub mod blob;
pub mod checkpoint;
pub mod chunks;
mod hash;
pub mod listing;
mod once;
pub mod parts;
pub mod pieces;
pub mod records;
pub mod slice;
mod subtree;
pub mod tensors;
pub mod tree;
pub mod xet;

pub use hash::Hash;
