//! Time-stamps of the Ethereum Attestation Service: `event Timestamped(bytes32 indexed data, uint64 indexed
//! timestamp)`.

use super::hex::{Address, Fixed, Word};
use super::receipt::Log;
use super::{Block, EventProof, HELP, abi, event, keccak256};
use crate::Error;
use crate::anchor::{Commitment, Standing, Trust};

/// The first topic of the event.
pub fn topic() -> Word {
    keccak256(b"Timestamped(bytes32,uint64)")
}

/// What a transaction to the contract carries: the call `timestamp(digest)`.
pub fn calldata(of: &Commitment<'_>) -> Vec<u8> {
    [&abi::selector("timestamp(bytes32)")[..], &of.digest.0].concat()
}

/// The call that asks when this digest was stamped: a number of Unix seconds, 0 for never.
pub fn question(of: &Commitment<'_>) -> Vec<u8> {
    [&abi::selector("getTimestamp(bytes32)")[..], &of.digest.0].concat()
}

/// The event that the contract emits in a block of this time.
pub fn log(contract: Address, timestamp: u64, of: &Commitment<'_>) -> Log {
    let mut time = [0; 32];
    time[24..].copy_from_slice(&timestamp.to_be_bytes());
    Log { address: contract, topics: vec![topic(), Fixed(of.digest.0), Fixed(time)], data: vec![] }
}

/// Where in a receipt the time-stamp of a checkpoint stands, in a block of this time.
pub fn find(logs: &[Log], contract: Address, timestamp: u64, of: &Commitment<'_>) -> Option<u64> {
    let wanted = log(contract, timestamp, of);
    logs.iter().position(|log| *log == wanted).map(|place| place as u64)
}

/// Judges a time-stamp. Nobody is named in it: whoever had it made, the digest was known then.
///
/// # Errors
/// [`Error::Input`] when the proof does not hold, or the event is another one than that of this checkpoint.
pub fn check(proof: &EventProof, of: &Commitment<'_>, trust: &Trust<'_>) -> Result<Standing, Error> {
    let (header, found) = event(proof)?;
    let refuse = |problem: &str| Error::input("event", problem, HELP);
    let [first, digest, time] = &*found.topics else {
        return Err(refuse("does not have the three topics of an EAS time-stamp"));
    };
    if *first != topic() {
        return Err(refuse("is no EAS time-stamp"));
    }
    if digest.0 != of.digest.0 {
        return Err(refuse("stamps another digest than the checkpoint's"));
    }
    // The contract writes the time of its block. An event with another time is not of EAS, whatever its address says.
    if abi::read_number(time) != Some(header.timestamp) || !found.data.is_empty() {
        return Err(refuse("does not say the time of its block, and nothing else"));
    }
    let block = Block { chain_id: proof.chain_id, header };
    block.judge(trust, |chain| match chain.eas {
        None => Err("names no EAS contract on it; set eas".to_owned()),
        Some(contract) if contract != found.address => {
            Err(format!("counts the time-stamps of {contract}, and this is one of {}", found.address))
        }
        Some(_) => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let of = Commitment::of("");
        assert_eq!(topic().to_string(), "0x5aafceeb1c7ad58e4a84898bdee37c02c0fc46e7d24e6b60e8209449f183459f");
        assert_eq!(calldata(&of)[..4], [0x4d, 0x00, 0x30, 0x70]);
        assert_eq!(question(&of)[..4], [0xd4, 0x5c, 0x44, 0x35]);
        let logs = [log(Fixed([1; 20]), 7, &of)];
        let at = |time| find(&logs, Fixed([1; 20]), time, &of);
        assert_eq!((at(7), at(8)), (Some(0), None));
    }
}
