//! Receipts of transactions (yellow paper, section 4.4.1; types by EIP-2718).

use super::hex::{Address, Fixed, Word};
use super::{HELP, keccak256, rlp};
use crate::Error;

/// Types whose receipts have exactly the four fields of the first ones.
const PLAIN: std::ops::RangeInclusive<u8> = 0..=4;

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Type of the transaction; 0 for those from before there were types.
    pub kind: u8,
    /// True when it was carried out.
    pub status: bool,
    /// Gas of the block up to here.
    pub cumulative_gas: u64,
    /// Filter over addresses and topics of the logs.
    pub bloom: [u8; 256],
    /// The events.
    pub logs: Vec<Log>,
    /// RLP of each further field that the type adds. Types up to 4 add none; deposits of some chains (0x7e) do.
    pub extra: Vec<Vec<u8>>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Which contract emitted it.
    pub address: Address,
    /// The indexed values, at most four.
    pub topics: Vec<Word>,
    /// The other values, in the encoding of the contract's ABI.
    pub data: Vec<u8>,
}

impl Receipt {
    /// Of a transaction without fields of its own; the filter is computed from the logs.
    pub fn new(kind: u8, status: bool, cumulative_gas: u64, logs: Vec<Log>) -> Self {
        Receipt { kind, status, cumulative_gas, bloom: bloom(&logs), logs, extra: vec![] }
    }

    /// Reads the value that stands in the trie: `[type byte] rlp([status, gas, bloom, logs])`.
    ///
    /// # Errors
    /// [`Error::Input`] with the part that breaks the rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |problem: &str| Error::input("receipt", problem, HELP);
        let (kind, body) = match bytes.first() {
            // EIP-2718: a type byte is below 0x80, and a list begins at 0xc0. Type 0 has no byte.
            Some(kind @ 1..=0x7f) => (*kind, &bytes[1..]),
            Some(0xc0..) => (0, bytes),
            _ => return Err(refuse("begins neither with a type nor with a list")),
        };
        let item = rlp::decode("receipt", body)?;
        let fields = item.list().ok_or_else(|| refuse("is no list"))?;
        let [(status, _), (gas, _), (bloom, _), (logs, _), extra @ ..] = fields else {
            return Err(refuse("has fewer than four fields"));
        };
        if PLAIN.contains(&kind) && !extra.is_empty() {
            return Err(refuse("has more fields than its type allows"));
        }
        let status = match status.bytes() {
            Some([]) => false,
            Some([1]) => true,
            // Before 2017 a state root stood here, and nothing told whether the transaction was carried out.
            _ => return Err(refuse("does not say whether the transaction was carried out")),
        };
        let logs = logs.list().ok_or_else(|| refuse("its logs are no list"))?;
        Ok(Receipt {
            kind,
            status,
            cumulative_gas: gas.number().ok_or_else(|| refuse("its gas is no number of 64 bits"))?,
            bloom: bloom.fixed().ok_or_else(|| refuse("its filter is not 256 bytes"))?,
            logs: logs.iter().enumerate().map(|(place, (log, _))| Log::parse(place, log)).collect::<Result<_, _>>()?,
            extra: extra.iter().map(|(_, bytes)| bytes.to_vec()).collect(),
        })
    }

    /// The value that stands in the trie.
    pub fn to_bytes(&self) -> Vec<u8> {
        let fields = [
            rlp::number(self.status.into()),
            rlp::number(self.cumulative_gas.into()),
            rlp::bytes(&self.bloom),
            rlp::list(&self.logs.iter().map(Log::encode).collect::<Vec<_>>()),
        ];
        let body = rlp::list(&[&fields[..], &self.extra].concat());
        if self.kind == 0 { body } else { [vec![self.kind], body].concat() }
    }
}

impl Log {
    fn parse(place: usize, item: &rlp::Item<'_>) -> Result<Self, Error> {
        let refuse = |problem: &str| Error::input(format!("receipt log {place}"), problem, HELP);
        let Some([(address, _), (topics, _), (data, _)]) = item.list() else {
            return Err(refuse("is no list of address, topics and data"));
        };
        let topics = topics.list().filter(|topics| topics.len() <= 4).ok_or_else(|| refuse("has no list of topics"))?;
        let topic = |(topic, _): &(rlp::Item<'_>, _)| topic.fixed().map(Fixed);
        Ok(Log {
            address: Fixed(address.fixed().ok_or_else(|| refuse("its address is not 20 bytes"))?),
            topics: topics.iter().map(topic).collect::<Option<_>>().ok_or_else(|| refuse("a topic is not 32 bytes"))?,
            data: data.bytes().ok_or_else(|| refuse("its data is no string"))?.to_vec(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let topics: Vec<_> = self.topics.iter().map(|topic| rlp::bytes(&topic.0)).collect();
        rlp::list(&[rlp::bytes(&self.address.0), rlp::list(&topics), rlp::bytes(&self.data)])
    }
}

/// The filter over addresses and topics (yellow paper, equation 28): three of 2048 bits for each.
pub fn bloom(logs: &[Log]) -> [u8; 256] {
    let mut filter = [0; 256];
    let mut set = |value: &[u8]| {
        let hash = keccak256(value).0;
        for pair in hash[..6].chunks_exact(2) {
            let bit = usize::from(u16::from_be_bytes([pair[0], pair[1]])) % 2048;
            filter[255 - bit / 8] |= 1 << (bit % 8);
        }
    };
    for log in logs {
        set(&log.address.0);
        log.topics.iter().for_each(|topic| set(&topic.0));
    }
    filter
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receipt() -> impl Strategy<Value = Receipt> {
        let word = any::<[u8; 32]>().prop_map(Fixed);
        let data = proptest::collection::vec(any::<u8>(), 0..200);
        let log = (any::<[u8; 20]>(), proptest::collection::vec(word, 0..=4), data);
        let log = log.prop_map(|(address, topics, data)| Log { address: Fixed(address), topics, data });
        (0..=0x7f_u8, any::<bool>(), any::<u64>(), proptest::collection::vec(log, 0..4), 0..3_usize).prop_map(
            |(kind, status, gas, logs, extra)| {
                let extra = if PLAIN.contains(&kind) { 0 } else { extra };
                Receipt { extra: vec![rlp::number(7); extra], ..Receipt::new(kind, status, gas, logs) }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(receipt in receipt()) {
            prop_assert_eq!(Receipt::parse(&receipt.to_bytes()).unwrap(), receipt);
        }

        #[test]
        fn one_spelling_only(receipt in receipt(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let mut bytes = receipt.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(other) = Receipt::parse(&bytes) {
                prop_assert_ne!(&other, &receipt);
                prop_assert_eq!(other.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn a_receipt_of_a_wrong_form() {
        let good = Receipt::new(2, true, 21_000, vec![]).to_bytes();
        let bloom = rlp::bytes(&[0; 256]);
        let of = |fields: &[Vec<u8>]| [vec![2], rlp::list(fields)].concat();
        let fields = [rlp::number(1), rlp::number(21_000), bloom.clone(), rlp::list(&[])];
        assert_eq!(of(&fields), good);
        let with = |place: usize, field: Vec<u8>| {
            let mut fields = fields.to_vec();
            fields[place] = field;
            of(&fields)
        };
        let log = |parts: &[Vec<u8>]| with(3, rlp::list(&[rlp::list(parts)]));
        let (address, topics) = (rlp::bytes(&[1; 20]), rlp::list(&[]));
        let topic = rlp::bytes(&[1; 32]);
        let cases = [
            ("begins", vec![]),
            ("begins", vec![0x00]),
            ("begins", [&[0x80], &good[..]].concat()),
            ("cut short", good[..good.len() - 1].to_vec()),
            ("behind", [&good[..], &[0]].concat()),
            ("no list", vec![2, 1]),
            ("fewer", of(&fields[..3])),
            ("more fields", of(&[&fields[..], &fields[..1]].concat())),
            ("carried out", with(0, rlp::number(2))),
            ("carried out", with(0, rlp::bytes(&[0; 32]))),
            ("carried out", with(0, rlp::bytes(&[0]))),
            ("carried out", with(0, rlp::list(&[]))),
            ("gas", with(1, rlp::bytes(&[0, 1]))),
            ("filter", with(2, rlp::bytes(&[0; 255]))),
            ("logs are no list", with(3, rlp::bytes(&[]))),
            ("log 0: is no list", with(3, rlp::list(&[rlp::bytes(&[])]))),
            ("log 0: is no list", log(&[address.clone(), topics.clone()])),
            ("address", log(&[rlp::bytes(&[1; 19]), topics.clone(), rlp::bytes(&[])])),
            ("topic", log(&[address.clone(), rlp::list(&[rlp::bytes(&[1; 31])]), rlp::bytes(&[])])),
            ("topics", log(&[address.clone(), rlp::list(&vec![topic; 5]), rlp::bytes(&[])])),
            ("data", log(&[address, topics, rlp::list(&[])])),
        ];
        for (reason, bytes) in cases {
            let problem = Receipt::parse(&bytes).unwrap_err().problem();
            assert!(problem.contains(reason), "{reason}: {problem}");
        }
        // What is a list is of type 0, and of no other.
        assert_eq!(Receipt::parse(&good[1..]).unwrap().kind, 0);
    }
}
