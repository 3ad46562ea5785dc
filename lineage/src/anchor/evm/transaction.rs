//! Transactions as they stand in a block: who signed what to whom on which chain.
//!
//! Legacy with and without a chain (EIP-155), and the types 1 (EIP-2930), 2 (EIP-1559), 3 (EIP-4844) and 4 (EIP-7702).

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use super::hex::{Address, Fixed, Word};
use super::{HELP, keccak256, rlp};
use crate::Error;

/// A transaction whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// 0 for those from before there were types.
    pub kind: u8,
    /// Which chain its signer meant. Very old ones name none.
    pub chain_id: Option<u64>,
    /// Whose account signed it.
    pub sender: Address,
    /// Whom it is sent to. `None`: it makes a contract.
    pub to: Option<Address>,
    /// What it carries.
    pub input: Vec<u8>,
    /// Keccak-256 of its bytes.
    pub hash: Word,
}

/// Where things stand in the list of fields of a type.
struct Layout {
    fields: usize,
    to: usize,
}

impl Layout {
    fn of(kind: u8) -> Option<Self> {
        match kind {
            0 => Some(Layout { fields: 9, to: 3 }),
            1 => Some(Layout { fields: 11, to: 4 }),
            2 => Some(Layout { fields: 12, to: 5 }),
            3 => Some(Layout { fields: 14, to: 5 }),
            4 => Some(Layout { fields: 13, to: 5 }),
            _ => None,
        }
    }
}

impl Transaction {
    /// Reads the value that stands in the trie, and finds out who signed it.
    ///
    /// # Errors
    /// [`Error::Input`] with the part that breaks the rules, for types without a signature of their own too.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |problem: &str| Error::input("transaction", problem, HELP);
        let (kind, body) = match bytes.first() {
            Some(kind @ 1..=0x7f) => (*kind, &bytes[1..]),
            Some(0xc0..) => (0, bytes),
            _ => return Err(refuse("begins neither with a type nor with a list")),
        };
        let layout = Layout::of(kind).ok_or_else(|| refuse(&format!("is of the unknown type {kind}")))?;
        let item = rlp::decode("transaction", body)?;
        let fields = item.list().ok_or_else(|| refuse("is no list"))?;
        if fields.len() != layout.fields {
            return Err(refuse(&format!("has {} fields, and its type {}", fields.len(), layout.fields)));
        }
        let (unsigned, signature) = fields.split_at(layout.fields - 3);
        let number = |item: &rlp::Item<'_>| item.number().ok_or_else(|| refuse("holds a number beyond 64 bits"));
        let mut signed: Vec<Vec<u8>> = unsigned.iter().map(|(_, raw)| raw.to_vec()).collect();
        let v = number(&signature[0].0)?;
        let (chain_id, is_odd) = match (kind, v) {
            (0, 27 | 28) => (None, v == 28),
            // EIP-155: v = 35 or 36, and twice the chain; signed are the chain and two empty fields as well.
            (0, 35..) => {
                let chain_id = (v - 35) / 2;
                signed.extend([rlp::number(chain_id.into()), rlp::number(0), rlp::number(0)]);
                (Some(chain_id), (v - 35) % 2 == 1)
            }
            (1.., 0 | 1) => (Some(number(&fields[0].0)?), v == 1),
            _ => return Err(refuse("has a signature of no known form")),
        };
        let message = rlp::list(&signed);
        let message = if kind == 0 { message } else { [vec![kind], message].concat() };
        let sender = recover(&keccak256(&message), is_odd, &signature[1].0, &signature[2].0)
            .ok_or_else(|| refuse("its signature does not hold"))?;
        let to = match fields[layout.to].0.bytes() {
            Some([]) => None,
            Some(to) => Some(Fixed(to.try_into().map_err(|_| refuse("its receiver is not 20 bytes"))?)),
            None => return Err(refuse("its receiver is no string")),
        };
        let input = fields[layout.to + 2].0.bytes().ok_or_else(|| refuse("its data is no string"))?.to_vec();
        Ok(Transaction { kind, chain_id, sender, to, input, hash: keccak256(bytes) })
    }
}

/// The account whose key made this signature. Values of `s` in the upper half are refused, as chains do (EIP-2).
fn recover(hash: &Word, is_odd: bool, r: &rlp::Item<'_>, s: &rlp::Item<'_>) -> Option<Address> {
    let signature = Signature::from_scalars(scalar(r)?, scalar(s)?).ok()?;
    if signature.normalize_s().is_some() {
        return None;
    }
    let key = VerifyingKey::recover_from_prehash(&hash.0, &signature, RecoveryId::new(is_odd, false)).ok()?;
    Some(address_of(&key))
}

/// A number of at most 256 bits, in its one spelling.
fn scalar(item: &rlp::Item<'_>) -> Option<[u8; 32]> {
    let bytes = item.bytes()?;
    let zeros = 32_usize.checked_sub(bytes.len())?;
    if bytes.first() == Some(&0) {
        return None;
    }
    let mut scalar = [0; 32];
    scalar[zeros..].copy_from_slice(bytes);
    Some(scalar)
}

/// The account of a key: the last 20 bytes of the hash of its point.
pub fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    let hash = keccak256(&point.as_bytes()[1..]).0;
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    Fixed(address)
}

/// A transaction of EIP-1559 to be signed, without an access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// Which chain.
    pub chain_id: u64,
    /// How many transactions its sender has sent before.
    pub nonce: u64,
    /// Wei for each unit of gas that goes to whoever makes the block, at most.
    pub max_priority_fee: u128,
    /// Wei for each unit of gas, at most.
    pub max_fee: u128,
    /// Units of gas, at most.
    pub gas_limit: u64,
    /// Whom it is sent to. `None`: it makes a contract.
    pub to: Option<Address>,
    /// Wei.
    pub value: u128,
    /// What it carries.
    pub data: Vec<u8>,
}

impl Unsigned {
    fn fields(&self) -> Vec<Vec<u8>> {
        vec![
            rlp::number(self.chain_id.into()),
            rlp::number(self.nonce.into()),
            rlp::number(self.max_priority_fee),
            rlp::number(self.max_fee),
            rlp::number(self.gas_limit.into()),
            rlp::bytes(self.to.as_ref().map_or(&[], |to| &to.0)),
            rlp::number(self.value),
            rlp::bytes(&self.data),
            rlp::list(&[]),
        ]
    }

    /// What is to be signed.
    pub fn signing_hash(&self) -> Word {
        keccak256(&[vec![2], rlp::list(&self.fields())].concat())
    }

    /// The transaction with its signature: `r` and `s` big-endian, `s` in the lower half.
    pub fn signed(&self, is_y_odd: bool, r: &[u8; 32], s: &[u8; 32]) -> Vec<u8> {
        let mut fields = self.fields();
        fields.push(rlp::number(is_y_odd.into()));
        for scalar in [r, s] {
            let zeros = scalar.iter().take_while(|digit| **digit == 0).count();
            fields.push(rlp::bytes(&scalar[zeros..]));
        }
        [vec![2], rlp::list(&fields)].concat()
    }
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::super::hex;
    use super::*;

    /// The example of EIP-155.
    const EXAMPLE: &str = "0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025\
        a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276\
        a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";

    fn key() -> SigningKey {
        SigningKey::from_slice(&[0x46; 32]).unwrap()
    }

    fn signed(unsigned: &Unsigned) -> Vec<u8> {
        let (signature, id) = key().sign_prehash_recoverable(&unsigned.signing_hash().0).unwrap();
        unsigned.signed(id.is_y_odd(), &signature.r().to_bytes().into(), &signature.s().to_bytes().into())
    }

    fn unsigned() -> Unsigned {
        Unsigned {
            chain_id: 31_337,
            nonce: 0,
            max_priority_fee: 1_000_000_000,
            max_fee: u128::MAX,
            gas_limit: 30_000,
            to: Some(Fixed([7; 20])),
            value: 0,
            data: vec![1; 300],
        }
    }

    #[test]
    fn known_answer() {
        let transaction = Transaction::parse(&hex::decode(EXAMPLE).unwrap()).unwrap();
        assert_eq!(transaction.sender.to_string(), "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f");
        assert_eq!(transaction.sender, address_of(key().verifying_key()));
        assert_eq!((transaction.kind, transaction.chain_id, transaction.to), (0, Some(1), Some(Fixed([0x35; 20]))));
    }

    #[test]
    fn what_is_signed_is_read_again() {
        for to in [None, Some(Fixed([7; 20]))] {
            let raw = signed(&Unsigned { to, ..unsigned() });
            let transaction = Transaction::parse(&raw).unwrap();
            let expected = (2, Some(31_337), address_of(key().verifying_key()), to, vec![1; 300], keccak256(&raw));
            let Transaction { kind, chain_id, sender, to, input, hash } = transaction;
            assert_eq!((kind, chain_id, sender, to, input, hash), expected);
        }
    }

    #[test]
    fn a_changed_byte_changes_who_signed() {
        let good = signed(&unsigned());
        let sender = address_of(key().verifying_key());
        for at in 0..good.len() {
            for flip in [1, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                assert!(!Transaction::parse(&bad).is_ok_and(|other| other.sender == sender), "byte {at}");
            }
        }
    }

    #[test]
    fn a_transaction_of_a_wrong_form() {
        let good = signed(&unsigned());
        let item = rlp::decode("x", &good[1..]).unwrap();
        let fields: Vec<Vec<u8>> = item.list().unwrap().iter().map(|(_, raw)| raw.to_vec()).collect();
        let of = |fields: &[Vec<u8>]| [vec![2], rlp::list(fields)].concat();
        let with = |place: usize, field: Vec<u8>| {
            let mut fields = fields.clone();
            fields[place] = field;
            of(&fields)
        };
        // The other half of s, which everybody can compute: another hash for the same transaction.
        let s = scalar(&item.list().unwrap()[11].0).unwrap();
        let order: [u8; 32] = hex::decode("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .unwrap()
            .try_into()
            .unwrap();
        let mut high = [0; 32];
        let mut borrow = 0;
        for at in (0..32).rev() {
            let digit = i32::from(order[at]) - i32::from(s[at]) - borrow;
            (high[at], borrow) = (digit.rem_euclid(256) as u8, i32::from(digit < 0));
        }
        let mut flipped = fields.clone();
        flipped[11] = rlp::bytes(&high);
        flipped[9] = if flipped[9] == rlp::number(0) { rlp::number(1) } else { rlp::number(0) };
        let cases = [
            ("begins", vec![]),
            ("begins", [&[0x80], &good[..]].concat()),
            ("type 5", [&[5], &good[1..]].concat()),
            ("type 126", [&[0x7e], &good[1..]].concat()),
            ("12 fields, and its type 11", [&[1], &good[1..]].concat()),
            ("12 fields, and its type 9", good[1..].to_vec()),
            ("11 fields", of(&fields[..11])),
            ("behind", [&good[..], &[0]].concat()),
            ("no known form", with(9, rlp::number(2))),
            ("no known form", with(9, rlp::number(27))),
            ("64 bits", with(0, rlp::bytes(&[1; 9]))),
            ("64 bits", with(0, rlp::bytes(&[0, 1]))),
            ("does not hold", with(10, rlp::number(0))),
            ("does not hold", with(10, rlp::bytes(&[0xff; 32]))),
            ("does not hold", with(10, rlp::bytes(&[1; 33]))),
            ("does not hold", with(11, rlp::number(0))),
            ("does not hold", with(11, rlp::bytes(&[&[0], &s[1..]].concat()))),
            ("does not hold", of(&flipped)),
            ("receiver", with(5, rlp::bytes(&[7; 19]))),
            ("receiver", with(5, rlp::list(&[]))),
            ("data", with(7, rlp::list(&[]))),
        ];
        for (reason, bytes) in cases {
            let problem = Transaction::parse(&bytes).unwrap_err().problem();
            assert!(problem.contains(reason), "{reason}: {problem}");
        }
    }
}
