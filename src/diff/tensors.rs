//! Two models tensor by tensor: what is the same, what moved and how far, what was renamed.

use std::collections::{BTreeMap, VecDeque};

use countermark_formats::Tensors;
use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::digest::checkpoint::Tensor;
use countermark_lineage::digest::{Hash, tensors};
use rayon::prelude::*;
use serde::Serialize;

use super::drift::{self, Drift};
use crate::{Error, Progress};

/// What became of a tensor. In the order in which a table shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Other extents.
    Reshaped,
    /// The same extents, another number format.
    Recast,
    /// Other values.
    Changed,
    /// Only the second model has it.
    Added,
    /// Only the first model has it.
    Removed,
    /// The same bytes under another name.
    Renamed,
    /// Nothing.
    Identical,
}

impl Change {
    /// The word of the table and of JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Reshaped => "reshaped",
            Change::Recast => "recast",
            Change::Changed => "changed",
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Renamed => "renamed",
            Change::Identical => "identical",
        }
    }
}

/// Number format and extents of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// Its dtype, as `digest --tensors` prints it.
    pub dtype: String,
    /// Its extents, outermost first.
    pub shape: Vec<u64>,
}

impl From<&Tensor> for Kind {
    fn from(tensor: &Tensor) -> Self {
        Kind { dtype: tensor.dtype.clone(), shape: tensor.shape.clone() }
    }
}

/// In what one tensor differs.
#[derive(Clone, Debug, Serialize)]
pub struct TensorDiff {
    /// Its name; in the second model, when it was renamed.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// Its name in the first model, when it was renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// What it is in the first model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Kind>,
    /// What it is in the second model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Kind>,
    /// How far its values moved, when both are numbers of one shape.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub drift: Option<Drift>,
}

/// Tensors counted by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// With the same name, number format, extents and bytes.
    pub identical: usize,
    /// Under the same name with other values, number format or extents.
    pub changed: usize,
    /// Under another name with the same bytes.
    pub renamed: usize,
    /// Only in the second model.
    pub added: usize,
    /// Only in the first model.
    pub removed: usize,
    /// ‖second − first‖ / ‖first‖ over all changed tensors whose values could be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
}

impl Summary {
    /// Counts a list.
    pub fn of(list: &[TensorDiff]) -> Self {
        let mut summary = Summary::default();
        let (mut moved, mut whole) = (0.0, 0.0);
        for tensor in list {
            *match tensor.change {
                Change::Identical => &mut summary.identical,
                Change::Reshaped | Change::Recast | Change::Changed => &mut summary.changed,
                Change::Renamed => &mut summary.renamed,
                Change::Added => &mut summary.added,
                Change::Removed => &mut summary.removed,
            } += 1;
            if let Some(drift) = &tensor.drift {
                moved += drift.norm_difference.powi(2);
                whole += drift.norm_first.powi(2);
            }
        }
        let drift = f64::sqrt(moved / whole);
        summary.drift = drift.is_finite().then_some(drift);
        summary
    }
}

/// Compares the tensors of two models, or answers `None` when one of them holds none that can be read.
pub(super) fn compare(a: &Artifact, b: &Artifact, progress: &impl Progress) -> Result<Option<Vec<TensorDiff>>, Error> {
    let (Some(model_a), Some(model_b)) = (tensors::open(a)?, tensors::open(b)?) else { return Ok(None) };
    progress.begin("hash tensors", model_a.total_size().saturating_add(model_b.total_size()));
    let advance = |bytes| progress.advance(bytes);
    let (list_a, list_b) = (tensors::digests(&model_a, &advance)?, tensors::digests(&model_b, &advance)?);
    let pairs = pair(&list_a, &list_b);
    let moved = |pair: &&Pair| pair.change(&list_a, &list_b) < Change::Added;
    let size = |pair: &Pair| pair.second.map_or(0, |second| model_b.list()[second].bytes);
    progress.begin("compare tensors", pairs.iter().filter(moved).map(size).sum());
    pairs
        .par_iter()
        .map(|pair| {
            let diff = describe(pair, &list_a, &list_b, (&model_a, &model_b), &advance)?;
            if moved(&pair) {
                progress.advance(size(pair));
            }
            Ok(diff)
        })
        .collect::<Result<Vec<_>, Error>>()
        .map(Some)
}

/// A tensor's places in the two lists.
struct Pair {
    first: Option<usize>,
    second: Option<usize>,
}

impl Pair {
    fn change(&self, a: &[Tensor], b: &[Tensor]) -> Change {
        let (first, second) = match (self.first, self.second) {
            (Some(first), Some(second)) => (&a[first], &b[second]),
            (None, _) => return Change::Added,
            (_, None) => return Change::Removed,
        };
        if first.name != second.name {
            Change::Renamed
        } else if first.shape != second.shape {
            Change::Reshaped
        } else if first.dtype != second.dtype {
            Change::Recast
        } else if first.blake3 != second.blake3 {
            Change::Changed
        } else {
            Change::Identical
        }
    }
}

/// Pairs tensors of one name; then, among the others, those with the same bytes: first where number format and extents
/// agree as well, then whatever they are called, as a format that keeps raw storages calls them. Both lists are sorted.
fn pair(a: &[Tensor], b: &[Tensor]) -> Vec<Pair> {
    let find = |list: &[Tensor], name: &str| list.binary_search_by(|tensor| (*tensor.name).cmp(name)).ok();
    let mut twins: Vec<Option<usize>> = b.iter().map(|tensor| find(a, &tensor.name)).collect();
    let mut free: Vec<usize> = (0..a.len()).filter(|&first| find(b, &a[first].name).is_none()).collect();
    for exactly in [true, false] {
        let key = |tensor: &Tensor| -> (Hash, Option<(String, Vec<u64>)>) {
            (tensor.blake3, exactly.then(|| (tensor.dtype.clone(), tensor.shape.clone())))
        };
        let mut by_bytes: BTreeMap<_, VecDeque<usize>> = BTreeMap::new();
        for &first in &free {
            // All empty tensors have the same bytes, which says nothing.
            if exactly || !a[first].shape.contains(&0) {
                by_bytes.entry(key(&a[first])).or_default().push_back(first);
            }
        }
        for (second, twin) in twins.iter_mut().enumerate().filter(|(_, twin)| twin.is_none()) {
            *twin = by_bytes.get_mut(&key(&b[second])).and_then(VecDeque::pop_front);
        }
        let mut taken = vec![false; a.len()];
        twins.iter().flatten().for_each(|first| taken[*first] = true);
        free.retain(|first| !taken[*first]);
    }
    let both = twins.into_iter().enumerate().map(|(second, first)| Pair { first, second: Some(second) });
    both.chain(free.into_iter().map(|first| Pair { first: Some(first), second: None })).collect()
}

fn describe(
    pair: &Pair,
    a: &[Tensor],
    b: &[Tensor],
    (model_a, model_b): (&Tensors, &Tensors),
    advance: &(dyn Fn(u64) + Sync),
) -> Result<TensorDiff, Error> {
    let (first, second) = (pair.first.map(|first| &a[first]), pair.second.map(|second| &b[second]));
    let change = pair.change(a, b);
    let drift = match (pair.first, pair.second) {
        (Some(first), Some(second)) if matches!(change, Change::Changed | Change::Recast) => {
            drift::measure((model_a, first), (model_b, second), advance)?
        }
        _ => None,
    };
    let name = second.or(first).map(|tensor| tensor.name.clone()).unwrap_or_default();
    let renamed_from = first.filter(|_| change == Change::Renamed).map(|tensor| tensor.name.clone());
    Ok(TensorDiff { name, change, renamed_from, first: first.map(Kind::from), second: second.map(Kind::from), drift })
}
