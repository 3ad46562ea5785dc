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

use countermark_formats::{Checkpoint, Dtype};
use serde::Serialize;

use crate::carrier::TensorCarrier;
use crate::commitment::{Commitment, Rung};
use crate::key::MarkKey;
use crate::ops::{self, SlotSums, Squares};
use crate::strength::{Host, Strength};
use crate::tensors::{Block, Matrix, for_each_block, map_blocks, markable_weights, matrices};
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
    /// 128 bits of the caller's own; otherwise the payload is drawn from the record's transcript, which gives better
    /// odds, because the detector then knows it.
    pub payload: Option<[u8; 16]>,
    /// Root of the unmarked model.
    pub base_digest: [u8; 32],
    /// Where to work; the result is the same.
    pub compute: Compute,
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
    /// Number of marked tensors.
    pub tensors: usize,
    /// ‖δ‖ / ‖W‖ over all matrix-shaped float tensors after the cast, in decibels.
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

/// Bytes that [`embed`] works through: the last value that its progress function sees.
pub fn embed_work(model: &Checkpoint) -> u64 {
    let matrices = matrices(model);
    let marked: u64 = matrices.iter().filter(|matrix| matrix.marked).map(Matrix::bytes).sum();
    let all: u64 = matrices.iter().map(Matrix::bytes).sum();
    let written: u64 = model.tensors().iter().map(|tensor| tensor.info.bytes()).sum();
    all + TRIALS as u64 * marked + written
}

/// Embeds a mark.
///
/// `write` receives every tensor of the model once, in the order of [`Checkpoint::tensors`]: its index and all its
/// bytes, marked or unchanged. Nothing is written before the amplitudes stand. `progress` is told the bytes worked
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
    if rung == Rung::Presence && options.payload.is_some() {
        return Err(Error::NoRoomForPayload { weights, needed: Rung::PAYLOAD_WEIGHTS });
    }
    let mut embedder =
        Embedder { model, key, rung, matrices: matrices(model), compute: &options.compute, progress, done: 0 };

    let (host, energies) = embedder.survey()?;
    let (targets, commitment, mut amplitudes) = aim(key, rung, options, host, energies)?;
    for _ in 0..TRIALS {
        let sums = embedder.trial(&amplitudes)?;
        targets.refine(&sums, &mut amplitudes);
    }
    let written = embedder.write(&amplitudes, write)?;

    let mut weights_by_dtype = BTreeMap::new();
    for matrix in embedder.matrices.iter().filter(|matrix| matrix.marked) {
        *weights_by_dtype.entry(matrix.dtype.to_string()).or_default() += matrix.weights();
    }
    let reached = |share: f64| (0..rung.slots()).filter(|&slot| targets.reaches(&written.sums, slot, share)).count();
    Ok(EmbedReport {
        rung,
        weights,
        weights_by_dtype,
        tensors: embedder.matrices.iter().filter(|matrix| matrix.marked).count(),
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
    options: &EmbedOptions,
    host: SlotSums,
    energies: Vec<(Matrix, f64)>,
) -> Result<(Targets, Commitment, Vec<f32>)> {
    let plan = plan(&host, energies)?;
    let mut alpha_nano = plan.alpha_nano(options.strength)?;
    let mut targets = Targets { alpha: 0.0, codeword: Vec::new(), host };
    let mut attempts = ATTEMPTS;
    loop {
        let (commitment, codeword) = Commitment::new(key, rung, alpha_nano, options.base_digest, options.payload);
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
fn plan(host: &SlotSums, energies: Vec<(Matrix, f64)>) -> Result<Host> {
    let weights: i64 = host.count.iter().sum();
    if weights < Rung::LEAST_WEIGHTS as i64 {
        return Err(Error::NothingToMark);
    }
    let slots = host.count.len();
    let profile: f64 = (0..slots).map(|slot| host.profile(slot)).sum();
    let mut by_dtype: BTreeMap<Dtype, f64> = BTreeMap::new();
    let mut total_energy = 0.0;
    for (matrix, energy) in energies {
        total_energy += energy;
        if matrix.marked {
            *by_dtype.entry(matrix.dtype).or_default() += energy;
        }
    }
    Ok(Host {
        weights: weights as u64,
        slots,
        mean_profile: profile / weights as f64,
        mean_energy: host.energy() / weights as f64,
        energies: by_dtype.into_iter().collect(),
        total_energy,
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
    /// Over the marked tensors.
    marked: Squares,
    /// Σ w² over the others.
    other_energy: f64,
}

struct Embedder<'a> {
    model: &'a Checkpoint,
    key: &'a MarkKey,
    rung: Rung,
    matrices: Vec<Matrix>,
    compute: &'a Compute,
    progress: &'a (dyn Fn(u64) + Sync),
    done: u64,
}

impl Embedder<'_> {
    fn carrier(&self, matrix: &Matrix) -> TensorCarrier {
        TensorCarrier::new(self.key, &self.model.tensors()[matrix.index].info.name, self.rung.slots_per_group())
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done);
    }

    /// Measures the unmarked host: slot sums over the marked tensors, Σ w² of every matrix.
    fn survey(&mut self) -> Result<(SlotSums, Vec<(Matrix, f64)>)> {
        let mut sums = SlotSums::new(self.rung.slots());
        let mut energies = Vec::with_capacity(self.matrices.len());
        for matrix in self.matrices.clone() {
            let carrier = matrix.marked.then(|| self.carrier(&matrix));
            let measure = |block: Block| -> Result<(Option<SlotSums>, Vec<f64>)> {
                let sums = carrier.as_ref().map(|carrier| ops::survey(&block.tensor, carrier, block.first_row));
                Ok((sums.transpose()?, ops::row_squares(&block.tensor, &block.tensor)?))
            };
            let mut squares = Squares::default();
            map_blocks(self.model, &matrix, self.compute, measure, |(found, rows)| {
                found.iter().for_each(|found| sums.add(found));
                squares.add_rows(&rows);
                Ok(())
            })?;
            self.advance(matrix.bytes());
            energies.push((matrix, squares.energy));
        }
        Ok((sums, energies))
    }

    /// Measures what the amplitudes so far come to after the cast.
    fn trial(&mut self, amplitudes: &[f32]) -> Result<SlotSums> {
        let mut sums = SlotSums::new(self.rung.slots());
        for matrix in self.matrices.clone().iter().filter(|matrix| matrix.marked) {
            let carrier = self.carrier(matrix);
            let trial = |block: Block| ops::trial(&block.tensor, &carrier, block.first_row, amplitudes);
            map_blocks(self.model, matrix, self.compute, trial, |found| {
                sums.add(&found);
                Ok(())
            })?;
            self.advance(matrix.bytes());
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
        let matrices: BTreeMap<usize, Matrix> =
            self.matrices.iter().map(|matrix| (matrix.index, matrix.clone())).collect();
        let mut bytes = Vec::new();
        for (index, tensor) in self.model.tensors().iter().enumerate() {
            match matrices.get(&index) {
                Some(matrix) if matrix.marked => {
                    let carrier = self.carrier(matrix);
                    bytes.clear();
                    let mark = |block: Block| {
                        let marked = ops::mark(&block.tensor, &carrier, block.first_row, amplitudes)?;
                        let sums = ops::project(&marked, &carrier, block.first_row)?;
                        let squares = ops::row_squares(&marked, &block.tensor)?;
                        Ok((marked, sums, squares))
                    };
                    map_blocks(self.model, matrix, self.compute, mark, |(marked, sums, squares)| {
                        written.sums.add(&sums);
                        written.marked.add_rows(&squares);
                        ops::append_bytes(&marked, &mut bytes)
                    })?;
                }
                Some(matrix) => {
                    let mut squares = Squares::default();
                    for_each_block(self.model, matrix, self.compute, |block| {
                        squares.add_rows(&ops::row_squares(&block.tensor, &block.tensor)?);
                        Ok(())
                    })?;
                    written.other_energy += squares.energy;
                    self.model.read(index, &mut bytes)?;
                }
                None => self.model.read(index, &mut bytes)?,
            }
            write(index, &bytes).map_err(|source| Error::Write { name: tensor.info.name.clone(), source })?;
            self.advance(tensor.info.bytes());
        }
        Ok(written)
    }
}
