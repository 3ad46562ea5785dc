//! The slow, obvious version: one weight at a time, the whole model in memory. The fast path must agree with it bit for
//! bit, in every slot sum and every marked byte.

use std::collections::BTreeMap;

use chacha20::ChaCha8;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use countermark_formats::{Checkpoint, Dtype};
use half::{bf16, f16};

use crate::commitment::Commitment;
use crate::key::{self, MarkKey};
use crate::tensors::{Matrix, matrices};

/// Sums of one slot, in fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub correlation: i64,
    pub profile: i64,
    pub count: i64,
}

/// A matrix with its carrier.
struct Carried {
    name: String,
    matrix: Matrix,
    weights: Vec<Weight>,
}

#[derive(Clone, Copy)]
enum Weight {
    F32(f32),
    F16(f16),
    Bf16(bf16),
}

impl Weight {
    fn value(self) -> f32 {
        match self {
            Weight::F32(x) => x,
            Weight::F16(x) => x.to_f32(),
            Weight::Bf16(x) => x.to_f32(),
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Weight::F32(x) => x.to_le_bytes().into(),
            Weight::F16(x) => x.to_le_bytes().into(),
            Weight::Bf16(x) => x.to_le_bytes().into(),
        }
    }

    /// The neighbour of the target on this weight's grid, away from zero when remainder and dither reach one.
    fn dithered(self, target: f32, dither: u16) -> Weight {
        let pick = |magnitude_at: &dyn Fn(u16) -> f64, top: u16| {
            let magnitude = f64::from(target.abs());
            // Bits of consecutive magnitudes are consecutive: search the last one that is not above the target.
            let (mut below, mut above) = (0, top);
            while below < above {
                let middle = (below + above).div_ceil(2);
                if magnitude_at(middle) <= magnitude { below = middle } else { above = middle - 1 }
            }
            if below == top {
                return top;
            }
            let step = magnitude_at(below + 1) - magnitude_at(below);
            let remainder = ((magnitude - magnitude_at(below)) / step * 65536.0) as u32;
            if remainder + u32::from(dither) >= 65536 { below + 1 } else { below }
        };
        let sign = if target.is_sign_negative() { 0x8000 } else { 0 };
        match self {
            Weight::F32(_) => Weight::F32(target.clamp(f32::MIN, f32::MAX)),
            Weight::F16(_) => Weight::F16(f16::from_bits(sign | pick(&|bits| f16::from_bits(bits).to_f64(), 0x7bff))),
            Weight::Bf16(_) => {
                Weight::Bf16(bf16::from_bits(sign | pick(&|bits| bf16::from_bits(bits).to_f64(), 0x7f7f)))
            }
        }
    }
}

/// Slot sums over all marked tensors.
pub fn slot_sums(model: &Checkpoint, key: &MarkKey, slots: usize) -> Vec<Sums> {
    let mut sums = vec![Sums::default(); slots];
    for carried in load(model) {
        carried.add_sums(key, &mut sums);
    }
    sums
}

/// Σ g² over all marked tensors, in fixed point.
pub fn energy(model: &Checkpoint) -> i64 {
    let square = |g: f32| (g * g * 262144.0).round_ties_even() as i64;
    let energy = |carried: Carried| -> i64 {
        let rows = (0..carried.matrix.stored.rows).filter_map(|row| carried.scaled_row(row));
        rows.flatten().map(square).sum()
    };
    load(model).into_iter().map(energy).sum()
}

/// Adds the second half of the lanes to the first, until one is left.
fn halved(lanes: [f64; 32]) -> f64 {
    let mut lanes = lanes.to_vec();
    while lanes.len() > 1 {
        let second = lanes.split_off(lanes.len() / 2);
        lanes = lanes.iter().zip(second).map(|(a, b)| a + b).collect();
    }
    lanes[0]
}

/// Embeds the mark of a record whose codeword is known. Returns the bytes of every tensor.
pub fn embed(model: &Checkpoint, key: &MarkKey, commitment: &Commitment, codeword: &[bool]) -> Vec<Vec<u8>> {
    let host = slot_sums(model, key, codeword.len());
    let mut amplitudes = vec![0.0f32; codeword.len()];
    let mut sums = host.clone();
    for _ in 0..3 {
        for slot in 0..codeword.len() {
            let sign = if codeword[slot] { -1.0 } else { 1.0 };
            let target = sign * commitment.transcript.algorithm.alpha() * host[slot].count as f64;
            let missing = target - sums[slot].correlation as f64 / 1048576.0;
            if missing * sign > 0.0 && host[slot].profile > 0 {
                amplitudes[slot] += (missing / (host[slot].profile as f64 / 1048576.0)) as f32;
            }
        }
        sums = vec![Sums::default(); codeword.len()];
        for carried in load(model) {
            carried.marked(key, &amplitudes).add_sums(key, &mut sums);
        }
    }
    let mut marked: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for carried in load(model) {
        let carried = carried.marked(key, &amplitudes);
        marked.insert(carried.matrix.stored.tensor, carried.weights.iter().flat_map(|weight| weight.bytes()).collect());
    }
    (0..model.tensors().len())
        .map(|index| {
            marked.remove(&index).unwrap_or_else(|| {
                let mut bytes = Vec::new();
                model.read(index, &mut bytes).unwrap();
                bytes
            })
        })
        .collect()
}

fn load(model: &Checkpoint) -> Vec<Carried> {
    let load = |matrix: Matrix| {
        let mut bytes = Vec::new();
        model.read(matrix.stored.tensor, &mut bytes).unwrap();
        let weights = match model.tensors()[matrix.stored.tensor].info.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| Weight::F32(f32::from_le_bytes(*b))).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|b| Weight::F16(f16::from_le_bytes(*b))).collect(),
            _ => bytes.as_chunks().0.iter().map(|b| Weight::Bf16(bf16::from_le_bytes(*b))).collect(),
        };
        Carried { name: matrix.role().to_owned(), matrix, weights }
    };
    matrices(model).into_iter().filter(|matrix| matrix.marked).map(load).collect()
}

impl Carried {
    fn add_sums(&self, key: &MarkKey, sums: &mut [Sums]) {
        for row in 0..self.matrix.stored.rows {
            let Some(scaled) = self.scaled_row(row) else { continue };
            for (column, g) in scaled.into_iter().enumerate() {
                let sum = &mut sums[self.slot(key, sums.len(), row, column as u64)];
                sum.correlation += self.chip(key, row, column as u64) * (g * 1048576.0).round_ties_even() as i64;
                sum.profile += (g.abs() * 1048576.0).round_ties_even() as i64;
                sum.count += i64::from(self.weight(row, column as u64).value().is_finite());
            }
        }
    }

    fn marked(mut self, key: &MarkKey, amplitudes: &[f32]) -> Carried {
        let host = Carried { name: self.name.clone(), matrix: self.matrix.clone(), weights: self.weights.clone() };
        for row in 0..host.matrix.stored.rows {
            let Some(rms) = host.rms(row) else { continue };
            for column in 0..host.matrix.stored.columns {
                let amplitude = amplitudes[host.slot(key, amplitudes.len(), row, column)];
                let delta =
                    host.chip(key, row, column) as f32 * amplitude * host.finite(row, column).abs().min(4.0 * rms);
                let weight = host.weight(row, column);
                if delta != 0.0 {
                    let target = weight.value() + delta;
                    self.weights[(row * host.matrix.stored.columns + column) as usize] =
                        weight.dithered(target, host.dither(key, row, column));
                }
            }
        }
        self
    }

    fn weight(&self, row: u64, column: u64) -> Weight {
        self.weights[(row * self.matrix.stored.columns + column) as usize]
    }

    /// The row's weights in units of its RMS, clipped; `None` for a row that counts as zeros.
    fn scaled_row(&self, row: u64) -> Option<Vec<f32>> {
        let inverse = 1.0 / self.rms(row)?;
        let scaled = |column| (self.finite(row, column) * inverse).clamp(-4.0, 4.0);
        Some((0..self.matrix.stored.columns).map(scaled).collect())
    }

    fn finite(&self, row: u64, column: u64) -> f32 {
        let value = self.weight(row, column).value();
        if value.is_finite() { value } else { 0.0 }
    }

    fn rms(&self, row: u64) -> Option<f32> {
        let mut lanes = [0.0f64; 32];
        for column in 0..self.matrix.stored.columns {
            let value = f64::from(self.finite(row, column));
            lanes[(column % 32) as usize] += value * value;
        }
        let rms = (halved(lanes) / self.matrix.stored.columns as f64).sqrt() as f32;
        (rms >= f32::MIN_POSITIVE).then_some(rms)
    }

    fn group(&self, key: &MarkKey, row: u64) -> usize {
        let first = key::hash("first-group", &[&key.hash(), self.name.as_bytes()])[0];
        ((row + u64::from(first)) % 4) as usize
    }

    fn chip(&self, key: &MarkKey, row: u64, column: u64) -> i64 {
        let blocks = self.matrix.stored.columns.div_ceil(512);
        let byte = (row / 4) * blocks * 64 + column / 8;
        let [byte] = self.stream(key, "chips", row, byte);
        if byte >> (column % 8) & 1 == 1 { -1 } else { 1 }
    }

    fn slot(&self, key: &MarkKey, slots: usize, row: u64, column: u64) -> usize {
        let per_group = slots as u64 / 4;
        let word = u32::from_le_bytes(self.stream(key, "rotation", row, row / 4 * 4));
        let rotation = (u128::from(word) * u128::from(per_group) / (1 << 32)) as u64;
        self.group(key, row) * per_group as usize + ((column + rotation) % per_group) as usize
    }

    fn dither(&self, key: &MarkKey, row: u64, column: u64) -> u16 {
        let blocks = self.matrix.stored.columns.div_ceil(32);
        u16::from_le_bytes(self.stream(key, "dither", row, (row / 4) * blocks * 64 + 2 * column))
    }

    fn stream<const N: usize>(&self, key: &MarkKey, purpose: &str, row: u64, offset: u64) -> [u8; N] {
        let key = key.expand(self.group(key, row), purpose, self.name.as_bytes());
        let mut stream = ChaCha8::new((&*key).into(), &[0; 12].into());
        let mut bytes = [0; N];
        stream.seek(offset);
        stream.apply_keystream(&mut bytes);
        bytes
    }
}

mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::carrier::TensorCarrier;
    use crate::key::MarkSecret;
    use crate::ops::{self, SlotSums};
    use crate::tensors::{Content, for_each_block};
    use crate::{Compute, EmbedOptions, Rung, Strength};

    /// A model of one matrix, from the bytes of its weights.
    fn model(name: &str, dtype: Dtype, rows: usize, columns: usize, data: Vec<u8>) -> Checkpoint {
        let header = format!(
            r#"{{"{name}":{{"dtype":"{dtype}","shape":[{rows},{columns}],"data_offsets":[0,{}]}}}}"#,
            data.len()
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&data);
        Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))]).unwrap()
    }

    /// Weights of every kind: ordinary, tiny, large, zero of both signs, NaN, infinite, powers of two, rows of zeros.
    fn weights(dtype: Dtype, rows: usize, columns: usize, seed: u64, wild: bool) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 16
        };
        let mut data = Vec::new();
        for row in 0..rows {
            for _ in 0..columns {
                let plain = (0..4).map(|_| (next() % 65536) as f32 / 65536.0 - 0.5).sum::<f32>() * 0.05;
                let value = match next() % 64 {
                    _ if wild && row % 13 == 5 => 0.0,
                    0 if wild => f32::NAN,
                    1 if wild => f32::INFINITY,
                    2 if wild => -0.0,
                    3 if wild => 2f32.powi(-3 - (next() % 25) as i32),
                    4 if wild => plain * 1e-6,
                    5 if wild => plain * 30.0,
                    6 if wild => plain * 1e-39,
                    _ => plain,
                };
                match dtype {
                    Dtype::F32 => data.extend(value.to_le_bytes()),
                    Dtype::F16 => data.extend(f16::from_f32(value).to_le_bytes()),
                    _ => data.extend(bf16::from_f32(value).to_le_bytes()),
                }
            }
        }
        data
    }

    fn fast_sums(model: &Checkpoint, key: &MarkKey, rung: Rung) -> SlotSums {
        let mut sums = SlotSums::new(rung.slots());
        for matrix in matrices(model) {
            let carrier = TensorCarrier::new(key, matrix.role(), rung.slots_per_group());
            for_each_block(model, &matrix, &Compute::cpu(), Content::Weights, |block| {
                sums.add(&ops::survey(&block.tensor, &carrier, block.first_row)?);
                Ok(())
            })
            .unwrap();
        }
        sums
    }

    fn dtype() -> impl Strategy<Value = Dtype> {
        prop_oneof![Just(Dtype::F32), Just(Dtype::F16), Just(Dtype::Bf16)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn slot_sums_agree(dtype in dtype(), rows in 16usize..70, columns in 256usize..1300, seed: u64, payload: bool) {
            let model = model("layer.weight", dtype, rows, columns, weights(dtype, rows, columns, seed, true));
            let key = MarkKey::derive(&MarkSecret::from_bytes([3; 32]), [1; 32], seed.to_le_bytes().repeat(2).try_into().unwrap(), None);
            let rung = if payload { Rung::Full } else { Rung::Presence };
            let fast = fast_sums(&model, &key, rung);
            prop_assert_eq!(fast.energy, energy(&model));
            for (slot, slow) in slot_sums(&model, &key, rung.slots()).into_iter().enumerate() {
                prop_assert_eq!(slow, Sums {
                    correlation: fast.correlation[slot],
                    profile: fast.profile[slot],
                    count: fast.count[slot],
                });
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3))]

        #[test]
        fn embedding_agrees(dtype in dtype(), columns in 300usize..700, seed: u64, wild: bool) {
            let rows = 75_000usize.div_ceil(columns);
            let model = model("layer.weight", dtype, rows, columns, weights(dtype, rows, columns, seed, wild));
            let key = MarkKey::derive(&MarkSecret::from_bytes([3; 32]), [1; 32], [9; 16], None);
            let options = EmbedOptions { strength: Strength::Decibel(-12.0), ..EmbedOptions::default() };
            let mut fast = Vec::new();
            let report = crate::embed(&model, &key, &options, &|_| (), &mut |_, bytes| {
                fast.push(bytes.to_vec());
                Ok(())
            });
            let report = report.unwrap();
            let opened = report.commitment.open(&MarkSecret::from_bytes([3; 32])).unwrap();
            let slow = embed(&model, &key, &report.commitment, &opened.codeword.unwrap());
            prop_assert!(fast == slow, "{} bytes differ", fast[0].iter().zip(&slow[0]).filter(|(a, b)| a != b).count());
        }
    }

    /// One pass with frozen scale and nothing clipped meets the target exactly; the figures are worked by hand.
    #[test]
    fn one_pass_by_hand() {
        let (w, s) = ([0.5f64, -1.0, 2.0, 0.5], [1.0, -1.0, 1.0, -1.0]);
        let (b, alpha) = (-1.0, 0.1);
        let rms = (w.iter().map(|w| w * w).sum::<f64>() / 4.0).sqrt();
        let correlation: f64 = w.iter().zip(s).map(|(w, s)| s * w / rms).sum();
        let amplitude = (b * alpha * 4.0 - correlation) / w.iter().map(|w| w.abs() / rms).sum::<f64>();
        let marked: Vec<f64> = w.iter().zip(s).map(|(w, s)| w + amplitude * s * w.abs()).collect();
        assert!((rms - 1.172604).abs() < 1e-6 && (correlation - 2.558409).abs() < 1e-6);
        assert!((amplitude + 0.867260).abs() < 1e-6);
        for (marked, expected) in marked.iter().zip([0.066370, -0.132740, 0.265479, 0.933630]) {
            assert!((marked - expected).abs() < 1e-6);
        }
        let after: f64 = marked.iter().zip(s).map(|(w, s)| s * w / rms).sum();
        assert!((after - b * alpha * 4.0).abs() < 1e-12);
    }
}
