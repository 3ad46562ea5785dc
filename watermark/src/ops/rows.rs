//! The loops over one row of weights, as the processor runs them.
//!
//! With n columns, the finite weights x_k (others count as zero) and lanes ℓ = k mod 32:
//!
//! ```text
//! rms   = √(Σ x_k² / n)       f64: each lane in the order of the columns, then halves of the lanes onto each other
//! g_k   = clip(x_k · (1/rms), −4, 4)                            f32
//! T_j  += chip_k · round(g_k · 2²⁰)                             integers, ties to even
//! V    += round(g_k² · 2¹⁸)                                     likewise
//! ```
//!
//! A row whose RMS is below the smallest normal `f32` counts as a row of zeros.

use super::SlotSums;
use super::wide::Wide;
use crate::carrier::{CHUNK, Panel, RowCarrier};
use crate::element::Element;
use crate::key::GROUPS;

/// Weights beyond this many times the row's RMS count as this much.
const CLIP: f32 = 4.0;
/// Fixed point of correlations and profiles: scaled weights of at most 4 become integers of at most 2²².
pub(super) const CORRELATION_SCALE: f32 = (1 << 20) as f32;
/// Fixed point of energies.
pub(super) const ENERGY_SCALE: f32 = (1 << 18) as f32;
/// Columns that are worked on at a time, and the lanes of every sum of squares.
const LANES: usize = 32;
/// Additions of at most 2²² that a narrow sum holds.
const NARROW: usize = 511;

/// A row without what is not finite, and its scale.
struct Row<'a, E> {
    weights: &'a [E],
    rms: f32,
    inverse: f32,
    non_finite: u32,
}

impl<'a, E: Element> Row<'a, E> {
    /// Measures a row; `None` for the scale's sake when it counts as zeros. `cleaned` lends space.
    #[inline(always)]
    fn new(weights: &'a [E], cleaned: &'a mut Vec<E>) -> Row<'a, E> {
        let mut row = Row { weights, rms: 0.0, inverse: 0.0, non_finite: 0 };
        let mut sum = square_sum(row.weights);
        if !sum.is_finite() {
            let finite = |weight: &E| weight.value().is_finite();
            row.non_finite = weights.iter().map(|weight| u32::from(!finite(weight))).sum();
            cleaned.clear();
            cleaned.extend(weights.iter().map(|weight| if finite(weight) { *weight } else { E::default() }));
            row.weights = cleaned;
            sum = square_sum(row.weights);
        }
        let rms = (sum / weights.len() as f64).sqrt() as f32;
        if rms >= f32::MIN_POSITIVE {
            row.rms = rms;
            row.inverse = 1.0 / rms;
        }
        row
    }

    fn is_zero(&self) -> bool {
        self.rms == 0.0
    }
}

/// Σ x², which is finite exactly when all weights are.
#[inline(always)]
fn square_sum<E: Element>(weights: &[E]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let mut add = |line: &[E; LANES]| {
        for (sum, weight) in sums.iter_mut().zip(line) {
            let x = f64::from(weight.value());
            *sum += x * x;
        }
    };
    let (lines, rest) = weights.as_chunks();
    lines.iter().for_each(&mut add);
    add(&padded(rest));
    folded(sums)
}

/// The last columns of a row, followed by zeros.
#[inline(always)]
fn padded<E: Element>(rest: &[E]) -> [E; LANES] {
    let mut line = [E::default(); LANES];
    line[..rest.len()].copy_from_slice(rest);
    line
}

#[inline(always)]
fn clipped(g: f32) -> f32 {
    let g = if g < CLIP { g } else { CLIP };
    if g > -CLIP { g } else { -CLIP }
}

/// Rounds g · 2²⁰ to the nearest integer, ties to even, for |g| ≤ 4: the floats from 8 to 16 are 2⁻²⁰ apart, and their
/// bits are consecutive.
#[inline(always)]
fn fixed(g: f32) -> i32 {
    const MIDDLE: f32 = 12.0;
    (g + MIDDLE).to_bits() as i32 - MIDDLE.to_bits() as i32
}

/// Rounds g² · 2¹⁸ likewise: the floats from 32 to 64 are 2⁻¹⁸ apart.
#[inline(always)]
fn fixed_square(g: f32) -> i32 {
    const MIDDLE: f32 = 48.0;
    (g * g + MIDDLE).to_bits() as i32 - MIDDLE.to_bits() as i32
}

/// The sign bit of an `f32`, where the chip of a lane is −1.
#[inline(always)]
fn sign(chips: u32, lane: usize) -> u32 {
    chips << (31 - lane) & 1 << 31
}

/// Narrow sums of one group, over a track of several laps round its slots and a line more: consecutive columns go to
/// consecutive places, and place p belongs to slot p mod m.
struct Track {
    sums: Vec<i32>,
    end: usize,
}

impl Track {
    fn new(slots: usize) -> Track {
        let end = slots * CHUNK.div_ceil(slots);
        Track { sums: vec![0; end + LANES], end }
    }

    /// The places of the next line.
    #[inline(always)]
    fn line(&mut self, position: usize) -> Option<&mut [i32; LANES]> {
        self.sums.get_mut(position..)?.first_chunk_mut()
    }

    fn drain(&mut self, slots: &mut [i64]) {
        for lap in self.sums.chunks_mut(slots.len()) {
            for (wide, narrow) in slots.iter_mut().zip(lap) {
                *wide += i64::from(std::mem::take(narrow));
            }
        }
    }
}

/// Slot sums of one thread. Narrow sums are emptied into wide ones before they could overflow.
pub(super) struct Accumulator {
    slots_per_group: usize,
    correlation: [Track; GROUPS],
    profile: [Track; GROUPS],
    /// Upper bound of the additions to any one narrow sum.
    additions: usize,
    wide: SlotSums,
}

impl Accumulator {
    pub fn new(slots_per_group: usize) -> Accumulator {
        let tracks = || std::array::from_fn(|_| Track::new(slots_per_group));
        Accumulator {
            slots_per_group,
            correlation: tracks(),
            profile: tracks(),
            additions: 0,
            wide: SlotSums::new(slots_per_group * GROUPS),
        }
    }

    #[inline(always)]
    fn add_row<E: Element>(&mut self, weights: &[E], cleaned: &mut Vec<E>, carrier: &RowCarrier<'_>, survey: bool) {
        let row = Row::new(weights, cleaned);
        self.wide.non_finite += i64::from(row.non_finite);
        if row.is_zero() {
            return;
        }
        if survey {
            self.count(weights, row.non_finite, carrier);
        }
        let end = self.correlation[carrier.group].end;
        let mut position = carrier.rotation;
        for (chunk, chips) in row.weights.chunks(CHUNK).zip(carrier.chips.as_chunks::<{ CHUNK / 8 }>().0) {
            // The track is at least as long as a chunk, so a chunk passes each place at most once.
            if self.additions == NARROW {
                self.flush();
            }
            self.additions += 1;
            let track = &mut self.correlation[carrier.group];
            let mut squares = [0; LANES];
            let mut place = position;
            let mut add = |line: &[E; LANES], chips: &[u8; 4]| {
                if let Some(sums) = track.line(place) {
                    add_line(line, u32::from_le_bytes(*chips), row.inverse, sums, &mut squares);
                }
                place += LANES;
                place = if place < end { place } else { place - end };
            };
            let (lines, rest) = chunk.as_chunks();
            let chips = chips.as_chunks().0;
            lines.iter().zip(chips).for_each(|(line, chips)| add(line, chips));
            if let (false, Some(chips)) = (rest.is_empty(), chips.get(lines.len())) {
                add(&padded(rest), chips);
            }
            // A chunk of nothing but clipped weights comes to 2³¹.
            self.wide.energy += squares.iter().map(|&square| i64::from(square)).sum::<i64>();
            if survey {
                self.add_profile(chunk, row.inverse, carrier.group, position);
            }
            position = place;
        }
    }

    #[inline(always)]
    fn add_profile<E: Element>(&mut self, chunk: &[E], inverse: f32, group: usize, mut position: usize) {
        let track = &mut self.profile[group];
        let end = track.end;
        let (lines, rest) = chunk.as_chunks();
        for line in lines.iter().chain([&padded(rest)]) {
            if let Some(sums) = track.line(position) {
                for (sum, weight) in sums.iter_mut().zip(line) {
                    *sum += fixed(clipped(weight.value() * inverse).abs());
                }
            }
            position += LANES;
            position = if position < end { position } else { position - end };
        }
    }

    /// Counts the finite weights of a row.
    fn count<E: Element>(&mut self, weights: &[E], non_finite: u32, carrier: &RowCarrier<'_>) {
        let m = self.slots_per_group;
        let counts = &mut self.wide.count[carrier.group * m..(carrier.group + 1) * m];
        for count in counts.iter_mut() {
            *count += (weights.len() / m) as i64;
        }
        for column in 0..weights.len() % m {
            counts[(carrier.rotation + column) % m] += 1;
        }
        if non_finite > 0 {
            let others = weights.iter().enumerate().filter(|(_, weight)| !weight.value().is_finite());
            others.for_each(|(column, _)| counts[(carrier.rotation + column) % m] -= 1);
        }
    }

    fn flush(&mut self) {
        let m = self.slots_per_group;
        for group in 0..GROUPS {
            let slots = group * m..(group + 1) * m;
            self.correlation[group].drain(&mut self.wide.correlation[slots.clone()]);
            self.profile[group].drain(&mut self.wide.profile[slots]);
        }
        self.additions = 0;
    }

    pub fn finish(mut self) -> SlotSums {
        self.flush();
        self.wide
    }
}

#[inline(always)]
fn add_line<E: Element>(
    line: &[E; LANES],
    chips: u32,
    inverse: f32,
    sums: &mut [i32; LANES],
    squares: &mut [i32; LANES],
) {
    for lane in 0..LANES {
        let g = clipped(line[lane].value() * inverse);
        squares[lane] += fixed_square(g);
        sums[lane] += fixed(f32::from_bits(g.to_bits() ^ sign(chips, lane)));
    }
}

/// Adds the upper half of the lanes to the lower, until one is left.
#[inline(always)]
fn folded<const N: usize>(mut sums: [f64; N]) -> f64 {
    let mut width = N;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

/// Slot sums of a panel of rows; with amplitudes, of the rows as they would be marked.
pub(super) struct SumPanel<'a, E> {
    pub rows: &'a [E],
    pub columns: usize,
    pub panel: &'a Panel,
    pub amplitudes: Option<&'a Amplitudes>,
    pub survey: bool,
    pub accumulator: &'a mut Accumulator,
    pub scratch: &'a mut Scratch<E>,
}

/// Space for a row without what is not finite, and for a marked row.
pub(super) struct Scratch<E> {
    cleaned: Vec<E>,
    marked: Vec<E>,
}

impl<E> Default for Scratch<E> {
    fn default() -> Scratch<E> {
        Scratch { cleaned: Vec::new(), marked: Vec::new() }
    }
}

impl<E: Element> Wide for SumPanel<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Scratch { cleaned, marked } = self.scratch;
        for (number, row) in self.rows.chunks_exact(self.columns).enumerate() {
            let carrier = self.panel.row(number);
            let row = match self.amplitudes {
                Some(amplitudes) => {
                    marked.resize(self.columns, E::default());
                    mark_row(row, cleaned, marked, &carrier, amplitudes);
                    &marked[..]
                }
                None => row,
            };
            self.accumulator.add_row(row, cleaned, &carrier, self.survey);
        }
    }
}

/// Amplitudes of all slots, laid out like [`Track`]: each group's go on from the beginning for a line more.
pub(super) struct Amplitudes {
    slots_per_group: usize,
    groups: [Vec<f32>; GROUPS],
}

impl Amplitudes {
    pub fn new(amplitudes: &[f32]) -> Amplitudes {
        let slots_per_group = amplitudes.len() / GROUPS;
        let group = |group: usize| {
            let own = &amplitudes[group * slots_per_group..(group + 1) * slots_per_group];
            own.iter().cycle().take(slots_per_group + LANES).copied().collect()
        };
        Amplitudes { slots_per_group, groups: std::array::from_fn(group) }
    }
}

/// Marks a panel of rows.
pub(super) struct MarkPanel<'a, E> {
    pub rows: &'a [E],
    pub marked: &'a mut [E],
    pub columns: usize,
    pub panel: &'a Panel,
    pub amplitudes: &'a Amplitudes,
    pub scratch: &'a mut Scratch<E>,
}

impl<E: Element> Wide for MarkPanel<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.rows.chunks_exact(self.columns).zip(self.marked.chunks_exact_mut(self.columns));
        for (number, (row, marked)) in rows.enumerate() {
            mark_row(row, &mut self.scratch.cleaned, marked, &self.panel.row(number), self.amplitudes);
        }
    }
}

/// Writes a row with the mark: w + A_j · chip · min(|w|, 4 rms), put back onto the grid of the dtype. Weights that are
/// zero, not finite, or in a slot of amplitude zero keep their bits.
#[inline(always)]
fn mark_row<E: Element>(
    weights: &[E],
    cleaned: &mut Vec<E>,
    marked: &mut [E],
    carrier: &RowCarrier<'_>,
    amplitudes: &Amplitudes,
) {
    let row = Row::new(weights, cleaned);
    if row.is_zero() {
        marked.copy_from_slice(weights);
        return;
    }
    let m = amplitudes.slots_per_group;
    let limit = CLIP * row.rms;
    let mut position = carrier.rotation;
    let mut dithers = carrier.dither.as_chunks::<2>().0.as_chunks::<LANES>().0.iter();
    let mut mark = |line: &[E; LANES], chips: &[u8; 4], marked: &mut [E; LANES]| {
        let dither = if E::DITHERED { dithers.next() } else { None }.unwrap_or(&[[0; 2]; LANES]);
        let amplitudes = amplitudes.groups[carrier.group].get(position..).and_then(|rest| rest.first_chunk());
        if let Some(amplitudes) = amplitudes {
            mark_line(line, amplitudes, u32::from_le_bytes(*chips), limit, dither, marked);
        }
        position = (position + LANES) % m;
    };
    let (lines, rest) = row.weights.as_chunks();
    let (marked_lines, marked_rest) = marked.as_chunks_mut();
    let chips = carrier.chips.as_chunks().0;
    for ((line, chips), marked) in lines.iter().zip(chips).zip(marked_lines) {
        mark(line, chips, marked);
    }
    if let (false, Some(chips)) = (rest.is_empty(), chips.get(lines.len())) {
        let mut line = [E::default(); LANES];
        mark(&padded(rest), chips, &mut line);
        marked_rest.copy_from_slice(&line[..rest.len()]);
    }
    if row.non_finite > 0 {
        for (marked, weight) in marked.iter_mut().zip(weights) {
            *marked = if weight.value().is_finite() { *marked } else { *weight };
        }
    }
}

#[inline(always)]
fn mark_line<E: Element>(
    line: &[E; LANES],
    amplitudes: &[f32; LANES],
    chips: u32,
    limit: f32,
    dither: &[[u8; 2]; LANES],
    marked: &mut [E; LANES],
) {
    for lane in 0..LANES {
        let x = line[lane].value();
        let profile = if x.abs() < limit { x.abs() } else { limit };
        let delta = f32::from_bits(amplitudes[lane].to_bits() ^ sign(chips, lane)) * profile;
        let rounded = E::dithered(x + delta, u16::from_le_bytes(dither[lane]));
        marked[lane] = if delta == 0.0 { line[lane] } else { rounded };
    }
}

/// A number that distances are measured in.
pub(super) trait Number: Copy + Send + Sync {
    fn real(self) -> f64;
}

impl Number for f64 {
    #[inline(always)]
    fn real(self) -> f64 {
        self
    }
}

impl<E: Element> Number for E {
    #[inline(always)]
    fn real(self) -> f64 {
        f64::from(self.value())
    }
}

/// Σ (a − b)² and Σ b² of each row, over the elements that are finite in both: 16 lanes, then halves.
pub(super) struct SquarePanel<'a, T> {
    pub a: &'a [T],
    pub b: &'a [T],
    pub columns: usize,
}

impl<T: Number> Wide for SquarePanel<'_, T> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run(self) -> Vec<f64> {
        let rows = self.a.chunks_exact(self.columns).zip(self.b.chunks_exact(self.columns));
        let mut sums = Vec::with_capacity(2 * rows.len());
        rows.for_each(|(a, b)| sums.extend(squares(a, b)));
        sums
    }
}

#[inline(always)]
fn squares<T: Number>(a: &[T], b: &[T]) -> [f64; 2] {
    const LANES: usize = 16;
    let (mut differences, mut energies) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |lane: usize, a: T, b: T| {
        let (a, b) = (a.real(), b.real());
        let both = a.abs() < f64::INFINITY && b.abs() < f64::INFINITY;
        let (difference, energy) = if both { (a - b, b) } else { (0.0, 0.0) };
        differences[lane] += difference * difference;
        energies[lane] += energy * energy;
    };
    let ((a_lines, a_rest), (b_lines, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_lines.iter().zip(b_lines) {
        for lane in 0..LANES {
            add(lane, a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        add(lane, a, b);
    }
    [folded(differences), folded(energies)]
}
