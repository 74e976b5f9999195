//! Random inputs against the laws: what the fleet says must hold together whatever it is told.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;
use crate::proto::carrier::Stay;

const SEEDS: u64 = 300;
const STEPS: usize = 250;

#[test]
fn random_inputs_break_no_law() {
    for seed in 0..SEEDS {
        run(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// Runs a random script; gives the event log.
fn run(seed: u64) -> Vec<String> {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.settle();
    }
    world.finish();
    world.log
}

/// What the supervisor would hold: attempts under way, sessions and their carriers.
struct World {
    seed: u64,
    rng: Rng,
    fleet: Fleet,
    now: Instant,
    wanted: BTreeMap<LinkId, LinkWanted>,
    /// Groups that are drained, and links as a whole, those included that they come to list.
    drained: BTreeSet<(LinkId, GroupName)>,
    drained_links: BTreeSet<LinkId>,
    next_link: u64,
    /// Under way, and how far.
    dials: Vec<(DialOrder, Stage)>,
    /// Answered or cancelled.
    past: Vec<AttemptId>,
    sessions: BTreeMap<SessionNumber, Known>,
    /// Which sessions the paths hold on standby.
    paved: BTreeMap<SessionNumber, bool>,
    next_id: u8,
    /// The newest rotation of the access.
    access_ordinal: u64,
    facts: Facts,
    rounds: BTreeMap<(LinkId, GroupName), Round>,
    log: Vec<String>,
}

/// What was tried of a group since an endpoint came up again.
#[derive(Debug, Default)]
struct Round {
    /// A whole round was seen since anything happened that may begin one.
    whole: bool,
    tried: Vec<Target>,
    /// Given up before they had answered.
    given_up: Vec<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reaching,
    Reached,
    Greeting,
}

struct Known {
    id: u8,
    instance: u8,
    accepted: bool,
    carriers: BTreeSet<u32>,
    next_carrier: u32,
    /// The fleet has asked for its end.
    ending: bool,
    /// What its peer was told of standby.
    told_active: bool,
}

/// Law 7, kept as the sets of what is up.
#[derive(Default)]
struct Facts {
    links: BTreeSet<LinkId>,
    sessions: BTreeMap<SessionNumber, Option<LinkId>>,
    seen_sessions: BTreeSet<SessionNumber>,
    carriers: BTreeSet<(SessionNumber, CarrierNumber)>,
    seen_carriers: BTreeSet<(SessionNumber, CarrierNumber)>,
    groups: BTreeMap<(LinkId, GroupName), SessionNumber>,
    recovering: BTreeSet<SessionNumber>,
    /// The carriers that were said to be replaced, and have not gone down.
    replacing: BTreeSet<(SessionNumber, CarrierNumber)>,
    /// The newest rotation of each end that was said to be complete.
    complete: BTreeMap<Door, Ordinal>,
}

impl Facts {
    /// Takes an event; says what is wrong with it, if anything.
    fn take(&mut self, event: &EventKind) -> Result<(), &'static str> {
        let holds = |holds: bool, law: &'static str| if holds { Ok(()) } else { Err(law) };
        match event.clone() {
            EventKind::LinkConfigured { link, .. } | EventKind::LinkRefused { link: Some(link), .. } => {
                self.links.insert(link);
                Ok(())
            }
            EventKind::LinkRemoved { link, .. } => {
                let clear = !self.sessions.values().any(|of| *of == Some(link));
                holds(self.links.remove(&link) && clear, "a link is removed once, after its sessions")
            }
            EventKind::SessionUp { session, link, .. } => {
                self.sessions.insert(session, link);
                holds(self.seen_sessions.insert(session), "a session comes up once")
            }
            EventKind::SessionDown { session, .. } => {
                self.recovering.remove(&session);
                let bare = !self.carriers.iter().any(|(of, _)| *of == session);
                holds(
                    bare && self.sessions.remove(&session).is_some(),
                    "a session goes down once, after its carriers",
                )
            }
            EventKind::CarrierUp { session, carrier, .. } => {
                self.carriers.insert((session, carrier));
                let fresh = self.seen_carriers.insert((session, carrier));
                holds(
                    fresh && self.sessions.contains_key(&session),
                    "a carrier comes up once, in its session",
                )
            }
            EventKind::CarrierReplacing { session, carrier, .. } => {
                let live = self.carriers.contains(&(session, carrier));
                holds(
                    live && self.replacing.insert((session, carrier)),
                    "a live carrier is replaced, told once",
                )
            }
            EventKind::RotationCompleted { link, access, ordinal, .. } => {
                let door = link.map(Door::Link).or_else(|| access.map(Door::Access)).expect("somebody's");
                let before = self.complete.insert(door, ordinal);
                holds(before < Some(ordinal), "a rotation is completed once, after those before it")
            }
            EventKind::CarrierDown { session, carrier, .. } => {
                self.replacing.remove(&(session, carrier));
                holds(self.carriers.remove(&(session, carrier)), "a carrier goes down once, after it came up")
            }
            EventKind::GroupUp { link, group, session, .. } => {
                let free = self.groups.insert((link, group), session).is_none();
                holds(free && self.sessions.contains_key(&session), "a group comes up when it was down")
            }
            EventKind::GroupDown { link, group, session } => holds(
                self.groups.remove(&(link, group)) == Some(session),
                "a group goes down with its session",
            ),
            EventKind::LinkOperational { link, operational, groups_up, groups, .. } => {
                let up = self.groups.keys().filter(|(of, _)| *of == link).count();
                holds(up == groups_up && operational == (up > 0) && up <= groups, "a link counts its groups")
            }
            EventKind::SessionRecovering { session, .. } => {
                let bare = !self.carriers.iter().any(|(of, _)| *of == session);
                let live = self.sessions.contains_key(&session);
                holds(bare && live && self.recovering.insert(session), "a session recovers without carriers")
            }
            EventKind::SessionResumed { session, .. } => {
                holds(self.recovering.remove(&session), "a session resumes after it recovered")
            }
            EventKind::DialFailed { next_attempt_in, .. } => holds(
                next_attempt_in <= Duration::from_secs(65),
                "no wait is longer than retry-after and backoff",
            ),
            EventKind::DialOvertaken { link, endpoint, by, .. } => holds(
                endpoint != by && self.sessions.values().any(|of| *of == Some(link)),
                "an attempt is overtaken by another endpoint, whose session or carrier is up",
            ),
            _ => Ok(()),
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = config();
        config.carriers = 1 + usize::try_from(seed / 2 % 3).unwrap();
        if seed % 2 == 1 {
            config.local.role = RouterRole::Edge;
        }
        let (now, mut fleet) = (some_moment(), Fleet::new(config, seed));
        let address = "192.0.2.3:5671".parse().unwrap();
        fleet.handle_access_up(now, ACCESS, address, LinkRole::InterRouter);
        Self {
            seed,
            rng: Rng::with_seed(seed),
            fleet,
            now,
            wanted: BTreeMap::new(),
            drained: BTreeSet::new(),
            drained_links: BTreeSet::new(),
            next_link: 0,
            dials: Vec::new(),
            past: Vec::new(),
            sessions: BTreeMap::new(),
            paved: BTreeMap::new(),
            next_id: 0,
            access_ordinal: 0,
            facts: Facts::default(),
            rounds: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..26) {
            23 => self.drain(),
            24 => self.resume(),
            25 => self.drain_session(),
            20 => self.expire(),
            21 => self.rotate_access(),
            22 => self.revoke(),
            0 => self.link(),
            1 => self.change(),
            2 if self.rng.u8(0..3) == 0 => self.unlink(),
            3..=7 => self.answer(),
            8 => self.late_answer(),
            9 | 10 => self.arrive(),
            11..=14 => self.tell(),
            15 => self.end_what_is_ending(),
            16 => {
                let session = self.any_session();
                self.fleet.handle_disconnect(self.now, session);
            }
            _ => self.pass_time(),
        }
    }

    fn random_wanted(&mut self) -> LinkWanted {
        let names = ["a", "b", "c"];
        let mut groups: Vec<(&str, u16)> = Vec::new();
        for name in names {
            if self.rng.bool() {
                groups.push((name, self.rng.u16(0..4)));
            }
        }
        self.rng.shuffle(&mut groups);
        LinkWanted {
            cost: Cost::new(self.rng.u32(1..4)).unwrap(),
            credentials: self.rng.bool().then(|| ("bundle".into(), Ordinal(self.rng.u64(0..6)))),
            no_client_auth: self.rng.u8(0..8) == 0,
            usable: if self.rng.u8(0..6) == 0 { Err("not usable".into()) } else { Ok(()) },
            ..wanted(&groups)
        }
    }

    fn link(&mut self) {
        if self.wanted.len() < 3 {
            self.next_link += 1;
            let (link, wanted) = (LinkId(self.next_link), self.random_wanted());
            self.wanted.insert(link, wanted.clone());
            self.fleet.handle_link(self.now, link, wanted);
        }
    }

    fn any_link(&mut self) -> Option<LinkId> {
        let links: Vec<LinkId> = self.wanted.keys().copied().collect();
        self.rng.choice(links)
    }

    fn change(&mut self) {
        let Some(link) = self.any_link() else { return };
        let wanted = self.random_wanted();
        self.rounds.retain(|(of, _), _| *of != link);
        self.wanted.insert(link, wanted.clone());
        self.fleet.handle_link(self.now, link, wanted);
    }

    fn unlink(&mut self) {
        let Some(link) = self.any_link() else { return };
        self.wanted.remove(&link);
        self.rounds.retain(|(of, _), _| *of != link);
        let grace = Duration::from_secs(self.rng.u64(0..4));
        self.fleet.handle_unlink(self.now, link, grace);
    }

    /// One of 1..=3, mostly told by the group, so that duplicates and other instances occur.
    fn instance_behind(&mut self, group: &GroupName) -> u8 {
        let own = 1 + group.as_str().as_bytes().first().map_or(0, |letter| letter - b'a');
        if self.rng.u8(0..8) == 0 { self.rng.u8(0..4) } else { own }
    }

    fn answer(&mut self) {
        if self.dials.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.dials.len());
        let (attempt, stage) = (self.dials[index].0.attempt, self.dials[index].1);
        let fails = self.rng.u8(0..5) < 2;
        if stage == Stage::Reaching && !fails {
            self.dials[index].1 = Stage::Reached;
            return self.fleet.handle_reached(self.now, attempt);
        } else if stage == Stage::Reached && !fails {
            return;
        }
        let (order, _) = self.dials.swap_remove(index);
        self.past.push(order.attempt);
        let result = if fails { Err(self.error()) } else { Ok(self.greeting(&order)) };
        let greeted = result.as_ref().ok().map(|facts| facts.hello.instance.0[0]);
        let refused = |code: &CloseCode| [CloseCode::SESSION_GONE, CloseCode::OTHER_PRINCIPAL].contains(code);
        let gone = matches!(&result, Err(DialError::Closed { code, .. }) if refused(code));
        let verdict = self.fleet.handle_dialed(self.now, order.attempt, result);
        match (verdict, greeted) {
            (Verdict::Begin { session }, Some(instance)) => {
                let carriers = BTreeSet::from([0]);
                let (id, accepted, ending) = (self.next_id, false, false);
                let known =
                    Known { id, instance, accepted, carriers, next_carrier: 1, ending, told_active: true };
                assert!(self.sessions.insert(session, known).is_none(), "seed {}: number reused", self.seed);
                self.rounds.remove(&(order.link, order.group));
            }
            (Verdict::Join { session }, Some(_)) => {
                let known = self.sessions.get_mut(&session).expect("a join of a known session");
                known.carriers.insert(known.next_carrier);
                known.next_carrier += 1;
                self.rounds.remove(&(order.link, order.group));
            }
            _ if gone => drop(self.rounds.remove(&(order.link, order.group))),
            // Three answers of another instance end the session and begin a new round; not told apart here.
            (Verdict::Close { code: CloseCode::OTHER_INSTANCE | CloseCode::OTHER_PRINCIPAL, .. }, _) => {
                self.rounds.remove(&(order.link, order.group));
            }
            _ => {}
        }
    }

    fn greeting(&mut self, order: &DialOrder) -> DialedFacts {
        let instance = self.instance_behind(&order.group);
        match order.purpose {
            Purpose::Begin => {
                self.next_id = self.next_id.wrapping_add(1);
                begun(instance, self.next_id)
            }
            Purpose::Join { session } => {
                let known = &self.sessions[&session];
                let instance = if self.rng.bool() { known.instance } else { instance };
                let joined = joined(instance, known.id, known.next_carrier);
                // Now and then its credentials are another's since the session began.
                let principal = certificate(if self.rng.u8(0..8) == 0 { "renewed" } else { "server" });
                DialedFacts { principal, ..joined }
            }
        }
    }

    fn error(&mut self) -> DialError {
        let detail: Arc<str> = "".into();
        let retry_after = self.rng.bool().then(|| Duration::from_millis(self.rng.u64(0..100_000)));
        match self.rng.u8(0..5) {
            0 => DialError::Closed { code: CloseCode::SESSION_GONE, detail, retry_after: None },
            4 => DialError::Closed { code: CloseCode::OTHER_PRINCIPAL, detail, retry_after: None },
            1 => DialError::Closed { code: CloseCode::BUSY, detail, retry_after },
            _ => unreachable_endpoint(),
        }
    }

    /// An answer of an attempt that is over must change nothing.
    fn late_answer(&mut self) {
        let Some(attempt) = self.rng.choice(self.past.clone()) else {
            return;
        };
        let before = self.fleet.snapshot(self.now, 0, 0);
        let result = if self.rng.bool() { Ok(begun(3, 250)) } else { Err(unreachable_endpoint()) };
        if self.rng.bool() {
            self.fleet.handle_reached(self.now, attempt);
        }
        self.fleet.handle_dialed(self.now, attempt, result);
        assert_eq!(self.fleet.snapshot(self.now, 0, 0), before, "seed {}", self.seed);
        assert!(self.fleet.actions.is_empty() && self.fleet.events.is_empty(), "seed {}", self.seed);
    }

    fn arrive(&mut self) {
        self.next_id = self.next_id.wrapping_add(1);
        let mut arrival = arrival(self.rng.u8(0..4), self.next_id);
        let who = self.rng.u8(0..10);
        // Some handshakes were begun before the newest rotation.
        arrival.ordinal = Ordinal(self.access_ordinal.saturating_sub(u64::from(who == 2)));
        arrival.principal = match who {
            0 => Principal::Anonymous,
            1 => certificate("other"),
            _ => certificate("west"),
        };
        if self.rng.u8(0..5) == 0 {
            arrival.hello.site_id = "site-1".parse().unwrap();
        }
        let accepted: Vec<SessionNumber> =
            self.sessions.iter().filter(|(_, known)| known.accepted).map(|(number, _)| *number).collect();
        if let (Some(joins), true) = (self.rng.choice(accepted), self.rng.bool()) {
            let known = &self.sessions[&joins];
            let (session, proof) = (SessionId([known.id; 16]), [0; 32]);
            arrival.hello = hello(known.instance, known.next_carrier, SessionClaim::Join { session, proof });
        }
        let proof_ok = self.rng.u8(0..5) > 0;
        let instance = arrival.hello.instance.0[0];
        match self.fleet.handle_arrival(self.now, &arrival, |_| proof_ok) {
            Admission::Begin { session } => {
                let (id, accepted, carriers) = (self.next_id, true, BTreeSet::from([0]));
                let known = Known {
                    id,
                    instance,
                    accepted,
                    carriers,
                    next_carrier: 1,
                    ending: false,
                    told_active: true,
                };
                self.sessions.insert(session, known);
            }
            Admission::Join { session } => {
                let known = self.sessions.get_mut(&session).expect("a join of a known session");
                known.carriers.insert(arrival.hello.carrier.0);
                known.next_carrier = known.next_carrier.max(arrival.hello.carrier.0 + 1);
            }
            Admission::Refuse(_) => {}
        }
    }

    fn any_session(&mut self) -> SessionNumber {
        let numbers: Vec<SessionNumber> = self.sessions.keys().copied().collect();
        // Now and then one that never was, or is over.
        if self.rng.u8(0..10) == 0 {
            SessionNumber(9999)
        } else {
            self.rng.choice(numbers).unwrap_or(SessionNumber(0))
        }
    }

    fn tell(&mut self) {
        let session = self.any_session();
        let carriers: Vec<u32> = self
            .sessions
            .get(&session)
            .map_or_else(Vec::new, |known| known.carriers.iter().copied().collect());
        let carrier = self.rng.choice(carriers);
        let number = CarrierNumber(carrier.unwrap_or(77));
        let round_trip = RoundTrip::default();
        let fact = match self.rng.u8(0..13) {
            12 => {
                SessionFact::CarrierRequested { carrier: number, code: CloseCode::REPLACED, deadline: GRACE }
            }
            0..=3 => return self.lose(session, carrier),
            4 | 5 => SessionFact::CarrierSuspect { carrier: number, last_received_ago: GRACE, round_trip },
            6 | 7 => SessionFact::CarrierTrusted { carrier: number },
            8 => SessionFact::PeerCost(Cost::new(self.rng.u32(1..5)).unwrap()),
            9 => SessionFact::Resumed { resent_bytes: 1 },
            10 if self.rng.bool() => SessionFact::PeerActive(self.rng.bool()),
            10 => SessionFact::PeerDraining,
            _ => SessionFact::Drained,
        };
        self.fleet.handle_session(self.now, session, fact);
    }

    /// A carrier of a session, or one that never was.
    fn any_carrier(&mut self) -> (SessionNumber, CarrierNumber) {
        let session = self.any_session();
        let carriers = self.sessions.get(&session).map(|known| known.carriers.iter().copied().collect());
        (session, CarrierNumber(self.rng.choice(carriers.unwrap_or_else(|| vec![77])).unwrap_or(77)))
    }

    fn expire(&mut self) {
        let (session, carrier) = self.any_carrier();
        self.fleet.handle_expired(self.now, session, carrier);
    }

    fn rotate_access(&mut self) {
        self.access_ordinal += self.rng.u64(0..3);
        self.fleet.handle_access_rotated(self.now, ACCESS, Ordinal(self.access_ordinal));
    }

    fn revoke(&mut self) {
        let link = self.any_link();
        let door = link.filter(|_| self.rng.bool()).map_or(Door::Access(ACCESS), Door::Link);
        let older_than = match door {
            Door::Access(_) => Ordinal(self.access_ordinal),
            Door::Link(link) => self.fleet.links[&link].ordinal(),
        };
        self.fleet.handle_revoked(self.now, door, older_than);
        let still = self.fleet.roster.members().filter(|member| member.door() == door);
        let old =
            still.flat_map(|member| member.carriers.values()).filter(|known| known.made.own < older_than);
        let closing = |known: &crate::proto::carrier::Carrier| known.stay == Stay::Closing;
        assert!(old.into_iter().all(closing), "seed {}: revoked and not closed", self.seed);
    }

    /// Law 5: after a rotation has completed, nothing older is left, and none comes.
    fn complete_rotations_hold(&self) {
        for member in self.fleet.roster.members() {
            let oldest = self.facts.complete.get(&member.door()).copied().unwrap_or(Ordinal(0));
            for (number, carrier) in &member.carriers {
                assert!(carrier.made.own >= oldest, "seed {}: {number:?} of {oldest:?}", self.seed);
            }
        }
    }

    /// What is given up in good order goes on somewhere.
    fn others_carry(&self, session: SessionNumber) {
        let others = self.fleet.roster.member(session).map_or(0, |member| member.lasting());
        assert!(others > 0, "seed {}: retired and nothing in its place", self.seed);
    }

    /// A carrier is lost; when it was the last, the session says what that means for it.
    fn lose(&mut self, session: SessionNumber, carrier: Option<u32>) {
        let Some(carrier) = carrier else { return };
        self.fleet.handle_session(self.now, session, down(carrier));
        let known = self.sessions.get_mut(&session).expect("known");
        known.carriers.remove(&carrier);
        if known.carriers.is_empty() {
            self.rounds.clear();
            if self.rng.u8(0..4) == 0 {
                self.end(session);
            } else {
                self.fleet.handle_session(self.now, session, SessionFact::Recovering);
            }
        }
    }

    fn end(&mut self, session: SessionNumber) {
        self.sessions.remove(&session);
        self.rounds.clear();
        let end = SessionEnd::PeerClosed(CloseCode::NORMAL);
        self.fleet.handle_session(self.now, session, ended(end));
    }

    fn end_what_is_ending(&mut self) {
        let ending = self.sessions.iter().find(|(_, known)| known.ending).map(|(number, _)| *number);
        if let Some(session) = ending {
            self.end(session);
        }
    }

    fn pass_time(&mut self) {
        let due = self.fleet.poll_timeout();
        let some = self.now + Duration::from_millis(self.rng.u64(1..3000));
        self.now = if self.rng.bool() { due.unwrap_or(some).max(self.now) } else { some };
        self.fleet.handle_timeout(self.now);
        // Law 10.
        assert!(self.fleet.poll_timeout().is_none_or(|next| next > self.now), "seed {}", self.seed);
    }

    /// Carries out what was asked for, and checks everything.
    fn settle(&mut self) {
        let mut closed = Vec::new();
        while let Some(action) = self.fleet.poll_action() {
            match action {
                FleetAction::Dial(order) => self.dial(order),
                FleetAction::Greet { attempt } => self.greet(attempt),
                FleetAction::Cancel { attempt } => {
                    let before = self.dials.len();
                    self.give_up(attempt);
                    self.dials.retain(|(order, _)| order.attempt != attempt);
                    assert_eq!(
                        self.dials.len() + 1,
                        before,
                        "seed {}: cancelled what is not dialed",
                        self.seed
                    );
                    self.past.push(attempt);
                }
                FleetAction::EndSession { session, .. } => {
                    let known = self.sessions.get_mut(&session).expect("ends a known session");
                    assert!(!known.ending, "seed {}: ended twice", self.seed);
                    known.ending = true;
                    self.rounds.clear();
                }
                FleetAction::RetireCarrier { session, .. } => self.others_carry(session),
                FleetAction::CloseCarrier { session, carrier, .. } => {
                    assert!(self.sessions.contains_key(&session), "seed {}", self.seed);
                    closed.push((session, carrier.0));
                }
                FleetAction::DrainSession { session } => {
                    assert!(self.sessions.contains_key(&session), "seed {}", self.seed);
                    // Its successor begins a round of its own.
                    self.rounds.clear();
                }
                FleetAction::RequestCarrier { session, .. }
                | FleetAction::ReviewKeys { session }
                | FleetAction::SetCost { session, .. } => {
                    assert!(self.sessions.contains_key(&session), "seed {}", self.seed);
                }
                FleetAction::SetActive { session, active } => {
                    // One that ended in the same step hears it no more.
                    if let Some(known) = self.sessions.get_mut(&session) {
                        assert_ne!(known.told_active, active, "seed {}: said twice", self.seed);
                        known.told_active = active;
                    }
                }
                FleetAction::Path(change) => self.pave(change),
            }
        }
        while let Some(event) = self.fleet.poll_event() {
            self.log.push(format!("{event:?}"));
            if let Err(law) = self.facts.take(&event) {
                panic!("seed {}: {law}: {event:?}", self.seed);
            }
        }
        if !closed.is_empty() {
            // A session says at once that what it closes is down.
            for (session, carrier) in closed {
                let live = self.sessions.get(&session).is_some_and(|known| known.carriers.contains(&carrier));
                self.lose(session, Some(carrier).filter(|_| live));
            }
            return self.settle();
        }
        self.nothing_wanted_is_forgotten();
        self.complete_rotations_hold();
        self.one_is_active();
    }

    /// What the paths would know of standby.
    fn pave(&mut self, change: PathChange) {
        match change {
            PathChange::Up { session, candidate } => {
                self.paved.insert(session, candidate.standby);
            }
            PathChange::Standby { session, standby } => {
                let before = self.paved.insert(session, standby);
                assert_eq!(before, Some(!standby), "seed {}: no change", self.seed);
            }
            PathChange::Down { session } => drop(self.paved.remove(&session)),
            _ => {}
        }
    }

    /// Of an edge plane's sessions exactly one is active, here, for its paths, and in the peers' eyes.
    fn one_is_active(&self) {
        if !self.fleet.is_edge() {
            return;
        }
        let dialed: Vec<_> = self.fleet.snapshot(self.now, 0, 0).sessions;
        let dialed = dialed.iter().filter(|view| view.link.is_some() && view.state != SessionState::Ending);
        let active: Vec<SessionNumber> =
            dialed.clone().filter(|view| !view.standby).map(|view| view.session).collect();
        assert_eq!(active.len(), dialed.clone().count().min(1), "seed {}: {active:?}", self.seed);
        for view in dialed {
            assert_eq!(self.sessions[&view.session].told_active, !view.standby, "seed {}", self.seed);
            assert_eq!(self.paved[&view.session], view.standby || view.peer_standby, "seed {}", self.seed);
        }
    }

    /// Law 9, first part: all alternates before any twice. What begins a new round clears `rounds`.
    fn dial(&mut self, order: DialOrder) {
        let same = |other: &DialOrder| {
            (other.link, &other.group, &other.target) == (order.link, &order.group, &order.target)
        };
        let twice = self.dials.iter().any(|(other, _)| same(other));
        assert!(!twice, "seed {}: two attempts at one endpoint", self.seed);
        let newest = self.wanted.get(&order.link).and_then(|wanted| Some(wanted.credentials.as_ref()?.1));
        if let (Some(of), Some(newest)) = (self.fleet.attempts.get(&order.attempt), newest) {
            assert!(of.ordinal >= newest, "seed {}: dialed as with older credentials: {of:?}", self.seed);
        }
        if let Some(wanted) = self.wanted.get(&order.link)
            && let Some((_, targets)) = wanted.groups.iter().find(|(name, _)| *name == order.group)
        {
            let round = self.rounds.entry((order.link, order.group.clone())).or_default();
            round.given_up.retain(|target| *target != order.target);
            if round.tried.contains(&order.target) {
                let all = round.tried.len() + round.given_up.len() >= targets.len() || !round.whole;
                assert!(all, "seed {}: {order:?} after {round:?}", self.seed);
                *round = Round { whole: true, ..Round::default() };
            }
            round.tried.push(order.target.clone());
        }
        self.dials.push((order, Stage::Reaching));
    }

    /// What is given up may come again in the same round, and need not.
    fn give_up(&mut self, attempt: AttemptId) {
        let known = self.dials.iter().find(|(order, _)| order.attempt == attempt);
        let Some((order, _)) = known else { return };
        if let Some(round) = self.rounds.get_mut(&(order.link, order.group.clone())) {
            round.tried.retain(|target| *target != order.target);
            round.given_up.push(order.target.clone());
        }
    }

    /// A hello begins a session at the acceptor: two at once would begin two.
    fn greet(&mut self, attempt: AttemptId) {
        let index = self.dials.iter().position(|(order, _)| order.attempt == attempt);
        let index = index.unwrap_or_else(|| panic!("seed {}: greets what does not run", self.seed));
        let order = self.dials[index].0.clone();
        let rival = self.dials.iter().any(|(other, stage)| {
            (other.link, &other.group) == (order.link, &order.group) && *stage == Stage::Greeting
        });
        assert!(!rival, "seed {}: two attempts of one group greet", self.seed);
        assert_eq!(self.dials[index].1, Stage::Reached, "seed {}: greets before TLS", self.seed);
        self.dials[index].1 = Stage::Greeting;
    }

    /// Law 9, last part: what is wanted is up, being dialed, or waited for.
    /// A link, or one of the groups that it lists or does not, and whether such a thing is.
    fn something_to_drain(&mut self) -> Option<(LinkId, Option<GroupName>, bool)> {
        let link = self.any_link()?;
        let name =
            self.rng.bool().then(|| GroupName::new(self.rng.choice(["a", "b", "c"]).unwrap()).unwrap());
        let listed = self.wanted[&link].group_names();
        let known = name.as_ref().is_none_or(|name| listed.contains(name));
        Some((link, name, known))
    }

    fn drain(&mut self) {
        let Some((link, group, known)) = self.something_to_drain() else { return };
        let grace = Duration::from_secs(self.rng.u64(0..4));
        assert_eq!(
            self.fleet.handle_drain(self.now, link, group.as_ref(), grace),
            known,
            "seed {}",
            self.seed
        );
        match group.filter(|_| known) {
            Some(group) => drop(self.drained.insert((link, group))),
            None if known => drop(self.drained_links.insert(link)),
            None => {}
        }
    }

    fn resume(&mut self) {
        let Some((link, group, known)) = self.something_to_drain() else { return };
        assert_eq!(self.fleet.handle_resume(self.now, link, group.as_ref()), known, "seed {}", self.seed);
        if !known {
            return;
        }
        self.rounds.retain(|(of, _), _| *of != link);
        let Some(group) = group else {
            self.drained_links.remove(&link);
            self.drained.retain(|(of, _)| *of != link);
            return;
        };
        if self.drained_links.remove(&link) {
            let listed = self.wanted[&link].group_names();
            self.drained.extend(listed.into_iter().map(|name| (link, name)));
        }
        self.drained.remove(&(link, group));
    }

    fn drain_session(&mut self) {
        let (session, grace) = (self.any_session(), Duration::from_secs(self.rng.u64(0..4)));
        let known = self.sessions.get(&session).is_some_and(|known| !known.ending);
        assert_eq!(self.fleet.handle_drain_session(self.now, session, grace), known, "seed {}", self.seed);
    }

    /// Of groups that are listed no more nothing is remembered.
    fn forget_drained(&mut self) {
        let wanted = &self.wanted;
        let listed = |link: &LinkId, name: &GroupName| {
            wanted.get(link).is_some_and(|wanted| wanted.groups.iter().any(|(listed, _)| listed == name))
        };
        self.drained.retain(|(link, name)| listed(link, name));
    }

    fn nothing_wanted_is_forgotten(&mut self) {
        self.forget_drained();
        for view in self.fleet.snapshot(self.now, 0, 0).links {
            let Some(wanted) = self.wanted.get(&view.link).filter(|wanted| wanted.usable.is_ok()) else {
                continue;
            };
            for (name, targets) in &wanted.groups {
                let group = view.groups.iter().find(|group| group.name == *name).expect("a wanted group");
                let dialed =
                    self.dials.iter().any(|(order, _)| order.link == view.link && order.group == *name);
                let drained = self.drained_links.contains(&view.link)
                    || self.drained.contains(&(view.link, name.clone()));
                assert_eq!(group.drained, drained, "seed {}: {group:?}", self.seed);
                if drained {
                    let rests =
                        !dialed && group.next_attempt_micros.is_none() && group.state == GroupState::Idle;
                    assert!(rests || group.session.is_some(), "seed {}: {group:?} is dialed", self.seed);
                    continue;
                }
                let busy = dialed || group.next_attempt_micros.is_some() || group.state == GroupState::Up;
                assert!(busy || targets.is_empty(), "seed {}: {group:?} is forgotten", self.seed);
            }
        }
    }

    /// Shuts down: everything that came up must go down.
    fn finish(&mut self) {
        self.wanted.clear();
        self.fleet.handle_shutdown(self.now, Duration::ZERO);
        self.settle();
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.end(session);
            self.settle();
        }
        let facts = &self.facts;
        let left = self.fleet.snapshot(self.now, 0, 0);
        assert!(
            self.fleet.is_idle() && self.dials.is_empty(),
            "seed {}: {left:#?}, {:?}",
            self.seed,
            self.dials
        );
        assert!(facts.links.is_empty() && facts.sessions.is_empty(), "seed {}", self.seed);
        assert!(facts.carriers.is_empty() && facts.groups.is_empty(), "seed {}", self.seed);
        assert!(self.fleet.attempts.is_empty() && self.fleet.poll_timeout().is_none(), "seed {}", self.seed);
    }
}
