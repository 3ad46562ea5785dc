//! Records of datasets: what one is in each format, and the bytes that stand for it in a record tree.
//!
//! | [`Format`] | a record | its bytes |
//! |---|---|---|
//! | `jsonl`, `text` | what lies between line feeds; a last line without one too, an empty line too | as they are, a CR included |
//! | `csv` | a row (RFC 4180) but the first, which is the header | the row as it is, without its line end |
//! | `webdataset` | a sample: consecutive files of a tar archive with one name up to the first dot | see [`tar`] |
//! | `warc` | a WARC record: a capture or what speaks of one | see [`warc`] |
//! | `parquet`, `arrow` | a row | see [`columns`] |
//!
//! A reader takes bytes, decompressed if need be, and fills [`Batch`]es. All of it is hostile: one record is at most
//! [`MAX_RECORD`] bytes, and nothing is allocated because a header says so.

mod batch;
pub mod columns;
pub mod csv;
mod error;
mod format;
mod lines;
pub mod tar;
pub mod warc;
mod window;

pub use batch::Batch;
pub use error::Error;
pub use format::Format;
pub use lines::Lines;

/// A longer record is refused: 256 MiB. It bounds what a reader holds in memory.
pub const MAX_RECORD: usize = 256 << 20;

/// Bytes of records that a reader puts into one batch, unless a single record is larger.
pub const BATCH: usize = 4 << 20;

/// A source of records, batch by batch.
pub trait ReadRecords: Send {
    /// Puts the next records into `batch`, in place of what it held. False when there are no more.
    ///
    /// # Errors
    /// [`Error`] with the byte at which the framing breaks.
    fn next(&mut self, batch: &mut Batch) -> Result<bool, Error>;

    /// What all records have in common, hashed into the schema: the header row of a CSV file, the columns of a table.
    /// Complete after the first [`ReadRecords::next`].
    fn schema(&self) -> Option<&[u8]> {
        None
    }
}
