//! What a checkpoint goes through in the wild: quantising, pruning, merging, re-parameterising, marking over.
//!
//! Every attack takes a model and writes another one, tensor by tensor: memory holds a few copies of the largest
//! tensor, whatever the model's size. All randomness comes from a seed. Weights are worked on in `f32` and rounded to
//! the nearest value of the tensor's dtype; tensors that an attack leaves alone keep their bytes. Attacks on weights act
//! on all float tensors of two or more dimensions, the last of which is the columns; norms and biases change only where
//! the attack would otherwise change the network's function, and in merges, which are of whole models.
//!
//! Attacks are written as a kind and its numbers, `int4:128`; some in a row as `noise:0.05+prune:0.5+int4:128`. On the
//! command line this is `watermark attack MODEL --kind KIND [--with OTHER] [--seed N] --out OUT`.
//!
//! ```
//! use countermark_formats::Checkpoint;
//! use countermark_watermark::attack::{Attack, write_safetensors};
//!
//! let header = r#"{"layer.weight":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend_from_slice(header.as_bytes());
//! file.extend([0.5f32, -0.1, 0.2, -0.9].iter().flat_map(|w| w.to_le_bytes()));
//! let model = Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))])?;
//!
//! let attack: Attack = "prune:0.5".parse()?;
//! let mut pruned = Vec::new();
//! write_safetensors(&attack, &model, None, 0, &mut pruned, &|_| ())?;
//! assert!(pruned.ends_with(&[0.5f32, 0.0, 0.0, -0.9].map(f32::to_le_bytes).concat()));
//! # Ok::<(), countermark_watermark::Error>(())
//! ```

mod lines;
mod local;
mod merge;
mod names;
mod output;
mod parse;
mod plan;
mod quantise;
mod random;
mod rotate;
mod values;

use countermark_formats::{Checkpoint, Dtype};

pub use output::{config_changes, write_safetensors};

use self::plan::Plan;
use crate::{Error, Result};

/// Something that happens to a checkpoint. [`Attack::ALL_KINDS`] says how each is written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attack {
    /// Normal noise on every weight, of `share` times its row's RMS.
    Noise {
        /// Relative size.
        share: f64,
    },
    /// Symmetric 8-bit integers and back, one scale for each row.
    Int8,
    /// Symmetric 4-bit integers and back.
    Int4 {
        /// Weights that share a scale.
        group: usize,
    },
    /// Symmetric 3-bit integers and back.
    Int3 {
        /// Weights that share a scale.
        group: usize,
    },
    /// Three levels and back.
    Ternary {
        /// Weights that share a scale.
        group: usize,
    },
    /// The 16 levels of NF4 and back.
    Nf4 {
        /// Weights that share a scale.
        group: usize,
    },
    /// 8-bit floats (E4M3) and back, one scale for each row.
    Float8,
    /// A block format of GGUF and back.
    Gguf(Blocks),
    /// The smallest weights of every matrix become zero.
    Prune {
        /// How many of them.
        share: f64,
    },
    /// The least important hidden units of every MLP are removed.
    PruneUnits {
        /// How many of them.
        share: f64,
    },
    /// A random product of low rank is added to every matrix, as when an adapter is merged.
    LowRank {
        /// Its rank.
        rank: usize,
        /// Its norm, relative to the matrix's.
        share: f64,
    },
    /// The mean with another model.
    Soup {
        /// Share of the other model.
        weight: f64,
    },
    /// The mean along the great circle between two models.
    Slerp {
        /// Share of the other model.
        weight: f64,
    },
    /// A TIES merge of this model's difference onto the other, its base.
    Ties {
        /// Share of the difference that is kept, the largest first.
        density: f64,
        /// Factor on what is kept.
        weight: f64,
    },
    /// A DARE merge of this model's difference onto the other, its base.
    Dare {
        /// Share of the difference that is kept, at random.
        density: f64,
        /// Factor on what is kept, beside that which restores the mean.
        weight: f64,
    },
    /// Hidden units of every MLP in another order.
    Permute {
        /// Size of an attention head: value dimensions change their order too.
        head: Option<u64>,
    },
    /// The residual stream in another basis.
    Rotate,
    /// Factors that move between up rows and down columns, and between norms and what reads them.
    Scale {
        /// Factors lie between this and its inverse.
        spread: f64,
    },
    /// Signs that move between up rows and down columns.
    SignFlip {
        /// Size of an attention head: value dimensions change their sign too.
        head: Option<u64>,
    },
    /// Only the first tokens of the vocabulary are kept.
    CropVocabulary {
        /// How many.
        rows: u64,
    },
    /// New tokens with random embeddings.
    ExtendVocabulary {
        /// How many.
        rows: u64,
    },
    /// Another float dtype for all float tensors.
    Cast {
        /// F64, F32, F16 or BF16.
        dtype: Dtype,
    },
    /// Another mark by this scheme, under a key drawn from the seed.
    Overwrite {
        /// Its strength; by default what the embedder chooses.
        decibel: Option<f64>,
    },
    /// Several attacks that each change every matrix by itself, without rounding to the dtype in between.
    Chain(Vec<Attack>),
}

/// A block format of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // They have no other names.
pub enum Blocks {
    Q8_0,
    Q6K,
    Q5K,
    Q5_1,
    Q5_0,
    Q4K,
    Q4_1,
    Q4_0,
    Q3K,
    Q2K,
}

/// A tensor that an attack writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its name.
    pub name: String,
    /// Its number format.
    pub dtype: Dtype,
    /// Extent of each dimension, outermost first.
    pub shape: Vec<u64>,
}

impl Outline {
    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.dtype.bytes(self.shape.iter().product()).unwrap_or(0)
    }
}

impl Attack {
    /// Whether another model is needed: the unmarked base, or for means also a sibling.
    pub fn needs_other(&self) -> bool {
        matches!(self, Attack::Soup { .. } | Attack::Slerp { .. } | Attack::Ties { .. } | Attack::Dare { .. })
    }

    /// Whether the network computes the same function afterwards, but for rounding.
    pub fn preserves_function(&self) -> bool {
        matches!(self, Attack::Permute { .. } | Attack::Rotate | Attack::Scale { .. } | Attack::SignFlip { .. })
    }

    /// Whether it changes every matrix by itself, so that it can be part of a chain.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self,
            Attack::Noise { .. }
                | Attack::Int8
                | Attack::Int4 { .. }
                | Attack::Int3 { .. }
                | Attack::Ternary { .. }
                | Attack::Nf4 { .. }
                | Attack::Float8
                | Attack::Gguf(_)
                | Attack::Prune { .. }
                | Attack::LowRank { .. }
        )
    }
}

/// The tensors that an attack writes, in the order in which it writes them.
///
/// # Errors
/// As for [`apply`].
pub fn outline(attack: &Attack, model: &Checkpoint) -> Result<Vec<Outline>> {
    Ok(Plan::new(attack, model, 0)?.items.into_iter().map(|item| item.outline).collect())
}

/// Bytes that [`apply`] works through: the last value that its progress function sees.
///
/// # Errors
/// As for [`apply`].
pub fn work(attack: &Attack, model: &Checkpoint) -> Result<u64> {
    match attack {
        Attack::Overwrite { .. } => Ok(crate::embed_work(model)),
        _ => Ok(outline(attack, model)?.iter().map(Outline::bytes).sum()),
    }
}

/// Attacks `model`. `write` receives every tensor of the [`outline`] once, in that order, with all its bytes.
/// `progress` is told the bytes worked through so far, out of [`work`].
///
/// # Errors
/// Another model that is missing or of other shapes, a model that does not have what the attack changes, weights that
/// cannot be read, or a writer that fails.
pub fn apply(
    attack: &Attack,
    model: &Checkpoint,
    other: Option<&Checkpoint>,
    seed: u64,
    write: &mut dyn FnMut(&Outline, &[u8]) -> std::io::Result<()>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    if attack.needs_other() && other.is_none() {
        return Err(Error::AttackNeedsOther { attack: attack.to_string() });
    }
    if let Attack::Overwrite { decibel } = attack {
        return plan::overwrite(model, *decibel, seed, write, progress);
    }
    let plan = Plan::new(attack, model, seed)?;
    let mut done = 0;
    for item in &plan.items {
        let bytes = plan.make(item, other)?;
        write(&item.outline, &bytes).map_err(|source| Error::Write { name: item.outline.name.clone(), source })?;
        done += item.outline.bytes();
        progress(done);
    }
    Ok(())
}
