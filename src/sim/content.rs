//! What is written: a function of stream, direction and offset, so that checking what is read needs no memory of it.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::id::StreamId;

/// The bytes of a direction of a stream, from an offset on: a function of all three.
pub(super) fn content(id: StreamId, sender: usize, offset: u64, len: usize) -> Bytes {
    let place = offset.wrapping_add(id.0.wrapping_mul(7919)).wrapping_add(sender as u64 * 31_337) % PERIOD;
    let place = usize::try_from(place).unwrap_or(0);
    NOISE.slice(place..place + len)
}

/// Twice its period, so that any stretch of up to a period lies in one piece.
static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    let mut noise: Vec<u8> = (0..PERIOD).map(|_| random.u8(..)).collect();
    noise.extend_from_within(..);
    Bytes::from(noise)
});

/// A prime above the longest write, so that no shift by whole frames goes unseen.
const PERIOD: u64 = 65_521;
