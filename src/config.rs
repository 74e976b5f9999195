//! Settings, parsed: every default with its reason.
//!
//! Each struct has a `Default` and is checked by [`PlaneConfig::checked`] when the plane starts, the last
//! moment at which a wrong setting is refused.

use std::time::Duration;

use crate::error::PlaneError;
use crate::wire::hello::MAX_RESUME_WINDOW;

/// All settings of a plane.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PlaneConfig {
    /// Waiting between attempts.
    pub backoff: Backoff,
    /// Deadlines of dialing and accepting.
    pub deadlines: Deadlines,
    /// Bounds on accepting.
    pub access: AccessLimits,
    /// Over how many carriers a session that this end dials runs.
    pub carriers: Carriers,
    /// Signs of life.
    pub liveness: Liveness,
    /// Windows, budgets and bounds of sessions.
    pub session: SessionLimits,
    /// How many events a slow subscriber may be behind.
    pub event_capacity: EventCapacity,
    /// Watching of documents and credentials on the disk.
    pub watch: Watching,
    /// How far this end's clock may be off.
    pub clock_skew: ClockSkew,
    /// By which rule a new stream gets its path.
    pub selection: Selection,
}

/// By which rule a new stream gets its path, of the sessions that lead to its destination. It is this router's own
/// business: its peers may go by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Selection {
    /// The least sum of the cost in force and the streams that are open to the destination through the session. The
    /// default, which is Skupper's rule: of costs 1 and 3 the dearer gets its first stream when the cheaper has two, and
    /// one for one from then on. A session of cost 99,999 stands by until another has as many streams.
    #[default]
    Balanced,
    /// The least cost in force, however many streams are open there; the others stand by. For a way out that is paid
    /// for by the byte.
    LowestCost,
}

/// How far this end's wall clock may be off, where the end of a certificate's validity is told: only that much after
/// it is a certificate said to have expired. A handshake knows no such tolerance.
///
/// Default 30 s: far more than a clock is off that is set by NTP, and less than anybody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a duration with a meaning")]
pub struct ClockSkew(pub Duration);

impl Default for ClockSkew {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

/// Over how many carriers (TCP and TLS connections) a session that this end dials runs, 1..=8. An accepted session has
/// those that its dialer makes.
///
/// Default 2: when one is cut or falls silent, the streams go on at once on the other and need not wait for a dial. One
/// costs a connection, a task and its buffers (of which reading has 128 KiB) less at either end, and lets streams wait for the dial; they outlive the
/// carrier all the same. More than two are for a link that is faster than one core encrypts, on a machine with more cores, since
/// each carrier has a task of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a number with a meaning")]
pub struct Carriers(pub usize);

impl Carriers {
    /// The most a session may have: more would not be faster on any machine, and each costs its acceptor a socket, a task and
    /// its buffers.
    pub const MAX: Self = Self(8);
}

impl Default for Carriers {
    fn default() -> Self {
        Self(2)
    }
}

/// How many events a slow subscriber may be behind before it loses the oldest.
///
/// Default 1024: some 300 KiB; a link that flaps ten times a second fills it in 20 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCapacity(pub usize);

impl Default for EventCapacity {
    fn default() -> Self {
        Self(1024)
    }
}

/// Waiting between attempts to dial a group: at once, then exponential with full jitter. `first` is above zero and at most
/// `cap`; none exceeds 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The bound of the first wait. Default 100 ms: a restarted router is back within it.
    pub first: Duration,
    /// The largest bound. Default 5 s, Skupper's fixed pace: a returned site is found within it.
    pub cap: Duration,
    /// A session that lived this long resets the wait that came of such as did not. Default 10 s, so that a flapping peer is
    /// not hammered. (What came of dials that failed is reset by one that succeeds.)
    pub stable_after: Duration,
    /// The longest retry-after of a peer that is believed. Default 60 s, or a peer could silence a link.
    pub retry_after_cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            stable_after: Duration::from_secs(10),
            retry_after_cap: Duration::from_secs(60),
        }
    }
}

/// Watching of documents and credentials on the disk. `poll` is above zero and at most 24 h, `settle` above zero and at most
/// `poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watching {
    /// How often they are looked at, whatever the system says. Default 10 s: a look at what has not changed is a few
    /// calls of stat(2), and Kubernetes itself takes up to a minute to bring a changed Secret into a container. A
    /// longer one delays changes on file systems that give no notice; a shorter one costs those calls.
    pub poll: Duration,
    /// How long something must stay the same to be taken: two looks so far apart must agree. Default 250 ms: copying a
    /// bundle takes milliseconds. A longer one delays every change; a shorter one may take (or refuse, and tell so)
    /// what is half-written. It is also the least time between two looks.
    pub settle: Duration,
    /// Whether notices of the system bring a look sooner. Default heeded; without the feature `watch` there are none.
    pub notices: FileNotices,
}

/// Whether notices of the system that files have changed are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileNotices {
    /// They are, and bring a look sooner.
    #[default]
    Heeded,
    /// They are not: the clock alone decides. For systems where they cost too much.
    Ignored,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10),
            settle: Duration::from_millis(250),
            notices: FileNotices::default(),
        }
    }
}

/// Deadlines of the phases, each with an error of its own. None exceeds 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// Name resolution. Default 5 s: the usual resolver asks its second server after that.
    pub resolve: Duration,
    /// The TCP connection, all addresses together. Default 10 s: three SYN retransmissions (1 + 2 + 4 s).
    pub connect: Duration,
    /// From the connection to an HTTP proxy to its answer. Default 15 s: in it the proxy looks up the endpoint's name
    /// and connects, for which a link without a proxy has 5 s and 10 s.
    pub proxy: Duration,
    /// The TLS handshake. Default 10 s: two round trips on the worst link, with losses.
    pub tls: Duration,
    /// From the end of TLS to the peer's hello. Default 5 s: one round trip.
    pub hello: Duration,
    /// How long an opened stream may wait to be accepted. Default 10 s.
    pub accept: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            proxy: Duration::from_secs(15),
            tls: Duration::from_secs(10),
            hello: Duration::from_secs(5),
            accept: Duration::from_secs(10),
        }
    }
}

/// Bounds on accepting, against those who only open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessLimits {
    /// Unfinished handshakes of an access. Default 1024: some 30 MiB of TLS state.
    pub handshakes: usize,
    /// Unfinished handshakes from one address, or of IPv6 from one /64; the oldest makes room for a newer one, so that a
    /// site behind a shared address still gets in. Default 64.
    pub handshakes_per_address: usize,
    /// Accepted sessions, over all accesses of the plane. Default 1024. A dialer beyond them is refused with
    /// [`CloseCode::BUSY`](crate::CloseCode::BUSY), to come back after 5 s.
    pub sessions: usize,
}

impl Default for AccessLimits {
    fn default() -> Self {
        Self { handshakes: 1024, handshakes_per_address: 64, sessions: 1024 }
    }
}

/// Signs of life. `keepalive` is above zero and below `dead`, `suspect_floor` at most `suspect_cap`; `dead` and
/// `suspect_cap` do not exceed 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Liveness {
    /// A ping goes out after this much silence, jittered by a quarter. Default 1 s.
    pub keepalive: Duration,
    /// No byte for this long: the carrier is dead. Default 30 s; a shorter one cuts satellites and paused peers.
    pub dead: Duration,
    /// The least time without acknowledgement that makes a carrier suspect. Default 250 ms.
    pub suspect_floor: Duration,
    /// The greatest such time. Default 10 s.
    pub suspect_cap: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(1),
            dead: Duration::from_secs(30),
            suspect_floor: Duration::from_millis(250),
            suspect_cap: Duration::from_secs(10),
        }
    }
}

/// Windows, budgets and bounds of a session. `max_streams` is 1..=1,048,576, `max_window` and `send_buffer` are at least
/// 16,384, `resume_window` is at most 1 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimits {
    /// How many streams the peer may have open at once. Default 16,384: with the minimum window 256 MiB.
    pub max_streams: u64,
    /// How far all windows of a session may grow beyond their minimum, in bytes. Default 256 MiB: two streams
    /// at 10 Gbit/s over 100 ms.
    pub pool: u64,
    /// The same for all sessions of the plane. Default 1 GiB.
    pub process_pool: u64,
    /// How much one stream may grow to, in bytes. Default 128 MiB: 10 Gbit/s over 100 ms.
    pub max_window: u64,
    /// Opened streams that nobody has accepted yet. Default 1024; more are refused as busy.
    pub unaccepted: usize,
    /// Routing keys taken from a peer, and served by this plane. Default 10,000.
    pub keys: usize,
    /// How long a session without a carrier is kept. Default 30 s; zero gives it up at once.
    pub resume_window: Duration,
    /// Bytes a stream takes from its writer before they are sent. Default 256 KiB: two full writes of a carrier.
    pub send_buffer: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_streams: 16_384,
            pool: 256 << 20,
            process_pool: 1 << 30,
            max_window: 128 << 20,
            unaccepted: 1024,
            keys: 10_000,
            resume_window: Duration::from_secs(30),
            send_buffer: 256 << 10,
        }
    }
}

impl PlaneConfig {
    /// Checks the settings against their bounds and each other.
    ///
    /// # Errors
    /// [`PlaneError::Setting`] names the first wrong one.
    pub fn checked(self) -> Result<Self, PlaneError> {
        let session = &self.session;
        let (live, deadlines) = (&self.liveness, &self.deadlines);
        let Deadlines { resolve, connect, proxy, tls, hello, accept } = *deadlines;
        let longest = [resolve, connect, proxy, tls, hello, accept];
        let Backoff { cap, stable_after, retry_after_cap, .. } = self.backoff;
        let waits = [cap, stable_after, retry_after_cap];
        let watch = &self.watch;
        let rules: [(bool, &'static str, &str); 17] = [
            (longest.iter().any(|deadline| *deadline > LONGEST), "deadlines", "must not exceed 24 h"),
            (live.dead > LONGEST || live.suspect_cap > LONGEST, "liveness", "must not exceed 24 h"),
            (session.resume_window > MAX_RESUME_WINDOW, "session.resume_window", "must not exceed 1 h"),
            (watch.poll.is_zero() || watch.poll > LONGEST, "watch.poll", "must be above 0 and at most 24 h"),
            (
                watch.settle.is_zero() || watch.settle > watch.poll,
                "watch.settle",
                "must be above 0 and not exceed watch.poll",
            ),
            (!(1..=Carriers::MAX.0).contains(&self.carriers.0), "carriers", "must be 1..=8"),
            (self.event_capacity.0 == 0, "event_capacity", "must be at least 1"),
            (waits.iter().any(|wait| *wait > LONGEST), "backoff", "must not exceed 24 h"),
            (self.backoff.first > self.backoff.cap, "backoff.first", "must not exceed backoff.cap"),
            (self.backoff.first.is_zero(), "backoff.first", "must not be zero"),
            (
                live.keepalive.is_zero() || live.keepalive >= live.dead,
                "liveness.keepalive",
                "must be above 0 and below liveness.dead",
            ),
            (live.suspect_floor > live.suspect_cap, "liveness.suspect_floor", "must not exceed suspect_cap"),
            (
                session.max_streams == 0 || session.max_streams > MAX_STREAMS_CAP,
                "session.max_streams",
                "must be 1..=1048576",
            ),
            (session.max_window < crate::wire::MIN_WINDOW, "session.max_window", "must be at least 16384"),
            (session.send_buffer < 16_384, "session.send_buffer", "must be at least 16384"),
            (self.access.handshakes == 0, "access.handshakes", "must not be zero"),
            (self.access.handshakes_per_address == 0, "access.handshakes_per_address", "must not be zero"),
        ];
        match rules.into_iter().find(|(wrong, ..)| *wrong) {
            Some((_, setting, problem)) => Err(PlaneError::Setting { setting, problem: problem.into() }),
            None => Ok(self),
        }
    }
}

/// The longest time any part may wait: beyond a day it is a mistake, and sums of them stay what a clock can hold.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The most streams a session may be set to: 2^20 with their minimum window are 16 GiB.
const MAX_STREAMS_CAP: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        assert!(PlaneConfig::default().checked().is_ok());
    }

    #[test]
    fn a_wait_that_no_clock_can_hold_is_refused() {
        let too_long: [fn(&mut Backoff); 3] = [
            |backoff| backoff.cap = Duration::MAX,
            |backoff| backoff.stable_after = Duration::MAX,
            |backoff| backoff.retry_after_cap = Duration::MAX,
        ];
        for set in too_long {
            let mut config = PlaneConfig::default();
            set(&mut config.backoff);
            assert!(matches!(config.checked(), Err(PlaneError::Setting { setting: "backoff", .. })));
        }
    }

    #[test]
    fn a_session_has_one_to_eight_carriers() {
        for (carriers, holds) in [(0, false), (1, true), (8, true), (9, false)] {
            let config = PlaneConfig { carriers: Carriers(carriers), ..PlaneConfig::default() };
            let refused = matches!(config.checked(), Err(PlaneError::Setting { setting: "carriers", .. }));
            assert_eq!(!refused, holds, "{carriers}");
        }
    }

    #[test]
    fn a_contradiction_is_refused_by_name() {
        let mut config = PlaneConfig::default();
        config.liveness.keepalive = config.liveness.dead;
        assert!(matches!(config.checked(), Err(PlaneError::Setting { setting: "liveness.keepalive", .. })));
    }
}
