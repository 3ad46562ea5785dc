//! What the derivation test found, in numbers and in words.

use serde::Serialize;

/// Which count the odds are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    /// Units most like the unit of the same index, over all layers.
    Position,
    /// Units in increasing order, layer by layer: for models of different width.
    Order,
    /// The best of all pairs of layers: for models of different depth.
    BestLayerPair,
}

/// What was done to the child's weights before they were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// Nothing.
    None,
    /// The residual stream was rotated onto the parent's, by the embeddings of shared tokens.
    Rotation,
}

/// What the answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `log10_p` bounds the chance of this among independent models, without assumptions on the weights.
    Exact,
    /// The positions of the units tell nothing here; only the agreement of their parts was counted, which has no odds.
    Empirical,
}

/// A relation of the lineage that fits what was found: a description, never a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Trained further.
    FineTunedFrom,
    /// An adapter of it.
    AdapterOf,
    /// A mean of it and another.
    MergedFrom,
    /// Fewer bits for each weight.
    QuantisedFrom,
    /// Weights or units removed.
    PrunedFrom,
    /// The same numbers in another format.
    ConvertedFrom,
    /// None of the above.
    DerivedFrom,
}

/// A layer of the child and the one of the parent that it is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerPair {
    /// Role of the child's MLP.
    pub child: String,
    /// Role of the parent's, if one is like it beyond chance.
    pub parent: Option<String>,
}

/// How often two parts of a unit, such as its up row and its gate row, are matched to the same unit of the parent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Different units of the parent that both parts name.
    pub agreeing: u64,
    /// Units that were looked at.
    pub units: u64,
    /// Layers; independent models have between one and six agreements in each.
    pub layers: u64,
    /// What was done to the weights first.
    pub alignment: Alignment,
}

impl Agreement {
    /// Whether it is far above what independent models have: at least twenty for each layer, and 35 in all.
    pub fn far_above_background(&self) -> bool {
        self.agreeing >= 20 * self.layers.max(1) && self.agreeing >= 35
    }
}

/// How a tensor of the child lies to the parent's tensor of the same role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TensorKind {
    /// The same values in the same format.
    Identical,
    /// The same values in another format.
    Converted,
    /// Each value is the parent's, rounded to a narrower format.
    Rounded,
    /// The values lie on a grid of few levels.
    Quantised,
    /// Values were set to zero.
    Pruned,
    /// The difference is of low rank.
    LowRank,
    /// The values have moved.
    Moved,
    /// The values have nothing to do with the parent's at the same place.
    Unlike,
    /// The shapes differ.
    Reshaped,
    /// Only the child has it.
    Added,
    /// Only the parent has it.
    Missing,
}

/// A grid of levels that a tensor's values lie on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// Bits for each weight.
    pub bits: u32,
    /// Weights that share a scale; `None` when the file says the format itself.
    pub block: Option<u32>,
    /// Whether each value is the level next to the parent's: plain rounding of this parent. False after error
    /// compensation, clipping, or when the parent is another one.
    pub nearest: Option<bool>,
}

/// Which weights were set to zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pruning {
    /// Share of the parent's non-zero weights that are zero in the child.
    pub share: f64,
    /// Whether they are the smallest of the tensor, or of each row.
    pub by_magnitude: bool,
    /// Whether two of every four are zero.
    pub two_of_four: bool,
    /// Whether the others are unchanged.
    pub others_equal: bool,
}

/// Singular values of a difference above what rounding makes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LowRank {
    /// How many there are.
    pub rank: u32,
    /// Share of the squared difference that they hold.
    pub share: f64,
}

/// One line of the table: a tensor of the child beside the parent's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Canonical role.
    pub role: String,
    /// What happened to it.
    pub kind: TensorKind,
    /// ‖child − parent‖ / ‖parent‖, where both have the same shape.
    pub drift: Option<f64>,
    /// Grid of its values, where one was found.
    pub grid: Option<Grid>,
    /// What was pruned.
    pub pruning: Option<Pruning>,
    /// Rank of the difference, where it is low.
    pub low_rank: Option<LowRank>,
}

/// The child as a mean of two parents: child ≈ nearest + λ (other − nearest).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Merge {
    /// Whether the second parent is the one nearest to the child.
    pub second_is_nearest: bool,
    /// Weight of the other parent, over all tensors.
    pub lambda: f64,
    /// Standard deviation of λ over the tensors.
    pub lambda_deviation: f64,
    /// Share of the child's distance from the nearest parent that the mean does not explain.
    pub residual: f64,
    /// Whether the residual is below what a sibling fine-tune can have.
    pub merged: bool,
}

/// What the derivation test found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DerivationReport {
    /// Whether the two are not independent.
    pub related: bool,
    /// The answer in words.
    pub verdict: String,
    /// What the answer rests on.
    pub kind: Kind,
    /// log10 of the bound on the chance of this among independent models, all hypotheses paid for; 0 when `kind` is
    /// empirical.
    pub log10_p: f64,
    /// Odds at or below which two models count as not independent.
    pub threshold_log10_p: f64,
    /// log10 of the number of hypotheses paid for: candidate parents, alignments and pairs of layers.
    pub log10_hypotheses: f64,
    /// What was counted.
    pub statistic: Option<Statistic>,
    /// What was done to the weights first.
    pub alignment: Alignment,
    /// Units that match, or are in order.
    pub matches: u64,
    /// Units that were looked at.
    pub units: u64,
    /// Layers that were looked at.
    pub layers: u64,
    /// Which layers are alike, when the depths differ.
    pub layer_map: Vec<LayerPair>,
    /// Agreement of the units' parts, when the exact test does not decide.
    pub agreement: Option<Agreement>,
    /// The relation of the lineage that fits, when related.
    pub relation_hint: Option<Relation>,
    /// What was done to the parent, as far as the weights show it.
    pub findings: Vec<String>,
    /// The child as a mean of two parents, when a second was given.
    pub merge: Option<Merge>,
    /// Every tensor, when related or asked for.
    pub tensors: Vec<TensorReport>,
    /// What this answer does not say, and what weakens it.
    pub limits: Vec<String>,
}
