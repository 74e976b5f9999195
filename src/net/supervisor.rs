//! The task that keeps a plane as it is wanted: carries out what the fleet decides, and tells it what happens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::{CarrierEnd, DialError, SessionEnd, Violation};
use crate::event::{EventKind, Peer};
use crate::id::{CarrierNumber, SessionNumber, Side};
use crate::net::dialer::{self, DialSpec, Dialed};
use crate::net::greeting::{Secured, linger};
use crate::net::handshake::Arrival;
use crate::net::hub::{HelloParts, Hub, lock};
use crate::net::joining::Joining;
use crate::net::listener::AccessReport;
use crate::net::shared::SessionHandle;
use crate::net::{carrier, clock, secret};
use crate::proto::dial::{AttemptId, Purpose};
use crate::proto::facts::{self, Admission, DialOrder, DialedFacts, FleetAction, SessionFact, Verdict};
use crate::proto::session::{Session, SessionEvent, SessionParams};
use crate::stats::{RoundTrip, Traffic};
use crate::wire::code::CloseCode;
use crate::wire::frame::{CloseScope, Frame};
use crate::wire::hello::{Hello, SessionClaim};

/// Runs until the plane has ended. `access_reports` is the other end of the hub's.
pub(crate) async fn run(hub: Arc<Hub>, access_reports: mpsc::Receiver<AccessReport>) {
    let (dial_reports, dialed) = mpsc::channel(REPORTS);
    Supervisor { hub, known: BTreeMap::new(), attempts: HashMap::new(), dial_reports }
        .run(access_reports, dialed)
        .await;
}

struct Supervisor {
    hub: Arc<Hub>,
    known: BTreeMap<SessionNumber, Known>,
    /// Dial tasks under way.
    attempts: HashMap<AttemptId, CancellationToken>,
    dial_reports: mpsc::Sender<DialReport>,
}

/// What the supervisor keeps of a session.
struct Known {
    handle: SessionHandle,
    /// What a joining carrier claims and proves; only a dialer needs it here.
    claim: Option<SessionClaim>,
    /// When the session as a whole has something due.
    due: Option<Instant>,
    told_draining: bool,
    told_standby: bool,
}

/// The end of a dial task.
struct DialReport {
    attempt: AttemptId,
    outcome: Result<Box<Dialed>, DialError>,
    joining: Option<Arc<Joining>>,
}

impl Supervisor {
    async fn run(
        mut self,
        mut access_reports: mpsc::Receiver<AccessReport>,
        mut dialed: mpsc::Receiver<DialReport>,
    ) {
        let hub = Arc::clone(&self.hub);
        while !hub.cancel.is_cancelled() {
            self.carry_out();
            if hub.closing.is_cancelled() && hub.fleet().is_idle() {
                break;
            }
            let due = self.next_due();
            tokio::select! {
                () = hub.cancel.cancelled() => {}
                () = hub.stir.notified() => {}
                marked = hub.inbox.take() => marked.into_iter().for_each(|session| self.listen_to(session)),
                Some(report) = dialed.recv() => self.handle_dialed(report),
                Some(report) = access_reports.recv() => self.handle_access(report),
                () = tokio::time::sleep_until(due.unwrap_or_else(|| clock::now() + IDLE).into()) => self.handle_due(),
            }
        }
        self.end();
    }

    /// Publishes what happened and does what the fleet asks for, until it asks for nothing more.
    fn carry_out(&mut self) {
        let hub = Arc::clone(&self.hub);
        loop {
            let (events, actions) = {
                let mut fleet = hub.fleet();
                let events: Vec<_> = std::iter::from_fn(|| fleet.poll_event()).collect();
                let actions: Vec<_> = std::iter::from_fn(|| fleet.poll_action()).collect();
                (events, actions)
            };
            if events.is_empty() && actions.is_empty() {
                break;
            }
            events.into_iter().for_each(|event| hub.fanout.publish(event));
            actions.into_iter().for_each(|action| self.act(action));
        }
        let news: Vec<_> = {
            let mut paths = hub.paths();
            std::iter::from_fn(|| paths.poll_event()).collect()
        };
        if !news.is_empty() {
            news.into_iter().for_each(|event| hub.fanout.publish(event));
        }
        hub.path_news.notify_waiters();
    }

    fn act(&mut self, action: FleetAction) {
        let now = clock::now();
        match action {
            FleetAction::Dial(order) => self.dial(order),
            FleetAction::Cancel { attempt } => {
                if let Some(cancel) = self.attempts.remove(&attempt) {
                    cancel.cancel();
                }
            }
            FleetAction::DrainSession { session } => self.with(session, Session::drain),
            FleetAction::EndSession { session, end, code } => {
                self.with(session, |session| session.end_with(now, end, code));
            }
            FleetAction::SetCost { session, cost } => {
                self.with(session, |session| session.announce_cost(cost))
            }
            FleetAction::Path(change) => self.hub.paths().handle_change(change),
        }
    }

    fn with(&self, session: SessionNumber, act: impl FnOnce(&mut Session)) {
        if let Some(known) = self.known.get(&session) {
            known.handle.with(act);
        }
    }

    /// Starts a dial task.
    fn dial(&mut self, order: DialOrder) {
        let attempt = order.attempt;
        let dialing = lock(&self.hub.dialing).get(&order.link).cloned();
        let joined = match order.purpose {
            Purpose::Begin => None,
            Purpose::Join { session } => match self.known.get(&session) {
                Some(Known { handle, claim: Some(claim), .. }) => {
                    Some(Arc::new(Joining::new(handle.clone(), claim.clone())))
                }
                _ => return self.abandon(attempt, "the session to join has ended"),
            },
        };
        let Some(dialing) = dialing else {
            return self.abandon(attempt, "no credentials to dial with");
        };
        let (hub, joining) = (Arc::clone(&self.hub), joined.clone());
        let (name, group, cost) = (order.name, order.group, order.cost);
        let ordinal = dialing.ordinal;
        let hello = Box::new(move |exporter: &[u8; secret::EXPORTER]| {
            let (carrier, session, dead) = match &joining {
                None => (CarrierNumber(0), SessionClaim::New, Vec::new()),
                Some(joining) => joining.claim(exporter),
            };
            let role = hub.local.role.link_role();
            Ok(hub.hello(HelloParts { role, link: name, group, cost, ordinal, carrier, session, dead }))
        });
        let spec = DialSpec {
            host: order.target.host,
            port: order.target.port,
            tls: dialing.tls,
            deadlines: self.hub.config.deadlines,
            dead: self.hub.config.liveness.dead,
            hello,
        };
        let cancel = self.hub.cancel.child_token();
        self.attempts.insert(attempt, cancel.clone());
        let reports = self.dial_reports.clone();
        self.hub.tasks.spawn(async move {
            let dialing = Box::pin(dialer::dial(spec));
            if let Some(outcome) = cancel.run_until_cancelled(dialing).await {
                let outcome = outcome.map(Box::new);
                // A supervisor that is gone wants no report: the connection closes.
                let _ = reports.send(DialReport { attempt, outcome, joining: joined }).await;
            }
        });
    }

    /// Answers an order that cannot be carried out.
    fn abandon(&self, attempt: AttemptId, why: &str) {
        let error = DialError::Local(why.into());
        self.hub.fleet().handle_dialed(clock::now(), attempt, Err(error));
    }

    fn handle_dialed(&mut self, report: DialReport) {
        let DialReport { attempt, outcome, joining } = report;
        self.attempts.remove(&attempt);
        let now = clock::now();
        let dialed = match outcome {
            Ok(dialed) => *dialed,
            Err(error) => {
                drop(joining);
                self.hub.fleet().handle_dialed(now, attempt, Err(error));
                return;
            }
        };
        let Dialed { connection, hello } = dialed;
        let facts = DialedFacts {
            hello: Box::new(hello.clone()),
            principal: connection.principal.clone(),
            local: connection.local,
            remote: connection.remote,
        };
        let verdict = self.hub.fleet().handle_dialed(now, attempt, Ok(facts));
        match verdict {
            Verdict::Begin { session } => self.begin_dialed(session, hello, connection),
            Verdict::Join { session } => {
                let handle = self.known.get(&session).map(|known| known.handle.clone());
                match handle.filter(|_| joining.is_some_and(|joining| joining.done(&hello.dead))) {
                    Some(handle) => self.drive(handle, hello.carrier, connection),
                    None => self.never_up(session, hello.carrier, connection),
                }
            }
            Verdict::Close { scope, code, detail } => self.turn_away(connection, scope, code, &detail),
        }
    }

    fn begin_dialed(&mut self, number: SessionNumber, hello: Hello, connection: Secured) {
        let SessionClaim::Begun { session: id, secret } = hello.session.clone() else { return };
        let handle = self.new_session(number, Side::Dialer, &hello, &connection);
        let now = clock::now();
        // A new session has no carrier that could contradict the hello.
        let _ = handle.with(|session| session.handle_carrier_up(now, hello.carrier, &[]));
        let claim = Some(secret::remember(id, secret));
        self.admit(number, handle.clone(), claim);
        self.drive(handle, hello.carrier, connection);
    }

    fn handle_access(&mut self, report: AccessReport) {
        match report {
            AccessReport::Arrived(arrival) => self.handle_arrival(*arrival),
            AccessReport::Refused { access, address, phase, refusal } => {
                self.hub.fanout.publish(EventKind::PeerRefused { access, address, phase, refusal });
            }
        }
    }

    fn handle_arrival(&mut self, arrival: Arrival) {
        let listening = lock(&self.hub.accesses).get(&arrival.access).cloned();
        let fresh = secret::fresh();
        let (Some(listening), Some((fresh_id, fresh_secret))) = (listening, fresh) else {
            return self.turn_away(arrival.connection, CloseScope::Carrier, CloseCode::SHUTDOWN, "");
        };
        let facts = facts::Arrival {
            access: arrival.access,
            role: listening.role,
            hello: Box::new(arrival.hello.clone()),
            principal: arrival.connection.principal.clone(),
            local: arrival.connection.local,
            remote: arrival.connection.remote,
            fresh_id,
            fresh_secret: fresh_secret.clone(),
        };
        let joined = match &arrival.hello.session {
            SessionClaim::Join { session, .. } => Some(*session),
            _ => None,
        };
        let proves = |secret: &_| joined.is_some_and(|session| arrival.proves(session, secret));
        let admission = self.hub.fleet().handle_arrival(clock::now(), &facts, proves);
        let (number, claim) = match admission {
            Admission::Begin { session } => {
                (session, SessionClaim::Begun { session: fresh_id, secret: fresh_secret })
            }
            Admission::Join { session } => match joined {
                Some(id) => (session, SessionClaim::Joined { session: id }),
                None => return,
            },
            Admission::Refuse(refusal) => {
                let retry_after = refusal.retry_after.unwrap_or_default();
                return self.refuse(arrival.connection, refusal.code, &refusal.detail, retry_after);
            }
        };
        let Arrival { connection, hello, .. } = arrival;
        if let SessionClaim::Begun { .. } = claim {
            let handle = self.new_session(number, Side::Acceptor, &hello, &connection);
            self.admit(number, handle, None);
        }
        let Some(known) = self.known.get(&number) else { return };
        let (hub, handle) = (Arc::clone(&self.hub), known.handle.clone());
        let answer = |dead| {
            let ours = hub.hello(HelloParts {
                role: listening.role,
                link: hello.link.clone(),
                group: hello.group.clone(),
                cost: listening.cost,
                ordinal: listening.ordinal,
                carrier: hello.carrier,
                session: claim,
                dead,
            });
            let mut bytes = bytes::BytesMut::new();
            Frame::Hello(Box::new(ours)).encode(&mut bytes);
            bytes.freeze()
        };
        let now = clock::now();
        match handle.with(|session| session.handle_join(now, hello.carrier, &hello.dead, answer)) {
            Ok(()) => self.drive(handle, hello.carrier, connection),
            Err(_) => self.never_up(number, hello.carrier, connection),
        }
    }

    /// A carrier that the fleet counts as up and the session does not take: it is down again at once.
    fn never_up(&self, session: SessionNumber, carrier: CarrierNumber, connection: Secured) {
        let down = SessionFact::CarrierDown {
            carrier,
            end: CarrierEnd::Violation(Violation::BadHello),
            last_received_ago: Duration::ZERO,
            traffic: Traffic::default(),
            round_trip: RoundTrip::default(),
        };
        let now = clock::now();
        let alone = self
            .known
            .get(&session)
            .is_some_and(|known| known.handle.with(|session| session.is_recovering()));
        {
            let mut fleet = self.hub.fleet();
            fleet.handle_session(now, session, down);
            if alone {
                fleet.handle_session(now, session, SessionFact::Recovering);
            }
        }
        self.turn_away(connection, CloseScope::Carrier, CloseCode::BAD_HELLO, "");
    }

    fn new_session(
        &self,
        number: SessionNumber,
        side: Side,
        hello: &Hello,
        connection: &Secured,
    ) -> SessionHandle {
        let config = &self.hub.config;
        let params = SessionParams {
            side,
            limits: config.session,
            liveness: config.liveness,
            accept_deadline: config.deadlines.accept,
            peer_max_streams: hello.max_streams,
            peer_window: hello.initial_window,
            resume_window: hello.resume_window.min(config.session.resume_window),
            pool: self.hub.pool.clone(),
            seed: secret::seed(),
        };
        let peer = Peer::new(
            hello.site_id.clone(),
            hello.site_name.clone(),
            hello.router.clone(),
            hello.instance,
            connection.principal.clone(),
        );
        let session = Session::new(clock::now(), params);
        SessionHandle::new(number, peer, session, Arc::clone(&self.hub.inbox), Arc::clone(&self.hub.incoming))
    }

    fn admit(&mut self, number: SessionNumber, handle: SessionHandle, claim: Option<SessionClaim>) {
        self.hub.admit(handle.clone());
        let known = Known { handle, claim, due: None, told_draining: false, told_standby: false };
        self.known.insert(number, known);
    }

    fn drive(&self, handle: SessionHandle, number: CarrierNumber, connection: Secured) {
        let driving = carrier::drive(handle, number, connection);
        let cancel = self.hub.cancel.clone();
        self.hub.tasks.spawn(async move {
            // A plane that ends at once has closed its sessions; their farewells get a moment.
            tokio::select! {
                () = driving => {}
                () = async { cancel.cancelled().await; tokio::time::sleep(FAREWELL).await } => {}
            }
        });
    }

    fn turn_away(&self, mut connection: Secured, scope: CloseScope, code: CloseCode, detail: &str) {
        connection.say_close(scope, code, detail, Duration::ZERO);
        self.hub.tasks.spawn(linger(connection.tcp));
    }

    fn refuse(&self, connection: Secured, code: CloseCode, detail: &str, retry_after: Duration) {
        let detail = detail.to_owned();
        self.hub.tasks.spawn(async move { connection.refuse(code, &detail, retry_after).await });
    }

    /// Hears a session out and tells the fleet.
    fn listen_to(&mut self, number: SessionNumber) {
        let Some(known) = self.known.get_mut(&number) else { return };
        let (events, keys, due) = known.handle.with(|session| {
            let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
            let keys: Vec<_> = std::iter::from_fn(|| session.poll_key()).collect();
            (events, keys, session.poll_session_timeout())
        });
        known.due = due;
        let mut facts = Vec::new();
        for event in events {
            known.facts_of(event, &mut facts);
        }
        let over = facts.iter().any(|fact| matches!(fact, SessionFact::Ended { .. }));
        let now = clock::now();
        {
            let mut fleet = self.hub.fleet();
            facts.into_iter().for_each(|fact| fleet.handle_session(now, number, fact));
        }
        if !keys.is_empty() {
            let mut paths = self.hub.paths();
            for (key, served) in keys {
                if served {
                    // The session keeps to the same limit, so that one is never exceeded here.
                    let _ = paths.serve(number, key);
                } else {
                    paths.withdraw(number, &key);
                }
            }
        }
        if over {
            self.known.remove(&number);
            self.hub.forget(number);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let sessions = self.known.values().filter_map(|known| known.due);
        sessions.chain(self.hub.fleet().poll_timeout()).min()
    }

    fn handle_due(&mut self) {
        let now = clock::now();
        for known in self.known.values_mut().filter(|known| known.due.is_some_and(|due| due <= now)) {
            known.due = known.handle.with(|session| {
                session.handle_timeout(now);
                session.poll_session_timeout()
            });
        }
        let mut fleet = self.hub.fleet();
        if fleet.poll_timeout().is_some_and(|due| due <= now) {
            fleet.handle_timeout(now);
        }
    }

    /// Ends what is left, at once.
    fn end(&mut self) {
        let hub = Arc::clone(&self.hub);
        hub.closing.cancel();
        hub.close_accesses();
        self.attempts.drain().for_each(|(_, cancel)| cancel.cancel());
        let now = clock::now();
        let end = SessionEnd::Closed(CloseCode::SHUTDOWN);
        for known in self.known.values() {
            known.handle.with(|session| session.end_with(now, end.clone(), CloseCode::SHUTDOWN));
        }
        let all: Vec<_> = self.known.keys().copied().collect();
        all.into_iter().for_each(|session| self.listen_to(session));
        self.carry_out();
        hub.incoming.close().into_iter().for_each(crate::net::shared::Arrived::turn_away);
        hub.cancel.cancel();
        hub.fanout.close();
        hub.tasks.close();
    }
}

impl Known {
    /// What the fleet is to hear of a session's event.
    fn facts_of(&mut self, event: SessionEvent, facts: &mut Vec<SessionFact>) {
        facts.push(match event {
            SessionEvent::CarrierDown { number, end, last_received_ago, traffic, round_trip } => {
                SessionFact::CarrierDown { carrier: number, end, last_received_ago, traffic, round_trip }
            }
            SessionEvent::CarrierSuspect { number, last_received_ago, round_trip } => {
                SessionFact::CarrierSuspect { carrier: number, last_received_ago, round_trip }
            }
            SessionEvent::CarrierTrusted { number } => SessionFact::CarrierTrusted { carrier: number },
            SessionEvent::Drained => SessionFact::Drained,
            SessionEvent::Ended { end, traffic } => SessionFact::Ended { end, traffic },
            SessionEvent::Recovering { .. } => SessionFact::Recovering,
            SessionEvent::Resumed { resent_bytes, .. } => SessionFact::Resumed { resent_bytes },
            SessionEvent::PeerChanged => return self.changes_of_peer(facts),
        });
    }

    fn changes_of_peer(&mut self, facts: &mut Vec<SessionFact>) {
        let (cost, draining, standby) = self
            .handle
            .with(|session| (session.peer_cost(), session.peer_draining(), session.peer_standby()));
        facts.extend(cost.map(SessionFact::PeerCost));
        if draining && !std::mem::replace(&mut self.told_draining, true) {
            facts.push(SessionFact::PeerDraining);
        }
        if standby != std::mem::replace(&mut self.told_standby, standby) {
            facts.push(SessionFact::PeerActive(!standby));
        }
    }
}

/// Dial tasks wait when so many of their reports have not been heard; each group has one attempt at a time.
const REPORTS: usize = 64;

/// A supervisor with nothing due looks up all the same, rarely.
const IDLE: Duration = Duration::from_secs(3600);

/// How long the carriers of a plane that ends at once may take to say so: what their drivers' linger needs.
const FAREWELL: Duration = Duration::from_millis(1500);
