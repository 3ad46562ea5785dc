//! Number formats of tensor elements, under the names that safetensors gives them.

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
}

impl Dtype {
    /// Every dtype, in the order of their sizes.
    pub const ALL: [Dtype; 22] = [
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

    /// The name that a safetensors header uses.
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
        }
    }

    /// Bits of one element.
    pub fn bits(self) -> u64 {
        match self {
            Dtype::F4 => 4,
            Dtype::F6E2m3 | Dtype::F6E3m2 => 6,
            Dtype::Bool | Dtype::U8 | Dtype::I8 => 8,
            Dtype::F8E5m2 | Dtype::F8E4m3 | Dtype::F8E8m0 | Dtype::F8E4m3fnuz | Dtype::F8E5m2fnuz => 8,
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::Bf16 => 16,
            Dtype::I32 | Dtype::U32 | Dtype::F32 => 32,
            Dtype::C64 | Dtype::F64 | Dtype::I64 | Dtype::U64 => 64,
        }
    }

    /// Bytes of a tensor with `elements` elements; `None` when that is no whole number or exceeds 64 bits.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        let bits = elements.checked_mul(self.bits())?;
        (bits % 8 == 0).then_some(bits / 8)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Dtype {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Dtype::ALL.into_iter().find(|dtype| dtype.as_str() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_agree_with_upstream() {
        for dtype in Dtype::ALL {
            let upstream: safetensors::Dtype = serde_json::from_value(dtype.as_str().into()).unwrap();
            assert_eq!(dtype.bits(), upstream.bitsize() as u64, "{dtype}");
            assert_eq!(dtype.as_str().parse(), Ok(dtype));
        }
        assert_eq!("F7".parse::<Dtype>(), Err(()));
    }

    #[test]
    fn packed_elements_must_fill_whole_bytes() {
        assert_eq!(Dtype::F4.bytes(3), None);
        assert_eq!(Dtype::F4.bytes(4), Some(2));
        assert_eq!(Dtype::F6E3m2.bytes(4), Some(3));
        assert_eq!(Dtype::F64.bytes(u64::MAX / 8), None);
    }
}
