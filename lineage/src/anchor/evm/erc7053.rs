//! Commits of ERC-7053: `event Commit(address indexed recorder, string indexed assetCid, string commitData)`.
//!
//! The asset is the checkpoint, under the CID of its SHA-256; the data is the checkpoint itself, so that the chain
//! alone gives back what the log's operator signed.

use super::hex::{Address, Word};
use super::receipt::Log;
use super::{Block, EventProof, HELP, abi, event, keccak256};
use crate::Error;
use crate::anchor::{Commitment, Standing, Trust};
use crate::digest::Hash;

/// The first topic of the event.
pub fn topic() -> Word {
    keccak256(b"Commit(address,string,string)")
}

/// The content identifier of bytes with this SHA-256: CIDv1, raw, in lower-case base32. 59 characters.
pub fn cid(digest: &Hash) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bytes: Vec<u8> = [&[0x01, 0x55, 0x12, 0x20], &digest.0[..]].concat();
    let mut text = String::from("b");
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        (bits, count) = ((bits << 8 | u32::from(byte)) & 0xffff, count + 8);
        while count >= 5 {
            count -= 5;
            text.push(char::from(ALPHABET[(bits >> count & 31) as usize]));
        }
    }
    if count > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - count) & 31) as usize]));
    }
    text
}

/// What a transaction to the contract carries: the call `commit(cid, checkpoint)`.
pub fn calldata(of: &Commitment<'_>) -> Vec<u8> {
    let cid = abi::string(&cid(&of.digest));
    let head = [abi::word(64), abi::word(64 + cid.len() as u64)].concat();
    [&abi::selector("commit(string,string)")[..], &head, &cid, &abi::string(of.checkpoint)].concat()
}

/// The event that a contract emits when `recorder` commits a checkpoint.
pub fn log(contract: Address, recorder: Address, of: &Commitment<'_>) -> Log {
    Log {
        address: contract,
        topics: vec![topic(), abi::address(&recorder), keccak256(cid(&of.digest).as_bytes())],
        data: [abi::word(32), abi::string(of.checkpoint)].concat(),
    }
}

/// Reads an event: who committed, and what. The contract is not judged.
///
/// # Errors
/// [`Error::Input`] when it is another event, or anything in it has another form than the ABI gives it.
pub fn decode(log: &Log) -> Result<(Address, String), Error> {
    let refuse = |problem: &str| Error::input("event", problem, HELP);
    let [first, recorder, _] = &*log.topics else {
        return Err(refuse("does not have the three topics of an ERC-7053 commit"));
    };
    if *first != topic() {
        return Err(refuse("is no ERC-7053 commit"));
    }
    let recorder = abi::read_address(recorder).ok_or_else(|| refuse("its recorder is no address"))?;
    let data = abi::read_string(&log.data).map_err(refuse)?;
    Ok((recorder, data.to_owned()))
}

/// Judges a commit. An event of a contract or an account that the policy does not name takes nothing away: it is true,
/// and anybody may emit such events and add them to a bundle. It is not counted.
///
/// # Errors
/// [`Error::Input`] when the proof does not hold, or the event is another one than that of this checkpoint.
pub fn check(proof: &EventProof, of: &Commitment<'_>, trust: &Trust<'_>) -> Result<Standing, Error> {
    let (header, log) = event(proof)?;
    let refuse = |problem: &str| Error::input("event", problem, HELP);
    let (recorder, data) = decode(&log)?;
    if log.topics[2] != keccak256(cid(&of.digest).as_bytes()) {
        return Err(refuse("is about another asset than the checkpoint"));
    }
    if data != of.checkpoint {
        return Err(refuse("holds another checkpoint"));
    }
    let block = Block { chain_id: proof.chain_id, header };
    block.judge(trust, |chain| match chain.contract {
        None => Err("names no contract for commits on it; set contract".to_owned()),
        Some(contract) if contract != log.address => {
            Err(format!("counts the commits of {contract}, and this is one of {}", log.address))
        }
        Some(_) if !chain.recorders.contains(&recorder) => {
            Err(format!("does not name {recorder}, who committed it, among the recorders"))
        }
        Some(_) => Ok(()),
    })
}

/// Where in a receipt the commit of a checkpoint stands, by this contract and account.
pub fn find(logs: &[Log], contract: Address, recorder: Address, of: &Commitment<'_>) -> Option<u64> {
    let wanted = self::log(contract, recorder, of);
    logs.iter().position(|log| *log == wanted).map(|place| place as u64)
}

#[cfg(test)]
mod tests {
    use super::super::hex::Fixed;
    use super::*;

    const CHECKPOINT: &str = "log.example/countermark\n5\n1eWxVJKOTWfdnGSKzk2xfCUqdfj5TaSAW+oRJSRW7Bg=\n\n— log.example/countermark XmgBN49D+dDU2S3TjW6WZiZ4EVBlyPERUrRt7ER1s3zql+LA4PXpTyUg7CCIz2FbDNijG7n7fv4GaSY9LLfebiY3HgA=\n";

    #[test]
    fn known_answers() {
        let of = Commitment::of(CHECKPOINT);
        assert_eq!(of.checkpoint.len(), 193);
        assert_eq!(cid(&of.digest), "bafkreifmp75z5up5yiu6jwusajmj2ol422nnndp7vxyzwp3grvyz77u5ey");
        assert_eq!(topic().to_string(), "0x39b5d1808997c4c413695960efbe703ad3d5c8982d2eb21ff57b01e22a671532");
        let calldata = calldata(&of);
        assert_eq!(super::super::hex::encode(&calldata[..4]), "0x81d14ffc");
        assert_eq!((calldata.len() % 32, calldata[4 + 31], calldata[4 + 63]), (4, 0x40, 0x60 + 64));
        let log = log(Fixed([1; 20]), Fixed([2; 20]), &of);
        assert_eq!(decode(&log).unwrap(), (Fixed([2; 20]), CHECKPOINT.to_owned()));
        assert_eq!(find(&[log], Fixed([1; 20]), Fixed([2; 20]), &of), Some(0));
    }
}
