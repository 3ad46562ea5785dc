//! Checkpoints and model cards, parsed as hostile bytes: headers, number formats, and the matrices of the network.
//!
//! Both countermark libraries read model files through this crate, so that nobody parses twice. It does no I/O of its
//! own: bytes come through [`ReadAt`], which a file, a byte slice or a ranged download can implement.
//!
//! A [`Checkpoint`] is one or several files, [safetensors] or [GGUF](gguf). Its tensors are what the files store; its
//! [matrices](Checkpoint::matrices) are what the network uses: rows are outputs and columns inputs, named by role, the
//! same for every format. Matrices of floats read as elements, quantised ones as [codes](CodeBlock) with their scales
//! applied: ggml's blocks, GPTQ, AWQ, int8 and 8-bit floats. An [`Edit`] changes elements or codes in place, never a
//! scale, so that a copy of a file can be rewritten tensor by tensor at the same offsets.
//!
//! [`Tensors`] is the plainer list for digests and comparisons: names, dtypes, shapes and bytes of all these and of ONNX,
//! PyTorch's zip files and distributed checkpoints, and NumPy. A pickle is never read.
//!
//! ```
//! use countermark_formats::{Checkpoint, Dtype, Grid, safetensors};
//!
//! let name = "model.layers.0.mlp.up_proj.weight";
//! let header = format!(r#"{{"{name}":{{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}}}"#);
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend_from_slice(header.as_bytes());
//! file.extend_from_slice(&[0x80, 0x3f].repeat(6));
//!
//! let parsed = safetensors::parse(&file)?;
//! assert_eq!(parsed.tensors[0].dtype, Dtype::Bf16);
//!
//! let checkpoint = Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))])?;
//! let matrices = checkpoint.matrices();
//! assert_eq!((matrices[0].role.as_str(), matrices[0].grid), ("layers.0.mlp.up", Grid::Float(Dtype::Bf16)));
//! let mut values = Vec::new();
//! checkpoint.rows(&matrices[0])?.values(1..2, &mut values)?;
//! assert_eq!(values, [1.0; 3]);
//! # Ok::<(), countermark_formats::Error>(())
//! ```

mod awq;
mod blocks;
mod checkpoint;
mod codes;
mod distributed;
mod dtype;
mod edit;
mod error;
mod float8;
pub mod front_matter;
pub mod gguf;
mod gptq;
mod index;
mod inflate;
pub mod manifest;
mod matrix;
mod numbers;
mod numpy;
mod onnx;
mod pieces;
mod protobuf;
mod read_at;
pub mod records;
mod roles;
mod rows;
pub mod safetensors;
mod scaled;
pub mod table;
mod tensor_info;
mod tensors;
mod torch;
mod zip;

pub use checkpoint::{Checkpoint, Tensor};
pub use codes::CodeBlock;
pub use dtype::Dtype;
pub use edit::Edit;
pub use error::{Error, Result};
pub use matrix::{Grid, Matrix};
pub use numbers::Numbers;
pub use read_at::{ReadAt, Source};
pub use rows::Rows;
pub use tensor_info::TensorInfo;
pub use tensors::{StoredTensor, Tensors};
