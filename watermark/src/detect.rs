//! Detection: one pass over the weights, and exact odds for what it finds.
//!
//! Every record gives a codeword, fixed before the weights were known. Two statistics are named in advance: the **sign
//! test** counts the slots that lean to their committed side, and the **sign-flip test** weighs them by |T_j|, exactly,
//! with integer weights. The better one decides, and the odds pay for both, for every record tried, and for
//! all 2¹²⁸ payloads when the payload was the caller's own and had to be decoded first.

use std::collections::BTreeMap;

use countermark_formats::Checkpoint;
use serde::Serialize;

use crate::carrier::TensorCarrier;
use crate::commitment::{Commitment, Opened, Rung, codeword_hash, hex_bytes, optional_hex_bytes};
use crate::embed::decibel;
use crate::key::MarkSecret;
use crate::ops::{self, SlotSums, Squares};
use crate::payload::{self, Decoded};
use crate::statistics::{self, THRESHOLD_LOG10_P};
use crate::tensors::{Block, Matrix, for_each_block, map_blocks, matrices};
use crate::{Compute, Error, Result};

/// Statistics looked at, each of which the odds pay for.
const STATISTICS: u64 = 2;
/// Largest integer weight of the sign-flip test.
const FLIP_LEVELS: f64 = 31.0;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The weights depend on the committed key, but for a chance of at most 2⁻¹²⁸.
    Detected,
    /// Nothing that chance could not explain. This proves nothing about where the weights come from.
    NotDetected,
    /// Too few weights to tell.
    TooSmall,
}

/// The outcome over all records tried.
#[derive(Clone, Debug, Serialize)]
pub struct DetectReport {
    /// The outcome.
    pub verdict: Verdict,
    /// log10 of a bound on the false-positive probability of the best record, all hypotheses paid for.
    pub log10_p: f64,
    /// The limit for [`Verdict::Detected`]: 2⁻¹²⁸.
    pub threshold_log10_p: f64,
    /// Records tried × statistics looked at.
    pub hypotheses: u64,
    /// log10 of the hypotheses that the best record paid for, a search for its payload included.
    pub log10_hypotheses: f64,
    /// Identifier of the best record.
    #[serde(with = "hex_bytes")]
    pub mark_id: [u8; 16],
    /// The best record's payload as decoded from the weights, when its check passes.
    #[serde(with = "optional_hex_bytes")]
    pub payload: Option<[u8; 16]>,
    /// Whether the payload decoded from the weights is the committed one; `None` on the presence rung.
    pub payload_ok: Option<bool>,
    /// Weights looked at.
    pub weights: u64,
    /// NaN and infinite weights among them.
    pub non_finite: u64,
    /// ‖model − base‖ / ‖base‖ over all matrix-shaped float tensors, in decibels, when a base was given; null in JSON
    /// when nothing differs.
    pub distortion_db: Option<f64>,
    /// Every record, in the order given.
    pub records: Vec<RecordReport>,
}

/// The outcome for one record.
#[derive(Clone, Debug, Serialize)]
pub struct RecordReport {
    /// Identifier in the record.
    #[serde(with = "hex_bytes")]
    pub mark_id: [u8; 16],
    /// What the mark can carry.
    pub rung: Rung,
    /// All hypotheses paid for.
    pub log10_p: f64,
    /// log10 of the hypotheses paid for.
    pub log10_hypotheses: f64,
    /// Each statistic before anything is paid.
    pub statistics: Vec<Statistic>,
    /// Slots.
    pub slots: u64,
    /// Slots that lean to the committed side; one that leans nowhere does not count.
    pub slots_agreeing: u64,
    /// Σ b_j T_j / √Σ V_j: about standard normal without a mark.
    pub z: f64,
    /// Payload decoded from the weights, when its check passes.
    #[serde(with = "optional_hex_bytes")]
    pub payload: Option<[u8; 16]>,
    /// Whether it is the committed one; `None` on the presence rung.
    pub payload_ok: Option<bool>,
    /// Whether the payload was the caller's own, so that all 2¹²⁸ are paid for.
    pub payload_searched: bool,
}

/// A statistic and its bound, before anything is paid.
#[derive(Clone, Debug, Serialize)]
pub struct Statistic {
    /// `sign-test` or `sign-flip`.
    pub name: &'static str,
    /// log10 of the bound.
    pub log10_p: f64,
}

/// Bytes that [`detect`] works through: the last value that its progress function sees.
pub fn detect_work(model: &Checkpoint, base: Option<&Checkpoint>) -> u64 {
    matrices(model).iter().filter(|matrix| matrix.marked || base.is_some()).map(Matrix::bytes).sum()
}

/// Looks for the marks of these records, in one pass over the model.
///
/// With `base`, the unmarked model, the report also says how far the weights are from it. `progress` is told the bytes
/// worked through so far, out of [`detect_work`]. The result does not depend on the number of threads.
///
/// # Errors
/// No records, a secret that does not open one of them, an unknown algorithm, weights that cannot be read, or a base
/// of other shapes. A model too small is no error but [`Verdict::TooSmall`].
pub fn detect(
    model: &Checkpoint,
    secret: &MarkSecret,
    commitments: &[Commitment],
    base: Option<&Checkpoint>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<DetectReport> {
    detect_on(&Compute::cpu(), model, secret, commitments, base, progress)
}

/// [`detect`] on a device, with the same result.
///
/// # Errors
/// As [`detect`], and a device that fails.
pub fn detect_on(
    compute: &Compute,
    model: &Checkpoint,
    secret: &MarkSecret,
    commitments: &[Commitment],
    base: Option<&Checkpoint>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<DetectReport> {
    if commitments.is_empty() {
        return Err(Error::NoRecords);
    }
    let opened = commitments.iter().map(|commitment| commitment.open(secret)).collect::<Result<Vec<_>>>()?;
    let matrices = matrices(model);
    let scan = scan(compute, model, &matrices, &opened, base, progress)?;

    let weights = matrices.iter().filter(|matrix| matrix.marked).map(Matrix::weights).sum();
    let hypotheses = STATISTICS * commitments.len() as u64;
    let records: Vec<RecordReport> = commitments
        .iter()
        .zip(&opened)
        .zip(&scan.sums)
        .map(|((commitment, opened), sums)| judge(commitment, opened, sums, hypotheses))
        .collect();
    let best = records.iter().min_by(|a, b| a.log10_p.total_cmp(&b.log10_p)).ok_or(Error::NoRecords)?;
    let verdict = match Rung::for_weights(weights) {
        None => Verdict::TooSmall,
        Some(_) if best.log10_p <= THRESHOLD_LOG10_P => Verdict::Detected,
        Some(_) => Verdict::NotDetected,
    };
    Ok(DetectReport {
        verdict,
        log10_p: best.log10_p,
        threshold_log10_p: THRESHOLD_LOG10_P,
        hypotheses,
        log10_hypotheses: best.log10_hypotheses,
        mark_id: best.mark_id,
        payload: best.payload,
        payload_ok: best.payload_ok,
        weights,
        non_finite: scan.sums[0].non_finite as u64,
        distortion_db: base.map(|_| decibel(scan.distance.difference, scan.distance.energy)),
        records,
    })
}

struct Scan {
    sums: Vec<SlotSums>,
    distance: Squares,
}

fn scan(
    compute: &Compute,
    model: &Checkpoint,
    matrices: &[Matrix],
    opened: &[Opened],
    base: Option<&Checkpoint>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Scan> {
    let sums = opened.iter().map(|opened| SlotSums::new(opened.rung.slots())).collect();
    let mut scan = Scan { sums, distance: Squares::default() };
    let base_matrices: BTreeMap<&str, Matrix> = base.map(named_matrices).unwrap_or_default();
    let mut done = 0;
    for matrix in matrices.iter().filter(|matrix| matrix.marked || base.is_some()) {
        let name = &model.tensors()[matrix.index].info.name;
        if matrix.marked {
            let carriers: Vec<TensorCarrier> = opened
                .iter()
                .map(|opened| TensorCarrier::new(&opened.key, name, opened.rung.slots_per_group()))
                .collect();
            let project = |block: Block| -> Result<Vec<SlotSums>> {
                carriers.iter().map(|carrier| ops::project(&block.tensor, carrier, block.first_row)).collect()
            };
            map_blocks(model, matrix, compute, project, |found| {
                scan.sums.iter_mut().zip(&found).for_each(|(sums, found)| sums.add(found));
                Ok(())
            })?;
        }
        if let Some(base) = base {
            let twin = base_matrices
                .get(name.as_str())
                .filter(|twin| (twin.rows, twin.columns, twin.dtype) == (matrix.rows, matrix.columns, matrix.dtype));
            let twin = twin.ok_or_else(|| Error::BaseDiffers { name: name.clone() })?;
            for_each_block(model, matrix, compute, |block| {
                let base = read_rows(base, twin, block.first_row, &block.tensor)?;
                scan.distance.add_rows(&ops::row_squares(&block.tensor, &base)?);
                Ok(())
            })?;
        }
        done += matrix.bytes();
        progress(done);
    }
    Ok(scan)
}

fn named_matrices(model: &Checkpoint) -> BTreeMap<&str, Matrix> {
    matrices(model).into_iter().map(|matrix| (model.tensors()[matrix.index].info.name.as_str(), matrix)).collect()
}

/// The rows of the base that lie beside a block of the model.
fn read_rows(
    base: &Checkpoint,
    twin: &Matrix,
    first_row: u64,
    like: &candle_core::Tensor,
) -> Result<candle_core::Tensor> {
    let row_bytes = twin.columns * twin.dtype.bits() / 8;
    let rows = like.dims()[0] as u64;
    let mut bytes = Vec::new();
    base.read_range(twin.index, first_row * row_bytes..(first_row + rows) * row_bytes, &mut bytes)?;
    Ok(candle_core::Tensor::from_raw_buffer(&bytes, like.dtype(), like.dims(), like.device())?)
}

/// Turns slot sums into odds.
fn judge(commitment: &Commitment, opened: &Opened, sums: &SlotSums, hypotheses: u64) -> RecordReport {
    let soft: Vec<f64> = (0..opened.rung.slots()).map(|slot| sums.correlation(slot)).collect();
    let decoded = (opened.rung == Rung::Payload).then(|| payload::decode(&soft));
    let payload_ok = decoded.as_ref().map(|decoded| is_committed(decoded, commitment));
    let payload_searched = opened.codeword.is_none();
    let codeword = opened.codeword.as_deref().or(decoded.as_ref().map(|decoded| &decoded.codeword[..]));
    let codeword = codeword.unwrap_or_default();

    let leanings: Vec<f64> = codeword.iter().zip(&soft).map(|(&bit, &y)| if bit { -y } else { y }).collect();
    let slots_agreeing = leanings.iter().filter(|&&leaning| leaning > 0.0).count() as u64;
    let statistics = vec![
        Statistic { name: "sign-test", log10_p: statistics::sign_test(slots_agreeing, leanings.len() as u64) },
        Statistic { name: "sign-flip", log10_p: sign_flip(&leanings) },
    ];
    let search = if payload_searched { -THRESHOLD_LOG10_P } else { 0.0 };
    let log10_hypotheses = (hypotheses as f64).log10() + search;
    let best = statistics.iter().map(|statistic| statistic.log10_p).fold(0.0, f64::min);
    RecordReport {
        mark_id: commitment.transcript.mark_id,
        rung: opened.rung,
        log10_p: statistics::pay(best, log10_hypotheses),
        log10_hypotheses,
        statistics,
        slots: leanings.len() as u64,
        slots_agreeing,
        z: total_z(codeword, sums),
        payload: decoded.as_ref().filter(|decoded| decoded.crc_ok).map(|decoded| decoded.payload),
        payload_ok,
        payload_searched,
    }
}

fn is_committed(decoded: &Decoded, commitment: &Commitment) -> bool {
    decoded.crc_ok && codeword_hash(&decoded.codeword) == commitment.codeword_hash
}

/// The sign-flip test with integer weights proportional to |T_j|, which signs do not enter.
fn sign_flip(leanings: &[f64]) -> f64 {
    let largest = leanings.iter().fold(0.0, |largest: f64, leaning| largest.max(leaning.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let weights: Vec<u32> =
        leanings.iter().map(|leaning| (leaning.abs() / largest * FLIP_LEVELS).round() as u32).collect();
    let score =
        weights.iter().zip(leanings).map(|(&q, &leaning)| if leaning > 0.0 { i64::from(q) } else { -i64::from(q) });
    let score = score.sum();
    statistics::sign_flip_exact(&weights, score).unwrap_or_else(|| {
        let weights: Vec<f64> = weights.iter().map(|&q| f64::from(q)).collect();
        statistics::sign_flip_chernoff(&weights, score as f64)
    })
}

fn total_z(codeword: &[bool], sums: &SlotSums) -> f64 {
    let leaning = |slot: usize| if codeword[slot] { -1.0 } else { 1.0 } * sums.correlation(slot);
    let total: f64 = (0..codeword.len()).map(leaning).sum();
    let energy = sums.energy();
    if energy > 0.0 { total / energy.sqrt() } else { 0.0 }
}
