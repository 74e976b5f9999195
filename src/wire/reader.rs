//! Takes the parts of a payload off its front.

use crate::wire::DecodeError;
use crate::wire::varint::{self, Truncated};

/// What is left of a payload. Every method takes its part or fails [`DecodeError::Malformed`].
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// A number of at most 62 bits.
    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        Ok(varint::decode(&mut self.rest)?)
    }

    /// A number of at most 32 bits.
    pub(super) fn number32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.number()?).map_err(|_| DecodeError::Malformed)
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    /// That many bytes.
    pub(super) fn bytes(&mut self, count: u64) -> Result<&'a [u8], DecodeError> {
        let count = usize::try_from(count).map_err(|_| DecodeError::Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// As many bytes as the array holds.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Everything that is left.
    pub(super) fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Says that nothing may be left.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Malformed) }
    }
}

impl From<Truncated> for DecodeError {
    fn from(_: Truncated) -> Self {
        Self::Malformed
    }
}

/// Parses a text id.
pub(super) fn text<'a, T: TryFrom<&'a str>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Malformed)?;
    T::try_from(text).map_err(|_| DecodeError::Malformed)
}
