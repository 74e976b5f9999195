//! How far the peer is, how fast it takes bytes, and the bound on data in flight that follows.
//!
//! What is beyond distance × rate in flight only fills buffers, where nothing can overtake it; what is below leaves the
//! line idle. Both are measured. But the least round trip is that of threads that were awake: where they
//! sleep, or share processors with others, distance × rate says too little, and a sender that is bound by
//! it sees the low rate confirmed that it made itself. So the bound is tried out as well:
//!
//! ```text
//!   starting ──three rounds without a quarter more──▶ holding ──sixteen rounds──▶ probing: half as much again
//!      ▲                                              ▲    │ ▲                       │   │
//!      └── the rate fell by half: another way, or ────╯    │ ╰── no faster: back ────╯   │
//!          nothing was sent for long                       ╰◀─ a fifth faster: kept, ◀───╯ and probed again
//! ```
//!
//! Only rounds count in which the bound held data back: others say what was written, not what could have been sent.

use std::time::{Duration, Instant};

use crate::proto::session::acks::{ACK_DELAY, ACK_EVERY};
use crate::stats::RoundTrip;

/// Round-trip time and delivery rate of one carrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    round_trip: RoundTrip,
    /// The least round trip of this and of the previous span.
    least: [Option<Duration>; 2],
    /// When this span began.
    span: Option<Instant>,
    /// The greatest delivery rate of this and of the previous rate span, in bytes per second.
    rate: [f64; 2],
    /// When this rate span began.
    rate_span: Option<Instant>,
    /// The distance of the peer before the first sample of this carrier.
    expected: Duration,
    round: Option<Round>,
    phase: Phase,
    /// How many rounds running had less than half of the rate.
    slow: u32,
    /// Rounds for which less is let through than the way holds, so that its distance can be seen without a queue.
    draining: u32,
    /// By how much the bound exceeds what distance and rate say. `1 <= lift <= MOST_LIFT`
    lift: f64,
}

/// From the sending of a byte to its acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Round {
    began: Instant,
    /// What was acknowledged when it began.
    acked: u64,
    /// What had been sent then: when that is acknowledged, the round is over.
    until: u64,
    /// Whether the bound held data back in it, and whether it did in the one before.
    held_back: bool,
    held_before: bool,
}

/// What the bound is at.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The rate is not known yet. `best` is the greatest so far, `flat` counts rounds that came no further.
    Starting { best: f64, flat: u32 },
    /// It is taken to be known. `rate` is the mean of `rounds`.
    Holding { rate: f64, rounds: u32 },
    /// More is let through, to see whether it arrives. `before` is the rate without.
    Probing { before: f64, rounds: u32 },
}

impl Pace {
    /// Nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            round_trip: RoundTrip::default(),
            least: [None; 2],
            span: None,
            rate: [0.0; 2],
            rate_span: None,
            expected: UNKNOWN_TRIP,
            round: None,
            phase: Phase::Starting { best: 0.0, flat: 0 },
            slow: 0,
            draining: 0,
            lift: 1.0,
        }
    }

    /// The peer was so far away on other carriers: what is suspicious here before the first sample follows it, if
    /// that is more than the usual assumption.
    pub(crate) fn expect(&mut self, distance: Duration) {
        self.expected = distance.max(UNKNOWN_TRIP);
    }

    /// How long an answer usually takes at most: four times the distance and four times its variation.
    pub(crate) fn usual_wait(&self) -> Duration {
        self.round_trip.smoothed.unwrap_or(self.expected) * 4 + self.round_trip.variation * 4
    }

    /// Takes one sample: `waited` from sending to acknowledgement, of which the peer says it held `delay`, while
    /// `delivered` bytes were acknowledged.
    pub(crate) fn sample(&mut self, now: Instant, waited: Duration, delay: Duration, delivered: u64) {
        // A peer cannot claim to have held it longer than we waited for it.
        let distance = self.distance(now, waited.saturating_sub(delay));
        let rate = delivered as f64 / waited.max(CLOCK_GRAIN).as_secs_f64();
        let span = self.round_trip.smoothed.unwrap_or(distance) * RATE_SPAN_TRIPS;
        if self.rate_span.is_none_or(|since| now.saturating_duration_since(since) >= span) {
            if self.rate[0] < self.rate[1] / 2.0 {
                // Another way, or hardly anything was sent: what was known says nothing any more. But what the bound has held
                // back came at the rate there is now.
                let held = self.round.is_some_and(|round| round.held_back || round.held_before);
                let best = if held { self.rate[0] } else { 0.0 };
                (self.phase, self.lift) = (Phase::Starting { best, flat: 0 }, 1.0);
            }
            self.rate = [0.0, self.rate[0]];
            self.rate_span = Some(now);
        }
        self.rate[0] = self.rate[0].max(rate);
    }

    /// Takes note of what is acknowledged and sent.
    pub(crate) fn progress(&mut self, now: Instant, acked: u64, sent: u64) {
        let mut held_before = false;
        if let Some(round) = self.round {
            held_before = round.held_back;
            let took = now.saturating_duration_since(round.began).max(CLOCK_GRAIN);
            // Where bytes come in bursts, one may end long before the way has been gone there and back.
            if acked < round.until || self.round_trip.minimum.is_some_and(|least| took < least) {
                return;
            }
            // A probe lets through more, not less: it comes to its end first.
            if self.draining > 0 && !matches!(self.phase, Phase::Probing { .. }) {
                self.draining -= 1;
            } else if !round.held_back {
                self.slow = 0;
            } else {
                let rate = (acked - round.acked) as f64 / took.as_secs_f64();
                if self.has_slowed(rate) {
                    self.restart(now, rate);
                } else {
                    self.judge(rate);
                }
            }
        }
        self.round = Some(Round { began: now, acked, until: sent, held_back: false, held_before });
    }

    /// Nothing is in flight. If that is not from this very moment on, nobody wrote for a while, and the round would
    /// measure how long.
    pub(crate) fn rests(&mut self, now: Instant) {
        if self.round.take_if(|round| round.began < now).is_some() {
            self.slow = 0;
        }
    }

    /// There was more to send than the bound allowed.
    pub(crate) fn holds_back(&mut self) {
        if let Some(round) = &mut self.round {
            round.held_back = true;
        }
    }

    /// Whether the way has become another one, with this rate: on a long one nothing else brings two rounds running to less than
    /// half. A round lasts as long as what is in flight takes, which at the new rate may be longer than any rate is
    /// remembered.
    fn has_slowed(&mut self, rate: f64) -> bool {
        let far = self.round_trip.minimum.is_some_and(|least| least >= FAR);
        let slow = far && rate < self.rate[0].max(self.rate[1]) / 2.0;
        self.slow = if slow { self.slow + 1 } else { 0 };
        self.slow == SLOWED
    }

    fn restart(&mut self, now: Instant, rate: f64) {
        (self.rate, self.rate_span, self.slow) = ([rate, 0.0], Some(now), 0);
        (self.phase, self.lift) = (Phase::Starting { best: rate, flat: 0 }, 1.0);
    }

    /// A round in which the bound held data back had this rate.
    fn judge(&mut self, rate: f64) {
        self.phase = match self.phase {
            Phase::Starting { best, .. } if rate > best * QUICKER => Phase::Starting { best: rate, flat: 0 },
            Phase::Starting { best, flat } if flat + 1 < FLAT => Phase::Starting { best, flat: flat + 1 },
            Phase::Starting { .. } => Phase::Holding { rate: 0.0, rounds: 0 },
            Phase::Holding { rate: mean, rounds } => {
                let mean = (mean * f64::from(rounds) + rate) / f64::from(rounds + 1);
                if rounds + 1 < HELD {
                    Phase::Holding { rate: mean, rounds: rounds + 1 }
                } else {
                    self.lift = (self.lift * PROBE).min(MOST_LIFT);
                    Phase::Probing { before: mean, rounds: 0 }
                }
            }
            // The first round was half sent before.
            Phase::Probing { before, rounds: 0 } => Phase::Probing { before, rounds: 1 },
            Phase::Probing { before, .. } if rate > before * PAYS => {
                self.lift = (self.lift * PROBE).min(MOST_LIFT);
                Phase::Probing { before: rate, rounds: 0 }
            }
            Phase::Probing { .. } => {
                // A little less than before, or what chance has lifted would never come down.
                self.lift = (self.lift / PROBE / BACK).max(1.0);
                Phase::Holding { rate: 0.0, rounds: 0 }
            }
        };
    }

    /// The peer was seen to be so far away.
    pub(crate) fn distance(&mut self, now: Instant, seen: Duration) -> Duration {
        let distance = seen.max(CLOCK_GRAIN);
        self.smooth(distance);
        self.least_of(now, distance);
        distance
    }

    /// RFC 6298 §2.
    fn smooth(&mut self, distance: Duration) {
        let round_trip = &mut self.round_trip;
        match round_trip.smoothed {
            None => {
                round_trip.smoothed = Some(distance);
                round_trip.variation = distance / 2;
            }
            Some(smoothed) => {
                let error = smoothed.abs_diff(distance);
                round_trip.variation = (round_trip.variation * 3 + error) / 4;
                round_trip.smoothed = Some((smoothed * 7 + distance) / 8);
            }
        }
    }

    fn least_of(&mut self, now: Instant, distance: Duration) {
        // What is seen behind a queue that is longer than the span would else count as the distance, and make it grow.
        let span = LEAST_SPAN.max(distance.saturating_mul(4));
        if self.span.is_none_or(|since| now.saturating_duration_since(since) >= span) {
            self.least = [None, self.least[0]];
            self.span = Some(now);
            self.draining = DRAINED;
        }
        self.least[0] = Some(self.least[0].map_or(distance, |least| least.min(distance)));
        self.round_trip.minimum = self.least.into_iter().flatten().min();
    }

    /// What is known of the way.
    pub(crate) fn round_trip(&self) -> RoundTrip {
        self.round_trip
    }

    /// How much may be sent and unacknowledged, in bytes: so much that the schedule and not a socket's buffer decides who goes
    /// next, never above [`MOST_FLIGHT`].
    pub(crate) fn flight_cap(&self) -> u64 {
        let rate = self.rate[0].max(self.rate[1]);
        let least = self.round_trip.minimum.unwrap_or_default();
        let slow = if least >= FAR { FAR_FLIGHT as f64 } else { SLOW_FLIGHT as f64 };
        let floor = (rate * SHORT).clamp(slow, LEAST_FLIGHT as f64);
        let unknown = |best: f64| best == 0.0 || least < FAR;
        let (gain, floor, lift) = match self.phase {
            // What is lifted would queue, and count as distance.
            Phase::Holding { .. } if self.draining > 0 => (DRAINING_GAIN, slow, 1.0),
            Phase::Starting { best, .. } if unknown(best) => (STARTING_GAIN, LEAST_FLIGHT as f64, self.lift),
            Phase::Starting { .. } => (STARTING_GAIN, floor, self.lift),
            Phase::Holding { .. } | Phase::Probing { .. } => (HOLDING_GAIN, floor, self.lift),
        };
        let cap = (rate * (gain * least.as_secs_f64() + WAKING)).max(floor) * lift;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "finite, not negative; saturates"
        )]
        let cap = cap as u64;
        cap.min(MOST_FLIGHT)
    }
}

/// In flight while the rate is not known, as a multiple of distance × rate: four times as much each round trip, as credit
/// grows. Less would hold back a window that grows, more would only queue.
const STARTING_GAIN: f64 = 4.0;

/// In flight when it is known: half as much again as the way holds, so that acknowledgements that come in bursts leave no
/// gap, and a request beside bulk waits for half a round trip at most.
const HOLDING_GAIN: f64 = 1.5;

/// In flight when the least round trip is to be seen anew: what is always in flight would else count as distance after
/// ten seconds of bulk, and half as much again after ten more. A round is over when what was in flight before has drained, one more shows the
/// distance: of five seconds over 300 ms an eighth, at three quarters of the rate.
const DRAINING_GAIN: f64 = 0.75;
const DRAINED: u32 = 2;

/// What is in flight beside that is this many seconds of the rate: two threads have to wake up, at 50 µs each.
const WAKING: f64 = 100e-6;

/// Data in flight is not bound below this: at 1 GB/s over loopback less would idle the writer between two wake-ups.
const LEAST_FLIGHT: u64 = 256 << 10;

/// Unless this is more than so many seconds of the rate: on a slow way that is near it would be all the distance there is.
const SHORT: f64 = 5e-3;

/// And not below this: what is acknowledged at once. With less the sender would wait for the timer of the
/// acknowledgements each time, and take that for the rate.
const SLOW_FLIGHT: u64 = ACK_EVERY;

/// Unless the way is so long that this timer is no more than half of it, which is what [`HOLDING_GAIN`] makes up for. There the bound
/// may come down to two full records: over 300 ms that lose two packets of a hundred TCP carries some 40 kB/s, and a request
/// beside bulk would wait three seconds for 128 KiB.
const FAR: Duration = ACK_DELAY.saturating_mul(2);
const FAR_FLIGHT: u64 = 32 << 10;

/// Nor above this: 2 × 10 Gbit/s × 100 ms. A peer chooses what it looks like, by the times of its acknowledgements:
/// near once and far ever after looks as fast as memory and as far as it likes, and all in flight is held here.
pub(crate) const MOST_FLIGHT: u64 = 256 << 20;

/// A round that is this much quicker shows that the rate is not known yet; so many that are not, that it is (as BBR
/// finds it, draft-ietf-ccwg-bbr §5.3.1.2).
const QUICKER: f64 = 1.25;
const FLAT: u32 = 3;

/// After so many rounds with less than half of the rate a long way is another one.
const SLOWED: u32 = 2;

/// Rounds between two probes: a queue that a probe makes is there for a tenth of the time.
const HELD: u32 = 16;

/// How much more a probe lets through.
const PROBE: f64 = 1.5;

/// A probe of half as much again pays when a fifth more arrives: less is noise.
const PAYS: f64 = 1.2;

/// How much of the lift a probe that does not pay takes away beside its own.
const BACK: f64 = 1.1;

/// The most that probes may lift the bound: from the least of 256 KiB to 16 MiB, 8 ms at 2 GB/s, longer than any
/// scheduler lets a thread wait that could run.
const MOST_LIFT: f64 = 64.0;

/// Two of these spans make the window of the least round trip: 10 s, or a route change would starve the sender.
const LEAST_SPAN: Duration = Duration::from_secs(5);

/// The greatest delivery rate is that of the last ten to twenty round trips.
const RATE_SPAN_TRIPS: u32 = 10;

/// The least distance a sample may show: what the clock can tell apart.
const CLOCK_GRAIN: Duration = Duration::from_micros(1);

/// The distance of a peer before the first sample: as far as a geostationary satellite, both ways.
const UNKNOWN_TRIP: Duration = Duration::from_millis(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::session::testing::epoch;

    /// A way as a sender sees it that always has more to send.
    struct Way {
        /// Bytes per second.
        rate: f64,
        trip: Duration,
        /// Beside the distance, how long it takes until the peer's thread runs and answers.
        waking: Duration,
    }

    impl Way {
        /// What a sender does in so many round trips; returns the rate of the last ones and the bound at their end.
        fn send(&self, pace: &mut Pace, start: Instant, rounds: u32) -> (f64, u64) {
            let (mut now, mut acked) = (start, 0_u64);
            let (mut halfway, mut at_halfway) = (start, 0);
            // One sample with awake threads: what the least round trip is from then on.
            pace.distance(now, self.trip);
            pace.progress(now, 0, 0);
            for round in 0..rounds {
                let flight = pace.flight_cap();
                pace.progress(now, acked, acked + flight);
                pace.holds_back();
                let busy = Duration::from_secs_f64(flight as f64 / self.rate);
                let took = (self.trip + self.waking).max(busy);
                now += took;
                acked += flight;
                pace.sample(now, took, Duration::ZERO, flight);
                pace.progress(now, acked, acked);
                if round == rounds / 2 {
                    (halfway, at_halfway) = (now, acked);
                }
            }
            ((acked - at_halfway) as f64 / (now - halfway).as_secs_f64(), pace.flight_cap())
        }
    }

    #[test]
    fn a_long_way_is_filled_within_ten_round_trips_and_not_much_more_than_filled() {
        for trip in [50, 100, 300].map(Duration::from_millis) {
            let way = Way { rate: 125e6, trip, waking: Duration::ZERO };
            let holds = 125_000 * u64::try_from(trip.as_millis()).unwrap();
            let mut pace = Pace::new();
            let (_, cap) = way.send(&mut pace, epoch(), 8);
            assert!(cap >= holds, "{cap} of {holds} after eight round trips of {trip:?}");
            let mut pace = Pace::new();
            let (rate, cap) = way.send(&mut pace, epoch(), 400);
            assert!(rate >= 0.9 * way.rate, "{rate}");
            assert!(cap <= holds * 5 / 2, "{cap} of {holds}, at most a probe above");
        }
    }

    #[test]
    fn threads_that_wake_slowly_do_not_hold_a_rate_down_that_the_bound_made_itself() {
        let way = Way { rate: 2e9, trip: Duration::from_micros(50), waking: Duration::from_millis(2) };
        let mut pace = Pace::new();
        let (rate, _) = way.send(&mut pace, epoch(), 2000);
        // Bound by distance × rate it would be 256 KiB in each 2 ms.
        assert!(rate > 0.75 * way.rate, "{rate}");
    }

    #[test]
    fn probing_does_not_lift_a_bound_that_is_not_too_low() {
        let way = Way { rate: 2e9, trip: Duration::from_micros(300), waking: Duration::ZERO };
        let mut pace = Pace::new();
        let (rate, cap) = way.send(&mut pace, epoch(), 2000);
        assert!(rate > 0.95 * way.rate, "{rate}");
        let holds = way.rate * way.trip.as_secs_f64();
        assert!((cap as f64) < 3.0 * holds, "{cap} of {holds}");
    }

    #[test]
    fn a_lifted_bound_does_not_hide_the_distance() {
        let (start, mut pace) = (epoch(), Pace::new());
        pace.distance(start, Duration::from_millis(100));
        pace.sample(start, Duration::from_millis(100), Duration::ZERO, 10_000_000);
        (pace.phase, pace.lift) = (Phase::Holding { rate: 0.0, rounds: 0 }, 4.0);
        assert!(pace.flight_cap() < 10_000_000, "{} of 10,000,000 that the way holds", pace.flight_cap());
    }

    #[test]
    fn pauses_do_not_lift_the_bound() {
        let way = Way { rate: 125e6, trip: Duration::from_millis(10), waking: Duration::ZERO };
        let (mut now, mut acked, mut pace) = (epoch(), 0, Pace::new());
        pace.distance(now, way.trip);
        let mut highest = 0;
        for burst in 0..500 {
            for _ in 0..3 {
                pace.rests(now);
                let flight = pace.flight_cap();
                pace.holds_back();
                let took = way.trip.max(Duration::from_secs_f64(flight as f64 / way.rate));
                now += took;
                acked += flight;
                pace.sample(now, took, Duration::ZERO, flight);
                pace.progress(now, acked, acked);
            }
            // Long enough to show in the mean, not so long that all is forgotten.
            now += Duration::from_millis(30);
            highest = if burst < 20 { 0 } else { pace.flight_cap().max(highest) };
        }
        let holds = way.rate * way.trip.as_secs_f64();
        assert!((highest as f64) < 3.0 * holds, "{highest} of {holds}");
    }

    #[test]
    fn no_less_is_let_through_than_is_acknowledged_at_once() {
        let (start, mut pace) = (epoch(), Pace::new());
        pace.sample(start, Duration::from_millis(1), Duration::ZERO, 1000);
        for draining in [0, DRAINED] {
            (pace.phase, pace.draining) = (Phase::Holding { rate: 0.0, rounds: 0 }, draining);
            assert!(pace.flight_cap() >= ACK_EVERY);
        }
    }

    #[test]
    fn on_a_slow_long_way_no_more_than_that_way_is_filled_though_it_was_fast_before() {
        let trip = Duration::from_millis(300);
        let (fast, slow) =
            (Way { rate: 1e6, trip, waking: Duration::ZERO }, Way { rate: 40e3, trip, waking: ACK_DELAY });
        let (start, mut pace) = (epoch(), Pace::new());
        fast.send(&mut pace, start, 100);
        // What is sent is counted anew below.
        pace.round = None;
        let (rate, cap) = slow.send(&mut pace, start + Duration::from_secs(3600), 100);
        assert!(rate >= 0.85 * slow.rate, "{rate}");
        assert!(cap <= FAR_FLIGHT * 3 / 2, "{cap}, at most a probe above");
    }

    #[test]
    fn an_old_rate_is_forgotten() {
        let (start, mut pace) = (epoch(), Pace::new());
        assert_eq!(pace.flight_cap(), LEAST_FLIGHT);
        pace.sample(start, Duration::from_millis(10), Duration::ZERO, 10_000_000);
        assert_eq!(pace.flight_cap(), 40_100_000);
        pace.sample(start + LEAST_SPAN * 2, Duration::from_millis(1), Duration::ZERO, 0);
        pace.sample(start + LEAST_SPAN * 4, Duration::from_millis(1), Duration::ZERO, 0);
        assert_eq!(pace.flight_cap(), LEAST_FLIGHT);
    }

    #[test]
    fn a_peer_that_was_near_once_and_far_ever_after_does_not_lift_the_bound_on_data_in_flight() {
        let (start, mut pace) = (epoch(), Pace::new());
        pace.sample(start, Duration::from_secs(30), Duration::ZERO, 1);
        pace.sample(start, CLOCK_GRAIN, Duration::ZERO, LEAST_FLIGHT);
        let later = start + LEAST_SPAN * 4;
        pace.sample(later, Duration::from_secs(5), Duration::ZERO, 1);
        pace.sample(later + LEAST_SPAN * 4, Duration::from_secs(5), Duration::ZERO, 1);
        assert_eq!(pace.flight_cap(), MOST_FLIGHT);
    }
}
