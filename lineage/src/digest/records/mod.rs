//! Datasets by record: the tree over all records, and proofs that a record is in it or is not.
//!
//! The tree is that of RFC 9162 ([`super::tree`]). What a record is and which bytes stand for it is said in
//! [`countermark_formats::records`]; the records of a folder follow one another by path, then by place in the file. There
//! are three trees:
//!
//! | tree | leaf | what it proves |
//! |---|---|---|
//! | ordered | SHA-256(00 ‖ record), in the order of the data | a record and its place |
//! | sorted | the same leaves, sorted, duplicates kept | a record; that a record is absent; equal for the same records in any order |
//! | salted | SHA-256(00 ‖ 32 bytes of [salt](Salt) ‖ record), in the order of the data | a record, while the others cannot be guessed |
//!
//! A leaf says nothing of the tree it belongs to. Format, count, schema, sorted and salted stand in the signed
//! [`Records`], and a proof is checked against those, never against what it says itself. An ordered tree cannot prove
//! absence: that takes a pass over the whole dataset. A tree both sorted and salted is refused, because its salts would have
//! to come from the records alone, and then a prover could show an absence by salting a record otherwise.

mod build;
mod proof;
mod salt;
mod summary;

pub use build::{Built, TreeBuilder, leaf, leaves};
pub use proof::{Evidence, MAX_PROOF, Neighbour, RecordProof, SCHEMA, Shown};
pub use salt::Salt;
pub use summary::{FileRecords, MAX_FILES, Records};
