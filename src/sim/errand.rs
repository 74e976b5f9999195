//! The world does to its carriers what was planned for a time.

use std::time::Duration;

use crate::error::CarrierEnd;
use crate::id::CarrierNumber;
use crate::sim::agenda::{Dial, Happening};
use crate::sim::blow::{Blow, Errand, Manner};
use crate::sim::wire::Stage;
use crate::sim::world::World;
use crate::wire::code::CloseCode;

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

/// Longer than any world lasts.
const NOT_IN_TIME: Duration = Duration::from_secs(3600);

/// How long a dialer waits before it tries again to replace a carrier.
const RETRY: Duration = Duration::from_millis(30);
