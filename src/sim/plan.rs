//! What a seed decides of a world, as a script: items that each can be left out, so that a failing world can be shrunk.

use std::fmt;
use std::time::Duration;

use crate::config::{Liveness, SessionLimits};
use crate::sim::blow::{Blow, Errand, Manner};
use crate::sim::faults::{Fate, Fault, name, pick, seen};
use crate::sim::flow::{Ending, Habit, Reader};
use crate::sim::pipe::Shape;
use crate::wire::MIN_WINDOW;
use crate::wire::code::StreamCode;

/// The plan of a run: what is fixed, and the script.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Every random choice that is made while it runs derives from it.
    pub(super) seed: u64,
    /// What happens, beside the plainest world there is: one carrier over a perfect line, and nothing to carry.
    pub(super) script: Vec<Item>,
    /// The longest wait before dialing again, at first.
    pub(super) dial_delay: Duration,
    /// And after any number of failures.
    pub(super) longest_delay: Duration,
    /// When everything becomes well.
    pub(super) heals_at: Duration,
    /// How long after that everything may take to come to rest.
    pub(super) patience: Duration,
    /// Windows and bounds.
    pub(super) limits: SessionLimits,
    /// Signs of life.
    pub(super) liveness: Liveness,
    /// How long an open may wait.
    pub(super) accept_deadline: Duration,
    /// How long a dialer waits for the answer to its hello.
    pub(super) hello_deadline: Duration,
    /// Whether a suspect carrier is always replaced, or as it comes.
    pub(super) calm: bool,
}

/// One item of a script.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// What the lines are like.
    Line(Shape),
    /// One more carrier is wanted.
    Carrier,
    /// Both ends serve keys, withdraw them and change their costs all the time.
    Talk,
    /// A stream is opened.
    Stream(StreamPlan),
    /// What befalls the carrier that is dialed as the `nth`.
    Meets { nth: usize, fault: Fault },
    /// The dialer waits no longer than that for the answer on the carrier that it dials as the `nth`.
    Impatient { nth: usize, patience: Duration },
    /// Something happens at a time.
    At(Duration, Blow),
    /// What becomes of the session.
    Fate(Fate),
}

/// A stream as it is planned.
#[derive(Clone, Debug)]
pub(super) struct StreamPlan {
    /// Which end opens it.
    pub(super) opener: usize,
    /// The key it is for, or the site.
    pub(super) key: Option<&'static str>,
    /// How long its metadata is.
    pub(super) metadata: usize,
    /// How much goes with the open.
    pub(super) initial: u64,
    /// What each end does.
    pub(super) habits: [Habit; 2],
}

impl Plan {
    /// What the seed decides.
    pub(super) fn new(seed: u64) -> Self {
        let random = &mut fastrand::Rng::with_seed(seed);
        let horizon = Duration::from_millis(random.u64(50..4000));
        let limits = SessionLimits {
            max_streams: *pick(random, &[2, 8, 64]),
            pool: *pick(random, &[0, 50_000, 1 << 20]),
            max_window: *pick(random, &[16_384, 65_536, 1 << 20]),
            unaccepted: *pick(random, &[1, 3, 100]),
            send_buffer: *pick(random, &[16_384, 100_000]),
            resume_window: Duration::from_secs(20),
            ..SessionLimits::default()
        };
        let mut plan = Self {
            seed,
            script: vec![Item::Line(shape(random)), Item::Talk],
            dial_delay: Duration::from_millis(*pick(random, &[1, 20, 100])),
            longest_delay: LONGEST_DELAY,
            heals_at: horizon,
            patience: PATIENCE,
            limits,
            liveness: Liveness { dead: Duration::from_secs(3), ..Liveness::default() },
            accept_deadline: Duration::from_millis(*pick(random, &[100, 10_000])),
            hello_deadline: Duration::from_secs(2),
            calm: false,
        };
        plan.want_carriers(random);
        plan.write_streams(random);
        if random.u32(..6) == 0 {
            // Only what is meant to happen does: nothing may be sent twice.
            plan.write_moves(*pick(random, &[3, 10, 30]), horizon, false, random);
            return plan;
        }
        if random.u32(..40) == 0 {
            plan.write_storm(random);
            return plan;
        }
        plan.write_faults(random);
        plan.write_weather(horizon, random);
        plan.write_moves(*pick(random, &[0, 0, 1, 5]), horizon, true, random);
        if let Some(fate) = fate(horizon, random) {
            plan.script.push(Item::Fate(fate));
        }
        plan
    }

    /// A minute over a line that takes `latency` each way and loses so many segments of a hundred, with the settings
    /// every plane has.
    pub(super) fn satellite(seed: u64, latency: Duration, lost_percent: u32) -> Self {
        let random = &mut fastrand::Rng::with_seed(seed);
        let nanos_per_byte = *pick(random, &[80, 800, 8000]);
        let line = Shape { latency, nanos_per_byte, capacity: 4 << 20, cuts: 3, lost_percent };
        let mut plan = Self {
            script: vec![Item::Line(line), Item::Talk],
            dial_delay: Duration::from_millis(100),
            heals_at: Duration::from_secs(60),
            patience: SATELLITE_PATIENCE,
            // The world's sessions begin before their first carrier, whose hello may be lost four times running: 30 s. A fleet begins
            // them with it.
            limits: SessionLimits { resume_window: Duration::from_secs(60), ..SessionLimits::default() },
            liveness: Liveness::default(),
            accept_deadline: Duration::from_secs(30),
            hello_deadline: Duration::from_secs(30),
            calm: true,
            ..Self::new(seed)
        };
        plan.write_streams(random);
        plan
    }

    /// Keeps only those items, by their place in the whole script; what is kept keeps its order.
    pub(super) fn keep(&mut self, kept: &[usize]) {
        let mut place = 0..;
        self.script.retain(|_| place.next().is_some_and(|place| kept.contains(&place)));
    }

    /// No direction of a stream is longer than that.
    pub(super) fn shorten(&mut self, longest: u64) {
        for item in &mut self.script {
            let Item::Stream(stream) = item else { continue };
            for habit in &mut stream.habits {
                habit.goal = habit.goal.min(longest);
            }
            stream.initial = stream.initial.min(stream.habits[stream.opener].goal);
        }
    }

    /// The longest direction of all streams.
    pub(super) fn longest(&self) -> u64 {
        let goals = self.script.iter().map(|item| match item {
            Item::Stream(stream) => stream.habits[0].goal.max(stream.habits[1].goal),
            _ => 0,
        });
        goals.max().unwrap_or(0)
    }

    /// What becomes of the session.
    pub(super) fn fate(&self) -> Fate {
        let fate = self.script.iter().find_map(|item| match item {
            Item::Fate(fate) => Some(*fate),
            _ => None,
        });
        fate.unwrap_or(Fate::Survives)
    }

    fn want_carriers(&mut self, random: &mut fastrand::Rng) {
        let more = *pick(random, &[0, 0, 1, 1, 2, 3]);
        self.script.extend((0..more).map(|_| Item::Carrier));
    }

    fn write_streams(&mut self, random: &mut fastrand::Rng) {
        let longest = *pick(random, &[100, 5000, 60_000, 250_000]);
        for _ in 0..random.usize(1..20) {
            let opener = random.usize(..2);
            let habits = [habit(longest, random), habit(longest, random)];
            let initial = if random.bool() { random.u64(1..=MIN_WINDOW).min(habits[opener].goal) } else { 0 };
            let key = (random.u32(..3) == 0).then(|| *pick(random, KEYS));
            let metadata = random.usize(..300);
            self.script.push(Item::Stream(StreamPlan { opener, key, metadata, initial, habits }));
        }
    }

    fn write_faults(&mut self, random: &mut fastrand::Rng) {
        let percent = *pick(random, &[0, 50, 90, 100]);
        let scale = *pick(random, &[300, 3000, 60_000, 400_000]);
        for nth in 0..MOST_FAULTS {
            if random.u32(..100) < percent {
                self.script.push(Item::Meets { nth, fault: Fault::any(scale, random) });
            }
            if random.u32(..10) == 0 {
                let patience = Duration::from_millis(random.u64(1..200));
                self.script.push(Item::Impatient { nth, patience });
            }
        }
    }

    /// The session is without a carrier, and more joins in a row fail than can be told of: half of them before they were
    /// admitted, half after. So many may be admitted without an answer; of 65 the acceptor would give up.
    fn write_storm(&mut self, random: &mut fastrand::Rng) {
        // With another carrier up, or over a long line, they would be told of in time, or by far too late.
        self.script.retain(|item| !matches!(item, Item::Carrier | Item::Line(_)));
        self.longest_delay = Duration::from_millis(random.u64(1..20));
        self.heals_at = Duration::from_secs(4);
        let from = Duration::from_micros(random.u64(..1_000_000));
        let none = [None, None];
        for nth in 0..MOST_FAULTS {
            let fault = match nth {
                0 => Fault::End { from, seen: seen(random), lose: random.bool() },
                _ if nth < 80 && random.bool() => {
                    Fault::HalfOpen { way: 1, after: random.u64(..60), seen: none }
                }
                _ => Fault::Cut { way: 0, after: random.u64(..60), seen: none, lose: true },
            };
            self.script.push(Item::Meets { nth, fault });
            let patience = Duration::from_micros(random.u64(1..10_000));
            self.script.extend((nth > 0).then_some(Item::Impatient { nth, patience }));
        }
    }

    /// What befalls all lines at once.
    fn write_weather(&mut self, horizon: Duration, random: &mut fastrand::Rng) {
        for _ in 0..*pick(random, &[0, 0, 0, 1, 2]) {
            let at = horizon.mul_f64(random.f64());
            let length = Duration::from_millis(random.u64(..1000));
            self.script.push(Item::At(at, Blow::Blackout(length)));
        }
        if random.u32(..8) == 0 {
            let longest = *pick(random, &[300, 2000, 10_000]);
            let length = Duration::from_millis(random.u64(1..longest));
            let at = horizon.mul_f64(random.f64());
            self.heals_at = self.heals_at.max(at + length);
            self.script.push(Item::At(at, Blow::Partition(length)));
        }
        for _ in 0..*pick(random, &[0, 0, 1, 2]) {
            let blow = match random.u32(..3) {
                0 => Blow::CutAll { seen: seen(random), lose: random.bool() },
                1 => Blow::Revoke { end: random.usize(..2) },
                _ => Blow::Close { end: random.usize(..2) },
            };
            self.script.push(Item::At(horizon.mul_f64(random.f64()), blow));
        }
    }

    /// Carriers are replaced; `rough` says whether things may go wrong in the middle of it.
    fn write_moves(&mut self, most: usize, horizon: Duration, rough: bool, random: &mut fastrand::Rng) {
        for _ in 0..random.usize(..=most) {
            let at = horizon.mul_f64(random.f64());
            let end = random.usize(..2);
            let blow = match random.u32(..if rough { 10 } else { 8 }) {
                0 | 1 => Blow::Retire { end },
                2 if rough || random.u32(..10) == 0 => Blow::RetireAll { end },
                2 | 3 => {
                    let millis = if rough { random.u64(1..3000) } else { NEVER_MILLIS };
                    Blow::Request { cut_after: Duration::from_millis(millis) }
                }
                4..=7 => Blow::Replace(Errand { end, manner: Manner::Retire, fault: None }),
                _ => Blow::Replace(Errand { end, manner: Manner::Close, fault: None }),
            };
            if rough && random.bool() {
                self.script.push(Item::At(at, mishap(blow, random)));
                let just_before = Duration::from_micros(random.u64(..20_000));
                let cut = Blow::CutOne { youngest: random.bool(), seen: seen(random), lose: random.bool() };
                self.script.push(Item::At(at.saturating_sub(just_before), cut));
            } else {
                self.script.push(Item::At(at, blow));
            }
        }
    }
}

/// A move whose new carrier dies at any byte, if it is one that dials for itself.
fn mishap(blow: Blow, random: &mut fastrand::Rng) -> Blow {
    match blow {
        Blow::Replace(errand) => {
            let scale = *pick(random, &[100, 500, 30_000]);
            Blow::Replace(Errand { fault: Some(Fault::any(scale, random)), ..errand })
        }
        other => other,
    }
}

fn fate(horizon: Duration, random: &mut fastrand::Rng) -> Option<Fate> {
    let at = horizon.mul_f64(random.f64());
    let end = random.usize(..2);
    match random.u32(..12) {
        0 | 1 => Some(Fate::Restarted { end, at, silently: random.bool() }),
        2 => Some(Fate::Closed { end, at }),
        3 => Some(Fate::Cut { at, all: random.bool() }),
        _ => None,
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
        cuts: *pick(random, &[1, 1, 1, 3, 3, 3, 10, 10, 100]),
        lost_percent: 0,
    }
}

fn habit(longest: u64, random: &mut fastrand::Rng) -> Habit {
    let refusal = (random.u32(..6) == 0).then(|| StreamCode::application(9));
    let stops_at = random.u64(..=longest);
    let endings =
        [Ending::Finish, Ending::Finish, Ending::Finish, Ending::Reset, Ending::Release, Ending::Linger];
    let readers =
        [Reader::Quick, Reader::Quick, Reader::Quick, Reader::Slow, Reader::Stalled, Reader::Until(stops_at)];
    Habit {
        goal: if random.u32(..4) == 0 { 0 } else { random.u64(..=longest) },
        ending: *pick(random, &endings),
        reader: *pick(random, &readers),
        decides: (*pick(random, &[0, 0, 0, 3, 100]), refusal),
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(shape) => write!(f, "{shape}"),
            Self::Carrier => write!(f, "the dialer wants one more carrier"),
            Self::Talk => write!(f, "both ends change keys and costs"),
            Self::Stream(stream) => write!(f, "{stream}"),
            Self::Meets { nth, fault } => write!(f, "dial {nth}: the carrier {fault}"),
            Self::Impatient { nth, patience } => {
                write!(f, "dial {nth}: the dialer waits {patience:?} for the answer, not longer")
            }
            Self::At(at, blow) => write!(f, "at {at:?} {blow}"),
            Self::Fate(fate) => write!(f, "{fate}"),
        }
    }
}

impl fmt::Display for StreamPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.key.map_or_else(|| "the site".to_owned(), |key| format!("key {key}"));
        write!(f, "{} opens a stream to {to} with {} bytes at once", name(self.opener), self.initial)?;
        for (end, habit) in self.habits.iter().enumerate() {
            write!(f, "; {} writes {}, then {:?}", name(end), habit.goal, habit.ending)?;
            write!(f, ", reads {:?}", habit.reader)?;
            if end != self.opener {
                let (turns, refusal) = habit.decides;
                let verdict = if refusal.is_some() { "refuses" } else { "accepts" };
                write!(f, ", {verdict} after {turns} turns")?;
            }
        }
        Ok(())
    }
}

/// What the ends serve.
pub(super) const KEYS: &[&str] = &["a", "b", "c", "d"];

/// After everything became well the last byte arrives within this: a carrier found dead (3 s), an open that waits
/// for its deadline (10 s), a session given up (20 s), and the slowest line (1 MB/s, 160 ms) emptied several times.
const PATIENCE: Duration = Duration::from_secs(60);

/// 20 streams of 250 kB each way at the guaranteed window, which is 8 kB/s over two seconds.
const SATELLITE_PATIENCE: Duration = Duration::from_secs(600);

/// The longest wait between two dials: a fifth of the usual one, since worlds are short.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Carriers beyond so many meet nothing: more than twice as many as may be unsettled at once.
const MOST_FAULTS: usize = 150;

/// An hour: no world lasts so long.
const NEVER_MILLIS: u64 = 3_600_000;
