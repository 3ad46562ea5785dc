//! What was done to the parent on the way to the child: tensor by tensor, then the edge as a whole.

use std::collections::BTreeSet;

use super::compare::{Comparison, Noise};
use super::lattice;
use super::low_rank::low_rank;
use super::report::{Grid, LowRank, Merge, Pruning, Relation, TensorKind, TensorReport};
use super::source::Source;
use crate::Result;

/// Share of zeros from which a tensor counts as pruned.
const PRUNED: f64 = 0.01;
/// The same for values on a grid, where small values become zero anyway.
const PRUNED_ON_GRID: f64 = 0.4;
/// Relative drift from which a tensor has nothing to do with the parent's: independent ones have √2.
const UNLIKE: f64 = 0.9;

/// Every matrix of the two models, by role.
pub(crate) fn tensors(parent: &Source<'_>, child: &Source<'_>) -> Result<Vec<TensorReport>> {
    let roles: BTreeSet<&str> = parent.roles().chain(child.roles()).collect();
    roles.into_iter().map(|role| tensor(parent, child, role)).collect()
}

fn tensor(parent: &Source<'_>, child: &Source<'_>, role: &str) -> Result<TensorReport> {
    let mut report = TensorReport {
        role: role.into(),
        kind: TensorKind::Reshaped,
        drift: None,
        grid: None,
        pruning: None,
        low_rank: None,
    };
    let (a, b) = (parent.shape(role), child.shape(role));
    let (Some(a), Some(b)) = (a, b) else {
        report.kind = if a.is_none() { TensorKind::Added } else { TensorKind::Missing };
        return Ok(report);
    };
    if a != b {
        // Tokens added or removed: the rows that both have.
        if a.1 == b.1 && matches!(role, "embed" | "head") {
            report.drift = Comparison::of(parent, child, role)?.drift();
        }
        return Ok(report);
    }
    let found = Comparison::of(parent, child, role)?;
    report.drift = found.drift();
    report.kind = same_values(parent, child, role, &found);
    if report.kind != TensorKind::Moved {
        return Ok(report);
    }
    report.grid = lattice::grid(parent, child, role)?;
    report.pruning = pruning(&found, report.grid.is_some());
    let near = report.drift.is_some_and(|drift| drift < UNLIKE);
    if near && report.grid.is_none() && report.pruning.is_none() && !matches!(role, "embed" | "head") {
        report.low_rank = rank(parent, child, role, found.noise())?;
    }
    report.kind = match &report {
        TensorReport { grid: Some(_), .. } => TensorKind::Quantised,
        TensorReport { pruning: Some(_), .. } => TensorKind::Pruned,
        TensorReport { low_rank: Some(_), .. } => TensorKind::LowRank,
        _ if near => TensorKind::Moved,
        _ => TensorKind::Unlike,
    };
    Ok(report)
}

/// Identical, converted or rounded; moved when it is neither.
fn same_values(parent: &Source<'_>, child: &Source<'_>, role: &str, found: &Comparison) -> TensorKind {
    if found.equal == found.weights {
        let same = parent.format(role) == child.format(role);
        return if same { TensorKind::Identical } else { TensorKind::Converted };
    }
    let other_float = child.float(role).is_some() && child.format(role) != parent.format(role);
    if other_float && found.rounded == found.weights { TensorKind::Rounded } else { TensorKind::Moved }
}

fn pruning(found: &Comparison, on_grid: bool) -> Option<Pruning> {
    let share = found.removed as f64 / found.alive.max(1) as f64;
    let nearly = |part: u64, of: u64| of > 0 && part as f64 >= 0.95 * of as f64;
    let pruned = share >= if on_grid { PRUNED_ON_GRID } else { PRUNED };
    pruned.then(|| Pruning {
        share,
        by_magnitude: found.largest_removed <= found.smallest_kept || nearly(found.ordered_rows, found.pruned_rows),
        two_of_four: nearly(found.two_of_four, found.groups_of_four),
        others_equal: found.kept == found.kept_equal,
    })
}

fn rank(parent: &Source<'_>, child: &Source<'_>, role: &str, noise: Noise) -> Result<Option<LowRank>> {
    low_rank(&(child.load(role)? - parent.load(role)?)?, noise)
}

/// What the shapes and the alignment say about the edge, beside the tensors.
pub(crate) struct Circumstances {
    /// Axes of hidden units of parent and child.
    pub layers: (usize, usize),
    /// Hidden units of all of them.
    pub units: (u64, u64),
    /// Whether the residual stream had to be rotated, or the units are in another order.
    pub reparameterised: bool,
}

/// The edge in words, and the relation that fits.
pub(crate) fn summary(
    tensors: &[TensorReport],
    merge: Option<&Merge>,
    seen: &Circumstances,
) -> (Vec<String>, Relation) {
    let of = |kind: TensorKind| tensors.iter().filter(|tensor| tensor.kind == kind).count();
    let (identical, converted, rounded) =
        (of(TensorKind::Identical), of(TensorKind::Converted), of(TensorKind::Rounded));
    let mut findings = Vec::new();
    let mut relations = Vec::new();
    let mut found = |relation: Relation, finding: String| {
        relations.push(relation);
        findings.push(finding);
    };
    let all = tensors.len();
    if identical == all {
        found(Relation::ConvertedFrom, format!("all {all} matrices are identical"));
    } else if identical + converted + rounded == all {
        let lossy = if rounded > 0 { format!(", {rounded} of them rounded") } else { String::new() };
        found(Relation::ConvertedFrom, format!("converted: all matrices hold the parent's values{lossy}"));
    }
    if let Some(merge) = merge.filter(|merge| merge.merged) {
        found(Relation::MergedFrom, format!("merged from the two parents, λ = {:.3}", merge.lambda));
    }
    if let Some(finding) = quantised(tensors) {
        found(Relation::QuantisedFrom, finding);
    }
    if let Some(finding) = pruned(tensors) {
        found(Relation::PrunedFrom, finding);
    }
    if seen.layers.0 != seen.layers.1 {
        let relation = if seen.layers.1 < seen.layers.0 { Relation::PrunedFrom } else { Relation::DerivedFrom };
        found(relation, format!("depth changed from {} to {} MLPs", seen.layers.0, seen.layers.1));
    } else if seen.units.1 < seen.units.0 {
        let removed = seen.units.0 - seen.units.1;
        found(Relation::PrunedFrom, format!("{removed} of {} hidden units removed", seen.units.0));
    } else if seen.units.1 > seen.units.0 {
        found(Relation::DerivedFrom, format!("{} hidden units added", seen.units.1 - seen.units.0));
    }
    if seen.reparameterised {
        found(Relation::DerivedFrom, "re-parameterised: residual stream rotated or hidden units re-ordered".into());
    }
    if let Some(finding) = adapted(tensors) {
        found(Relation::FineTunedFrom, finding);
    }
    if let Some(finding) = moved(tensors) {
        found(Relation::FineTunedFrom, finding);
    }
    let reshaped = tensors.iter().any(|t| matches!(&*t.role, "embed" | "head") && t.kind == TensorKind::Reshaped);
    if reshaped {
        found(Relation::DerivedFrom, "vocabulary changed".into());
    }
    let unlike = of(TensorKind::Unlike);
    if unlike > 0 && !seen.reparameterised {
        let how = "rescaled, signs flipped, replaced or trained far away";
        found(Relation::DerivedFrom, format!("{unlike} matrices unlike the parent's at the same place: {how}"));
    }
    (findings, relations.first().copied().unwrap_or(Relation::DerivedFrom))
}

fn quantised(tensors: &[TensorReport]) -> Option<String> {
    let grids: Vec<&Grid> = tensors.iter().filter_map(|tensor| tensor.grid.as_ref()).collect();
    let bits: BTreeSet<u32> = grids.iter().map(|grid| grid.bits).collect();
    let bits: Vec<String> = bits.iter().map(u32::to_string).collect();
    let nearest = grids.iter().filter(|grid| grid.nearest == Some(true)).count();
    let how = if nearest == grids.len() {
        ", rounded to the nearest level of this parent"
    } else if grids.iter().any(|grid| grid.nearest == Some(false)) {
        ", not by plain rounding of this parent: error-compensated, clipped or trained in between"
    } else {
        ""
    };
    (!grids.is_empty()).then(|| format!("{} matrices quantised to {} bits{how}", grids.len(), bits.join(", ")))
}

fn pruned(tensors: &[TensorReport]) -> Option<String> {
    let found: Vec<&Pruning> = tensors.iter().filter_map(|tensor| tensor.pruning.as_ref()).collect();
    if found.is_empty() {
        return None;
    }
    let share = found.iter().map(|pruning| pruning.share).sum::<f64>() / found.len() as f64;
    let all = |what: fn(&Pruning) -> bool, say: &'static str| if found.iter().all(|p| what(p)) { say } else { "" };
    Some(format!(
        "{} matrices pruned by {:.0} %{}{}{}",
        found.len(),
        100.0 * share,
        all(|pruning| pruning.two_of_four, ", two of every four"),
        all(|pruning| pruning.by_magnitude, ", the smallest weights"),
        all(|pruning| pruning.others_equal, ", the others unchanged"),
    ))
}

/// Adapters, when no matrix was changed in any other way.
fn adapted(tensors: &[TensorReport]) -> Option<String> {
    let ranks: Vec<u32> = tensors.iter().filter_map(|tensor| Some(tensor.low_rank.as_ref()?.rank)).collect();
    let untouched = tensors.iter().filter(|tensor| tensor.kind == TensorKind::Identical).count();
    let (least, most) = (ranks.iter().min()?, ranks.iter().max()?);
    let ranks_in_words = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let alone = ranks.len() + untouched == tensors.len();
    let whole = if alone { "all others identical" } else { "others changed as well" };
    Some(format!("{} matrices differ by rank {ranks_in_words}: a merged adapter; {whole}", ranks.len()))
}

fn moved(tensors: &[TensorReport]) -> Option<String> {
    let changed = tensors.iter().filter(|tensor| tensor.kind == TensorKind::Moved);
    let mut drifts: Vec<f64> = changed.filter_map(|tensor| tensor.drift).collect();
    drifts.sort_by(f64::total_cmp);
    let median = drifts.get(drifts.len() / 2)?;
    Some(format!("{} matrices trained further, median drift {median:.2e}", drifts.len()))
}
