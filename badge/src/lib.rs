//! A verdict as a badge: SVG, shields.io endpoint JSON, Markdown.
//!
//! Pure functions from a [`Verdict`](countermark_lineage::verdict::Verdict) to text; what a badge may say for each state
//! is in [`wording`] alone. A badge is a picture that anybody can copy: it points to the evidence and is none itself, so
//! [`markdown`] always wraps it in a link to where the reader can check.
//!
//! ```
//! use countermark_lineage::verdict::{SCHEMA, State, Verdict};
//!
//! let verdict = Verdict {
//!     schema: SCHEMA.to_owned(),
//!     state: State::Verified,
//!     name: "base.safetensors".to_owned(),
//!     root: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444".to_owned(),
//!     statement: String::new(),
//!     signer: "Example Lab".to_owned(),
//!     scope: None,
//!     checks: vec![],
//! };
//! assert!(countermark_badge::svg(&verdict).contains(r#"aria-label="provenance: verified""#));
//! assert_eq!(countermark_badge::shields(&verdict)["message"], "verified");
//! assert_eq!(
//!     countermark_badge::markdown(&verdict, "badge.svg", "base.provenance.json"),
//!     "[![provenance: verified](badge.svg)](base.provenance.json)"
//! );
//! ```

mod markdown;
mod shields;
mod svg;
mod widths;
pub mod wording;

pub use markdown::markdown;
pub use shields::shields;
pub use svg::svg;
