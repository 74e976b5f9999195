//! One carrier as its session sees it: log, schedule, acknowledgements and signs of life.

use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::Liveness;
use crate::error::Violation;
use crate::id::CarrierNumber;
use crate::proto::session::acks::Acks;
use crate::proto::session::drain::Fence;
use crate::proto::session::log::Log;
use crate::proto::session::pace::Pace;
use crate::proto::session::retiring::{Request, Retiring};
use crate::proto::session::schedule::Schedule;
use crate::stats::Traffic;
use crate::wire::code::CloseCode;
use crate::wire::frame::CloseScope;

/// A live carrier.
#[derive(Debug)]
pub(crate) struct Carrier {
    /// Its number.
    pub(crate) number: CarrierNumber,
    /// What is sent and unacknowledged.
    pub(crate) log: Log,
    /// Who sends next.
    pub(crate) schedule: Schedule,
    /// How many streams send on it.
    pub(crate) streams: usize,
    /// Acknowledging what came.
    pub(crate) acks: Acks,
    /// How far the peer is, and how fast.
    pub(crate) pace: Pace,
    /// Signs of life.
    pub(crate) life: Life,
    /// Bytes to send before anything else: this end's hello, where the driver has not sent it.
    pub(crate) greeting: Option<Bytes>,
    /// Pongs that wait: the newest ping's token, since one answer serves all.
    pub(crate) pong: Option<u64>,
    /// The ping whose pong is awaited: its token, and when it was handed to the driver.
    pub(crate) ping: Option<(u64, Instant)>,
    /// How far it has come on its way out, if it is to go.
    pub(super) retiring: Option<Retiring>,
    /// What this end, as acceptor, asks for in its place.
    pub(super) request: Option<Request>,
    /// Whether the peer, as acceptor, has asked for another in its place.
    pub(super) requested: bool,
    /// Whether anything but a close has come on it: the peer has it, too.
    pub(super) answered: bool,
    /// Whether all that was on its way when this end had drained has come.
    pub(super) fence: Fence,
    /// The driver, when it waits for something to send.
    pub(crate) driver: Option<Waker>,
    /// What went over it.
    pub(crate) traffic: Traffic,
}

/// A close on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// What is closed.
    pub(crate) scope: CloseScope,
    /// Why.
    pub(crate) code: CloseCode,
    /// Whether the frame has been handed to the driver.
    pub(crate) sent: bool,
}

impl Carrier {
    /// A carrier that is up at `now`.
    pub(crate) fn new(now: Instant, number: CarrierNumber, liveness: &Liveness, jitter: f64) -> Self {
        Self {
            number,
            log: Log::new(),
            schedule: Schedule::default(),
            streams: 0,
            acks: Acks::new(now),
            pace: Pace::new(),
            life: Life::new(now, liveness, jitter),
            greeting: None,
            pong: None,
            ping: None,
            retiring: None,
            request: None,
            requested: false,
            answered: false,
            fence: Fence::default(),
            driver: None,
            traffic: Traffic::default(),
        }
    }

    /// How much may be sent and unacknowledged, in bytes.
    pub(crate) fn flight_cap(&self) -> u64 {
        self.pace.flight_cap()
    }

    /// Takes the peer's acknowledgement. Returns how many bytes it newly covers. It came when the last byte came: that it
    /// waited to be handed over is no part of the distance.
    ///
    /// # Errors
    /// [`Violation::BadAck`] from the log.
    pub(crate) fn acknowledged(
        &mut self,
        now: Instant,
        received: u64,
        delay: Duration,
    ) -> Result<u64, Violation> {
        let (mark, fresh) = self.log.acknowledge(received)?;
        if let Some(mark) = mark {
            let waited = self.life.last_received.saturating_duration_since(mark.at);
            self.pace.sample(now, waited, delay, self.log.acked() - mark.acked);
        }
        self.pace.progress(now, self.log.acked(), self.log.sent());
        self.life.progress(now, self.log.in_flight() > 0);
        Ok(fresh)
    }
}

impl Carrier {
    /// The peer's pong came. One that was not asked for counts as a sign of life and no more.
    pub(crate) fn ponged(&mut self, now: Instant, token: u64) {
        if self.fence == Fence::Asked(token) {
            self.fence = Fence::Closed;
        }
        if let Some((_, at)) = self.ping.take_if(|(asked, _)| *asked == token) {
            self.pace.distance(now, self.life.last_received.saturating_duration_since(at));
        }
        self.life.ponged(now, self.log.in_flight() > 0);
    }
}

/// Signs of life of a carrier: what was heard, what is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// When the last byte came.
    pub(crate) last_received: Instant,
    /// Since when an answer is owed: the oldest time nothing unacknowledged has made progress.
    owed_since: Option<Instant>,
    /// Whether a ping is among what is owed.
    pinged: bool,
    /// Nothing was asked yet: the first ping goes out at once, so that the distance is known before it matters.
    fresh: bool,
    /// A ping is to be sent as soon as the driver can.
    ping_due: bool,
    /// Suspect now.
    pub(crate) suspect: bool,
    /// Frames that came wait to be handed over, the answer that is owed perhaps among them: nothing is suspected before.
    waiting: bool,
    /// This carrier's silence before a ping.
    keepalive: Duration,
    dead: Duration,
    floor: Duration,
    cap: Duration,
}

impl Life {
    fn new(now: Instant, liveness: &Liveness, jitter: f64) -> Self {
        Self {
            last_received: now,
            owed_since: None,
            pinged: false,
            fresh: true,
            ping_due: false,
            suspect: false,
            waiting: false,
            // A quarter either way, so that ten thousand peers do not ping in step.
            keepalive: liveness.keepalive.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0),
            dead: liveness.dead,
            floor: liveness.suspect_floor,
            cap: liveness.suspect_cap,
        }
    }

    /// A byte came: life enough. Returns whether the carrier was suspect.
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        self.last_received = now;
        self.ping_due = false;
        if self.owed_since.is_some() {
            self.owed_since = Some(now);
        }
        std::mem::take(&mut self.suspect)
    }

    /// Whether frames that came wait to be handed over. If the answer was not among them it may be in what could not be
    /// read meanwhile.
    pub(crate) fn frames_wait(&mut self, now: Instant, waiting: bool) {
        if std::mem::replace(&mut self.waiting, waiting) && !waiting && self.owed_since.is_some() {
            self.owed_since = Some(now);
        }
    }

    /// Whether frames that came wait to be handed over.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The peer acknowledged something; `more` says whether it owes more.
    fn progress(&mut self, now: Instant, more: bool) {
        self.owed_since = (more || self.pinged).then_some(now);
    }

    /// Logged frames were sent.
    pub(crate) fn owes(&mut self, now: Instant) {
        self.owed_since.get_or_insert(now);
    }

    /// A ping is to be sent now, if one is `wanted`, if the silence is long enough, or if it is the first; counts it as
    /// sent. Never while another one is unanswered.
    pub(crate) fn take_ping(&mut self, now: Instant, wanted: bool) -> bool {
        if self.pinged || !wanted && !self.fresh && now < self.last_received + self.keepalive {
            return false;
        }
        self.fresh = false;
        self.pinged = true;
        self.ping_due = false;
        self.owes(now);
        true
    }

    /// Notes that a ping is due, if it is; the timer for it has then done its work.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = !self.pinged && !self.ping_due && now >= self.last_received + self.keepalive;
        self.ping_due |= due;
        due
    }

    /// The pong came.
    fn ponged(&mut self, now: Instant, more: bool) {
        self.pinged = false;
        self.progress(now, more);
    }

    /// How long nothing was heard.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_received)
    }

    /// Whether nothing was heard for so long that the carrier is dead.
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        self.silence(now) >= self.dead
    }

    /// Becomes suspect if an answer that usually takes at most `usual` is overdue, and is not among what waits; returns
    /// whether it became so now.
    pub(crate) fn becomes_suspect(&mut self, now: Instant, usual: Duration) -> bool {
        let overdue = self.suspect_at(usual).is_some_and(|at| at <= now);
        let news = overdue && !self.suspect;
        self.suspect |= overdue;
        news
    }

    /// When [`Life`] has something to do next.
    pub(crate) fn poll_timeout(&self, usual: Duration) -> Instant {
        let dead = self.last_received + self.dead;
        let ping = (!self.pinged && !self.ping_due).then(|| self.last_received + self.keepalive);
        let suspect = if self.suspect { None } else { self.suspect_at(usual) };
        [ping, suspect].into_iter().flatten().fold(dead, Instant::min)
    }

    fn suspect_at(&self, usual: Duration) -> Option<Instant> {
        let since = self.owed_since.filter(|_| !self.waiting)?;
        Some(since + usual.clamp(self.floor, self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::session::testing::epoch;

    #[test]
    fn a_carrier_is_suspect_when_an_answer_is_overdue_and_trusted_at_the_next_byte() {
        let start = epoch();
        let mut life = Life::new(start, &Liveness::default(), 0.5);
        let usual = Duration::from_millis(4);
        assert!(!life.becomes_suspect(start + Duration::from_secs(20), usual), "nothing is owed");
        life.owes(start);
        let overdue = start + Liveness::default().suspect_floor;
        assert!(!life.becomes_suspect(overdue - Duration::from_millis(1), usual));
        assert!(life.becomes_suspect(overdue, usual));
        assert!(!life.becomes_suspect(overdue, usual), "told once");
        assert!(life.heard(overdue));
        assert!(!life.suspect);
    }

    #[test]
    fn a_fresh_carrier_asks_at_once_how_far_the_peer_is() {
        let start = epoch();
        let mut carrier = Carrier::new(start, CarrierNumber(0), &Liveness::default(), 0.5);
        assert!(carrier.life.take_ping(start, false));
        carrier.ping = Some((7, start));
        let now = start + Duration::from_millis(300);
        carrier.life.heard(now);
        carrier.ponged(now, 8);
        assert_eq!(
            carrier.pace.round_trip().smoothed,
            None,
            "another ping's pong says nothing of the distance"
        );
        carrier.ponged(now, 7);
        assert_eq!(carrier.pace.round_trip().smoothed, Some(Duration::from_millis(300)));
        assert!(!carrier.life.take_ping(now, false), "there was no silence");
    }

    #[test]
    fn timers_lie_ahead_after_they_were_handled() {
        let start = epoch();
        let mut life = Life::new(start, &Liveness::default(), 0.0);
        let usual = Pace::new().usual_wait();
        let mut now = start;
        for _ in 0..10 {
            now = life.poll_timeout(usual);
            if life.is_dead(now) {
                return;
            }
            life.take_ping(now, false);
            life.becomes_suspect(now, usual);
            assert!(life.poll_timeout(usual) > now);
        }
        panic!("never dead at {:?}", now - start);
    }
}
