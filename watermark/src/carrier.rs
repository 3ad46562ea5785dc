//! Where the mark lives: a secret sign for every weight, and the slot that the weight belongs to.
//!
//! Everything is addressed by tensor name, row and column, never by file, dtype or thread, and each row stands alone,
//! so a carrier stays where it is when a model is sharded anew, cast, or extended by rows.
//!
//! - Row r of tensor τ belongs to group g = (r + o_τ) mod 4 and has place r div 4 in it. o_τ is public: the first byte
//!   of `H("first-group", key hash, τ)`, mod 4.
//! - Chips: the ChaCha8 stream under the key `HKDF-Expand(k_g, "chips" τ)`, nonce 0. With b = ⌈columns / 512⌉, the row
//!   has the 64-byte blocks from place·b on; the chip of column k is bit k mod 512 of block k div 512, least
//!   significant first; 1 means −1.
//! - Slots: g·m + (k + o_r) mod m, with m slots for each group. o_r = ⌊u·m / 2³²⌋, u being the little-endian word
//!   number `place` of the ChaCha8 stream under `HKDF-Expand(k_g, "rotation" τ)`. The rotation spreads outlier columns.
//! - Dither of 16-bit floats: word of 16 bits number k of the blocks from place·⌈columns / 32⌉ on, of the ChaCha8
//!   stream under `HKDF-Expand(k_g, "dither" τ)`.

use chacha20::ChaCha8;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

use zeroize::Zeroizing;

use crate::key::{self, GROUPS, MarkKey};

/// Chips in one ChaCha block.
pub(crate) const CHUNK: usize = 512;

const BLOCK: usize = 64;

type StreamKey = Zeroizing<[u8; 32]>;

/// The keystreams of one tensor under one mark.
pub(crate) struct TensorCarrier {
    /// Slots of one group, m.
    pub slots_per_group: usize,
    /// Group of row 0, o_τ.
    pub first_group: usize,
    chips: [StreamKey; GROUPS],
    rotation: [StreamKey; GROUPS],
    dither: [StreamKey; GROUPS],
}

impl TensorCarrier {
    pub fn new(key: &MarkKey, tensor: &str, slots_per_group: usize) -> TensorCarrier {
        let stream = |purpose| std::array::from_fn(|group| key.expand(group, purpose, tensor.as_bytes()));
        let first_group = usize::from(key::hash("first-group", &[&key.hash(), tensor.as_bytes()])[0]) % GROUPS;
        TensorCarrier {
            slots_per_group,
            first_group,
            chips: stream("chips"),
            rotation: stream("rotation"),
            dither: stream("dither"),
        }
    }

    /// The keys of chips, rotations and dither, four each, for a device that makes its own keystreams.
    #[cfg(any(test, feature = "cuda"))]
    pub fn stream_keys(&self) -> Zeroizing<Vec<u8>> {
        let keys = self.chips.iter().chain(&self.rotation).chain(&self.dither);
        Zeroizing::new(keys.flat_map(|key| key.iter().copied()).collect())
    }

    /// All slots.
    pub fn slots(&self) -> usize {
        self.slots_per_group * GROUPS
    }
}

/// The carrier of one row.
pub(crate) struct RowCarrier<'a> {
    pub group: usize,
    /// Slot, within the group, of column 0.
    pub rotation: usize,
    /// Chips, 64 bytes for each [`CHUNK`] columns.
    pub chips: &'a [u8],
    /// Dither, two bytes a column; empty unless asked for.
    pub dither: &'a [u8],
}

/// The carriers of some consecutive rows, in buffers that are used again.
#[derive(Default)]
pub(crate) struct Panel {
    first_row: u64,
    first_group: usize,
    chips: Lines,
    dither: Lines,
    rotations: [Vec<u8>; GROUPS],
    slots_per_group: usize,
}

/// One keystream line for each row of a group.
#[derive(Default)]
struct Lines {
    bytes_per_row: usize,
    groups: [Vec<u8>; GROUPS],
}

impl Lines {
    fn load(&mut self, streams: &[StreamKey; GROUPS], first_place: u64, rows: usize, blocks_per_row: usize) {
        self.bytes_per_row = blocks_per_row * BLOCK;
        for (bytes, stream) in self.groups.iter_mut().zip(streams) {
            fill(stream, first_place * self.bytes_per_row as u64, rows * self.bytes_per_row, bytes);
        }
    }

    fn row(&self, group: usize, row: usize) -> &[u8] {
        self.groups[group].get(row * self.bytes_per_row..(row + 1) * self.bytes_per_row).unwrap_or_default()
    }
}

impl Panel {
    /// Loads the carriers of `rows` rows from `first_row` on, which must be a multiple of [`GROUPS`].
    pub fn load(&mut self, carrier: &TensorCarrier, first_row: u64, rows: usize, columns: usize, dither: bool) {
        debug_assert_eq!(first_row % GROUPS as u64, 0);
        let (first_place, places) = (first_row / GROUPS as u64, rows.div_ceil(GROUPS));
        self.first_row = first_row;
        self.first_group = carrier.first_group;
        self.slots_per_group = carrier.slots_per_group;
        self.chips.load(&carrier.chips, first_place, places, columns.div_ceil(CHUNK));
        let dither_blocks = if dither { columns.div_ceil(BLOCK / 2) } else { 0 };
        self.dither.load(&carrier.dither, first_place, places, dither_blocks);
        for (bytes, stream) in self.rotations.iter_mut().zip(&carrier.rotation) {
            fill(stream, first_place * 4, places * 4, bytes);
        }
    }

    /// The carrier of a row, counted from the panel's first.
    pub fn row(&self, row: usize) -> RowCarrier<'_> {
        let group = ((self.first_row + row as u64) % GROUPS as u64) as usize;
        let group = (group + self.first_group) % GROUPS;
        let place = row / GROUPS;
        let word = self.rotations[group][4 * place..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        RowCarrier {
            group,
            rotation: ((u64::from(word) * self.slots_per_group as u64) >> 32) as usize,
            chips: self.chips.row(group, place),
            dither: self.dither.row(group, place),
        }
    }
}

/// Replaces `bytes` by `length` bytes of a keystream, from `offset` on.
pub(crate) fn fill(key: &[u8; 32], offset: u64, length: usize, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(length, 0);
    if length > 0 {
        let mut stream = ChaCha8::new(key.into(), &[0; 12].into());
        stream.seek(offset);
        stream.apply_keystream(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use crate::key::MarkSecret;

    /// Recomputed with Python's hmac and hashlib and a ChaCha8 in plain Python, from the text at the top of this file.
    #[test]
    fn known_answer() {
        let key = MarkKey::derive(&MarkSecret::from_bytes([1; 32]), [7; 32], [1; 16], None);
        let carrier = TensorCarrier::new(&key, "layer.weight", 166);
        let mut panel = Panel::default();
        panel.load(&carrier, 64, 12, 1003, true);
        let row = panel.row(70 - 64);
        assert_eq!((row.group, row.rotation), (3, 40));
        assert_eq!(hex(&row.chips[..8]), "289a54c7b4b5ca05");
        assert_eq!(hex(&row.chips[64..72]), "abcc5b1d56f84c3b");
        assert_eq!(hex(&row.dither[..8]), "d14c1d3ef47fc68a");
        assert_eq!(hex(&row.dither[2000..2006]), "91546a6f27c8");
    }

    #[test]
    fn a_row_has_the_same_carrier_in_every_panel() {
        let key = MarkKey::derive(&MarkSecret::from_bytes([1; 32]), [7; 32], [1; 16], None);
        let carrier = TensorCarrier::new(&key, "layer.weight", 64);
        let (mut whole, mut part) = (Panel::default(), Panel::default());
        whole.load(&carrier, 0, 103, 530, true);
        for first_row in (0..103).step_by(4) {
            part.load(&carrier, first_row as u64, 4.min(103 - first_row), 530, true);
            for row in first_row..(first_row + 4).min(103) {
                let (a, b) = (whole.row(row), part.row(row - first_row));
                assert_eq!((a.group, a.rotation, a.chips, a.dither), (b.group, b.rotation, b.chips, b.dither));
            }
        }
    }
}
