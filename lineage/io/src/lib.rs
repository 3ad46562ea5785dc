//! What touches the world: files, keys, the log on disk, and the crate that writes C2PA manifests.
//!
//! `countermark-lineage` decides and this crate fetches and stores. Feature `c2pa` (about 240 crates) brings the writer of
//! C2PA manifests; reading and checking them needs no feature.

#[cfg(feature = "c2pa")]
pub mod c2pa;
pub mod certificate;
mod error;
pub mod files;
pub mod keys;
pub mod log;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod store;

pub use error::Error;
