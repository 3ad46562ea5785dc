//! Parquet files: groups of columns decoded side by side, so that one large row group keeps all cores busy.

use std::io::{self, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use bytes::Bytes;
use countermark_formats::ReadAt;
use countermark_formats::records::Error;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};
use rayon::prelude::*;

use super::{Batches, bad, guarded};

/// Rows per batch at most.
const ROWS: u64 = 8192;
/// Bytes per batch, about, by what the file says of itself.
const BYTES: u64 = 16 << 20;

#[derive(Clone)]
struct Chunks(Arc<dyn ReadAt>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl Chunks {
    fn check(&self, start: u64, length: u64) -> Result<(), ParquetError> {
        match start.checked_add(length) {
            Some(end) if end <= self.0.len() => Ok(()),
            _ => Err(ParquetError::EOF(format!("bytes {start} to {start} + {length} lie outside the file"))),
        }
    }
}

/// From an offset to the end of the file.
struct From(Arc<dyn ReadAt>, u64);

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.0.len() - self.1).min(buffer.len() as u64) as usize;
        self.0.read_exact_at(&mut buffer[..count], self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

impl ChunkReader for Chunks {
    type T = io::BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.check(start, 0)?;
        Ok(io::BufReader::new(From(self.0.clone(), start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.check(start, length as u64)?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// The columns, and the rows in batches.
///
/// The Arrow schema that some writers embed is passed over, so that types depend only on what Parquet itself says.
pub(super) fn open(source: &Arc<dyn ReadAt>) -> Result<(SchemaRef, Batches), Error> {
    let chunks = Chunks(source.clone());
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(&chunks, options.clone()).map_err(bad)?;
    let parts = metadata.metadata().clone();
    let total = check(&parts, source.len())?;
    // Views share the text of a dictionary instead of repeating it: a small file stays small in memory.
    let fields = metadata.schema().fields().iter().map(view).collect::<Fields>();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata.schema().metadata().clone()));
    let metadata = ArrowReaderMetadata::try_new(parts.clone(), options.with_schema(schema.clone())).map_err(bad)?;

    let groups = groups(&parts);
    let average = uncompressed(&parts) / total.max(1);
    let rows = (BYTES / average.max(1)).clamp(1, ROWS) as usize;
    let readers = groups.iter().map(|roots| {
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks.clone(), metadata.clone());
        builder.with_projection(mask).with_batch_size(rows).build().map_err(bad)
    });
    let readers = readers.collect::<Result<Vec<_>, _>>()?;
    let batches = SideBySide { readers, groups, schema: schema.clone(), expected: total, seen: 0, done: false };
    Ok((schema, Box::new(batches)))
}

/// Checks what the footer says against itself and the file's length; answers the number of rows.
fn check(metadata: &ParquetMetaData, length: u64) -> Result<u64, Error> {
    let mut total: u64 = 0;
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).map_err(|_| bad("a row group with fewer than no rows"))?;
        total = total.checked_add(rows).ok_or_else(|| bad("more rows than can be counted"))?;
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let range = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
            let end = range.and_then(|(start, size)| start.checked_add(size));
            if end.is_none_or(|end| end > length) {
                return Err(bad(format!("column {} lies outside the file", column.column_path())));
            }
            if column.file_path().is_some() {
                return Err(bad(format!("column {} lies in another file", column.column_path())));
            }
            // A row has one value in a column that does not repeat, and one at least in others: none is hidden.
            let values = u64::try_from(column.num_values()).unwrap_or(0);
            let repeats = column.column_descr().max_rep_level() > 0;
            if values != rows && (!repeats || values < rows) {
                return Err(bad(format!("column {} has {values} values for {rows} rows", column.column_path())));
            }
        }
    }
    if u64::try_from(metadata.file_metadata().num_rows()) != Ok(total) {
        return Err(bad("the number of rows is not that of the row groups"));
    }
    Ok(total)
}

fn uncompressed(metadata: &ParquetMetaData) -> u64 {
    let sizes = metadata.row_groups().iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0));
    sizes.fold(0, u64::saturating_add)
}

/// The columns at the top, in one group for each core, about as large as one another.
fn groups(metadata: &ParquetMetaData) -> Vec<Vec<usize>> {
    let schema = metadata.file_metadata().schema_descr();
    let roots = schema.root_schema().get_fields().len();
    let mut sizes: Vec<(u64, usize)> = (0..roots).map(|root| (0, root)).collect();
    for group in metadata.row_groups() {
        for (leaf, column) in group.columns().iter().enumerate() {
            let size = &mut sizes[schema.get_column_root_idx(leaf)].0;
            *size = size.saturating_add(column.uncompressed_size().max(0) as u64);
        }
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut groups: Vec<(u64, Vec<usize>)> = vec![(0, vec![]); rayon::current_num_threads().clamp(1, roots.max(1))];
    for (size, root) in sizes {
        if let Some(least) = groups.iter_mut().min_by_key(|(sum, _)| *sum) {
            // One more for each, so that columns without bytes spread as well.
            least.0 = least.0.saturating_add(size).saturating_add(1);
            least.1.push(root);
        }
    }
    groups
        .into_iter()
        .map(|(_, mut roots)| {
            roots.sort_unstable();
            roots
        })
        .collect()
}

/// The same field with views for text and bytes.
fn view(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(view(item)),
        DataType::Struct(members) => DataType::Struct(members.iter().map(view).collect()),
        DataType::Map(entries, sorted) => DataType::Map(view(entries), *sorted),
        _ => return field.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}

/// Readers of different columns of the same rows.
struct SideBySide {
    readers: Vec<ParquetRecordBatchReader>,
    groups: Vec<Vec<usize>>,
    schema: SchemaRef,
    expected: u64,
    seen: u64,
    done: bool,
}

impl Iterator for SideBySide {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read();
        self.done = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl SideBySide {
    fn read(&mut self) -> Result<Option<RecordBatch>, Error> {
        let read = |reader: &mut ParquetRecordBatchReader| guarded(|| reader.next().transpose().map_err(bad));
        let parts: Vec<Option<RecordBatch>> = self.readers.par_iter_mut().map(read).collect::<Result<_, _>>()?;
        let rows = parts.iter().map(|part| part.as_ref().map_or(0, RecordBatch::num_rows)).collect::<Vec<_>>();
        let count = rows.first().copied().unwrap_or(0);
        if rows.iter().any(|rows| *rows != count) {
            return Err(bad("its columns have different numbers of rows"));
        }
        self.seen += count as u64;
        if self.seen > self.expected || count == 0 && self.seen != self.expected {
            return Err(bad(format!("{} rows are there, and the footer says {}", self.seen, self.expected)));
        }
        if count == 0 {
            return Ok(None);
        }
        let mut columns = vec![None; self.schema.fields().len()];
        for (roots, part) in self.groups.iter().zip(parts.into_iter().flatten()) {
            for (root, column) in roots.iter().zip(part.columns()) {
                columns[*root] = Some(column.clone());
            }
        }
        let columns = columns.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| bad("a column is missing"))?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map(Some).map_err(bad)
    }
}
