//! Transactions on chains with Ethereum's machine: nodes are asked, accounts sign, and what is included is proved at once.

mod endpoints;
mod rpc;
mod signer;

pub use endpoints::{Endpoints, Nodes};
pub use signer::{Account, Signed, generate as generate_key};
