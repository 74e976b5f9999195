//! Whole fleets against each other, in simulated time: whatever befell them, once the network is well every wanted
//! group is up, and neither side holds anything that the other does not.
//!
//! Sessions are modelled by the contract of [`SessionFact`]; their bytes have a simulated world of their own. Sites
//! link each other both ways, an edge has four links of three costs to both, one of them with two groups; after
//! every step the laws of its uplinks hold ([`UplinkLaws`]). What befalls them, crossed by the seeds: carriers cut
//! at both ends or at one, answers lost after admission, endpoints that refuse, swallow or never say hello, restarts
//! of any side, ends and drains ordered by an operator, costs changed, groups that leave a document and come back,
//! sessions suspected and trusted again, credentials rotated and revoked, certificates that expire. Late answers of
//! attempts that were given up are delivered. `SIM_SITES=2000 cargo test` runs so many seeds.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::uplink_laws::UplinkLaws;
use super::*;
use crate::proto::trust;

const SEEDS: u64 = 150;
/// How long things befall the sites, and how long they have to get well: longer than a dead carrier, a deadline and
/// a probation together.
const TROUBLE: Duration = Duration::from_secs(90);
const REST: Duration = Duration::from_secs(150);
const DEAD: Duration = Duration::from_secs(30);
const HELLO: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);

#[test]
fn once_the_network_is_well_every_group_is_up_and_nothing_is_left_over() {
    let count = std::env::var("SIM_SITES").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let (mut failovers, mut returns) = (0, 0);
    for seed in 0..count {
        let laws = World::new(seed).run();
        failovers += laws.failovers;
        returns += laws.returns;
    }
    println!("the turn went to another {failovers} times because one failed, {returns} times for the better");
    assert!(failovers > count && returns > 2 * count, "{failovers} failovers, {returns} returns: too few");
}

/// West, east and an edge: who links whom, by index, with a group for each router, and at what cost. The second
/// alternate of a group may be dead for good.
const LINKS: [(usize, &[usize], u32); 6] =
    [(0, &[1], 1), (1, &[0], 1), (2, &[0], 2), (2, &[1], 1), (2, &[0], 1), (2, &[0, 1], 3)];
/// What their accesses say that a link costs: the larger counts.
const ACCESS_COSTS: [u32; 2] = [1, 2];
/// All groups of all links.
const GROUPS: usize = 7;
/// The one of least cost in force of the edge.
const BEST: LinkId = LinkId(5);

struct World {
    seed: u64,
    rng: Rng,
    start: Instant,
    now: Instant,
    sites: Vec<Site>,
    /// In order of time, then of entry.
    agenda: BTreeMap<(Instant, u64), What>,
    entered: u64,
    next_id: u64,
    /// Per (site, alternate): what becomes of who dials it.
    doors: BTreeMap<(usize, u16), Door>,
    /// What the links cost now.
    costs: [u32; LINKS.len()],
    /// The link of two groups has lost the first.
    shortened: bool,
    laws: UplinkLaws,
}

struct Site {
    fleet: Fleet,
    boot: u8,
    halves: BTreeMap<SessionNumber, Half>,
    /// Of all its links, and of its access.
    ordinal: u64,
    dials: BTreeMap<AttemptId, DialOrder>,
}

/// One end of a session.
struct Half {
    id: SessionId,
    /// The peer's site and boot, and its number of the session.
    peer: (usize, u8),
    carriers: BTreeSet<u32>,
    next_carrier: u32,
    /// Counts the recoveries.
    recovery: u64,
    suspects: BTreeSet<u32>,
    /// Its suspects were heard of again: what is dialed in their place may join all the same.
    alarmed: bool,
    /// When the last of what was said so far arrives: all is said in order.
    told_by: Option<Instant>,
}

impl Half {
    fn new(id: SessionId, peer: Who) -> Self {
        let (carriers, suspects) = ([0].into(), BTreeSet::new());
        Self { id, peer, carriers, next_carrier: 1, recovery: 0, suspects, alarmed: false, told_by: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    Refusing,
    Swallowing,
    /// TLS is done, and no hello answered, though the dialer may have been admitted.
    Silent,
}

/// A site and its boot: what is for an earlier one is for nobody.
type Who = (usize, u8);

#[derive(Clone, Debug)]
enum What {
    Reach(Who, AttemptId),
    Hello(Who, AttemptId),
    Answer(Who, AttemptId, Box<Result<DialedFacts, DialError>>, Who),
    Lost(Who, SessionId, u32),
    Closed(Who, SessionId, Option<u32>, CloseCode),
    Active(Who, SessionId, bool),
    Cost(Who, SessionId, Cost),
    Trusted(Who, SessionId),
    PeerDrains(Who, SessionId),
    Drained(Who, SessionId),
    Ended(Who, SessionNumber, SessionEnd),
    Expired(Who, SessionId, u64),
    /// What an acceptor asks for in the place of a carrier is at the dialer.
    Asked(Who, SessionId, u32, CloseCode, Duration),
    /// A carrier that is retired has nothing left in it, if there is another.
    Retired(Who, SessionId, u32, CloseCode),
    Trouble,
}

impl World {
    fn new(seed: u64) -> Self {
        let start = some_moment();
        let mut world = Self {
            seed,
            rng: Rng::with_seed(seed),
            start,
            now: start,
            sites: Vec::new(),
            agenda: BTreeMap::new(),
            entered: 0,
            next_id: 0,
            doors: BTreeMap::new(),
            costs: LINKS.map(|(_, _, cost)| cost),
            shortened: false,
            laws: UplinkLaws::new(config().backoff.stable_after),
        };
        for index in 0..3 {
            let site = world.boot(index, 1);
            world.sites.push(site);
            world.want_links(index);
        }
        world.enter(Duration::ZERO, What::Trouble);
        world
    }

    fn boot(&mut self, index: usize, boot: u8) -> Site {
        let mut config = config();
        config.carriers = 1 + index % 3;
        config.local.site_id = site_id(index);
        config.local.instance = instance((index, boot));
        if index == 2 {
            config.local.role = RouterRole::Edge;
        }
        let mut fleet = Fleet::new(config, self.rng.u64(..));
        let address = "192.0.2.3:5671".parse().unwrap();
        fleet.handle_access_up(self.now, ACCESS, address, LinkRole::InterRouter);
        fleet.handle_access_rotated(self.now, ACCESS, Ordinal(1));
        Site { fleet, boot, halves: BTreeMap::new(), ordinal: 1, dials: BTreeMap::new() }
    }

    fn want_links(&mut self, index: usize) {
        for (number, ((from, to, _), cost)) in (1..).zip(LINKS.into_iter().zip(self.costs)) {
            if from == index {
                let targets =
                    |to: usize| (1..=3).map(|port| Target { host: to.to_string().into(), port }).collect();
                let left_out = usize::from(self.shortened && to.len() > 1);
                let group = |to: usize| (GroupName::new(format!("g{to}")).unwrap(), targets(to));
                let groups = to[left_out..].iter().map(|to| group(*to)).collect();
                let name = LinkName::new(format!("link-{number}")).unwrap();
                let credentials = Some(("own".into(), Ordinal(self.sites[index].ordinal)));
                let cost = Cost::new(cost).unwrap();
                let wanted = LinkWanted { name, groups, cost, credentials, ..wanted(&[]) };
                self.sites[index].fleet.handle_link(self.now, LinkId(number), wanted);
            }
        }
        self.settle(index);
    }

    fn run(mut self) -> UplinkLaws {
        let until = self.start + TROUBLE + REST;
        loop {
            let entry = self.agenda.keys().next().map(|(at, _)| *at);
            let timers = self.sites.iter().filter_map(|site| site.fleet.poll_timeout());
            let Some(next) = timers.chain(entry).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for index in 0..self.sites.len() {
                if self.sites[index].fleet.poll_timeout().is_some_and(|due| due <= self.now) {
                    self.sites[index].fleet.handle_timeout(self.now);
                    self.settle(index);
                }
            }
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let what = entry.remove();
                self.happen(what);
            }
        }
        self.now = until;
        self.nothing_is_missing_or_left_over();
        self.laws
    }

    fn enter(&mut self, after: Duration, what: What) {
        self.entered += 1;
        self.agenda.insert((self.now + after, self.entered), what);
    }

    fn soon(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(100..40_000))
    }

    fn who(&self, index: usize) -> Who {
        (index, self.sites[index].boot)
    }

    fn lives(&self, who: Who) -> bool {
        self.sites[who.0].boot == who.1
    }

    fn number_of(&self, who: Who, id: SessionId) -> Option<SessionNumber> {
        let halves = self.lives(who).then(|| self.sites[who.0].halves.iter())?;
        halves.filter(|(_, half)| half.id == id).map(|(number, _)| *number).next()
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Trouble => self.befall(),
            What::Reach(who, attempt) => self.reach(who, attempt),
            What::Hello(who, attempt) => self.greeted(who, attempt),
            What::Answer(who, attempt, result, by) => self.answered(who, attempt, *result, by),
            What::Lost(who, id, carrier) => self.lose(who, id, carrier, CarrierEnd::Eof),
            What::Closed(who, id, Some(carrier), code) => {
                self.lose(who, id, carrier, CarrierEnd::PeerClosed(code));
            }
            What::Closed(who, id, None, code) => {
                if let Some(number) = self.number_of(who, id) {
                    self.end(who, number, SessionEnd::PeerClosed(code));
                }
            }
            What::Active(who, id, active) => self.tell(who, id, SessionFact::PeerActive(active)),
            What::Cost(who, id, cost) => self.tell(who, id, SessionFact::PeerCost(cost)),
            What::Trusted(who, id) => self.trust(who, id),
            What::PeerDrains(who, id) => self.tell(who, id, SessionFact::PeerDraining),
            What::Drained(who, id) => self.tell(who, id, SessionFact::Drained),
            What::Ended(who, number, end) => self.end(who, number, end),
            What::Asked(who, id, carrier, code, deadline) => {
                let has = |half: &Half| half.id == id && half.carriers.contains(&carrier);
                let asker = |half: &Half| half.peer == who && has(half);
                let asked = self.number_of(who, id).is_some_and(|at| has(&self.sites[who.0].halves[&at]));
                if !asked && self.sites.iter().any(|site| site.halves.values().any(asker)) {
                    // A session says it behind its hello, which is still on its way.
                    return self
                        .enter(Duration::from_millis(100), What::Asked(who, id, carrier, code, deadline));
                }
                let carrier = CarrierNumber(carrier);
                self.tell(who, id, SessionFact::CarrierRequested { carrier, code, deadline });
            }
            What::Retired(who, id, carrier, code) => {
                let Some(number) = self.number_of(who, id) else { return };
                if self.sites[who.0].halves[&number].carriers.len() > 1 {
                    self.close(who, number, carrier, code);
                } else {
                    self.enter(Duration::from_secs(1), What::Retired(who, id, carrier, code));
                }
            }
            What::Expired(who, id, recovery) => {
                let Some(number) = self.number_of(who, id) else { return };
                let half = &self.sites[who.0].halves[&number];
                if half.carriers.is_empty() && half.recovery == recovery {
                    self.end(who, number, SessionEnd::ResumeExpired(DEAD));
                }
            }
        }
    }

    fn tell(&mut self, who: Who, id: SessionId, fact: SessionFact) {
        if let Some(number) = self.number_of(who, id) {
            self.sites[who.0].fleet.handle_session(self.now, number, fact);
            self.settle(who.0);
        }
    }

    fn end(&mut self, who: Who, number: SessionNumber, end: SessionEnd) {
        if self.lives(who) && self.sites[who.0].halves.remove(&number).is_some() {
            self.sites[who.0].fleet.handle_session(self.now, number, ended(end));
            self.settle(who.0);
        }
    }

    fn lose(&mut self, who: Who, id: SessionId, carrier: u32, end: CarrierEnd) {
        let Some(number) = self.number_of(who, id) else { return };
        let Some(half) = self.sites[who.0].halves.get_mut(&number) else { return };
        if !half.carriers.remove(&carrier) {
            return;
        }
        half.recovery += 1;
        let (recovery, bare) = (half.recovery, half.carriers.is_empty());
        let fact = SessionFact::CarrierDown {
            carrier: CarrierNumber(carrier),
            end,
            last_received_ago: Duration::ZERO,
            traffic: Traffic::default(),
            round_trip: RoundTrip::default(),
        };
        let fleet = &mut self.sites[who.0].fleet;
        fleet.handle_session(self.now, number, fact);
        if bare {
            fleet.handle_session(self.now, number, SessionFact::Recovering);
            self.enter(DEAD, What::Expired(who, id, recovery));
        }
        self.settle(who.0);
    }

    /// An end closes a carrier.
    fn close(&mut self, who: Who, number: SessionNumber, carrier: u32, code: CloseCode) {
        let Some(half) =
            self.sites[who.0].halves.get(&number).filter(|half| half.carriers.contains(&carrier))
        else {
            return;
        };
        let (id, peer, after) = (half.id, half.peer, self.soon());
        self.enter(after, What::Closed(peer, id, Some(carrier), code));
        self.lose(who, id, carrier, CarrierEnd::Closed(code));
    }

    /// All credentials of a site change, and those before may be revoked.
    fn rotate(&mut self, index: usize) {
        self.sites[index].ordinal += 1;
        let ordinal = Ordinal(self.sites[index].ordinal);
        self.want_links(index);
        self.sites[index].fleet.handle_access_rotated(self.now, ACCESS, ordinal);
        if self.rng.u8(..4) == 0 {
            let fleet = &mut self.sites[index].fleet;
            fleet.handle_revoked(self.now, trust::Door::Access(ACCESS), ordinal);
            let links: Vec<_> = fleet.links.keys().copied().collect();
            for link in links {
                fleet.handle_revoked(self.now, trust::Door::Link(link), ordinal);
            }
        }
        self.settle(index);
    }

    fn expire(&mut self, index: usize) {
        let all: Vec<_> = self.carriers_of(index);
        if let Some((number, carrier)) = self.rng.choice(all) {
            self.sites[index].fleet.handle_expired(self.now, number, CarrierNumber(carrier));
            self.settle(index);
        }
    }

    fn carriers_of(&self, index: usize) -> Vec<(SessionNumber, u32)> {
        let of = |(number, half): (&SessionNumber, &Half)| {
            half.carriers.iter().map(|carrier| (*number, *carrier)).collect::<Vec<_>>()
        };
        self.sites[index].halves.iter().flat_map(of).collect()
    }

    /// One more thing befalls somebody, until it is over and everything is well but what is dead for good.
    fn befall(&mut self) {
        let over = self.now - self.start >= TROUBLE;
        if over {
            self.doors.retain(|(_, alternate), _| *alternate == 2);
            (self.costs, self.shortened) = (LINKS.map(|(_, _, cost)| cost), false);
            (0..3).for_each(|index| self.want_links(index));
            return;
        }
        let next = Duration::from_millis(self.rng.u64(1..4000));
        self.enter(next, What::Trouble);
        let index = self.rng.usize(..3);
        match self.rng.u8(..19) {
            18 => self.drain(index),
            13 | 14 => self.suspect(index),
            15 | 16 => {
                self.costs[self.rng.usize(..LINKS.len())] = self.rng.u32(1..4);
                (0..3).for_each(|index| self.want_links(index));
            }
            17 => {
                self.shortened = !self.shortened;
                self.want_links(2);
            }
            10 | 11 => self.rotate(index),
            12 => self.expire(index),
            0 => self.restart(index),
            1..=3 => {
                let doors = [Door::Open, Door::Refusing, Door::Swallowing, Door::Silent];
                let door = doors[self.rng.usize(..4)];
                self.doors.insert((index, self.rng.u16(1..4)), door);
            }
            4 => {
                let numbers: Vec<_> = self.sites[index].halves.keys().copied().collect();
                if let Some(session) = self.rng.choice(numbers) {
                    self.sites[index].fleet.handle_disconnect(self.now, session);
                    self.settle(index);
                }
            }
            _ => self.cut(index),
        }
    }

    /// A carrier is lost: at both ends, or at one that notices, and much later at the other.
    fn cut(&mut self, index: usize) {
        let who = self.who(index);
        let all = self.carriers_of(index);
        let Some((number, carrier)) = self.rng.choice(all) else { return };
        let half = &self.sites[index].halves[&number];
        let (id, peer) = (half.id, half.peer);
        let later = if self.rng.bool() { DEAD } else { self.soon() };
        self.enter(later, What::Lost(peer, id, carrier));
        self.lose(who, id, carrier, CarrierEnd::Eof);
    }

    /// A site takes no new streams of a session, and lets those there are end.
    fn drain(&mut self, index: usize) {
        let numbers: Vec<_> = self.sites[index].halves.keys().copied().collect();
        let Some(number) = self.rng.choice(numbers) else { return };
        let (fleet, until) = (&mut self.sites[index].fleet, self.now + Duration::from_secs(5));
        fleet.drain(self.now, number, until, CloseCode::DISCONNECTED);
        fleet.settle(self.now);
        self.settle(index);
    }

    /// A site suspects all carriers of a session.
    fn suspect(&mut self, index: usize) {
        let numbers: Vec<_> = self.sites[index].halves.keys().copied().collect();
        let Some(number) = self.rng.choice(numbers) else { return };
        let half = self.sites[index].halves.get_mut(&number).expect("one of those there are");
        half.suspects.clone_from(&half.carriers);
        let (id, suspects) = (half.id, half.suspects.clone());
        for carrier in suspects.into_iter().map(CarrierNumber) {
            let (last_received_ago, round_trip) = (Duration::from_secs(1), RoundTrip::default());
            let fact = SessionFact::CarrierSuspect { carrier, last_received_ago, round_trip };
            self.sites[index].fleet.handle_session(self.now, number, fact);
        }
        let (after, who) = (Duration::from_millis(self.rng.u64(1..5000)), self.who(index));
        self.enter(after, What::Trusted(who, id));
        self.settle(index);
    }

    /// Another carrier has joined: what is suspect is held dead.
    fn fence(&mut self, who: Who, id: SessionId) {
        let Some(number) = self.number_of(who, id) else { return };
        let half = self.sites[who.0].halves.get_mut(&number).expect("a known session");
        let (suspects, peer) = (std::mem::take(&mut half.suspects), half.peer);
        for carrier in suspects {
            let after = self.soon();
            self.enter(after, What::Lost(peer, id, carrier));
            self.lose(who, id, carrier, CarrierEnd::Replaced);
        }
    }

    /// What is suspect still is heard of again.
    fn trust(&mut self, who: Who, id: SessionId) {
        let Some(number) = self.number_of(who, id) else { return };
        let half = self.sites[who.0].halves.get_mut(&number).expect("a known session");
        let suspects = std::mem::take(&mut half.suspects);
        half.alarmed |= !suspects.is_empty();
        for carrier in suspects.into_iter().map(CarrierNumber) {
            self.tell(who, id, SessionFact::CarrierTrusted { carrier });
        }
    }

    /// Everything a site had is gone; its peers see that at once, or when they find it dead.
    fn restart(&mut self, index: usize) {
        let boot = self.sites[index].boot + 1;
        let fresh = self.boot(index, boot);
        let old = std::mem::replace(&mut self.sites[index], fresh);
        if index == 2 {
            let told = std::mem::replace(&mut self.laws, UplinkLaws::new(config().backoff.stable_after));
            (self.laws.failovers, self.laws.returns) = (told.failovers, told.returns);
        }
        let silent = self.rng.bool();
        for half in old.halves.into_values() {
            for carrier in half.carriers {
                let after = if silent { DEAD } else { self.soon() };
                self.enter(after, What::Lost(half.peer, half.id, carrier));
            }
        }
        self.want_links(index);
    }

    fn reach(&mut self, who: Who, attempt: AttemptId) {
        if !self.lives(who) {
            return;
        }
        let Some(order) = self.sites[who.0].dials.get(&attempt).cloned() else { return };
        let to: usize = order.target.host.parse().unwrap();
        let door = self.doors.get(&(to, order.target.port)).copied().unwrap_or(Door::Open);
        let fail = |error| Box::new(Err(error));
        match door {
            Door::Open | Door::Silent => {
                self.sites[who.0].fleet.handle_reached(self.now, attempt);
                self.settle(who.0);
            }
            Door::Refusing => {
                let error = fail(unreachable_endpoint());
                self.enter(Duration::ZERO, What::Answer(who, attempt, error, who));
            }
            Door::Swallowing => {
                let phase = crate::error::Phase::Connect;
                let error = fail(DialError::TimedOut { phase, after: CONNECT });
                self.enter(CONNECT, What::Answer(who, attempt, error, who));
            }
        }
    }

    /// The hello is at the acceptor.
    fn greeted(&mut self, who: Who, attempt: AttemptId) {
        let Some(order) = self.lives(who).then(|| self.sites[who.0].dials.get(&attempt).cloned()).flatten()
        else {
            return;
        };
        let to: usize = order.target.host.parse().unwrap();
        let by = self.who(to);
        let silent = self.doors.get(&(to, order.target.port)) == Some(&Door::Silent);
        if silent && self.rng.bool() {
            return self.time_out(who, attempt);
        }
        let (claim, alive) = match order.purpose {
            Purpose::Begin => (SessionClaim::New, BTreeSet::new()),
            Purpose::Join { session } => {
                let Some(half) = self.sites[who.0].halves.get_mut(&session) else { return };
                let claim = SessionClaim::Join { session: half.id, proof: [0; 32] };
                half.next_carrier += 1;
                (claim, half.carriers.clone())
            }
        };
        let number = match order.purpose {
            Purpose::Begin => 0,
            Purpose::Join { session } => self.sites[who.0].halves[&session].next_carrier - 1,
        };
        self.next_id += 1;
        let fresh = u128::from(self.next_id).to_be_bytes();
        let mut arrival = arrival(0, 0);
        (arrival.fresh_id, arrival.fresh_secret) = (SessionId(fresh), SessionSecret([0; 32]));
        arrival.hello = greeting(who, number, claim);
        // Some handshakes were begun before the newest rotation.
        arrival.ordinal = Ordinal(self.sites[to].ordinal - u64::from(self.rng.u8(..20) == 0));
        (arrival.hello.link, arrival.hello.group) = (order.name.clone(), order.group);
        arrival.principal = certificate(&format!("site-{}", who.0));
        arrival.role = if who.0 == 2 { LinkRole::Edge } else { LinkRole::InterRouter };
        (arrival.hello.role, arrival.hello.cost) = (arrival.role, order.cost);
        arrival.cost = Cost::new(ACCESS_COSTS[to]).unwrap();
        let admission = self.sites[to].fleet.handle_arrival(self.now, &arrival, |_| true);
        let (id, answer) = match admission {
            Admission::Begin { session } => {
                let id = SessionId(fresh);
                self.sites[to].halves.insert(session, Half::new(id, who));
                (id, SessionClaim::Begun { session: id, secret: SessionSecret([0; 32]) })
            }
            Admission::Join { session } => {
                let half = self.sites[to].halves.get_mut(&session).expect("a known session");
                let id = half.id;
                // What the hello says is dead falls here.
                let dead: Vec<u32> = half.carriers.difference(&alive).copied().collect();
                half.carriers.insert(number);
                for carrier in dead {
                    self.lose(by, id, carrier, CarrierEnd::Replaced);
                }
                self.fence(by, id);
                (id, SessionClaim::Joined { session: id })
            }
            Admission::Refuse(refusal) => {
                self.settle(to);
                let (code, detail) = (refusal.code, refusal.detail);
                let error = DialError::Closed { code, detail, retry_after: refusal.retry_after };
                let after = self.soon();
                return self.enter(after, What::Answer(who, attempt, Box::new(Err(error)), by));
            }
        };
        self.settle(to);
        if silent {
            // It was admitted, and nobody will know; the acceptor finds the carrier dead.
            self.enter(DEAD, What::Lost(by, id, number));
            return self.time_out(who, attempt);
        }
        let mut facts = facts(greeting(by, number, answer));
        facts.hello.cost = arrival.cost;
        facts.principal = certificate(&format!("server-{to}"));
        let after = self.soon();
        self.enter(after, What::Answer(who, attempt, Box::new(Ok(facts)), by));
    }

    fn time_out(&mut self, who: Who, attempt: AttemptId) {
        let error = DialError::TimedOut { phase: crate::error::Phase::Hello, after: HELLO };
        self.enter(HELLO, What::Answer(who, attempt, Box::new(Err(error)), who));
    }

    /// What came of an attempt is at its dialer, who may have given it up.
    fn answered(&mut self, who: Who, attempt: AttemptId, result: Result<DialedFacts, DialError>, by: Who) {
        let hello = result.as_ref().ok().map(|facts| facts.hello.clone());
        let id = hello.as_ref().map(|hello| match hello.session {
            SessionClaim::Begun { session, .. } | SessionClaim::Joined { session } => session,
            _ => unreachable!("an acceptor's hello"),
        });
        let number = hello.map_or(0, |hello| hello.carrier.0);
        if !self.lives(who) {
            // Its connections went with it.
            if let Some(id) = id {
                let after = self.soon();
                self.enter(after, What::Lost(by, id, number));
            }
            return;
        }
        let site = &mut self.sites[who.0];
        let known = site.dials.remove(&attempt).is_some();
        let before = (!known).then(|| site.fleet.snapshot(self.now, 0, 0));
        let verdict = site.fleet.handle_dialed(self.now, attempt, result);
        if let Some(before) = before {
            let after = site.fleet.snapshot(self.now, 0, 0);
            assert_eq!(after, before, "seed {}: a late answer changed something", self.seed);
        }
        let Some(id) = id else { return self.settle(who.0) };
        match verdict {
            Verdict::Begin { session } => {
                self.sites[who.0].halves.insert(session, Half::new(id, by));
            }
            Verdict::Join { session } => {
                let alive =
                    self.number_of(by, id).map(|number| self.sites[by.0].halves[&number].carriers.clone());
                let half = self.sites[who.0].halves.get_mut(&session).expect("a known session");
                half.carriers.insert(number);
                let alive = alive.unwrap_or_default();
                let dead: Vec<u32> = half
                    .carriers
                    .iter()
                    .filter(|own| !alive.contains(own) && **own != number)
                    .copied()
                    .collect();
                for carrier in dead {
                    self.lose(who, id, carrier, CarrierEnd::Replaced);
                }
                self.fence(who, id);
                if !alive.contains(&number) {
                    let after = self.soon();
                    self.enter(after, What::Lost(who, id, number));
                }
            }
            Verdict::Close { scope, code, .. } => {
                let carrier = (scope == CloseScope::Carrier).then_some(number);
                let after = self.soon();
                self.enter(after, What::Closed(by, id, carrier, code));
            }
        }
        self.settle(who.0);
        // Begun here and over there meanwhile: its connection has ended.
        if self.number_of(by, id).is_none() {
            let after = self.soon();
            self.enter(after, What::Lost(who, id, number));
        }
    }

    /// Carries out what a site's fleet asks for.
    fn settle(&mut self, index: usize) {
        let who = self.who(index);
        while let Some(action) = self.sites[index].fleet.poll_action() {
            let after = self.soon();
            if index == 2 {
                self.holds(|laws, world| laws.act(&world.sites[2].fleet, &action));
            }
            match action {
                FleetAction::Dial(order) => {
                    let attempt = order.attempt;
                    self.sites[index].dials.insert(attempt, order);
                    self.enter(after, What::Reach(who, attempt));
                }
                FleetAction::Greet { attempt } => self.enter(after, What::Hello(who, attempt)),
                FleetAction::Cancel { attempt } => drop(self.sites[index].dials.remove(&attempt)),
                FleetAction::DrainSession { session } => {
                    let id = self.sites[index].halves[&session].id;
                    self.say(index, session, after, What::PeerDrains);
                    let streams = Duration::from_millis(self.rng.u64(100..4000));
                    self.enter(streams, What::Drained(who, id));
                }
                FleetAction::EndSession { session, end, code } => {
                    let Some(half) = self.sites[index].halves.get(&session) else { continue };
                    let (id, peer) = (half.id, half.peer);
                    if !half.carriers.is_empty() {
                        self.enter(after, What::Closed(peer, id, None, code));
                    }
                    self.enter(Duration::ZERO, What::Ended(who, session, end));
                }
                FleetAction::SetActive { session, active } => {
                    self.say(index, session, after, |who, id| What::Active(who, id, active));
                }
                FleetAction::SetCost { session, cost } => {
                    self.say(index, session, after, |who, id| What::Cost(who, id, cost));
                }
                FleetAction::CloseCarrier { session, carrier, code } => {
                    self.close(who, session, carrier.0, code);
                }
                FleetAction::RetireCarrier { session, carrier, code } => {
                    let id = self.sites[index].halves.get(&session).map(|half| half.id);
                    // The session that has just begun is heard of later.
                    let Some(id) = id else { continue };
                    self.enter(after, What::Retired(who, id, carrier.0, code));
                }
                FleetAction::RequestCarrier { session, carrier, code, deadline } => {
                    let Some(half) = self.sites[index].halves.get(&session) else { continue };
                    let (id, peer) = (half.id, half.peer);
                    self.enter(after, What::Asked(peer, id, carrier.0, code, deadline));
                }
                FleetAction::ReviewKeys { .. } | FleetAction::Path(_) => {}
            }
        }
        while self.sites[index].fleet.poll_event().is_some() {}
        let site = &self.sites[index];
        let counted: BTreeSet<AttemptId> = site.fleet.attempts.keys().copied().collect();
        let run: BTreeSet<AttemptId> = site.dials.keys().copied().collect();
        assert_eq!(run, counted, "seed {}: what runs is not what counts", self.seed);
        if index == 2 {
            self.holds(|laws, world| laws.settled(world.now, &world.sites[2].fleet));
        }
    }

    /// A session says something to its peer, after all it said before.
    fn say(
        &mut self,
        index: usize,
        session: SessionNumber,
        after: Duration,
        what: impl FnOnce(Who, SessionId) -> What,
    ) {
        let Some(half) = self.sites[index].halves.get_mut(&session) else { return };
        let at = half.told_by.max(Some(self.now + after)).unwrap_or(self.now);
        half.told_by = Some(at);
        let what = what(half.peer, half.id);
        self.enter(at - self.now, what);
    }

    fn holds(&mut self, law: impl FnOnce(&mut UplinkLaws, &Self) -> Result<(), String>) {
        let mut laws = std::mem::replace(&mut self.laws, UplinkLaws::new(Duration::ZERO));
        let held = law(&mut laws, self);
        self.laws = laws;
        held.unwrap_or_else(|broken| panic!("seed {}, {:?}: {broken}", self.seed, self.now - self.start));
    }

    fn nothing_is_missing_or_left_over(&self) {
        let seed = self.seed;
        for (index, site) in self.sites.iter().enumerate() {
            let status = site.fleet.snapshot(self.now, 0, 0);
            for session in &status.sessions {
                let wanted = 1 + index % 3;
                let more = usize::from(site.halves[&session.session].alarmed);
                assert!(
                    session.link.is_none() || (wanted..=wanted + more).contains(&session.carriers.len()),
                    "seed {seed}, site {index}: {session:#?}"
                );
                for carrier in &session.carriers {
                    let newest = Ordinal(site.ordinal);
                    assert_eq!(carrier.ordinal, newest, "seed {seed}, site {index}: {session:#?}");
                }
            }
            assert!(site.fleet.rotations.is_empty(), "seed {seed}, site {index}: {:?}", site.fleet.rotations);
            for link in status.links {
                for group in &link.groups {
                    assert_eq!(group.state, GroupState::Up, "seed {seed}, site {index}: {group:#?}");
                }
            }
            assert!(site.dials.is_empty(), "seed {seed}, site {index}: {:?}", site.dials);
            let numbers: BTreeSet<_> = site.halves.keys().copied().collect();
            let known: BTreeSet<_> = site.fleet.roster.numbers().into_iter().collect();
            assert_eq!(numbers, known, "seed {seed}, site {index}");
            for half in site.halves.values() {
                assert!(self.lives(half.peer), "seed {seed}, site {index}: a session with a dead boot");
                let other = self.number_of(half.peer, half.id);
                let other = other.unwrap_or_else(|| panic!("seed {seed}, site {index}: a phantom session"));
                let other = &self.sites[half.peer.0].halves[&other];
                assert_eq!(half.carriers, other.carriers, "seed {seed}, site {index}: phantom carriers");
            }
        }
        let sessions: usize = self.sites.iter().map(|site| site.halves.len()).sum();
        assert_eq!(sessions, 2 * GROUPS, "seed {seed}");
        let edge = self.sites[2].fleet.snapshot(self.now, 0, 0);
        let active = edge.sessions.iter().find(|view| !view.standby).and_then(|view| view.link);
        assert_eq!(active, Some(BEST), "seed {seed}: the cheapest one is active again");
        for half in &edge.sessions {
            // The peer was told.
            let peer = self.sites[2].halves[&half.session].peer;
            let number = self.number_of(peer, half.id).unwrap();
            let other = self.sites[peer.0].fleet.snapshot(self.now, 0, 0).sessions;
            let other = other.into_iter().find(|view| view.session == number).unwrap();
            assert_eq!((other.peer_standby, other.cost), (half.standby, half.cost), "seed {seed}: {half:#?}");
        }
    }
}

fn site_id(index: usize) -> SiteId {
    SiteId::new(format!("site-{index}")).unwrap()
}

fn instance(who: Who) -> Instance {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (u8::try_from(who.0).unwrap() + 1, who.1);
    Instance(bytes)
}

fn greeting(who: Who, carrier: u32, claim: SessionClaim) -> Box<Hello> {
    let mut hello = hello(0, carrier, claim);
    (hello.site_id, hello.instance) = (site_id(who.0), instance(who));
    hello
}
