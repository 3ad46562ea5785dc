//! The tensors of ONNX models (onnx.proto3, IR versions to 13): initializers, tensors in attributes, and those of nested
//! graphs, functions and training graphs.
//!
//! An initializer has its own name. A tensor in a node's attribute, such as a constant's value, is `OUTPUT.ATTRIBUTE` after
//! the node's first output; what is inside a nested graph has `OUTPUT.ATTRIBUTE/` in front, inside a function
//! `function DOMAIN.NAME/`. Numbers that stand in attributes without being tensors belong to the architecture, not here.
//!
//! Bytes are those of `raw_data` or of an external file below the model's folder. Values in typed fields are digested as
//! the same little-endian bytes that `raw_data` would have; strings as length (u64) and bytes of each.

mod tensor;
mod typed;
mod walk;

pub(crate) use typed::Typed;
pub(crate) use walk::tensors;
