//! The world: two ends of one session, the carriers between them, and the time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::config::SessionLimits;
use crate::error::SessionEnd;
use crate::id::Side;
use crate::proto::session::testing::epoch;
use crate::proto::session::{ProcessPool, Session, SessionParams};
use crate::sim::faults::{Fate, Fault, Plan};
use crate::sim::laws::Ledger;
use crate::sim::load::Load;
use crate::sim::script::{Broken, Script};
use crate::sim::wire::{Stage, Wire};
use crate::wire::MIN_WINDOW;
use crate::wire::code::CloseCode;

/// Both ends and what lies between them. End 0 dials, end 1 accepts.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) random: fastrand::Rng,
    pub(super) script: Script,
    epoch: Instant,
    /// Since the epoch.
    pub(super) now: Duration,
    pub(super) ends: [End; 2],
    pub(super) wires: Vec<Wire>,
    /// What will happen, each with a number that keeps what falls together in order.
    agenda: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    entries: u64,
    /// Dials that are on the agenda.
    pub(super) dials_due: usize,
    /// Attempts that failed since the last one that did not.
    pub(super) failures: u32,
    pub(super) load: Load,
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    /// `None` once this end has forgotten it.
    pub(super) session: Option<Session>,
    /// What was told of it so far.
    pub(super) ledger: Ledger,
}

/// What the agenda holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// The dialer dials; whether it is to replace a carrier.
    Dial(bool),
    /// The session meets its fate.
    Fate,
    /// The application of an end does something.
    Tick(usize),
}

impl World {
    /// The world of a seed, at its beginning.
    pub(super) fn new(seed: u64, loud: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(&mut random);
        Self::planned(plan, random, seed, loud)
    }

    /// A world that is calm but for its line.
    pub(super) fn satellite(seed: u64, latency: Duration, lost_percent: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = Plan::satellite(&mut random, latency, lost_percent);
        Self::planned(plan, random, seed, false)
    }

    fn planned(plan: Plan, mut random: fastrand::Rng, seed: u64, loud: bool) -> Self {
        let (epoch, script) = (epoch(), Script::new(loud));
        script.tell(Duration::ZERO, &plan);
        let end = |side| End {
            session: Some(Session::new(epoch, params(side, &plan, seed))),
            ledger: Ledger::default(),
        };
        let ends = [end(Side::Dialer), end(Side::Acceptor)];
        let load = Load::new(&plan, &mut random);
        let mut world = Self {
            random,
            script,
            epoch,
            now: Duration::ZERO,
            ends,
            wires: Vec::new(),
            agenda: BinaryHeap::new(),
            entries: 0,
            dials_due: 0,
            failures: 0,
            load,
            plan,
        };
        world.plan_ahead();
        world
    }

    fn plan_ahead(&mut self) {
        self.enter(Duration::ZERO, Happening::Tick(0));
        self.enter(Duration::ZERO, Happening::Tick(1));
        for at in self.plan.rotations.clone() {
            self.enter(at, Happening::Dial(true));
            self.dials_due += 1;
        }
        if let Fate::Forgotten(at) | Fate::Closed(_, at) = self.plan.fate {
            self.enter(at, Happening::Fate);
        }
    }

    /// Runs to rest and returns what identifies the run.
    pub(super) fn run(self) -> Result<(u64, u64), Broken> {
        self.live().map(|world| world.script.digest())
    }

    /// Runs to rest and returns the world as it is then.
    pub(super) fn live(mut self) -> Result<Self, Broken> {
        let mut healed = false;
        for _ in 0..MOST_STEPS {
            self.step().map_err(|what| Broken { what, at: self.now })?;
            if !healed && self.now >= self.plan.heals_at {
                healed = true;
                self.heal();
            }
            if healed && self.is_at_rest() {
                self.last_judgement().map_err(|what| Broken { what, at: self.now })?;
                return Ok(self);
            }
            if self.now > self.plan.heals_at + self.plan.patience {
                break;
            }
            let next = self.next_at();
            self.now = self.now.max(next);
        }
        let what = format!("no rest: {}\n{}", self.load.unrest(), self.unrest());
        Err(Broken { what, at: self.now })
    }

    fn unrest(&self) -> String {
        let session = |end: &End| end.session.as_ref().map(Session::unrest);
        format!("{:#?}", self.ends.each_ref().map(session)).replace("\\n", "\n")
    }

    /// Everything that is due now.
    fn step(&mut self) -> Result<(), String> {
        while let Some(Reverse((at, _, happening))) = self.agenda.peek().copied()
            && at <= self.now
        {
            self.agenda.pop();
            self.happen(happening)?;
        }
        for index in 0..self.wires.len() {
            self.weather(index);
            for end in 0..2 {
                self.receive(index, end)?;
            }
        }
        for end in 0..2 {
            self.time_out(end)?;
        }
        for index in 0..self.wires.len() {
            for end in 0..2 {
                self.send(index, end)?;
            }
        }
        self.wires.retain(|wire| !wire.is_over());
        self.want_carriers();
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Dial(replaces) => self.dial(replaces),
            Happening::Fate => self.meet_fate(),
            Happening::Tick(end) => {
                let (at, now) = (self.now, self.instant());
                let Self { load, ends, random, script, .. } = self;
                let wait = match &mut ends[end].session {
                    Some(session) => load.tick(end, session, (at, now), random, script)?,
                    None => load.forget(end),
                };
                self.settle(end)?;
                if let Some(wait) = wait {
                    self.enter(self.now + wait, Happening::Tick(end));
                }
                Ok(())
            }
        }
    }

    fn meet_fate(&mut self) -> Result<(), String> {
        self.script.note(self.now, "fate", [0; 3]);
        let now = self.instant();
        match self.plan.fate {
            Fate::Closed(end, _) => self
                .act(end, |session| {
                    session.end_with(now, SessionEnd::Closed(CloseCode::NORMAL), CloseCode::NORMAL)
                })
                .map(|_| ()),
            Fate::Forgotten(_) => {
                self.ends[1].session = None;
                self.ends[1].ledger = Ledger::default();
                for index in 0..self.wires.len() {
                    self.leave(index, 1);
                }
                Ok(())
            }
            Fate::Survives | Fate::Cut(_) => Ok(()),
        }
    }

    /// What befalls a wire by itself.
    fn weather(&mut self, index: usize) {
        let wire = &mut self.wires[index];
        match wire.fault {
            Fault::Ends { from, seen, lose } if self.now >= wire.born + from => {
                wire.fault = Fault::None;
                wire.sever(self.now, seen, lose);
                self.script.note(self.now, "connection ends", [wire.number.0.into(), 0, 0]);
            }
            Fault::Stall { way, from, length } if self.now >= wire.born + from => {
                wire.fault = Fault::None;
                wire.pipes[way].stall(self.now + length);
                self.script.note(self.now, "direction stalls", [wire.number.0.into(), way as u64, 0]);
            }
            _ => {}
        }
    }

    fn time_out(&mut self, end: usize) -> Result<(), String> {
        let now = self.instant();
        let Some(session) = &self.ends[end].session else { return Ok(()) };
        if timeout(session, &self.wires, end).is_none_or(|at| at > now) {
            return Ok(());
        }
        for wire in &mut self.wires {
            if session.poll_timeout(wire.number).is_some_and(|at| at <= now) {
                // It is the driver whose alarm went off; it looks for something to send, too.
                wire.drivers[end].idle = false;
            }
        }
        self.act(end, |session| session.handle_timeout(now))?;
        let session = self.ends[end].session.as_ref();
        match session.and_then(|session| timeout(session, &self.wires, end)) {
            Some(at) if at <= now => Err(format!("law 10: a timeout of end {end} does not lie ahead")),
            _ => Ok(()),
        }
    }

    fn next_at(&self) -> Duration {
        let timeouts = (0..2).filter_map(|end| {
            let at = timeout(self.ends[end].session.as_ref()?, &self.wires, end)?;
            Some(at.saturating_duration_since(self.epoch))
        });
        let agenda = self.agenda.peek().map(|Reverse((at, ..))| *at);
        let wires = self.wires.iter().filter_map(Wire::next_at);
        timeouts.chain(agenda).chain(wires).min().unwrap_or(Duration::MAX / 2)
    }

    /// Does something with a session, then everything its caller owes it, and looks whether the laws hold.
    pub(super) fn act<R>(
        &mut self,
        end: usize,
        work: impl FnOnce(&mut Session) -> R,
    ) -> Result<Option<R>, String> {
        let result = self.ends[end].session.as_mut().map(work);
        self.settle(end)?;
        Ok(result)
    }

    /// Puts something on the agenda.
    pub(super) fn enter(&mut self, at: Duration, happening: Happening) {
        self.entries += 1;
        self.agenda.push(Reverse((at, self.entries, happening)));
    }

    /// The present.
    pub(super) fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    /// From now on nothing goes wrong any more, readers read and writers come to their end.
    fn heal(&mut self) {
        self.script.note(self.now, "heal", [0; 3]);
        for wire in &mut self.wires {
            wire.fault = Fault::None;
            wire.pipes.iter_mut().for_each(|pipe| pipe.heal());
        }
        self.load.heal();
    }

    fn is_at_rest(&self) -> bool {
        let rests = |end: &End| match &end.session {
            Some(session) if session.ended().is_some() => true,
            Some(session) => session.is_idle() && session.is_settled(),
            None => true,
        };
        self.load.is_done() && self.ends.iter().all(rests) && self.is_agreed()
    }

    /// Whether both ends are over, or neither is.
    fn is_agreed(&self) -> bool {
        let over = |end: &End| end.session.as_ref().is_none_or(|session| session.ended().is_some());
        over(&self.ends[0]) == over(&self.ends[1])
    }

    /// Why the session ended at an end; an end that forgot it says nothing.
    pub(super) fn end_of(&self, end: usize) -> Option<&SessionEnd> {
        self.ends[end].session.as_ref()?.ended()
    }
}

/// The earliest time at which an end wants to be called.
fn timeout(session: &Session, wires: &[Wire], end: usize) -> Option<Instant> {
    let up = wires.iter().filter(|wire| wire.drivers[end].stage == Stage::Up);
    let carriers = up.filter_map(|wire| session.poll_timeout(wire.number));
    carriers.chain(session.poll_session_timeout()).min()
}

fn params(side: Side, plan: &Plan, seed: u64) -> SessionParams {
    let limits: SessionLimits = plan.limits;
    SessionParams {
        side,
        limits,
        liveness: plan.liveness,
        accept_deadline: plan.accept_deadline,
        peer_max_streams: limits.max_streams,
        peer_window: MIN_WINDOW,
        resume_window: limits.resume_window,
        pool: ProcessPool::new(limits.process_pool),
        seed,
    }
}

/// A run that takes more steps spins.
const MOST_STEPS: usize = 300_000;
