//! From slot correlations to odds.
//!
//! Every record gives a codeword, fixed before the weights were known. Two statistics are named in advance: the **sign
//! test** counts the slots that lean to their committed side, and the **sign-flip test** weighs them by |T_j|, exactly,
//! with integer weights. Both see only the slots of the groups that are looked at.

use serde::Serialize;

use crate::commitment::{Opened, codeword_hash};
use crate::gauge::gauge_log10_p;
use crate::hex::optional_hex;
use crate::key::GROUPS;
use crate::ops::SlotSums;
use crate::statistics;

/// Statistics looked at in each band, each of which the odds pay for.
pub(crate) const STATISTICS: u64 = 2;
/// Largest integer weight of the sign-flip test.
const FLIP_LEVELS: f64 = 31.0;

/// T_j of every slot, and Σ V_j.
pub(crate) struct Correlations {
    sums: Vec<f64>,
    energy: f64,
}

impl Correlations {
    pub fn new(slots: usize) -> Correlations {
        Correlations { sums: vec![0.0; slots], energy: 0.0 }
    }

    /// Adds slot sums with a weight that the chips do not enter.
    pub fn add(&mut self, other: &SlotSums, weight: f64) {
        for (slot, sum) in self.sums.iter_mut().enumerate() {
            *sum += weight * other.correlation(slot);
        }
        self.energy += weight * weight * other.energy();
    }

    /// Σ b_j T_j / √Σ V_j for the b_j T_j of the slots looked at; every slot has the same share of the energy, but for
    /// chance.
    fn z(&self, leanings: &[f64]) -> f64 {
        let energy = self.energy * leanings.len() as f64 / self.sums.len() as f64;
        if energy > 0.0 { leanings.iter().sum::<f64>() / energy.sqrt() } else { 0.0 }
    }
}

/// What one band says about one record.
#[derive(Clone, Debug, Serialize)]
pub struct BandReport {
    /// `blind`, `semi-blind` for the difference to the base, `aligned` for the same with hidden units in the base's
    /// order, or `gauge` for what re-parameterisations leave alone.
    pub name: &'static str,
    /// Each statistic before anything is paid.
    pub statistics: Vec<Statistic>,
    /// Slots looked at.
    pub slots: u64,
    /// Slots that lean to the committed side; one that leans nowhere does not count.
    pub slots_agreeing: u64,
    /// Σ b_j T_j / √Σ V_j: about standard normal without a mark.
    pub z: f64,
    /// The committed payload, when it was decoded from the weights.
    #[serde(with = "optional_hex")]
    pub payload: Option<Vec<u8>>,
    /// Whether it was; `None` on the presence rung.
    pub payload_ok: Option<bool>,
}

impl BandReport {
    /// The best statistic's bound, before anything is paid.
    pub(crate) fn log10_p(&self) -> f64 {
        self.statistics.iter().map(|statistic| statistic.log10_p).fold(0.0, f64::min)
    }

    /// The same after paying for the hypotheses tried.
    pub(crate) fn paid(&self, hypotheses: u64) -> f64 {
        statistics::pay(self.log10_p(), (hypotheses as f64).log10())
    }
}

/// A statistic and its bound, before anything is paid.
#[derive(Clone, Debug, Serialize)]
pub struct Statistic {
    /// `sign-test`, `sign-flip`, or in the gauge band `rademacher`, the bound of Bentkus and Dzindzalieta.
    pub name: &'static str,
    /// log10 of the bound.
    pub log10_p: f64,
}

/// Compares what a band measured with the record.
pub(crate) fn judge(name: &'static str, opened: &Opened, correlations: &Correlations) -> BandReport {
    let mut soft = vec![0.0; opened.rung.slots()];
    opened.slots().for_each(|slot| soft[slot] = correlations.sums[slot]);
    let is_committed = |codeword: &[bool]| codeword_hash(codeword) == opened.codeword_hash;
    // Zeros, as of a model that is its base, would be decoded to some payload: the committed one, if that is plain.
    let says_something = soft.iter().any(|&leaning| leaning != 0.0);
    let found = opened.rung.payload_code().filter(|_| says_something).map(|code| code.decode(&soft, is_committed));
    let found = found.filter(|decoded| decoded.committed);
    let payload_ok = opened.rung.payload_code().map(|_| found.is_some());
    // A payload of the caller's own is known only once it was decoded. Its codeword was fixed by its hash all along,
    // so nothing is to be paid for the search. If it was not found, every slot counts as a miss.
    let codeword = opened.codeword.as_deref().or(found.as_ref().map(|found| &found.codeword[..]));
    let leaning = |slot: usize| match codeword {
        Some(codeword) if codeword[slot] => -soft[slot],
        Some(_) => soft[slot],
        None => -soft[slot].abs(),
    };
    let leanings: Vec<f64> = opened.slots().map(leaning).collect();
    let slots_agreeing = leanings.iter().filter(|&&leaning| leaning > 0.0).count() as u64;
    BandReport {
        name,
        statistics: vec![
            Statistic { name: "sign-test", log10_p: statistics::sign_test(slots_agreeing, leanings.len() as u64) },
            Statistic { name: "sign-flip", log10_p: sign_flip(&leanings) },
        ],
        slots: leanings.len() as u64,
        slots_agreeing,
        z: correlations.z(&leanings),
        payload: found.map(|found| found.payload),
        payload_ok,
    }
}

/// Compares a gauge band's scores, in standard deviations, with the record: bit b belongs to group b mod 4.
pub(crate) fn judge_gauge(opened: &Opened, scores: &[f64]) -> BandReport {
    let leanings: Vec<f64> =
        scores.iter().enumerate().filter(|(bit, _)| opened.groups[bit % GROUPS]).map(|(_, &score)| score).collect();
    let codeword = vec![true; leanings.len()];
    BandReport {
        name: "gauge",
        statistics: vec![Statistic { name: "rademacher", log10_p: gauge_log10_p(&leanings, &codeword) }],
        slots: leanings.len() as u64,
        slots_agreeing: leanings.iter().filter(|&&score| score > 0.0).count() as u64,
        z: leanings.iter().sum::<f64>() / (leanings.len() as f64).sqrt().max(1.0),
        payload: None,
        payload_ok: None,
    }
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
