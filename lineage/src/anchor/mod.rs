//! The log and what proves a place in it.
//!
//! One file per standard: [`note`] and [`checkpoint`] (C2SP signed-note, tlog-checkpoint), [`tiles`] (C2SP tlog-tiles),
//! [`proof`] (C2SP tlog-proof), [`entry`] (COSE_Sign1 in the shape of a SCITT signed statement).

pub mod checkpoint;
pub mod entry;
pub mod note;
pub mod proof;
pub mod tiles;
