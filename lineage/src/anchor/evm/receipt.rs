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
