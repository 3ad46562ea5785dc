//! Who signed: keys and envelopes of our own, C2PA manifests and their certificates, whom a policy trusts,
//! and what no longer counts.

pub mod alone;
mod assertions;
pub mod c2pa;
mod chain;
mod container;
mod cose;
pub mod countersign;
pub mod declared;
pub mod dsse;
pub mod embedded;
pub mod hand_over;
mod jumbf;
pub mod keys;
pub mod logged;
mod manifest;
pub mod oms;
pub mod policy;
pub mod revocation;
pub mod rfc3161;
pub mod x509;
