//! Hidden units as feature rows, and the axes of a model that hold them.
//!
//! A hidden unit of an MLP is row i of `up` and of `gate` and column i of `down`: an index that may be permuted without
//! changing what the network computes. The rows of one axis share one ordering, so they are one feature and give one
//! odds, never several to be multiplied. Each part is scaled to norm 1.

use candle_core::{DType, Device, Tensor};

use super::source::Source;
use crate::Result;

/// Rows that are normalised at a time, which bounds the copy in f64.
const BLOCK: usize = 2048;

/// One part of the units' features, a row of norm 1 or 0 for each unit.
#[derive(Clone)]
pub(crate) struct Part {
    /// \[units, width\], f32.
    pub rows: Tensor,
    /// Whether the function stays the same when this part changes sign together with the others of its kind.
    pub either_sign: bool,
    norms: Vec<f64>,
}

impl Part {
    /// Scales each row to norm 1, with sums of squares in f64. Rows that are zero or not finite become zero.
    pub fn new(rows: &Tensor, either_sign: bool) -> Result<Part> {
        let (mut scaled, mut norms) = (Vec::new(), Vec::with_capacity(rows.dim(0)?));
        for first in (0..rows.dim(0)?).step_by(BLOCK) {
            let block = rows.narrow(0, first, BLOCK.min(rows.dim(0)? - first))?.to_dtype(DType::F64)?;
            let found = block.sqr()?.sum(1)?.sqrt()?.to_vec1::<f64>()?;
            let good = |norm: f64| norm.is_finite() && norm > 1e-30;
            let scale: Vec<f64> = found.iter().map(|&norm| if good(norm) { 1.0 / norm } else { 0.0 }).collect();
            let keep: Vec<u8> = found.iter().map(|&norm| u8::from(good(norm))).collect();
            let column = (found.len(), 1);
            let scale = Tensor::from_vec(scale, column, rows.device())?;
            // Zero times NaN is NaN, so such rows are replaced.
            let keep = Tensor::from_vec(keep, column, rows.device())?.broadcast_as(block.shape())?;
            let block = keep.where_cond(&block.broadcast_mul(&scale)?, &block.zeros_like()?)?;
            scaled.push(block.to_dtype(DType::F32)?);
            norms.extend(found);
        }
        let rows = if scaled.is_empty() { rows.clone() } else { Tensor::cat(&scaled, 0)? };
        Ok(Part { rows, either_sign, norms })
    }
}

/// The units of one axis.
pub(crate) struct Units {
    /// Parts of the features, in the same order for every model of a kind.
    pub parts: Vec<Part>,
    /// Whether a unit may be matched: all its parts are finite, and not all are zero.
    pub usable: Vec<bool>,
    /// Index of each on its axis.
    pub index: Vec<u32>,
}

impl Units {
    /// Units of these parts, which have the same number of rows.
    pub fn new(parts: Vec<Part>) -> Result<Units> {
        let units = parts.first().map_or(0, |part| part.norms.len());
        let usable = |unit: usize| {
            let norms = || parts.iter().map(|part| part.norms[unit]);
            norms().all(f64::is_finite) && norms().any(|norm| norm > 1e-30)
        };
        Ok(Units { usable: (0..units).map(usable).collect(), index: (0..units as u32).collect(), parts })
    }

    /// One part alone as features of the same units; none when there is no such part.
    pub fn part(&self, number: usize) -> Result<Units> {
        let part = self.parts.get(number).cloned();
        Ok(Units { index: self.index.clone(), ..Units::new(part.into_iter().collect())? })
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        self.usable.len()
    }

    /// Where the features are.
    pub fn device(&self) -> &Device {
        self.parts.first().map_or(&Device::Cpu, |part| part.rows.device())
    }

    /// Norm of each unit's first part, the row of `up`.
    pub fn norms(&self) -> &[f64] {
        self.parts.first().map_or(&[], |part| &part.norms)
    }

    /// At most `most` of the units, evenly spaced, in order.
    pub fn thinned(self, most: usize) -> Result<Units> {
        let chosen = evenly(self.len(), most);
        if chosen.len() == self.len() {
            return Ok(self);
        }
        let index = Tensor::new(chosen.iter().map(|&i| i as u32).collect::<Vec<_>>(), self.device())?;
        let part = |part: &Part| -> Result<Part> {
            let norms = chosen.iter().map(|&i| part.norms[i]).collect();
            Ok(Part { rows: part.rows.index_select(&index, 0)?, either_sign: part.either_sign, norms })
        };
        let parts = self.parts.iter().map(part).collect::<Result<_>>()?;
        Ok(Units { index: chosen.iter().map(|&i| self.index[i]).collect(), ..Units::new(parts)? })
    }
}

/// At most `most` of the numbers below `count`, evenly spaced.
pub(crate) fn evenly(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|k| (k as u128 * count as u128 / taken as u128) as usize).collect()
}

/// An axis of hidden units: the MLP of a layer, or one expert of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Role of its matrices without their last part, as `layers.3.mlp`.
    pub name: String,
    /// Number of hidden units.
    pub units: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Whether it has a gate.
    pub gated: bool,
}

/// The axes of a model, by layer.
pub(crate) fn axes(model: &Source<'_>) -> Vec<Axis> {
    let mut axes: Vec<Axis> = model.roles().filter_map(|role| axis(model, role)).collect();
    axes.sort_by_key(|axis| (numbers(&axis.name), axis.name.clone()));
    axes
}

fn axis(model: &Source<'_>, role: &str) -> Option<Axis> {
    let (name, fused) = match role.rsplit_once('.')? {
        (name, "up") => (name, false),
        (name, "gate_up") => (name, true),
        _ => return None,
    };
    let (rows, width) = model.shape(role)?;
    let units = if fused { rows / 2 } else { rows };
    let gated = fused || model.shape(&format!("{name}.gate")) == Some((rows, width));
    let fits = model.shape(&format!("{name}.down")).is_some_and(|(_, columns)| columns == units);
    (fits && units > 0 && width > 0).then(|| Axis { name: name.into(), units, width, gated })
}

/// The numbers in a name, so that layer 10 comes after layer 9.
fn numbers(name: &str) -> Vec<u64> {
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// Features of an axis: up, then gate if there is one, then down, each \[units, width\], after `prepare`, which gets
/// what reads the residual stream (true) or writes to it (false) and must not look at the order of the rows.
pub(crate) fn features(
    model: &Source<'_>,
    axis: &Axis,
    prepare: &dyn Fn(Tensor, bool) -> Result<Tensor>,
) -> Result<Units> {
    let role = |part: &str| format!("{}.{part}", axis.name);
    let (up, gate) = if model.shape(&role("up")).is_some() {
        let gate = if axis.gated { Some(model.load(&role("gate"))?) } else { None };
        (model.load(&role("up"))?, gate)
    } else {
        let fused = model.load(&role("gate_up"))?;
        (fused.narrow(0, axis.units, axis.units)?, Some(fused.narrow(0, 0, axis.units)?))
    };
    let down = model.load(&role("down"))?.t()?.contiguous()?;
    let mut parts = vec![Part::new(&prepare(up, true)?, axis.gated)?];
    if let Some(gate) = gate {
        parts.push(Part::new(&prepare(gate, true)?, false)?);
    }
    parts.push(Part::new(&prepare(down, false)?, axis.gated)?);
    Units::new(parts)
}

/// Spearman's correlation of values with their index. Equal values share their mean rank, so that a constant has none.
pub(crate) fn rank_correlation(values: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut rank = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let equal = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count().max(1);
        order[start..start + equal].iter().for_each(|&i| rank[i] = start as f64 + (equal - 1) as f64 / 2.0);
        start += equal;
    }
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let (mut both, mut ranks, mut places) = (0.0, 0.0, 0.0);
    for (place, rank) in rank.iter().enumerate() {
        let (x, y) = (rank - middle, place as f64 - middle);
        (both, ranks, places) = (both + x * y, ranks + x * x, places + y * y);
    }
    if ranks > 0.0 && places > 0.0 { both / (ranks * places).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlations() {
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0, 9.0]), 1.0);
        assert_eq!(rank_correlation(&[4.0, 3.0, 1.0]), -1.0);
        assert_eq!(rank_correlation(&[2.0; 9]), 0.0);
        assert_eq!(rank_correlation(&[]), 0.0);
        assert!((rank_correlation(&[1.0, 3.0, 2.0, 4.0]) - 0.8).abs() < 1e-12);
        assert!(rank_correlation(&[f64::NAN, 1.0, f64::NAN, 2.0]).is_finite());
    }

    #[test]
    fn evenly_spaced_indices_are_distinct() {
        assert_eq!(evenly(10, 4), [0, 2, 5, 7]);
        assert_eq!(evenly(3, 8), [0, 1, 2]);
        assert_eq!(evenly(0, 8), [0usize; 0]);
    }

    #[test]
    fn rows_of_any_size_become_units() {
        let rows = [[3.0f32, 4.0], [0.0, 0.0], [f32::NAN, 1.0], [1e30, 0.0], [f32::INFINITY, 0.0], [1e-25, 0.0]];
        let tensor = Tensor::new(&rows, &Device::Cpu).unwrap();
        let units = Units::new(vec![Part::new(&tensor, false).unwrap()]).unwrap();
        let found = units.parts[0].rows.to_vec2::<f32>().unwrap();
        assert_eq!(found, [[0.6, 0.8], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]);
        assert_eq!(units.usable, [true, false, false, true, false, true]);
    }
}
