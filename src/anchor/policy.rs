//! What a policy has to say of chains so that anchors on them count.

use std::fmt::Write as _;
use std::path::Path;

use countermark_io::anchor::{Jobs, Order, State};
use countermark_lineage::credential::policy::Chain;

use crate::Error;

/// For the anchors of this log: contracts, recorders, and the hash of each block that holds one.
///
/// Whoever pins these hashes believes the nodes that were asked when the anchors were included. Somebody else compares them
/// with a node or an explorer of his own first.
///
/// # Errors
/// When the log's folder cannot be read.
pub fn chains(log: &Path) -> Result<Vec<Chain>, Error> {
    let mut chains: Vec<Chain> = vec![];
    for (.., job) in Jobs::of(log).all()? {
        let Order::Evm(work) = &job.order else { continue };
        let mut new = work.policy();
        if job.state < State::Included {
            new.blocks.clear();
        }
        match chains.iter_mut().find(|known| known.chain_id == new.chain_id) {
            Some(known) => merge(known, new),
            None => chains.push(new),
        }
    }
    Ok(chains)
}

/// Puts what one anchor needs to what others of the same chain need. The contract that was used last is the one.
fn merge(known: &mut Chain, new: Chain) {
    known.contract = new.contract.or(known.contract);
    known.eas = new.eas.or(known.eas);
    add(&mut known.recorders, new.recorders);
    add(&mut known.blocks, new.blocks);
}

fn add<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

/// The entries in TOML, to be put into a policy.
pub fn chain_entries(chains: &[Chain]) -> String {
    let mut text = String::new();
    for chain in chains {
        let Chain { name, chain_id, contract, eas, recorders, blocks, endpoints, agree } = chain;
        // Writing to a string does not fail.
        let _ = writeln!(text, "[[chain]]\nname = {name:?}\nchain_id = {chain_id}");
        for (field, address) in [("contract", contract), ("eas", eas)] {
            if let Some(address) = address {
                let _ = writeln!(text, "{field} = \"{address}\"");
            }
        }
        list(&mut text, "recorders", recorders);
        list(&mut text, "blocks", blocks);
        list(&mut text, "endpoints", endpoints);
        if let Some(agree) = agree {
            let _ = writeln!(text, "agree = {agree}");
        }
        text.push('\n');
    }
    text
}

fn list(text: &mut String, field: &str, values: &[impl ToString]) {
    if !values.is_empty() {
        let values: Vec<String> = values.iter().map(|value| format!("{:?}", value.to_string())).collect();
        let _ = writeln!(text, "{field} = [{}]", values.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use countermark_lineage::anchor::evm::hex::Fixed;
    use countermark_lineage::credential::policy::{Policy, SCHEMA};

    use super::*;

    #[test]
    fn entries_are_read_back_as_they_are() {
        let chain = |id: u64| Chain {
            name: "a \"chain\"".to_owned(),
            chain_id: id,
            contract: Some(Fixed([1; 20])),
            eas: None,
            recorders: vec![Fixed([2; 20])],
            blocks: vec![Fixed([3; 32]), Fixed([4; 32])],
            endpoints: vec!["http://a.example/".to_owned()],
            agree: std::num::NonZeroU32::new(1),
        };
        let policy = Policy::parse(&format!("schema = {SCHEMA:?}\n{}", chain_entries(&[chain(5)]))).unwrap();
        assert_eq!(policy.chains, [chain(5)]);
        let mut known = chain(5);
        merge(
            &mut known,
            Chain { blocks: vec![Fixed([4; 32]), Fixed([5; 32])], eas: Some(Fixed([9; 20])), ..chain(5) },
        );
        assert_eq!((known.blocks.len(), known.recorders.len(), known.eas), (3, 1, Some(Fixed([9; 20]))));
    }
}
