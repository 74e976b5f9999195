//! Variable-length integers of RFC 9000 §16: up to 62 bits in 1, 2, 4 or 8 bytes.
//!
//! The two top bits of the first byte say how many bytes there are; the rest is the number, big endian.
//! The shortest form is written. A longer one than needed is read as well, as in QUIC: a number has one
//! value however it came, and nothing here compares bytes of numbers.

use bytes::BufMut;

/// Appends a number in its shortest form.
///
/// A number beyond [`MAX`] is written as [`MAX`]: such numbers are only ever limits and ages, of which
/// the largest that can be said means the same.
pub fn encode(value: u64, out: &mut impl BufMut) {
    let value = value.min(MAX);
    let bytes = value.to_be_bytes();
    match size(value) {
        1 => out.put_slice(&bytes[7..]),
        2 => out.put_u16(0x4000 | u16::from_be_bytes([bytes[6], bytes[7]])),
        4 => out.put_u32(0x8000_0000 | u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])),
        _ => out.put_u64(0xc000_0000_0000_0000 | value),
    }
}

/// Takes a number off the front of `input`.
///
/// # Errors
/// [`Truncated`] when the input ends within it; then nothing is taken.
pub fn decode(input: &mut &[u8]) -> Result<u64, Truncated> {
    let first = *input.first().ok_or(Truncated)?;
    let (bytes, rest) = input.split_at_checked(length(first)).ok_or(Truncated)?;
    *input = rest;
    let top = u64::from(first & 0x3f);
    Ok(bytes[1..].iter().fold(top, |value, byte| value << 8 | u64::from(*byte)))
}

/// How many bytes the shortest form of a number takes: 1, 2, 4 or 8.
#[must_use]
pub fn size(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// How many bytes a number takes, told from its first one: 1, 2, 4 or 8.
#[must_use]
pub fn length(first: u8) -> usize {
    1 << (first >> 6)
}

/// The input ended within a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input ended within a number")]
pub struct Truncated;

/// The largest number: 62 bits, because two say the length.
pub const MAX: u64 = (1 << 62) - 1;

/// The longest form of a number in bytes.
pub const MAX_SIZE: usize = 8;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(value, &mut out);
        out.to_vec()
    }

    #[test]
    fn the_examples_of_rfc_9000_hold_both_ways() {
        // RFC 9000 §A.1.
        let table: &[(u64, &[u8])] = &[
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (15_293, &[0x7b, 0xbd]),
            (37, &[0x25]),
        ];
        for (value, bytes) in table {
            assert_eq!(encoded(*value), *bytes);
            assert_eq!(decode(&mut &**bytes), Ok(*value));
        }
    }

    #[test]
    fn the_edges_of_each_length_are_written_in_the_shortest_form() {
        for (value, length) in
            [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), ((1 << 30) - 1, 4), (1 << 30, 8), (MAX, 8)]
        {
            let bytes = encoded(value);
            assert_eq!((bytes.len(), size(value), super::length(bytes[0])), (length, length, length));
            assert_eq!(decode(&mut &*bytes), Ok(value));
        }
    }

    #[test]
    fn a_longer_form_than_needed_is_read() {
        for bytes in [&[0x40, 37][..], &[0x80, 0, 0, 37], &[0xc0, 0, 0, 0, 0, 0, 0, 37]] {
            assert_eq!(decode(&mut &*bytes), Ok(37));
        }
    }

    #[test]
    fn what_62_bits_cannot_hold_is_written_as_the_largest() {
        assert_eq!(encoded(u64::MAX), encoded(MAX));
    }

    #[test]
    fn a_number_cut_short_takes_nothing() {
        for whole in [0u64, 64, 16_384, MAX].map(encoded) {
            for cut in 0..whole.len() {
                let mut input = &whole[..cut];
                assert_eq!(decode(&mut input), Err(Truncated));
                assert_eq!(input.len(), cut);
            }
        }
    }
}
