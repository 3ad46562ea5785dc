//! The record tree of a dataset, and proofs from it.

use countermark_formats::records::Batch;
use countermark_lineage::Error;
use countermark_lineage::digest::listing::Listing;
use countermark_lineage::digest::records::{Built, Neighbour, Records, Salt, TreeBuilder, leaves};
use countermark_lineage::digest::{Hash, tree};

use super::dataset::{Dataset, Walked};
use super::sort::{Merge, Sorter};

/// Which tree to build.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Sort the leaves.
    pub sorted: bool,
    /// Salt the leaves.
    pub salt: Option<&'a Salt>,
}

/// The record tree of a dataset.
pub struct Measured {
    /// What a statement says of it.
    pub records: Records,
    /// The CSV header row, or the text of the columns.
    pub columns: Option<Vec<u8>>,
}

/// Builds the tree. With a listing, the bytes must be those that it lists.
///
/// # Errors
/// As [`Dataset::walk`]; [`Error::Usage`] for a tree both sorted and salted.
pub fn measure(
    dataset: &Dataset,
    options: Options<'_>,
    listing: Option<&Listing>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Measured, Error> {
    if options.sorted && options.salt.is_some() {
        let problem =
            "a record tree cannot be both sorted and salted: whoever makes a proof of absence could choose the salt";
        return Err(Error::usage(problem, "leave out --sorted or --salt"));
    }
    let (walked, built) = if options.sorted {
        let (walked, mut sorter) = sort(dataset, listing, progress, &mut |_, _| Ok(()))?;
        (walked, build_sorted(&mut sorter, None)?)
    } else {
        let mut builder = TreeBuilder::new();
        let walked = dataset.walk(listing, progress, &mut |first, batch| {
            builder.extend(&leaves(batch, first, options.salt));
            Ok(())
        })?;
        (walked, builder.finish())
    };
    let records = Records {
        format: dataset.format,
        count: built.count,
        root: built.root,
        sorted: options.sorted,
        salted: options.salt.is_some(),
        schema: walked.columns.as_deref().map(Hash::sha256),
        files: walked.files,
    };
    Ok(Measured { records, columns: walked.columns })
}

/// What is looked at on the way: the index of the first record, and the batch.
type Look<'a> = dyn FnMut(u64, &Batch) -> Result<(), Error> + Send + 'a;

/// The leaves, sorted, without salt.
pub(super) fn sort(
    dataset: &Dataset,
    listing: Option<&Listing>,
    progress: &(dyn Fn(u64) + Sync),
    look: &mut Look<'_>,
) -> Result<(Walked, Sorter), Error> {
    let mut sorter = Sorter::default();
    let walked = dataset.walk(listing, progress, &mut |first, batch| {
        look(first, batch)?;
        sorter.extend(first, &leaves(batch, first, None)).map_err(Error::io("temporary folder"))
    })?;
    Ok((walked, sorter))
}

fn merge(sorter: &mut Sorter) -> Result<Merge<'_>, Error> {
    sorter.merge().map_err(Error::io("temporary folder"))
}

fn build_sorted(sorter: &mut Sorter, wanted: Option<u64>) -> Result<Built, Error> {
    const BLOCK: usize = 1 << 16;
    let mut builder = wanted.map_or_else(TreeBuilder::new, TreeBuilder::proving);
    let mut block = Vec::with_capacity(BLOCK);
    for entry in merge(sorter)? {
        block.push(entry.map_err(Error::io("temporary folder"))?.leaf);
        if block.len() == BLOCK {
            builder.extend(&block);
            block.clear();
        }
    }
    builder.extend(&block);
    Ok(builder.finish())
}

/// Finds a record and proves it: the walk over the data, the record's bytes, its leaf's index, the salt and the tree.
pub struct Inclusion {
    /// What was walked over.
    pub walked: Walked,
    /// The tree, and the path.
    pub built: Built,
    /// The record's bytes.
    pub record: Vec<u8>,
    /// Index of the leaf in the tree.
    pub leaf: u64,
    /// Index of the record in the data.
    pub index: u64,
    /// The record's salt.
    pub salt: Option<Hash>,
    /// How many records match.
    pub matches: u64,
}

/// Proves the first record that `matches`, given its index and bytes. `None` when none does.
///
/// # Errors
/// As [`Dataset::walk`].
pub fn inclusion(
    dataset: &Dataset,
    options: Options<'_>,
    matches: &(dyn Fn(u64, &[u8]) -> bool + Sync),
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<Inclusion>, Error> {
    let mut found: Option<(u64, Vec<u8>)> = None;
    let mut count = 0;
    let mut look = |first: u64, batch: &Batch| {
        for (index, record) in (first..).zip(batch.iter()) {
            if matches(index, record) {
                count += 1;
                found.get_or_insert_with(|| (index, record.to_vec()));
            }
        }
        Ok(())
    };
    let (walked, sorter) = if options.sorted {
        let (walked, sorter) = sort(dataset, None, progress, &mut look)?;
        (walked, Some(sorter))
    } else {
        (dataset.walk(None, progress, &mut look)?, None)
    };
    let Some((index, record)) = found else { return Ok(None) };
    let (leaf, built) = match sorter {
        Some(mut sorter) => {
            let wanted = tree::leaf(&record);
            let rank = rank(&mut sorter, &wanted)?;
            (rank, build_sorted(&mut sorter, Some(rank))?)
        }
        None => {
            let mut builder = TreeBuilder::proving(index);
            let again = dataset.walk(None, progress, &mut |first, batch| {
                builder.extend(&leaves(batch, first, options.salt));
                Ok(())
            })?;
            if again != walked {
                return Err(Error::input(
                    "dataset",
                    "changed while it was read",
                    "let nobody write to it, and try again",
                ));
            }
            (index, builder.finish())
        }
    };
    let salt = options.salt.map(|salt| Hash(salt.of(index)));
    Ok(Some(Inclusion { walked, built, record, leaf, index, salt, matches: count }))
}

/// How many leaves are smaller.
fn rank(sorter: &mut Sorter, leaf: &Hash) -> Result<u64, Error> {
    let mut rank = 0;
    for entry in merge(sorter)? {
        if entry.map_err(Error::io("temporary folder"))?.leaf >= *leaf {
            break;
        }
        rank += 1;
    }
    Ok(rank)
}

/// What proves that a record is absent from a sorted tree.
pub struct Absence {
    /// What was walked over.
    pub walked: Walked,
    /// Root of the tree.
    pub root: Hash,
    /// The last leaf before the record's.
    pub before: Option<Neighbour>,
    /// The first leaf behind it.
    pub after: Option<Neighbour>,
}

/// Proves that `record` is not in the dataset, by a sorted tree. `None` when it is in.
///
/// # Errors
/// As [`Dataset::walk`].
pub fn absence(dataset: &Dataset, record: &[u8], progress: &(dyn Fn(u64) + Sync)) -> Result<Option<Absence>, Error> {
    let (walked, mut sorter) = sort(dataset, None, progress, &mut |_, _| Ok(()))?;
    let leaf = tree::leaf(record);
    let rank = rank(&mut sorter, &leaf)?;
    let mut neighbour = |index: u64| -> Result<(Hash, Option<Neighbour>), Error> {
        let built = build_sorted(&mut sorter, Some(index))?;
        Ok((built.root, built.wanted.map(|(leaf, path)| Neighbour { index, leaf, path })))
    };
    let (root, after) = neighbour(rank)?;
    let before = rank.checked_sub(1).map(&mut neighbour).transpose()?.and_then(|(_, before)| before);
    if after.as_ref().is_some_and(|after| after.leaf == leaf) {
        return Ok(None);
    }
    Ok(Some(Absence { walked, root, before, after }))
}
