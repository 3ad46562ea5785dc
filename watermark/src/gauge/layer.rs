//! One layer's correlations T_b with the keyed directions, and the change of up_proj that moves them.

use candle_core::{D, DType, Tensor};

use super::residual::{Directions, finite};
use super::{GaugeChange, GaugeLayer, HIDDEN_CLIP};
use crate::{Error, Result};

/// Passes of embedding: the directions of one layer's bits are not orthogonal, rows change their RMS, and what is added
/// widens the deviation a little.
const ROUNDS: usize = 5;

/// What does not change while up_proj is marked.
pub(super) struct Layer {
    up: Tensor,
    /// γ, \[n\]; ones if there is none.
    gain: Tensor,
    /// h, one column a bit: \[m, B\].
    hidden: Tensor,
    /// s, one row a bit: \[B, n\].
    directions: Tensor,
}

/// T_b and its standard deviation over the chips, given everything else.
pub(super) struct Correlation {
    pub t: Vec<f64>,
    pub deviation: Vec<f64>,
    /// RMS of the rows of up_proj with the gains in it, \[m, 1\].
    row_rms: Tensor,
}

impl Correlation {
    /// T_b in standard deviations; 0 where that is no finite number.
    pub fn z(&self) -> impl Iterator<Item = f64> {
        self.t.iter().zip(&self.deviation).map(|(t, deviation)| if *deviation > 0.0 { t / deviation } else { 0.0 })
    }
}

impl Layer {
    /// The layer `number` and the directions of bits `first`..`first + count`.
    pub fn new(
        number: usize,
        layer: &GaugeLayer,
        directions: &Directions,
        first: usize,
        count: usize,
    ) -> Result<Layer> {
        let width = directions.up.dim(1)?;
        check(number, layer, width)?;
        let up = finite(&layer.up)?;
        let gain = match &layer.gain {
            Some(gain) => finite(gain)?,
            None => Tensor::ones(width, DType::F32, up.device())?,
        };
        let part = |directions: &Tensor| directions.narrow(0, first, count);
        let gate = finite(&layer.gate)?.broadcast_mul(&gain)?;
        let down = finite(&layer.down)?.t()?.contiguous()?;
        let hidden = (responses(&gate, &part(&directions.gate)?)? * responses(&down, &part(&directions.down)?)?)?;
        Ok(Layer { up, gain, hidden, directions: part(&directions.up)?.contiguous()? })
    }

    /// T_b for an up_proj. `covariance` is that of the directions.
    pub fn correlate(&self, covariance: &Tensor) -> Result<Correlation> {
        let folded = self.up.broadcast_mul(&self.gain)?;
        let row_rms = folded.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
        let scaled = folded.broadcast_mul(&reciprocal(&row_rms)?)?;
        // hᵀ U, one row a bit.
        let pooled = self.hidden.t()?.matmul(&scaled)?;
        let sum = |a: &Tensor, b: &Tensor| -> Result<Vec<f64>> {
            Ok((a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?)?.sum(1)?.to_vec1()?)
        };
        let t = sum(&pooled, &self.directions)?;
        let variance = sum(&pooled.matmul(covariance)?, &pooled)?;
        Ok(Correlation { t, deviation: variance.iter().map(|v| v.max(0.0).sqrt()).collect(), row_rms })
    }

    /// Pushes every T_b that is not yet `margin` deviations on its side of zero, and returns the change of up_proj
    /// with the correlations reached.
    pub fn mark(mut self, covariance: &Tensor, side: &[bool], margin: f64) -> Result<(GaugeChange, Correlation)> {
        let mut units = self.hidden.zeros_like()?;
        // γ∘s is the direction in which the stored weights, gains apart, move T most for their size.
        let filter = self.directions.broadcast_mul(&self.gain)?;
        let energy = |t: &Tensor, axis: usize| -> Result<Vec<f32>> { Ok(t.sqr()?.sum(axis)?.to_vec1()?) };
        let (hidden_energy, filter_energy) = (energy(&self.hidden, 0)?, energy(&filter, 1)?);
        let mut correlation = self.correlate(covariance)?;
        for _ in 0..ROUNDS {
            let amplitudes: Vec<f32> = (0..side.len())
                .map(|b| {
                    let sign = if side[b] { 1.0 } else { -1.0 };
                    let need = (margin * correlation.deviation[b] - sign * correlation.t[b]).max(0.0);
                    let amplitude = sign * need / f64::from(hidden_energy[b] * filter_energy[b]);
                    if amplitude.is_finite() { amplitude as f32 } else { 0.0 }
                })
                .collect();
            let amplitudes = Tensor::from_vec(amplitudes, side.len(), self.up.device())?;
            let step = self.hidden.broadcast_mul(&amplitudes)?.broadcast_mul(&correlation.row_rms)?;
            self.up = (&self.up + step.matmul(&filter)?)?;
            units = (units + step)?;
            correlation = self.correlate(covariance)?;
        }
        Ok((GaugeChange { units, directions: filter }, correlation))
    }
}

/// How strongly each hidden unit answers to each direction: w_i·q_b / ‖w_i‖, divided by its RMS over the units, and
/// clipped. `weights` is \[m, n\], `directions` \[B, n\]; the result is \[m, B\].
fn responses(weights: &Tensor, directions: &Tensor) -> Result<Tensor> {
    let norms = weights.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    let responses = weights.matmul(&directions.t()?)?.broadcast_mul(&reciprocal(&norms)?)?;
    let rms = responses.sqr()?.mean_keepdim(0)?.sqrt()?;
    Ok(responses.broadcast_mul(&reciprocal(&rms)?)?.clamp(-HIDDEN_CLIP, HIDDEN_CLIP)?)
}

/// 1 / x, and 0 for 0.
fn reciprocal(x: &Tensor) -> Result<Tensor> {
    Ok(x.gt(0.0)?.where_cond(&x.recip()?, &x.zeros_like()?)?)
}

fn check(layer: usize, parts: &GaugeLayer, width: usize) -> Result<()> {
    let (up, gate, down) = (parts.up.dims(), parts.gate.dims(), parts.down.dims());
    let gain = parts.gain.as_ref().map(|gain| gain.dims());
    let right = match *up {
        [m, n] => m > 0 && n == width && gate == up && down == [n, m] && gain.is_none_or(|gain| gain == [n]),
        _ => false,
    };
    let found = || format!("up_proj {up:?}, gate_proj {gate:?}, down_proj {down:?}, gain {gain:?}, width {width}");
    if right { Ok(()) } else { Err(Error::Mlp { layer: Some(layer), found: found() }) }
}
