//! The stages of the test: which statistic fits a pair of models, under which alignments, and what each finds.
//!
//! What will be tried is fixed by the shapes of the two models alone, before any weight is looked at, and all of it is
//! paid for.

use candle_core::Tensor;

use super::bounds::{by_order, by_position, combined};
use super::matching::{agreements, best_matches, fixed_points, longest_increasing};
use super::report::{Agreement, Alignment, LayerPair, Statistic};
use super::rotation::rotation;
use super::source::Source;
use super::units::{Axis, Units, axes, features, rank_correlation};
use crate::Result;
use crate::statistics::{THRESHOLD_LOG10_P, pay};

/// Units of the parent that stand for a layer when every layer is compared with every other.
const SAMPLE: usize = 256;
/// Pairs of layers that are compared at most.
const MAX_PAIRS: usize = 4096;

/// What the shapes of two models allow.
pub(crate) struct Plan {
    /// Axes of the parent and of the child.
    pub axes: (Vec<Axis>, Vec<Axis>),
    /// The statistic that fits, or in words why none does.
    pub statistic: std::result::Result<Statistic, &'static str>,
    /// Alignments that are tried, in this order.
    pub alignments: Vec<Alignment>,
}

/// What one stage found.
pub(crate) struct Evidence {
    /// Before the hypotheses are paid for.
    pub log10_p: f64,
    pub matches: u64,
    pub units: u64,
    pub layers: u64,
    pub alignment: Alignment,
    pub layer_map: Vec<LayerPair>,
    /// Whether the units of a layer stand in an order of their norms in both models.
    pub sorted: bool,
}

impl Plan {
    pub fn new(parent: &Source<'_>, child: &Source<'_>) -> Plan {
        let axes = (axes(parent), axes(child));
        let statistic = statistic(&axes.0, &axes.1);
        let mut alignments = Vec::new();
        let width = |axes: &[Axis]| axes.first().map(|axis| axis.width);
        if statistic.is_ok() {
            if width(&axes.0) == width(&axes.1) {
                alignments.push(Alignment::None);
            }
            let embedding = |model: &Source<'_>| model.shape("embed").map(|shape| shape.1);
            let known = |model, axes: &[Axis]| embedding(model).is_some() && embedding(model) == width(axes);
            if known(parent, &axes.0) && known(child, &axes.1) {
                alignments.push(Alignment::Rotation);
            }
        }
        Plan { axes, statistic, alignments }
    }

    /// log10 of the number of hypotheses that are tried.
    pub fn log10_hypotheses(&self) -> f64 {
        let pairs = match self.statistic {
            Ok(Statistic::BestLayerPair) => self.axes.0.len() * self.axes.1.len(),
            _ => 1,
        };
        ((self.alignments.len().max(1) * pairs) as f64).log10()
    }

    /// The first stage whose odds pass the threshold, or else the one with the smallest.
    pub fn run(
        &self,
        parent: &Source<'_>,
        child: &Source<'_>,
        most: usize,
        log10_hypotheses: f64,
    ) -> Result<Option<Evidence>> {
        let mut best: Option<Evidence> = None;
        for &alignment in &self.alignments {
            let Some(pair) = Pair::new(parent, child, alignment)? else { continue };
            let found = match self.statistic {
                Ok(Statistic::BestLayerPair) => self.best_layer_pair(&pair)?,
                Ok(statistic) => self.all_layers(&pair, statistic, most)?,
                Err(_) => continue,
            };
            if best.as_ref().is_none_or(|best| found.log10_p < best.log10_p) {
                best = Some(found);
            }
            if best.as_ref().is_some_and(|best| pay(best.log10_p, log10_hypotheses) <= THRESHOLD_LOG10_P) {
                break;
            }
        }
        Ok(best)
    }

    fn all_layers(&self, pair: &Pair<'_>, statistic: Statistic, most: usize) -> Result<Evidence> {
        let (mut matches, mut units, mut odds, mut sorted) = (0, 0, Vec::new(), false);
        for (axis_a, axis_b) in self.axes.0.iter().zip(&self.axes.1) {
            let (a, b) = pair.units(axis_a, axis_b)?;
            sorted |= by_norm(&a) && by_norm(&b);
            if statistic == Statistic::Position {
                let a = a.thinned(most)?;
                matches += fixed_points(&a, &best_matches(&a, &b)?);
                units += a.len() as u64;
            } else {
                let b = b.thinned(most)?;
                let length = longest_increasing(&best_matches(&b, &a)?).len() as u64;
                odds.push(by_order(length, b.len() as u64));
                matches += length;
                units += b.len() as u64;
            }
        }
        let layers = self.axes.0.len() as u64;
        let log10_p = if statistic == Statistic::Position { by_position(matches, layers) } else { combined(&odds) };
        Ok(Evidence { log10_p, matches, units, layers, alignment: pair.alignment, layer_map: vec![], sorted })
    }

    /// Compares each layer of the child with each of the parent. The odds are those of the best pair.
    fn best_layer_pair(&self, pair: &Pair<'_>) -> Result<Evidence> {
        let mut evidence = Evidence {
            log10_p: 0.0,
            matches: 0,
            units: 0,
            layers: 1,
            alignment: pair.alignment,
            layer_map: vec![],
            sorted: false,
        };
        let pairs = (self.axes.0.len() * self.axes.1.len()) as f64;
        let mut samples = Vec::with_capacity(self.axes.0.len());
        for axis in &self.axes.0 {
            let units = pair.parent_units(axis)?;
            samples.push((by_norm(&units), units.thinned(SAMPLE)?));
        }
        for axis_b in &self.axes.1 {
            let b = pair.child_units(axis_b)?;
            let b_sorted = by_norm(&b);
            let mut nearest: Option<(f64, &Axis)> = None;
            for ((a_sorted, a), axis_a) in samples.iter().zip(&self.axes.0) {
                let found = best_matches(a, &b)?;
                let (matches, log10_p) = if axis_a.units == axis_b.units {
                    let matches = fixed_points(a, &found);
                    (matches, by_position(matches, 1))
                } else {
                    let length = longest_increasing(&found).len() as u64;
                    (length, by_order(length, a.len() as u64))
                };
                evidence.sorted |= *a_sorted && b_sorted;
                if evidence.units == 0 || log10_p < evidence.log10_p {
                    (evidence.log10_p, evidence.matches, evidence.units) = (log10_p, matches, a.len() as u64);
                }
                if nearest.is_none_or(|(least, _)| log10_p < least) {
                    nearest = Some((log10_p, axis_a));
                }
            }
            let sure = nearest.filter(|(log10_p, _)| pay(*log10_p, pairs.log10()) <= THRESHOLD_LOG10_P);
            let parent = sure.map(|(_, axis)| axis.name.clone());
            evidence.layer_map.push(LayerPair { child: axis_b.name.clone(), parent });
        }
        Ok(evidence)
    }

    /// How often two parts of the units agree on where a unit has gone, whatever their order; for models of one depth.
    /// The better of the alignments.
    pub fn agreement(&self, parent: &Source<'_>, child: &Source<'_>, most: usize) -> Result<Option<Agreement>> {
        let mut best: Option<Agreement> = None;
        if !matches!(self.statistic, Ok(Statistic::Position | Statistic::Order)) {
            return Ok(None);
        }
        for &alignment in &self.alignments {
            let Some(pair) = Pair::new(parent, child, alignment)? else { continue };
            let mut found = Agreement { agreeing: 0, units: 0, layers: self.axes.0.len() as u64, alignment };
            for (axis_a, axis_b) in self.axes.0.iter().zip(&self.axes.1) {
                let (a, b) = pair.units(axis_a, axis_b)?;
                let b = b.thinned(most)?;
                let by_part = |part: usize| best_matches(&b.part(part)?, &a.part(part)?);
                found.agreeing += agreements(&by_part(0)?, &by_part(1)?);
                found.units += b.len() as u64;
            }
            if best.as_ref().is_none_or(|best| found.agreeing > best.agreeing) {
                best = Some(found);
            }
        }
        Ok(best)
    }
}

fn statistic(parent: &[Axis], child: &[Axis]) -> std::result::Result<Statistic, &'static str> {
    if parent.is_empty() || child.is_empty() {
        return Err("no MLP was recognised in one of the models, so there are no hidden units to compare");
    }
    let one = |axes: &[Axis]| axes.iter().all(|axis| (axis.gated, axis.width) == (axes[0].gated, axes[0].width));
    if !one(parent) || !one(child) || parent[0].gated != child[0].gated {
        return Err("the two models' MLPs are of different kinds, so their hidden units cannot be compared");
    }
    if parent.len() != child.len() {
        let few = parent.len().saturating_mul(child.len()) <= MAX_PAIRS;
        return few.then_some(Statistic::BestLayerPair).ok_or("the models differ in depth and have too many MLPs");
    }
    let same = parent.iter().zip(child).all(|(a, b)| a.units == b.units);
    Ok(if same { Statistic::Position } else { Statistic::Order })
}

/// Two models under one alignment.
pub(crate) struct Pair<'a> {
    parent: &'a Source<'a>,
    child: &'a Source<'a>,
    /// The alignment.
    pub alignment: Alignment,
    /// From the child's residual stream to the parent's.
    pub rotation: Option<Tensor>,
}

impl<'a> Pair<'a> {
    /// `None` when the alignment cannot be found.
    pub fn new(parent: &'a Source<'a>, child: &'a Source<'a>, alignment: Alignment) -> Result<Option<Pair<'a>>> {
        let rotation = match alignment {
            Alignment::None => None,
            Alignment::Rotation => match rotation(parent, child)? {
                Some(rotation) => Some(rotation),
                None => return Ok(None),
            },
        };
        Ok(Some(Pair { parent, child, alignment, rotation }))
    }

    /// Units of an axis of the parent and of one of the child, in the parent's coordinates.
    pub fn units(&self, parent: &Axis, child: &Axis) -> Result<(Units, Units)> {
        Ok((self.parent_units(parent)?, self.child_units(child)?))
    }

    fn parent_units(&self, axis: &Axis) -> Result<Units> {
        let gains = self.parent.gains(&axis.name, axis.width)?;
        features(self.parent, axis, &|rows, reads| folded(rows, gains.as_ref().filter(|_| reads)))
    }

    fn child_units(&self, axis: &Axis) -> Result<Units> {
        let gains = self.child.gains(&axis.name, axis.width)?;
        features(self.child, axis, &|rows, reads| {
            let rows = folded(rows, gains.as_ref().filter(|_| reads))?;
            Ok(match &self.rotation {
                Some(rotation) => rows.matmul(rotation)?,
                None => rows,
            })
        })
    }
}

fn folded(rows: Tensor, gains: Option<&Tensor>) -> Result<Tensor> {
    Ok(match gains {
        Some(gains) => rows.broadcast_mul(gains)?,
        None => rows,
    })
}

/// Whether the units stand in an order of their norms: a rank correlation of norm and index above 0.2, and above five
/// standard deviations of what an unordered layer has.
pub(crate) fn by_norm(units: &Units) -> bool {
    let limit = (5.0 / (units.len() as f64).sqrt()).max(0.2);
    rank_correlation(units.norms()).abs() > limit
}
