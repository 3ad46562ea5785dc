//! 8-bit floats of the OCP specification as codes.
//!
//! The code of a float is its ordinal: its magnitude bits, negative for negative floats, so that one code up is the
//! next larger float. Both zeros have code 0. E4M3 has 3 bits of mantissa, exponent bias 7, no infinities, and NaN at
//! magnitude 127; its largest float is 448 (magnitude 126). E5M2 is the upper half of an f16: infinity at magnitude
//! 124, largest float 57344 (123).

use half::f16;

use crate::Dtype;
use crate::codes::{Cell, CodeRange};

/// The codes of a dtype, `None` when it is no such float.
pub(crate) fn range(dtype: Dtype) -> Option<CodeRange> {
    let high = match dtype {
        Dtype::F8E4m3 => 126,
        Dtype::F8E5m2 => 123,
        _ => return None,
    };
    Some(CodeRange { low: -high, high, most: 1 })
}

/// The float that a byte stands for.
pub(crate) fn value(dtype: Dtype, byte: u8) -> f32 {
    if dtype == Dtype::F8E5m2 {
        return f16::from_bits(u16::from(byte) << 8).to_f32();
    }
    let (exponent, mantissa) = (u32::from(byte >> 3 & 15), u32::from(byte & 7));
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa as f32 / 512.0,
        _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

fn byte(code: i16) -> u8 {
    if code < 0 { 0x80 | code.unsigned_abs() as u8 } else { code as u8 }
}

fn code(byte: u8) -> i16 {
    let magnitude = i16::from(byte & 0x7f);
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// A byte as a code under a scale. What is not finite has code 0 and no steps.
pub(crate) fn cell(dtype: Dtype, range: CodeRange, stored: u8, scale: f32) -> Cell {
    let (code, float) = (code(stored), value(dtype, stored));
    if !float.is_finite() {
        return Cell { code: 0, value: float * scale, up: 0.0, down: 0.0 };
    }
    let step = |to: i16| if (range.low..=range.high).contains(&to) { value(dtype, byte(to)) - float } else { 0.0 };
    Cell { code, value: float * scale, up: step(code + 1) * scale, down: -step(code - 1) * scale }
}

/// Puts a code, which must be in range, into a byte. An equal code leaves the byte as it is, also −0; what is not
/// finite always stays.
pub(crate) fn put(dtype: Dtype, stored: &mut u8, to: i16) {
    if value(dtype, *stored).is_finite() && code(*stored) != to {
        *stored = byte(to);
    }
}
