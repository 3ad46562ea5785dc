//! Block headers (Ethereum yellow paper, section 4.4, and the EIPs that add fields at the end).

use super::hex::{Fixed, Word};
use super::{HELP, keccak256, rlp};
use crate::Error;

/// Larger headers are refused. Chains whose producers sign in the extra data have a few KiB.
pub const MAX_HEADER: usize = 64 << 10;

/// Fields of the first header. Later ones have more, and the next hard fork adds another.
const MIN_FIELDS: usize = 15;

/// What a proof needs to know of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Keccak-256 of the header's bytes: the block's hash.
    pub hash: Word,
    /// Height.
    pub number: u64,
    /// Unix seconds, as whoever made the block wrote them.
    pub timestamp: u64,
    /// Root of the trie of transactions.
    pub transactions_root: Word,
    /// Root of the trie of receipts.
    pub receipts_root: Word,
}

impl Header {
    /// Reads the RLP of a header. Fields behind the known ones are allowed: the hash covers them.
    ///
    /// # Errors
    /// [`Error::Input`] with the field that is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |field: usize, problem: &str| Error::input(format!("header field {field}"), problem, HELP);
        if bytes.len() > MAX_HEADER {
            return Err(Error::input("header", format!("is above {MAX_HEADER} bytes"), HELP));
        }
        let item = rlp::decode("header", bytes)?;
        let fields = item.list().ok_or_else(|| Error::input("header", "is no list", HELP))?;
        if fields.len() < MIN_FIELDS {
            let problem = format!("has {} fields and needs at least {MIN_FIELDS}", fields.len());
            return Err(Error::input("header", problem, HELP));
        }
        let length = |field: usize, length: usize| match fields[field].0.bytes() {
            Some(bytes) if bytes.len() == length => Ok(()),
            _ => Err(refuse(field, &format!("is not {length} bytes"))),
        };
        // The shape of the fields around those that are read: something else with as many items is no header.
        for (field, size) in [(0, 32), (1, 32), (2, 20), (3, 32), (6, 256), (13, 32), (14, 8)] {
            length(field, size)?;
        }
        let root = |field: usize| fields[field].0.fixed().map(Fixed).ok_or_else(|| refuse(field, "is not 32 bytes"));
        let number = |field: usize| fields[field].0.number().ok_or_else(|| refuse(field, "is no number of 64 bits"));
        Ok(Header {
            hash: keccak256(bytes),
            number: number(8)?,
            timestamp: number(11)?,
            transactions_root: root(4)?,
            receipts_root: root(5)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a header, the first `count` of those that there are, and then as many as are wanted.
    fn fields(count: usize) -> Vec<Vec<u8>> {
        let word = rlp::bytes(&[7; 32]);
        let mut fields = vec![word.clone(); 4];
        fields[2] = rlp::bytes(&[7; 20]);
        fields.extend([rlp::bytes(&[4; 32]), rlp::bytes(&[5; 32]), rlp::bytes(&[0; 256]), rlp::number(0)]);
        fields.extend([
            rlp::number(8),
            rlp::number(30_000_000),
            rlp::number(21_000),
            rlp::number(11),
            rlp::bytes(b"x"),
        ]);
        fields.extend([word.clone(), rlp::bytes(&[0; 8])]);
        fields.resize(count.max(15), word);
        fields.truncate(count);
        fields
    }

    #[test]
    fn headers_of_every_age() {
        for count in 15..25 {
            let header = Header::parse(&rlp::list(&fields(count))).unwrap();
            assert_eq!((header.number, header.timestamp), (8, 11));
            assert_eq!((header.transactions_root.0, header.receipts_root.0), ([4; 32], [5; 32]));
        }
    }

    #[test]
    fn a_header_of_a_wrong_form() {
        let with = |place: usize, field: Vec<u8>| {
            let mut fields = fields(21);
            fields[place] = field;
            rlp::list(&fields)
        };
        let cases = [
            ("14 fields", rlp::list(&fields(14))),
            ("is no list", rlp::bytes(&[7; 600])),
            ("above", vec![0; MAX_HEADER + 1]),
            ("cut short", rlp::list(&fields(21))[..300].to_vec()),
            ("behind", [rlp::list(&fields(21)), vec![0]].concat()),
            ("field 0:", with(0, rlp::bytes(&[7; 31]))),
            ("field 4:", with(4, rlp::list(&[]))),
            ("field 5:", with(5, rlp::bytes(&[7; 33]))),
            ("field 6:", with(6, rlp::bytes(&[0; 32]))),
            ("field 8:", with(8, rlp::bytes(&[0, 8]))),
            ("field 8:", with(8, rlp::bytes(&[1; 9]))),
            ("field 11:", with(11, rlp::bytes(&[0]))),
            ("field 14:", with(14, rlp::number(0))),
        ];
        for (reason, bytes) in cases {
            let problem = Header::parse(&bytes).unwrap_err().problem();
            assert!(problem.contains(reason), "{reason}: {problem}");
        }
    }
}
