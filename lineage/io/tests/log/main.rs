//! The log under attack: killed writers, many writers, hosts that lie, and what another implementation makes of it.

mod foreign;
mod lab;
mod watched;
mod writers;
