//! What happens to carriers at a planned time: cuts, black-outs, and replacements of every kind.

use std::fmt;
use std::time::Duration;

use crate::id::CarrierNumber;
use crate::sim::faults::{Fault, Seen, Sight, name};

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// Dialing fails for so long.
    Blackout(Duration),
    /// No line carries anything for so long, and dialing fails.
    Partition(Duration),
    /// All connections are gone.
    CutAll { seen: Seen, lose: bool },
    /// The youngest or the oldest connection is gone.
    CutOne { youngest: bool, seen: Seen, lose: bool },
    /// An end closes every carrier at once: what they were made with is no longer trusted.
    Revoke { end: usize },
    /// An end closes its oldest carrier at once.
    Close { end: usize },
    /// The dialer makes a carrier that takes the place of the oldest one.
    Replace(Errand),
    /// An end retires its oldest carrier, with or without another to go to.
    Retire { end: usize },
    /// An end retires all its carriers.
    RetireAll { end: usize },
    /// The acceptor asks for another in the place of its oldest carrier, and cuts that one after a while.
    Request { cut_after: Duration },
    /// Breaks no law of a session: fails if all connections have been cut, to see what is made of a failure.
    Complain,
}

/// What a carrier is dialed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    /// Which end has the old one go.
    pub(super) end: usize,
    /// How it goes.
    pub(super) manner: Manner,
    /// What befalls the new one.
    pub(super) fault: Option<Fault>,
}

/// How an old carrier goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Closed at once.
    Close,
    /// Retired.
    Retire,
    /// That one is retired, as was asked for.
    RetireThat(CarrierNumber),
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost =
            |lose: bool| if lose { "what is on the way is lost" } else { "what is on the way arrives" };
        match *self {
            Self::Blackout(length) => write!(f, "dialing fails for {length:?}"),
            Self::Partition(length) => write!(f, "no line carries anything for {length:?}"),
            Self::CutAll { seen, lose } => write!(f, "all carriers are cut, {}, {}", lost(lose), Sight(seen)),
            Self::CutOne { youngest, seen, lose } => {
                let which = if youngest { "youngest" } else { "oldest" };
                write!(f, "the {which} carrier is cut, {}, {}", lost(lose), Sight(seen))
            }
            Self::Revoke { end } => write!(f, "{} closes all its carriers", name(end)),
            Self::Close { end } => write!(f, "{} closes its oldest carrier", name(end)),
            Self::Replace(Errand { end, manner, fault }) => {
                let how = if manner == Manner::Close { "closes" } else { "retires" };
                write!(f, "a carrier is dialed, for which {} {how} its oldest one", name(end))?;
                fault.map_or(Ok(()), |fault| write!(f, "; the new one {fault}"))
            }
            Self::Retire { end } => write!(f, "{} retires its oldest carrier", name(end)),
            Self::RetireAll { end } => write!(f, "{} retires all its carriers", name(end)),
            Self::Complain => write!(f, "fails if all were cut before"),
            Self::Request { cut_after } => write!(
                f,
                "the acceptor asks for another in the place of its oldest carrier, and cuts that after {cut_after:?}"
            ),
        }
    }
}
