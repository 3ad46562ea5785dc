//! ggml's quantised blocks: 32 or 256 elements with their scales.
//!
//! All layouts here share one formula, with a step and a base for each run of elements and a zero for each layout:
//!
//! ```text
//! value = step · (code − zero) + base
//! ```
//!
//! | layout | bytes of a block | run | zero | step; base |
//! |---|---|---|---|---|
//! | Q4_0 | d, 16 × two codes | 32 | 8 | d |
//! | Q4_1 | d, m, 16 × two codes | 32 | 0 | d; m |
//! | Q5_0 | d, 32 fifth bits, 16 × two codes | 32 | 16 | d |
//! | Q5_1 | d, m, 32 fifth bits, 16 × two codes | 32 | 0 | d; m |
//! | Q8_0 | d, 32 × i8 | 32 | 0 | d |
//! | Q2_K | 16 × (scale, min) of 4 bits, 64 × four codes, d, dmin | 16 | 0 | d·scale; −dmin·min |
//! | Q3_K | 32 × eight third bits, 64 × four codes, 16 scales of 6 bits, d | 16 | 4 | d·(scale − 32) |
//! | Q4_K | d, dmin, 8 × (scale, min) of 6 bits, 128 × two codes | 32 | 0 | d·scale; −dmin·min |
//! | Q5_K | d, dmin, 8 × (scale, min) of 6 bits, 32 × eight fifth bits, 128 × two codes | 32 | 0 | d·scale; −dmin·min |
//! | Q6_K | 128 × two low halves, 64 × four upper pairs, 16 × i8 scale, d | 16 | 32 | d·scale |
//!
//! d, m and dmin are f16. Sums and products are f32, in ggml's order, so that values agree with its own to the bit.

use half::f16;

use crate::Dtype;
use crate::codes::{Cell, CodeRange};

/// Some bits of a block's byte.
struct Place {
    byte: usize,
    shift: usize,
    width: usize,
}

impl Place {
    fn get(&self, block: &[u8]) -> u8 {
        (block[self.byte] >> self.shift) & self.mask()
    }

    fn set(&self, block: &mut [u8], bits: u8) {
        let byte = &mut block[self.byte];
        *byte = *byte & !(self.mask() << self.shift) | (bits & self.mask()) << self.shift;
    }

    fn mask(&self) -> u8 {
        (((1u16 << self.width) - 1) & 0xff) as u8
    }
}

const fn place(byte: usize, shift: usize, width: usize) -> Place {
    Place { byte, shift, width }
}

/// A layout; see the table above.
trait Layout {
    const ELEMENTS: usize;
    const BYTES: usize;
    /// Elements that share step and base.
    const RUN: usize;
    const ZERO: i16;
    const LOW: i16;
    const HIGH: i16;

    /// Where an element's low bits are, and its upper ones if they are kept apart.
    fn places(element: usize) -> (Place, Option<Place>);

    /// Step and base of a run.
    fn scale(block: &[u8], run: usize) -> (f32, f32);

    fn get(block: &[u8], element: usize) -> i16 {
        let (low, upper) = Self::places(element);
        let upper = upper.map_or(0, |upper| i16::from(upper.get(block)) << low.width);
        i16::from(low.get(block)) | upper
    }

    fn set(block: &mut [u8], element: usize, code: i16) {
        let (low, upper) = Self::places(element);
        low.set(block, code as u8);
        if let Some(upper) = upper {
            upper.set(block, (code >> low.width) as u8);
        }
    }
}

/// Base of layouts that have none: unlike +0 it leaves −0 as it is.
const NO_BASE: f32 = -0.0;

fn float(block: &[u8], byte: usize) -> f32 {
    f16::from_le_bytes([block[byte], block[byte + 1]]).to_f32()
}

/// Two codes to a byte in blocks of 32: the first half of the elements lies in the low nibbles.
fn nibble(start: usize, element: usize) -> Place {
    place(start + element % 16, element / 16 * 4, 4)
}

/// Two codes to a byte in blocks of 256: of each 64 elements the first half lies in the low nibbles.
fn nibble_k(start: usize, element: usize) -> Place {
    place(start + element / 64 * 32 + element % 32, element % 64 / 32 * 4, 4)
}

/// Two bits of each element in blocks of 256: of each 128 elements the first quarter lies in the lowest bits.
fn pair_k(start: usize, element: usize) -> Place {
    place(start + element / 128 * 32 + element % 32, element % 128 / 32 * 2, 2)
}

/// One bit of each element in blocks of 256: the first 32 elements lie in the lowest bits.
fn bit_k(start: usize, element: usize) -> Place {
    place(start + element % 32, element / 32, 1)
}

/// Scale and minimum of 6 bits, eight pairs in 12 bytes: bytes 0 to 3 hold the first four scales, 4 to 7 the first
/// four minima, 8 to 11 the low nibbles of the last four of each; their upper two bits top the first eight bytes.
fn scale_and_min(bytes: &[u8], run: usize) -> (u8, u8) {
    if run < 4 {
        (bytes[run] & 63, bytes[run + 4] & 63)
    } else {
        let low = bytes[run + 4];
        ((low & 15) | (bytes[run - 4] >> 6) << 4, (low >> 4) | (bytes[run] >> 6) << 4)
    }
}

struct Q4_0;
impl Layout for Q4_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const RUN: usize = 32;
    const ZERO: i16 = 8;
    const LOW: i16 = 0;
    const HIGH: i16 = 15;

    fn places(element: usize) -> (Place, Option<Place>) {
        (nibble(2, element), None)
    }

    fn scale(block: &[u8], _: usize) -> (f32, f32) {
        (float(block, 0), NO_BASE)
    }
}

struct Q4_1;
impl Layout for Q4_1 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 20;
    const RUN: usize = 32;
    const ZERO: i16 = 0;
    const LOW: i16 = 0;
    const HIGH: i16 = 15;

    fn places(element: usize) -> (Place, Option<Place>) {
        (nibble(4, element), None)
    }

    fn scale(block: &[u8], _: usize) -> (f32, f32) {
        (float(block, 0), float(block, 2))
    }
}

struct Q5_0;
impl Layout for Q5_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 22;
    const RUN: usize = 32;
    const ZERO: i16 = 16;
    const LOW: i16 = 0;
    const HIGH: i16 = 31;

    fn places(element: usize) -> (Place, Option<Place>) {
        (nibble(6, element), Some(place(2 + element / 8, element % 8, 1)))
    }

    fn scale(block: &[u8], _: usize) -> (f32, f32) {
        (float(block, 0), NO_BASE)
    }
}

struct Q5_1;
impl Layout for Q5_1 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 24;
    const RUN: usize = 32;
    const ZERO: i16 = 0;
    const LOW: i16 = 0;
    const HIGH: i16 = 31;

    fn places(element: usize) -> (Place, Option<Place>) {
        (nibble(8, element), Some(place(4 + element / 8, element % 8, 1)))
    }

    fn scale(block: &[u8], _: usize) -> (f32, f32) {
        (float(block, 0), float(block, 2))
    }
}

struct Q8_0;
impl Layout for Q8_0 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 34;
    const RUN: usize = 32;
    const ZERO: i16 = 0;
    const LOW: i16 = -128;
    const HIGH: i16 = 127;

    fn places(element: usize) -> (Place, Option<Place>) {
        (place(2 + element, 0, 8), None)
    }

    fn scale(block: &[u8], _: usize) -> (f32, f32) {
        (float(block, 0), NO_BASE)
    }

    /// The one layout with signed codes.
    fn get(block: &[u8], element: usize) -> i16 {
        i16::from(block[2 + element] as i8)
    }
}

struct Q2K;
impl Layout for Q2K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 84;
    const RUN: usize = 16;
    const ZERO: i16 = 0;
    const LOW: i16 = 0;
    const HIGH: i16 = 3;

    fn places(element: usize) -> (Place, Option<Place>) {
        (pair_k(16, element), None)
    }

    fn scale(block: &[u8], run: usize) -> (f32, f32) {
        let both = block[run];
        (float(block, 80) * f32::from(both & 15), -(float(block, 82) * f32::from(both >> 4)))
    }
}

struct Q3K;
impl Layout for Q3K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 110;
    const RUN: usize = 16;
    const ZERO: i16 = 4;
    const LOW: i16 = 0;
    const HIGH: i16 = 7;

    fn places(element: usize) -> (Place, Option<Place>) {
        (pair_k(32, element), Some(bit_k(0, element)))
    }

    /// The low nibbles of the 16 scales are in 8 bytes, the first eight below; the upper two bits in 4 bytes, in fours.
    fn scale(block: &[u8], run: usize) -> (f32, f32) {
        let scales = &block[96..108];
        let low = (scales[run % 8] >> (run / 8 * 4)) & 15;
        let upper = (scales[8 + run % 4] >> (run / 4 * 2)) & 3;
        (float(block, 108) * f32::from(i16::from(low | upper << 4) - 32), NO_BASE)
    }
}

struct Q4K;
impl Layout for Q4K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 144;
    const RUN: usize = 32;
    const ZERO: i16 = 0;
    const LOW: i16 = 0;
    const HIGH: i16 = 15;

    fn places(element: usize) -> (Place, Option<Place>) {
        (nibble_k(16, element), None)
    }

    fn scale(block: &[u8], run: usize) -> (f32, f32) {
        let (scale, min) = scale_and_min(&block[4..16], run);
        (float(block, 0) * f32::from(scale), -(float(block, 2) * f32::from(min)))
    }
}

struct Q5K;
impl Layout for Q5K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 176;
    const RUN: usize = 32;
    const ZERO: i16 = 0;
    const LOW: i16 = 0;
    const HIGH: i16 = 31;

    fn places(element: usize) -> (Place, Option<Place>) {
        (nibble_k(48, element), Some(bit_k(16, element)))
    }

    fn scale(block: &[u8], run: usize) -> (f32, f32) {
        Q4K::scale(block, run)
    }
}

struct Q6K;
impl Layout for Q6K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 210;
    const RUN: usize = 16;
    const ZERO: i16 = 32;
    const LOW: i16 = 0;
    const HIGH: i16 = 63;

    /// Of each 128 elements the first half lies in the low nibbles of 64 bytes.
    fn places(element: usize) -> (Place, Option<Place>) {
        let low = place(element / 128 * 64 + element % 64, element % 128 / 64 * 4, 4);
        (low, Some(pair_k(128, element)))
    }

    fn scale(block: &[u8], run: usize) -> (f32, f32) {
        (float(block, 208) * f32::from(block[192 + run] as i8), NO_BASE)
    }
}

/// Runs an expression with the layout type of a dtype, or gives the other when it has none.
macro_rules! with_layout {
    ($dtype:expr, $layout:ident => $expression:expr, $otherwise:expr) => {{
        macro_rules! run {
            ($type:ty) => {{
                type $layout = $type;
                $expression
            }};
        }
        match $dtype {
            Dtype::Q4_0 => run!(Q4_0),
            Dtype::Q4_1 => run!(Q4_1),
            Dtype::Q5_0 => run!(Q5_0),
            Dtype::Q5_1 => run!(Q5_1),
            Dtype::Q8_0 => run!(Q8_0),
            Dtype::Q2K => run!(Q2K),
            Dtype::Q3K => run!(Q3K),
            Dtype::Q4K => run!(Q4K),
            Dtype::Q5K => run!(Q5K),
            Dtype::Q6K => run!(Q6K),
            _ => $otherwise,
        }
    }};
}

/// The codes of a dtype, `None` when its blocks cannot be taken apart here.
pub(crate) fn range(dtype: Dtype) -> Option<CodeRange> {
    with_layout!(dtype, L => Some(CodeRange::even(L::LOW, L::HIGH)), None)
}

/// Visits the elements of whole blocks in order.
pub(crate) fn decode(dtype: Dtype, bytes: &[u8], visit: &mut impl FnMut(Cell)) {
    with_layout!(dtype, L => decode_as::<L>(bytes, visit), ())
}

fn decode_as<L: Layout>(bytes: &[u8], visit: &mut impl FnMut(Cell)) {
    for block in bytes.chunks_exact(L::BYTES) {
        for run in 0..L::ELEMENTS / L::RUN {
            let (step, base) = L::scale(block, run);
            for element in run * L::RUN..(run + 1) * L::RUN {
                let code = L::get(block, element);
                visit(Cell::even(code, step * f32::from(code - L::ZERO) + base, step));
            }
        }
    }
}

/// Puts codes, which must be in range, into whole blocks; nothing else changes.
pub(crate) fn encode(dtype: Dtype, bytes: &mut [u8], codes: &[i16]) {
    with_layout!(dtype, L => encode_as::<L>(bytes, codes), ())
}

fn encode_as<L: Layout>(bytes: &mut [u8], codes: &[i16]) {
    for (block, codes) in bytes.chunks_exact_mut(L::BYTES).zip(codes.chunks_exact(L::ELEMENTS)) {
        for (element, code) in codes.iter().enumerate() {
            L::set(block, element, *code);
        }
    }
}
