//! Digests of files, folders and checkpoints.

pub mod artifact;
pub mod blob;
pub mod checkpoint;
mod hash;
pub mod listing;
pub mod tensors;
pub mod tree;

pub use hash::Hash;
