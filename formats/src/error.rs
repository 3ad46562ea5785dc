//! What can be wrong with a checkpoint.

use std::io;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A checkpoint that cannot be read or is not what its header says. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source failed while being read.
    #[error("cannot read {length} bytes at byte {offset}: {source}; check the file and try again")]
    Read {
        /// Where the read began.
        offset: u64,
        /// How much was wanted.
        length: u64,
        /// What the source said.
        source: io::Error,
    },

    /// Fewer bytes than a safetensors file needs.
    #[error(
        "the file has {length} bytes, but a safetensors file needs at least 10: it is cut short or of another format; \
         fetch it again"
    )]
    TooShort {
        /// Length of the file.
        length: u64,
    },

    /// The header's length at byte 0 is out of bounds.
    #[error(
        "byte 0: the header claims {claimed} bytes, but at most {limit} are possible here: the file is cut short or \
         is no safetensors file; fetch it again"
    )]
    HeaderLength {
        /// What the first eight bytes say.
        claimed: u64,
        /// The largest length that this file could hold.
        limit: u64,
    },

    /// The header's text breaks a rule.
    #[error("header, byte {offset}: {reason}; write the file again with a current safetensors library")]
    Header {
        /// Where, as near as is known.
        offset: u64,
        /// Which rule.
        reason: String,
    },

    /// One tensor's entry breaks a rule.
    #[error("tensor {name:?}, data byte {offset}: {reason}; write the file again with a current safetensors library")]
    Tensor {
        /// The tensor.
        name: String,
        /// Where its data should be.
        offset: u64,
        /// Which rule.
        reason: String,
    },

    /// The header of a GGUF file breaks a rule.
    #[error("GGUF header, byte {offset}: {reason}; fetch the file again, or convert it again with a current llama.cpp")]
    Gguf {
        /// Where.
        offset: u64,
        /// Which rule.
        reason: String,
    },

    /// One tensor of a GGUF file breaks a rule.
    #[error(
        "tensor {name:?}, byte {offset}: {reason}; fetch the file again, or convert it again with a current llama.cpp"
    )]
    GgufTensor {
        /// The tensor.
        name: String,
        /// Where its data should be.
        offset: u64,
        /// Which rule.
        reason: String,
    },

    /// A file of another format breaks a rule.
    #[error("{format}, byte {offset}: {reason}; fetch the file again, or export it again with current tools")]
    Malformed {
        /// Which format.
        format: &'static str,
        /// Where, as near as is known.
        offset: u64,
        /// Which rule.
        reason: String,
    },

    /// The index of a sharded checkpoint does not fit its shards.
    #[error("{path}: {reason}; fetch the checkpoint again, index and shards together")]
    Index {
        /// Path of the index.
        path: String,
        /// What does not fit.
        reason: String,
    },

    /// A pickled checkpoint, which runs code when it is read.
    #[error(
        "this is a PyTorch pickle, which runs whatever code it holds when it is loaded: convert it to safetensors \
         where you trust it (safetensors.torch.save_file), then use that file"
    )]
    Pickle,

    /// Bytes that belong to no tensor.
    #[error("bytes {begin} to {end} belong to no tensor: something was appended or cut out; fetch the file again")]
    Unclaimed {
        /// First such byte.
        begin: u64,
        /// One past the last.
        end: u64,
    },

    /// A shard of a checkpoint is unreadable.
    #[error("{path}: {source}")]
    Shard {
        /// Path of the shard as given.
        path: String,
        /// What is wrong with it.
        source: Box<Error>,
    },

    /// A tensor appears in two shards.
    #[error("tensor {name:?} is in {first} and in {second}: remove the shard that does not belong to this checkpoint")]
    InTwoShards {
        /// The tensor.
        name: String,
        /// The shard where it was seen first.
        first: String,
        /// The shard that repeats it.
        second: String,
    },

    /// A checkpoint without any file.
    #[error("no weight file given: a checkpoint needs at least one .safetensors or .gguf file")]
    NoShards,

    /// A tensor was asked for that the checkpoint does not have, or a range outside the tensor.
    #[error("tensor number {index}, bytes {begin} to {end}: out of range")]
    OutOfRange {
        /// Index into [`Checkpoint::tensors`](crate::Checkpoint::tensors).
        index: usize,
        /// First byte asked for, from the tensor's start.
        begin: u64,
        /// One past the last.
        end: u64,
    },

    /// Too large for this machine's address space.
    #[error("tensor {name:?}, byte {offset}: {length} bytes do not fit this machine's memory; use a 64-bit machine")]
    TooLarge {
        /// The tensor.
        name: String,
        /// Where its data begins.
        offset: u64,
        /// Length of its data.
        length: u64,
    },

    /// A row was asked for that the matrix does not have.
    #[error("matrix {role}: rows {begin} to {end} are asked for, but it has {rows}")]
    NoSuchRows {
        /// Role of the matrix.
        role: String,
        /// First row asked for.
        begin: u64,
        /// One past the last.
        end: u64,
        /// Rows of the matrix.
        rows: u64,
    },

    /// Raw elements of a matrix of codes were asked for, or codes of a matrix of floats.
    #[error("matrix {role} has no {wanted}: ask for what its grid says")]
    WrongGrid {
        /// Role of the matrix.
        role: String,
        /// What was asked for.
        wanted: &'static str,
    },

    /// A matrix does not belong to the tensor or checkpoint it is used with.
    #[error("matrix {role} is not one of {tensor:?}: use the matrices of the checkpoint at hand")]
    ForeignMatrix {
        /// Role of the matrix.
        role: String,
        /// The tensor it was used with.
        tensor: String,
    },

    /// Scales, zero points or groups that contradict the codes they belong to.
    #[error("tensor {name:?}: {reason}; quantise the model again")]
    Quantised {
        /// The tensor at fault.
        name: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Not as many bytes or codes as the rows hold, or a code outside its range.
    #[error("matrix {role}: {reason}")]
    BadValues {
        /// Role of the matrix.
        role: String,
        /// What is wrong.
        reason: String,
    },
}
