//! What a seed decides of a world: its lines, its weather, its workload and its fate.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::{Liveness, SessionLimits};
use crate::sim::pipe::Shape;

/// The plan of a run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How many carriers the dialer wants.
    pub(super) carriers: usize,
    /// The lines.
    pub(super) shape: Shape,
    /// Of a hundred carriers, how many meet a fault.
    pub(super) fault_percent: u32,
    /// No carrier outlives so many bytes; its scale.
    pub(super) fuse_scale: u64,
    /// The longest wait before dialing again.
    pub(super) dial_delay: Duration,
    /// Spans in which dialing fails.
    pub(super) blackouts: Vec<RangeInclusive<Duration>>,
    /// When carriers are replaced in good order.
    pub(super) rotations: Vec<Duration>,
    /// When everything becomes well.
    pub(super) heals_at: Duration,
    /// How long after that everything may take to come to rest.
    pub(super) patience: Duration,
    /// Whether the session survives.
    pub(super) fate: Fate,
    /// Streams opened in all.
    pub(super) streams: usize,
    /// The longest stream, one way.
    pub(super) stream_bytes: u64,
    /// Windows and bounds.
    pub(super) limits: SessionLimits,
    /// Signs of life.
    pub(super) liveness: Liveness,
    /// How long an open may wait.
    pub(super) accept_deadline: Duration,
    /// How long a dialer waits for the answer to its hello.
    pub(super) hello_deadline: Duration,
    /// Nothing befalls it but what its line does by itself: carriers are never given up for the sake of a test.
    pub(super) calm: bool,
}

/// What becomes of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It survives everything.
    Survives,
    /// The acceptor forgets it at that time, as a restarted router does.
    Forgotten(Duration),
    /// That end closes it at that time.
    Closed(usize, Duration),
    /// No carrier comes up from that time on for longer than the resume window.
    Cut(Duration),
}

/// What happens to one carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// After so many bytes of one direction the connection is gone. Each end sees it after a while, or never.
    Cut { way: usize, after: u64, seen: [Option<Duration>; 2], lose: bool },
    /// After so many bytes of one direction that direction falls silent.
    Silent { way: usize, after: u64 },
    /// One direction delivers nothing for a while.
    Stall { way: usize, from: Duration, length: Duration },
    /// After a while the connection is gone.
    Ends { from: Duration, seen: [Option<Duration>; 2], lose: bool },
}

impl Plan {
    /// What the seed decides.
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        let horizon = Duration::from_millis(random.u64(50..4000));
        let moment = |random: &mut fastrand::Rng| horizon.mul_f64(random.f64());
        let limits = SessionLimits {
            max_streams: *pick(random, &[2, 8, 64]),
            pool: *pick(random, &[0, 50_000, 1 << 20]),
            max_window: *pick(random, &[16_384, 65_536, 1 << 20]),
            unaccepted: *pick(random, &[1, 3, 100]),
            send_buffer: *pick(random, &[16_384, 100_000]),
            resume_window: Duration::from_secs(20),
            ..SessionLimits::default()
        };
        let liveness = Liveness { dead: Duration::from_secs(3), ..Liveness::default() };
        let fate = match random.u32(..10) {
            0 => Fate::Forgotten(moment(random)),
            1 => Fate::Closed(random.usize(..2), moment(random)),
            2 => Fate::Cut(moment(random)),
            _ => Fate::Survives,
        };
        let blackouts = (0..random.usize(..3)).map(|_| {
            let from = moment(random);
            from..=from + Duration::from_millis(random.u64(..1000))
        });
        let blackouts = blackouts.collect();
        Self {
            carriers: *pick(random, &[1, 1, 2, 3]),
            shape: shape(random),
            fault_percent: *pick(random, &[0, 50, 90, 100]),
            fuse_scale: *pick(random, &[300, 3000, 60_000, 400_000]),
            dial_delay: *pick(
                random,
                &[Duration::from_millis(1), Duration::from_millis(20), Duration::from_millis(100)],
            ),
            blackouts,
            rotations: (0..*pick(random, &[0, 0, 1, 5])).map(|_| moment(random)).collect(),
            heals_at: horizon,
            patience: PATIENCE,
            fate,
            streams: random.usize(1..20),
            stream_bytes: *pick(random, &[100, 5000, 60_000, 250_000]),
            limits,
            liveness,
            accept_deadline: *pick(random, &[Duration::from_millis(100), Duration::from_secs(10)]),
            hello_deadline: Duration::from_secs(2),
            calm: false,
        }
    }

    /// A minute over a line that takes `latency` each way and loses so many segments of a hundred, with the settings
    /// every plane has.
    pub(super) fn satellite(random: &mut fastrand::Rng, latency: Duration, lost_percent: u32) -> Self {
        Self {
            carriers: 1,
            shape: Shape {
                latency,
                nanos_per_byte: *pick(random, &[80, 800, 8000]),
                capacity: 4 << 20,
                cuts: 3,
                lost_percent,
            },
            fault_percent: 0,
            dial_delay: Duration::from_millis(100),
            blackouts: Vec::new(),
            rotations: Vec::new(),
            heals_at: Duration::from_secs(60),
            patience: SATELLITE_PATIENCE,
            fate: Fate::Survives,
            streams: random.usize(1..20),
            stream_bytes: *pick(random, &[100, 5000, 60_000, 250_000]),
            limits: SessionLimits::default(),
            liveness: Liveness::default(),
            accept_deadline: Duration::from_secs(30),
            hello_deadline: Duration::from_secs(30),
            calm: true,
            ..Self::new(random)
        }
    }

    /// Whether dialing fails now.
    pub(super) fn is_dark(&self, now: Duration) -> bool {
        let cut = matches!(self.fate, Fate::Cut(from) if now >= from);
        cut || now < self.heals_at && self.blackouts.iter().any(|span| span.contains(&now))
    }

    /// The fault of the next carrier.
    pub(super) fn fault(&self, now: Duration, random: &mut fastrand::Rng) -> Fault {
        if now >= self.heals_at || random.u32(..100) >= self.fault_percent {
            return Fault::None;
        }
        let (way, from) = (random.usize(..2), Duration::from_micros(random.u64(..1_000_000)));
        // Small counts as often as large ones: the first bytes are where hellos are.
        let after = random.u64(..self.fuse_scale).min(random.u64(..self.fuse_scale));
        let lose = random.bool();
        match random.u32(..8) {
            0 => Fault::Silent { way, after },
            1 => Fault::Stall { way, from, length: Duration::from_millis(random.u64(1..2500)) },
            2 => Fault::Ends { from, seen: seen(random), lose },
            _ => Fault::Cut { way, after, seen: seen(random), lose },
        }
    }
}

fn shape(random: &mut fastrand::Rng) -> Shape {
    let micros = *pick(random, &[0, 50, 7000, 80_000]);
    // What is on the way counts as well, so a long line is never so narrow that it carries next to nothing.
    let narrowest = if micros > 1000 { 20_000 } else { 500 };
    Shape {
        latency: Duration::from_micros(micros),
        nanos_per_byte: *pick(random, &[0, 1, 80, 1000]),
        capacity: *pick(random, &[narrowest, 20_000, 300_000]),
        cuts: *pick(random, &[1, 3, 10]),
        lost_percent: 0,
    }
}

/// When each end sees a loss; `None` when only silence tells it.
fn seen(random: &mut fastrand::Rng) -> [Option<Duration>; 2] {
    let mut one = || match random.u32(..4) {
        0 => Some(Duration::ZERO),
        1 => Some(Duration::from_micros(random.u64(..2000))),
        2 => Some(Duration::from_millis(random.u64(..500))),
        _ => None,
    };
    [one(), one()]
}

/// One of several.
pub(super) fn pick<'a, T>(random: &mut fastrand::Rng, among: &'a [T]) -> &'a T {
    &among[random.usize(..among.len())]
}

/// After everything became well the last byte arrives within this: a carrier found dead (3 s), an open that waits
/// for its deadline (10 s), a session given up (20 s), and the slowest line (1 MB/s, 160 ms) emptied several times.
const PATIENCE: Duration = Duration::from_secs(60);

/// 20 streams of 250 kB each way at the guaranteed window, which is 8 kB/s over two seconds.
const SATELLITE_PATIENCE: Duration = Duration::from_secs(600);
