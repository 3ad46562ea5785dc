//! Which unit of B looks most like each unit of A: a tiled product that never holds all similarities.
//!
//! A match is undefined on a tie. "The lowest index wins" would depend on the order of the units, and the bounds hold
//! only for choices that do not. Rounding differs by where a unit stands in a tile, so similarities closer than
//! [`TIE`] count as equal: that costs a match now and then, and never adds one.

use candle_core::{D, DType, Tensor};

use super::units::Units;
use crate::Result;

/// Similarities, which are sums of at most three cosines, count as equal when they differ by no more than this.
const TIE: f32 = 1e-5;
/// Units of A and of B that are compared at a time: 16 MiB of similarities.
const TILE: (usize, usize) = (1024, 4096);

/// For each unit of `a` the index of the unit of `b` that is most like it.
///
/// `None` where two are equally alike, and for units that are zero or not finite; such units of `b` are never chosen.
/// Both must have the same parts in the same order.
pub(crate) fn best_matches(a: &Units, b: &Units) -> Result<Vec<Option<u32>>> {
    let mut matches = Vec::with_capacity(a.len());
    for from in (0..a.len()).step_by(TILE.0) {
        let rows = TILE.0.min(a.len() - from);
        let mut running = vec![Best::default(); rows];
        for other in (0..b.len()).step_by(TILE.1) {
            let columns = TILE.1.min(b.len() - other);
            let tile = similarities(a, (from, rows), b, (other, columns))?;
            merge(&mut running, &tile, other as u32)?;
        }
        let decided = |(best, &usable): (&Best, &bool)| best.decided().filter(|_| usable);
        let places = running.iter().zip(&a.usable[from..]).map(decided);
        matches.extend(places.map(|place| place.map(|place| b.index[place as usize])));
    }
    Ok(matches)
}

/// Number of units of `a` that are matched to the unit of the same index.
pub(crate) fn fixed_points(a: &Units, matches: &[Option<u32>]) -> u64 {
    a.index.iter().zip(matches).filter(|&(index, found)| *found == Some(*index)).count() as u64
}

/// Number of different units that two matchings of the same units agree on. One that many units are matched to, as
/// happens in high dimensions, counts once.
pub(crate) fn agreements(a: &[Option<u32>], b: &[Option<u32>]) -> u64 {
    let agreed = a.iter().zip(b).filter(|(a, b)| a == b).filter_map(|(a, _)| *a);
    agreed.collect::<std::collections::BTreeSet<_>>().len() as u64
}

/// Positions of a longest strictly increasing subsequence of the defined images, by patience sorting.
pub(crate) fn longest_increasing(images: &[Option<u32>]) -> Vec<usize> {
    // tails[k]: position that ends the increasing subsequence of length k + 1 with the least last image.
    let mut tails: Vec<usize> = Vec::new();
    let mut before = vec![usize::MAX; images.len()];
    for (position, image) in images.iter().enumerate() {
        if image.is_none() {
            continue;
        }
        let length = tails.partition_point(|&tail| images[tail] < *image);
        before[position] = if length == 0 { usize::MAX } else { tails[length - 1] };
        if length == tails.len() { tails.push(position) } else { tails[length] = position }
    }
    let mut chosen = Vec::with_capacity(tails.len());
    let mut position = tails.last().copied().unwrap_or(usize::MAX);
    while position != usize::MAX {
        chosen.push(position);
        position = before[position];
    }
    chosen.reverse();
    chosen
}

#[derive(Clone, Copy)]
struct Best {
    similarity: f32,
    second: f32,
    index: u32,
}

impl Default for Best {
    fn default() -> Best {
        Best { similarity: f32::NEG_INFINITY, second: f32::NEG_INFINITY, index: 0 }
    }
}

impl Best {
    fn decided(&self) -> Option<u32> {
        (self.similarity.is_finite() && self.similarity - self.second > TIE).then_some(self.index)
    }
}

/// Sum of the parts' cosines, \[rows of a, rows of b\]; −∞ for unusable units of b. A unit of a gated MLP computes the
/// same when its up row and its down column both change sign, so what those add counts by its size.
fn similarities(a: &Units, a_rows: (usize, usize), b: &Units, b_rows: (usize, usize)) -> Result<Tensor> {
    let mut sums: [Option<Tensor>; 2] = [None, None];
    for (x, y) in a.parts.iter().zip(&b.parts) {
        let cosine = x.rows.narrow(0, a_rows.0, a_rows.1)?.matmul(&y.rows.narrow(0, b_rows.0, b_rows.1)?.t()?)?;
        let sum = &mut sums[usize::from(x.either_sign)];
        *sum = Some(match sum.take() {
            Some(sum) => (sum + cosine)?,
            None => cosine,
        });
    }
    let [fixed, either] = sums;
    let total = match (fixed, either) {
        (Some(fixed), Some(either)) => (fixed + either.abs()?)?,
        (Some(fixed), None) => fixed,
        (None, Some(either)) => either.abs()?,
        (None, None) => Tensor::zeros((a_rows.1, b_rows.1), DType::F32, b.device())?,
    };
    let barred: Vec<f32> = b.usable[b_rows.0..b_rows.0 + b_rows.1]
        .iter()
        .map(|&usable| if usable { 0.0 } else { f32::NEG_INFINITY })
        .collect();
    let barred = Tensor::from_vec(barred, (1, b_rows.1), total.device())?;
    Ok(total.broadcast_add(&barred)?)
}

/// Takes a tile's best and second best of each row into the running ones.
fn merge(running: &mut [Best], tile: &Tensor, first: u32) -> Result<()> {
    let best = tile.max_keepdim(D::Minus1)?;
    let index = tile.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let reached = tile.broadcast_ge(&best)?;
    let ties = reached.to_dtype(DType::F32)?.sum(D::Minus1)?.to_vec1::<f32>()?;
    let nothing = Tensor::new(f32::NEG_INFINITY, tile.device())?.broadcast_as(tile.shape())?;
    let second = reached.where_cond(&nothing, tile)?.max(D::Minus1)?.to_vec1::<f32>()?;
    let best = best.squeeze(D::Minus1)?.to_vec1::<f32>()?;
    for (row, running) in running.iter_mut().enumerate() {
        let second = if ties[row] > 1.0 { best[row] } else { second[row] };
        if best[row] > running.similarity {
            *running =
                Best { similarity: best[row], second: second.max(running.similarity), index: first + index[row] };
        } else {
            running.second = running.second.max(best[row]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::derivation::units::Part;

    /// Units of one part, by rows.
    fn units(rows: &[Vec<f32>], either_sign: bool) -> Units {
        let columns = rows.first().map_or(1, Vec::len);
        let tensor = Tensor::from_vec(rows.concat(), (rows.len(), columns), &Device::Cpu).unwrap();
        Units::new(vec![Part::new(&tensor, either_sign).unwrap()]).unwrap()
    }

    /// The definition, in f64: the only unit whose cosine is above all others'.
    fn reference(a: &[Vec<f32>], b: &[Vec<f32>], either_sign: bool) -> Vec<Option<u32>> {
        let unit = |row: &Vec<f32>| -> Option<Vec<f64>> {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            (norm.is_finite() && norm > 0.0).then(|| row.iter().map(|&x| f64::from(x) / norm).collect())
        };
        let cosine = |x: &Vec<f64>, y: &Vec<f64>| {
            let cosine: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
            if either_sign { cosine.abs() } else { cosine }
        };
        let b: Vec<_> = b.iter().map(unit).collect();
        let one = |row: &Vec<f32>| {
            let x = unit(row)?;
            let mut found: Vec<(f64, u32)> = Vec::new();
            for (j, y) in b.iter().enumerate() {
                found.extend(y.as_ref().map(|y| (cosine(&x, y), j as u32)));
            }
            found.sort_by(|x, y| y.0.total_cmp(&x.0));
            let best = found.first()?;
            found.get(1).is_none_or(|second| best.0 - second.0 > 1e-5).then_some(best.1)
        };
        a.iter().map(one).collect()
    }

    fn rows() -> impl Strategy<Value = Vec<Vec<f32>>> {
        let value = prop_oneof![
            8 => (-4i8..=4).prop_map(|k| f32::from(k) / 3.0),
            1 => Just(f32::NAN),
            1 => Just(f32::INFINITY),
            2 => -1e20f32..1e20,
        ];
        proptest::collection::vec(proptest::collection::vec(value, 3), 1..9)
    }

    proptest! {
        #[test]
        fn matches_are_those_of_the_definition(a in rows(), b in rows(), either_sign: bool) {
            let found = best_matches(&units(&a, either_sign), &units(&b, either_sign)).unwrap();
            prop_assert_eq!(found, reference(&a, &b, either_sign));
        }

        #[test]
        fn reordering_reorders_the_matches(b in rows(), seed: u64) {
            let mut order: Vec<usize> = (0..b.len()).collect();
            order.sort_by_key(|&i| (i as u64 + 1).wrapping_mul(seed | 1));
            let shuffled: Vec<Vec<f32>> = order.iter().map(|&i| b[i].clone()).collect();
            let (plain, moved) = (units(&b, false), units(&shuffled, false));
            let there = best_matches(&plain, &plain).unwrap();
            let here = best_matches(&plain, &moved).unwrap();
            for (there, here) in there.iter().zip(here) {
                prop_assert_eq!(*there, here.map(|j| order[j as usize] as u32));
            }
        }

        #[test]
        fn increasing_subsequence_is_the_longest(
            images in proptest::collection::vec(proptest::option::of(0u32..12), 0..11),
        ) {
            let found = longest_increasing(&images);
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1] && images[pair[0]] < images[pair[1]]));
            let rising = |set: u32| {
                let chosen: Vec<_> = (0..images.len()).filter(|i| set >> i & 1 == 1).map(|i| images[i]).collect();
                chosen.iter().all(Option::is_some) && chosen.windows(2).all(|pair| pair[0] < pair[1])
            };
            let longest = (0u32..1 << images.len()).filter(|&set| rising(set)).map(u32::count_ones).max();
            prop_assert_eq!(Some(found.len() as u32), longest);
        }
    }

    #[test]
    fn tiles_do_not_show() {
        // Units on a circle, more than one tile of each: unit i of a is unit i of b.
        let circle = |count: usize| -> Vec<Vec<f32>> {
            let angle = |i: usize| i as f64 / count as f64 * std::f64::consts::TAU;
            // A spiral in four dimensions, so that neighbours are apart by more than a tie.
            let row = |i: usize| [1.0, 61.0].map(|turns| ((angle(i) * turns).cos(), (angle(i) * turns).sin()));
            (0..count).map(|i| row(i).iter().flat_map(|&(x, y)| [x as f32, y as f32]).collect()).collect()
        };
        let units = units(&circle(TILE.1 + 500), false);
        let found = best_matches(&units, &units).unwrap();
        assert_eq!(fixed_points(&units, &found), found.len() as u64);
    }

    #[test]
    fn equal_rows_match_nothing_wherever_they_stand() {
        let row: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin()).collect();
        let same = units(&vec![row; TILE.1 + 3], false);
        assert!(best_matches(&same, &same).unwrap().iter().all(Option::is_none));
    }
}
