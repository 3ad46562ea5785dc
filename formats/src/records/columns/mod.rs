//! Rows of tables: one canonical encoding, so that the same rows give the same bytes whatever the file's row groups,
//! pages, encodings, dictionaries and compression.
//!
//! The **schema** is text: the line `countermark-columns/v1`, then a line for each column with its name as a JSON string,
//! a space, and its [`Type`]. Nullability, metadata, and the names inside lists and maps are left out, since writers differ in
//! them. Types are logical: text is `string` and binary `bytes` whatever the width of their offsets, a dictionary is its
//! values, a list of fixed length is a list.
//!
//! A **row** is its values in the order of the columns, everything little-endian:
//!
//! ```text
//! null:  00
//! other: 01, then
//!   bool                      00 or 01
//!   int, uint, float, date, time, timestamp, duration, interval     its 1 to 16 bytes as in Arrow; NaN and −0 stay as they are
//!   decimal(p,s)              16 bytes of two's complement, 32 when p > 38
//!   fixed(n)                  n bytes
//!   string, bytes             u32 length ‖ bytes
//!   list<T>                   u32 count ‖ values
//!   map<K,V>                  u32 count ‖ key ‖ value ‖ key ‖ value …, in the order of the file
//!   struct<…>                 its values in order
//! ```
//!
//! Given the schema, different rows have different bytes and the other way round.

mod read;
mod types;

pub use read::row_to_json;
pub use types::{Column, Type, Unit, parse, schema};

/// First line of the schema.
pub const HEADER: &str = "countermark-columns/v1\n";

/// A table has at most so many columns, those inside others counted.
pub const MAX_COLUMNS: usize = 20_000;

/// Types nest at most this deep.
pub const MAX_DEPTH: usize = 64;
