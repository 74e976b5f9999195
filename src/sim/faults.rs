//! What can befall one carrier, and what becomes of the session.

use std::fmt;
use std::time::Duration;

/// What happens to one carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// After so many bytes of one direction the connection is gone.
    Cut { way: usize, after: u64, seen: Seen, lose: bool },
    /// After so many bytes of one direction that direction is dead; the other one works.
    HalfOpen { way: usize, after: u64, seen: Seen },
    /// One direction delivers nothing for a while.
    Stall { way: usize, from: Duration, length: Duration },
    /// For a while everything takes longer, both ways.
    Drag { from: Duration, length: Duration, extra: Duration },
    /// After a while the connection is gone.
    End { from: Duration, seen: Seen, lose: bool },
}

/// By end, how long after a loss it is seen there; `None` when only silence tells it.
pub(super) type Seen = [Option<Duration>; 2];

/// What becomes of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It survives everything.
    Survives,
    /// That end's router is started anew at that time: the session is forgotten there. Without a word when its host
    /// died with it.
    Restarted { end: usize, at: Duration, silently: bool },
    /// That end closes it at that time.
    Closed { end: usize, at: Duration },
    /// No carrier comes up from that time on for longer than the resume window; those that are up are dead from then
    /// on, too, if so wished.
    Cut { at: Duration, all: bool },
}

impl Fate {
    /// When it comes.
    pub(super) fn at(self) -> Option<Duration> {
        match self {
            Self::Survives => None,
            Self::Restarted { at, .. } | Self::Closed { at, .. } | Self::Cut { at, .. } => Some(at),
        }
    }
}

impl Fault {
    /// What befalls a carrier; the first `scale` bytes are where it may happen.
    pub(super) fn any(scale: u64, random: &mut fastrand::Rng) -> Self {
        let (way, from) = (random.usize(..2), Duration::from_micros(random.u64(..1_000_000)));
        // Small counts as often as large ones: the first bytes are where hellos are.
        let after = random.u64(..scale).min(random.u64(..scale));
        let lose = random.bool();
        match random.u32(..12) {
            0 | 1 => Self::HalfOpen { way, after, seen: seen(random) },
            2 => Self::Stall { way, from, length: Duration::from_millis(random.u64(1..2500)) },
            3 => Self::End { from, seen: seen(random), lose },
            4 => Self::Drag {
                from,
                length: Duration::from_millis(random.u64(1..1000)),
                extra: Duration::from_millis(random.u64(1..600)),
            },
            // Admitted, and the answer is lost.
            5 => Self::HalfOpen { way: 1, after: random.u64(..80), seen: seen(random) },
            6 => Self::Cut { way: 1, after: random.u64(..80), seen: seen(random), lose },
            _ => Self::Cut { way, after, seen: seen(random), lose },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost =
            |lose: bool| if lose { "what is on the way is lost" } else { "what is on the way arrives" };
        match *self {
            Self::None => write!(f, "meets nothing"),
            Self::Cut { way, after, seen, lose } => {
                write!(f, "is cut after {after} bytes from {}, {}, {}", name(way), lost(lose), Sight(seen))
            }
            Self::HalfOpen { way, after, seen } => {
                write!(f, "carries nothing more from {} after {after} bytes, {}", name(way), Sight(seen))
            }
            Self::Stall { way, from, length } => {
                write!(f, "delivers nothing from {} for {length:?}, {from:?} after its birth", name(way))
            }
            Self::Drag { from, length, extra } => {
                write!(f, "takes {extra:?} longer for {length:?}, {from:?} after its birth")
            }
            Self::End { from, seen, lose } => {
                write!(f, "is cut {from:?} after its birth, {}, {}", lost(lose), Sight(seen))
            }
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Survives => write!(f, "the session survives"),
            Self::Restarted { end, at, silently } => {
                let how = if silently { "without a word" } else { "and its connections end" };
                write!(f, "at {at:?} the router of {} is started anew, {how}", name(end))
            }
            Self::Closed { end, at } => write!(f, "at {at:?} {} closes the session", name(end)),
            Self::Cut { at, all } => {
                let whom = if all { "every line is dead for good" } else { "no dial succeeds any more" };
                write!(f, "at {at:?} {whom}")
            }
        }
    }
}

/// Who sees a loss, in words.
pub(super) struct Sight(pub(super) Seen);

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (end, after) in self.0.iter().enumerate() {
            let comma = if end == 0 { "" } else { ", " };
            match after {
                Some(after) => write!(f, "{comma}{} sees it after {after:?}", name(end))?,
                None => write!(f, "{comma}{} never sees it", name(end))?,
            }
        }
        Ok(())
    }
}

/// An end, in words.
pub(super) fn name(end: usize) -> &'static str {
    if end == 0 { "the dialer" } else { "the acceptor" }
}

/// When each end sees a loss.
pub(super) fn seen(random: &mut fastrand::Rng) -> Seen {
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
