//! The world: two ends of one session, the carriers between them, and the time.

use std::time::{Duration, Instant};

use crate::config::SessionLimits;
use crate::error::SessionEnd;
use crate::id::Side;
use crate::proto::session::testing::epoch;
use crate::proto::session::{ProcessPool, Session, SessionParams};
use crate::sim::agenda::{Agenda, Happening};
use crate::sim::faults::{Fate, Fault};
use crate::sim::laws::Ledger;
use crate::sim::load::Load;
use crate::sim::pipe::Shape;
use crate::sim::plan::{Item, Plan};
use crate::sim::script::{Broken, Script};
use crate::sim::wire::{Stage, Wire};
use crate::wire::MIN_WINDOW;
use crate::wire::code::CloseCode;

/// Both ends and what lies between them. End 0 dials, end 1 accepts.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    /// What the lines are like.
    pub(super) shape: Shape,
    /// How many carriers the dialer wants.
    pub(super) wanted: usize,
    /// By the carrier's number, what befalls it.
    pub(super) faults: Vec<Fault>,
    /// By the carrier's number, how long the dialer waits for its answer, if it is to be hasty.
    pub(super) impatience: Vec<Option<Duration>>,
    /// What becomes of the session.
    pub(super) fate: Fate,
    /// Until then dialing fails.
    pub(super) dark_until: Duration,
    /// How often all connections were cut.
    pub(super) all_cut: u64,
    /// Something happened that a planned move is no part of: what is sent may have to be sent again.
    pub(super) disturbed: bool,
    pub(super) random: fastrand::Rng,
    pub(super) script: Script,
    epoch: Instant,
    /// Since the epoch.
    pub(super) now: Duration,
    pub(super) ends: [End; 2],
    pub(super) wires: Vec<Wire>,
    agenda: Agenda,
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

impl World {
    /// The world of a plan, at its beginning. A loud one prints what happens.
    pub(super) fn new(plan: Plan, loud: bool) -> Self {
        let (epoch, script, seed) = (epoch(), Script::new(loud), plan.seed);
        plan.script.iter().for_each(|item| script.say(item));
        let end = |side| End {
            session: Some(Session::new(epoch, params(side, &plan, seed))),
            ledger: Ledger::default(),
        };
        let ends = [end(Side::Dialer), end(Side::Acceptor)];
        let load = Load::new(&plan);
        let mut world = Self {
            random: fastrand::Rng::with_seed(seed),
            shape: Shape::PLAIN,
            wanted: 1,
            faults: Vec::new(),
            impatience: Vec::new(),
            fate: plan.fate(),
            dark_until: Duration::ZERO,
            all_cut: 0,
            disturbed: false,
            script,
            epoch,
            now: Duration::ZERO,
            ends,
            wires: Vec::new(),
            agenda: Agenda::default(),
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
        let script = std::mem::take(&mut self.plan.script);
        for item in &script {
            match *item {
                Item::Line(shape) => self.shape = shape,
                Item::Carrier => self.wanted += 1,
                Item::Meets { nth, fault } => {
                    let length = self.faults.len().max(nth + 1);
                    self.faults.resize(length, Fault::None);
                    self.faults[nth] = fault;
                }
                Item::Impatient { nth, patience } => {
                    let length = self.impatience.len().max(nth + 1);
                    self.impatience.resize(length, None);
                    self.impatience[nth] = Some(patience);
                }
                Item::At(at, blow) => self.enter(at, Happening::Blow(blow)),
                Item::Fate(fate) => fate.at().into_iter().for_each(|at| self.enter(at, Happening::Fate)),
                Item::Talk | Item::Stream(_) => {}
            }
        }
        self.plan.script = script;
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
        let what = format!("law 3: no rest: {}\n{}", self.load.unrest(), self.unrest());
        Err(Broken { what, at: self.now })
    }

    fn unrest(&self) -> String {
        let session = |end: &End| end.session.as_ref().map(Session::unrest);
        format!("{:#?}", self.ends.each_ref().map(session)).replace("\\n", "\n")
    }

    /// Everything that is due now.
    fn step(&mut self) -> Result<(), String> {
        while let Some(happening) = self.agenda.take_due(self.now) {
            self.happen(happening)?;
        }
        for index in 0..self.wires.len() {
            if self.wires[index].next_at().is_none_or(|at| at > self.now) {
                continue;
            }
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
        self.nobody_oversleeps()?;
        self.wires.retain(|wire| !wire.is_over());
        self.want_carriers();
        Ok(())
    }

    /// Law 3, to the moment: a driver that waits to be woken has nothing to send.
    fn nobody_oversleeps(&self) -> Result<(), String> {
        for (index, end) in self.ends.iter().enumerate() {
            let Some(session) = &end.session else { continue };
            let sleeps = |wire: &&Wire| {
                let driver = &wire.drivers[index];
                driver.stage == Stage::Up && driver.idle && driver.outbox.is_empty()
            };
            for wire in self.wires.iter().filter(sleeps) {
                if let Some(what) = session.sleeps_on(wire.number) {
                    return Err(format!(
                        "law 3: end {index} has {what} to send on {:?}, and sleeps",
                        wire.number
                    ));
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Dial(dial) => self.dial(dial),
            Happening::Blow(blow) => self.strike(blow),
            Happening::CutOff(number) => self.cut_off(number),
            Happening::Fate => self.meet_fate(),
            Happening::Tick(end) => {
                let (at, now) = (self.now, self.instant());
                let Self { load, ends, script, .. } = self;
                let wait = match &mut ends[end].session {
                    Some(session) => load.tick(end, session, (at, now), script)?,
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
        match self.fate {
            Fate::Closed { end, .. } => self
                .act(end, |session| {
                    session.end_with(now, SessionEnd::Closed(CloseCode::NORMAL), CloseCode::NORMAL)
                })
                .map(|_| ()),
            Fate::Restarted { end, silently, .. } => {
                self.ends[end].session = None;
                self.ends[end].ledger = Ledger::default();
                for index in 0..self.wires.len() {
                    if silently {
                        self.wires[index].pipes.iter_mut().for_each(|pipe| pipe.break_off(true));
                    }
                    self.leave(index, end);
                }
                Ok(())
            }
            Fate::Cut { all: true, .. } => {
                self.wires.iter_mut().for_each(|wire| wire.sever(self.now, [None, None], true));
                Ok(())
            }
            Fate::Survives | Fate::Cut { all: false, .. } => Ok(()),
        }
    }

    /// What befalls a wire by itself.
    fn weather(&mut self, index: usize) {
        let wire = &mut self.wires[index];
        match wire.fault {
            Fault::End { from, seen, lose } if self.now >= wire.born + from => {
                wire.fault = Fault::None;
                wire.sever(self.now, seen, lose);
                self.script.note(self.now, "connection ends", [wire.number.0.into(), 0, 0]);
            }
            Fault::Stall { way, from, length } if self.now >= wire.born + from => {
                wire.fault = Fault::None;
                wire.pipes[way].stall(self.now + length);
                self.script.note(self.now, "direction stalls", [wire.number.0.into(), way as u64, 0]);
            }
            Fault::Drag { from, length, extra } if self.now >= wire.born + from => {
                wire.fault = Fault::None;
                wire.pipes.iter_mut().for_each(|pipe| pipe.drag(self.now + length, extra));
                self.script.note(self.now, "everything drags", [wire.number.0.into(), 0, 0]);
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
        let wires = self.wires.iter().filter_map(Wire::next_at);
        timeouts.chain(self.agenda.next_at()).chain(wires).min().unwrap_or(Duration::MAX / 2)
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
        self.agenda.enter(at, happening);
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

    /// Whether dialing fails now.
    pub(super) fn is_dark(&self) -> bool {
        let cut = matches!(self.fate, Fate::Cut { at, .. } if self.now >= at);
        cut || self.now < self.dark_until && self.now < self.plan.heals_at
    }

    fn is_at_rest(&self) -> bool {
        let rests = |end: &End| match &end.session {
            Some(session) if session.ended().is_some() => true,
            // Law 5: what was to go has gone, where another could be had.
            Some(session) => {
                session.is_idle() && session.is_settled() && (!session.has_retiring() || self.is_dark())
            }
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
