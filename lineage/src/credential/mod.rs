//! Who signed: keys and envelopes of our own, C2PA manifests and their certificates, and whom a policy trusts.

pub mod alone;
mod assertions;
pub mod c2pa;
mod chain;
mod container;
mod cose;
pub mod declared;
pub mod dsse;
mod jumbf;
pub mod keys;
mod manifest;
pub mod policy;
mod x509;
