//! The hot loops on an NVIDIA GPU: launches of `kernels.cu`, which is compiled when a device is first used.
//!
//! Keystreams are made on the device, from keys of 384 bytes for each tensor. Sums are integers and everything else is
//! computed in the order and precision of [`super::rows`], so that a result is the same bits on either side.
#![allow(unsafe_code)] // Launches; their SAFETY lines say what the kernels rely on.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, CudaDevice, WrapErr};
use candle_core::{CudaStorage, DType, Layout, Result, Shape, bail};
use half::{bf16, f16};

use super::{Mark, Project};
use crate::carrier::{CHUNK, TensorCarrier};
use crate::element::Element;
use crate::key::GROUPS;

const SOURCE: &str = include_str!("kernels.cu");
/// Threads of a block, which the kernels take for granted.
const THREADS: u32 = 256;
/// As in the kernels.
const MAX_SLOTS_PER_GROUP: usize = 256;
/// Most blocks of a launch; the kernels go on where it ends.
const MAX_BLOCKS: u32 = 4096;
/// Rows of one group that a thread block sums, at least, before it adds to the slots of all.
const ROWS_PER_BLOCK: u32 = 4;
/// Words of a ChaCha block.
const BLOCK_WORDS: u32 = 16;

/// A format that the kernels know.
trait Format: Element + CudaDType + DeviceRepr {
    const NAME: &'static str;
}

impl Format for bf16 {
    const NAME: &'static str = "bf16";
}

impl Format for f16 {
    const NAME: &'static str = "f16";
}

impl Format for f32 {
    const NAME: &'static str = "f32";
}

/// The kernels in the portable code of NVIDIA's drivers. Needs NVRTC, but no device.
pub(crate) fn compiled() -> std::result::Result<&'static str, String> {
    static CODE: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compile = || {
        let options = CompileOptions {
            fmad: Some(false),
            arch: Some("compute_75"),
            name: Some("kernels.cu".into()),
            ..CompileOptions::default()
        };
        let code = compile_ptx_with_opts(SOURCE, options).map_err(|error| format!("NVRTC: {error:?}"))?;
        Ok(code.to_src())
    };
    CODE.get_or_init(compile).as_deref().map_err(Clone::clone)
}

/// Compiles the kernels and hands them to the device.
pub(crate) fn prepare(device: &CudaDevice) -> Result<()> {
    load(device, "keystream").map(drop)
}

/// One kernel of the module on this device.
fn load(device: &CudaDevice, name: &str) -> Result<impl std::ops::Deref<Target = Kernel> + use<>> {
    let code = compiled().map_err(|error| candle_core::Error::Cuda(error.into()))?;
    device.get_or_load_custom_func(name, "countermark", code)
}

type Kernel = candle_core::cuda_backend::cudarc::driver::CudaFunction;

fn grid(blocks: u32, groups: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks.clamp(1, MAX_BLOCKS), groups, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

/// A block of weights on the device.
struct Block<'a, E> {
    weights: CudaView<'a, E>,
    rows: u32,
    columns: u32,
}

impl<'a, E: Format> Block<'a, E> {
    fn new(storage: &'a CudaStorage, layout: &Layout) -> Result<Block<'a, E>> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("the rows of a block must be contiguous") };
        let weights = storage.as_cuda_slice::<E>()?.slice(start..end);
        Block::of(weights, layout)
    }

    fn of(weights: CudaView<'a, E>, layout: &Layout) -> Result<Block<'a, E>> {
        let (rows, columns) = layout.shape().dims2()?;
        match (u32::try_from(rows), u32::try_from(columns)) {
            (Ok(rows), Ok(columns)) if rows > 0 && columns > 0 => Ok(Block { weights, rows, columns }),
            _ => bail!("a block of {rows} x {columns} weights is empty or too large for a device"),
        }
    }
}

/// The carriers of a block, as `Carrier` in the kernels describes them.
struct Carriers {
    chips: CudaSlice<u32>,
    rotations: CudaSlice<u32>,
    dithers: CudaSlice<u32>,
    places: u32,
    words: u32,
    dither_words: u32,
    rotation_words: u32,
    rotation_first: u32,
    first_group: u32,
    slots: u32,
}

impl Carriers {
    fn new(
        device: &CudaDevice,
        carrier: &TensorCarrier,
        first_row: u64,
        (rows, columns): (u32, u32),
        dither: bool,
    ) -> Result<Carriers> {
        if carrier.slots_per_group > MAX_SLOTS_PER_GROUP {
            bail!("{} slots in a group are more than the kernels hold", carrier.slots_per_group)
        }
        let bytes = carrier.stream_keys();
        let words: Vec<u32> = bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let mut keys = device.alloc_zeros::<u32>(words.len())?;
        device.memcpy_htod(&words, &mut keys)?;
        let key_words = GROUPS * 8;
        let purpose = |number: usize| keys.slice(number * key_words..(number + 1) * key_words);

        let first_place = first_row / GROUPS as u64;
        let places = rows.div_ceil(GROUPS as u32);
        let chip_blocks = columns.div_ceil(CHUNK as u32);
        let dither_blocks = if dither { columns.div_ceil(2 * BLOCK_WORDS) } else { 0 };
        let rotation_first = (first_place % u64::from(BLOCK_WORDS)) as u32;
        let rotation_blocks = (rotation_first + places).div_ceil(BLOCK_WORDS);
        let stream = |number: usize, blocks_per_place: u32| {
            let first = first_place * u64::from(blocks_per_place);
            keystream(device, &purpose(number), first, u64::from(places) * u64::from(blocks_per_place))
        };
        Ok(Carriers {
            chips: stream(0, chip_blocks)?,
            rotations: keystream(
                device,
                &purpose(1),
                first_place / u64::from(BLOCK_WORDS),
                u64::from(rotation_blocks),
            )?,
            dithers: stream(2, dither_blocks)?,
            places,
            words: chip_blocks * BLOCK_WORDS,
            dither_words: dither_blocks * BLOCK_WORDS,
            rotation_words: rotation_blocks * BLOCK_WORDS,
            rotation_first,
            first_group: carrier.first_group as u32,
            slots: carrier.slots_per_group as u32,
        })
    }
}

/// So many blocks of each group's keystream; one word for none.
fn keystream(device: &CudaDevice, keys: &CudaView<'_, u32>, first: u64, blocks: u64) -> Result<CudaSlice<u32>> {
    let (Ok(first), Ok(blocks)) = (u32::try_from(first), u32::try_from(blocks)) else {
        bail!("a keystream of {blocks} blocks from block {first} on is too long")
    };
    if blocks == 0 {
        return device.alloc_zeros(1);
    }
    let mut out = device.alloc_zeros::<u32>(GROUPS * blocks as usize * BLOCK_WORDS as usize)?;
    let kernel = load(device, "keystream")?;
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(keys).arg(&first).arg(&blocks).arg(&mut out);
    // SAFETY: `keys` has 8 words for each group and `out` 16 for each block of each group, all that is touched.
    unsafe { launch.launch(grid((blocks * GROUPS as u32).div_ceil(THREADS), 1)) }.w()?;
    Ok(out)
}

/// The RMS of every row; counts what is not finite in `others`, a view of one number.
fn row_scales<E: Format>(
    device: &CudaDevice,
    block: &Block<'_, E>,
    others: &mut CudaSlice<i64>,
) -> Result<CudaSlice<f32>> {
    let mut scales = device.alloc_zeros::<f32>(block.rows as usize)?;
    let kernel = load(device, &format!("row_scales_{}", E::NAME))?;
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&block.weights).arg(&block.rows).arg(&block.columns).arg(&mut scales).arg(others);
    // SAFETY: `weights` has rows × columns numbers, `scales` one for each row, `others` one.
    unsafe { launch.launch(grid(block.rows.div_ceil(8), 1)) }.w()?;
    Ok(scales)
}

/// [`Project`] on the device.
pub(super) fn project(op: &Project<'_>, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
    match storage.dtype() {
        DType::BF16 => project_as::<bf16>(op, storage, layout),
        DType::F16 => project_as::<f16>(op, storage, layout),
        DType::F32 => project_as::<f32>(op, storage, layout),
        other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "project").bt()),
    }
}

fn project_as<E: Format>(op: &Project<'_>, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
    let device = storage.device();
    let block = Block::<E>::new(storage, layout)?;
    let dither = E::DITHERED && op.amplitudes.is_some();
    let carriers = Carriers::new(device, op.carrier, op.first_row, (block.rows, block.columns), dither)?;
    let sums = match op.amplitudes {
        None => slot_sums(device, &block, &carriers, op.survey)?,
        Some(amplitudes) => {
            let marked = mark_block(device, &block, &carriers, amplitudes)?;
            slot_sums(device, &Block::of(marked.slice(..), layout)?, &carriers, false)?
        }
    };
    let shape = Shape::from(sums.len());
    Ok((CudaStorage::wrap_cuda_slice(sums, device.clone()), shape))
}

fn slot_sums<E: Format>(
    device: &CudaDevice,
    block: &Block<'_, E>,
    carriers: &Carriers,
    survey: bool,
) -> Result<CudaSlice<i64>> {
    let length = 3 * GROUPS * carriers.slots as usize + 2;
    let mut others = device.alloc_zeros::<i64>(1)?;
    let scales = row_scales(device, block, &mut others)?;
    let mut sums = device.alloc_zeros::<i64>(length)?;
    let kernel = load(device, &format!("slot_sums_{}", E::NAME))?;
    let stream = device.cuda_stream();
    let survey = u32::from(survey);
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&block.weights).arg(&scales).arg(&carriers.chips).arg(&carriers.rotations);
    launch.arg(&carriers.places).arg(&carriers.words).arg(&carriers.rotation_words).arg(&carriers.rotation_first);
    launch.arg(&carriers.first_group).arg(&carriers.slots).arg(&block.rows).arg(&block.columns);
    launch.arg(&survey).arg(&mut sums);
    let config = grid(carriers.places.div_ceil(ROWS_PER_BLOCK), GROUPS as u32);
    // SAFETY: the carriers were made for these rows and columns, `sums` has three numbers for each slot and two more,
    // and the slots of a group are at most as many as a thread block has threads and shared memory for.
    unsafe { launch.launch(config) }.w()?;
    device.memcpy_dtod(&others, &mut sums.slice_mut(length - 1..))?;
    Ok(sums)
}

/// [`Mark`] on the device.
pub(super) fn mark(op: &Mark<'_>, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
    match storage.dtype() {
        DType::BF16 => mark_as::<bf16>(op, storage, layout),
        DType::F16 => mark_as::<f16>(op, storage, layout),
        DType::F32 => mark_as::<f32>(op, storage, layout),
        other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "mark").bt()),
    }
}

fn mark_as<E: Format>(op: &Mark<'_>, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
    let device = storage.device();
    let block = Block::<E>::new(storage, layout)?;
    let carriers = Carriers::new(device, op.carrier, op.first_row, (block.rows, block.columns), E::DITHERED)?;
    let marked = mark_block(device, &block, &carriers, op.amplitudes)?;
    Ok((CudaStorage::wrap_cuda_slice(marked, device.clone()), layout.shape().clone()))
}

fn mark_block<E: Format>(
    device: &CudaDevice,
    block: &Block<'_, E>,
    carriers: &Carriers,
    amplitudes: &[f32],
) -> Result<CudaSlice<E>> {
    if amplitudes.len() != GROUPS * carriers.slots as usize {
        bail!("{} amplitudes for {} slots", amplitudes.len(), GROUPS * carriers.slots as usize)
    }
    let scales = row_scales(device, block, &mut device.alloc_zeros::<i64>(1)?)?;
    let mut heights = device.alloc_zeros::<f32>(amplitudes.len())?;
    device.memcpy_htod(amplitudes, &mut heights)?;
    // SAFETY: any bits are a number of these formats, and the kernel writes every one.
    let mut marked = unsafe { device.alloc::<E>(block.rows as usize * block.columns as usize)? };
    let kernel = load(device, &format!("mark_{}", E::NAME))?;
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&block.weights).arg(&scales).arg(&carriers.chips).arg(&carriers.rotations).arg(&carriers.dithers);
    launch.arg(&heights).arg(&carriers.places).arg(&carriers.words).arg(&carriers.dither_words);
    launch.arg(&carriers.rotation_words).arg(&carriers.rotation_first).arg(&carriers.first_group);
    launch.arg(&carriers.slots).arg(&block.rows).arg(&block.columns).arg(&mut marked);
    // SAFETY: the carriers were made for these rows and columns, `heights` has one number for each slot, and `marked`
    // is as large as the weights.
    unsafe { launch.launch(grid(block.rows, 1)) }.w()?;
    Ok(marked)
}

/// [`super::row_squares`] on the device.
pub(super) fn row_squares(
    (a, a_layout): (&CudaStorage, &Layout),
    (b, b_layout): (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    match a.dtype() {
        DType::BF16 => row_squares_as::<bf16>((a, a_layout), (b, b_layout)),
        DType::F16 => row_squares_as::<f16>((a, a_layout), (b, b_layout)),
        DType::F32 => row_squares_as::<f32>((a, a_layout), (b, b_layout)),
        other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "row-squares").bt()),
    }
}

fn row_squares_as<E: Format>(
    (a, a_layout): (&CudaStorage, &Layout),
    (b, b_layout): (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let device = a.device();
    let (a, b) = (Block::<E>::new(a, a_layout)?, Block::<E>::new(b, b_layout)?);
    if (a.rows, a.columns) != (b.rows, b.columns) {
        bail!("blocks of {} x {} and {} x {} weights", a.rows, a.columns, b.rows, b.columns)
    }
    let mut sums = device.alloc_zeros::<f64>(2 * a.rows as usize)?;
    let kernel = load(device, &format!("row_squares_{}", E::NAME))?;
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&a.weights).arg(&b.weights).arg(&a.rows).arg(&a.columns).arg(&mut sums);
    // SAFETY: both blocks have rows × columns numbers, and `sums` two for each row.
    unsafe { launch.launch(grid(a.rows.div_ceil(16), 1)) }.w()?;
    let shape = Shape::from(sums.len());
    Ok((CudaStorage::wrap_cuda_slice(sums, device.clone()), shape))
}
