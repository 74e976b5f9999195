//! How everyone but the wire names a stream, and how one is found by its id on the wire.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::id::StreamId;

/// Finds a stream: its place in the table and, since places are used again, its id, which never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamKey {
    /// Index in the session's table.
    pub(crate) slot: u32,
    /// The stream that must be there.
    pub(crate) id: StreamId,
}

/// The slot of every live stream, by its id. Looked into for every frame of a stream.
pub(crate) type Slots = HashMap<StreamId, u32, Keyed>;

/// Hashes ids in two multiplications. The peer chooses which of its ids live side by side, but not the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed(u64);

impl Keyed {
    /// A hash of its own for each `key`.
    pub(crate) fn new(key: u64) -> Self {
        Self(key)
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// The state of a hash.
#[derive(Debug)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, ODD);
    }

    fn finish(&self) -> u64 {
        fold(self.0, ODD)
    }
}

/// Both halves of a product, over each other: every bit of a factor reaches every bit of the result.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is added apart")]
fn fold(word: u64, by: u64) -> u64 {
    let product = u128::from(word) * u128::from(by);
    product as u64 ^ (product >> 64) as u64
}

/// 2^64 divided by the golden ratio: the factor of Fibonacci hashing, which keeps neighbours apart.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_spread_over_a_table_whatever_their_stride_and_the_key() {
        for key in [0, 1, 0xdead_beef_0bad_cafe, u64::MAX] {
            for stride in [1, 2, 1 << 10, 1 << 14, 1 << 20, 1 << 40] {
                let mut buckets = vec![0; 1 << 10];
                for id in 0..1_u64 << 10 {
                    buckets[(Keyed::new(key).hash_one(StreamId(id * stride)) & 1023) as usize] += 1;
                }
                let fullest = buckets.iter().max().copied();
                assert!(fullest < Some(16), "{fullest:?} ids of stride {stride} in one bucket, key {key:#x}");
            }
        }
    }
}
