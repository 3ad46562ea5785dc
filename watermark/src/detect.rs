//! Detection: one pass over the weights, and exact odds for what it finds.
//!
//! **Blind**, on the suspect's weights alone. **Semi-blind** when the unmarked base is at hand: on the
//! [difference](crate::difference) to it, and, when nothing was found so far, once more with hidden units put back into
//! the base's order (**aligned**). Neither the difference nor the order depends on the key, so the odds stay exact: the
//! chips are still fair coins. They are exact only for a base that was fixed without the key, so a base counts only
//! for records that committed to its digest.
//!
//! **Gauge**, for a transformer whose record has that [band](crate::gauge): looked at only when the others found
//! nothing, since it takes longer.
//!
//! The best statistic of the best band decides, and the odds pay for all of them (Bonferroni's rule, which asks for no
//! independence), looked at or not, and for every record tried.

use countermark_formats::Checkpoint;
use serde::Serialize;

use crate::carrier::TensorCarrier;
use crate::commitment::{Commitment, Opened, Rung};
use crate::difference::{self, Difference, Orders, difference};
use crate::embed::decibel;
use crate::gauge::{self, GaugePlan};
use crate::hex::{hex_bytes, optional_hex};
use crate::key::{GROUPS, MarkKey, MarkSecret};
use crate::odds::{self, BandReport, Correlations, STATISTICS};
use crate::ops::{self, SlotSums};
use crate::statistics::THRESHOLD_LOG10_P;
use crate::tensors::{Block, Content, Matrix, map_blocks, matrices};
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
    /// `blind`; `semi-blind` when the committed base was given; `aligned` and `gauge` when they were looked at. The best
    /// odds first.
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
    let matrices = matrices(model);
    let marked: u64 = matrices.iter().filter(|matrix| matrix.marked).map(Matrix::weights).sum();
    let all: u64 = matrices.iter().map(Matrix::weights).sum();
    marked + base.map_or(0, |_| all)
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

/// [`detect`] on a device, with the same result, but for what [`Compute`] says of the `aligned` band.
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
    let tried = |(opened, has_base): (&Opened, &bool)| {
        let looks = STATISTICS * if *has_base { 3 } else { 1 } + u64::from(opened.gauge.is_some());
        // Whoever disclosed a group could have chosen it after looking.
        looks * if opened.is_one_group() { GROUPS as u64 } else { 1 }
    };
    let hypotheses = opened.iter().zip(&scan.has_base).map(tried).sum();
    let mut bands: Vec<Vec<BandReport>> = scan.judge(opened);
    let is_found =
        |bands: &[Vec<BandReport>]| bands.iter().flatten().any(|band| band.paid(hypotheses) <= THRESHOLD_LOG10_P);
    if let Some(base) = base.filter(|_| scan.has_base.contains(&true) && !is_found(&bands)) {
        look_aligned(compute, (model, &matrices), base.model, opened, &scan.has_base, &mut bands)?;
    }
    if !is_found(&bands) {
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
        distortion_db: scan.difference.map(|found| decibel(found.distance.difference, found.distance.energy)),
        records,
    })
}

/// What one pass measures.
struct Scan {
    blind: Vec<Correlations>,
    difference: Option<Difference>,
    /// For each record whether the base given is the one it committed to.
    has_base: Vec<bool>,
    non_finite: i64,
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
        let is_committed =
            |opened: &Opened| base.is_some_and(|base| base.digest.is_none_or(|digest| digest == opened.base_digest));
        let has_base: Vec<bool> = opened.iter().map(is_committed).collect();
        let blind = opened.iter().map(|opened| Correlations::new(opened.rung.slots())).collect();
        let mut scan = Scan { blind, difference: None, has_base, non_finite: 0 };
        let mut done = 0;
        let mut advance = |weights| {
            done += weights;
            progress(done);
        };
        for matrix in matrices.iter().filter(|matrix| matrix.marked) {
            scan.add(compute, model, matrix, opened)?;
            advance(matrix.weights());
        }
        if let Some(base) = base {
            let records: Vec<(&Opened, bool)> = opened.iter().zip(scan.has_base.iter().copied()).collect();
            let suspect = (model, matrices);
            let found = difference(compute, suspect, base.model, &Orders::new(), &records, &mut advance)?;
            if found.distance.energy == 0.0 {
                return Err(Error::BaseDiffers);
            }
            scan.difference = Some(found);
        }
        Ok(scan)
    }

    fn add(&mut self, compute: &Compute, model: &Checkpoint, matrix: &Matrix, opened: &[Opened]) -> Result<()> {
        let carrier = |opened: &Opened| TensorCarrier::new(&opened.key, matrix.role(), opened.rung.slots_per_group());
        let carriers: Vec<TensorCarrier> = opened.iter().map(carrier).collect();
        let project = |block: Block| -> Result<Vec<SlotSums>> {
            carriers.iter().map(|carrier| ops::project(&block.tensor, carrier, block.first_row)).collect()
        };
        map_blocks(model, matrix, compute, Content::Weights, project, |found| {
            self.non_finite += found.first().map_or(0, |sums| sums.non_finite);
            self.blind.iter_mut().zip(&found).for_each(|(blind, sums)| blind.add(sums, 1.0));
            Ok(())
        })
    }

    fn judge(&self, opened: &[Opened]) -> Vec<Vec<BandReport>> {
        let mut bands: Vec<Vec<BandReport>> =
            opened.iter().zip(&self.blind).map(|(opened, blind)| vec![odds::judge("blind", opened, blind)]).collect();
        if let Some(difference) = &self.difference {
            add_bands("semi-blind", opened, &self.has_base, &difference.correlations, &mut bands);
        }
        bands
    }
}

/// Adds a band to the records that have a base.
fn add_bands(
    name: &'static str,
    opened: &[Opened],
    has_base: &[bool],
    correlations: &[Correlations],
    bands: &mut [Vec<BandReport>],
) {
    for number in (0..opened.len()).filter(|&number| has_base[number]) {
        bands[number].push(odds::judge(name, &opened[number], &correlations[number]));
    }
}

/// Adds the band of the difference with hidden units in the base's order, if they were in another.
fn look_aligned(
    compute: &Compute,
    suspect: (&Checkpoint, &[Matrix]),
    base: &Checkpoint,
    opened: &[Opened],
    has_base: &[bool],
    bands: &mut [Vec<BandReport>],
) -> Result<()> {
    let orders = difference::orders(base, suspect.0, compute)?;
    if !orders.is_empty() {
        let records: Vec<(&Opened, bool)> = opened.iter().zip(has_base.iter().copied()).collect();
        let found = difference(compute, suspect, base, &orders, &records, &mut |_| ())?;
        add_bands("aligned", opened, has_base, &found.correlations, bands);
    }
    Ok(())
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
