//! Who signed: keys and envelopes of our own, C2PA manifests and their certificates, and whom a policy trusts.

mod assertions;
pub mod c2pa;
mod cose;
pub mod countersign;
pub mod dsse;
mod jumbf;
pub mod keys;
mod manifest;
pub mod oms;
pub mod policy;
pub mod rfc3161;
pub mod x509;
