//! The band by its definition, in f64 and with plain loops, to compare the tensor version with.

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::residual::{Residual, chips};
use super::*;
use crate::key::MarkSecret;

type Matrix = Vec<Vec<f64>>;

/// One host in f64.
struct Reference {
    embedding: Matrix,
    up: Matrix,
    gate: Matrix,
    down: Matrix,
    gain: Vec<f64>,
}

impl GaugeHost for Reference {
    fn embedding_shape(&self) -> (usize, usize) {
        (self.embedding.len(), self.gain.len())
    }

    fn embedding_rows(&self, rows: Range<usize>) -> Result<Tensor> {
        f32_tensor(&self.embedding[rows])
    }

    fn layer(&self, _: usize) -> Result<Option<GaugeLayer>> {
        let gain = f32_tensor(std::slice::from_ref(&self.gain))?.squeeze(0)?;
        let [up, gate, down] = [&self.up, &self.gate, &self.down].map(|matrix| f32_tensor(matrix));
        Ok(Some(GaugeLayer { up: up?, gate: gate?, down: down?, gain: Some(gain) }))
    }
}

fn f32_tensor(rows: &[Vec<f64>]) -> Result<Tensor> {
    let values: Vec<f32> = rows.concat().iter().map(|x| *x as f32).collect();
    Ok(Tensor::from_vec(values, (rows.len(), rows[0].len()), &Device::Cpu)?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// Rows scaled to length 1, times a direction, over their RMS, clipped.
fn responses(rows: &Matrix, direction: &[f64]) -> Vec<f64> {
    let raw: Vec<f64> = rows.iter().map(|row| dot(row, direction) / dot(row, row).sqrt()).collect();
    let rms = (dot(&raw, &raw) / raw.len() as f64).sqrt();
    raw.iter().map(|x| (x / rms).clamp(-1.5, 1.5)).collect()
}

impl Reference {
    /// (C + λ I)^(−1/2).
    fn whitening(&self) -> Matrix {
        let columns = transposed(&self.embedding);
        let mut c: Matrix = columns.iter().map(|a| columns.iter().map(|b| dot(a, b)).collect()).collect();
        let ridge = 0.1 * (0..c.len()).map(|i| c[i][i]).sum::<f64>() / c.len() as f64;
        (0..c.len()).for_each(|i| c[i][i] += ridge);
        super::inverse_root::reference(&c)
    }

    /// v with T = v·κ, entry by entry of the vocabulary, from κ′ and κ″.
    fn weights_of_chips(&self, gate: &[f64], down: &[f64]) -> Vec<f64> {
        let k = self.whitening();
        let direction = |chips: &[f64]| -> Vec<f64> {
            let pooled: Vec<f64> = transposed(&self.embedding).iter().map(|column| dot(column, chips)).collect();
            k.iter().map(|row| dot(row, &pooled)).collect()
        };
        let fold = |rows: &Matrix| -> Matrix {
            rows.iter().map(|row| row.iter().zip(&self.gain).map(|(w, g)| w * g).collect()).collect()
        };
        let (a, b) =
            (responses(&fold(&self.gate), &direction(gate)), responses(&transposed(&self.down), &direction(down)));
        let mut x = vec![0.0; self.gain.len()];
        for ((row, a), b) in fold(&self.up).iter().zip(a).zip(b) {
            let rms = (dot(row, row) / row.len() as f64).sqrt();
            x.iter_mut().zip(row).for_each(|(x, u)| *x += a * b * u / rms);
        }
        let kx: Vec<f64> = k.iter().map(|row| dot(row, &x)).collect();
        self.embedding.iter().map(|row| dot(row, &kx)).collect()
    }
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Matrix> {
    prop::collection::vec(prop::collection::vec(-1f64..1.0, columns), rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// T = v·κ, its variance over the chips is |v|², and turning κ turns T.
    #[test]
    fn scores_are_rademacher_sums(
        embedding in matrix(40, 6), up in matrix(10, 6), gate in matrix(10, 6), down in matrix(6, 10),
        gain in prop::collection::vec(0.1f64..1.0, 6), secret in any::<[u8; 32]>(),
    ) {
        let host = Reference { embedding, up, gate, down, gain };
        let key = MarkKey::derive(&MarkSecret::from_bytes(secret), [7; 32], [1; 16], None);
        let plan = GaugePlan { bits: 5, layers: 1, tokens: 40 };
        let rows: Matrix = chips(&key, 5, 0..40).unwrap().to_dtype(DType::F64).unwrap().to_vec2().unwrap();
        let z = gauge_detect(&host, std::slice::from_ref(&key), &plan).unwrap().z.remove(0);
        for (bit, z) in z.into_iter().enumerate() {
            let v = host.weights_of_chips(&rows[5 + bit], &rows[10 + bit]);
            let expected = dot(&v, &rows[bit]) / dot(&v, &v).sqrt();
            prop_assert!((z - expected).abs() < 2e-4, "{z} is not {expected}");
        }

        let mut residual = Residual::new(&host, std::slice::from_ref(&key), &plan).unwrap().unwrap();
        let parts = host.layer(0).unwrap().unwrap();
        let score = |directions: &Directions| {
            let layer = Layer::new(0, &parts, directions, 0, 5).unwrap();
            layer.correlate(&residual.covariance).unwrap().t
        };
        let there = score(&residual.directions[0]);
        residual.directions[0].up = residual.directions[0].up.neg().unwrap();
        let back: Vec<f64> = score(&residual.directions[0]).iter().map(|t| -t).collect();
        prop_assert_eq!(there, back);
    }
}
