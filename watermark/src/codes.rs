//! Marking quantised weights in their codes; scales and zero points stay as they are.
//!
//! The wished change of a weight is that of [`ops::mark`](crate::ops::mark), A_j · chip · min(|w|, 4 rms). A code can
//! only move in whole steps of u, so it moves by ⌊x⌋ or ⌊x⌋ + 1 steps, x = |change| / u, the latter with probability
//! equal to the remainder, decided by the keyed dither. The mean change is the wished one, until a code would leave
//! its range. A weight whose own code is zero has no change to wish for and stays.

use countermark_formats::CodeBlock;
use rayon::prelude::*;

use crate::carrier::{Panel, TensorCarrier};
use crate::key::GROUPS;

const CLIP: f32 = 4.0;
/// Rows whose keystreams are made at a time: a multiple of the groups.
const PANEL_ROWS: usize = 16 * GROUPS;

/// Moves the codes of a block as the amplitudes, one for each slot, ask for, and its values with them.
pub(crate) fn mark(block: &mut CodeBlock, columns: usize, carrier: &TensorCarrier, first_row: u64, amplitudes: &[f32]) {
    let (low, high, most) = (block.low, block.high, block.most);
    let size = PANEL_ROWS * columns;
    let panels = block
        .code
        .par_chunks_mut(size)
        .zip(block.value.par_chunks_mut(size))
        .zip(block.up.par_chunks(size).zip(block.down.par_chunks(size)));
    panels.enumerate().for_each_init(Panel::default, |panel, (number, ((codes, values), (up, down)))| {
        let first_row = first_row + (number * PANEL_ROWS) as u64;
        panel.load(carrier, first_row, codes.len() / columns, columns, true);
        let rows = codes.chunks_mut(columns).zip(values.chunks_mut(columns));
        let steps = up.chunks(columns).zip(down.chunks(columns));
        for (number, ((codes, values), (up, down))) in rows.zip(steps).enumerate() {
            let row = panel.row(number);
            let amplitudes = &amplitudes[row.group * carrier.slots_per_group..][..carrier.slots_per_group];
            let limit = CLIP * rms(values);
            for column in 0..columns {
                let amplitude = amplitudes[(row.rotation + column) % amplitudes.len()];
                let minus = row.chips[column / 8] >> (column % 8) & 1 == 1;
                let change = if minus { -amplitude } else { amplitude } * values[column].abs().min(limit);
                // The direction in the code that takes the value where it should go.
                let direction = if (change > 0.0) == (up[column] > 0.0) { 1 } else { -1 };
                let step = if direction > 0 { up[column] } else { down[column] };
                let steps = change.abs() / step.abs();
                if !(steps > 0.0 && steps.is_finite()) {
                    continue;
                }
                let dither = u16::from_le_bytes([row.dither[2 * column], row.dither[2 * column + 1]]);
                let whole = steps.floor();
                let extra = (steps - whole) * 65536.0 > f32::from(dither);
                let wanted = (whole as i16).saturating_add(i16::from(extra)).min(most);
                let room = if direction > 0 { high - codes[column] } else { codes[column] - low };
                let moved = wanted.min(room).max(0);
                codes[column] += direction * moved;
                values[column] += f32::from(direction * moved) * step;
            }
        }
    });
}

fn rms(values: &[f32]) -> f32 {
    let finite = values.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
    (finite.map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt() as f32
}
