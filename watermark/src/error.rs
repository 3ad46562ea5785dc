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

    /// A payload was given to a model that has no room for one.
    #[error(
        "a payload of 128 bits needs {needed} weights, but this model has {weights}: leave the payload out, and the \
         mark will show presence only"
    )]
    NoRoomForPayload {
        /// Weights that could carry.
        weights: u64,
        /// What a payload needs.
        needed: u64,
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

    /// Detection was asked for without any record.
    #[error("no commitment record given: detection needs the marks/<mark id>.json that embedding wrote beside the key")]
    NoRecords,

    /// The base is not the unmarked form of this model.
    #[error(
        "tensor {name:?} differs in shape or dtype from the base, or is missing there: give the unmarked model that the \
         mark was embedded into"
    )]
    BaseDiffers {
        /// The tensor.
        name: String,
    },

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

    /// The tensor library refused an operation: a fault of this crate.
    #[error("tensor arithmetic failed, which is a bug in countermark: {0}; please report it")]
    Tensor(#[from] candle_core::Error),
}
