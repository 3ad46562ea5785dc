//! What is offered for a transaction (EIP-1559): a tip, and at most twice the base fee of now.

use countermark_lineage::anchor::evm::hex::Address;
use countermark_lineage::anchor::evm::transaction::Unsigned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::endpoints::Endpoints;
use super::rpc::Quantity;
use crate::Error;

/// Wei in a gwei.
pub const GWEI: u64 = 1_000_000_000;

/// What may be paid, in wei for each unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fees {
    /// For whoever makes the block.
    pub tip: u64,
    /// In all. Without it, whatever it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fee: Option<u64>,
}

impl Default for Fees {
    fn default() -> Self {
        Fees { tip: GWEI, max_fee: None }
    }
}

/// What a transaction offers, in wei for each unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    pub tip: u64,
    pub max_fee: u64,
}

impl Fees {
    /// For a first transaction at this base fee. The error says why none is made.
    pub(super) fn offer(&self, base: u64) -> Result<Offer, String> {
        self.capped(self.tip, base.saturating_mul(2).saturating_add(self.tip), base)
    }

    /// Replaces an offer: both at least an eighth more, since nodes refuse less than a tenth, and what one would offer now.
    pub(super) fn raise(&self, old: &Offer, base: u64) -> Result<Offer, String> {
        let more = |fee: u64| fee.saturating_add(fee.div_ceil(8)).saturating_add(1);
        let (tip, max_fee) = (more(old.tip), more(old.max_fee));
        let max_fee = max_fee.max(base.saturating_mul(2).saturating_add(tip));
        match self.max_fee {
            Some(cap) if more(old.max_fee) > cap => Err(self.too_dear(base, cap)),
            _ => self.capped(tip, max_fee, base),
        }
    }

    fn capped(&self, tip: u64, max_fee: u64, base: u64) -> Result<Offer, String> {
        match self.max_fee {
            Some(cap) if base.saturating_add(1) > cap => Err(self.too_dear(base, cap)),
            Some(cap) => Ok(Offer { tip: tip.min(cap), max_fee: max_fee.min(cap) }),
            None => Ok(Offer { tip, max_fee }),
        }
    }

    fn too_dear(&self, base: u64, cap: u64) -> String {
        format!(
            "the base fee is {} gwei and --max-fee {}; submit again with a higher one, or wait",
            gwei(base),
            gwei(cap)
        )
    }
}

impl Offer {
    /// A transaction that offers this.
    pub(super) fn transaction(
        &self,
        chain_id: u64,
        nonce: u64,
        gas_limit: u64,
        to: Option<Address>,
        data: Vec<u8>,
    ) -> Unsigned {
        let (max_priority_fee, max_fee) = (self.tip.min(self.max_fee).into(), self.max_fee.into());
        Unsigned { chain_id, nonce, max_priority_fee, max_fee, gas_limit, to, value: 0, data }
    }
}

/// The base fee of the newest block.
pub(super) fn base(endpoints: &Endpoints) -> Result<u64, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Newest {
        base_fee_per_gas: Quantity,
    }
    endpoints.reached_in("the base fee", "eth_getBlockByNumber", json!(["latest", false]), |block: Newest| {
        block.base_fee_per_gas.0
    })
}

/// Wei in gwei, for people.
pub fn gwei(wei: u64) -> String {
    let (whole, rest) = (wei / GWEI, wei % GWEI);
    let text = format!("{whole}.{rest:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_follow_the_base_fee_and_the_cap() {
        let free = Fees::default();
        assert_eq!(free.offer(10 * GWEI), Ok(Offer { tip: GWEI, max_fee: 21 * GWEI }));
        let capped = Fees { max_fee: Some(15 * GWEI), ..free };
        assert_eq!(capped.offer(10 * GWEI), Ok(Offer { tip: GWEI, max_fee: 15 * GWEI }));
        assert!(capped.offer(15 * GWEI).unwrap_err().contains("15 gwei"));
        let old = free.offer(10 * GWEI).unwrap();
        let raised = free.raise(&old, 10 * GWEI).unwrap();
        assert!(raised.tip * 8 >= old.tip * 9 && raised.max_fee * 8 >= old.max_fee * 9);
        assert_eq!(free.raise(&old, 100 * GWEI).unwrap().max_fee, 200 * GWEI + raised.tip);
        // A raise that the cap does not allow in full is none: nodes would refuse it.
        assert!(Fees { max_fee: Some(22 * GWEI), ..free }.raise(&old, 10 * GWEI).is_err());
        assert!(free.raise(&Offer { tip: u64::MAX, max_fee: u64::MAX }, u64::MAX).is_ok());
    }

    #[test]
    fn fees_are_told_in_gwei() {
        assert_eq!([0, 1, GWEI, GWEI * 3 / 2].map(gwei), ["0", "0.000000001", "1", "1.5"]);
    }
}
