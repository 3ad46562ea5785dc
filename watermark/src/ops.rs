//! The hot loops, as candle operations that fuse chips, scaling and slot sums in one pass over a block of rows.
//!
//! Rows run in parallel. Correlations and energies are sums of fixed-point numbers in 64-bit integers, so the result
//! does not depend on the order, the number of threads or the device. Row sums of squares are taken in `f64` over
//! sixteen interleaved lanes, then over the lanes in order; everything else is elementwise `f32`.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Shape, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::Result;
use crate::carrier::{CHUNK, Panel, RowCarrier, TensorCarrier};
use crate::element::Element;
use crate::key::GROUPS;

/// Weights beyond this many times the row's RMS count as this much.
const CLIP: f32 = 4.0;
/// Fixed point of correlations: scaled weights of at most 4 become integers of at most 2²².
const CORRELATION_SCALE: f32 = (1 << 20) as f32;
/// Fixed point of energies: squares of at most 16 become integers of at most 2²².
const ENERGY_SCALE: f32 = (1 << 18) as f32;
/// Weights that one thread takes at a time.
const PANEL_WEIGHTS: usize = 1 << 15;
/// Interleaved lanes of a row's sum of squares.
const LANES: usize = 16;

/// Sums over the weights of each slot, in fixed point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotSums {
    /// Σ chip · g, in 2⁻²⁰.
    pub correlation: Vec<i64>,
    /// Σ g², in 2⁻¹⁸.
    pub energy: Vec<i64>,
    /// Σ |g|, in 2⁻²⁰; zeros unless surveyed.
    pub profile: Vec<i64>,
    /// Number of weights in rows that are not all zero; zeros unless surveyed.
    pub count: Vec<i64>,
    /// NaN and infinite weights.
    pub non_finite: i64,
}

impl SlotSums {
    pub fn new(slots: usize) -> SlotSums {
        let zeros = vec![0; slots];
        SlotSums {
            correlation: zeros.clone(),
            energy: zeros.clone(),
            profile: zeros.clone(),
            count: zeros,
            non_finite: 0,
        }
    }

    pub fn add(&mut self, other: &SlotSums) {
        let add = |sums: &mut [i64], others: &[i64]| sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        add(&mut self.correlation, &other.correlation);
        add(&mut self.energy, &other.energy);
        add(&mut self.profile, &other.profile);
        add(&mut self.count, &other.count);
        self.non_finite += other.non_finite;
    }

    /// T_j as a real number.
    pub fn correlation(&self, slot: usize) -> f64 {
        self.correlation[slot] as f64 / f64::from(CORRELATION_SCALE)
    }

    /// V_j as a real number.
    pub fn energy(&self, slot: usize) -> f64 {
        self.energy[slot] as f64 / f64::from(ENERGY_SCALE)
    }

    /// Σ |g| of a slot as a real number.
    pub fn profile(&self, slot: usize) -> f64 {
        self.profile[slot] as f64 / f64::from(CORRELATION_SCALE)
    }

    fn into_vec(self) -> Vec<i64> {
        [self.correlation, self.energy, self.profile, self.count, vec![self.non_finite]].concat()
    }

    fn from_vec(values: &[i64]) -> SlotSums {
        let slots = values.len() / 4;
        let part = |number: usize| values[number * slots..(number + 1) * slots].to_vec();
        SlotSums {
            correlation: part(0),
            energy: part(1),
            profile: part(2),
            count: part(3),
            non_finite: values[4 * slots],
        }
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

/// Σ (a − b)² and Σ b² over the elements that are finite in both.
pub(crate) fn squared_difference(a: &Tensor, b: &Tensor) -> Result<(f64, f64)> {
    let sums: Vec<f64> = a.apply_op2_no_bwd(b, &SquaredDifference)?.to_vec1()?;
    Ok((sums[0], sums[1]))
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
}

impl Project<'_> {
    fn sum<E: Element>(&self, values: &[E], columns: usize) -> SlotSums {
        let panel_rows = panel_rows(columns);
        let start = || (Panel::default(), Accumulator::new(self.carrier.slots_per_group), Vec::new());
        values
            .par_chunks(panel_rows * columns)
            .enumerate()
            .fold(start, |(mut panel, mut accumulator, mut marked), (number, rows)| {
                let first_row = self.first_row + (number * panel_rows) as u64;
                let dither = E::DITHERED && self.amplitudes.is_some();
                panel.load(self.carrier, first_row, rows.len() / columns, columns, dither);
                for (number, row) in rows.chunks_exact(columns).enumerate() {
                    let carrier = panel.row(number);
                    match self.amplitudes {
                        Some(amplitudes) => {
                            marked.resize(columns, E::default());
                            mark_row(row, &mut marked, &carrier, group_amplitudes(amplitudes, &carrier));
                            accumulator.add_row::<E, false>(&marked, &carrier);
                        }
                        None if self.survey => accumulator.add_row::<E, true>(row, &carrier),
                        None => accumulator.add_row::<E, false>(row, &carrier),
                    }
                }
                (panel, accumulator, marked)
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
}

impl Mark<'_> {
    fn apply<E: Element>(&self, values: &[E], columns: usize) -> Vec<E> {
        let panel_rows = panel_rows(columns);
        let mut marked = vec![E::default(); values.len()];
        let panels = values.par_chunks(panel_rows * columns).zip(marked.par_chunks_mut(panel_rows * columns));
        panels.enumerate().for_each_init(Panel::default, |panel, (number, (rows, marked))| {
            let first_row = self.first_row + (number * panel_rows) as u64;
            panel.load(self.carrier, first_row, rows.len() / columns, columns, E::DITHERED);
            for (number, (row, marked)) in rows.chunks_exact(columns).zip(marked.chunks_exact_mut(columns)).enumerate()
            {
                let carrier = panel.row(number);
                mark_row(row, marked, &carrier, group_amplitudes(self.amplitudes, &carrier));
            }
        });
        marked
    }
}

/// [`squared_difference`].
struct SquaredDifference;

impl CustomOp2 for SquaredDifference {
    fn name(&self) -> &'static str {
        "squared-difference"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        fn sums<T: Copy + Sync>(
            (a, a_layout): (&[T], &Layout),
            (b, b_layout): (&[T], &Layout),
            value: impl Fn(T) -> f64 + Sync,
        ) -> candle_core::Result<Vec<f64>> {
            let pairs = contiguous(a, a_layout)?
                .par_chunks(PANEL_WEIGHTS)
                .zip(contiguous(b, b_layout)?.par_chunks(PANEL_WEIGHTS));
            let parts: Vec<[f64; 2]> = pairs.map(|(a, b)| squares(a, b, &value)).collect();
            Ok(parts.iter().fold(vec![0.0; 2], |sum, part| vec![sum[0] + part[0], sum[1] + part[1]]))
        }
        use CpuStorage::{BF16, F16, F32, F64};
        let sums = match (a, b) {
            (F32(a), F32(b)) => sums((a, a_layout), (b, b_layout), f64::from)?,
            (F16(a), F16(b)) => sums((a, a_layout), (b, b_layout), |x| f64::from(x.value()))?,
            (BF16(a), BF16(b)) => sums((a, a_layout), (b, b_layout), |x| f64::from(x.value()))?,
            (F64(a), F64(b)) => sums((a, a_layout), (b, b_layout), |x| x)?,
            (other, _) => return Err(unsupported(self.name(), other)),
        };
        Ok((CpuStorage::F64(sums), Shape::from(2)))
    }
}

/// Squares of differences and of the second argument, over interleaved lanes.
fn squares<T: Copy>(a: &[T], b: &[T], value: &impl Fn(T) -> f64) -> [f64; 2] {
    let (mut differences, mut energies) = ([0.0; LANES], [0.0; LANES]);
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (lane, (&a, &b)) in a.iter().zip(b).enumerate() {
            let (a, b) = (value(a), value(b));
            let both = a.abs() < f64::INFINITY && b.abs() < f64::INFINITY;
            let (difference, energy) = if both { (a - b, b) } else { (0.0, 0.0) };
            differences[lane] += difference * difference;
            energies[lane] += energy * energy;
        }
    }
    [differences.iter().sum(), energies.iter().sum()]
}

/// Rows that one thread takes at a time: a multiple of the groups, so that every panel starts at a whole place.
fn panel_rows(columns: usize) -> usize {
    (PANEL_WEIGHTS / columns).clamp(GROUPS, 256) / GROUPS * GROUPS
}

fn group_amplitudes<'a>(amplitudes: &'a [f32], carrier: &RowCarrier<'_>) -> &'a [f32] {
    let slots_per_group = amplitudes.len() / GROUPS;
    &amplitudes[carrier.group * slots_per_group..(carrier.group + 1) * slots_per_group]
}

/// One chunk of a row as `f32`, with zeros in place of what is not finite and after the end.
#[inline(always)]
fn load<E: Element>(chunk: &[E], values: &mut [f32; CHUNK]) {
    for (value, element) in values.iter_mut().zip(chunk) {
        let x = element.value();
        *value = if x.abs() < f32::INFINITY { x } else { 0.0 };
    }
    values[chunk.len()..].fill(0.0);
}

/// The RMS of a row, and how many of its weights are not finite.
fn row_scale<E: Element>(row: &[E]) -> (f32, u32) {
    let mut values = [0.0; CHUNK];
    let mut lanes = [0.0f64; LANES];
    let mut non_finite = 0;
    for chunk in row.chunks(CHUNK) {
        load(chunk, &mut values);
        for line in values.as_chunks::<LANES>().0 {
            for (lane, &x) in lanes.iter_mut().zip(line) {
                let x = f64::from(x);
                *lane += x * x;
            }
        }
        non_finite += chunk.iter().map(|x| u32::from(!x.value().is_finite())).sum::<u32>();
    }
    let sum: f64 = lanes.iter().sum();
    ((sum / row.len() as f64).sqrt() as f32, non_finite)
}

#[inline(always)]
fn clipped(x: f32, rms: f32) -> f32 {
    let g = x / rms;
    let g = if g < CLIP { g } else { CLIP };
    if g > -CLIP { g } else { -CLIP }
}

/// Rounds a number of at most 2²² in magnitude to the nearest integer, ties to even: adding 1.5·2²³ moves the integer
/// into the lowest bits.
#[inline(always)]
fn fixed(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

/// All ones where the chip is −1, for 32 columns at a time.
const BITS: [u32; 32] = {
    let mut bits = [0; 32];
    let mut position = 0;
    while position < 32 {
        bits[position] = 1 << position;
        position += 1;
    }
    bits
};

/// Slot sums of one thread. Narrow sums are emptied into wide ones before they could overflow.
struct Accumulator {
    slots_per_group: usize,
    correlation: Vec<i32>,
    energy: Vec<i32>,
    profile: Vec<i32>,
    count: Vec<i32>,
    /// Upper bound of the additions to any one narrow sum.
    additions: usize,
    wide: SlotSums,
}

impl Accumulator {
    fn new(slots_per_group: usize) -> Accumulator {
        let slots = slots_per_group * GROUPS;
        Accumulator {
            slots_per_group,
            correlation: vec![0; slots],
            energy: vec![0; slots],
            profile: vec![0; slots],
            count: vec![0; slots],
            additions: 0,
            wide: SlotSums::new(slots),
        }
    }

    fn add_row<E: Element, const SURVEY: bool>(&mut self, row: &[E], carrier: &RowCarrier<'_>) {
        let (rms, non_finite) = row_scale(row);
        self.wide.non_finite += i64::from(non_finite);
        if rms == 0.0 {
            return;
        }
        let m = self.slots_per_group;
        let group = carrier.group * m..(carrier.group + 1) * m;
        let mut position = carrier.rotation;
        let mut values = [0.0; CHUNK];
        let mut numbers = [0; CHUNK];
        for (chunk, chips) in row.chunks(CHUNK).zip(carrier.chips.as_chunks::<{ CHUNK / 8 }>().0) {
            if self.additions + CHUNK / m + 1 > 500 {
                self.flush();
            }
            self.additions += CHUNK / m + 1;
            load(chunk, &mut values);
            for x in &mut values {
                *x = clipped(*x, rms);
            }
            let length = chunk.len();
            let words = chips.as_chunks::<4>().0;
            let lines = values.as_chunks::<32>().0.iter().zip(numbers.as_chunks_mut::<32>().0);
            for ((values, numbers), word) in lines.zip(words) {
                let word = u32::from_le_bytes(*word);
                for (lane, number) in numbers.iter_mut().enumerate() {
                    let minus = if word & BITS[lane] != 0 { -1 } else { 0 };
                    *number = (fixed(values[lane] * CORRELATION_SCALE) ^ minus) - minus;
                }
            }
            add_rotated(&mut self.correlation[group.clone()], position, &numbers[..length]);
            for (number, &g) in numbers.iter_mut().zip(&values) {
                *number = fixed(g * g * ENERGY_SCALE);
            }
            add_rotated(&mut self.energy[group.clone()], position, &numbers[..length]);
            if SURVEY {
                for (number, &g) in numbers.iter_mut().zip(&values) {
                    *number = fixed(g.abs() * CORRELATION_SCALE);
                }
                add_rotated(&mut self.profile[group.clone()], position, &numbers[..length]);
                for (number, x) in numbers.iter_mut().zip(chunk) {
                    *number = i32::from(x.value().is_finite());
                }
                add_rotated(&mut self.count[group.clone()], position, &numbers[..length]);
            }
            position = (position + CHUNK) % m;
        }
    }

    fn flush(&mut self) {
        fn drain(wide: &mut [i64], narrow: &mut [i32]) {
            for (wide, narrow) in wide.iter_mut().zip(narrow) {
                *wide += i64::from(*narrow);
                *narrow = 0;
            }
        }
        drain(&mut self.wide.correlation, &mut self.correlation);
        drain(&mut self.wide.energy, &mut self.energy);
        drain(&mut self.wide.profile, &mut self.profile);
        drain(&mut self.wide.count, &mut self.count);
        self.additions = 0;
    }

    fn finish(mut self) -> SlotSums {
        self.flush();
        self.wide
    }
}

/// Adds consecutive columns to the slots of a group, which they go round from `position` on.
#[inline(always)]
fn add_rotated(sums: &mut [i32], mut position: usize, mut numbers: &[i32]) {
    while !numbers.is_empty() {
        let length = numbers.len().min(sums.len() - position);
        let (now, later) = numbers.split_at(length);
        for (sum, number) in sums[position..position + length].iter_mut().zip(now) {
            *sum += number;
        }
        numbers = later;
        position = 0;
    }
}

/// Writes a row with the mark: w + A_j · chip · min(|w|, 4 rms), put back onto the grid of the dtype. Weights that are
/// zero, not finite, or in a slot of amplitude zero keep their bits.
fn mark_row<E: Element>(row: &[E], marked: &mut [E], carrier: &RowCarrier<'_>, amplitudes: &[f32]) {
    let (rms, _) = row_scale(row);
    if rms == 0.0 {
        marked.copy_from_slice(row);
        return;
    }
    let mut values = [0.0; CHUNK];
    let mut deltas = [0.0; CHUNK];
    let mut position = carrier.rotation;
    let chips = carrier.chips.as_chunks::<{ CHUNK / 8 }>().0;
    for (number, ((chunk, marked), chips)) in row.chunks(CHUNK).zip(marked.chunks_mut(CHUNK)).zip(chips).enumerate() {
        load(chunk, &mut values);
        let mut rest = &mut deltas[..];
        while !rest.is_empty() {
            let length = rest.len().min(amplitudes.len() - position);
            let (now, later) = rest.split_at_mut(length);
            now.copy_from_slice(&amplitudes[position..position + length]);
            position = (position + length) % amplitudes.len();
            rest = later;
        }
        let lines = values.as_chunks::<32>().0.iter().zip(deltas.as_chunks_mut::<32>().0);
        for ((values, deltas), word) in lines.zip(chips.as_chunks::<4>().0) {
            let word = u32::from_le_bytes(*word);
            for (lane, delta) in deltas.iter_mut().enumerate() {
                let minus = if word & BITS[lane] != 0 { 1 << 31 } else { 0 };
                let profile = clipped(values[lane], rms).abs() * rms;
                *delta = f32::from_bits(delta.to_bits() ^ minus) * profile;
            }
        }
        let dither = carrier.dither.as_chunks::<2>().0;
        let dither = dither.get(number * CHUNK..).unwrap_or_default();
        for (column, (marked, &host)) in marked.iter_mut().zip(chunk).enumerate() {
            let dither = if E::DITHERED { u16::from_le_bytes(dither[column]) } else { 0 };
            let rounded = E::dithered(values[column] + deltas[column], dither);
            *marked = if deltas[column] == 0.0 { host } else { rounded };
        }
    }
}
