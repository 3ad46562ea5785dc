//! Transactions whose data is the digest of a checkpoint. The cheapest anchor, and it needs no contract.
//!
//! That the transaction stands in the block is enough: its data is part of the block whether or not it was carried out,
//! and whomever it was sent to.

use super::hex::Word;
use super::transaction::Transaction;
use super::{Block, HELP, TransactionProof, trie};
use crate::Error;
use crate::anchor::{Commitment, Standing, Trust};

/// What the transaction carries.
pub fn calldata(of: &Commitment<'_>) -> Vec<u8> {
    of.digest.0.to_vec()
}

/// Judges a transaction. It counts when an account that the policy names among the recorders signed it for this chain.
///
/// # Errors
/// [`Error::Input`] when the proof does not hold, or the transaction carries something else.
pub fn check(proof: &TransactionProof, of: &Commitment<'_>, trust: &Trust<'_>) -> Result<Standing, Error> {
    let refuse = |problem: &str| Error::input("transaction", problem, HELP);
    let header = super::header::Header::parse(&proof.header.0)?;
    let transaction = read(&header.transactions_root, proof)?;
    if transaction.input != of.digest.0 {
        return Err(refuse("carries something else than the digest of the checkpoint"));
    }
    if transaction.chain_id != Some(proof.chain_id) {
        return Err(match transaction.chain_id {
            Some(chain_id) => refuse(&format!("was signed for chain {chain_id}, not {}", proof.chain_id)),
            None => refuse("was signed for no chain, so that anybody may repeat it on any"),
        });
    }
    let block = Block { chain_id: proof.chain_id, header };
    block.judge(trust, |chain| {
        if chain.recorders.contains(&transaction.sender) {
            Ok(())
        } else {
            Err(format!("does not name {}, who signed the transaction, among the recorders", transaction.sender))
        }
    })
}

fn read(root: &Word, proof: &TransactionProof) -> Result<Transaction, Error> {
    Transaction::parse(trie::verify(root, proof.index, &proof.nodes)?)
}
