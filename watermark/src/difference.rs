//! The difference of a suspect to the unmarked base, with the host removed.
//!
//! v_i = (w_i − base_i) · |base_i|, which matches the mark's own profile; 0 where w was pruned. Each row is scaled by
//! its own RMS, and each matrix weighted by the inverse of its drift from the base, so that what was changed least
//! counts most. Hidden units that were put into another order are put back first, when their order is known.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use countermark_formats::Checkpoint;

use crate::carrier::TensorCarrier;
use crate::commitment::Opened;
use crate::derivation::align;
use crate::odds::Correlations;
use crate::ops::{self, SlotSums, Squares};
use crate::tensors::{Block, Buffers, Content, Matrix, Reader, by_role, map_blocks};
use crate::{Compute, Result};

/// Rows of a reordered matrix that are compared at a time: a multiple of the groups.
const ROWS: usize = 1024;

/// For each MLP, as `layers.3.mlp`, and for each of the base's hidden units, the suspect's, if there is one.
pub(crate) type Orders = BTreeMap<String, Vec<Option<u32>>>;

/// The order of the suspect's hidden units where it is known and not the base's.
pub(crate) fn orders(base: &Checkpoint, suspect: &Checkpoint, compute: &Compute) -> Result<Orders> {
    let units = by_role(base);
    let mut orders = Orders::new();
    for layer in align(base, suspect, compute.device())?.layers {
        let Some(order) = layer.units else { continue };
        let count = units.get(&format!("{}.up", layer.name)).map_or(0, |up| up.stored.rows as usize);
        let is_same = order.len() == count && order.iter().enumerate().all(|(unit, &of_base)| unit == of_base as usize);
        if is_same || order.iter().any(|&of_base| of_base as usize >= count) {
            continue;
        }
        let mut places = vec![None; count];
        order.iter().enumerate().for_each(|(unit, &of_base)| places[of_base as usize] = Some(unit as u32));
        orders.insert(layer.name, places);
    }
    Ok(orders)
}

/// What one pass over the suspect and the base measures.
pub(crate) struct Difference {
    /// One for each record, all of whose slots are zero where the record is not looked at.
    pub correlations: Vec<Correlations>,
    /// Over all matrices that both have.
    pub distance: Squares,
}

/// Compares two models for some records. `progress` is told the weights of each matrix of the suspect.
pub(crate) fn difference(
    compute: &Compute,
    (suspect, matrices): (&Checkpoint, &[Matrix]),
    base: &Checkpoint,
    orders: &Orders,
    opened: &[(&Opened, bool)],
    progress: &mut dyn FnMut(u64),
) -> Result<Difference> {
    let twins = by_role(base);
    let correlations = opened.iter().map(|(opened, _)| Correlations::new(opened.rung.slots())).collect();
    let mut difference = Difference { correlations, distance: Squares::default() };
    for matrix in matrices {
        let twin = twins.get(matrix.role()).filter(|twin| twin.stored.columns == matrix.stored.columns);
        if let Some(twin) = twin.or_else(|| reordered(orders, matrix).and_then(|_| twins.get(matrix.role()))) {
            let pair = Pair { compute, suspect, base, matrix, twin };
            let (distance, sums) = pair.compare(reordered(orders, matrix), opened)?;
            difference.distance.difference += distance.difference;
            difference.distance.energy += distance.energy;
            let drift = (distance.difference / distance.energy).sqrt();
            if drift > 0.0 && drift.is_finite() {
                for (correlations, sums) in difference.correlations.iter_mut().zip(&sums) {
                    correlations.add(sums, 1.0 / drift);
                }
            }
        }
        progress(matrix.weights());
    }
    Ok(difference)
}

/// The order of a matrix's hidden units, if they are not in the base's.
fn reordered<'a>(orders: &'a Orders, matrix: &Matrix) -> Option<&'a [Option<u32>]> {
    let (mlp, _) = matrix.role().rsplit_once('.')?;
    orders.get(mlp).map(Vec::as_slice)
}

/// The squares of some rows, and for each record that is looked at their slot sums.
type Compared = (Vec<f64>, Vec<Option<SlotSums>>);

/// A matrix of the suspect and the base's of the same role.
struct Pair<'a> {
    compute: &'a Compute,
    suspect: &'a Checkpoint,
    base: &'a Checkpoint,
    matrix: &'a Matrix,
    twin: &'a Matrix,
}

impl Pair<'_> {
    /// Compares the rows that both have.
    fn compare(&self, order: Option<&[Option<u32>]>, opened: &[(&Opened, bool)]) -> Result<(Squares, Vec<SlotSums>)> {
        let carrier = |(opened, wanted): &(&Opened, bool)| {
            let wanted = *wanted && self.matrix.marked;
            wanted.then(|| TensorCarrier::new(&opened.key, self.matrix.role(), opened.rung.slots_per_group()))
        };
        let carriers: Vec<Option<TensorCarrier>> = opened.iter().map(carrier).collect();
        let reader = Reader::new(self.base, self.twin)?.on(self.compute.device());
        let work = |block: Block| -> Result<Option<Compared>> {
            let rows = (block.tensor.dim(0)? as u64).min(self.twin.stored.rows.saturating_sub(block.first_row));
            if rows == 0 {
                return Ok(None);
            }
            let suspect = block.tensor.narrow(0, 0, rows as usize)?.to_dtype(DType::F32)?;
            let host = reader.values(block.first_row, rows, &mut Buffers::default())?;
            let residual = residual(&suspect, &host)?;
            let project = |carrier: &Option<TensorCarrier>| {
                carrier.as_ref().map(|carrier| ops::project(&residual, carrier, block.first_row)).transpose()
            };
            let sums = carriers.iter().map(project).collect::<Result<_>>()?;
            Ok(Some((ops::row_squares(&suspect, &host)?, sums)))
        };
        let mut distance = Squares::default();
        let mut sums: Vec<SlotSums> = opened.iter().map(|(opened, _)| SlotSums::new(opened.rung.slots())).collect();
        let mut take = |found: Option<Compared>| {
            if let Some((rows, found)) = found {
                distance.add_rows(&rows);
                let pairs = sums.iter_mut().zip(&found).filter_map(|(sums, found)| Some((sums, found.as_ref()?)));
                pairs.for_each(|(sums, found)| sums.add(found));
            }
            Ok(())
        };
        match order {
            None => map_blocks(self.suspect, self.matrix, self.compute, Content::Weights, work, &mut take)?,
            Some(order) => self.reordered_blocks(order)?.into_iter().try_for_each(|block| take(work(block)?))?,
        }
        Ok((distance, sums))
    }

    /// The suspect's matrix with its hidden units where the base has them; zeros for those that it has no more.
    fn reordered_blocks(&self, order: &[Option<u32>]) -> Result<Vec<Block>> {
        let rows = self.matrix.stored.rows;
        let reader = Reader::new(self.suspect, self.matrix)?.on(self.compute.device());
        let whole = reader.values(0, rows, &mut Buffers::default())?;
        // Units are the columns of down, and the rows of the others.
        let axis = usize::from(self.matrix.role().ends_with(".down"));
        let units = whole.dim(axis)?;
        let nothing = whole.narrow(axis, 0, 1)?.zeros_like()?;
        let places: Vec<u32> = order.iter().map(|place| place.unwrap_or(units as u32)).collect();
        let places = Tensor::from_vec(places, order.len(), whole.device())?;
        let whole = Tensor::cat(&[&whole, &nothing], axis)?.contiguous()?.index_select(&places, axis)?;
        let count = whole.dim(0)?;
        let block = |first: usize| -> Result<Block> {
            let tensor = whole.narrow(0, first, ROWS.min(count - first))?.contiguous()?;
            Ok(Block { first_row: first as u64, tensor, codes: None })
        };
        (0..count).step_by(ROWS).map(block).collect()
    }
}

/// (w − base) · |base|, and 0 where w was pruned.
fn residual(suspect: &Tensor, base: &Tensor) -> Result<Tensor> {
    let kept = suspect.ne(&suspect.zeros_like()?)?.to_dtype(DType::F32)?;
    Ok((((suspect - base)? * base.abs()?)? * kept)?)
}
