//! The carrier log: what was sent on a carrier and is not acknowledged yet.
//!
//! One mechanism for all reliability: every frame but hello, ack, ping, pong and close is kept here, already
//! framed, until the peer has received it into the session. Positions are counted in bytes of logged frames.
//!
//! ```text
//!            acked                  sent
//!   ───────────┬──────────────────────┬─────────────────────▶ positions
//!    forgotten │ entries (in flight)  │ resend (inherited from
//!              │                      │  a dead carrier, unsent)
//! ```
//!
//! When the carrier is lost, entries and then resend are its tail: what the peer's count does not cover is sent
//! again, verbatim and in order, on another carrier.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::error::Violation;
use crate::wire::frame::Frame;

/// One frame, framed: a head held inline and the payload it stands before, if any.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    head: [u8; INLINE],
    /// 0 <= head_len <= INLINE
    head_len: u8,
    payload: Bytes,
}

impl Piece {
    /// Puts a head before a payload without copying the payload. A head longer than 23 bytes is cut, which no
    /// caller in this crate can cause: data headers are at most 12.
    pub(crate) fn data(head: &[u8], payload: Bytes) -> Self {
        let mut inline = [0; INLINE];
        let len = head.len().min(INLINE);
        inline[..len].copy_from_slice(&head[..len]);
        // len <= INLINE, which fits.
        let head_len = u8::try_from(len).unwrap_or_default();
        Self { head: inline, head_len, payload }
    }

    /// Frames anything but data. Small frames are held inline; `scratch` is used to encode and left empty.
    pub(crate) fn frame(frame: &Frame, scratch: &mut BytesMut) -> Self {
        scratch.clear();
        frame.encode(scratch);
        if scratch.len() <= INLINE {
            let piece = Self::data(scratch, Bytes::new());
            scratch.clear();
            return piece;
        }
        Self { head: [0; INLINE], head_len: 0, payload: scratch.split().freeze() }
    }

    /// The bytes before the payload.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    /// The payload; empty for small frames.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Head and payload together, in bytes.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.head_len) + self.payload.len()
    }
}

/// The log of one carrier.
#[derive(Debug)]
pub(crate) struct Log {
    /// Sent and not acknowledged, oldest first; their lengths add up to `sent - acked`.
    entries: VecDeque<Piece>,
    /// Inherited from a dead carrier and not yet sent on this one, oldest first.
    resend: VecDeque<Piece>,
    /// Everything before it is acknowledged. `acked <= sent`
    acked: u64,
    /// The position after the last frame sent.
    sent: u64,
    /// When batches were sent: (position after it, time, `acked` at that time), oldest first.
    marks: VecDeque<Mark>,
}

/// When a batch was sent, for measuring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    position: u64,
    /// When it was sent.
    pub(crate) at: Instant,
    /// What had been acknowledged at that time.
    pub(crate) acked: u64,
}

impl Log {
    /// An empty log.
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::new(), resend: VecDeque::new(), acked: 0, sent: 0, marks: VecDeque::new() }
    }

    /// Enters a frame that is being sent.
    pub(crate) fn push(&mut self, piece: Piece) {
        self.sent += piece.len() as u64;
        self.entries.push_back(piece);
    }

    /// The next inherited frame, moved from unsent to sent; the caller sends the returned copy.
    pub(crate) fn resend(&mut self) -> Option<Piece> {
        let piece = self.resend.pop_front()?;
        self.push(piece.clone());
        Some(piece)
    }

    /// Whether inherited frames wait.
    pub(crate) fn has_resend(&self) -> bool {
        !self.resend.is_empty()
    }

    /// Inherits the tail of a dead carrier; returns its length in bytes.
    pub(crate) fn inherit(&mut self, tail: VecDeque<Piece>) -> u64 {
        let bytes = tail.iter().map(|piece| piece.len() as u64).sum();
        self.resend.extend(tail);
        bytes
    }

    /// Gives up the inherited frames that were not sent, for another carrier to send.
    pub(crate) fn take_resend(&mut self) -> VecDeque<Piece> {
        std::mem::take(&mut self.resend)
    }

    /// Remembers that everything pushed so far was sent at `now`.
    pub(crate) fn mark(&mut self, now: Instant) {
        if self.marks.back().map_or(self.acked, |mark| mark.position) < self.sent && self.marks.len() < MARKS
        {
            self.marks.push_back(Mark { position: self.sent, at: now, acked: self.acked });
        }
    }

    /// Forgets what the peer has received. Returns the newest batch it covers, and how many bytes are new.
    ///
    /// # Errors
    /// [`Violation::BadAck`] when the count runs backward, beyond what was sent, or into a frame.
    pub(crate) fn acknowledge(&mut self, received: u64) -> Result<(Option<Mark>, u64), Violation> {
        let fresh = received.checked_sub(self.acked).ok_or(Violation::BadAck)?;
        self.forget(received)?;
        let mut newest = None;
        while let Some(mark) = self.marks.front().filter(|mark| mark.position <= received) {
            newest = Some(*mark);
            self.marks.pop_front();
        }
        Ok((newest, fresh))
    }

    /// Sent and not acknowledged, in bytes.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent - self.acked
    }

    /// The position after the last frame sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Everything before it is acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Whether the log holds nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.resend.is_empty()
    }

    /// Turns the log of a dead carrier into its tail, given how far the peer received.
    ///
    /// # Errors
    /// [`Violation::BadAck`] as for an acknowledgement.
    pub(crate) fn into_tail(mut self, received: u64) -> Result<VecDeque<Piece>, Violation> {
        self.forget(received)?;
        self.entries.append(&mut self.resend);
        Ok(self.entries)
    }

    fn forget(&mut self, received: u64) -> Result<(), Violation> {
        if received < self.acked || received > self.sent {
            return Err(Violation::BadAck);
        }
        while self.acked < received {
            let len = self.entries.front().map_or(0, Piece::len) as u64;
            if len == 0 || self.acked + len > received {
                return Err(Violation::BadAck);
            }
            self.acked += len;
            self.entries.pop_front();
        }
        Ok(())
    }
}

/// Longest head held inline: the longest of the small frames, CREDIT and FINISH, has 4 + 8 + 8 bytes, and with the
/// length byte this makes a piece 56 bytes.
const INLINE: usize = 23;

/// Batches remembered for measuring. Acknowledgements come about twice a batch, so more would only be needed on
/// paths where one sample in 4096 batches is plenty.
const MARKS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: usize) -> Piece {
        Piece::data(&[1, 2, 3, 4], Bytes::from(vec![7; len - 4]))
    }

    #[test]
    fn an_acknowledgement_forgets_whole_frames_and_nothing_else() {
        let mut log = Log::new();
        log.push(piece(10));
        log.push(piece(20));
        assert_eq!(log.in_flight(), 30);
        assert_eq!(log.acknowledge(10).unwrap().1, 10);
        assert_eq!(log.in_flight(), 20);
        assert_eq!(log.acknowledge(15).unwrap_err(), Violation::BadAck);
    }

    #[test]
    fn an_acknowledgement_backward_or_of_the_future_is_refused() {
        let mut log = Log::new();
        log.push(piece(10));
        log.acknowledge(10).unwrap();
        assert_eq!(log.acknowledge(9).unwrap_err(), Violation::BadAck);
        assert_eq!(log.acknowledge(11).unwrap_err(), Violation::BadAck);
        assert!(log.acknowledge(10).is_ok(), "repeating a count is no fault");
    }

    #[test]
    fn a_tail_is_what_the_peer_did_not_receive_then_what_was_never_sent() {
        let mut log = Log::new();
        log.push(piece(10));
        log.push(piece(20));
        log.inherit(VecDeque::from([piece(30), piece(40)]));
        assert_eq!(log.resend().map(|piece| piece.len()), Some(30));
        let tail = log.into_tail(10).unwrap();
        assert_eq!(tail.iter().map(Piece::len).collect::<Vec<_>>(), [20, 30, 40]);
    }

    #[test]
    fn a_sample_is_that_of_the_newest_batch_covered() {
        let (mut log, start) = (Log::new(), crate::proto::session::testing::epoch());
        for step in 0..3 {
            log.push(piece(10));
            log.mark(start + std::time::Duration::from_millis(step));
        }
        let (mark, _) = log.acknowledge(20).unwrap();
        assert_eq!(mark.map(|mark| mark.at), Some(start + std::time::Duration::from_millis(1)));
    }
}
