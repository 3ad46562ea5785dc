//! The GPU's kernels, compiled for the processor and run thread by thread, give the bits that [`super::rows`] gives.
//!
//! This checks their arithmetic, keystreams, indexing and strides. It cannot show what depends on threads that really
//! run at once, nor what a GPU's compiler makes of them: `watermark/cuda/check.sh` does, on a machine that has one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use candle_core::{DType, Device, Tensor};

use super::{append_bytes, mark, project, row_squares, survey};
use crate::carrier::TensorCarrier;
use crate::key::{MarkKey, MarkSecret};

/// The kernels as a program, or `None` where no C++ compiler is found.
fn build(folder: &Path) -> Option<PathBuf> {
    let program = folder.join("kernels");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/kernels_host.cpp");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let options = ["-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wno-unknown-pragmas", "-o"];
    let built = Command::new(&compiler).args(options).arg(&program).arg(source).output();
    match built {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(program)
        }
        Err(error) => {
            println!("SKIPPED: the kernels were not checked, because {compiler} does not run: {error}");
            None
        }
    }
}

fn run(program: &Path, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Weights of every kind: ordinary, tiny, large, zero, NaN, infinite, and rows that are or count as zero.
fn weights(rows: usize, columns: usize, mut state: u64) -> Vec<f32> {
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut weights = Vec::new();
    for row in 0..rows {
        for _ in 0..columns {
            let plain = (0..4).map(|_| (next() % 65536) as f32 / 65536.0 - 0.5).sum::<f32>() * 0.05;
            weights.push(match next() % 64 {
                _ if row % 13 == 5 => 0.0,
                _ if row % 13 == 7 => plain * 1e-40,
                // About the largest numbers of F16 and BF16.
                _ if row % 13 == 9 => 65_504.0 - (next() % 64) as f32,
                _ if row % 13 == 11 => f32::MAX / 257.0 * (256 - next() % 4) as f32,
                0 if row % 2 == 0 => f32::NAN,
                1 if row % 3 == 0 => f32::NEG_INFINITY,
                2 => -0.0,
                3 => plain * 1e-6,
                4 => plain * 30.0,
                5 => plain * 1e-39,
                _ => plain,
            });
        }
    }
    weights
}

fn words(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn kernels_on_the_processor_give_the_same_bits() {
    let folder = std::env::temp_dir().join(format!("countermark-kernels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let Some(program) = build(&folder) else { return };
    let shapes = [(16, 256, 166, 0), (37, 1003, 166, 64), (70, 530, 16, 4096), (9, 48, 16, 12), (5, 70_000, 166, 8)];
    for (number, (rows, columns, slots, first_row)) in shapes.into_iter().enumerate() {
        let key = MarkKey::derive(&MarkSecret::from_bytes([3; 32]), [1; 32], [number as u8; 16], None);
        let carrier = TensorCarrier::new(&key, &format!("layer.{number}"), slots);
        let amplitudes: Vec<f32> = (0..4 * slots).map(|slot| (slot % 7) as f32 * 0.004 - 0.01).collect();
        let values = Tensor::from_vec(weights(rows, columns, number as u64), (rows, columns), &Device::Cpu).unwrap();
        for (format, dtype) in [DType::BF16, DType::F16, DType::F32].into_iter().enumerate() {
            let block = values.to_dtype(dtype).unwrap();
            for surveyed in [false, true] {
                let head = [format, rows, columns, slots, carrier.first_group, first_row, surveyed.into()];
                let mut input: Vec<u8> = head.iter().flat_map(|&word| (word as u32).to_le_bytes()).collect();
                input.extend_from_slice(&carrier.stream_keys());
                input.extend(amplitudes.iter().flat_map(|amplitude| amplitude.to_le_bytes()));
                append_bytes(&block, &mut input).unwrap();

                let sums = if surveyed { survey } else { project }(&block, &carrier, first_row as u64).unwrap();
                let marked = mark(&block, &carrier, first_row as u64, &amplitudes).unwrap();
                let squares = row_squares(&marked, &block).unwrap();
                let mut expected = words(&sums.into_vec());
                append_bytes(&marked, &mut expected).unwrap();
                expected.extend(squares.iter().flat_map(|square| square.to_le_bytes()));

                let found = run(&program, &input);
                assert_eq!(found.len(), expected.len());
                let first_difference = found.iter().zip(&expected).position(|(a, b)| a != b);
                assert_eq!(first_difference, None, "{dtype:?}, {rows} x {columns}, {slots} slots, survey {surveyed}");
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
