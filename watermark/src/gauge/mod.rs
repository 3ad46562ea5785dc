//! The gauge band: a mark that outlives every change of a gated-MLP transformer's weights that leaves its function
//! alone.
//!
//! Such changes need no training, cost nothing, and erase any mark that is addressed by row and column: a rotation or
//! permutation Q of the residual stream (E → E Q, readers W → W Q, down_proj → Qᵀ down_proj), norm gains folded into
//! the matrices behind them, a permutation of hidden units, and scaling a row of up_proj by c ≠ 0 and its column of
//! down_proj by 1/c, negative c included. This band lives in quantities that none of them changes.
//!
//! Per layer: U up_proj \[m, n\], G gate_proj \[m, n\], D down_proj \[n, m\], U and G with the norm's gains folded in;
//! û, ĝ, d̂ rows of U (RMS 1), rows of G and columns of D (length 1). E the first V rows of the embedding, V being the
//! token count when the mark was made; C = Eᵀ E, λ = 0.1 tr C / n, K = (C + λ I)^(−1/2). For bit b, three keyed vectors
//! of ±1, one entry a token: κ, κ′, κ″ ([`residual`]).
//!
//! ```text
//! s = K Eᵀκ      q = K Eᵀκ′      p = K Eᵀκ″
//! h_i = clip(ĝ_i·q / rms) · clip(d̂_i·p / rms)       rms over the units i, clip to ±1.5
//! T_b = Σ_i h_i (û_i · s)
//! mark: up_i += a_b h_i rms_i (γ∘s)ᵀ                 γ the gains, up the stored weights, rms_i of the row of U
//! ```
//!
//! **Invariance.** E Q turns s, q and p by Q, whatever function of C the whitening K is, and every product with a
//! turned row stays. A permutation of units reorders the sum. c cancels from û_i and d̂_i but for its sign, which
//! appears in both and is squared. Clipped responses stand where a sign would do, because signs near zero flip when
//! weights are quantised or pruned; measured, this halves the loss. Writing along γ∘s divides by no gain: models
//! have gains near zero, where δ/γ would be enormous.
//!
//! **Odds.** Fix any weights, chosen without the key, and any κ′, κ″. Then h is fixed and T_b = v·κ with a fixed vector
//! v = E K Uᵀh: a sum of terms ±v_t with fair, independent signs. Turning κ into −κ turns T_b into −T_b and is as
//! likely, so P(T_b > 0) = P(T_b < 0) ≤ 1/2, for every K that does not depend on κ: shrinkage changes the power of the
//! test and nothing else. Rounding keeps this, because round-to-nearest commutes with a change of sign. The variance
//! is exactly ‖v‖² = xᵀ K C K x with x = Uᵀh, which is |x|² only without shrinkage; scores are divided by its root.
//! Different bits have different, independent κ, so given the weights the scores are independent: the sign test and
//! the bounds of [`crate::statistics`] hold as they stand, with Σ ±z_b and energy `bits` ([`gauge_log10_p`]).
//!
//! **Cost.** With targets of c standard deviations and host cancellation, need² has the mean K(c) = (1 + c²) Φ(c) +
//! c φ(c), so ‖δ‖² / ‖up_proj‖² ≈ K(c) · bits / (layers · m · n).

mod inverse_root;
mod layer;
mod model;
#[cfg(test)]
mod reference;
mod residual;

use std::ops::Range;

use candle_core::{DType, Tensor};

use crate::key::MarkKey;
use crate::statistics::bentkus;
use crate::{Error, Result};
use layer::Layer;
pub(crate) use model::{Overlay, plan_of, scores_of};
use residual::{Directions, Residual};

/// Default of [`gauge_embed`]'s margin, in standard deviations of the host.
pub const GAUGE_MARGIN: f64 = 2.5;

/// Responses beyond this many times their RMS count as this much.
const HIDDEN_CLIP: f32 = 1.5;

/// The gated MLP of one layer, and the gains of the norm before it. Float tensors of one device; f32 is used as it is.
#[derive(Clone, Debug)]
pub struct GaugeLayer {
    /// up_proj, \[m, n\].
    pub up: Tensor,
    /// gate_proj, \[m, n\].
    pub gate: Tensor,
    /// down_proj, \[n, m\].
    pub down: Tensor,
    /// Gains γ of the norm whose output up_proj and gate_proj read, \[n\]; `None` when they are folded in already.
    pub gain: Option<Tensor>,
}

/// Where the weights come from: asked for one layer at a time, so that no more than one is in memory.
pub trait GaugeHost {
    /// Rows (tokens) and columns (width n) of the token embedding.
    fn embedding_shape(&self) -> (usize, usize);

    /// Some consecutive rows of the token embedding, \[rows, n\].
    fn embedding_rows(&self, rows: Range<usize>) -> Result<Tensor>;

    /// A layer by its number in the model, or `None` if this model has it no more; its bits then count as misses.
    fn layer(&self, number: usize) -> Result<Option<GaugeLayer>>;
}

/// The shape of a band, which the record fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugePlan {
    /// Bits, dealt to the layers in equal runs: bit b to layer ⌊b · layers / bits⌋.
    pub bits: usize,
    /// Layers of the model that was marked.
    pub layers: usize,
    /// Tokens of the model that was marked. Rows that a suspect has beyond these are ignored; when it has fewer,
    /// those that are there are used.
    pub tokens: usize,
}

impl GaugePlan {
    fn check(&self) -> Result<()> {
        let sensible = (1..=1 << 16).contains(&self.bits) && self.layers > 0 && self.tokens > 0;
        if sensible { Ok(()) } else { Err(Error::GaugePlan(*self)) }
    }

    /// The bits of a layer.
    fn bits_of(&self, layer: usize) -> Range<usize> {
        let first = |layer: usize| (layer * self.bits).div_ceil(self.layers);
        first(layer)..first(layer + 1)
    }
}

/// The change of one layer's stored up_proj: a product of low rank, so that a whole model's fits into memory.
#[derive(Clone, Debug)]
pub struct GaugeChange {
    /// One column a bit, \[m, bits of the layer\].
    pub(crate) units: Tensor,
    /// One row a bit, \[bits of the layer, n\].
    pub(crate) directions: Tensor,
}

impl GaugeChange {
    /// Some rows of the change, in f32, to be added to those of up_proj before the cast.
    ///
    /// # Errors
    /// Rows that up_proj does not have.
    pub fn rows(&self, rows: Range<usize>) -> Result<Tensor> {
        Ok(self.units.narrow(0, rows.start, rows.len())?.matmul(&self.directions)?)
    }

    /// All rows, \[m, n\].
    ///
    /// # Errors
    /// None but those of the tensor library.
    pub fn to_tensor(&self) -> Result<Tensor> {
        self.rows(0..self.units.dim(0)?)
    }
}

/// What embedding did.
#[derive(Clone, Debug, PartialEq)]
pub struct GaugeReport {
    /// T_b towards its committed side, in standard deviations, before any cast; one for each bit.
    pub margins: Vec<f64>,
    /// Σ δ² over all up_proj.
    pub change: f64,
    /// Σ w² over the same.
    pub energy: f64,
}

impl GaugeReport {
    /// Relative change of the up_proj matrices in decibels.
    pub fn distortion_db(&self) -> f64 {
        10.0 * (self.change / self.energy).log10()
    }
}

/// What detection found.
#[derive(Clone, Debug, PartialEq)]
pub struct GaugeScores {
    /// For each key, for each bit: T_b in standard deviations under H0. Positive reads as `true`; 0 reads as a miss.
    pub z: Vec<Vec<f64>>,
    /// Rows of the embedding that were used; fewer than the plan's tokens when the vocabulary was cropped.
    pub tokens: usize,
}

/// Embeds `codeword` and hands `write` the change of each layer's stored up_proj, to be added before the cast. Scores
/// already `margin` standard deviations on their side stay as they are.
///
/// # Errors
/// [`Error::GaugePlan`] for an empty plan or a codeword of another length, [`Error::Margin`] for a margin outside
/// (0, 20], [`Error::Mlp`] for shapes that are no gated MLP's or a missing layer, [`Error::NothingToMark`] for an
/// all-zero embedding, and whatever the host says.
pub fn gauge_embed(
    host: &dyn GaugeHost,
    key: &MarkKey,
    plan: &GaugePlan,
    codeword: &[bool],
    margin: f64,
    write: &mut dyn FnMut(usize, GaugeChange) -> Result<()>,
) -> Result<GaugeReport> {
    plan.check()?;
    if codeword.len() != plan.bits {
        return Err(Error::GaugePlan(GaugePlan { bits: codeword.len(), ..*plan }));
    }
    if !(margin > 0.0 && margin <= 20.0) {
        return Err(Error::Margin(margin));
    }
    let residual = Residual::new(host, std::slice::from_ref(key), plan)?.ok_or(Error::NothingToMark)?;
    let mut report = GaugeReport { margins: Vec::with_capacity(plan.bits), change: 0.0, energy: 0.0 };
    for number in 0..plan.layers {
        let bits = plan.bits_of(number);
        if bits.is_empty() {
            continue;
        }
        let missing = || Error::Mlp { layer: Some(number), found: "no such layer".into() };
        let parts = host.layer(number)?.ok_or_else(missing)?;
        let layer = Layer::new(number, &parts, &residual.directions[0], bits.start, bits.len())?;
        let side = &codeword[bits];
        let (change, reached) = layer.mark(&residual.covariance, side, margin)?;
        report.margins.extend(reached.z().zip(side).map(|(z, &side)| if side { z } else { -z }));
        let energy = |t: &Tensor| -> Result<f64> { Ok(t.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar()?) };
        report.change += energy(&change.to_tensor()?)?;
        report.energy += energy(&residual::finite(&parts.up)?)?;
        write(number, change)?;
    }
    Ok(report)
}

/// Scores a model under each of `keys`. Memory: a few f32 copies of the largest layer, some n × n matrices in f64, and
/// 36 · bits · n bytes a key.
///
/// # Errors
/// [`Error::GaugePlan`] for an empty plan, [`Error::Mlp`] for shapes that are no gated MLP's, and whatever the host
/// says. An embedding that gives no directions is no error: all scores are 0.
pub fn gauge_detect(host: &dyn GaugeHost, keys: &[MarkKey], plan: &GaugePlan) -> Result<GaugeScores> {
    plan.check()?;
    let mut z = vec![vec![0.0; plan.bits]; keys.len()];
    let Some(residual) = Residual::new(host, keys, plan)? else { return Ok(GaugeScores { z, tokens: 0 }) };
    for number in 0..plan.layers {
        let bits = plan.bits_of(number);
        if bits.is_empty() {
            continue;
        }
        let Some(parts) = host.layer(number)? else { continue };
        let score = |directions: &Directions| -> Result<Vec<f64>> {
            let layer = Layer::new(number, &parts, directions, bits.start, bits.len())?;
            Ok(layer.correlate(&residual.covariance)?.z().collect())
        };
        for (z, directions) in z.iter_mut().zip(&residual.directions) {
            z[bits.clone()].copy_from_slice(&score(directions)?);
        }
    }
    Ok(GaugeScores { z, tokens: residual.tokens })
}

/// log10 of a bound on the chance that weights fixed without the key lean as far towards `codeword` as these scores:
/// Σ ±z_b is a Rademacher sum of energy `bits`, to which the bound of Bentkus and Dzindzalieta applies. Unlike the sign
/// test it has no floor at 2^−bits.
pub fn gauge_log10_p(z: &[f64], codeword: &[bool]) -> f64 {
    let sum: f64 = z.iter().zip(codeword).map(|(z, &side)| if side { *z } else { -*z }).sum();
    bentkus(sum, z.len().min(codeword.len()) as f64)
}
