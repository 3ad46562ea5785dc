//! The hot loops, as candle operations that fuse chips, scaling and slot sums in one pass over a block of rows.
//!
//! Rows run in parallel. Slot sums are integers, so the result does not depend on the order, the number of threads, the
//! width of the registers or the device. What is summed in floating point is summed in a fixed order; see [`rows`].

#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(test)]
mod host;
mod rows;
mod wide;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Shape, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::Result;
use crate::carrier::{Panel, TensorCarrier};
use crate::element::Element;
use crate::key::GROUPS;
use rows::{
    Accumulator, Amplitudes, CORRELATION_SCALE, ENERGY_SCALE, MarkPanel, Number, Scratch, SquarePanel, SumPanel,
};
use wide::Wide;

/// Weights that one thread takes at a time.
const PANEL_WEIGHTS: usize = 1 << 15;

/// Sums over the weights of each slot, in fixed point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotSums {
    /// Σ chip · g, in 2⁻²⁰.
    pub correlation: Vec<i64>,
    /// Σ |g|, in 2⁻²⁰; zeros unless surveyed.
    pub profile: Vec<i64>,
    /// Number of finite weights in rows that are not all zero; zeros unless surveyed.
    pub count: Vec<i64>,
    /// Σ g² over all slots, in 2⁻¹⁸.
    pub energy: i64,
    /// NaN and infinite weights.
    pub non_finite: i64,
}

impl SlotSums {
    pub fn new(slots: usize) -> SlotSums {
        let zeros = vec![0; slots];
        SlotSums { correlation: zeros.clone(), profile: zeros.clone(), count: zeros, energy: 0, non_finite: 0 }
    }

    pub fn add(&mut self, other: &SlotSums) {
        let add = |sums: &mut [i64], others: &[i64]| sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        add(&mut self.correlation, &other.correlation);
        add(&mut self.profile, &other.profile);
        add(&mut self.count, &other.count);
        self.energy += other.energy;
        self.non_finite += other.non_finite;
    }

    /// T_j as a real number.
    pub fn correlation(&self, slot: usize) -> f64 {
        self.correlation[slot] as f64 / f64::from(CORRELATION_SCALE)
    }

    /// Σ |g| of a slot as a real number.
    pub fn profile(&self, slot: usize) -> f64 {
        self.profile[slot] as f64 / f64::from(CORRELATION_SCALE)
    }

    /// ΣV_j as a real number.
    pub fn energy(&self) -> f64 {
        self.energy as f64 / f64::from(ENERGY_SCALE)
    }

    /// Correlations, profiles and counts of all slots, the energy, and how many weights are not finite.
    pub fn into_vec(self) -> Vec<i64> {
        [self.correlation, self.profile, self.count, vec![self.energy, self.non_finite]].concat()
    }

    fn from_vec(values: &[i64]) -> SlotSums {
        let slots = values.len() / 3;
        let part = |number: usize| values[number * slots..(number + 1) * slots].to_vec();
        let (energy, non_finite) = (values[3 * slots], values[3 * slots + 1]);
        SlotSums { correlation: part(0), profile: part(1), count: part(2), energy, non_finite }
    }
}

/// Slot sums of a block as it is.
pub(crate) fn project(block: &Tensor, carrier: &TensorCarrier, first_row: u64) -> Result<SlotSums> {
    slot_sums(block, &Project { carrier, first_row, survey: false, amplitudes: None })
}

/// Slot sums of an unmarked block, with profile and count.
pub(crate) fn survey(block: &Tensor, carrier: &TensorCarrier, first_row: u64) -> Result<SlotSums> {
    slot_sums(block, &Project { carrier, first_row, survey: true, amplitudes: None })
}

/// Slot sums that a block would have after being marked with these amplitudes, one for each slot.
pub(crate) fn trial(block: &Tensor, carrier: &TensorCarrier, first_row: u64, amplitudes: &[f32]) -> Result<SlotSums> {
    slot_sums(block, &Project { carrier, first_row, survey: false, amplitudes: Some(amplitudes) })
}

fn slot_sums(block: &Tensor, op: &Project<'_>) -> Result<SlotSums> {
    Ok(SlotSums::from_vec(&block.apply_op1_no_bwd(op)?.to_vec1()?))
}

/// The block with the mark at these amplitudes, one for each slot, in the same dtype.
pub(crate) fn mark(block: &Tensor, carrier: &TensorCarrier, first_row: u64, amplitudes: &[f32]) -> Result<Tensor> {
    Ok(block.apply_op1_no_bwd(&Mark { carrier, first_row, amplitudes })?)
}

/// Σ (a − b)² and Σ b², over elements that are finite in both. Rows are added in their order, so that the result does
/// not depend on the blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Squares {
    pub difference: f64,
    pub energy: f64,
}

impl Squares {
    /// Adds what [`row_squares`] gave.
    pub fn add_rows(&mut self, rows: &[f64]) {
        for [difference, energy] in rows.as_chunks().0 {
            self.difference += difference;
            self.energy += energy;
        }
    }
}

/// Σ (a − b)² and Σ b² of each row in turn, for [`Squares::add_rows`].
pub(crate) fn row_squares(a: &Tensor, b: &Tensor) -> Result<Vec<f64>> {
    Ok(a.apply_op2_no_bwd(b, &RowSquares)?.to_vec1()?)
}

/// Appends the elements of a contiguous block, little-endian.
pub(crate) fn append_bytes(block: &Tensor, bytes: &mut Vec<u8>) -> Result<()> {
    fn append<T: Copy, const N: usize>(values: &[T], bytes: &mut Vec<u8>, to_bytes: impl Fn(T) -> [u8; N]) {
        let start = bytes.len();
        bytes.resize(start + values.len() * N, 0);
        for (target, &value) in bytes[start..].as_chunks_mut::<N>().0.iter_mut().zip(values) {
            *target = to_bytes(value);
        }
    }
    let (storage, layout) = block.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return append_bytes(&block.to_device(&candle_core::Device::Cpu)?, bytes);
    };
    match storage {
        CpuStorage::F32(values) => append(contiguous(values, layout)?, bytes, f32::to_le_bytes),
        CpuStorage::F16(values) => append(contiguous(values, layout)?, bytes, f16::to_le_bytes),
        CpuStorage::BF16(values) => append(contiguous(values, layout)?, bytes, bf16::to_le_bytes),
        CpuStorage::F64(values) => append(contiguous(values, layout)?, bytes, f64::to_le_bytes),
        other => return Err(unsupported("append-bytes", other).into()),
    }
    Ok(())
}

fn contiguous<'a, T>(values: &'a [T], layout: &Layout) -> candle_core::Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("the rows of a block must be contiguous"),
    }
}

fn unsupported(op: &'static str, storage: &CpuStorage) -> candle_core::Error {
    use candle_core::backend::BackendStorage;
    let dtype: DType = storage.dtype();
    candle_core::Error::UnsupportedDTypeForOp(dtype, op).bt()
}

/// [`project`], [`survey`] and [`trial`].
struct Project<'a> {
    carrier: &'a TensorCarrier,
    first_row: u64,
    survey: bool,
    amplitudes: Option<&'a [f32]>,
}

impl CustomOp1 for Project<'_> {
    fn name(&self) -> &'static str {
        "project"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let columns = layout.shape().dims2()?.1;
        let sums = match storage {
            CpuStorage::F32(values) => self.sum(contiguous(values, layout)?, columns),
            CpuStorage::F16(values) => self.sum(contiguous(values, layout)?, columns),
            CpuStorage::BF16(values) => self.sum(contiguous(values, layout)?, columns),
            other => return Err(unsupported(self.name(), other)),
        };
        let sums = sums.into_vec();
        let shape = Shape::from(sums.len());
        Ok((CpuStorage::I64(sums), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        cuda::project(self, storage, layout)
    }
}

impl Project<'_> {
    fn sum<E: Element>(&self, values: &[E], columns: usize) -> SlotSums {
        let panel_rows = panel_rows(columns);
        let amplitudes = self.amplitudes.map(Amplitudes::new);
        let start = || (Panel::default(), Accumulator::new(self.carrier.slots_per_group), Scratch::default());
        values
            .par_chunks(panel_rows * columns)
            .enumerate()
            .fold(start, |(mut panel, mut accumulator, mut scratch), (number, rows)| {
                let first_row = self.first_row + (number * panel_rows) as u64;
                let dither = E::DITHERED && amplitudes.is_some();
                panel.load(self.carrier, first_row, rows.len() / columns, columns, dither);
                let work = SumPanel {
                    rows,
                    columns,
                    panel: &panel,
                    amplitudes: amplitudes.as_ref(),
                    survey: self.survey,
                    accumulator: &mut accumulator,
                    scratch: &mut scratch,
                };
                work.run_widest();
                (panel, accumulator, scratch)
            })
            .map(|(_, accumulator, _)| accumulator.finish())
            .reduce(
                || SlotSums::new(self.carrier.slots()),
                |mut sums, other| {
                    sums.add(&other);
                    sums
                },
            )
    }
}

/// [`mark`].
struct Mark<'a> {
    carrier: &'a TensorCarrier,
    first_row: u64,
    amplitudes: &'a [f32],
}

impl CustomOp1 for Mark<'_> {
    fn name(&self) -> &'static str {
        "mark"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let columns = layout.shape().dims2()?.1;
        let marked = match storage {
            CpuStorage::F32(values) => CpuStorage::F32(self.apply(contiguous(values, layout)?, columns)),
            CpuStorage::F16(values) => CpuStorage::F16(self.apply(contiguous(values, layout)?, columns)),
            CpuStorage::BF16(values) => CpuStorage::BF16(self.apply(contiguous(values, layout)?, columns)),
            other => return Err(unsupported(self.name(), other)),
        };
        Ok((marked, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        cuda::mark(self, storage, layout)
    }
}

impl Mark<'_> {
    fn apply<E: Element>(&self, values: &[E], columns: usize) -> Vec<E> {
        let panel_rows = panel_rows(columns);
        let amplitudes = Amplitudes::new(self.amplitudes);
        let mut marked = vec![E::default(); values.len()];
        let panels = values.par_chunks(panel_rows * columns).zip(marked.par_chunks_mut(panel_rows * columns));
        panels.enumerate().for_each_init(Default::default, |(panel, scratch): &mut (Panel, Scratch<E>), work| {
            let (number, (rows, marked)) = work;
            let first_row = self.first_row + (number * panel_rows) as u64;
            panel.load(self.carrier, first_row, rows.len() / columns, columns, E::DITHERED);
            MarkPanel { rows, marked, columns, panel, amplitudes: &amplitudes, scratch }.run_widest();
        });
        marked
    }
}

/// [`row_squares`].
struct RowSquares;

impl CustomOp2 for RowSquares {
    fn name(&self) -> &'static str {
        "row-squares"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        fn sums<T: Number>(a: &[T], b: &[T], columns: usize) -> Vec<f64> {
            let panel = panel_rows(columns) * columns;
            let pairs = a.par_chunks(panel).zip(b.par_chunks(panel));
            pairs.flat_map_iter(|(a, b)| SquarePanel { a, b, columns }.run_widest()).collect()
        }
        let columns = a_layout.shape().dims2()?.1;
        use CpuStorage::{BF16, F16, F32, F64};
        let sums = match (a, b) {
            (F32(a), F32(b)) => sums(contiguous(a, a_layout)?, contiguous(b, b_layout)?, columns),
            (F16(a), F16(b)) => sums(contiguous(a, a_layout)?, contiguous(b, b_layout)?, columns),
            (BF16(a), BF16(b)) => sums(contiguous(a, a_layout)?, contiguous(b, b_layout)?, columns),
            (F64(a), F64(b)) => sums(contiguous(a, a_layout)?, contiguous(b, b_layout)?, columns),
            (other, _) => return Err(unsupported(self.name(), other)),
        };
        let shape = Shape::from(sums.len());
        Ok((CpuStorage::F64(sums), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        a_layout: &Layout,
        b: &CudaStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        cuda::row_squares((a, a_layout), (b, b_layout))
    }
}

/// Rows that one thread takes at a time: a multiple of the groups, so that every panel starts at a whole place.
fn panel_rows(columns: usize) -> usize {
    (PANEL_WEIGHTS / columns).clamp(GROUPS, 256) / GROUPS * GROUPS
}
