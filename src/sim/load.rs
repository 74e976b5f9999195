//! The workload: what the applications of both ends do, and what each may expect of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::id::{Cost, RoutingKey, StreamId};
use crate::proto::session::{OpenFailure, OpenRequest, Session};
use crate::sim::faults::pick;
use crate::sim::flow::{Flow, Half, Hold, Stage};
use crate::sim::plan::{Item, KEYS, Plan, StreamPlan};
use crate::sim::script::Script;
use crate::wire::frame::OpenTo;

/// Both applications.
#[derive(Debug)]
pub(super) struct Load {
    flows: BTreeMap<StreamId, Flow>,
    /// Streams that each end still opens, the next one last.
    to_open: [Vec<StreamPlan>; 2],
    /// Whether keys and costs change.
    talks: bool,
    random: [fastrand::Rng; 2],
    seed: u64,
    /// What each end serves.
    keys: [BTreeSet<RoutingKey>; 2],
    /// What each end says it costs.
    cost: [Option<Cost>; 2],
    healed: bool,
    /// How long an application waits before its next turn.
    pause: [Duration; 2],
}

impl Load {
    /// The workload of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut to_open: [Vec<StreamPlan>; 2] = Default::default();
        for item in plan.script.iter().rev() {
            if let Item::Stream(stream) = item {
                to_open[stream.opener].push(stream.clone());
            }
        }
        Self {
            flows: BTreeMap::new(),
            to_open,
            talks: plan.script.iter().any(|item| matches!(item, Item::Talk)),
            random: [0, 1].map(|end| fastrand::Rng::with_seed(plan.seed.rotate_left(16) ^ end)),
            seed: plan.seed,
            keys: Default::default(),
            cost: [None; 2],
            healed: false,
            pause: [SHORTEST_PAUSE; 2],
        }
    }

    /// One application's turn. Returns how long it then waits.
    pub(super) fn tick(
        &mut self,
        end: usize,
        session: &mut Session,
        (at, now): (Duration, Instant),
        script: &mut Script,
    ) -> Result<Option<Duration>, String> {
        if !self.healed && self.talks && self.random[end].u32(..4) == 0 {
            self.change_mind(end, session);
        }
        if !self.to_open[end].is_empty() && self.random[end].bool() {
            self.open(now, end, session)?;
        }
        let mut moved = !self.to_open[end].is_empty();
        while let Some((key, request)) = session.poll_incoming() {
            moved = true;
            let Some(flow) = self.flows.get_mut(&key.id) else {
                return Err(format!("law 4: {key:?} was never opened"));
            };
            let hold = &mut flow.holds[end];
            if hold.stage != Stage::Unborn || flow.request != request {
                return Err(format!(
                    "law 4: {key:?} was opened twice, or {request:?} is not what was asked for"
                ));
            }
            script.note(at, "incoming", [key.id.0, end as u64, 0]);
            hold.stage = Stage::Waiting(key, hold.habit.decides.0);
        }
        let others_done = self.flows.values().all(|flow| flow.is_done() || flow.is_stalled());
        for flow in self.flows.values_mut() {
            if self.healed {
                flow.relent(others_done);
            }
            moved |= flow.turn(end, session, now)?;
        }
        let pause = &mut self.pause[end];
        let longest = if self.healed { LONGEST_PAUSE } else { LONGEST_PAUSE / 4 };
        *pause = if moved { SHORTEST_PAUSE } else { (*pause * 2).min(longest) };
        Ok(Some(pause.mul_f64(self.random[end].f64().max(0.1))))
    }

    /// An end forgot the session, and with it its side of every stream.
    pub(super) fn forget(&mut self, end: usize) -> Option<Duration> {
        self.to_open[end].clear();
        for flow in self.flows.values_mut() {
            flow.holds[end].stage = Stage::Released;
        }
        None
    }

    /// All is well from now on.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.to_open = Default::default();
    }

    /// Whether every stream has been let go at both ends.
    pub(super) fn is_done(&self) -> bool {
        self.to_open.iter().all(Vec::is_empty) && self.flows.values().all(Flow::is_done)
    }

    /// What an end said of itself.
    pub(super) fn said_by(&self, end: usize) -> (&BTreeSet<RoutingKey>, Option<Cost>) {
        (&self.keys[end], self.cost[end])
    }

    /// The streams that are not done.
    pub(super) fn unrest(&self) -> String {
        let flows: Vec<_> = self.flows.values().filter(|flow| !flow.is_done()).collect();
        format!("{flows:#?}")
    }

    fn change_mind(&mut self, end: usize, session: &mut Session) {
        let random = &mut self.random[end];
        if session.ended().is_some() {
            return;
        }
        if random.u32(..4) == 0 {
            self.cost[end] = Cost::new(random.u32(1..1000)).ok();
            self.cost[end].into_iter().for_each(|cost| session.announce_cost(cost));
            return;
        }
        let key = key(pick::<&str>(random, KEYS));
        let served = !self.keys[end].remove(&key);
        session.serve(&key, served);
        if served {
            self.keys[end].insert(key);
        }
    }

    fn open(&mut self, now: Instant, end: usize, session: &mut Session) -> Result<(), String> {
        let Some(plan) = self.to_open[end].last() else { return Ok(()) };
        let to = plan.key.map_or(OpenTo::Site, |name| OpenTo::Key(key(name)));
        let request = OpenRequest { to, metadata: Bytes::from(vec![7; plan.metadata]) };
        let mut halves: [Half; 2] = Default::default();
        // Which stream it becomes is known only afterwards, and with it the content.
        let id = StreamId(session.next_stream_id());
        let bytes = halves[end].initial(id, end, plan.initial);
        let random = fastrand::Rng::with_seed(self.seed ^ id.0.rotate_left(48));
        let holds = plan.habits.map(Hold::new);
        match session.open(now, request.clone(), bytes) {
            Ok(key) if key.id == id => {
                let mut flow = Flow { id, request, holds, halves, random };
                flow.holds[end].stage = Stage::Asked(key);
                self.to_open[end].pop();
                self.flows.insert(id, flow);
                Ok(())
            }
            Ok(key) => Err(format!("{key:?} is not {id:?}")),
            Err(OpenFailure::Limit) => Ok(()),
            Err(OpenFailure::NeverSent(_)) if session.ended().is_some() => {
                self.to_open[end].clear();
                Ok(())
            }
            Err(failure) => Err(format!("opening fails: {failure:?}")),
        }
    }
}

fn key(name: &str) -> RoutingKey {
    RoutingKey::new(name).expect("a letter is a key")
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// At rest an application looks about so often: what it waits for rings its bell, but it hears it only in its turn.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
