//! Embedding: push every slot's correlation to its committed side, only as far as needed.
//!
//! For slot j with n_j weights the target is b_j T_j ≥ α n_j. The change of a weight is A_j s_i min(|w_i|, 4 rms_i),
//! with one amplitude A_j for each slot:
//!
//! ```text
//! need_j = b_j α n_j − T_j   if b_j T_j < α n_j, else 0
//! A_j   += need_j / Σ min(|g_i|, 4)                             the sum over the unmarked host
//! ```
//!
//! Profile and denominators come from the unmarked host, so amplitudes can be refined without keeping any weights: a
//! pass over the model measures the host, two more measure what the amplitudes so far would come to after the cast,
//! and the last one writes. Memory holds one tensor's output and a few blocks of rows, whatever the model's size.

use std::collections::BTreeMap;

use candle_core::Tensor;
use countermark_formats::{Checkpoint, CodeBlock, Edit};
use serde::Serialize;

use crate::carrier::TensorCarrier;
use crate::codes;
use crate::commitment::{Algorithm, Commitment, Gauge, Rung};
use crate::gauge::{self, Overlay};
use crate::key::MarkKey;
use crate::ops::{self, SlotSums, Squares};
use crate::strength::{Host, HostPart, Strength};
use crate::tensors::{Block, Content, Matrix, for_each_block, map_blocks, markable_weights, matrices};
use crate::{Compute, Error, Result};

/// Passes that refine the amplitudes between the first measurement and the writing pass.
const TRIALS: usize = 2;
/// Refining the amplitudes adds a little to the first prediction.
const MARGIN_DB: f64 = 0.02;
/// Codewords tried for a wish that is just within reach.
const ATTEMPTS: u32 = 100;

/// What to embed.
#[derive(Clone, Debug, Default)]
pub struct EmbedOptions {
    /// How much the weights may change.
    pub strength: Strength,
    /// A payload of the caller's own, as long as the model's [`Rung::payload_bytes`]; otherwise it is drawn from the
    /// record's transcript, which gives better odds, because the detector then knows it.
    pub payload: Option<Vec<u8>>,
    /// Root of the unmarked model.
    pub base_digest: [u8; 32],
    /// Where to work; the result is the same.
    pub compute: Compute,
    /// Leaves out the gauge band, which a transformer with gated MLPs gets otherwise.
    pub without_gauge: bool,
}

/// What was embedded.
#[derive(Clone, Debug, Serialize)]
pub struct EmbedReport {
    /// The record to log before the marked model is released.
    pub commitment: Commitment,
    /// What a model of this size can carry.
    pub rung: Rung,
    /// Weights in marked tensors.
    pub weights: u64,
    /// Weights in marked tensors, by dtype.
    pub weights_by_dtype: BTreeMap<String, u64>,
    /// Number of marked matrices.
    pub tensors: usize,
    /// ‖δ‖ / ‖W‖ over all matrices after the cast, in decibels.
    pub distortion_db: f64,
    /// The same over the marked tensors only.
    pub marked_distortion_db: f64,
    /// NaN and infinite weights in marked tensors, which were left as they are.
    pub non_finite: u64,
    /// Slots.
    pub slots: usize,
    /// Slots that lean to the committed side after the cast.
    pub slots_agreeing: usize,
    /// Slots that reach at least nine tenths of their target after the cast.
    pub slots_reached: usize,
}

/// Weights that [`embed`] works through: the last value that its progress function sees.
pub fn embed_work(model: &Checkpoint) -> u64 {
    let matrices = matrices(model);
    let marked: u64 = matrices.iter().filter(|matrix| matrix.can_be_struck()).map(Matrix::weights).sum();
    let all: u64 = matrices.iter().map(Matrix::weights).sum();
    2 * all + TRIALS as u64 * marked
}

/// Embeds a mark.
///
/// `write` receives every tensor of the model once, in the order of [`Checkpoint::tensors`]: its index and all its
/// bytes, marked or unchanged. Nothing is written before the amplitudes stand. `progress` is told the weights worked
/// through so far, out of [`embed_work`].
///
/// # Errors
/// A model too small, a strength that it does not allow, weights that cannot be read, or a writer that fails.
pub fn embed(
    model: &Checkpoint,
    key: &MarkKey,
    options: &EmbedOptions,
    progress: &(dyn Fn(u64) + Sync),
    write: &mut dyn FnMut(usize, &[u8]) -> std::io::Result<()>,
) -> Result<EmbedReport> {
    let weights = markable_weights(model);
    let rung = Rung::for_weights(weights).ok_or(Error::TooSmall { weights, minimum: Rung::LEAST_WEIGHTS })?;
    if let Some(payload) = options.payload.as_ref().filter(|payload| payload.len() != rung.payload_bytes()) {
        return Err(Error::PayloadLength { weights, given: payload.len(), room: rung.payload_bytes() });
    }
    let gauge = if rung == Rung::Full && !options.without_gauge { gauge::plan_of(model) } else { None };
    let overlay = gauge.as_ref().map(|plan| Overlay::new(model, key, plan)).transpose()?.unwrap_or_default();
    let mut embedder =
        Embedder { model, key, rung, overlay, matrices: matrices(model), compute: &options.compute, progress, done: 0 };

    let (host, parts) = embedder.survey()?;
    let algorithm = Algorithm { gauge: gauge.as_ref().map(Gauge::new), ..Algorithm::new(rung, 0) };
    let (targets, commitment, mut amplitudes) = aim(key, rung, algorithm, options, host, parts)?;
    for _ in 0..TRIALS {
        let sums = embedder.trial(&amplitudes)?;
        targets.refine(&sums, &mut amplitudes);
    }
    let written = embedder.write(&amplitudes, write)?;

    let mut weights_by_dtype = BTreeMap::new();
    for matrix in embedder.matrices.iter().filter(|matrix| matrix.can_be_struck()) {
        let dtype = model.tensors()[matrix.stored.tensor].info.dtype;
        *weights_by_dtype.entry(dtype.to_string()).or_default() += matrix.weights();
    }
    let reached = |share: f64| (0..rung.slots()).filter(|&slot| targets.reaches(&written.sums, slot, share)).count();
    Ok(EmbedReport {
        rung,
        weights,
        weights_by_dtype,
        tensors: embedder.matrices.iter().filter(|matrix| matrix.can_be_struck()).count(),
        distortion_db: decibel(written.marked.difference, written.marked.energy + written.other_energy),
        marked_distortion_db: decibel(written.marked.difference, written.marked.energy),
        non_finite: targets.host.non_finite as u64,
        slots: rung.slots(),
        slots_agreeing: reached(0.0),
        slots_reached: reached(0.9),
        commitment,
    })
}

/// Fixes α, the codeword and the first amplitudes. The payload depends on α, and the change that a codeword needs
/// depends on the host, so a wish in decibels is met by lowering α until a codeword fits.
fn aim(
    key: &MarkKey,
    rung: Rung,
    algorithm: Algorithm,
    options: &EmbedOptions,
    host: SlotSums,
    parts: Vec<HostPart>,
) -> Result<(Targets, Commitment, Vec<f32>)> {
    let plan = plan(&host, parts)?;
    let mut alpha_nano = plan.alpha_nano(options.strength)?;
    let mut targets = Targets { alpha: 0.0, codeword: Vec::new(), host };
    let mut attempts = ATTEMPTS;
    loop {
        let algorithm = Algorithm { alpha_nano, ..algorithm.clone() };
        let (commitment, codeword) =
            Commitment::with(key, rung, algorithm, options.base_digest, options.payload.as_deref());
        targets.alpha = commitment.transcript.algorithm.alpha();
        targets.codeword = codeword;
        let mut amplitudes = vec![0.0; rung.slots()];
        targets.refine(&targets.host, &mut amplitudes);
        let fits = match options.strength {
            Strength::Auto => true,
            Strength::Decibel(wish) => plan.amplitudes_db(&amplitudes) <= wish - MARGIN_DB,
        };
        if fits || attempts == 0 {
            return Ok((targets, commitment, amplitudes));
        }
        attempts -= 1;
        alpha_nano = (alpha_nano - alpha_nano / 100).max(1);
    }
}

/// 20 log10 of a ratio of norms, given their squares; negative infinity when nothing differs.
pub(crate) fn decibel(difference: f64, energy: f64) -> f64 {
    10.0 * (difference / energy).log10()
}

/// What the strength depends on.
fn plan(host: &SlotSums, parts: Vec<HostPart>) -> Result<Host> {
    let weights: i64 = host.count.iter().sum();
    if weights < Rung::LEAST_WEIGHTS as i64 {
        return Err(Error::NothingToMark);
    }
    let slots = host.count.len();
    let profile: f64 = (0..slots).map(|slot| host.profile(slot)).sum();
    Ok(Host {
        weights: weights as u64,
        slots,
        mean_profile: profile / weights as f64,
        mean_energy: host.energy() / weights as f64,
        total_energy: parts.iter().map(|part| part.energy).sum(),
        parts: parts.into_iter().filter(|part| part.marked).collect(),
    })
}

/// Where every slot should be.
struct Targets {
    alpha: f64,
    codeword: Vec<bool>,
    host: SlotSums,
}

impl Targets {
    /// b_j α n_j.
    fn target(&self, slot: usize) -> f64 {
        self.sign(slot) * self.alpha * self.host.count[slot] as f64
    }

    fn sign(&self, slot: usize) -> f64 {
        if self.codeword[slot] { -1.0 } else { 1.0 }
    }

    /// Raises the amplitudes by what is still missing.
    fn refine(&self, sums: &SlotSums, amplitudes: &mut [f32]) {
        for (slot, amplitude) in amplitudes.iter_mut().enumerate() {
            let missing = self.target(slot) - sums.correlation(slot);
            let profile = self.host.profile(slot);
            if missing * self.sign(slot) > 0.0 && profile > 0.0 {
                *amplitude += (missing / profile) as f32;
            }
        }
    }

    /// Whether b_j T_j is above a share of its target.
    fn reaches(&self, sums: &SlotSums, slot: usize, share: f64) -> bool {
        let leaning = sums.correlation(slot) * self.sign(slot);
        leaning > 0.0 && leaning >= share * self.alpha * self.host.count[slot] as f64
    }
}

/// What the writing pass measured.
struct Written {
    sums: SlotSums,
    /// Over the marked matrices.
    marked: Squares,
    /// Σ w² over the others.
    other_energy: f64,
}

struct Embedder<'a> {
    model: &'a Checkpoint,
    key: &'a MarkKey,
    rung: Rung,
    /// The gauge band's change, which the rest is marked on top of.
    overlay: Overlay,
    matrices: Vec<Matrix>,
    compute: &'a Compute,
    progress: &'a (dyn Fn(u64) + Sync),
    done: u64,
}

impl Embedder<'_> {
    fn carrier(&self, matrix: &Matrix) -> TensorCarrier {
        TensorCarrier::new(self.key, matrix.role(), self.rung.slots_per_group())
    }

    fn overlaid(&self, matrix: &Matrix, block: Block) -> Result<Block> {
        let tensor = self.overlay.apply(matrix.role(), block.first_row, block.tensor)?;
        Ok(Block { tensor, ..block })
    }

    fn advance(&mut self, weights: u64) {
        self.done += weights;
        (self.progress)(self.done);
    }

    /// Measures the unmarked host: slot sums over the marked matrices, Σ w² and steps of every matrix.
    fn survey(&mut self) -> Result<(SlotSums, Vec<HostPart>)> {
        let mut sums = SlotSums::new(self.rung.slots());
        let mut parts = Vec::with_capacity(self.matrices.len());
        for matrix in self.matrices.clone() {
            let carrier = matrix.can_be_struck().then(|| self.carrier(&matrix));
            let mut part =
                HostPart { marked: matrix.can_be_struck(), grid: matrix.stored.grid, energy: 0.0, steps: 0.0 };
            let content = if matrix.can_be_struck() { Content::WeightsAndCodes } else { Content::Weights };
            let measure = |block: Block| -> Result<(Option<SlotSums>, Vec<f64>, f64)> {
                let block = self.overlaid(&matrix, block)?;
                let sums = carrier.as_ref().map(|carrier| ops::survey(&block.tensor, carrier, block.first_row));
                let squares = ops::row_squares(&block.tensor, &block.tensor)?;
                Ok((sums.transpose()?, squares, block.codes.as_ref().map_or(0.0, steps)))
            };
            let mut squares = Squares::default();
            map_blocks(self.model, &matrix, self.compute, content, measure, |(found, rows, steps)| {
                found.iter().for_each(|found| sums.add(found));
                squares.add_rows(&rows);
                part.steps += steps;
                Ok(())
            })?;
            part.energy = squares.energy;
            self.advance(matrix.weights());
            parts.push(part);
        }
        Ok((sums, parts))
    }

    /// Measures what the amplitudes so far come to after the cast.
    fn trial(&mut self, amplitudes: &[f32]) -> Result<SlotSums> {
        let mut sums = SlotSums::new(self.rung.slots());
        for matrix in self.matrices.clone().iter().filter(|matrix| matrix.can_be_struck()) {
            let carrier = self.carrier(matrix);
            let trial = |block: Block| {
                let block = self.overlaid(matrix, block)?;
                let first_row = block.first_row;
                match block.codes {
                    None => ops::trial(&block.tensor, &carrier, first_row, amplitudes),
                    Some(_) => ops::project(&mark(block, &carrier, amplitudes)?.tensor, &carrier, first_row),
                }
            };
            map_blocks(self.model, matrix, self.compute, Content::WeightsAndCodes, trial, |found| {
                sums.add(&found);
                Ok(())
            })?;
            self.advance(matrix.weights());
        }
        Ok(sums)
    }

    /// Marks, writes every tensor, and measures what was written.
    fn write(
        &mut self,
        amplitudes: &[f32],
        write: &mut dyn FnMut(usize, &[u8]) -> std::io::Result<()>,
    ) -> Result<Written> {
        let sums = SlotSums::new(self.rung.slots());
        let mut written = Written { sums, marked: Squares::default(), other_energy: 0.0 };
        for (index, tensor) in self.model.tensors().iter().enumerate() {
            let mut edit = self.model.edit(index)?;
            for matrix in self.matrices.clone().iter().filter(|matrix| matrix.stored.tensor == index) {
                if matrix.can_be_struck() {
                    self.write_matrix(matrix, amplitudes, &mut edit, &mut written)?;
                } else {
                    let mut squares = Squares::default();
                    for_each_block(self.model, matrix, self.compute, Content::Weights, |block| {
                        squares.add_rows(&ops::row_squares(&block.tensor, &block.tensor)?);
                        Ok(())
                    })?;
                    written.other_energy += squares.energy;
                }
                self.advance(matrix.weights());
            }
            write(index, edit.bytes()).map_err(|source| Error::Write { name: tensor.info.name.clone(), source })?;
        }
        Ok(written)
    }

    fn write_matrix(&self, matrix: &Matrix, amplitudes: &[f32], edit: &mut Edit, written: &mut Written) -> Result<()> {
        let carrier = self.carrier(matrix);
        let work = |host: Block| {
            let unmarked = host.tensor.clone();
            let block = mark(self.overlaid(matrix, host)?, &carrier, amplitudes)?;
            let sums = ops::project(&block.tensor, &carrier, block.first_row)?;
            let squares = ops::row_squares(&block.tensor, &unmarked)?;
            Ok((block, sums, squares))
        };
        map_blocks(self.model, matrix, self.compute, Content::WeightsAndCodes, work, |(block, sums, squares)| {
            written.sums.add(&sums);
            written.marked.add_rows(&squares);
            put(edit, matrix, &block)
        })
    }
}

/// The block with the mark, weights and codes.
fn mark(block: Block, carrier: &TensorCarrier, amplitudes: &[f32]) -> Result<Block> {
    let Block { first_row, tensor, codes } = block;
    let Some(mut codes) = codes else {
        return Ok(Block { first_row, tensor: ops::mark(&tensor, carrier, first_row, amplitudes)?, codes: None });
    };
    codes::mark(&mut codes, tensor.dim(1)?, carrier, first_row, amplitudes);
    let tensor = Tensor::from_slice(&codes.value, tensor.shape(), tensor.device())?;
    Ok(Block { first_row, tensor, codes: Some(codes) })
}

/// Puts a marked block into the stored bytes of its tensor.
fn put(edit: &mut Edit, matrix: &Matrix, block: &Block) -> Result<()> {
    let rows = block.first_row..block.first_row + block.tensor.dim(0)? as u64;
    match &block.codes {
        Some(codes) => edit.put_codes(&matrix.stored, rows, &codes.code)?,
        None => {
            let mut bytes = Vec::new();
            ops::append_bytes(&block.tensor, &mut bytes)?;
            edit.put_raw(&matrix.stored, rows, &bytes)?;
        }
    }
    Ok(())
}

/// Σ |w| u over the weights of a block with steps of u.
fn steps(codes: &CodeBlock) -> f64 {
    codes.value.iter().zip(&codes.up).map(|(value, step)| f64::from((value * step).abs())).sum()
}
