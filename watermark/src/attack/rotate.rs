//! A rotation of the residual stream, which leaves the function of a network with RMS norms as it is.
//!
//! With gains γ folded into the matrices that read a norm and set to 1, ‖xQ‖ = ‖x‖ makes the norm commute with any
//! orthogonal Q: embedding E → E Q, readers W → W diag(γ) Q, writers W → Qᵀ W. A tied output projection comes apart,
//! since the last norm's gains go into it and not into the embedding.
//!
//! Q is a product of 2 ⌈log₂ n⌉ rounds; each deals the n coordinates into random pairs and turns every pair by a random
//! angle. Like a butterfly it is dense after log₂ n rounds, and it costs O(n log n) for each row instead of O(n²).

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::names::{Part, Places, place};
use super::random::Random;
use super::values::{Values, is_float, rows_and_columns};
use crate::{Error, Result};

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Turn {
    /// W Q, after the gains of that norm were folded in.
    Columns(Option<usize>),
    /// Qᵀ W.
    Rows,
    /// Gains that went elsewhere.
    Ones,
}

/// An orthogonal matrix.
pub(crate) struct Rotation {
    /// Pairs of coordinates with the cosine and sine of their angle.
    rounds: Vec<Vec<(u32, u32, f32, f32)>>,
}

impl Rotation {
    /// A random one.
    pub fn new(width: usize, seed: u64) -> Rotation {
        let mut random = Random::new(seed, "rotate");
        let round = |random: &mut Random| -> Vec<(u32, u32, f32, f32)> {
            let order = random.permutation(width);
            let pair = |pair: &[u32; 2]| {
                let angle = std::f64::consts::TAU * random.uniform();
                (pair[0], pair[1], libm::cos(angle) as f32, libm::sin(angle) as f32)
            };
            order.as_chunks::<2>().0.iter().map(pair).collect()
        };
        let rounds = 2 * width.max(1).next_power_of_two().ilog2();
        Rotation { rounds: (0..rounds).map(|_| round(&mut random)).collect() }
    }

    /// x Q for a row x.
    fn turn(&self, row: &mut [f32]) {
        for (a, b, cosine, sine) in self.rounds.iter().flatten() {
            let (x, y) = (row[*a as usize], row[*b as usize]);
            row[*a as usize] = cosine * x - sine * y;
            row[*b as usize] = sine * x + cosine * y;
        }
    }

    /// Changes a tensor, with the gains of the norm that [`Turn::Columns`] names.
    pub fn apply(&self, turn: Turn, gains: Option<&[f32]>, values: &mut Values) {
        match turn {
            Turn::Ones => values.data.fill(1.0),
            Turn::Columns(_) => values.by_row().for_each(|row| {
                if let Some(gains) = gains {
                    row.iter_mut().zip(gains).for_each(|(w, gain)| *w *= gain);
                }
                self.turn(row);
            }),
            Turn::Rows => {
                let mut columns = values.transposed();
                columns.by_row().for_each(|column| self.turn(column));
                *values = columns.transposed();
            }
        }
    }
}

/// What becomes of every tensor, and the rotation; the output projection needs [`untied`] beside it.
pub(crate) fn plan(places: &Places<'_>, seed: u64) -> Result<(Rotation, BTreeMap<usize, Turn>)> {
    let refuse = |reason: String| Error::NothingToAttack { attack: "rotate".into(), reason };
    if let Some(name) = places.unknown.first() {
        return Err(refuse(format!("it is not known whether tensor {name:?} reads or writes the residual stream")));
    }
    let embed = places.weight(None, Part::Embed).ok_or_else(|| refuse("there is no token embedding".into()))?;
    let width = rows_and_columns(places.shape(embed)).1;
    let mut turns = BTreeMap::new();
    for (index, tensor) in places.model.tensors().iter().enumerate().filter(|(_, t)| is_float(t.info.dtype)) {
        let Some(at) = place(&tensor.info.name) else { continue };
        let norm = match at.part {
            Part::Query | Part::Key | Part::Value => Part::InputNorm,
            Part::Gate | Part::Up => Part::MlpNorm,
            _ => Part::FinalNorm,
        };
        let turn = match at.part {
            Part::InputNorm | Part::MlpNorm | Part::FinalNorm if at.bias => {
                return Err(refuse(format!(
                    "{:?} is the bias of a norm that centres, not an RMS norm",
                    tensor.info.name
                )));
            }
            Part::InputNorm | Part::MlpNorm | Part::FinalNorm => Turn::Ones,
            Part::Output | Part::Down => Turn::Rows,
            Part::Embed => Turn::Columns(None),
            Part::HeadNorm => continue,
            _ if at.bias => continue,
            _ => Turn::Columns(Some(norm_of(places, at.layer, norm).map_err(refuse)?)),
        };
        let (rows, columns) = rows_and_columns(&tensor.info.shape);
        let extent = if matches!(turn, Turn::Columns(_)) { columns } else { rows };
        if extent != width {
            return Err(refuse(format!("tensor {:?} does not fit a width of {width}", tensor.info.name)));
        }
        turns.insert(index, turn);
    }
    Ok((Rotation::new(width as usize, seed), turns))
}

/// For a tied embedding: its index, and the turn that makes the output projection of its own from it.
pub(crate) fn untied(places: &Places<'_>) -> Option<(usize, Turn)> {
    let norm = places.weight(None, Part::FinalNorm)?;
    let embed = places.weight(None, Part::Embed)?;
    places.weight(None, Part::Head).is_none().then_some((embed, Turn::Columns(Some(norm))))
}

fn norm_of(places: &Places<'_>, layer: Option<u32>, norm: Part) -> std::result::Result<usize, String> {
    let place = layer.map_or_else(|| "before the output".into(), |layer| format!("of layer {layer}"));
    places.weight(layer, norm).ok_or_else(|| format!("the norm {place} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Q is dense, and Qᵀ Q = 1: rows of the identity turn into orthonormal rows. Odd widths work too.
    #[test]
    fn rotations_are_orthogonal_and_dense() {
        for width in [1, 2, 7, 48, 129] {
            let rotation = Rotation::new(width, 9);
            let mut identity = vec![0.0; width * width];
            identity.iter_mut().step_by(width + 1).for_each(|x| *x = 1.0);
            let mut q = Values { rows: width, columns: width, data: identity };
            rotation.apply(Turn::Columns(None), None, &mut q);
            let row = |i: usize| &q.data[i * width..(i + 1) * width];
            for i in 0..width {
                for j in 0..width {
                    let product: f32 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
                    assert!((product - f32::from(u8::from(i == j))).abs() < 1e-5, "{width}: {i}, {j}: {product}");
                }
            }
            if width > 40 {
                assert!(q.data.iter().filter(|x| **x == 0.0).count() * 50 < q.data.len());
                assert!(q.data.iter().all(|x| x.abs() < 0.9));
            }
            // Qᵀ Q = 1, the other way round.
            rotation.apply(Turn::Rows, None, &mut q);
            assert!((0..width).all(|i| (q.data[i * width + i] - 1.0).abs() < 1e-5));
        }
    }
}
