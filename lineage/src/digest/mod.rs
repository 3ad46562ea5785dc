//! Digests of files, folders and checkpoints.

pub mod artifact;
pub mod blob;
pub mod checkpoint;
pub mod chunks;
mod hash;
pub mod listing;
pub mod slice;
pub mod tensors;
pub mod tree;
pub mod xet;

pub use hash::Hash;
