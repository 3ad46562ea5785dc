//! What `anchor submit` and `anchor deploy` ask about a chain.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use countermark::io::anchor::evm::{Backend, Fees, GWEI, Plan, Work};
use countermark::lineage::anchor::evm::hex::Address;

use crate::print::Result;

/// Nodes, an account, and what it may pay.
#[derive(Args)]
pub struct Chain {
    /// A node of a chain with Ethereum's machine; name several, of different operators
    #[arg(long, value_name = "URL", requires = "chain_key")]
    pub evm: Vec<String>,
    /// How many of the nodes must say the same [default: all]
    #[arg(long, value_name = "NODES", requires = "evm")]
    pub agree: Option<NonZeroU32>,
    /// The chain that is meant; nothing is signed for another
    #[arg(long, value_name = "NUMBER", requires = "evm")]
    pub chain_id: Option<u64>,
    /// Key of the account that pays: secp256k1, as `keygen --chain-key` makes it, or the file of a signer
    #[arg(long, value_name = "FILE", requires = "evm")]
    pub chain_key: Option<PathBuf>,
    /// Pay no more than this for a unit of gas, in gwei; wait when it costs more
    #[arg(long, value_name = "GWEI", value_parser = gwei, requires = "evm")]
    pub max_fee: Option<u64>,
    /// What whoever makes the block gets of it, in gwei
    #[arg(long, value_name = "GWEI", value_parser = gwei, default_value = "1")]
    pub tip: u64,
}

/// What holds the checkpoint on the chain.
#[derive(Args)]
#[group(multiple = false)]
pub struct How {
    /// Commit the checkpoint to this ERC-7053 contract, as `anchor deploy` makes it
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "evm")]
    pub contract: Option<Address>,
    /// Have this contract of the Ethereum Attestation Service stamp the digest
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "evm")]
    pub eas: Option<Address>,
    /// Send the digest to the account itself: the cheapest, and needs no contract
    #[arg(long, requires = "evm")]
    pub calldata: bool,
}

fn address(text: &str) -> std::result::Result<Address, String> {
    Address::parse(text).ok_or_else(|| "write it as 0x and 40 hexadecimal digits".to_owned())
}

/// A decimal number of gwei, in wei.
fn gwei(text: &str) -> std::result::Result<u64, String> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let wei = (!whole.is_empty() && rest.len() <= 9 && is_number(whole) && is_number(rest))
        .then(|| whole.parse::<u64>().ok()?.checked_mul(GWEI)?.checked_add(format!("{rest:0<9}").parse().ok()?))
        .flatten();
    wei.ok_or_else(|| "write gwei as 1.5".to_owned())
}

impl Chain {
    pub fn fees(&self) -> Fees {
        Fees { tip: self.tip, max_fee: self.max_fee }
    }

    pub fn key(&self) -> Result<PathBuf> {
        let help = "`countermark keygen --chain-key FILE` makes one";
        self.chain_key.clone().ok_or_else(|| format!("--chain-key FILE is missing\nhelp: {help}").into())
    }

    /// The anchor that is asked for, if one is. The nodes are asked which chain they are of.
    pub fn work(&self, how: &How) -> Result<Option<Work>> {
        if self.evm.is_empty() {
            return Ok(None);
        }
        let backend = match (how.contract, how.eas, how.calldata) {
            (Some(contract), ..) => Backend::Erc7053 { contract },
            (_, Some(contract), _) => Backend::Eas { contract },
            (.., true) => Backend::Calldata,
            _ => {
                let help =
                    "add --contract ADDRESS (`countermark anchor deploy` makes one), --eas ADDRESS or --calldata";
                return Err(format!("nothing says how the chain shall hold the checkpoint\nhelp: {help}").into());
            }
        };
        let plan = Plan {
            endpoints: self.evm.clone(),
            agree: self.agree,
            chain_id: self.chain_id,
            key: self.key()?,
            backend,
            fees: self.fees(),
        };
        Ok(Some(Work::plan(plan)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gwei_are_decimal_numbers() {
        for (text, wei) in [("1", GWEI), ("0.000000001", 1), ("2.5", 5 * GWEI / 2), ("0", 0)] {
            assert_eq!(gwei(text), Ok(wei));
        }
        for wrong in ["", ".", "1e3", "-1", "1.0000000001", "99999999999999", "1,5", "+1"] {
            assert!(gwei(wrong).is_err(), "{wrong}");
        }
    }
}
