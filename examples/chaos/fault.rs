//! What is done to the link, and in which order.

use std::fmt;
use std::time::Duration;

/// A kind of fault; `Control` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Nothing is done: what the machine itself makes of it.
    Control,
    /// A new bundle for either end, and nothing else.
    Rotation,
    /// One connection of the link is reset.
    CutReset,
    /// One is ended by FIN both ways.
    CutFinish,
    /// All are cut at once.
    CutAll,
    /// One is cut, and those that come in its place are cut within their handshakes, up to three of them.
    CutHandshake,
    /// One or all stand still so shortly that nobody need suspect them.
    Stall,
    /// One stands still for longer, and then goes on as if nothing had been.
    LongStall,
    /// What one is given vanishes, both ways.
    BlackHole,
    /// What the dialer sends on one vanishes.
    HalfOpenUp,
    /// What the acceptor sends on one vanishes.
    HalfOpenDown,
    /// One or all get slow, in small odd pieces.
    Slow,
    /// All are cut, and new ones refused, for seconds.
    Refused,
    /// All stand still, and new ones too, for seconds.
    Silent,
}

/// A line of the table: a kind, and whether a carrier was left that had no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) left: bool,
}

/// One fault that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Card {
    pub(crate) kind: Kind,
    /// How long it lasts, where that is ours to say.
    pub(crate) lasts: Duration,
    /// Whether it is one connection's, or all have it.
    pub(crate) all: bool,
    /// A bundle is swapped as it begins.
    pub(crate) rotates: bool,
    /// Bytes after which a handshake is cut.
    pub(crate) after: u64,
    /// Handshakes that are cut.
    pub(crate) times: usize,
}

/// The faults to come, in an order that the seed decides. A deck holds each kind as often as [`DECK`] says.
pub(crate) struct Deck {
    random: fastrand::Rng,
    cards: Vec<Kind>,
    begun: bool,
    /// Each kind once, and shorter.
    smoke: bool,
}

impl Deck {
    pub(crate) fn new(seed: u64, smoke: bool) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), cards: Vec::new(), begun: false, smoke }
    }

    /// The next one; a smoke run has but one deck.
    pub(crate) fn draw(&mut self) -> Option<Card> {
        if self.cards.is_empty() && !(self.smoke && self.begun) {
            self.begun = true;
            let each = |&(kind, count)| std::iter::repeat_n(kind, if self.smoke { 1 } else { count });
            self.cards = DECK.iter().flat_map(each).collect();
            self.random.shuffle(&mut self.cards);
        }
        let kind = self.cards.pop()?;
        let random = &mut self.random;
        let (least, most) = match kind {
            Kind::Control => (300, 900),
            Kind::Stall => (50, 200),
            Kind::LongStall if self.smoke => (500, 501),
            Kind::LongStall => (500, 2500),
            Kind::Slow => (200, 600),
            Kind::Refused | Kind::Silent if self.smoke => (400, 401),
            Kind::Refused | Kind::Silent => (1500, 4000),
            _ => (0, 1),
        };
        let lasts = Duration::from_millis(random.u64(least..most));
        let rotates = match kind {
            Kind::Control => false,
            Kind::Rotation => true,
            _ => random.u32(0..ROTATES_ONE_IN) == 0,
        };
        let (all, after, times) = (random.bool(), random.u64(0..HANDSHAKE), random.usize(1..=3));
        Some(Card { kind, lasts, all, rotates, after, times })
    }

    /// A bit that the seed decides.
    pub(crate) fn coin(&mut self) -> bool {
        self.random.bool()
    }

    /// A choice that the seed decides.
    pub(crate) fn pick(&mut self, of: usize) -> usize {
        self.random.usize(..of.max(1))
    }

    /// The quiet after a fault is over.
    pub(crate) fn quiet(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(20..100))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Control => "control: no fault",
            Self::Rotation => "rotation",
            Self::CutReset => "cut, RST",
            Self::CutFinish => "cut, FIN",
            Self::CutAll => "all cut at once",
            Self::CutHandshake => "cut, also in handshakes",
            Self::Stall => "stall, short",
            Self::LongStall => "stall, long",
            Self::BlackHole => "black hole, both ways",
            Self::HalfOpenUp => "black hole, upwards",
            Self::HalfOpenDown => "black hole, downwards",
            Self::Slow => "slow, odd pieces",
            Self::Refused => "network gone, refusing",
            Self::Silent => "network gone, silent",
        })
    }
}

/// Half a minute's worth on a quiet machine.
const DECK: [(Kind, usize); 14] = [
    // As often as a rotation, with which it is compared.
    (Kind::Control, 10),
    (Kind::Rotation, 10),
    (Kind::CutReset, 14),
    (Kind::CutFinish, 8),
    (Kind::CutAll, 5),
    (Kind::CutHandshake, 4),
    (Kind::Stall, 5),
    (Kind::LongStall, 1),
    (Kind::BlackHole, 5),
    (Kind::HalfOpenUp, 2),
    (Kind::HalfOpenDown, 2),
    (Kind::Slow, 4),
    (Kind::Refused, 1),
    (Kind::Silent, 1),
];

/// One in so many faults comes together with a rotation.
const ROTATES_ONE_IN: u32 = 8;

/// A little more than a handshake and a hello, both ways.
const HANDSHAKE: u64 = 5000;
