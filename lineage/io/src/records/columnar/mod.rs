//! Rows of Parquet and Arrow files, in the canonical encoding of [`countermark_formats::records::columns`].

mod encode;
mod ipc;
mod parquet;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use countermark_formats::ReadAt;
use countermark_formats::records::columns::{self, Column, MAX_COLUMNS, MAX_DEPTH};
use countermark_formats::records::{BATCH, Batch, Error, Format, MAX_RECORD, ReadRecords};

use encode::Encoder;

const HELP: &str = "the file is damaged, or its writer does what no reader expects; write it again";

/// Opens a table.
pub(super) fn open<'a>(
    source: &Arc<dyn ReadAt>,
    format: Format,
    progress: &'a (dyn Fn(u64) + Sync),
) -> Result<Box<dyn ReadRecords + 'a>, Error> {
    let total = source.len();
    let (schema, batches) = guarded(|| match format {
        Format::Parquet => parquet::open(source),
        _ => ipc::open(source),
    })?;
    let columns = columns_of(&schema)?;
    let schema = columns::schema(&columns).into_bytes();
    Ok(Box::new(Rows { batches: Some(batches), current: None, row: 0, schema, progress, left: total }))
}

/// Runs what decodes hostile bytes with somebody else's code.
///
/// Both crates check what they read, and a table is checked here before they see it. Still a panic in them must end one
/// file, not the process: nothing of ours is touched while they run, and their readers are dropped after it.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::bad(0, "the table cannot be decoded: the decoder gave up", HELP)))
}

fn bad(problem: impl ToString) -> Error {
    Error::bad(0, problem.to_string(), HELP)
}

fn columns_of(schema: &Schema) -> Result<Vec<Column>, Error> {
    let mut budget = MAX_COLUMNS;
    let columns = schema.fields().iter().map(|field| encode::column(field, MAX_DEPTH, &mut budget));
    columns.collect()
}

/// Batches of rows, each decoded when it is asked for.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Error>> + Send>;

/// Encodes row by row what the decoder gives.
struct Rows<'a> {
    batches: Option<Batches>,
    current: Option<(RecordBatch, usize)>,
    /// Rows so far.
    row: u64,
    schema: Vec<u8>,
    progress: &'a (dyn Fn(u64) + Sync),
    /// Bytes of the file that progress has not heard of.
    left: u64,
}

impl ReadRecords for Rows<'_> {
    fn next(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        let mut total = 0;
        while total < BATCH {
            let Some((rows, at)) = self.current.take() else {
                let Some(batches) = &mut self.batches else { break };
                let next = guarded(|| batches.next().transpose());
                // After an error or a panic nothing is asked of this decoder again.
                match next {
                    Ok(Some(rows)) => self.current = Some((rows, 0)),
                    Ok(None) => self.batches = None,
                    Err(error) => {
                        self.batches = None;
                        return Err(error);
                    }
                }
                continue;
            };
            let encoder = Encoder::of(&rows)?;
            let mut row = at;
            while row < rows.num_rows() && total < BATCH {
                let number = self.row;
                let too_long = |_| {
                    let problem = format!("row {number} is above {} MiB", MAX_RECORD >> 20);
                    Error::bad(0, problem, "leave that row out, or split its values")
                };
                batch
                    .append(0, |bytes| {
                        let begin = bytes.len();
                        encoder.row(row, bytes, begin + MAX_RECORD)?;
                        total += bytes.len() - begin;
                        Ok(())
                    })
                    .map_err(too_long)?;
                row += 1;
                self.row += 1;
            }
            drop(encoder);
            if row < rows.num_rows() {
                self.current = Some((rows, row));
            }
        }
        let heard = self.left.min(total as u64);
        let heard = if batch.is_empty() { self.left } else { heard };
        self.left -= heard;
        (self.progress)(heard);
        Ok(!batch.is_empty())
    }

    fn schema(&self) -> Option<&[u8]> {
        Some(&self.schema)
    }
}
