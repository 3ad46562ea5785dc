//! Whether the child is a mean of two parents.
//!
//! With A the parent nearest to the child B, Δ = B − A and d = A′ − A: λ = ⟨Δ, d⟩/‖d‖² and the residual is
//! ρ = ‖Δ − λ d‖/‖Δ‖. λ alone tells nothing: a sibling fine-tuned from the same base has λ near ½, because both
//! differences share A's own change. But with A nearest and changes that have nothing to do with each other, a sibling
//! has ρ ≥ √½, so that a residual below ½ means a merge.

use super::report::Merge;
use super::source::Source;
use crate::Result;

/// Residual below which no sibling with changes of its own falls.
const RESIDUAL: f64 = 0.5;
/// Weights that are read at a time.
const BLOCK: usize = 1 << 20;

/// Sums over one tensor, with x = B − A₁ and y = B − A₂.
#[derive(Clone, Copy, Default)]
struct Sums {
    xx: f64,
    xy: f64,
    yy: f64,
}

/// The child as a mean of the two, over all matrices that all three have in one shape. `None` when none differ.
pub(crate) fn merge(first: &Source<'_>, second: &Source<'_>, child: &Source<'_>) -> Result<Option<Merge>> {
    let mut tensors = Vec::new();
    for role in child.roles() {
        if first.shape(role) == child.shape(role) && second.shape(role) == child.shape(role) {
            tensors.push(sums(first, second, child, role)?);
        }
    }
    let total = |part: fn(&Sums) -> f64| tensors.iter().map(part).sum::<f64>();
    let second_is_nearest = total(|sums| sums.yy) < total(|sums| sums.xx);
    // Seen from the nearest parent: ‖Δ‖², ⟨Δ, d⟩ and ‖d‖², where d = A′ − A.
    let seen: Vec<(f64, f64, f64)> = tensors
        .iter()
        .map(|&Sums { xx, xy, yy }| {
            let near = if second_is_nearest { yy } else { xx };
            (near, near - xy, xx + yy - 2.0 * xy)
        })
        .filter(|(_, _, apart)| *apart > 0.0)
        .collect();
    let apart: f64 = seen.iter().map(|(_, _, apart)| apart).sum();
    let distance: f64 = seen.iter().map(|(near, ..)| near).sum();
    if seen.is_empty() || !(apart > 0.0 && distance > 0.0) {
        return Ok(None);
    }
    let lambda = seen.iter().map(|(_, along, _)| along).sum::<f64>() / apart;
    let spread: f64 = seen.iter().map(|(_, along, apart)| apart * (along / apart - lambda).powi(2)).sum();
    // Each tensor with a λ of its own, as gradient merges have.
    let left: f64 = seen.iter().map(|(near, along, apart)| (near - along * along / apart).max(0.0)).sum();
    let residual = (left / distance).sqrt();
    let merged = residual < RESIDUAL && lambda > 0.02;
    Ok(Some(Merge { second_is_nearest, lambda, lambda_deviation: (spread / apart).sqrt(), residual, merged }))
}

fn sums(first: &Source<'_>, second: &Source<'_>, child: &Source<'_>, role: &str) -> Result<Sums> {
    let (rows, columns) = child.shape(role).unwrap_or((0, 0));
    let step = (BLOCK / columns.max(1)).max(1);
    let (mut a1, mut a2, mut b) = (Vec::new(), Vec::new(), Vec::new());
    let (first, second, child) = (first.open(role)?, second.open(role)?, child.open(role)?);
    let mut sums = Sums::default();
    for start in (0..rows).step_by(step) {
        let block = start..rows.min(start + step);
        first.values(block.clone(), &mut a1)?;
        second.values(block.clone(), &mut a2)?;
        child.values(block, &mut b)?;
        for ((&a1, &a2), &b) in a1.iter().zip(&a2).zip(&b) {
            let (x, y) = (f64::from(b) - f64::from(a1), f64::from(b) - f64::from(a2));
            if x.is_finite() && y.is_finite() {
                (sums.xx, sums.xy, sums.yy) = (sums.xx + x * x, sums.xy + x * y, sums.yy + y * y);
            }
        }
    }
    Ok(sums)
}
