//! Whether float values lie on a grid scale·k + zero of few levels, as after quantisation and back.
//!
//! In a block that shares a scale, gaps between neighbouring values are multiples of it. Values near zero carry the
//! least rounding error of their float format, so the scale is first read there and then refined outwards. Where the
//! format rounds more coarsely than a third of the scale, a value says nothing and is passed over.

use countermark_formats::CodeBlock;

use super::compare::precision;
use super::report::Grid;
use super::source::Source;
use super::units::evenly;
use crate::Result;

/// Rows that are looked at.
const ROWS: usize = 48;
/// Blocks of weights that may share a scale, from the largest, below a whole row.
const BLOCKS: [usize; 4] = [128, 64, 32, 16];
/// Share of the blocks that must lie on a grid of their own.
const SHARE: f64 = 0.95;
/// Most levels of a grid.
const LEVELS: i64 = 256;
/// Codes by which the outermost levels may be misjudged, where the format rounds as coarsely as the grid.
const SLACK: i64 = 8;

/// The grid of a block.
struct Fit {
    scale: f64,
    levels: i64,
    /// Values that could have contradicted it.
    informative: usize,
}

/// The grid that the child's matrix lies on and the parent's does not, if any.
pub(crate) fn grid(parent: &Source<'_>, child: &Source<'_>, role: &str) -> Result<Option<Grid>> {
    let Some((rows, columns)) = child.shape(role) else { return Ok(None) };
    let rounding = match child.float(role) {
        Some(format) => 2f64.powi(-precision(Some(format))),
        None => return native(parent, child, role),
    };
    let (mut a, mut b, mut row) = (Vec::new(), Vec::new(), Vec::new());
    let (parent, child) = (parent.open(role)?, child.open(role)?);
    for index in evenly(rows, ROWS) {
        child.values(index..index + 1, &mut row)?;
        b.extend_from_slice(&row);
        parent.values(index..index + 1, &mut row)?;
        a.extend_from_slice(&row);
    }
    let blocks = std::iter::once(columns).chain(BLOCKS.into_iter().filter(|&block| block < columns));
    for block in blocks.filter(|&block| block > 0 && columns.is_multiple_of(block)) {
        let Some(bits) = on_grids(&b, block, rounding) else { continue };
        if on_grids(&a, block, rounding).is_some() {
            return Ok(None);
        }
        let nearest = Some(nearest(&a, &b, block, rounding));
        return Ok(Some(Grid { bits, block: Some(block as u32), nearest }));
    }
    Ok(uneven(&b, columns).filter(|_| uneven(&a, columns).is_none()))
}

/// The grid of a matrix that is stored as codes, by its codes.
fn native(parent: &Source<'_>, child: &Source<'_>, role: &str) -> Result<Option<Grid>> {
    let rows = child.shape(role).map_or(0, |shape| shape.0);
    let (parent, child) = (parent.open(role)?, child.open(role)?);
    let (mut a, mut b) = (Vec::new(), CodeBlock::default());
    let (mut inside, mut all) = (0u64, 0u64);
    for index in evenly(rows, ROWS) {
        parent.values(index..index + 1, &mut a)?;
        child.codes(index..index + 1, &mut b)?;
        for ((&a, &b), (&up, &down)) in a.iter().zip(&b.value).zip(b.up.iter().zip(&b.down)) {
            all += 1;
            // Scales are kept in F16, which moves the outermost levels.
            inside += u64::from((b - a).abs() <= 0.505 * up.abs().max(down.abs()) + 6e-4 * b.abs());
        }
    }
    let codes = (i32::from(b.high) - i32::from(b.low)).max(1);
    Ok(Some(Grid { bits: codes.ilog2() + 1, block: None, nearest: Some(inside as f64 >= 0.999 * all as f64) }))
}

/// Bits of the grids, if nearly all blocks lie on one.
fn on_grids(values: &[f32], block: usize, rounding: f64) -> Option<u32> {
    let (mut decided, mut levels) = (0usize, Vec::new());
    for values in values.chunks_exact(block).filter(|values| distinct(values).len() > 2) {
        decided += 1;
        if let Some(fit) = fit(values, rounding) {
            levels.push(fit.levels);
        }
    }
    levels.sort_unstable();
    let enough = decided >= 4 && levels.len() as f64 >= SHARE * decided as f64;
    // The median: a few blocks may be misread, and most reach the outermost levels or nearly.
    let most = levels.get(levels.len() / 2).filter(|_| enough)?;
    Some((most - 1).ilog2() + 1)
}

/// Levels that are no multiples of a scale, as those of NF4: at most sixteen in blocks of 64.
fn uneven(values: &[f32], columns: usize) -> Option<Grid> {
    let block = 64;
    if !columns.is_multiple_of(block) || values.is_empty() {
        return None;
    }
    // In a block that is mostly zeros few different values are no sign of a grid.
    let full = |values: &[f32]| values.iter().filter(|&&value| value != 0.0).count() >= block / 2;
    let few = values.chunks_exact(block).all(|values| full(values) && distinct(values).len() <= 16);
    let alive = values.chunks_exact(block).filter(|values| distinct(values).len() > 4).count();
    (few && alive >= 4).then_some(Grid { bits: 4, block: Some(block as u32), nearest: None })
}

/// Whether the child's values are within half a step of the parent's.
fn nearest(a: &[f32], b: &[f32], block: usize, rounding: f64) -> bool {
    let (mut inside, mut all) = (0u64, 0u64);
    for (a, b) in a.chunks_exact(block).zip(b.chunks_exact(block)) {
        let Some(fit) = fit(b, rounding) else { continue };
        // Scales kept in F16 move the outermost levels, here as in the native formats; subnormal ones by more.
        let blur = (2.0 * rounding).max(6e-4).max(2f64.powi(-24) / fit.scale.abs());
        for (&a, &b) in a.iter().zip(b) {
            let half = fit.scale * 0.505 + blur * f64::from(b.abs().max(a.abs()));
            all += 1;
            inside += u64::from((f64::from(b) - f64::from(a)).abs() <= half);
        }
    }
    inside as f64 >= 0.999 * all as f64
}

fn distinct(values: &[f32]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    sorted
}

fn fit(values: &[f32], rounding: f64) -> Option<Fit> {
    let values = distinct(values);
    if values.len() < 3 || values.len() as i64 > LEVELS {
        return None;
    }
    // The gap that is smallest, of those that rounding leaves whole, and how well it is known.
    let gap = |pair: &[f64]| {
        let (gap, blur) = (pair[1] - pair[0], rounding * (pair[0].abs() + pair[1].abs()));
        (blur * 8.0 < gap).then_some((gap, blur))
    };
    let smallest = values.windows(2).filter_map(gap).min_by(|x, y| x.0.total_cmp(&y.0));
    let different = values.len();
    // Many values that could have contradicted the grid, or few values on few levels.
    let says_enough = |fit: &Fit| fit.informative >= 5 || (fit.informative + 1 >= different && fit.levels <= 8);
    let mut outwards = values;
    outwards.sort_by(|x, y| x.abs().total_cmp(&y.abs()));
    let by_gap = smallest.and_then(|(gap, blur)| {
        (1..=3).map(f64::from).find_map(|part| walk(&outwards, (gap / part, blur / part), rounding).filter(says_enough))
    });
    // Where 8 bits are stored in BF16 few gaps stay whole, but by custom the largest of a block has code 127.
    by_gap.or_else(|| {
        let scale = outwards.last()?.abs() / 127.0;
        outwards.insert(0, 0.0);
        walk(&outwards, (scale, scale * rounding), rounding).filter(|fit| fit.informative >= 5)
    })
}

/// Follows the values outwards from the one nearest zero, while all fit the grid; the scale and how well
/// it is known are refined on the way.
fn walk(outwards: &[f64], scale: (f64, f64), rounding: f64) -> Option<Fit> {
    let anchor = *outwards.first()?;
    let largest = outwards.last()?.abs();
    let (mut scale, mut blur_of_scale) = (scale.0, scale.1 + largest * 3e-7);
    let (mut low, mut high, mut informative) = (0i64, 0i64, 0);
    for &value in &outwards[1..] {
        let code = ((value - anchor) / scale).round();
        if code.abs() >= (LEVELS + SLACK) as f64 {
            return None;
        }
        let own = rounding * (value.abs() + anchor.abs()) + largest * 3e-7;
        let blur = own + blur_of_scale * code.abs();
        if blur * 3.0 < scale {
            if (value - anchor - code * scale).abs() > blur {
                return None;
            }
            informative += 1;
            if code != 0.0 && own / code.abs() < blur_of_scale {
                (scale, blur_of_scale) = ((value - anchor) / code, own / code.abs());
            }
        }
        (low, high) = (low.min(code as i64), high.max(code as i64));
    }
    let levels = high - low + 1;
    (levels <= LEVELS + SLACK).then_some(Fit { scale: scale.abs(), levels: levels.min(LEVELS), informative })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, count: usize) -> Vec<f32> {
        let mut random = crate::derivation::low_rank::SplitMix(seed);
        (0..count).map(|_| (0..4).map(|_| random.uniform()).sum::<f64>() as f32 * 0.02).collect()
    }

    fn quantised(values: &[f32], block: usize, levels: f32, symmetric: bool) -> Vec<f32> {
        let one = |values: &[f32]| -> Vec<f32> {
            let top = values.iter().fold(0f32, |top, v| top.max(v.abs()));
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            let scale = if symmetric { top / (levels / 2.0).floor() } else { (high - low) / (levels - 1.0) };
            let zero = if symmetric { 0.0 } else { low };
            values.iter().map(|v| ((v - zero) / scale).round() * scale + zero).collect()
        };
        values.chunks(block).flat_map(one).collect()
    }

    fn bf16s(values: &[f32]) -> Vec<f32> {
        values.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect()
    }

    #[test]
    fn grids_are_found_with_their_bits() {
        let values = noise(1, 20 * 256);
        for (block, levels, symmetric, bits) in [
            (256, 255.0, true, 8),
            (256, 256.0, false, 8),
            (128, 15.0, true, 4),
            (64, 16.0, false, 4),
            (32, 16.0, false, 4),
            (32, 255.0, true, 8),
            (64, 8.0, false, 3),
            (16, 64.0, false, 6),
        ] {
            let on_grid = quantised(&values, block, levels, symmetric);
            assert_eq!(on_grids(&on_grid, block, 2f64.powi(-24)), Some(bits), "{block} {levels}");
            assert!(nearest(&values, &on_grid, block, 2f64.powi(-24)), "{block} {levels}");
            if block >= 32 && levels < 100.0 || block > 100 {
                assert_eq!(on_grids(&bf16s(&on_grid), block, 2f64.powi(-8)), Some(bits), "{block} {levels} in bf16");
            }
            assert!(!nearest(&noise(2, values.len()), &on_grid, block, 2f64.powi(-24)));
        }
    }

    #[test]
    fn plain_values_lie_on_no_grid() {
        let values = noise(3, 20 * 256);
        for (values, rounding) in [(values.clone(), 2f64.powi(-24)), (bf16s(&values), 2f64.powi(-8))] {
            for block in [256, 128, 64, 32, 16] {
                assert_eq!(on_grids(&values, block, rounding), None, "{block}");
            }
            assert_eq!(uneven(&values, 256), None);
        }
        for hostile in [vec![f32::NAN; 512], vec![0.0; 512], vec![f32::INFINITY; 512], [1e38, -1e38].repeat(256)] {
            assert_eq!(on_grids(&hostile, 64, 2f64.powi(-24)), None);
        }
    }
}
