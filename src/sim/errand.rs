//! What the world does to its carriers at a planned time: cuts, black-outs, and replacements of every kind.

use std::fmt;
use std::time::Duration;

use crate::error::CarrierEnd;
use crate::id::CarrierNumber;
use crate::sim::faults::{Fault, Seen, Sight, name};
use crate::sim::wire::Stage;
use crate::sim::world::{Dial, Happening, World};
use crate::wire::code::CloseCode;

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

impl World {
    /// Does what was planned.
    pub(super) fn strike(&mut self, blow: Blow) -> Result<(), String> {
        self.script.tell(self.now, &blow);
        match blow {
            Blow::Blackout(length) => self.darken(self.now + length),
            Blow::Partition(length) => {
                let until = self.now + length;
                self.darken(until);
                self.wires.iter_mut().flat_map(|wire| &mut wire.pipes).for_each(|pipe| pipe.stall(until));
            }
            Blow::CutAll { seen, lose } => {
                self.all_cut += 1;
                self.wires.iter_mut().for_each(|wire| wire.sever(self.now, seen, lose));
            }
            Blow::CutOne { youngest, seen, lose } => {
                let place = if youngest { self.wires.len().checked_sub(1) } else { Some(0) };
                if let Some(wire) = place.and_then(|place| self.wires.get_mut(place)) {
                    wire.sever(self.now, seen, lose);
                }
            }
            Blow::Revoke { end } => {
                for number in self.carriers_up(end) {
                    self.close(end, number, CloseCode::REVOKED)?;
                }
            }
            Blow::Close { end } => {
                if let Some(number) = self.carriers_up(end).first() {
                    self.close(end, *number, CloseCode::NORMAL)?;
                }
            }
            Blow::Replace(errand) => self.send_on(self.now, errand),
            Blow::Retire { end } => {
                if let Some(number) = self.carriers_up(end).first() {
                    self.retire(end, *number)?;
                }
            }
            Blow::RetireAll { end } => {
                for number in self.carriers_up(end) {
                    self.retire(end, number)?;
                }
            }
            Blow::Request { cut_after } => self.request(cut_after)?,
            Blow::Complain if self.all_cut > 0 => return Err("planted: all were cut".to_owned()),
            Blow::Complain => {}
        }
        Ok(())
    }

    /// A carrier came up that was dialed for something.
    pub(super) fn run_errand(&mut self, new: CarrierNumber, errand: Errand) -> Result<(), String> {
        let others = self.carriers_up(errand.end).into_iter().filter(|number| *number != new);
        match errand.manner {
            Manner::Close => {
                others.min().map_or(Ok(()), |old| self.close(errand.end, old, CloseCode::NORMAL))
            }
            Manner::Retire => others.min().map_or(Ok(()), |old| self.retire(errand.end, old)),
            Manner::RetireThat(old) => self.retire(errand.end, old),
        }
    }

    /// The carrier that was to take a place did not come up: the old one stays in force, and another is tried.
    pub(super) fn retry_errand(&mut self, errand: Errand) {
        if errand.manner != Manner::Close && self.end_of(0).is_none() {
            self.send_on(self.now + RETRY, Errand { fault: None, ..errand });
        }
    }

    /// The acceptor asked for another carrier in the place of that one.
    pub(super) fn was_asked(&mut self, number: CarrierNumber) {
        let errand = Errand { end: 0, manner: Manner::RetireThat(number), fault: None };
        self.send_on(self.now, errand);
    }

    /// The acceptor's patience with a carrier is over.
    pub(super) fn cut_off(&mut self, number: CarrierNumber) -> Result<(), String> {
        self.close(1, number, CloseCode::EXPIRED)
    }

    fn request(&mut self, cut_after: Duration) -> Result<(), String> {
        let Some(number) = self.carriers_up(1).first().copied() else { return Ok(()) };
        self.script.note(self.now, "request", [number.0.into(), 0, 0]);
        self.act(1, |session| session.request_carrier(number, CloseCode::EXPIRED, cut_after))?;
        self.enter(self.now + cut_after, Happening::CutOff(number));
        Ok(())
    }

    fn retire(&mut self, end: usize, number: CarrierNumber) -> Result<(), String> {
        let now = self.instant();
        self.script.note(self.now, "retire", [number.0.into(), end as u64, 0]);
        if end == 1 {
            // Without another it goes on being used, and only the dialer makes another.
            self.act(1, |session| session.request_carrier(number, CloseCode::REPLACED, NOT_IN_TIME))?;
        }
        self.act(end, |session| session.retire_carrier(now, number, CloseCode::REPLACED)).map(|_| ())
    }

    fn close(&mut self, end: usize, number: CarrierNumber, code: CloseCode) -> Result<(), String> {
        let now = self.instant();
        self.script.note(self.now, "close", [number.0.into(), end as u64, code.0.into()]);
        self.act(end, |session| session.close_carrier(now, number, code)).map(|_| ())
    }

    fn send_on(&mut self, at: Duration, errand: Errand) {
        self.dials_due += 1;
        self.enter(at, Happening::Dial(Dial { errand: Some(errand) }));
    }

    fn darken(&mut self, until: Duration) {
        self.dark_until = self.dark_until.max(until);
    }

    /// The carriers that are up at an end, oldest first.
    fn carriers_up(&self, end: usize) -> Vec<CarrierNumber> {
        let up = self.wires.iter().filter(|wire| wire.drivers[end].stage == Stage::Up);
        let mut up: Vec<_> = up.map(|wire| wire.number).collect();
        up.sort_unstable();
        up
    }
}

/// Whether a carrier that ended so was left in good order: everything it held had arrived.
pub(super) fn is_planned(end: &CarrierEnd) -> bool {
    matches!(end, CarrierEnd::Closed(code) | CarrierEnd::PeerClosed(code) if *code == CloseCode::REPLACED)
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

/// Longer than any world lasts.
const NOT_IN_TIME: Duration = Duration::from_secs(3600);

/// How long a dialer waits before it tries again to replace a carrier.
const RETRY: Duration = Duration::from_millis(30);
