//! Transactions on chains with Ethereum's machine: nodes are asked, accounts sign, and what is included is proved at once.

mod block;
mod deploy;
mod endpoints;
mod fees;
mod rpc;
mod signer;
mod work;

pub use deploy::{Deployed, Deployment};
pub use endpoints::{Endpoints, Nodes};
pub use fees::{Fees, GWEI, gwei};
pub use signer::{Account, Signed, generate as generate_key};
pub use work::{Backend, Plan, Work};
