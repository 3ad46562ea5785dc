//! Where a suspect's hidden units have gone: for each MLP the order of its units in the base.
//!
//! Rows of up, rows of gate and columns of down are matched on their own. A unit is sure when two of these name the
//! same unit of the base, which independent models do for about one unit in a layer. Only weights decide here, never a
//! mark's key, so whoever looks for a mark may undo the order first without paying for it in odds.

use candle_core::{Device, Tensor};
use countermark_formats::Checkpoint;

use super::independence::{Pair, Plan};
use super::matching::best_matches;
use super::report::{Alignment, Statistic};
use super::source::Source;
use super::units::Units;
use crate::Result;

/// Share of sure units from which a layer's order counts as known, and their least number.
const SURE: (f64, u64) = (0.1, 20);
/// Mean share of sure units from which no further alignment is tried.
const SETTLED: f64 = 0.5;

/// The order of one MLP's hidden units.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerOrder {
    /// Role of the MLP, as `layers.3.mlp`.
    pub name: String,
    /// For each unit of the suspect the unit of the base; all different. `None` when it is not known.
    pub units: Option<Vec<u32>>,
    /// Share of the suspect's units for which two parts name the same unit of the base.
    pub sure: f64,
}

/// Where a suspect's hidden units are in the base.
#[derive(Clone, Debug)]
pub struct UnitOrder {
    /// One for each MLP; empty when the models differ in kind or depth.
    pub layers: Vec<LayerOrder>,
    /// The map from the suspect's residual stream to the base's, \[suspect's width, base's width\] in f32, where one
    /// was needed: rows that read or write the stream are multiplied by it from the right.
    pub rotation: Option<Tensor>,
}

/// Finds the order of the suspect's hidden units in the base.
///
/// # Errors
/// [`Error::Weights`](crate::Error::Weights) when a model cannot be read.
pub fn align(base: &Checkpoint, suspect: &Checkpoint, device: &Device) -> Result<UnitOrder> {
    let (base, suspect) = (Source::new(base, device), Source::new(suspect, device));
    let plan = Plan::new(&base, &suspect);
    let mut best = UnitOrder { layers: vec![], rotation: None };
    if !matches!(plan.statistic, Ok(Statistic::Position | Statistic::Order)) {
        return Ok(best);
    }
    let mean = |layers: &[LayerOrder]| layers.iter().map(|layer| layer.sure).sum::<f64>() / layers.len().max(1) as f64;
    for alignment in [Alignment::None, Alignment::Rotation] {
        if !plan.alignments.contains(&alignment) || mean(&best.layers) >= SETTLED {
            continue;
        }
        let Some(pair) = Pair::new(&base, &suspect, alignment)? else { continue };
        let mut layers = Vec::new();
        for (axis_a, axis_b) in plan.axes.0.iter().zip(&plan.axes.1) {
            let (a, b) = pair.units(axis_a, axis_b)?;
            layers.push(order(axis_b.name.clone(), &a, &b)?);
        }
        if best.layers.is_empty() || mean(&layers) > mean(&best.layers) {
            best = UnitOrder { layers, rotation: pair.rotation };
        }
    }
    Ok(best)
}

fn order(name: String, base: &Units, suspect: &Units) -> Result<LayerOrder> {
    let by_part: Vec<Vec<Option<u32>>> = (0..suspect.parts.len())
        .map(|part| best_matches(&suspect.part(part)?, &base.part(part)?))
        .collect::<Result<_>>()?;
    let sure: Vec<Option<u32>> = (0..suspect.len())
        .map(|unit| {
            let mut votes = by_part.iter().enumerate().filter_map(|(part, found)| Some((part, found[unit]?)));
            let again = |part: usize, index| by_part[part + 1..].iter().any(|found| found[unit] == Some(index));
            votes.find(|&(part, index)| again(part, index)).map(|(_, index)| index)
        })
        .collect();
    let count = sure.iter().flatten().count() as u64;
    let share = count as f64 / suspect.len().max(1) as f64;
    let known = share >= SURE.0 && count >= SURE.1 && suspect.len() <= base.len();
    let units = if known { Some(injection(&sure, &best_matches(suspect, base)?, base.len())) } else { None };
    Ok(LayerOrder { name, units, sure: share })
}

/// Gives every unit one of `count`, no two the same: first where `sure`, then where `likely`, then its own index, then
/// whatever is left, in order. There are at least as many as units.
fn injection(sure: &[Option<u32>], likely: &[Option<u32>], count: usize) -> Vec<u32> {
    let mut taken = vec![false; count];
    let mut chosen: Vec<Option<u32>> = vec![None; sure.len()];
    let own: Vec<Option<u32>> = (0..sure.len() as u32).map(Some).collect();
    for wishes in [sure, likely, &own] {
        for (chosen, wish) in chosen.iter_mut().zip(wishes) {
            if let (None, Some(wish)) = (&chosen, wish)
                && !std::mem::replace(&mut taken[*wish as usize], true)
            {
                *chosen = Some(*wish);
            }
        }
    }
    let mut left = (0..count as u32).filter(|&unit| !taken[unit as usize]);
    chosen.into_iter().map(|unit| unit.or_else(|| left.next()).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_two_units_get_the_same(
            wishes in proptest::collection::vec((proptest::option::of(0u32..9), proptest::option::of(0u32..9)), 0..9),
        ) {
            let (sure, likely): (Vec<_>, Vec<_>) = wishes.into_iter().unzip();
            let mut found = injection(&sure, &likely, 9);
            for (unit, wish) in sure.iter().enumerate() {
                let first = sure[..unit].iter().all(|earlier| earlier != wish);
                prop_assert!(wish.is_none() || !first || found[unit] == wish.unwrap());
            }
            found.sort_unstable();
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(found.last().is_none_or(|&last| last < 9));
        }
    }
}
