//! What touches the world: files, keys, the log on disk, and the crate that writes C2PA manifests.
//!
//! `countermark-lineage` decides and this crate fetches and stores. Feature `c2pa` (about 240 crates) brings the writer of
//! C2PA manifests; reading and checking them needs no feature.

#[cfg(feature = "c2pa")]
pub mod c2pa;
#[cfg(feature = "sqlite")]
pub mod cache;
pub mod certificate;
mod error;
pub mod files;
#[cfg(feature = "object-store")]
pub mod hub;
pub mod keys;
pub mod log;
pub mod open_file;
pub mod records;
#[cfg(feature = "object-store")]
pub mod remote;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod store;

pub use error::Error;
