//! Logical matrices: the weights as the network uses them, rows being outputs and columns inputs, however a file stores
//! them.
//!
//! What counts as a matrix: a tensor of at least two dimensions of F64, F32, F16 or BF16, of ggml's quantised blocks,
//! of 8-bit floats, or of int8 with scales beside it; and the packed layers of GPTQ and AWQ. With two dimensions rows
//! and columns are as stored. With more, a stack of experts is one matrix for each expert; otherwise, when the
//! innermost extent is at least 64, a row is one innermost line, and when it is less (convolution kernels), a row is
//! all that belongs to the outermost index. Scales and zero points are no matrices.
//!
//! Names become roles: `embed`, `embed_positions`, `embed_types`, `head`, `pooler`, and for layer N
//! `layers.N.attn.{q,k,v,o,qkv}`, `layers.N.mlp.{gate,up,down,gate_up}`, `layers.N.experts.E.{gate,up,down,gate_up}`,
//! `layers.N.shared.{gate,up,down}`, `layers.N.router`; an unknown name stays as it is, without `.weight`, and so do
//! names that would share a role. GPT-2's layers are stored \[inputs, outputs\] by Hugging Face and are turned round
//! here; rows that the conversion to GGUF reorders are put back. A fused matrix stays fused.

use std::collections::{BTreeMap, BTreeSet};

use crate::roles::{self, Order};
use crate::scaled::Cover;
use crate::{Checkpoint, Dtype, TensorInfo, awq, blocks, gptq};

/// A weight matrix as the network uses it: rows are outputs, columns are inputs, however the file stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// What it does in the network; unique within a checkpoint.
    pub role: String,
    /// Outputs.
    pub rows: u64,
    /// Inputs.
    pub columns: u64,
    /// What its elements are.
    pub grid: Grid,
    /// Index of the stored tensor that holds the values or codes.
    pub tensor: usize,
    pub(crate) layout: Layout,
}

/// What the elements of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Floats, each for itself: F64, F32, F16 or BF16.
    Float(Dtype),
    /// Integers or 8-bit floats with scales.
    Codes,
}

/// How a matrix is stored. Indices are of the checkpoint's tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    /// Rows one after the other, from row `first` of the tensor.
    Rows { first: u64, order: Order },
    /// Columns one after the other.
    Transposed,
    /// Elements of one byte with scales beside them.
    Scaled { scale: Option<Companion>, zero: Option<usize> },
    /// See [`gptq`].
    Gptq { packing: gptq::Packing, zeros: usize, scales: usize, groups: Option<usize> },
    /// See [`awq`].
    Awq { packing: awq::Packing, zeros: usize, scales: usize },
}

/// A tensor of scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Companion {
    pub tensor: usize,
    pub cover: Cover,
    /// Every scale is to be multiplied by this.
    pub factor: f32,
}

impl Matrix {
    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.rows * self.columns
    }

    /// True when the tensor begins with this matrix, of floats, its rows in order: then row r begins at the tensor's byte
    /// r · columns · bytes of an element.
    pub fn is_contiguous(&self) -> bool {
        matches!(self.grid, Grid::Float(_)) && self.layout == Layout::Rows { first: 0, order: Order::Same }
    }
}

/// A matrix before its role is settled.
struct Found {
    tensor: usize,
    /// Number within a stack.
    slice: Option<u64>,
    rows: u64,
    columns: u64,
    grid: Grid,
    layout: Layout,
}

impl Checkpoint {
    /// Every matrix-shaped tensor of floats or codes, sorted by role.
    pub fn matrices(&self) -> Vec<Matrix> {
        let mut found = Vec::new();
        let mut companions = BTreeSet::new();
        for index in 0..self.tensors().len() {
            found.extend(self.quantised(index, &mut companions));
        }
        // A tensor of scales or zero points is no matrix, even when it has scales of its own.
        found.retain(|found: &Found| !companions.contains(&found.tensor));
        let transposed = self.has_transposed_layers();
        for index in (0..self.tensors().len()).filter(|index| !companions.contains(index)) {
            self.stored_by_rows(index, transposed, &mut found);
        }
        let roles = unique_roles(&found, |found, level| self.role_of(found, level));
        let mut matrices: Vec<Matrix> = found
            .into_iter()
            .zip(roles)
            .map(|(Found { tensor, rows, columns, grid, layout, .. }, role)| {
                let layout = self.ordered(tensor, &role, rows, layout);
                Matrix { role, rows, columns, grid, tensor, layout }
            })
            .collect();
        matrices.sort_by(|a, b| a.role.cmp(&b.role));
        matrices
    }

    fn info(&self, index: usize) -> &TensorInfo {
        &self.tensors()[index].info
    }

    /// A matrix whose tensors are GPTQ's, AWQ's, int8 or 8-bit floats; its other tensors are added to `companions`.
    fn quantised(&self, index: usize, companions: &mut BTreeSet<usize>) -> Option<Found> {
        let info = self.info(index);
        match info.dtype {
            Dtype::I32 => self.packed(index, companions),
            Dtype::I8 | Dtype::F8E4m3 | Dtype::F8E5m2 if !names_scales(&info.name) => {
                let (rows, columns) = rows_and_columns(&info.shape)?;
                let scale = self.scale_of(&info.name, rows, columns);
                if info.dtype == Dtype::I8 && scale.is_none() {
                    return None;
                }
                let zero = scale.and_then(|scale| self.zero_of(&info.name, self.info(scale.tensor)));
                companions.extend(scale.map(|scale| scale.tensor));
                companions.extend(zero);
                let layout = Layout::Scaled { scale, zero };
                Some(Found { tensor: index, slice: None, rows, columns, grid: Grid::Codes, layout })
            }
            _ => None,
        }
    }

    fn packed(&self, index: usize, companions: &mut BTreeSet<usize>) -> Option<Found> {
        let info = self.info(index);
        let base = info.name.strip_suffix(".qweight")?;
        let beside = |part: &str| self.find(&format!("{base}.{part}")).map(|(index, tensor)| (index, &tensor.info));
        let (zeros, zeros_info) = beside("qzeros").filter(|(_, info)| info.dtype == Dtype::I32)?;
        let (scales, scales_info) = beside("scales").filter(|(_, info)| is_scale(info.dtype))?;
        let shapes = (&info.shape, &zeros_info.shape, &scales_info.shape);
        let (rows, columns, layout) = if let Some(packing) = awq::Packing::of(shapes.0, shapes.1, shapes.2) {
            (packing.rows, packing.columns, Layout::Awq { packing, zeros, scales })
        } else {
            let packing = gptq::Packing::of(shapes.0, shapes.1, shapes.2)?;
            let groups = match beside("g_idx") {
                Some((groups, info)) if info.dtype == Dtype::I32 && info.shape == [packing.columns] => Some(groups),
                Some(_) => return None,
                None => None,
            };
            companions.extend(groups);
            (packing.rows, packing.columns, Layout::Gptq { packing, zeros, scales, groups })
        };
        companions.extend([zeros, scales]);
        Some(Found { tensor: index, slice: None, rows, columns, grid: Grid::Codes, layout })
    }

    /// The scales of a tensor, under one of the names in use.
    fn scale_of(&self, name: &str, rows: u64, columns: u64) -> Option<Companion> {
        let plain = name.strip_suffix(".weight").or(name.strip_suffix(".qweight"));
        let quanto = name.strip_suffix("._data").map(|base| format!("{base}._scale"));
        let names = [format!("{name}_scale"), format!("{name}_scale_inv"), format!("{name}.scale")].into_iter();
        let beside = plain.into_iter().flat_map(|base| ["scale", "scales", "SCB"].map(|part| format!("{base}.{part}")));
        names.chain(beside).chain(quanto).find_map(|name| {
            let (tensor, scale) = self.find(&name)?;
            let cover = Cover::of(&scale.info.shape, rows, columns)?;
            // bitsandbytes keeps the largest magnitude of a row, which has code 127.
            let factor = if name.ends_with(".SCB") { 1.0 / 127.0 } else { 1.0 };
            is_scale(scale.info.dtype).then_some(Companion { tensor, cover, factor })
        })
    }

    /// Zero points beside scales, as compressed-tensors names them.
    fn zero_of(&self, name: &str, scale: &TensorInfo) -> Option<usize> {
        let (index, zero) = self.find(&format!("{name}_zero_point"))?;
        (zero.info.dtype == Dtype::I8 && zero.info.shape == scale.shape).then_some(index)
    }

    /// Floats and ggml's blocks.
    fn stored_by_rows(&self, index: usize, transposed: bool, found: &mut Vec<Found>) {
        let info = self.info(index);
        let grid = match info.dtype {
            Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16 if !names_scales(&info.name) => Grid::Float(info.dtype),
            dtype if blocks::range(dtype).is_some() => Grid::Codes,
            _ => return,
        };
        let Some((rows, columns)) = rows_and_columns(&info.shape) else { return };
        let found_at = |slice, rows, columns, layout| Found { tensor: index, slice, rows, columns, grid, layout };
        let stack = roles::role(roles::stem(&info.name), self.architecture()).is_some_and(|role| role.contains('*'));
        if let ([experts, rows, columns], true) = (&info.shape[..], stack)
            && rows * columns >= MIN_EXPERT
        {
            let layout = |expert| Layout::Rows { first: expert * rows, order: Order::Same };
            found.extend((0..*experts).map(|expert| found_at(Some(expert), *rows, *columns, layout(expert))));
        } else if transposed && is_transposed_layer(&info.name) && info.shape.len() == 2 && grid != Grid::Codes {
            found.push(found_at(None, columns, rows, Layout::Transposed));
        } else {
            found.push(found_at(None, rows, columns, Layout::Rows { first: 0, order: Order::Same }));
        }
    }

    fn architecture(&self) -> Option<&str> {
        match self.gguf_value("general.architecture")? {
            crate::gguf::Value::Text(name) => Some(name),
            _ => None,
        }
    }

    /// GPT-2 stores its layers \[inputs, outputs\], and models after it use the same names the other way round. The
    /// feed-forward matrix, which widens, tells which.
    fn has_transposed_layers(&self) -> bool {
        let widening = |info: &TensorInfo| matches!(info.shape[..], [inputs, outputs] if inputs < outputs);
        self.tensors().iter().any(|tensor| tensor.info.name.ends_with(".mlp.c_fc.weight") && widening(&tensor.info))
    }

    /// The layout with the row order that a GGUF tensor of this role has.
    fn ordered(&self, tensor: usize, role: &str, rows: u64, layout: Layout) -> Layout {
        let (Layout::Rows { first, order: Order::Same }, Some(architecture)) = (layout, self.architecture()) else {
            return layout;
        };
        let heads = |layer: u32, kv: bool| {
            let value = |key: &str| self.heads(&format!("{architecture}.attention.{key}"), layer);
            if kv { value("head_count_kv").or_else(|| value("head_count")) } else { value("head_count") }
        };
        Layout::Rows { first, order: Order::of(&self.info(tensor).name, role, architecture, rows, heads) }
    }

    fn heads(&self, key: &str, layer: u32) -> Option<u64> {
        let heads = match self.gguf_value(key)? {
            crate::gguf::Value::Integer(heads) => *heads,
            crate::gguf::Value::Integers(heads) => *heads.get(layer as usize)?,
            _ => return None,
        };
        u64::try_from(heads).ok()
    }

    /// The name of a matrix; a higher level is used when a lower one is not unique.
    fn role_of(&self, found: &Found, level: usize) -> String {
        let name = &self.info(found.tensor).name;
        let stem = roles::stem(name);
        let slice = found.slice.map_or(String::new(), |slice| format!(".{slice}"));
        match level {
            0 => match (roles::role(stem, self.architecture()), found.slice) {
                (Some(role), Some(slice)) => role.replace('*', &slice.to_string()),
                (Some(role), None) if !role.contains('*') => role,
                _ => format!("{stem}{slice}"),
            },
            1 => format!("{stem}{slice}"),
            2 => format!("{name}{slice}"),
            _ => format!("{name}#{}{slice}", found.tensor),
        }
    }
}

/// Slices of a stack smaller than this are no experts; together they are one matrix.
const MIN_EXPERT: u64 = 4096;

/// Settles roles: those that share one all go up a level, until no two are equal.
fn unique_roles(found: &[Found], role: impl Fn(&Found, usize) -> String) -> Vec<String> {
    const LAST: usize = 3;
    let mut levels = vec![0; found.len()];
    let mut roles: Vec<String> = found.iter().map(|found| role(found, 0)).collect();
    loop {
        let mut count = BTreeMap::new();
        roles.iter().for_each(|role| *count.entry(role.clone()).or_insert(0) += 1);
        let mut changed = false;
        for (index, found) in found.iter().enumerate() {
            if count[&roles[index]] > 1 && levels[index] < LAST {
                levels[index] += 1;
                roles[index] = role(found, levels[index]);
                changed = true;
            }
        }
        if !changed {
            return roles;
        }
    }
}

fn is_scale(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16)
}

/// Names that quantisers give to scales; such floats, of 16, 32 or 8 bits as in NVFP4, are no weights even when the codes
/// they belong to are unknown here.
fn names_scales(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    ["scale", "scales", "_scale", "SCB", "absmax", "nested_absmax", "quant_map", "nested_quant_map"].contains(&last)
        || last.ends_with("_scale")
        || last.ends_with("_scale_inv")
        || last.ends_with("_scale_2")
}

fn is_transposed_layer(name: &str) -> bool {
    [".attn.c_attn.weight", ".attn.c_proj.weight", ".mlp.c_fc.weight", ".mlp.c_proj.weight"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn rows_and_columns(shape: &[u64]) -> Option<(u64, u64)> {
    match shape {
        // An empty tensor; its other extents may be anything.
        shape if shape.contains(&0) => None,
        [rows, columns] => Some((*rows, *columns)),
        [leading @ .., columns] if leading.len() >= 2 && *columns >= 64 => Some((leading.iter().product(), *columns)),
        [rows, rest @ ..] if rest.len() >= 2 => Some((*rows, rest.iter().product())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_rows_and_columns() {
        for (shape, expected) in [
            (&[][..], None),
            (&[9], None),
            (&[0, 1 << 40, 1 << 40], None),
            (&[3, 5], Some((3, 5))),
            (&[64, 3, 7, 7], Some((64, 147))),
            (&[128, 32, 3], Some((128, 96))),
            (&[8, 64, 128], Some((512, 128))),
        ] {
            assert_eq!(rows_and_columns(shape), expected, "{shape:?}");
        }
    }
}
