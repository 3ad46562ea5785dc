//! Whether two checkpoints share training history: an exact test on their weights, then a description of the edge.
//!
//! A *hidden unit* is an index that may be permuted without changing what a network computes. Independent trainings
//! number their units independently; whoever starts from another model's weights keeps its numbering. So: for each unit
//! of the parent the unit of the child that is most like it (`matching`), and the count of those that have the same
//! number. Under independence it is about one for each layer, and at least t in L layers with a chance of at most
//! L^(t−L) L!/t! ([`bounds`]), whatever the weights are.
//!
//! | pair | statistic |
//! |---|---|
//! | same depth and width | matches by position, over all layers |
//! | same depth, other width | longest run of units in order, layer by layer |
//! | other depth | the best of all pairs of layers |
//!
//! Each is tried on the weights as they are and after a rotation of the residual stream (`rotation`); all that is
//! tried is paid for. When units were re-ordered on purpose, position is gone: then the agreement of a unit's parts is
//! counted, which has no exact odds and is called empirical. The test compares one pair. It shows that two models are
//! not independent; it cannot show which came first.

mod align;
pub mod bounds;
mod compare;
mod edge;
mod independence;
mod lattice;
mod low_rank;
mod matching;
mod merge;
mod report;
mod rotation;
mod source;
mod units;

use candle_core::Device;
use countermark_formats::Checkpoint;

pub use align::{LayerOrder, UnitOrder, align};
pub use report::{
    Agreement, Alignment, DerivationReport, Grid, Kind, LayerPair, LowRank, Merge, Pruning, Relation, Statistic,
    TensorKind, TensorReport,
};

use crate::Result;
use crate::statistics::{THRESHOLD_LOG10_P, pay};
use independence::{Evidence, Plan};
use source::Source;

/// How to test.
#[derive(Clone, Copy)]
pub struct DerivationOptions<'a> {
    /// Number of models that were considered as parents, this one included.
    pub candidates: u64,
    /// Units that are compared in each layer at most; fewer cost less and lose odds, never validity.
    pub units_per_layer: usize,
    /// Whether to describe the tensors even when no relation is found.
    pub describe_always: bool,
    /// Another parent, to see whether the child is a merge of the two.
    pub second_parent: Option<&'a Checkpoint>,
}

impl Default for DerivationOptions<'_> {
    fn default() -> Self {
        DerivationOptions { candidates: 1, units_per_layer: 2048, describe_always: false, second_parent: None }
    }
}

/// Tests whether two checkpoints are independent, and describes how the child lies to the parent if they are not.
///
/// # Errors
/// [`Error::Weights`](crate::Error::Weights) when a model cannot be read.
pub fn derivation(
    child: &Checkpoint,
    parent: &Checkpoint,
    options: &DerivationOptions<'_>,
    device: &Device,
) -> Result<DerivationReport> {
    let (a, b) = (Source::new(parent, device), Source::new(child, device));
    let plan = Plan::new(&a, &b);
    let log10_hypotheses = plan.log10_hypotheses() + (options.candidates.max(1) as f64).log10();
    let evidence = plan.run(&a, &b, options.units_per_layer, log10_hypotheses)?;
    let paid = evidence.as_ref().map_or(0.0, |evidence| pay(evidence.log10_p, log10_hypotheses));
    let sorted = evidence.as_ref().is_some_and(|evidence| evidence.sorted);
    let exact = paid <= THRESHOLD_LOG10_P && !sorted;
    let agreement = if exact { None } else { plan.agreement(&a, &b, options.units_per_layer)? };
    let agreed = agreement.as_ref().filter(|agreement| agreement.far_above_background());
    let kind = if sorted || agreed.is_some() { Kind::Empirical } else { Kind::Exact };
    let related = exact || agreed.is_some();

    let tensors = if related || options.describe_always { edge::tensors(&a, &b)? } else { vec![] };
    let merge = match options.second_parent.filter(|_| related) {
        Some(second) => merge::merge(&a, &Source::new(second, device), &b)?,
        None => None,
    };
    let alignment = match (agreed, &evidence) {
        (Some(agreement), _) => agreement.alignment,
        (None, Some(evidence)) => evidence.alignment,
        (None, None) => Alignment::None,
    };
    let seen = edge::Circumstances {
        layers: (plan.axes.0.len(), plan.axes.1.len()),
        units: [&plan.axes.0, &plan.axes.1].map(|axes| axes.iter().map(|axis| axis.units as u64).sum()).into(),
        reparameterised: related && (alignment == Alignment::Rotation || !exact),
    };
    let (findings, relation) = edge::summary(&tensors, merge.as_ref(), &seen);
    let verdict = match (related, kind) {
        (false, _) => "no relation found",
        (true, Kind::Exact) => "not independent",
        (true, Kind::Empirical) => "not independent, by empirical agreement without exact odds",
    };
    Ok(DerivationReport {
        related,
        verdict: verdict.into(),
        kind,
        log10_p: if kind == Kind::Exact { paid } else { 0.0 },
        threshold_log10_p: THRESHOLD_LOG10_P,
        log10_hypotheses,
        statistic: plan.statistic.ok(),
        alignment,
        matches: evidence.as_ref().map_or(0, |evidence| evidence.matches),
        units: evidence.as_ref().map_or(0, |evidence| evidence.units),
        layers: evidence.as_ref().map_or(0, |evidence| evidence.layers),
        limits: limits(&plan, evidence.as_ref(), kind, related),
        layer_map: evidence.map_or_else(Vec::new, |evidence| evidence.layer_map),
        agreement,
        relation_hint: related.then_some(relation),
        findings: if tensors.is_empty() { vec![] } else { findings },
        merge,
        tensors,
    })
}

/// What the answer does not say, and what weakens it.
fn limits(plan: &Plan, evidence: Option<&Evidence>, kind: Kind, related: bool) -> Vec<String> {
    let mut limits = Vec::new();
    if let Err(reason) = plan.statistic {
        limits.push(format!("Not tested: {reason}."));
    } else if plan.alignments.is_empty() {
        limits.push("Not tested: the models differ in width, and one has no token embedding to align them by.".into());
    }
    if related {
        limits.push(
            "This shows shared history, not how much of it, who was first, or that a licence was broken. A common \
             ancestor shows as well, and so do the same initial weights, as public default seeds may give."
                .into(),
        );
    } else {
        limits.push(
            "No relation found is no proof of independence: distillation, re-initialisation and re-training on a large \
             scale leave no trace here."
                .into(),
        );
    }
    match kind {
        Kind::Exact => limits.push(
            "The odds hold if the units of one of the two were initialised alike and independently of the other model, \
             and its training treated them alike."
                .into(),
        ),
        Kind::Empirical => limits.push(
            "Without exact odds: the agreement of the units' parts was set against independent models, which have \
             between one and six agreements in each layer."
                .into(),
        ),
    }
    if evidence.is_some_and(|evidence| evidence.sorted) {
        limits.push(
            "In both models units stand in an order of their norms, so that positions may match or differ for that \
             reason alone and were not used."
                .into(),
        );
    }
    let best = |evidence: &&Evidence| bounds::by_position(evidence.units, evidence.layers) > THRESHOLD_LOG10_P;
    if let Some(evidence) = evidence.filter(best) {
        limits.push(format!(
            "With {} hidden units in {} layers even a copy could not reach the threshold.",
            evidence.units, evidence.layers
        ));
    }
    limits
}
