//! Elements as numbers, for comparing tensors of different formats.

use crate::Dtype;

/// A number format whose elements this crate turns into numbers one by one: floats and integers of whole bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers(Dtype);

impl Numbers {
    /// The format of a [`StoredTensor`](crate::StoredTensor)'s dtype, or `None` for packed, quantised and foreign ones.
    pub fn of(dtype: &str) -> Option<Numbers> {
        let dtype = dtype.parse().ok()?;
        let known = matches!(
            dtype,
            Dtype::F64
                | Dtype::F32
                | Dtype::F16
                | Dtype::Bf16
                | Dtype::F8E4m3
                | Dtype::F8E5m2
                | Dtype::I64
                | Dtype::I32
                | Dtype::I16
                | Dtype::I8
                | Dtype::U64
                | Dtype::U32
                | Dtype::U16
                | Dtype::U8
                | Dtype::Bool
        );
        known.then_some(Numbers(dtype))
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        self.0.block().1 as usize
    }

    /// Appends the elements in `bytes`, a whole number of them. 64-bit integers are rounded.
    pub fn read(self, bytes: &[u8], out: &mut Vec<f64>) {
        fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f64>, value: impl Fn([u8; N]) -> f64) {
            out.extend(bytes.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)));
        }
        match self.0 {
            Dtype::F64 => each(bytes, out, f64::from_le_bytes),
            Dtype::F32 => each(bytes, out, |b| f32::from_le_bytes(b).into()),
            Dtype::F16 => each(bytes, out, |b| half::f16::from_le_bytes(b).to_f64()),
            Dtype::Bf16 => each(bytes, out, |b| half::bf16::from_le_bytes(b).to_f64()),
            Dtype::F8E4m3 | Dtype::F8E5m2 => each(bytes, out, |[b]| crate::float8::value(self.0, b).into()),
            Dtype::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f64),
            Dtype::I32 => each(bytes, out, |b| i32::from_le_bytes(b).into()),
            Dtype::I16 => each(bytes, out, |b| i16::from_le_bytes(b).into()),
            Dtype::I8 => each(bytes, out, |b| i8::from_le_bytes(b).into()),
            Dtype::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f64),
            Dtype::U32 => each(bytes, out, |b| u32::from_le_bytes(b).into()),
            Dtype::U16 => each(bytes, out, |b| u16::from_le_bytes(b).into()),
            _ => each(bytes, out, |[b]| b.into()),
        }
    }
}
