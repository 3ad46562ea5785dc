//! countermark joins mark, lineage, credential and log, and checks all of it.
//!
//! One function per job, each in a file of its own: [`keyset`] makes keys and a policy, [`key`] says what one is, [`digest`] hashes, [`diff`] compares,
//! [`mod@slice`] proves a part of a file, [`records`] proves what is in a dataset, [`mark`] strikes a watermark into weights,
//! [`detect`] finds it again, [`disclose`] lets somebody else look for it, [`attack`] does to a model what happens in the
//! wild, [`derivation`] asks whether two models share training history, [`sign`] writes the bundle of a release, [`mod@embed`] puts a manifest
//! into a file, [`graph`]
//! takes bundles into a store, [`mod@anchor`] has checkpoints held by chains and authorities, [`export`] writes lineage in the formats of others, [`card`] holds a model card against it,
//! [`oms`] signs and verifies bundles of OpenSSF Model Signing, [`cosign`] adds a signature to a bundle,
//! [`revoke`] says what no longer counts, [`mod@hand_over`] gives the rights of one key to another, [`verify`] turns a bundle
//! and the bytes at hand into a verdict. The command line and the
//! Python package only call these.
//!
//! ```
//! use countermark::{keyset, sign, verify};
//!
//! let folder = tempfile::tempdir()?;
//! let keys = folder.path().join("keys");
//! keyset::generate(&keys, "Example Lab")?;
//! std::fs::write(folder.path().join("data.csv"), "a,b\n1,2\n")?;
//!
//! let mut request = sign::Request::new(folder.path().join("data.csv"), keys.join("owner.key"));
//! request.log = Some(folder.path().join("log"));
//! let signed = sign::sign(&request, &countermark::silent())?;
//!
//! let mut request = verify::Request::new(folder.path().join("data.csv"));
//! request.bundle = Some(signed.bundle);
//! request.policy = Some(keys.join("policy.toml"));
//! let verdict = verify::verify(&request, &countermark::silent())?;
//! assert_eq!(verdict.state.as_str(), "unanchored");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod anchor;
pub mod attack;
mod cache;
pub mod card;
pub mod content;
pub mod cosign;
pub mod derivation;
pub mod detect;
pub mod diff;
pub mod digest;
pub mod disclose;
pub mod embed;
mod error;
pub mod export;
pub mod graph;
pub mod hand_over;
pub mod key;
pub mod keyset;
pub mod mark;
mod marks;
pub mod oms;
mod progress;
pub mod records;
pub mod revoke;
pub mod sign;
pub mod slice;
mod trust;
pub mod verify;

pub use countermark_badge as badge;
pub use countermark_formats as formats;
pub use countermark_io as io;
pub use countermark_lineage as lineage;
pub use countermark_watermark as watermark;
pub use error::Error;
pub use progress::{Progress, silent};
