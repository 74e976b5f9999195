//! When a carrier tells its peer how much it has received.

use std::time::{Duration, Instant};

/// What was received and how much of it the peer has been told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acks {
    /// Logged bytes received into the session.
    pub(crate) received: u64,
    /// The count last announced. `announced <= received`
    announced: u64,
    /// When an acknowledgement must go out at the latest.
    pub(crate) due: Option<Instant>,
    /// That time has come, but the driver has not: its connection takes nothing.
    overdue: bool,
    /// When the newest logged frame came.
    newest: Instant,
}

impl Acks {
    /// Nothing was received yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { received: 0, announced: 0, due: None, overdue: false, newest: now }
    }

    /// Counts a logged frame that is handed over `now` and came before.
    pub(crate) fn count(&mut self, now: Instant, came: Instant, logged_bytes: u64) {
        self.received += logged_bytes;
        self.newest = came;
        let wait = if self.received - self.announced >= ACK_EVERY { Duration::ZERO } else { ACK_DELAY };
        let due = now + wait;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// The acknowledgement to send: always when `riding` along with other frames, else only when due.
    pub(crate) fn take(&mut self, now: Instant, riding: bool) -> Option<(u64, Duration)> {
        if !self.is_waiting() || !riding && !self.overdue && self.due.is_some_and(|due| due > now) {
            return None;
        }
        self.due = None;
        self.overdue = false;
        self.announced = self.received;
        Some((self.received, now.saturating_duration_since(self.newest)))
    }

    /// Whether there is something to acknowledge.
    pub(crate) fn is_waiting(&self) -> bool {
        self.overdue || self.due.is_some()
    }

    /// What is due stays so without a timer: a driver that cannot send now would only be called again and again.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.due.take_if(|due| *due <= now).is_some();
        self.overdue |= due;
        due
    }

    /// Makes an acknowledgement due at once, as a ping asks for.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if self.received > self.announced {
            self.due = Some(now);
        }
    }
}

/// An acknowledgement goes out after this many bytes: eight full records, so that acknowledging costs little (each
/// is a record, two system calls and a wake-up), and twice within the least bound on data in flight.
pub(super) const ACK_EVERY: u64 = 128 << 10;

/// And at the latest after this time: a tenth of the least suspicion (250 ms), so that waiting never looks like silence.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::session::testing::epoch;

    #[test]
    fn an_acknowledgement_is_due_after_eight_records_or_a_moment() {
        let start = epoch();
        let mut acks = Acks::new(start);
        acks.count(start, start, 100);
        assert_eq!(acks.take(start, false), None);
        assert_eq!(acks.take(start + ACK_DELAY, false), Some((100, ACK_DELAY)));
        assert_eq!(acks.take(start + ACK_DELAY * 9, true), None, "nothing new to say");
        acks.count(start, start, ACK_EVERY);
        assert_eq!(acks.take(start, false), Some((100 + ACK_EVERY, Duration::ZERO)));
    }
}
