//! How far the peer may run ahead of the readers: windows that grow while a reader is quicker than its credit, and are
//! taken back where they lie idle.
//!
//! ```text
//!   credit of a stream     consumed      received            limit
//!   ──────────────────────────┬─────────────┬──────────────────┬───▶ offsets
//!                             │   unread    │ on its way, or   │
//!                             │             │ not sent         │
//!                             ╰─────────── window ─────────────╯
//! ```
//!
//! **Growing.** The limit in force when a window's worth begins is its *edge*. When the reader has taken everything up to it
//! within two least round trips, the window was what limited the two, and it grows. The least of them: a tuner that
//! believes its latest measure feeds on its own queue. A sender that was held back by credit alone fills the
//! window to the byte: then threads that wake slowly are allowed for as well. How far a window grows is bounded by the flight of the
//! carriers.
//!
//! **Shrinking.** Credit that was given may be in use already, so it is not taken but asked back: SHRINK, and the room
//! is kept until KEPT says what the peer holds itself to. Who is asked: streams that used little of their window for
//! [`IDLE`]; and when a growing one finds the pool empty, those that renewed nothing for [`QUIET_TRIPS`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::Violation;
use crate::id::StreamId;
use crate::proto::session::Session;
use crate::proto::session::age::Age;
use crate::proto::session::key::StreamKey;
use crate::proto::session::stream::{RecvHalf, RecvState, SendState, Stream};
use crate::wire::MIN_WINDOW;

/// Streams whose windows have grown, in the order in which they last renewed their credit; and who was asked.
#[derive(Debug, Default)]
pub(super) struct Grown {
    /// By place, which only ever rises: since when, and the slot. One entry for each grown window that was not asked
    /// back, so its length is bounded by the pool: `len() <= pool / MIN_WINDOW`.
    order: BTreeMap<u64, (Instant, usize)>,
    /// The last place given.
    last: u64,
    /// Streams that were asked and have not answered.
    pub(super) asking: usize,
}

impl Grown {
    /// When the stream that renewed its credit longest ago has been idle for too long.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.order.first_key_value().map(|(_, (since, _))| *since + IDLE)
    }

    /// Enters a stream as the one that renewed its credit last, or takes it out if it has nothing to give back.
    fn enter(&mut self, now: Instant, slot: usize, recv: &mut RecvHalf) {
        self.leave(recv);
        if recv.window > MIN_WINDOW && recv.state == RecvState::Open {
            self.last += 1;
            recv.place = self.last;
            self.order.insert(recv.place, (now, slot));
        }
    }

    fn leave(&mut self, recv: &mut RecvHalf) {
        if recv.place != 0 {
            self.order.remove(&std::mem::take(&mut recv.place));
        }
    }

    /// The stream that renewed its credit longest ago, if that is at least so long ago.
    fn oldest(&self, now: Instant, quiet: Duration) -> Option<usize> {
        let (_, (since, slot)) = self.order.first_key_value()?;
        (now.saturating_duration_since(*since) >= quiet).then_some(*slot)
    }

    /// Every stream that is listed, and how many were asked.
    #[cfg(test)]
    pub(super) fn census(&self) -> (Vec<(u64, usize)>, usize) {
        (self.order.iter().map(|(place, (_, slot))| (*place, *slot)).collect(), self.asking)
    }
}

impl RecvHalf {
    /// Whether it is time to give more credit: a quarter of the window is free, or the sender has used up all.
    fn wants_credit(&self) -> bool {
        let step = (self.window / 4).max(MIN_WINDOW / 2);
        self.limit <= self.consumed + self.window - step || self.consumed >= self.edge
    }

    /// The window that what was received since the last credit would need, twice over.
    fn needed(&self) -> u64 {
        let used = self.received.saturating_sub(self.limit.saturating_sub(self.window));
        // Not rounded up: it would exceed half of a window that is no power of two, and be worth no question, ever.
        used.saturating_mul(2).max(MIN_WINDOW)
    }

    /// The offset the sender is asked to keep to.
    pub(super) fn fallback(&self) -> u64 {
        (self.consumed + self.needed()).max(self.received).min(self.limit)
    }
}

impl Session {
    /// The reader took bytes, or a question was answered: grants more once a part of the window is free, and widens a window that held its
    /// sender back, as long as the budgets allow.
    pub(super) fn grant(&mut self, now: Instant, key: StreamKey) {
        let slot = key.slot as usize;
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let recv = &mut stream.recv;
        if recv.state != RecvState::Open {
            return self.fit(key);
        }
        if !recv.wants_credit() {
            return;
        }
        if stream.pending.asked {
            if !std::mem::take(&mut stream.pending.shrink) {
                // The peer was asked to do with less; what it answers counts first.
                return;
            }
            stream.pending.asked = false;
            self.grown.asking -= 1;
        }
        let mut refused = 0;
        if recv.consumed >= recv.edge {
            let twice = (self.least_trip * 2).max(FAST);
            let patience = if std::mem::take(&mut stream.filled) { twice + PROMPT } else { twice };
            let turned = recv.turned.replace(Age::at(self.origin, now)).or(stream.since);
            let turned = turned.map(|turned| turned.instant(self.origin));
            if turned.is_some_and(|turned| now.saturating_duration_since(turned) < patience) {
                let (wider, wanted) = self.pool.widen(recv.window, self.params.limits.max_window);
                recv.window = wider;
                refused = wanted;
            }
            recv.limit = recv.consumed + recv.window;
            recv.edge = recv.limit;
        } else {
            recv.limit = recv.consumed + recv.window;
        }
        self.grown.enter(now, slot, recv);
        stream.pending.credit = true;
        self.touched(key);
        if refused > 0 {
            self.press(now, refused);
        }
    }

    /// The half has ended, or nobody reads it any more: what its window held beyond the unread goes back.
    pub(super) fn fit(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return };
        let recv = &mut stream.recv;
        if recv.state == RecvState::Open {
            return;
        }
        self.grown.leave(recv);
        let unsaid = std::mem::take(&mut stream.pending.shrink);
        // The end of the half is the answer.
        if stream.pending.asked && (unsaid || recv.state != RecvState::Stopped) {
            stream.pending.asked = false;
            self.grown.asking -= 1;
        }
        let window = recv.queued().max(MIN_WINDOW).min(recv.window);
        self.pool.give_back(recv.window - window);
        recv.window = window;
    }

    /// A stream is let go for good: nothing is kept for its window.
    pub(super) fn release_window(&mut self, Stream { recv, pending, .. }: &mut Stream) {
        self.grown.leave(recv);
        self.grown.asking -= usize::from(pending.asked);
        self.pool.give_back(recv.window - MIN_WINDOW);
        recv.window = MIN_WINDOW;
    }

    /// Asks streams for credit they have not used for too long.
    pub(super) fn ask_idle(&mut self, now: Instant) {
        while let Some(slot) = self.grown.oldest(now, IDLE) {
            self.ask(now, slot);
        }
    }

    /// A window found no budget to grow: asks for as much of those that have been quiet, longest first.
    fn press(&mut self, now: Instant, wanted: u64) {
        let quiet = (self.least_trip * QUIET_TRIPS).max(QUIET_LEAST);
        let mut asked = 0;
        for _ in self.grown.asking..MOST_ASKED {
            let Some(slot) = self.grown.oldest(now, quiet).filter(|_| asked < wanted) else { break };
            asked += self.ask(now, slot);
        }
    }

    /// Asks the peer to do with less credit on a stream; returns how much that will give back. If it is not worth the
    /// question, the stream is looked at again later.
    fn ask(&mut self, now: Instant, slot: usize) -> u64 {
        let Some(stream) = self.streams.get_mut(slot) else { return 0 };
        let recv = &mut stream.recv;
        let left = recv.needed().max(recv.fallback() - recv.consumed);
        if left > recv.window / 2 {
            self.grown.enter(now, slot, recv);
            return 0;
        }
        let gain = recv.window - left;
        self.grown.leave(recv);
        self.grown.asking += 1;
        stream.pending.asked = true;
        stream.pending.credit = false;
        stream.pending.shrink = true;
        // One answer may come for it after the stream is over.
        self.flood.earn(1);
        let key = StreamKey { slot: u32::try_from(slot).unwrap_or(u32::MAX), id: stream.id };
        self.touched(key);
        gain
    }

    /// The peer asks this end to do with less credit: lowers it to what was asked, or to what was sent, and says so.
    /// The credit that it takes back has paid for it: thousands of streams may fall idle at once.
    pub(super) fn handle_shrink(&mut self, now: Instant, id: StreamId, limit: u64) -> Result<(), Violation> {
        let Some(key) = self.find_stream(id) else { return self.flood.pay(now) };
        let Some(stream) = self.streams.get_mut(key.slot as usize) else { return Ok(()) };
        if !matches!(stream.send.state, SendState::Open | SendState::Finishing) {
            // The end of the half is the answer.
            return self.flood.pay(now);
        }
        if std::mem::replace(&mut stream.pending.kept, true) {
            return Err(Violation::Unexpected);
        }
        let send = &mut stream.send;
        let kept = send.limit.min(limit.max(send.sent));
        if std::mem::replace(&mut send.limit, kept) == kept {
            self.flood.pay(now)?;
        }
        if send.limit == send.sent {
            send.dry.get_or_insert_with(|| Age::at(self.origin, now));
        }
        self.touched(key);
        Ok(())
    }

    /// The peer says how far it goes on a stream until it is given more: what lies beyond is free. It was asked, and no
    /// more often than it answers.
    pub(super) fn handle_kept(&mut self, now: Instant, id: StreamId, limit: u64) -> Result<(), Violation> {
        let Some(key) = self.find_stream(id) else { return self.flood.pay(now) };
        let slot = key.slot as usize;
        let Some(Stream { recv, pending, filled, .. }) = self.streams.get_mut(slot) else { return Ok(()) };
        let ended = matches!(recv.state, RecvState::Finished | RecvState::Failed(_));
        if ended || !pending.asked || pending.shrink {
            return Err(Violation::Unexpected);
        }
        if limit < recv.received || limit > recv.limit {
            return Err(Violation::Credit);
        }
        pending.asked = false;
        self.grown.asking -= 1;
        recv.limit = limit;
        if recv.state == RecvState::Open {
            let window = limit.saturating_sub(recv.consumed).max(MIN_WINDOW);
            self.pool.give_back(recv.window - window);
            recv.window = window;
            // Where the sender stands still now is no sign of a window that is too small, how soon ever it is reached.
            *filled = false;
            (recv.edge, recv.turned) = (limit, None);
            self.grown.enter(now, slot, recv);
            self.grant(now, key);
        }
        Ok(())
    }
}

/// A reader that takes a window faster than this is held up by it, whatever the distance: it is the time until a thread that sleeps
/// runs, at both ends.
const FAST: Duration = Duration::from_micros(250);

/// What a reader may take longer when its sender filled the window to the byte: what a scheduler may give other threads
/// first (base slices of 3 ms). A slow reader's window can so grow to no more than four times what it takes in that time.
const PROMPT: Duration = Duration::from_millis(5);

/// Credit of which so little was used for so long is asked back. After that time what was measured of a way is
/// forgotten too, and a window that was grown by it means nothing any more. It costs budget, not memory, until then.
const IDLE: Duration = Duration::from_secs(10);

/// A stream in use renews its credit four times a round trip. One that did not do so once in four has paused, and a stream
/// that is read goes first.
const QUIET_TRIPS: u32 = 4;

/// A pause is at least this long: as long as a person takes an answer for instant.
const QUIET_LEAST: Duration = Duration::from_millis(100);

/// Streams asked at once for want of budget: with 16 KiB of each it is a megabyte, and looking for them stays short.
const MOST_ASKED: usize = 64;
