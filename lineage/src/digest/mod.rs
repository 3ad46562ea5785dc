//! Digests of files, folders and checkpoints.

pub mod artifact;
pub mod blob;
pub mod checkpoint;
pub mod chunks;
mod hash;
pub mod listing;
pub mod parts;
pub mod slice;
mod subtree;
pub mod tensors;
pub mod tree;
pub mod xet;

pub use hash::Hash;
