//! Detection: one pass over the weights, and exact odds for what it finds.
//!
//! **Blind**, on the suspect's weights alone. **Semi-blind** when the unmarked base is at hand: the host is removed,
//! v_i = (w_i − base_i) · |base_i|, which matches the mark's own profile; weights that were pruned to zero are left
//! out, each row is scaled by its own RMS, and each matrix is weighted by the inverse of its drift from the base, so
//! that what was changed least counts most. None of this depends on the key, so the odds stay exact: given v, the
//! chips are still fair coins. They are exact only for a base that was fixed without the key, so a base counts only
//! for records that committed to its digest.
//!
//! **Gauge**, for a transformer whose record has that [band](crate::gauge): looked at only when the others found
//! nothing, since it takes longer.
//!
//! The best statistic of the best band decides, and the odds pay for all of them (Bonferroni's rule, which asks for no
//! independence), looked at or not, and for every record tried.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use countermark_formats::Checkpoint;
use serde::Serialize;

use crate::carrier::TensorCarrier;
use crate::commitment::{Commitment, Opened, Rung, hex_bytes, optional_hex};
use crate::embed::decibel;
use crate::gauge::{self, GaugePlan};
use crate::key::{MarkKey, MarkSecret};
use crate::odds::{self, BandReport, Correlations, STATISTICS};
use crate::ops::{self, SlotSums, Squares};
use crate::statistics::THRESHOLD_LOG10_P;
use crate::tensors::{Block, Buffers, Content, Matrix, Reader, by_role, map_blocks, matrices};
use crate::{Compute, Error, Result};

/// Records whose gauge bands are looked at in one pass, which bounds memory.
const GAUGE_KEYS: usize = 8;

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
    /// What [`DetectReport::log10_p`] has to reach for [`Verdict::Detected`].
    pub threshold_log10_p: f64,
    /// Statistics, bands and records tried.
    pub hypotheses: u64,
    /// The best record's mark.
    #[serde(with = "hex_bytes")]
    pub mark_id: [u8; 16],
    /// The best record's payload, when it was decoded from the weights.
    #[serde(with = "optional_hex")]
    pub payload: Option<Vec<u8>>,
    /// Whether it was; `None` on the presence rung.
    pub payload_ok: Option<bool>,
    /// Weights looked at.
    pub weights: u64,
    /// NaN and infinite weights among them.
    pub non_finite: u64,
    /// ‖model − base‖ / ‖base‖ over all matrices that both have, in decibels, when a base was given; null in JSON when
    /// nothing differs.
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
    /// `blind`; `semi-blind` when the committed base was given; `gauge` when it was looked at. The best odds first.
    pub bands: Vec<BandReport>,
    /// The committed payload, when a band decoded it.
    #[serde(with = "optional_hex")]
    pub payload: Option<Vec<u8>>,
    /// Whether one did; `None` on the presence rung.
    pub payload_ok: Option<bool>,
}

impl RecordReport {
    /// The band of that name.
    pub fn band(&self, name: &str) -> Option<&BandReport> {
        self.bands.iter().find(|band| band.name == name)
    }
}

/// The unmarked model that a mark was embedded into.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// Its weights.
    pub model: &'a Checkpoint,
    /// Its root, as a record commits to it. `None` leaves it to the caller to vouch for the base.
    pub digest: Option<[u8; 32]>,
}

/// Weights that [`search`] works through: the last value that its progress function sees.
pub fn detect_work(model: &Checkpoint, base: Option<&Checkpoint>) -> u64 {
    matrices(model).iter().filter(|matrix| matrix.marked || base.is_some()).map(Matrix::weights).sum()
}

/// [`search`] for the owner, who has the secret and vouches that `base` is the model that was marked.
///
/// # Errors
/// Those of [`search`] and of [`Commitment::open`].
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
    let opened = commitments.iter().map(|commitment| commitment.open(secret)).collect::<Result<Vec<_>>>()?;
    search(compute, model, &opened, base.map(|model| Base { model, digest: None }), progress)
}

/// Looks for the marks of these records, in one pass over the model.
///
/// With a base, the unmarked model, the report also says how far the weights are from it, and looks at the difference
/// for the records that committed to it. `progress` is told the weights worked through so far, out of
/// [`detect_work`]. The result does not depend on the number of threads.
///
/// # Errors
/// No records, weights that cannot be read, or a base that has nothing in common with the model. A model too small is
/// no error but [`Verdict::TooSmall`].
pub fn search(
    compute: &Compute,
    model: &Checkpoint,
    opened: &[Opened],
    base: Option<Base<'_>>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<DetectReport> {
    if opened.is_empty() {
        return Err(Error::NoRecords);
    }
    let matrices = matrices(model);
    let scan = Scan::over(compute, model, &matrices, opened, base, progress)?;

    let weights = matrices.iter().filter(|matrix| matrix.marked).map(Matrix::weights).sum();
    let tried = |(opened, mark): (&Opened, &Measured)| {
        STATISTICS * (1 + u64::from(mark.semi_blind.is_some())) + u64::from(opened.gauge.is_some())
    };
    let hypotheses = opened.iter().zip(&scan.marks).map(tried).sum();
    let mut bands: Vec<Vec<BandReport>> =
        opened.iter().zip(&scan.marks).map(|(opened, mark)| mark.judge(opened)).collect();
    let is_found = |band: &BandReport| band.paid(hypotheses) <= THRESHOLD_LOG10_P;
    if !bands.iter().flatten().any(is_found) {
        look_at_gauge(model, opened, &mut bands)?;
    }
    let records: Vec<RecordReport> =
        opened.iter().zip(bands).map(|(opened, bands)| conclude(opened, bands, hypotheses)).collect();
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
        mark_id: best.mark_id,
        payload: best.payload.clone(),
        payload_ok: best.payload_ok,
        weights,
        non_finite: scan.non_finite as u64,
        distortion_db: base.map(|_| decibel(scan.distance.difference, scan.distance.energy)),
        records,
    })
}

/// What one pass measures.
struct Scan {
    marks: Vec<Measured>,
    non_finite: i64,
    distance: Squares,
}

/// What it measures for one record.
struct Measured {
    blind: Correlations,
    semi_blind: Option<Correlations>,
}

impl Scan {
    fn over(
        compute: &Compute,
        model: &Checkpoint,
        matrices: &[Matrix],
        opened: &[Opened],
        base: Option<Base<'_>>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Scan> {
        let committed = |opened: &Opened| {
            base.is_some_and(|base| base.digest.is_none_or(|digest| digest == opened.base_digest))
        };
        let measured = |opened: &Opened| Measured {
            blind: Correlations::new(opened.rung.slots()),
            semi_blind: committed(opened).then(|| Correlations::new(opened.rung.slots())),
        };
        let marks = opened.iter().map(measured).collect();
        let mut scan = Scan { marks, non_finite: 0, distance: Squares::default() };
        let twins = base.map(|base| by_role(base.model)).unwrap_or_default();
        let mut done = 0;
        for matrix in matrices.iter().filter(|matrix| matrix.marked || base.is_some()) {
            if matrix.marked {
                scan.blind(compute, model, matrix, opened)?;
            }
            if let Some(base) = base {
                scan.semi_blind(compute, (model, matrix), base.model, &twins, opened)?;
            }
            done += matrix.weights();
            progress(done);
        }
        if base.is_some() && scan.distance.energy == 0.0 {
            return Err(Error::BaseDiffers);
        }
        Ok(scan)
    }

    fn blind(&mut self, compute: &Compute, model: &Checkpoint, matrix: &Matrix, opened: &[Opened]) -> Result<()> {
        let carriers = carriers(matrix, opened);
        let project = |block: Block| -> Result<Vec<SlotSums>> {
            carriers.iter().map(|carrier| ops::project(&block.tensor, carrier, block.first_row)).collect()
        };
        map_blocks(model, matrix, compute, Content::Weights, project, |found| {
            self.non_finite += found.first().map_or(0, |sums| sums.non_finite);
            self.marks.iter_mut().zip(&found).for_each(|(mark, sums)| mark.blind.add(sums, 1.0));
            Ok(())
        })
    }

    /// Compares a matrix with the base's of the same role and width, over the rows that both have.
    fn semi_blind(
        &mut self,
        compute: &Compute,
        (model, matrix): (&Checkpoint, &Matrix),
        base: &Checkpoint,
        twins: &BTreeMap<String, Matrix>,
        opened: &[Opened],
    ) -> Result<()> {
        let twin = twins.get(matrix.role()).filter(|twin| twin.stored.columns == matrix.stored.columns);
        let Some(twin) = twin else { return Ok(()) };
        let carriers = carriers(matrix, opened);
        let reader = Reader::new(base, twin)?;
        let mut distance = Squares::default();
        let mut sums: Vec<_> = opened.iter().map(|opened| SlotSums::new(opened.rung.slots())).collect();
        let looked_at: Vec<bool> = self.marks.iter().map(|mark| matrix.marked && mark.semi_blind.is_some()).collect();
        let compare = |block: Block| -> Result<Option<(Vec<f64>, Vec<SlotSums>)>> {
            let rows = (block.tensor.dim(0)? as u64).min(twin.stored.rows.saturating_sub(block.first_row));
            if rows == 0 {
                return Ok(None);
            }
            let suspect = block.tensor.narrow(0, 0, rows as usize)?.to_dtype(DType::F32)?;
            let host = reader.values(block.first_row, rows, &mut Buffers::default())?.to_device(suspect.device())?;
            let residual = residual(&suspect, &host)?;
            let project = |(carrier, &looked_at): (&TensorCarrier, &bool)| match looked_at {
                true => ops::project(&residual, carrier, block.first_row),
                false => Ok(SlotSums::new(0)),
            };
            let sums = carriers.iter().zip(&looked_at).map(project).collect::<Result<_>>()?;
            Ok(Some((ops::row_squares(&suspect, &host)?, sums)))
        };
        map_blocks(model, matrix, compute, Content::Weights, compare, |found| {
            if let Some((rows, found)) = found {
                distance.add_rows(&rows);
                sums.iter_mut().zip(&found).for_each(|(sums, found)| sums.add(found));
            }
            Ok(())
        })?;
        self.distance.difference += distance.difference;
        self.distance.energy += distance.energy;
        let drift = (distance.difference / distance.energy).sqrt();
        if drift > 0.0 && drift.is_finite() {
            for (mark, sums) in self.marks.iter_mut().zip(&sums) {
                if let Some(correlations) = &mut mark.semi_blind {
                    correlations.add(sums, 1.0 / drift);
                }
            }
        }
        Ok(())
    }
}

fn carriers(matrix: &Matrix, opened: &[Opened]) -> Vec<TensorCarrier> {
    let carrier = |opened: &Opened| TensorCarrier::new(&opened.key, matrix.role(), opened.rung.slots_per_group());
    opened.iter().map(carrier).collect()
}

/// (w − base) · |base|, and 0 where w was pruned.
fn residual(suspect: &Tensor, base: &Tensor) -> Result<Tensor> {
    let kept = suspect.ne(&suspect.zeros_like()?)?.to_dtype(DType::F32)?;
    Ok((((suspect - base)? * base.abs()?)? * kept)?)
}

impl Measured {
    fn judge(&self, opened: &Opened) -> Vec<BandReport> {
        let mut bands = vec![odds::judge("blind", opened, &self.blind)];
        bands.extend(self.semi_blind.as_ref().map(|correlations| odds::judge("semi-blind", opened, correlations)));
        bands
    }
}

/// Adds the gauge band of every record that has one; records with the same plan share the work.
fn look_at_gauge(model: &Checkpoint, opened: &[Opened], bands: &mut [Vec<BandReport>]) -> Result<()> {
    let mut plans: Vec<GaugePlan> = Vec::new();
    for plan in opened.iter().filter_map(|opened| opened.gauge) {
        if !plans.contains(&plan) {
            plans.push(plan);
        }
    }
    for plan in plans {
        let of_plan = |number: &usize| opened[*number].gauge == Some(plan);
        let numbers: Vec<usize> = (0..opened.len()).filter(of_plan).collect();
        for some in numbers.chunks(GAUGE_KEYS) {
            let keys: Vec<MarkKey> = some.iter().map(|&number| opened[number].key.clone()).collect();
            for (&number, scores) in some.iter().zip(gauge::scores_of(model, &keys, &plan)?) {
                bands[number].push(odds::judge_gauge(&opened[number], &scores));
            }
        }
    }
    Ok(())
}

/// Turns what the bands say about a record into odds.
fn conclude(opened: &Opened, mut bands: Vec<BandReport>, hypotheses: u64) -> RecordReport {
    bands.sort_by(|a, b| a.log10_p().total_cmp(&b.log10_p()));
    let payload = bands.iter().find_map(|band| band.payload.clone());
    RecordReport {
        mark_id: opened.mark_id,
        rung: opened.rung,
        log10_p: bands[0].paid(hypotheses),
        payload_ok: opened.rung.payload_code().map(|_| payload.is_some()),
        payload,
        bands,
    }
}
