//! The dialer's wish for carriers, and the hellos at both ends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::error::{CarrierEnd, SessionEnd};
use crate::id::{
    CarrierNumber, Cost, GroupName, Instance, LinkName, LinkRole, Ordinal, RouterName, SessionId, SiteId,
    SiteName,
};
use crate::sim::agenda::{Dial, Happening};
use crate::sim::faults::Fault;
use crate::sim::wire::{Stage, Wire};
use crate::sim::world::World;
use crate::wire::MIN_WINDOW;
use crate::wire::code::CloseCode;
use crate::wire::decoder::Decoded;
use crate::wire::frame::{CloseScope, Frame};
use crate::wire::hello::{DeadCarrier, Hello, SessionClaim};

impl World {
    /// Plans dials until there are, or will be, as many carriers as wanted.
    pub(super) fn want_carriers(&mut self) {
        let Some(session) = &self.ends[0].session else { return };
        if session.ended().is_some() {
            return;
        }
        let lasts = |wire: &&Wire| match wire.drivers[0].stage {
            Stage::Greeting => true,
            Stage::Up => !session.is_retiring(wire.number),
            _ => false,
        };
        let there = self.wires.iter().filter(lasts).count();
        for _ in there + self.dials_due..self.wanted {
            let longest =
                (self.plan.dial_delay * 2_u32.pow(self.failures.min(10))).min(self.plan.longest_delay);
            let wait = longest.mul_f64(self.random.f64());
            self.dials_due += 1;
            self.enter(self.now + wait, Happening::Dial(Dial { errand: None }));
        }
    }

    /// Dials: the joining hello is on its way.
    pub(super) fn dial(&mut self, dial: Dial) -> Result<(), String> {
        self.dials_due -= 1;
        if self.end_of(0).is_some() {
            return Ok(());
        }
        if self.is_dark() {
            // Connecting takes its time to fail.
            self.dials_due += 1;
            self.enter(self.now + Duration::from_millis(100), Happening::Dial(dial));
            return Ok(());
        }
        let Some((number, dead)) = self.act(0, |session| session.prepare_join())? else { return Ok(()) };
        self.script.note(self.now, "dial", [number.0.into(), dead.len() as u64, 0]);
        let (nth, well) = (number.0 as usize, self.now >= self.plan.heals_at);
        let meets = dial.errand.and_then(|errand| errand.fault).or_else(|| self.faults.get(nth).copied());
        let fault = meets.filter(|_| !well).unwrap_or(Fault::None);
        self.script.tell(self.now, &(fault, &dead));
        let claim = SessionClaim::Join { session: SESSION, proof: [0; 32] };
        let hello = encode(&hello(number, claim, dead));
        let mut wire = Wire::new(self.now, number, self.shape, fault, hello, self.plan.seed);
        wire.errand = dial.errand;
        // Some attempts are given up early, as when a faster one won: the answer then comes late.
        let patience = self.impatience.get(nth).copied().flatten().unwrap_or(self.plan.hello_deadline);
        wire.drivers[0].deadline = Some(self.now + patience);
        wire.drivers[1].deadline = Some(self.now + self.plan.hello_deadline);
        self.wires.push(wire);
        Ok(())
    }

    /// The attempt came to nothing.
    pub(super) fn fail_join(&mut self, index: usize) -> Result<(), String> {
        let (number, now) = (self.wires[index].number, self.instant());
        self.failures += 1;
        self.script.note(self.now, "join fails", [number.0.into(), 0, 0]);
        self.act(0, |session| session.handle_join_failed(now, number))?;
        if self.random.bool() && self.wires[index].drivers[0].outbox.is_empty() {
            // It says so; whether it was admitted it does not know.
            let code = CloseCode::NORMAL;
            self.wires[index].drivers[0].outbox = close(CloseScope::Carrier, code);
            self.flush(index, 0);
        }
        let errand = self.wires[index].errand;
        self.leave(index, 0);
        errand.into_iter().for_each(|errand| self.retry_errand(errand));
        Ok(())
    }

    /// The first frame of a carrier came.
    pub(super) fn greet(&mut self, index: usize, end: usize, first: Decoded) -> Result<(), String> {
        match (end, first.frame) {
            (0, Frame::Hello(hello)) => self.come_up(index, &hello),
            (0, Frame::Close { scope, code, .. }) => {
                self.fail_join(index)?;
                let now = self.instant();
                if scope == CloseScope::Session && code == CloseCode::SESSION_GONE {
                    self.act(0, |session| session.end_with(now, SessionEnd::Gone, CloseCode::NORMAL))?;
                }
                Ok(())
            }
            (1, Frame::Hello(hello)) => self.admit(index, &hello),
            (1, Frame::Close { .. }) => {
                self.leave(index, 1);
                Ok(())
            }
            (_, frame) => Err(format!("end {end} began a carrier with {frame:?}")),
        }
    }

    /// The dialer: the answer came.
    fn come_up(&mut self, index: usize, hello: &Hello) -> Result<(), String> {
        let (number, now) = (self.wires[index].number, self.instant());
        self.script.note(self.now, "up at the dialer", [number.0.into(), hello.dead.len() as u64, 0]);
        self.script.tell(self.now, &hello.dead);
        if self.end_of(0).is_some() {
            // Closed while the answer was on its way.
            self.leave(index, 0);
            return Ok(());
        }
        self.ends[0].ledger.came_up(number);
        let raised =
            self.ends[0].session.as_mut().map(|session| session.handle_carrier_up(now, number, &hello.dead));
        if raised.is_some_and(|raised| raised.is_err()) && self.end_of(0).is_none() {
            // The acceptor gave it up before.
            self.ends[0].ledger.never_came_up(number);
            self.leave(index, 0);
            return self.settle(0);
        }
        self.settle(0)?;
        self.ends[0].ledger.fenced_suspects()?;
        self.failures = 0;
        let driver = &mut self.wires[index].drivers[0];
        driver.stage = Stage::Up;
        driver.deadline = None;
        self.wires[index].errand.map_or(Ok(()), |errand| self.run_errand(number, errand))
    }

    /// The acceptor: a dialer asks to join.
    fn admit(&mut self, index: usize, hello: &Hello) -> Result<(), String> {
        let (number, now) = (self.wires[index].number, self.instant());
        let driver = &mut self.wires[index].drivers[1];
        driver.deadline = None;
        let Some(session) = self.ends[1].session.as_mut().filter(|session| session.ended().is_none()) else {
            self.wires[index].drivers[1].outbox = close(CloseScope::Session, CloseCode::SESSION_GONE);
            return self.say_farewell(index, 1);
        };
        self.ends[1].ledger.came_up(number);
        let joined = session.handle_join(now, number, &hello.dead, |dead| {
            encode(&self::hello(number, SessionClaim::Joined { session: SESSION }, dead))
        });
        self.script.note(self.now, "asked to join", [number.0.into(), joined.is_ok().into(), 0]);
        if joined.is_err() && self.end_of(1).is_none() {
            self.ends[1].ledger.never_came_up(number);
            self.wires[index].drivers[1].outbox = close(CloseScope::Carrier, CloseCode::BAD_HELLO);
            self.say_farewell(index, 1)?;
            return self.settle(1);
        }
        self.wires[index].drivers[1].stage = Stage::Up;
        self.settle(1)?;
        self.ends[1].ledger.fenced_suspects()
    }

    /// A carrier became suspect: sometimes a replacement is dialed.
    pub(super) fn suspect(&mut self, number: CarrierNumber) {
        self.script.note(self.now, "suspect", [number.0.into(), 0, 0]);
        if self.dials_due == 0 && (self.plan.calm || self.random.bool()) {
            self.dials_due += 1;
            self.enter(self.now, Happening::Dial(Dial { errand: None }));
        }
    }

    /// This end's part of a wire is over; the other end sees it if the line still carries anything.
    pub(super) fn leave(&mut self, index: usize, end: usize) {
        let wire = &mut self.wires[index];
        wire.drivers[end].stage = Stage::Over;
        wire.drivers[end].deadline = None;
        wire.pipes[end].close(self.now);
    }

    /// The connection of a driver is gone.
    pub(super) fn lose(&mut self, index: usize, end: usize, why: CarrierEnd) -> Result<(), String> {
        let (number, stage, now) =
            (self.wires[index].number, self.wires[index].drivers[end].stage, self.instant());
        self.script.note(self.now, "lost", [number.0.into(), end as u64, 0]);
        match (stage, end) {
            (Stage::Greeting, 0) => return self.fail_join(index),
            (Stage::Up | Stage::Leaving | Stage::Aside, _) => {
                self.act(end, |session| session.handle_carrier_lost(now, number, why))?;
            }
            _ => {}
        }
        self.leave(index, end);
        Ok(())
    }
}

/// A hello of this world; what no session looks at is the same in all.
fn hello(carrier: CarrierNumber, session: SessionClaim, dead: Vec<DeadCarrier>) -> Hello {
    let expect = "a constant that is well-formed";
    Hello {
        features: 0,
        site_id: SiteId::new("site").expect(expect),
        site_name: SiteName::new("site").expect(expect),
        router: RouterName::new("router").expect(expect),
        instance: Instance([7; 16]),
        role: LinkRole::InterRouter,
        link: LinkName::new("link").expect(expect),
        group: GroupName::new("").expect(expect),
        cost: Cost::DEFAULT,
        max_streams: 1,
        initial_window: MIN_WINDOW,
        ordinal: Ordinal(1),
        resume_window: Duration::ZERO,
        carrier,
        session,
        dead,
    }
}

fn encode(hello: &Hello) -> Bytes {
    let mut bytes = BytesMut::new();
    Frame::Hello(Box::new(hello.clone())).encode(&mut bytes);
    bytes.freeze()
}

fn close(scope: CloseScope, code: CloseCode) -> Bytes {
    let mut bytes = BytesMut::new();
    Frame::Close { scope, code, retry_after_millis: 0, detail: String::new() }.encode(&mut bytes);
    bytes.freeze()
}

const SESSION: SessionId = SessionId([9; 16]);
