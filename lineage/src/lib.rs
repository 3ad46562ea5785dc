//! Digests, signed statements, credentials, log proofs and the one verdict, without I/O.
//!
//! Bytes go in through [`countermark_formats::ReadAt`], a [`verdict::Verdict`] comes out of [`verify::verify`]. Nothing
//! here opens a file, asks a clock or draws a random number, so the browser and the command line run the same code.
//!
//! ```
//! use countermark_lineage::digest::blob;
//!
//! let bytes: Vec<u8> = (0..1025_u32).map(|i| (i % 251) as u8).collect();
//! assert_eq!(blob::hash(&bytes)?.to_string(), "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444");
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod anchor;
pub mod bundle;
pub mod cbor;
pub mod credential;
pub mod digest;
mod error;
pub mod export;
pub mod graph;
mod limit;
pub mod verdict;
pub mod verify;

pub use error::Error;
