//! `anchor deploy`.

use std::time::Duration;

use clap::Args;
use countermark::anchor::chain_entries;
use countermark::io::anchor::evm::Deployment;

use super::chain::Chain;
use crate::print::{self, Result};

/// Put the ERC-7053 contract on a chain: once, for all logs and everybody who wants to use it
#[derive(Args)]
#[command(after_help = "\
Example:
  countermark anchor deploy --evm https://node.example --chain-id 11155111 --chain-key chain.key >> policy.toml
Nobody owns the contract, and it holds nothing but what is committed. Printed is what a policy needs.")]
pub struct Deploy {
    #[command(flatten)]
    chain: Chain,
    /// How long to wait until the transaction is included
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
}

pub fn run(args: &Deploy) -> Result<u8> {
    let Chain { evm, agree, chain_id, .. } = &args.chain;
    let deployment = Deployment::sign(evm, *agree, *chain_id, &args.chain.key()?, args.chain.fees())?;
    eprintln!("transaction {}; the contract will be {}", deployment.transaction, deployment.contract);
    let deployed = deployment.send(Duration::from_secs(args.wait))?;
    eprintln!("included in block {}", deployed.block);
    print::line(chain_entries(std::slice::from_ref(&deployed.chain)).trim_end())?;
    eprintln!("next: countermark anchor submit LOG --evm URL --chain-key FILE --contract {}", deployed.contract);
    Ok(0)
}
