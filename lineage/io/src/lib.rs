//! What touches the world: files and URLs, the re-hash cache, records of datasets, graph stores, keys, the log on disk, and
//! the crate that writes C2PA manifests; what holds the log's checkpoints.
//!
//! `countermark-lineage` decides and this crate fetches and stores. Each feature brings what its name says and nothing
//! else: `anchor` (chains, calendars, authorities, witnesses, and the servers of logs and witnesses), `c2pa` (about 240 crates; it writes manifests, checking them needs no feature), `columnar` (Parquet and Arrow),
//! `object-store`, `postgres`, `sqlite` (a graph store in a file, and the cache).

#[cfg(feature = "anchor")]
pub mod anchor;
#[cfg(feature = "c2pa")]
pub mod c2pa;
#[cfg(feature = "sqlite")]
pub mod cache;
pub mod certificate;
#[cfg(feature = "c2pa")]
pub mod content;
mod error;
pub mod files;
#[cfg(feature = "object-store")]
mod http;
#[cfg(feature = "object-store")]
pub mod hub;
pub mod inventory;
pub mod keys;
pub mod log;
pub mod open_file;
pub mod records;
#[cfg(feature = "object-store")]
pub mod remote;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod store;
#[cfg(feature = "object-store")]
pub mod timestamp;

pub use error::Error;
