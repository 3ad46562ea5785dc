//! Rows and columns taken in another order, each times a factor: re-parameterisations that leave the network's
//! function as it is, and removals.
//!
//! For hidden unit i of a gated MLP, `down · (act(gate x) ∘ up x)` stays the same under any order of the units, and
//! under up row i times c with down column i by c, c ≠ 0. An MLP without a gate allows the order only. The values of a
//! head are linear too: order and sign of the value rows, undone in the columns of the output projection; query heads
//! that share a value head share its order. A gain of a norm may move into the columns of the matrices that read it.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::names::{Part, Places};
use super::random::Random;
use super::values::{Values, rows_and_columns};
use crate::Result;

/// Which lines to take, in order, each times a factor.
pub(crate) type Picks = Vec<(u32, f32)>;

/// What becomes of the rows and columns of a tensor; `None` leaves them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lines {
    /// Rows of the new tensor.
    pub rows: Option<Picks>,
    /// Columns of the new tensor.
    pub columns: Option<Picks>,
}

/// What becomes of each tensor, by its index in the model.
pub(crate) type Changes = BTreeMap<usize, Lines>;

impl Lines {
    /// The new tensor.
    pub fn apply(&self, values: &mut Values) {
        if let Some(rows) = &self.rows {
            let old = std::mem::take(&mut values.data);
            let columns = values.columns;
            let row = |&(row, factor): &(u32, f32)| {
                old[row as usize * columns..(row as usize + 1) * columns].iter().map(move |w| w * factor)
            };
            values.data = rows.iter().flat_map(row).collect();
            values.rows = rows.len();
        }
        if let Some(columns) = &self.columns {
            let old = std::mem::take(&mut values.data);
            values.data = vec![0.0; values.rows * columns.len()];
            let width = values.columns.max(1);
            values.columns = columns.len();
            values.by_row().zip(old.par_chunks_exact(width)).for_each(|(row, old)| {
                row.iter_mut().zip(columns).for_each(|(w, &(column, factor))| *w = old[column as usize] * factor);
            });
        }
    }

    /// The new shape.
    pub fn shape(&self, shape: &[u64]) -> Vec<u64> {
        let mut shape = shape.to_vec();
        if let (Some(rows), Some(extent)) = (&self.rows, shape.first_mut()) {
            *extent = rows.len() as u64;
        }
        if let (Some(columns), Some(extent)) = (&self.columns, shape.last_mut()) {
            *extent = columns.len() as u64;
        }
        shape
    }
}

/// Another order of every MLP's hidden units and, given the size of a head, of the value dimensions in each head.
pub(crate) fn permute(places: &Places<'_>, head: Option<u64>, seed: u64) -> Changes {
    let order = |random: &mut Random, length: usize| -> Picks {
        random.permutation(length).into_iter().map(|unit| (unit, 1.0)).collect()
    };
    let mut changes = Changes::new();
    for layer in places.layers() {
        let mut random = Random::new(seed, &format!("permute {layer}"));
        if let Some(mlp) = Mlp::find(places, layer) {
            mlp.change(places, &order(&mut random, mlp.units), &mut changes);
        }
        change_values(places, layer, head, |size| order(&mut random, size), &mut changes);
    }
    changes
}

/// Every hidden unit's up row and down column, and given the size of a head every value dimension, change sign with
/// probability one half.
pub(crate) fn sign_flip(places: &Places<'_>, head: Option<u64>, seed: u64) -> Changes {
    let flips = |random: &mut Random, length: usize| -> Picks {
        (0..length as u32).map(|unit| (unit, if random.bits() >> 63 == 0 { 1.0 } else { -1.0 })).collect()
    };
    let mut changes = Changes::new();
    for layer in places.layers() {
        let mut random = Random::new(seed, &format!("sign-flip {layer}"));
        if let Some(mlp) = Mlp::find(places, layer).filter(|mlp| mlp.gate.is_some()) {
            mlp.change(places, &flips(&mut random, mlp.units), &mut changes);
        }
        change_values(places, layer, head, |size| flips(&mut random, size), &mut changes);
    }
    changes
}

/// Factors, log-uniform from 1 / `spread` to `spread`, that move between up rows and down columns, and between the
/// gains of a norm and the columns of what reads it.
pub(crate) fn scale(places: &Places<'_>, spread: f64, seed: u64) -> Changes {
    let factors = |random: &mut Random, length: usize| -> Picks {
        let factor = |random: &mut Random| libm::exp2(libm::log2(spread) * (2.0 * random.uniform() - 1.0)) as f32;
        (0..length as u32).map(|unit| (unit, factor(random))).collect()
    };
    let mut changes = Changes::new();
    for layer in places.layers() {
        let mut random = Random::new(seed, &format!("scale {layer}"));
        if let Some(mlp) = Mlp::find(places, layer).filter(|mlp| mlp.gate.is_some()) {
            mlp.change(places, &factors(&mut random, mlp.units), &mut changes);
        }
        for (norm, readers) in
            [(Part::InputNorm, &[Part::Query, Part::Key, Part::Value][..]), (Part::MlpNorm, &[Part::Gate, Part::Up])]
        {
            if let Some((norm, readers)) = norm_and_readers(places, layer, norm, readers) {
                let picks = factors(&mut random, places.shape(norm)[0] as usize);
                for reader in readers {
                    changes.entry(reader).or_default().columns = Some(picks.clone());
                }
                changes.entry(norm).or_default().rows = Some(inverse(&picks));
            }
        }
    }
    changes
}

/// Removes the `share` of every MLP's hidden units that have the smallest product of the norms of their gate row, up
/// row and down column; at least one stays.
pub(crate) fn prune_units(places: &Places<'_>, share: f64) -> Result<Changes> {
    let mut changes = Changes::new();
    for layer in places.layers() {
        let Some(mlp) = Mlp::find(places, layer) else { continue };
        let mut scores = vec![1.0; mlp.units];
        let mut weigh = |values: &Values| {
            for (score, row) in scores.iter_mut().zip(values.data.chunks_exact(values.columns.max(1))) {
                *score *= super::local::rms(row);
            }
        };
        weigh(&Values::read(places.model, mlp.up)?);
        if let Some(gate) = mlp.gate {
            weigh(&Values::read(places.model, gate)?);
        }
        weigh(&Values::read(places.model, mlp.down)?.transposed());
        let mut order: Vec<u32> = (0..mlp.units as u32).collect();
        order.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
        order.truncate((mlp.units - (mlp.units as f64 * share).round() as usize).max(1));
        order.sort_unstable();
        mlp.change(places, &order.into_iter().map(|unit| (unit, 1.0)).collect(), &mut changes);
    }
    Ok(changes)
}

/// Keeps the first `rows` tokens of the embedding and of the output projection.
pub(crate) fn crop_vocabulary(places: &Places<'_>, rows: u64) -> Changes {
    let vocabulary = vocabulary(places).into_iter().filter(|index| places.shape(*index)[0] > rows);
    let lines = Lines { rows: Some((0..rows as u32).map(|row| (row, 1.0)).collect()), columns: None };
    vocabulary.map(|index| (index, lines.clone())).collect()
}

/// The tensors that have a row for each token.
pub(crate) fn vocabulary(places: &Places<'_>) -> Vec<usize> {
    let weights = [places.weight(None, Part::Embed), places.weight(None, Part::Head), places.bias(None, Part::Head)];
    weights.into_iter().flatten().filter(|index| matches!(places.shape(*index), [_] | [_, _])).collect()
}

/// The matrices of one MLP whose shapes fit together.
struct Mlp {
    layer: Option<u32>,
    units: usize,
    up: usize,
    gate: Option<usize>,
    down: usize,
}

impl Mlp {
    fn find(places: &Places<'_>, layer: u32) -> Option<Mlp> {
        let layer = Some(layer);
        let (up, down) = (places.weight(layer, Part::Up)?, places.weight(layer, Part::Down)?);
        let gate = places.weight(layer, Part::Gate);
        let [units, width] = *places.shape(up) else { return None };
        let fits =
            *places.shape(down) == [width, units] && gate.is_none_or(|gate| *places.shape(gate) == [units, width]);
        let bias_fits = [Part::Up, Part::Gate]
            .iter()
            .all(|part| places.bias(layer, *part).is_none_or(|bias| *places.shape(bias) == [units]));
        (fits && bias_fits && units > 0).then_some(Mlp { layer, units: units as usize, up, gate, down })
    }

    fn change(&self, places: &Places<'_>, picks: &Picks, changes: &mut Changes) {
        let order: Picks = picks.iter().map(|(unit, _)| (*unit, 1.0)).collect();
        let gate_bias = places.bias(self.layer, Part::Gate);
        for gate in [self.gate, gate_bias].into_iter().flatten() {
            changes.entry(gate).or_default().rows = Some(order.clone());
        }
        for up in [Some(self.up), places.bias(self.layer, Part::Up)].into_iter().flatten() {
            changes.entry(up).or_default().rows = Some(picks.clone());
        }
        changes.entry(self.down).or_default().columns = Some(inverse(picks));
    }
}

fn inverse(picks: &Picks) -> Picks {
    picks.iter().map(|(line, factor)| (*line, 1.0 / factor)).collect()
}

/// Changes the value dimensions of every value head by picks of their own, if the shapes allow heads of this size.
fn change_values(
    places: &Places<'_>,
    layer: u32,
    head: Option<u64>,
    mut picks: impl FnMut(usize) -> Picks,
    changes: &mut Changes,
) {
    let layer = Some(layer);
    let found = (head, places.weight(layer, Part::Value), places.weight(layer, Part::Output));
    let (Some(size), Some(value), Some(output)) = found else { return };
    let (rows, _) = rows_and_columns(places.shape(value));
    let (_, columns) = rows_and_columns(places.shape(output));
    let bias_fits = places.bias(layer, Part::Value).is_none_or(|bias| *places.shape(bias) == [rows]);
    if size == 0 || rows == 0 || !rows.is_multiple_of(size) || !columns.is_multiple_of(rows) || !bias_fits {
        return;
    }
    let mut value_rows = Picks::new();
    let mut output_columns = Picks::new();
    for head in 0..(rows / size) as u32 {
        let picks = picks(size as usize);
        value_rows.extend(picks.iter().map(|(line, factor)| (head * size as u32 + line, *factor)));
        for sharing in 0..(columns / rows) as u32 {
            let first = (head * (columns / rows) as u32 + sharing) * size as u32;
            output_columns.extend(inverse(&picks).iter().map(|(line, factor)| (first + line, *factor)));
        }
    }
    for value in [Some(value), places.bias(layer, Part::Value)].into_iter().flatten() {
        changes.entry(value).or_default().rows = Some(value_rows.clone());
    }
    changes.entry(output).or_default().columns = Some(output_columns);
}

/// A norm without a bias and all that reads it; `None` unless the layer is known in full and the shapes fit.
fn norm_and_readers(places: &Places<'_>, layer: u32, norm: Part, readers: &[Part]) -> Option<(usize, Vec<usize>)> {
    if !places.unknown.is_empty() || places.bias(Some(layer), norm).is_some() {
        return None;
    }
    let norm = places.weight(Some(layer), norm)?;
    let readers: Vec<usize> = readers.iter().map(|part| places.weight(Some(layer), *part)).collect::<Option<_>>()?;
    let [width] = *places.shape(norm) else { return None };
    readers.iter().all(|reader| rows_and_columns(places.shape(*reader)).1 == width).then_some((norm, readers))
}
