//! Weight-space watermarks with exact odds, on candle tensors.
//!
//! A mark pushes secret, keyed sums over a model's weights to a committed side, a little each and spread over all
//! matrices. Whoever holds the key can later show, on the weights alone, that they were changed under this key: with
//! odds that hold for any weights whatever, and with 128 bits of payload when the model is large enough. A detection
//! proves "not by chance". It says nothing about who trained the model, and a missing detection proves nothing.
//!
//! ```
//! use countermark_formats::Checkpoint;
//! use countermark_watermark::{EmbedOptions, MarkKey, MarkSecret, Verdict, detect, embed};
//!
//! // One matrix of a million weights. Real models come from files.
//! let header = r#"{"layer.weight":{"dtype":"F32","shape":[1024,1024],"data_offsets":[0,4194304]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend_from_slice(header.as_bytes());
//! file.extend((0..1u32 << 20).flat_map(|i| ((i.wrapping_mul(2_654_435_761) as f32) / 4e9 - 0.5).to_le_bytes()));
//! let data_start = 8 + header.len();
//! let open = |file: &Vec<u8>| Checkpoint::open(vec![("model.safetensors".into(), Box::new(file.clone()))]);
//!
//! let secret = MarkSecret::from_bytes([7; 32]);
//! let key = MarkKey::derive(&secret, [1; 32], [2; 16], None);
//! let mut marked = file.clone();
//! let report = embed(&open(&file)?, &key, &EmbedOptions::default(), &|_| (), &mut |_tensor, bytes| {
//!     marked[data_start..].copy_from_slice(bytes);
//!     Ok(())
//! })?;
//! assert!(report.distortion_db < -30.0);
//!
//! let found = detect(&open(&marked)?, &secret, &[report.commitment.clone()], None, &|_| ())?;
//! assert_eq!(found.verdict, Verdict::Detected);
//! let unmarked = detect(&open(&file)?, &secret, &[report.commitment], None, &|_| ())?;
//! assert_eq!(unmarked.verdict, Verdict::NotDetected);
//! # Ok::<(), countermark_watermark::Error>(())
//! ```

pub mod attack;
mod carrier;
mod codes;
mod commitment;
mod compute;
pub mod derivation;
mod detect;
mod difference;
mod disclosure;
mod element;
mod embed;
mod error;
mod gauge;
mod hex;
#[cfg(feature = "cuda")]
#[doc(hidden)]
pub mod hot;
mod key;
mod odds;
mod ops;
pub mod payload;
#[cfg(test)]
mod reference;
pub mod statistics;
mod strength;
pub mod tensors;

pub use commitment::{Algorithm, Commitment, Gauge, Opened, Rung, Transcript};
pub use compute::Compute;
pub use detect::{Base, DetectReport, RecordReport, Verdict, detect, detect_on, detect_work, search};
pub use disclosure::Disclosure;
pub use embed::{EmbedOptions, EmbedReport, embed, embed_work};
pub use error::{Error, Result};
pub use gauge::{
    GAUGE_MARGIN, GaugeChange, GaugeHost, GaugeLayer, GaugePlan, GaugeReport, GaugeScores, gauge_detect, gauge_embed,
    gauge_log10_p,
};
pub use key::{GROUPS, MarkKey, MarkSecret, recipient_commitment};
pub use odds::{BandReport, Statistic};
pub use strength::Strength;
