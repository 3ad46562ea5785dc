//! Puts the ERC-7053 contract on a chain: one transaction, once, for everybody who wants to use it.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use countermark_lineage::anchor::evm::hex::{self, Address, Word};
use countermark_lineage::anchor::evm::{keccak256, rlp};
use countermark_lineage::credential::policy::Chain;
use serde::Deserialize;
use serde_json::json;

use super::block::{self, Place};
use super::endpoints::Endpoints;
use super::fees::{self, Fees};
use super::rpc::Data;
use super::signer::Account;
use super::work::{self, Backend};
use crate::Error;

/// The contract as it is committed: its source's hash, how it was compiled, and what came out.
pub const CONTRACT: &str = include_str!("../../../../contracts/CountermarkAnchor.json");

/// Gas and the names of a contract's transaction.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// Where it is.
    pub contract: Address,
    /// The transaction that made it.
    pub transaction: Word,
    /// Its block.
    pub block: u64,
    /// What a policy says of the chain, without any block's hash.
    pub chain: Chain,
}

/// A transaction that makes the contract, not sent yet.
pub struct Deployment {
    endpoints: Endpoints,
    chain_id: u64,
    recorder: Address,
    raw: Vec<u8>,
    /// Where the contract will be.
    pub contract: Address,
    /// Hash of the transaction.
    pub transaction: Word,
}

#[derive(Deserialize)]
struct Compiled {
    bytecode: String,
}

/// What a transaction carries that makes the contract.
pub fn bytecode() -> Result<Vec<u8>, Error> {
    let compiled: Option<Compiled> = serde_json::from_str(CONTRACT).ok();
    let bytecode = compiled.and_then(|compiled| hex::decode(&compiled.bytecode));
    bytecode.ok_or_else(|| Error::refused("CountermarkAnchor.json".as_ref(), "is damaged", "please report this"))
}

impl Deployment {
    /// Signs a transaction that makes the contract. `expected` is the chain that is meant.
    ///
    /// # Errors
    /// When the nodes cannot be asked, or it costs more than it may.
    pub fn sign(
        urls: &[String],
        agree: Option<NonZeroU32>,
        expected: Option<u64>,
        key: &Path,
        fees: Fees,
    ) -> Result<Self, Error> {
        let account = Account::load(key)?;
        let (endpoints, chain_id) = Endpoints::new(urls, agree)?.on_chain(expected)?;
        let recorder = account.address;
        let data = bytecode()?;
        let base = fees::base(&endpoints)?;
        let offer = fees.offer(base).map_err(|why| endpoints.refuse(why, "raise --max-fee, or wait"))?;
        let nonce =
            endpoints.reached("the account's nonce", "eth_getTransactionCount", json!([recorder, "pending"]))?;
        let call = json!([{ "from": recorder, "data": hex::encode(&data) }]);
        let gas = endpoints.reached("the gas that it takes", "eth_estimateGas", call)?;
        let unsigned = offer.transaction(chain_id, nonce, gas.saturating_add(gas / 5), None, data);
        let (transaction, raw) = work::sign(&account, &unsigned)?;
        // Yellow paper, equation 86: the address follows from the account and its nonce.
        let hash = keccak256(&rlp::list(&[rlp::bytes(&recorder.0), rlp::number(nonce.into())]));
        let mut contract = Address::default();
        contract.0.copy_from_slice(&hash.0[12..]);
        Ok(Deployment { endpoints, chain_id, recorder, raw, contract, transaction })
    }

    /// Sends the transaction and waits until it is included, not longer than `patience`. Calling it again is harmless.
    ///
    /// # Errors
    /// When nobody takes it, it is not carried out, or not included in time.
    pub fn send(&self, patience: Duration) -> Result<Deployed, Error> {
        let since = Instant::now();
        let told = work::broadcast(&self.endpoints, &self.raw);
        let hash = self.transaction;
        loop {
            let found: Option<Place> =
                self.endpoints.weighed("the receipt", "eth_getTransactionReceipt", json!([hash]))?;
            if let Some(place) = found {
                return self.deployed(&place);
            }
            if told.taken == 0 {
                let help = format!("{} must have enough to pay for it", self.recorder);
                return Err(self.endpoints.refuse(format!("do not take transaction {hash}{}", told.refused), &help));
            }
            if since.elapsed() >= patience {
                let help = format!(
                    "when it is included, the contract is at {}; look before you deploy another",
                    self.contract
                );
                return Err(self.endpoints.refuse(format!("do not have transaction {hash} in a block yet"), &help));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn deployed(&self, place: &Place) -> Result<Deployed, Error> {
        let (contract, transaction) = (self.contract, self.transaction);
        if place.status.0 != 1 || place.contract_address != Some(contract) {
            let problem = format!("transaction {transaction} was not carried out, or made something else");
            return Err(self.endpoints.refuse(problem, "try again"));
        }
        let Data(code) = self.endpoints.agreed("the contract", "eth_getCode", json!([contract, "latest"]))?;
        let made = bytecode()?;
        // What a deployment leaves is the end of what it carries.
        if code.is_empty() || !made.ends_with(&code) {
            let problem = format!("have other code at {contract} than was deployed");
            return Err(self.endpoints.refuse(problem, "name other nodes"));
        }
        let chain = block::entry(self.chain_id, &Backend::Erc7053 { contract }, self.recorder, &[]);
        Ok(Deployed { contract, transaction, block: place.block_number.0, chain })
    }
}
