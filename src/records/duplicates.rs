//! Records that are in both of two datasets.

use std::path::Path;

use countermark_formats::records::Format;
use countermark_io::files;
use countermark_io::records::{Dataset, Entry, Merge, Sorter, Walked};
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::records::{FileRecords, leaves};
use serde::Serialize;

use super::usage;
use crate::{Error, Progress};

/// Which records are in both of two datasets. Exact: records are the same when their bytes are.
#[derive(Clone, Debug, Serialize)]
pub struct Duplicates {
    /// How both were cut into records.
    pub format: Format,
    /// The first dataset.
    pub first: Side,
    /// The second dataset.
    pub second: Side,
    /// Different records that are in both.
    pub shared: u64,
    /// The first of them by their place in the first dataset.
    pub examples: Vec<Example>,
}

/// One of the two datasets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Side {
    /// Number of records.
    pub records: u64,
    /// Number of different records.
    pub distinct: u64,
    /// How many of its records are in the other one too, each time that they occur.
    pub shared: u64,
}

/// A record that is in both.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// SHA-256 leaf of the record.
    pub leaf: Hash,
    /// Its first place in the first dataset.
    pub first: Place,
    /// Its first place in the second dataset.
    pub second: Place,
}

/// Where a record is.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Index in the dataset, from zero.
    pub index: u64,
    /// The file.
    pub file: String,
    /// Index in the file, from zero.
    pub record: u64,
}

/// Finds the records that two datasets share; at most `examples` are named. Leaves are sorted outside of memory, 40 bytes
/// each in the temporary folder.
///
/// # Errors
/// When a dataset cannot be read, or their records cannot be compared.
pub fn duplicates(
    first: &Path,
    second: &Path,
    format: Option<Format>,
    examples: usize,
    progress: &impl Progress,
) -> Result<Duplicates, Error> {
    let (first, second) = (files::open(first)?, files::open(second)?);
    let (first, second) = (Dataset::open(&first, format)?, Dataset::open(&second, format)?);
    if first.format != second.format {
        let problem = format!("{} and {} records have different bytes by nature", first.format, second.format);
        return Err(usage(&problem, "convert one of the two, or name one format for both with --as FORMAT"));
    }
    progress.begin("records", first.total_size() + second.total_size());
    let (first_walked, mut first_leaves) = sort(&first, progress)?;
    let (second_walked, mut second_leaves) = sort(&second, progress)?;
    if first_walked.columns != second_walked.columns {
        return Err(usage("the two datasets have different columns", "compare datasets of the same columns"));
    }
    let mut found = Found { limit: examples, ..Found::default() };
    let disk = |error| countermark_lineage::Error::io("temporary folder")(error);
    let mut a = Groups::new(first_leaves.merge().map_err(disk)?);
    let mut b = Groups::new(second_leaves.merge().map_err(disk)?);
    found.join(&mut a, &mut b).map_err(disk)?;
    let example = |(a, b, leaf): (u64, u64, Hash)| Example {
        leaf,
        first: place(&first_walked.files, a),
        second: place(&second_walked.files, b),
    };
    let mut examples = found.examples;
    examples.sort_unstable();
    examples.truncate(found.limit);
    Ok(Duplicates {
        format: first.format,
        first: Side { records: first_walked.count, ..found.first },
        second: Side { records: second_walked.count, ..found.second },
        shared: found.shared,
        examples: examples.into_iter().map(example).collect(),
    })
}

fn sort(dataset: &Dataset, progress: &impl Progress) -> Result<(Walked, Sorter), Error> {
    let mut sorter = Sorter::default();
    let walked = dataset.walk(None, &|bytes| progress.advance(bytes), &mut |first, batch| {
        sorter.extend(first, &leaves(batch, first, None)).map_err(countermark_lineage::Error::io("temporary folder"))
    })?;
    Ok((walked, sorter))
}

fn place(files: &[FileRecords], index: u64) -> Place {
    let mut first = 0;
    for file in files {
        if index - first < file.count {
            return Place { index, file: file.path.clone(), record: index - first };
        }
        first += file.count;
    }
    Place { index, file: String::new(), record: 0 }
}

/// A leaf, where it occurs first, and how often.
type Group = (Hash, u64, u64);

/// Equal leaves taken together.
struct Groups<'a> {
    entries: Merge<'a>,
    ahead: Option<Entry>,
}

impl<'a> Groups<'a> {
    fn new(entries: Merge<'a>) -> Self {
        Groups { entries, ahead: None }
    }

    fn next(&mut self) -> std::io::Result<Option<Group>> {
        let Some(head) = self.ahead.take().map(Ok).or_else(|| self.entries.next()).transpose()? else {
            return Ok(None);
        };
        let mut count = 1;
        for entry in self.entries.by_ref() {
            let entry = entry?;
            if entry.leaf != head.leaf {
                self.ahead = Some(entry);
                break;
            }
            count += 1;
        }
        Ok(Some((head.leaf, head.index, count)))
    }
}

#[derive(Default)]
struct Found {
    first: Side,
    second: Side,
    shared: u64,
    limit: usize,
    examples: Vec<(u64, u64, Hash)>,
}

impl Found {
    /// Goes through both in the order of the leaves.
    fn join(&mut self, a: &mut Groups<'_>, b: &mut Groups<'_>) -> std::io::Result<()> {
        let (mut left, mut right) = (a.next()?, b.next()?);
        loop {
            let order = match (&left, &right) {
                (Some(left), Some(right)) => left.0.cmp(&right.0),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(()),
            };
            if let (true, Some((leaf, at, count)), Some((_, other, others))) = (order.is_eq(), left, right) {
                self.shared += 1;
                self.first.shared += count;
                self.second.shared += others;
                self.example(at, other, leaf);
            }
            if order.is_le() {
                self.first.distinct += 1;
                left = a.next()?;
            }
            if order.is_ge() {
                self.second.distinct += 1;
                right = b.next()?;
            }
        }
    }

    /// Keeps the examples that come first in the first dataset.
    fn example(&mut self, at: u64, other: u64, leaf: Hash) {
        self.examples.push((at, other, leaf));
        // Cut back now and then, so that neither memory nor sorting grows with what is shared.
        if self.examples.len() > 2 * self.limit.max(512) {
            self.examples.sort_unstable();
            self.examples.truncate(self.limit);
        }
    }
}
