//! Number formats of tensor elements: those of safetensors, under its names, and ggml's blocks, under ggml's.
//!
//! A format is described by its **block**: the smallest number of elements that fills whole bytes. For most that is one
//! element; packed floats take two or four, ggml's quantised blocks 32 or 256 with their scales among them.

use std::fmt;
use std::str::FromStr;

/// Number format of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// Boolean, one byte each.
    Bool,
    /// 4-bit float of the OCP microscaling formats, two to a byte.
    F4,
    /// 6-bit float with 2 exponent bits, packed.
    F6E2m3,
    /// 6-bit float with 3 exponent bits, packed.
    F6E3m2,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// 8-bit float with 5 exponent bits.
    F8E5m2,
    /// 8-bit float with 4 exponent bits.
    F8E4m3,
    /// 8-bit power of two, used as a block scale.
    F8E8m0,
    /// 8-bit float with 4 exponent bits and an unsigned zero.
    F8E4m3fnuz,
    /// 8-bit float with 5 exponent bits and an unsigned zero.
    F8E5m2fnuz,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of a single-precision float.
    Bf16,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// IEEE 754 single precision.
    F32,
    /// Complex number of two single-precision floats.
    C64,
    /// IEEE 754 double precision.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
    /// ggml: 4-bit codes and one scale to 32 elements.
    Q4_0,
    /// ggml: 4-bit codes, one scale and one minimum to 32 elements.
    Q4_1,
    /// ggml: 5-bit codes and one scale to 32 elements.
    Q5_0,
    /// ggml: 5-bit codes, one scale and one minimum to 32 elements.
    Q5_1,
    /// ggml: 8-bit codes and one scale to 32 elements.
    Q8_0,
    /// ggml: 2-bit codes in super-blocks of 256.
    Q2K,
    /// ggml: 3-bit codes in super-blocks of 256.
    Q3K,
    /// ggml: 4-bit codes in super-blocks of 256.
    Q4K,
    /// ggml: 5-bit codes in super-blocks of 256.
    Q5K,
    /// ggml: 6-bit codes in super-blocks of 256.
    Q6K,
    /// ggml: 8-bit codes in super-blocks of 256; only for intermediate results.
    Q8K,
    /// ggml: codebook of 2.06 bits to an element.
    Iq2Xxs,
    /// ggml: codebook of 2.31 bits to an element.
    Iq2Xs,
    /// ggml: codebook of 2.56 bits to an element.
    Iq2S,
    /// ggml: codebook of 3.06 bits to an element.
    Iq3Xxs,
    /// ggml: codebook of 3.44 bits to an element.
    Iq3S,
    /// ggml: codebook of 1.56 bits to an element.
    Iq1S,
    /// ggml: codebook of 1.75 bits to an element.
    Iq1M,
    /// ggml: 4-bit codes of an uneven grid and one scale to 32 elements.
    Iq4Nl,
    /// ggml: 4-bit codes of an uneven grid in super-blocks of 256.
    Iq4Xs,
    /// ggml: ternary, 1.69 bits to an element.
    Tq1_0,
    /// ggml: ternary, 2.06 bits to an element.
    Tq2_0,
    /// ggml: 4-bit floats and one power of two to 32 elements.
    Mxfp4,
    /// ggml: 4-bit floats and four 8-bit float scales to 64 elements.
    Nvfp4,
    /// ggml: signs and one scale to 128 elements.
    Q1_0,
}

impl Dtype {
    /// The dtypes of safetensors, in the order of their sizes.
    pub const SAFETENSORS: [Dtype; 22] = [
        Dtype::Bool,
        Dtype::F4,
        Dtype::F6E2m3,
        Dtype::F6E3m2,
        Dtype::U8,
        Dtype::I8,
        Dtype::F8E5m2,
        Dtype::F8E4m3,
        Dtype::F8E8m0,
        Dtype::F8E4m3fnuz,
        Dtype::F8E5m2fnuz,
        Dtype::I16,
        Dtype::U16,
        Dtype::F16,
        Dtype::Bf16,
        Dtype::I32,
        Dtype::U32,
        Dtype::F32,
        Dtype::C64,
        Dtype::F64,
        Dtype::I64,
        Dtype::U64,
    ];

    /// The name that a safetensors header uses, or ggml's.
    pub fn as_str(self) -> &'static str {
        match self {
            Dtype::Bool => "BOOL",
            Dtype::F4 => "F4",
            Dtype::F6E2m3 => "F6_E2M3",
            Dtype::F6E3m2 => "F6_E3M2",
            Dtype::U8 => "U8",
            Dtype::I8 => "I8",
            Dtype::F8E5m2 => "F8_E5M2",
            Dtype::F8E4m3 => "F8_E4M3",
            Dtype::F8E8m0 => "F8_E8M0",
            Dtype::F8E4m3fnuz => "F8_E4M3FNUZ",
            Dtype::F8E5m2fnuz => "F8_E5M2FNUZ",
            Dtype::I16 => "I16",
            Dtype::U16 => "U16",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
            Dtype::I32 => "I32",
            Dtype::U32 => "U32",
            Dtype::F32 => "F32",
            Dtype::C64 => "C64",
            Dtype::F64 => "F64",
            Dtype::I64 => "I64",
            Dtype::U64 => "U64",
            Dtype::Q4_0 => "Q4_0",
            Dtype::Q4_1 => "Q4_1",
            Dtype::Q5_0 => "Q5_0",
            Dtype::Q5_1 => "Q5_1",
            Dtype::Q8_0 => "Q8_0",
            Dtype::Q2K => "Q2_K",
            Dtype::Q3K => "Q3_K",
            Dtype::Q4K => "Q4_K",
            Dtype::Q5K => "Q5_K",
            Dtype::Q6K => "Q6_K",
            Dtype::Q8K => "Q8_K",
            Dtype::Iq2Xxs => "IQ2_XXS",
            Dtype::Iq2Xs => "IQ2_XS",
            Dtype::Iq2S => "IQ2_S",
            Dtype::Iq3Xxs => "IQ3_XXS",
            Dtype::Iq3S => "IQ3_S",
            Dtype::Iq1S => "IQ1_S",
            Dtype::Iq1M => "IQ1_M",
            Dtype::Iq4Nl => "IQ4_NL",
            Dtype::Iq4Xs => "IQ4_XS",
            Dtype::Tq1_0 => "TQ1_0",
            Dtype::Tq2_0 => "TQ2_0",
            Dtype::Mxfp4 => "MXFP4",
            Dtype::Nvfp4 => "NVFP4",
            Dtype::Q1_0 => "Q1_0",
        }
    }

    /// The smallest run of elements that fills whole bytes, and how many bytes that is.
    pub fn block(self) -> (u64, u64) {
        match self {
            Dtype::F4 => (2, 1),
            Dtype::F6E2m3 | Dtype::F6E3m2 => (4, 3),
            Dtype::Bool | Dtype::U8 | Dtype::I8 => (1, 1),
            Dtype::F8E5m2 | Dtype::F8E4m3 | Dtype::F8E8m0 | Dtype::F8E4m3fnuz | Dtype::F8E5m2fnuz => (1, 1),
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::Bf16 => (1, 2),
            Dtype::I32 | Dtype::U32 | Dtype::F32 => (1, 4),
            Dtype::C64 | Dtype::F64 | Dtype::I64 | Dtype::U64 => (1, 8),
            Dtype::Q4_0 | Dtype::Iq4Nl => (32, 18),
            Dtype::Q4_1 => (32, 20),
            Dtype::Q5_0 => (32, 22),
            Dtype::Q5_1 => (32, 24),
            Dtype::Q8_0 => (32, 34),
            Dtype::Q2K => (256, 84),
            Dtype::Q3K | Dtype::Iq3S => (256, 110),
            Dtype::Q4K => (256, 144),
            Dtype::Q5K => (256, 176),
            Dtype::Q6K => (256, 210),
            Dtype::Q8K => (256, 292),
            Dtype::Iq2Xxs | Dtype::Tq2_0 => (256, 66),
            Dtype::Iq2Xs => (256, 74),
            Dtype::Iq2S => (256, 82),
            Dtype::Iq3Xxs => (256, 98),
            Dtype::Iq1S => (256, 50),
            Dtype::Iq1M => (256, 56),
            Dtype::Iq4Xs => (256, 136),
            Dtype::Tq1_0 => (256, 54),
            Dtype::Mxfp4 => (32, 17),
            Dtype::Nvfp4 => (64, 36),
            Dtype::Q1_0 => (128, 18),
        }
    }

    /// Bits of one element; for ggml's blocks, whose share of the scales is no whole number of bits, rounded down.
    /// Lengths come from [`Dtype::bytes`].
    pub fn bits(self) -> u64 {
        let (elements, bytes) = self.block();
        bytes * 8 / elements
    }

    /// Bytes of a tensor with `elements` elements; `None` when they fill no whole number of blocks or the length
    /// exceeds 64 bits.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        let (block, bytes) = self.block();
        if elements % block != 0 {
            return None;
        }
        (elements / block).checked_mul(bytes)
    }

    /// The dtype with this number in a GGUF file.
    pub(crate) fn from_ggml(number: u32) -> Option<Dtype> {
        GGML.iter().find(|(known, _)| *known == number).map(|(_, dtype)| *dtype)
    }
}

/// ggml's numbers. Missing ones were withdrawn (4, 5, 31 to 33, 36 to 38), are never stored (9, Q8_1, whose size differs between
/// readers), or are not given yet.
const GGML: [(u32, Dtype); 33] = [
    (0, Dtype::F32),
    (1, Dtype::F16),
    (2, Dtype::Q4_0),
    (3, Dtype::Q4_1),
    (6, Dtype::Q5_0),
    (7, Dtype::Q5_1),
    (8, Dtype::Q8_0),
    (10, Dtype::Q2K),
    (11, Dtype::Q3K),
    (12, Dtype::Q4K),
    (13, Dtype::Q5K),
    (14, Dtype::Q6K),
    (15, Dtype::Q8K),
    (16, Dtype::Iq2Xxs),
    (17, Dtype::Iq2Xs),
    (18, Dtype::Iq3Xxs),
    (19, Dtype::Iq1S),
    (20, Dtype::Iq4Nl),
    (21, Dtype::Iq3S),
    (22, Dtype::Iq2S),
    (23, Dtype::Iq4Xs),
    (24, Dtype::I8),
    (25, Dtype::I16),
    (26, Dtype::I32),
    (27, Dtype::I64),
    (28, Dtype::F64),
    (29, Dtype::Iq1M),
    (30, Dtype::Bf16),
    (34, Dtype::Tq1_0),
    (35, Dtype::Tq2_0),
    (39, Dtype::Mxfp4),
    (40, Dtype::Nvfp4),
    (41, Dtype::Q1_0),
];

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads the names of safetensors only: a safetensors header must not claim ggml's blocks.
impl FromStr for Dtype {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Dtype::SAFETENSORS.into_iter().find(|dtype| dtype.as_str() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_agree_with_upstream() {
        for dtype in Dtype::SAFETENSORS {
            let upstream: safetensors::Dtype = serde_json::from_value(dtype.as_str().into()).unwrap();
            assert_eq!(dtype.bits(), upstream.bitsize() as u64, "{dtype}");
            assert_eq!(dtype.as_str().parse(), Ok(dtype));
        }
        assert_eq!("F7".parse::<Dtype>(), Err(()));
        assert_eq!("Q4_0".parse::<Dtype>(), Err(()));
    }

    #[test]
    fn packed_elements_must_fill_whole_bytes() {
        assert_eq!(Dtype::F4.bytes(3), None);
        assert_eq!(Dtype::F4.bytes(4), Some(2));
        assert_eq!(Dtype::F6E3m2.bytes(4), Some(3));
        assert_eq!(Dtype::F64.bytes(u64::MAX / 4), None);
        assert_eq!(Dtype::Q4_1.bytes(64), Some(40));
        assert_eq!(Dtype::Q4_1.bytes(33), None);
    }
}
