//! Checkpoint headers and dtypes, parsed as hostile bytes.
//!
//! Both countermark libraries read model files through this crate, so that nobody parses twice. It does no I/O of its
//! own: bytes come through [`ReadAt`], which a file, a byte slice or a ranged download can implement.
//!
//! ```
//! use countermark_formats::{Checkpoint, Dtype, safetensors};
//!
//! let header = r#"{"weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend_from_slice(header.as_bytes());
//! file.extend_from_slice(&[0; 12]);
//!
//! let parsed = safetensors::parse(&file)?;
//! assert_eq!(parsed.tensors[0].dtype, Dtype::Bf16);
//!
//! let checkpoint = Checkpoint::open(vec![("model.safetensors".into(), Box::new(file))])?;
//! let mut bytes = Vec::new();
//! checkpoint.read(0, &mut bytes)?;
//! assert_eq!(bytes, [0; 12]);
//! # Ok::<(), countermark_formats::Error>(())
//! ```

mod awq;
mod blocks;
mod checkpoint;
mod codes;
mod dtype;
mod edit;
mod error;
mod float8;
pub mod gguf;
mod gptq;
mod matrix;
mod read_at;
mod roles;
mod rows;
pub mod safetensors;
mod scaled;
mod tensor_info;

pub use checkpoint::{Checkpoint, Tensor};
pub use codes::CodeBlock;
pub use dtype::Dtype;
pub use edit::Edit;
pub use error::{Error, Result};
pub use matrix::{Grid, Matrix};
pub use read_at::ReadAt;
pub use rows::Rows;
pub use tensor_info::TensorInfo;
