//! One pass over a tensor of the parent and the child's tensor of the same role: sums and counts from which it follows
//! what was done to it.
//!
//! The values come from files and are looked at one by one, so this runs on the host, in blocks of rows.

use countermark_formats::Dtype;
use half::{bf16, f16};

use super::source::Source;
use crate::Result;

/// Weights that are compared at a time.
const BLOCK: usize = 1 << 20;

/// Sums over a tensor pair of one shape; a is the parent's, b the child's.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub weights: u64,
    /// Pairs with equal bits.
    pub equal: u64,
    /// Pairs where b is a, rounded to the child's format.
    pub rounded: u64,
    /// Σ (b − a)² and Σ a², where both are finite.
    pub moved: f64,
    pub whole: f64,
    /// Σ of the squared rounding error that the child's format makes; the largest of a row; and of each column.
    pub rounding: f64,
    pub rounding_of_row: f64,
    pub rounding_of_columns: Vec<f64>,
    /// a ≠ 0, and how many of these have b = 0.
    pub alive: u64,
    pub removed: u64,
    /// b ≠ 0, and how many of these have b = a.
    pub kept: u64,
    pub kept_equal: u64,
    /// Rows in which something was removed, and in how many of these it is the smallest.
    pub pruned_rows: u64,
    pub ordered_rows: u64,
    /// Largest |a| removed and smallest |a| kept.
    pub largest_removed: f32,
    pub smallest_kept: f32,
    /// Groups of four with exactly two zeros in b, of all whole groups.
    pub two_of_four: u64,
    pub groups_of_four: u64,
}

impl Comparison {
    /// Compares the rows that both matrices have; they are of one width.
    pub fn of(parent: &Source<'_>, child: &Source<'_>, role: &str) -> Result<Comparison> {
        let mut sums = Comparison {
            weights: 0,
            equal: 0,
            rounded: 0,
            moved: 0.0,
            whole: 0.0,
            rounding: 0.0,
            rounding_of_row: 0.0,
            rounding_of_columns: vec![],
            alive: 0,
            removed: 0,
            kept: 0,
            kept_equal: 0,
            pruned_rows: 0,
            ordered_rows: 0,
            largest_removed: 0.0,
            smallest_kept: f32::INFINITY,
            two_of_four: 0,
            groups_of_four: 0,
        };
        let (rows, columns) = child.shape(role).unwrap_or((0, 0));
        let rows = rows.min(parent.shape(role).unwrap_or((0, 0)).0);
        let format = child.float(role);
        let step = (BLOCK / columns.max(1)).max(1);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let (parent, child) = (parent.open(role)?, child.open(role)?);
        sums.rounding_of_columns = vec![0.0; columns];
        for first in (0..rows).step_by(step) {
            let block = first..rows.min(first + step);
            parent.values(block.clone(), &mut a)?;
            child.values(block, &mut b)?;
            for (a, b) in a.chunks(columns.max(1)).zip(b.chunks(columns.max(1))) {
                sums.add_row(a, b, format);
            }
        }
        Ok(sums)
    }

    fn add_row(&mut self, a: &[f32], b: &[f32], format: Option<Dtype>) {
        let (mut removed, mut largest_removed, mut smallest_kept) = (0, 0f32, f32::INFINITY);
        let mut rounding = 0.0;
        for ((&a, &b), of_column) in a.iter().zip(b).zip(&mut self.rounding_of_columns) {
            self.equal += u64::from(a.to_bits() == b.to_bits());
            self.rounded += u64::from(rounded(a, format).to_bits() == b.to_bits());
            if a.is_finite() && b.is_finite() {
                self.moved += (f64::from(b) - f64::from(a)).powi(2);
                self.whole += f64::from(a).powi(2);
                let error = rounding_error(b, format).powi(2);
                rounding += error;
                *of_column += error;
            }
            if b != 0.0 {
                self.kept += 1;
                self.kept_equal += u64::from(a == b);
            }
            if a != 0.0 {
                self.alive += 1;
                if b == 0.0 {
                    removed += 1;
                    largest_removed = largest_removed.max(a.abs());
                } else {
                    smallest_kept = smallest_kept.min(a.abs());
                }
            }
        }
        for group in b.as_chunks::<4>().0 {
            self.groups_of_four += 1;
            self.two_of_four += u64::from(group.iter().filter(|&&b| b == 0.0).count() == 2);
        }
        self.rounding += rounding;
        self.rounding_of_row = self.rounding_of_row.max(rounding);
        self.weights += b.len() as u64;
        self.removed += removed;
        self.pruned_rows += u64::from(removed > 0);
        self.ordered_rows += u64::from(removed > 0 && largest_removed <= smallest_kept);
        self.largest_removed = self.largest_removed.max(largest_removed);
        self.smallest_kept = self.smallest_kept.min(smallest_kept);
    }

    /// ‖b − a‖ / ‖a‖; `None` when a is zero.
    pub fn drift(&self) -> Option<f64> {
        let drift = (self.moved / self.whole).sqrt();
        drift.is_finite().then_some(drift)
    }

    /// What rounding adds to the difference.
    pub fn noise(&self) -> Noise {
        let of_column = self.rounding_of_columns.iter().copied().fold(0.0, f64::max);
        Noise { energy: self.rounding, norm: self.rounding_of_row.sqrt() + of_column.sqrt() }
    }
}

/// Independent errors of known sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    /// Σ of their variances.
    pub energy: f64,
    /// About the largest singular value that they have together: the norm of the largest row and of the largest column,
    /// added (Bandeira and van Handel, 2016). With equal variances σ² that is σ (√m + √n).
    pub norm: f64,
}

/// A value in the child's format.
fn rounded(value: f32, format: Option<Dtype>) -> f32 {
    match format {
        Some(Dtype::Bf16) => bf16::from_f32(value).to_f32(),
        Some(Dtype::F16) => f16::from_f32(value).to_f32(),
        _ => value,
    }
}

/// Bits of the significand, with the leading one.
pub(crate) fn precision(format: Option<Dtype>) -> i32 {
    match format {
        Some(Dtype::Bf16) => 8,
        Some(Dtype::F16) => 11,
        _ => 24,
    }
}

/// Deviation of the error of rounding to this value: the step of the format there over √12.
fn rounding_error(value: f32, format: Option<Dtype>) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let exponent = i32::from((value.to_bits() >> 23 & 0xff) as u8) - 127;
    2f64.powi(exponent + 1 - precision(format)) / 12f64.sqrt()
}
