//! What is written at an offset of a stream, so that a byte lost, doubled or moved is seen.

use std::sync::LazyLock;

use bytes::Bytes;

/// A part of the text that every bulk stream carries, which repeats after [`PERIOD`] bytes.
pub(crate) fn at(offset: u64, len: usize) -> Bytes {
    let start = usize::try_from(offset % PERIOD).expect("less than the period");
    TEXT.slice(start..start + len)
}

/// Longest part.
pub(crate) const BLOCK: usize = 64 << 10;

/// A prime, so that no chunk, record or window is a multiple of it.
const PERIOD: u64 = 65_537;

/// The text once, and what begins it again.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    let once: Vec<u8> = (0..PERIOD).map(|_| random.u8(..)).collect();
    let again = once[..BLOCK].to_vec();
    Bytes::from([once, again].concat())
});
