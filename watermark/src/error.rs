//! What can go wrong while marking or looking for a mark, split by who can mend it.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a mark could not be embedded or looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The weights could not be read.
    #[error(transparent)]
    Weights(#[from] countermark_formats::Error),

    /// Too few weights for any rung of the capacity ladder.
    #[error(
        "only {weights} weights lie in matrices that can carry a mark, and at least {minimum} are needed: mark a larger \
         model, or sign this one without a mark"
    )]
    TooSmall {
        /// Weights that could carry.
        weights: u64,
        /// The least that the ladder needs.
        minimum: u64,
    },

    /// The default strength would change this model too much.
    #[error(
        "the default strength would change the weights by {predicted_db:.1} dB, above the limit of {limit_db:.0} dB, \
         because {weights} weights are few: accept a stronger change with --strength {predicted_db:.0}"
    )]
    TooStrong {
        /// Predicted relative distortion.
        predicted_db: f64,
        /// The limit.
        limit_db: f64,
        /// Weights that carry.
        weights: u64,
    },

    /// The strength asked for is below what cancels the host's own noise.
    #[error(
        "{asked_db:.1} dB is too weak for {weights} weights: at least {least_db:.1} dB are needed before any slot leans \
         the right way; use --strength {suggested_db:.0} or leave the option out"
    )]
    TooWeak {
        /// What was asked.
        asked_db: f64,
        /// The least that can work.
        least_db: f64,
        /// Somewhat above the least.
        suggested_db: f64,
        /// Weights that carry.
        weights: u64,
    },

    /// The strength is no sensible number.
    #[error("a strength of {0} dB is outside -120 to -10: give the relative change of the weights in decibels, as -40")]
    Strength(f64),

    /// A payload was given that this model cannot carry.
    #[error(
        "a payload of {given} bytes was given, but {weights} weights carry {room}: give {room} bytes, or leave the \
         payload out"
    )]
    PayloadLength {
        /// Weights that could carry.
        weights: u64,
        /// Bytes given.
        given: usize,
        /// Bytes that a model of this size carries.
        room: usize,
    },

    /// Every weight is zero or not finite.
    #[error("no weight that could carry a mark is finite and non-zero: check that this is the trained model")]
    NothingToMark,

    /// The secret does not open the commitment.
    #[error(
        "the key does not belong to the record of mark {mark_id}: its hash differs from the committed one; give the \
         key that the mark was made with, or another record"
    )]
    KeyMismatch {
        /// Identifier in the record, hex.
        mark_id: String,
    },

    /// The record is of a scheme that this version does not know.
    #[error("the record of mark {mark_id} uses {what}, which this version does not know; use a newer countermark")]
    UnknownAlgorithm {
        /// Identifier in the record, hex.
        mark_id: String,
        /// Which field, and its value.
        what: String,
    },

    /// A commitment record is no valid JSON of its schema.
    #[error("not a commitment record: {0}; expected marks/<mark id>.json as `watermark embed` wrote it")]
    Record(String),

    /// A disclosure does not hold together.
    #[error("the disclosure {0}; ask the owner for one made by `watermark disclose`")]
    Disclosure(String),

    /// Detection was asked for without any record.
    #[error("no commitment record given: detection needs the marks/<mark id>.json that embedding wrote beside the key")]
    NoRecords,

    /// The base has nothing in common with the model.
    #[error("no matrix of the base has the role and width of one here: give the unmarked model that was marked")]
    BaseDiffers,

    /// The marked weights could not be written.
    #[error("tensor {name:?}: cannot write the marked weights: {source}; free space or choose another folder")]
    Write {
        /// The tensor.
        name: String,
        /// What the writer said.
        source: std::io::Error,
    },

    /// An attack that cannot be read.
    #[error("attack {text:?}: {reason}; write a kind and its numbers, such as int4:128, or see the list of kinds")]
    BadAttack {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A merge without anything to merge with.
    #[error("attack {attack} merges with another model: give it, the unmarked base or a sibling")]
    AttackNeedsOther {
        /// The attack.
        attack: String,
    },

    /// The other model of a merge is not a sibling.
    #[error("tensor {name:?} is missing in the other model or has another shape there: give its base or a sibling")]
    OtherDiffers {
        /// The tensor.
        name: String,
    },

    /// The model does not have what an attack changes.
    #[error("attack {attack} does not apply to this model: {reason}")]
    NothingToAttack {
        /// The attack.
        attack: String,
        /// Why not.
        reason: String,
    },

    /// Tensors that do not make a gated MLP behind this embedding.
    #[error(
        "{}{found}: expected up_proj and gate_proj as [m, n], down_proj as [n, m] and a gain of [n], n being the \
         embedding's width; the gauge band needs a transformer with gated MLPs",
        layer.map_or(String::new(), |layer| format!("layer {layer}: "))
    )]
    Mlp {
        /// The layer, or none for the embedding.
        layer: Option<usize>,
        /// The shapes found.
        found: String,
    },

    /// The shape of a gauge band makes no sense.
    #[error(
        "a gauge band of {} bits over {} layers and {} tokens: give at least one of each, at most 65536 bits, and a \
         codeword of as many bits as the record says",
        .0.bits, .0.layers, .0.tokens
    )]
    GaugePlan(crate::gauge::GaugePlan),

    /// The margin of a gauge band is no sensible number.
    #[error("a margin of {0} standard deviations is outside 0 to 20: leave it at its default, or give one near 2.5")]
    Margin(f64),

    /// A device was asked for that is not there or does not work.
    #[error(
        "no CUDA device {number}: {reason}; check that nvidia-smi lists it and that the libraries of CUDA 13 (cuBLAS, cuRAND, \
         NVRTC) are on LD_LIBRARY_PATH, or work on the processor, which gives the same result"
    )]
    Device {
        /// Number of the device.
        number: usize,
        /// What the driver or the compiler said.
        reason: String,
    },

    /// The tensor library refused an operation: a fault of this crate.
    #[error("tensor arithmetic failed, which is a bug in countermark: {0}; please report it")]
    Tensor(#[from] candle_core::Error),
}
