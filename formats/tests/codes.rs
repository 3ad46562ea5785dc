//! Codes: known answers from independent packers, slow references, and what an edit may change.

mod common;

use common::{Part, Random, codes, f32s, gguf, matrix, open, safetensors, text, values, words};
use countermark_formats::{Checkpoint, CodeBlock, Dtype, Error, Grid, Matrix};
use proptest::prelude::*;

/// ggml's types that can be taken apart, with their numbers and the largest code.
const BLOCKS: [(&str, Dtype, i16, i16); 10] = [
    ("2", Dtype::Q4_0, 0, 15),
    ("3", Dtype::Q4_1, 0, 15),
    ("6", Dtype::Q5_0, 0, 31),
    ("7", Dtype::Q5_1, 0, 31),
    ("8", Dtype::Q8_0, -128, 127),
    ("10", Dtype::Q2K, 0, 3),
    ("11", Dtype::Q3K, 0, 7),
    ("12", Dtype::Q4K, 0, 15),
    ("13", Dtype::Q5K, 0, 31),
    ("14", Dtype::Q6K, 0, 63),
];

fn hex(rows: &[&str]) -> Vec<i16> {
    rows.concat().chars().map(|digit| digit.to_digit(16).unwrap() as i16).collect()
}

fn sixty_fourths(values: &[i16]) -> Vec<f32> {
    values.iter().map(|value| f32::from(*value) / 64.0).collect()
}

/// Packed by numpy after AutoGPTQ's `QuantLinear.pack`: 8 outputs, 16 inputs, two groups in mixed order, zero points
/// stored less 1.
fn gptq(zeros: [u32; 2]) -> Checkpoint {
    let qweight = [
        0x3dc9eaaf, 0x454d71c2, 0xf59bccf8, 0xec7f8207, 0x3ebf310f, 0xdf82ef48, 0x9a5ad98b, 0x96f966d6, 0xd70ed440,
        0x89877f4b, 0x019d2d37, 0x367487ad, 0x2ad9075b, 0x8317b0ab, 0x23596a01, 0x2fa8a797,
    ];
    let scales = [32, 56, 6, 42, 34, 9, 54, 54, 31, 60, 39, 57, 61, 36, 18, 10];
    let groups = [0, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 0];
    open(safetensors(&[
        ("model.layers.0.mlp.up_proj.qweight", "I32", &[2, 8], words(&qweight)),
        ("model.layers.0.mlp.up_proj.qzeros", "I32", &[2, 1], words(&zeros)),
        ("model.layers.0.mlp.up_proj.scales", "F32", &[2, 8], f32s(sixty_fourths(&scales))),
        ("model.layers.0.mlp.up_proj.g_idx", "I32", &[16], words(&groups)),
    ]))
}

const GPTQ_CODES: [&str; 8] = [
    "faae9cd3044de07d",
    "2c17d454b4f77898",
    "8fccb95f73d2d910",
    "7028f7ceda784763",
    "f013fbe3b5709da2",
    "84fe28fdba0b7138",
    "b89da5a910a69532",
    "6d669f69797a8af2",
];

#[test]
fn gptq_known_answer() {
    let model = gptq([0x1c603568, 0x40a03ee6]);
    assert_eq!(model.matrices().len(), 1, "scales are no matrix");
    let matrix = matrix(&model, "layers.0.mlp.up");
    assert_eq!((matrix.rows, matrix.columns, matrix.grid), (8, 16, Grid::Codes));
    let block = codes(&model, &matrix);
    assert_eq!(block.code, hex(&GPTQ_CODES));
    assert_eq!((block.low, block.high, block.most), (0, 15, 15));
    let first = [192, 93, 32, 160, 62, 96, 186, -192, -217, -93, -160, 186, 217, -217, -64, 128];
    let third = [12, 0, 36, 36, -156, 18, -390, 54, -312, -468, 42, -507, -78, -234, -30, -36];
    let last = [216, 80, 216, 216, 40, 702, 10, 378, 20, 40, 270, 50, 30, 50, 702, 0];
    assert_eq!(block.value[..16], sixty_fourths(&first));
    assert_eq!(block.value[32..48], sixty_fourths(&third));
    assert_eq!(block.value[112..], sixty_fourths(&last));
    assert_eq!(block.up[..4], [0.5, 31.0 / 64.0, 0.5, 0.5]);
    assert_eq!(values(&model, &matrix), block.value);
}

/// Every stored zero point 7: version 1 and zero 8. Every one 8: version 2 and the same zero 8.
#[test]
fn gptq_zero_points_of_both_versions() {
    let (first, second) = (gptq([0x77777777; 2]), gptq([0x88888888; 2]));
    let role = "layers.0.mlp.up";
    let expected: Vec<f32> = hex(&GPTQ_CODES[..1])[..1].iter().map(|code| f32::from(code - 8) * 0.5).collect();
    assert_eq!(values(&first, &matrix(&first, role)), values(&second, &matrix(&second, role)));
    assert_eq!(values(&first, &matrix(&first, role))[..1], expected);
}

/// A group that does not exist.
#[test]
fn gptq_groups_are_checked() {
    let model = open(safetensors(&[
        ("a.qweight", "I32", &[1, 8], vec![0; 32]),
        ("a.qzeros", "I32", &[1, 1], vec![0; 4]),
        ("a.scales", "F16", &[1, 8], vec![0; 16]),
        ("a.g_idx", "I32", &[8], words(&[0, 0, 0, 1, 0, 0, 0, 0])),
    ]));
    let message = model.rows(&matrix(&model, "a")).err().unwrap().to_string();
    assert!(message.contains("\"a.g_idx\"") && message.contains("group 1"), "{message}");
}

/// Packed by numpy in AWQ's order 0 2 4 6 1 3 5 7: 16 outputs, 4 inputs, groups of 2.
#[test]
fn awq_known_answer() {
    let qweight = [0x1e7f1bc3, 0xd9c4a6ea, 0x81cea583, 0xdcea2e85, 0x6609bc7b, 0xfbfdd480, 0xdf076050, 0x0c2560c9];
    let zeros = [0xb8ca1f7d, 0x25331e33, 0x59f5fd46, 0xf7f43312];
    let scales = [
        10, 33, 60, 33, 57, 57, 49, 47, 37, 37, 53, 27, 60, 56, 24, 26, 46, 59, 7, 5, 16, 28, 11, 33, 35, 60, 47, 16,
        50, 51, 43, 43,
    ];
    let model = open(safetensors(&[
        ("a.qweight", "I32", &[4, 2], words(&qweight)),
        ("a.qzeros", "I32", &[2, 2], words(&zeros)),
        ("a.scales", "F32", &[2, 16], f32s(sixty_fourths(&scales))),
    ]));
    let matrix = matrix(&model, "a");
    assert_eq!((matrix.rows, matrix.columns), (16, 4));
    let block = codes(&model, &matrix);
    let expected = [
        "33b0", "fe97", "c875", "7c00", "b5c0", "e16f", "1ab6", "186d", "a509", "4ad5", "e88c", "cef2", "6e40", "9cbc",
        "a2d6", "ddf0",
    ];
    assert_eq!(block.code, hex(&expected));
    assert_eq!(block.value[..8], sixty_fourths(&[-100, -100, 230, -276, 165, 132, 236, 118]));
    assert_eq!(block.value[20..24], sixty_fourths(&[342, -399, -84, 168]));
    assert_eq!(block.value[60..], sixty_fourths(&[286, 286, 0, -645]));
}

/// Codes 2, 4 or 8 bits wide, written bit by bit as the layout says.
#[test]
fn gptq_of_every_width() {
    let mut random = Random(3);
    for bits in [2usize, 4, 8] {
        let (rows, columns, groups) = (32usize, 64usize, 4usize);
        let code: Vec<u32> = (0..rows * columns).map(|_| random.next() as u32 & ((1 << bits) - 1)).collect();
        let zero: Vec<u32> = (0..groups * rows).map(|_| random.next() as u32 & ((1 << bits) - 1)).collect();
        let (mut qweight, mut qzeros) = (vec![0u32; columns * bits / 32 * rows], vec![0u32; rows * bits / 32 * groups]);
        for bit in 0..bits {
            for column in 0..columns {
                for row in 0..rows {
                    let at = column * bits + bit;
                    qweight[at / 32 * rows + row] |= (code[row * columns + column] >> bit & 1) << (at % 32);
                }
            }
            for group in 0..groups {
                for row in 0..rows {
                    let at = row * bits + bit;
                    qzeros[group * (rows * bits / 32) + at / 32] |= (zero[group * rows + row] >> bit & 1) << (at % 32);
                }
            }
        }
        let scales: Vec<f32> = (0..groups * rows).map(|i| (i + 1) as f32).collect();
        let file = safetensors(&[
            ("a.qweight", "I32", &[(columns * bits / 32) as u64, 32], words(&qweight)),
            ("a.qzeros", "I32", &[4, (rows * bits / 32) as u64], words(&qzeros)),
            ("a.scales", "F32", &[4, 32], f32s(scales.iter().copied())),
        ]);
        let model = open(file.clone());
        let block = codes(&model, &matrix(&model, "a"));
        for row in 0..rows {
            for column in 0..columns {
                let (at, group) = (row * columns + column, column / 16 * rows + row);
                let zero = (zero[group] + 1) % (1 << bits);
                assert_eq!(block.code[at], code[at] as i16);
                assert_eq!(block.value[at], scales[group] * (code[at] as f32 - zero as f32));
            }
        }
        edit_and_back(file, "a", 5);
    }
}

/// int8 under the names that quantisers use.
#[test]
fn int8_with_scales_beside() {
    let bytes: Vec<u8> = [-128i8, -127, -1, 0, 1, 127].map(|code| code as u8).to_vec();
    let rows = || f32s([0.5, 0.25]);
    let of = |name: &str, extra: Vec<Part<'_>>| {
        let mut parts: Vec<Part<'_>> = vec![(name, "I8", &[2, 3], bytes.clone())];
        parts.extend(extra);
        let model = open(safetensors(&parts));
        assert_eq!(model.matrices().len(), 1, "{name}");
        let matrix = &model.matrices()[0];
        assert_eq!(matrix.role, "a");
        values(&model, matrix)
    };
    let by_row = [-64.0, -63.5, -0.5, 0.0, 0.25, 31.75];
    assert_eq!(of("a.weight", vec![("a.weight_scale", "F32", &[2, 1], rows())]), by_row);
    assert_eq!(of("a.weight", vec![("a.scale", "F32", &[2], rows())]), by_row);
    assert_eq!(of("a.qweight", vec![("a.scale", "F32", &[2, 1], rows())]), by_row);
    assert_eq!(of("a.weight.qweight", vec![("a.weight.scale", "F32", &[2, 1, 1], rows())]), by_row);
    assert_eq!(of("a.weight._data", vec![("a.weight._scale", "F32", &[2, 1], rows())]), by_row);
    let half: Vec<u8> = [0x3800u16, 0x3400].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    assert_eq!(of("a.weight", vec![("a.weight_scale", "F16", &[2, 1], half)]), by_row);
    assert_eq!(
        of("a.weight", vec![("a.weight_scale", "F32", &[], f32s([2.0]))]),
        [-256.0, -254.0, -2.0, 0.0, 2.0, 254.0]
    );
    let absolute = of("a.weight", vec![("a.SCB", "F32", &[2], f32s([127.0, 1.0]))]);
    for (ours, expected) in absolute.iter().zip([-128.0, -127.0, -1.0, 0.0, 1.0 / 127.0, 1.0]) {
        assert!((ours - expected).abs() < 1e-6);
    }
    let zeros =
        vec![("a.weight_scale", "F32", &[2u64, 1][..], rows()), ("a.weight_zero_point", "I8", &[2, 1], vec![1, 0xff])];
    assert_eq!(of("a.weight", zeros), [-64.5, -64.0, -1.0, 0.25, 0.5, 32.0]);
    // Runs of columns.
    let runs = f32s([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(of("a.weight", vec![("a.weight_scale", "F32", &[2, 3], runs)]), [-128.0, -254.0, -3.0, 0.0, 5.0, 762.0]);
}

/// NVFP4 keeps its scales in 8-bit floats; a tensor of zero points may have scales of its own. Neither is a matrix.
#[test]
fn scales_and_zero_points_of_any_kind_are_no_matrices() {
    let bytes = |count: usize| vec![1u8; count];
    let ones = || f32s([1.0; 64]);
    let model = open(safetensors(&[
        ("a.weight", "U8", &[64, 512], bytes(64 * 512)),
        ("a.weight_scale", "F8_E4M3", &[64, 64], bytes(64 * 64)),
        ("a.weight_scale_2", "F32", &[], f32s([1.0])),
        ("b.weight", "I8", &[64, 64], bytes(64 * 64)),
        ("b.weight_scale", "F32", &[64, 1], ones()),
        ("b.weight_zero_point", "I8", &[64, 1], bytes(64)),
        ("b.weight_zero_point_scale", "F32", &[64], ones()),
    ]));
    let roles: Vec<String> = model.matrices().into_iter().map(|matrix| matrix.role).collect();
    assert_eq!(roles, ["b"]);
}

/// A published pair, the folder of the Python package fracast: every code times its scale is the float, to half a step.
#[test]
fn fracast_codes_are_its_floats_rounded() {
    let Some(folder) = common::named("COUNTERMARK_FRACAST") else { return };
    let read = |name: &str| open(std::fs::read(folder.join("weights").join(name)).unwrap());
    let (floats, quantised) = (read("model.safetensors"), read("model.int8.safetensors"));
    let mut compared = 0;
    for ours in quantised.matrices().iter().filter(|matrix| matrix.grid == Grid::Codes) {
        let original = values(&floats, &matrix(&floats, &ours.role));
        let block = codes(&quantised, ours);
        assert_eq!(block.value.len(), original.len());
        for ((value, step), original) in block.value.iter().zip(&block.up).zip(&original) {
            assert!((value - original).abs() <= 0.501 * step, "{}: {value} and {original}", ours.role);
        }
        compared += 1;
    }
    assert_eq!(compared, 19, "20 tensors are quantised, one of them a vector");
}

/// All 256 bytes of both 8-bit floats, from the specification: sign, exponent, mantissa.
#[test]
fn float8_values() {
    for (dtype, exponent_bits, bias) in [("F8_E4M3", 4, 7), ("F8_E5M2", 5, 15)] {
        let mantissa_bits = 7 - exponent_bits;
        let model = open(safetensors(&[("a.weight", dtype, &[16, 16], (0..=255).collect())]));
        let matrix = matrix(&model, "a");
        let block = codes(&model, &matrix);
        for byte in 0..256usize {
            let (exponent, mantissa) =
                (byte >> mantissa_bits & ((1 << exponent_bits) - 1), byte & ((1 << mantissa_bits) - 1));
            let fraction = mantissa as f64 / f64::from(1 << mantissa_bits);
            let magnitude = if exponent == 0 {
                fraction * 2f64.powi(1 - bias)
            } else {
                (1.0 + fraction) * 2f64.powi(exponent as i32 - bias)
            };
            let special = if dtype == "F8_E4M3" { byte & 0x7f == 0x7f } else { exponent == 31 };
            let value = block.value[byte];
            if special {
                assert!(
                    !value.is_finite() && block.code[byte] == 0 && block.up[byte] == 0.0 && block.down[byte] == 0.0
                );
            } else {
                assert_eq!(f64::from(value), if byte < 128 { magnitude } else { -magnitude }, "{dtype} {byte:02x}");
                // The next float above, among all finite ones.
                let above = block.value.iter().filter(|x| x.is_finite() && **x > value).copied().reduce(f32::min);
                assert_eq!(block.up[byte], above.map_or(0.0, |above| above - value));
                let below = block.value.iter().filter(|x| x.is_finite() && **x < value).copied().reduce(f32::max);
                assert_eq!(block.down[byte], below.map_or(0.0, |below| value - below));
            }
        }
        assert_eq!(block.most, 1);
    }
}

#[test]
fn float8_with_scales() {
    // 1.0 everywhere; squares of 128 × 128 at 200 × 130.
    let square = |dtype: &'static str, scales: &'static str| {
        let ones = if dtype == "F8_E4M3" { 0x38 } else { 0x3c };
        let model = open(safetensors(&[
            ("a.weight", dtype, &[200, 130], vec![ones; 26_000]),
            (scales, "F32", &[2, 2], f32s([1.0, 2.0, 3.0, 4.0])),
        ]));
        values(&model, &matrix(&model, "a"))
    };
    let values = square("F8_E4M3", "a.weight_scale_inv");
    assert_eq!(values, square("F8_E5M2", "a.weight_scale"));
    for (row, column, scale) in [(0, 0, 1.0), (127, 127, 1.0), (127, 128, 2.0), (128, 127, 3.0), (199, 129, 4.0)] {
        assert_eq!(values[row * 130 + column], scale);
    }
}

/// Puts random codes, reads them back, puts the old ones back: the bytes are the old ones, so nothing but codes
/// changed.
fn edit_and_back(file: Vec<u8>, role: &str, seed: u64) {
    let mut random = Random(seed);
    let model = open(file.clone());
    let matrix = &matrix(&model, role);
    let before = codes(&model, matrix);
    let reach = i64::from(before.most);
    let new: Vec<i16> = (0..before.code.len())
        .map(|i| {
            let moved = i64::from(before.code[i]) + (random.next() % (2 * reach as u64 + 1)) as i64 - reach;
            let fixed = before.most == 1 && !before.value[i].is_finite();
            if fixed { before.code[i] } else { moved.clamp(before.low.into(), before.high.into()) as i16 }
        })
        .collect();
    let mut edit = model.edit(matrix.tensor).unwrap();
    let old = edit.bytes().to_vec();
    edit.put_codes(matrix, 0..matrix.rows, &new).unwrap();

    let range = &model.tensors()[matrix.tensor].info.range;
    let mut marked = file;
    marked[range.start as usize..range.end as usize].copy_from_slice(edit.bytes());
    let after = codes(&open(marked), matrix);
    assert_eq!(after.code, new);
    for (i, to) in new.iter().enumerate() {
        let k = f32::from(to - before.code[i]);
        let change = if k >= 0.0 { k * before.up[i] } else { k * before.down[i] };
        let (expected, found) = (before.value[i] + change, after.value[i]);
        let room = 1e-5 * (before.value[i].abs() + change.abs() + found.abs());
        assert!((expected - found).abs() <= room || !expected.is_finite(), "{i}: {expected} and {found}");
        assert!(before.most == 1 || after.up[i].to_bits() == before.up[i].to_bits());
    }
    // Row by row, from the last, gives the same.
    let mut again = model.edit(matrix.tensor).unwrap();
    for row in (0..matrix.rows).rev() {
        let at = (row * matrix.columns) as usize..((row + 1) * matrix.columns) as usize;
        again.put_codes(matrix, row..row + 1, &new[at]).unwrap();
    }
    assert_eq!(again.bytes(), edit.bytes());
    edit.put_codes(matrix, 0..matrix.rows, &before.code).unwrap();
    // A minus zero that has moved comes back as zero.
    let zero = |byte: u8| if before.most == 1 && byte == 0x80 { 0 } else { byte };
    assert!(edit.bytes().iter().zip(&old).all(|(a, b)| a == b || zero(*a) == zero(*b)));
}

/// A GGUF file of llama's q, k and v, of random blocks.
fn random_blocks(kind: usize, rows: u64, blocks: u64, heads: u32, random: &mut Random) -> Vec<u8> {
    let (number, dtype, ..) = BLOCKS[kind];
    let columns = blocks * dtype.block().0;
    let bytes = dtype.bytes(columns * rows).unwrap() as usize;
    let metadata = [("general.architecture", text("llama")), ("llama.attention.head_count", common::number(heads))];
    gguf(&metadata, &[("blk.0.attn_q.weight", number, &[rows, columns], random.bytes(bytes))])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ggml_blocks(kind in 0..BLOCKS.len(), heads in 1..4u32, pairs in 1..3u64, blocks in 1..3u64, seed: u64) {
        let rows = u64::from(heads) * pairs * 2;
        let file = random_blocks(kind, rows, blocks, heads, &mut Random(seed));
        let model = open(file.clone());
        let block = codes(&model, &matrix(&model, "layers.0.attn.q"));
        let (_, dtype, low, high) = BLOCKS[kind];
        prop_assert_eq!((model.tensors()[0].info.dtype, block.low, block.high), (dtype, low, high));
        prop_assert!(block.code.iter().all(|code| (low..=high).contains(code)));
        edit_and_back(file, "layers.0.attn.q", seed);
    }

    #[test]
    fn bytes_with_scales(dtype in 0..3usize, rows in 1..9u64, columns in 1..9u64, by_row: bool, seed: u64) {
        let mut random = Random(seed);
        let dtype = ["I8", "F8_E4M3", "F8_E5M2"][dtype];
        let scales: Vec<f32> = (0..if by_row { rows } else { 1 }).map(|_| random.next() as i8 as f32 / 16.0).collect();
        let shape: &[u64] = if by_row { &[rows, 1] } else { &[1] };
        let file = safetensors(&[
            ("a.weight", dtype, &[rows, columns], random.bytes((rows * columns) as usize)),
            ("a.weight_scale", "F32", shape, f32s(scales)),
        ]);
        edit_and_back(file, "a", seed);
    }

    #[test]
    fn awq_layers(octets in 1..4u64, groups in 1..4u64, run in 1..5u64, seed: u64) {
        let mut random = Random(seed);
        let (rows, columns) = (octets * 8, groups * run);
        let scales = (0..groups * rows).map(|i| (i as f32 - 5.0) / 8.0);
        let file = safetensors(&[
            ("a.qweight", "I32", &[columns, octets], random.bytes((columns * octets * 4) as usize)),
            ("a.qzeros", "I32", &[groups, octets], random.bytes((groups * octets * 4) as usize)),
            ("a.scales", "F32", &[groups, rows], f32s(scales)),
        ]);
        edit_and_back(file, "a", seed);
    }
}

#[test]
fn what_an_edit_refuses() {
    let file = safetensors(&[
        ("a.weight", "I8", &[2, 3], vec![0; 6]),
        ("a.scale", "F32", &[2], f32s([1.0, 1.0])),
        ("b.weight", "F32", &[2, 3], vec![0; 24]),
    ]);
    let model = open(file);
    let (a, b) = (matrix(&model, "a"), matrix(&model, "b"));
    let mut edit = model.edit(a.tensor).unwrap();
    assert!(matches!(edit.put_codes(&b, 0..1, &[0; 3]), Err(Error::ForeignMatrix { .. })));
    assert!(matches!(edit.put_raw(&a, 0..1, &[0; 3]), Err(Error::WrongGrid { .. })));
    assert!(matches!(edit.put_codes(&a, 0..3, &[0; 9]), Err(Error::NoSuchRows { .. })));
    assert!(matches!(edit.put_codes(&a, 1..1, &[0; 3]), Err(Error::BadValues { .. })));
    assert!(matches!(edit.put_codes(&a, 0..1, &[0, 0, 128]), Err(Error::BadValues { .. })));
    assert_eq!(edit.bytes(), [0; 6]);
    let mut edit = model.edit(b.tensor).unwrap();
    assert!(matches!(edit.put_codes(&b, 0..1, &[0; 3]), Err(Error::WrongGrid { .. })));
    assert!(matches!(edit.put_raw(&b, 0..1, &[0; 13]), Err(Error::BadValues { .. })));
    edit.put_raw(&b, 1..2, &[7; 12]).unwrap();
    assert_eq!(edit.bytes(), [[0; 12], [7; 12]].concat());
    let (rows, mut block) = (model.rows(&b).unwrap(), CodeBlock::default());
    assert!(matches!(rows.codes(0..1, &mut block), Err(Error::WrongGrid { .. })));
    assert!(matches!(rows.raw(1..3, &mut Vec::new()), Err(Error::NoSuchRows { .. })));
    assert!(model.edit(3).is_err());
}

/// The fields of a matrix are public: one that was changed, or is of another checkpoint, is an error, never a panic.
#[test]
fn foreign_matrices_are_refused() {
    let mut random = Random(9);
    let files = [
        safetensors(&[("a.weight", "F32", &[2, 3], vec![0; 24])]),
        random_blocks(0, 4, 1, 2, &mut random),
        random_blocks(9, 4, 1, 2, &mut random),
        safetensors(&[("a.weight", "I8", &[2, 3], vec![0; 6]), ("a.scale", "F32", &[2], vec![0; 8])]),
        safetensors(&[
            ("a.qweight", "I32", &[1, 8], vec![0; 32]),
            ("a.qzeros", "I32", &[1, 1], vec![0; 4]),
            ("a.scales", "F16", &[1, 8], vec![0; 16]),
        ]),
        safetensors(&[
            ("a.qweight", "I32", &[8, 2], vec![0; 64]),
            ("a.qzeros", "I32", &[1, 2], vec![0; 8]),
            ("a.scales", "F16", &[1, 16], vec![0; 32]),
        ]),
    ];
    for from in &files {
        let matrix = open(from.clone()).matrices().remove(0);
        let mut changed = vec![matrix.clone()];
        for (rows, columns, tensor) in [(0, 0, 0), (1, 1, 0), (3, 7, 0), (u64::MAX, 3, 0), (8, u64::MAX, 0), (2, 3, 9)]
        {
            for grid in [Grid::Codes, Grid::Float(Dtype::F32), Grid::Float(Dtype::F64)] {
                let mut other: Matrix = matrix.clone();
                (other.rows, other.columns, other.tensor, other.grid) = (rows, columns, tensor, grid);
                changed.push(other);
            }
        }
        for file in &files {
            let model = open(file.clone());
            for matrix in &changed {
                if let Ok(rows) = model.rows(matrix) {
                    let (mut bytes, mut values, mut block) = (Vec::new(), Vec::new(), CodeBlock::default());
                    let end = matrix.rows.min(100);
                    drop((
                        rows.raw(0..end, &mut bytes),
                        rows.values(0..end, &mut values),
                        rows.codes(0..end, &mut block),
                    ));
                    let mut edit = model.edit(matrix.tensor).unwrap();
                    drop((edit.put_raw(matrix, 0..end, &bytes), edit.put_codes(matrix, 0..end, &block.code)));
                }
            }
        }
    }
}
