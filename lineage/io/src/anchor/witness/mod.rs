//! Witnesses (C2SP tlog-witness): asking them, and being one.

mod client;
mod server;
mod store;

pub use client::{Answered, Asked, Reply, ask};
pub use server::serve;
pub use store::Witness;
