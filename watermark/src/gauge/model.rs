//! The gauge band of a checkpoint: which layers it has, and how its change is laid over the blocks that are marked.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use countermark_formats::{Checkpoint, Dtype, Grid};
use half::{bf16, f16};
use rayon::prelude::*;

use super::{GAUGE_MARGIN, GaugeChange, GaugeHost, GaugeLayer, GaugePlan, gauge_detect, gauge_embed};
use crate::carrier::{Panel, TensorCarrier};
use crate::commitment::Gauge;
use crate::element::Element;
use crate::key::{GROUPS, MarkKey};
use crate::tensors::{Buffers, Matrix, Reader, by_role};
use crate::{Error, Result};

/// Bits of the band, all of which read as `true`: their secrecy is in the chips.
const BITS: usize = 128;
/// Widest residual stream: whitening takes the cube of it in time, and the square in memory.
const MAX_WIDTH: u64 = 4096;
/// Rows whose dither is made at a time: a multiple of the groups.
const PANEL_ROWS: usize = 16 * GROUPS;
/// Names of the norm that up_proj and gate_proj read from, before and after the layer's number.
const NORMS: [(&str, &str); 2] = [("layers.", ".post_attention_layernorm.weight"), ("blk.", ".ffn_norm.weight")];

/// The band that a checkpoint has room for: every layer a gated MLP of floats. `None` for other models.
pub(crate) fn plan_of(model: &Checkpoint) -> Option<GaugePlan> {
    let model = Model::new(model);
    let embedding = model.matrices.get("embed")?.stored.clone();
    let layers = (0..).take_while(|&layer| model.mlp(layer).is_some()).count();
    let in_range = layers > 0 && (64..=MAX_WIDTH).contains(&embedding.columns) && embedding.rows >= 64;
    let is_markable = |layer: usize| {
        model.fitting_mlp(layer).is_some_and(|[up, ..]| {
            matches!(up.stored.grid, Grid::Float(Dtype::F32 | Dtype::F16 | Dtype::Bf16)) && up.marked
        })
    };
    let plan = GaugePlan { bits: BITS, layers, tokens: embedding.rows as usize };
    // A record of a larger band would be refused.
    (in_range && (0..layers).all(is_markable) && Gauge::new(&plan).plan().is_some()).then_some(plan)
}

/// Scores of every key: T_b in standard deviations, for each bit. Zeros for layers that the model does not have, or not
/// as gated MLPs of its embedding's width, since whoever made the model chose its shapes.
pub(crate) fn scores_of(model: &Checkpoint, keys: &[MarkKey], plan: &GaugePlan) -> Result<Vec<Vec<f64>>> {
    let model = Model::new(model);
    if !(1..=MAX_WIDTH).contains(&(model.embedding_shape().1 as u64)) {
        return Ok(vec![vec![0.0; plan.bits]; keys.len()]);
    }
    Ok(gauge_detect(&model, keys, plan)?.z)
}

struct Model<'a> {
    model: &'a Checkpoint,
    matrices: BTreeMap<String, Matrix>,
}

impl<'a> Model<'a> {
    fn new(model: &'a Checkpoint) -> Model<'a> {
        Model { model, matrices: by_role(model) }
    }

    /// up, gate and down of a layer.
    fn mlp(&self, layer: usize) -> Option<[&Matrix; 3]> {
        let part = |part: &str| self.matrices.get(&format!("layers.{layer}.mlp.{part}"));
        Some([part("up")?, part("gate")?, part("down")?])
    }

    /// The same, if they are of the shapes that a gated MLP has in this model.
    fn fitting_mlp(&self, layer: usize) -> Option<[&Matrix; 3]> {
        let width = self.embedding_shape().1 as u64;
        self.mlp(layer).filter(|[up, gate, down]| {
            let units = up.stored.rows;
            (up.shape(), gate.shape(), down.shape()) == ((units, width), (units, width), (width, units))
        })
    }

    fn gain(&self, layer: usize) -> Result<Option<Tensor>> {
        let ends = NORMS.map(|(before, after)| format!("{before}{layer}{after}"));
        let width = self.embedding_shape().1 as u64;
        // Another part of a model, as for images, may have norms of the same name and of another width.
        let is_gain = |index: &usize| {
            let info = &self.model.tensors()[*index].info;
            info.shape == [width] && ends.iter().any(|end| info.name.ends_with(end))
        };
        let Some(index) = (0..self.model.tensors().len()).find(is_gain) else { return Ok(None) };
        let info = &self.model.tensors()[index].info;
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
            _ => return Ok(None),
        };
        let mut bytes = Vec::new();
        self.model.read(index, &mut bytes)?;
        let shape = [info.elements() as usize];
        Ok(Some(Tensor::from_raw_buffer(&bytes, dtype, &shape, &Device::Cpu)?.to_dtype(DType::F32)?))
    }

    fn whole(&self, matrix: &Matrix) -> Result<Tensor> {
        Reader::new(self.model, matrix)?.values(0, matrix.stored.rows, &mut Buffers::default())
    }
}

impl GaugeHost for Model<'_> {
    fn embedding_shape(&self) -> (usize, usize) {
        self.matrices.get("embed").map_or((0, 0), |embed| (embed.stored.rows as usize, embed.stored.columns as usize))
    }

    fn embedding_rows(&self, rows: Range<usize>) -> Result<Tensor> {
        let missing = || Error::Mlp { layer: None, found: "no embedding".into() };
        let embed = self.matrices.get("embed").ok_or_else(missing)?;
        Reader::new(self.model, embed)?.values(rows.start as u64, rows.len() as u64, &mut Buffers::default())
    }

    fn layer(&self, number: usize) -> Result<Option<GaugeLayer>> {
        let Some([up, gate, down]) = self.fitting_mlp(number) else { return Ok(None) };
        let (up, gate, down) = (self.whole(up)?, self.whole(gate)?, self.whole(down)?);
        Ok(Some(GaugeLayer { up, gate, down, gain: self.gain(number)? }))
    }
}

/// The change of a whole model, by the role of the matrix it belongs to.
#[derive(Default)]
pub(crate) struct Overlay {
    changes: BTreeMap<String, Change>,
}

struct Change {
    change: GaugeChange,
    /// Its dither decides the cast; a stream of its own.
    dither: TensorCarrier,
}

impl Overlay {
    /// Works out the change that marks a model.
    pub fn new(model: &Checkpoint, key: &MarkKey, plan: &GaugePlan) -> Result<Overlay> {
        let mut overlay = Overlay::default();
        let codeword = vec![true; plan.bits];
        gauge_embed(&Model::new(model), key, plan, &codeword, GAUGE_MARGIN, &mut |layer, change| {
            let role = format!("layers.{layer}.mlp.up");
            let dither = TensorCarrier::new(key, &format!("gauge {role}"), 1);
            overlay.changes.insert(role, Change { change, dither });
            Ok(())
        })?;
        Ok(overlay)
    }

    /// A block with the change, in the same dtype and on the same device; the same bits wherever the block is and
    /// whichever rows it has, because the change is worked out on the processor.
    pub fn apply(&self, role: &str, first_row: u64, block: Tensor) -> Result<Tensor> {
        let Some(Change { change, dither }) = self.changes.get(role) else { return Ok(block) };
        let (rows, columns) = block.dims2()?;
        let first = first_row as usize;
        let host = block.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let target = (host + change.rows(first..first + rows)?)?.flatten_all()?.to_vec1::<f32>()?;
        let (shape, device) = ((rows, columns), block.device());
        Ok(match block.dtype() {
            DType::BF16 => Tensor::from_vec(cast::<bf16>(&target, columns, dither, first_row), shape, device)?,
            DType::F16 => Tensor::from_vec(cast::<f16>(&target, columns, dither, first_row), shape, device)?,
            _ => Tensor::from_vec(target, shape, device)?,
        })
    }
}

/// Puts a block of rows onto a format's grid.
fn cast<E: Element>(target: &[f32], columns: usize, dither: &TensorCarrier, first_row: u64) -> Vec<E> {
    let mut cast = vec![E::default(); target.len()];
    let panels = target.par_chunks(PANEL_ROWS * columns).zip(cast.par_chunks_mut(PANEL_ROWS * columns));
    panels.enumerate().for_each_init(Panel::default, |panel, (number, (target, cast))| {
        panel.load(dither, first_row + (number * PANEL_ROWS) as u64, target.len() / columns, columns, true);
        for (row, (target, cast)) in target.chunks(columns).zip(cast.chunks_mut(columns)).enumerate() {
            let dither = panel.row(row).dither.as_chunks::<2>().0;
            for ((cast, &target), &dither) in cast.iter_mut().zip(target).zip(dither) {
                *cast = E::dithered(target, u16::from_le_bytes(dither));
            }
        }
    });
    cast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::MarkSecret;
    use crate::ops::append_bytes;

    /// Blocks are larger on a GPU than on the processor, and the marked bytes are the same.
    #[test]
    fn the_change_does_not_depend_on_the_blocks() {
        const ROWS: usize = 301;
        const COLUMNS: usize = 530;
        let mut state = 1u64;
        let mut tensor = |rows: usize, columns: usize| {
            let values = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / 2f32.powi(24) - 0.5
            });
            let values: Vec<f32> = values.take(rows * columns).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        let key = MarkKey::derive(&MarkSecret::from_bytes([1; 32]), [7; 32], [1; 16], None);
        for bits in [1, 2, 4, 32, 128] {
            let change = GaugeChange { units: tensor(ROWS, bits), directions: tensor(bits, COLUMNS) };
            let change = Change { change, dither: TensorCarrier::new(&key, "gauge up", 1) };
            let overlay = Overlay { changes: BTreeMap::from([("up".to_owned(), change)]) };
            let host = tensor(ROWS, COLUMNS);
            for dtype in [DType::BF16, DType::F16, DType::F32] {
                let host = host.to_dtype(dtype).unwrap();
                let bytes = |change: &Overlay, step: usize| {
                    let mut bytes = Vec::new();
                    for first in (0..ROWS).step_by(step) {
                        let block = host.narrow(0, first, step.min(ROWS - first)).unwrap();
                        append_bytes(&change.apply("up", first as u64, block).unwrap(), &mut bytes).unwrap();
                    }
                    bytes
                };
                let whole = bytes(&overlay, ROWS);
                assert!(whole != bytes(&Overlay::default(), ROWS), "{dtype:?}, {bits} bits: nothing changed");
                for step in [4, 8, 60, 100, 300] {
                    assert!(bytes(&overlay, step) == whole, "{dtype:?}, {bits} bits, blocks of {step} rows");
                }
            }
        }
    }
}
