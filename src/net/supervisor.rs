//! The task that keeps a plane as it is wanted: carries out what the fleet decides, and tells it what happens.
//!
//! `dialing.rs` has what becomes of its dial tasks, `arriving.rs` of dialers that arrive, `carriers.rs` of the carriers
//! that come of either, `validity.rs` of certificates that come to their end.

mod arriving;
mod carriers;
mod dialing;
mod validity;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::{DialError, SessionEnd};
use crate::event::EventKind;
use crate::id::SessionNumber;
use crate::net::clock;
use crate::net::dialer::Dialed;
use crate::net::hub::Hub;
use crate::net::joining::Joining;
use crate::net::listener::AccessReport;
use crate::net::shared::SessionHandle;
use crate::proto::dial::AttemptId;
use crate::proto::facts::{FleetAction, SessionFact};
use crate::proto::session::{Session, SessionEvent};
use crate::wire::code::CloseCode;
use crate::wire::hello::SessionClaim;

/// Runs until the plane has ended. `access_reports` is the other end of the hub's.
pub(crate) async fn run(hub: Arc<Hub>, access_reports: mpsc::Receiver<AccessReport>) {
    let (dial_reports, dialed) = mpsc::channel(REPORTS);
    Supervisor { hub, known: BTreeMap::new(), attempts: HashMap::new(), dial_reports, paths_changed: false }
        .run(access_reports, dialed)
        .await;
}

struct Supervisor {
    hub: Arc<Hub>,
    known: BTreeMap<SessionNumber, Known>,
    /// Dial tasks under way.
    attempts: HashMap<AttemptId, Attempt>,
    dial_reports: mpsc::Sender<DialReport>,
    /// Paths have changed since those who wait for one were told to look.
    paths_changed: bool,
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

/// What the supervisor keeps of a dial task.
struct Attempt {
    cancel: CancellationToken,
    /// Lets it greet; taken when it was let.
    go: Option<oneshot::Sender<()>>,
}

/// What a dial task tells.
enum DialReport {
    /// It is through TLS and waits to be let to greet.
    Reached { attempt: AttemptId },
    /// It has ended.
    Over { attempt: AttemptId, outcome: Result<Box<Dialed>, DialError>, joining: Option<Arc<Joining>> },
}

impl Supervisor {
    async fn run(
        mut self,
        mut access_reports: mpsc::Receiver<AccessReport>,
        mut dialed: mpsc::Receiver<DialReport>,
    ) {
        let hub = Arc::clone(&self.hub);
        while !hub.cancel.is_cancelled() {
            // Looked at before and told after: what is told of a certificate follows the news of who shows it.
            let ends = self.look_at_the_clock();
            self.carry_out();
            self.tell_ends(ends);
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
        dialed.close();
        while let Ok(report) = dialed.try_recv() {
            self.unheard(report);
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
            for event in events {
                if let EventKind::LinkRemoved { link, .. } = &event {
                    hub.forget_link(*link);
                }
                hub.publish(event);
            }
            // In one go: whoever opens a stream sees one active session of an edge plane, never none and never two.
            {
                let mut paths = hub.paths();
                for action in &actions {
                    if let FleetAction::Path(change) = action {
                        paths.handle_change(change.clone());
                        self.paths_changed = true;
                    }
                }
            }
            actions.into_iter().for_each(|action| self.act(action));
        }
        let news: Vec<_> = std::iter::from_fn(|| hub.paths().poll_events(PATHS_AT_ONCE)).flatten().collect();
        // Only then: ten thousand opens may wait, and each looks again.
        if std::mem::take(&mut self.paths_changed) || !news.is_empty() {
            hub.path_news.notify_waiters();
        }
        news.into_iter().for_each(|event| hub.publish(event));
    }

    fn act(&mut self, action: FleetAction) {
        let now = clock::now();
        match action {
            FleetAction::Dial(order) => self.dial(order),
            FleetAction::Greet { attempt } => self.greet(attempt),
            FleetAction::Cancel { attempt } => {
                if let Some(known) = self.attempts.remove(&attempt) {
                    known.cancel.cancel();
                }
            }
            FleetAction::DrainSession { session } => self.with(session, Session::drain),
            FleetAction::EndSession { session, end, code } => {
                self.with(session, |session| session.end_with(now, end, code));
            }
            FleetAction::CloseCarrier { session, carrier, code } => {
                self.with(session, |session| session.close_carrier(now, carrier, code));
            }
            FleetAction::RetireCarrier { session, carrier, code } => {
                self.with(session, |session| session.retire_carrier(now, carrier, code));
            }
            FleetAction::RequestCarrier { session, carrier, code, deadline } => {
                self.with(session, |session| session.request_carrier(carrier, code, deadline));
            }
            FleetAction::SetCost { session, cost } => {
                self.with(session, |session| session.announce_cost(cost))
            }
            FleetAction::ReviewKeys { session } => self.with(session, Session::review_keys),
            FleetAction::SetActive { session, active } => {
                self.with(session, |session| session.set_active(active));
            }
            // Carried out before all others.
            FleetAction::Path(_) => {}
        }
    }

    fn with(&self, session: SessionNumber, act: impl FnOnce(&mut Session)) {
        if let Some(known) = self.known.get(&session) {
            known.handle.with(act);
        }
    }

    fn handle_access(&mut self, report: AccessReport) {
        match report {
            AccessReport::Arrived(arrival) => self.handle_arrival(*arrival),
            AccessReport::Refused { access, address, phase, refusal } => {
                self.hub.publish(EventKind::PeerRefused { access, address, phase, refusal });
            }
        }
    }

    /// Hears a session out and tells the fleet.
    fn listen_to(&mut self, number: SessionNumber) {
        let Some(known) = self.known.get_mut(&number) else { return };
        let (events, mut keys, due) = known.handle.with(|session| {
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
            self.forget_certificates(number, &facts);
            let mut fleet = self.hub.fleet();
            fleet.handle_keys(number, &mut keys);
            facts.into_iter().for_each(|fact| fleet.handle_session(now, number, fact));
        }
        if !keys.is_empty() {
            self.paths_changed = true;
            // What a peer serves no more first, or a full table that is exchanged for another would be above the limit.
            keys.sort_by_key(|(_, served)| *served);
            for part in keys.chunks(PATHS_AT_ONCE) {
                let mut paths = self.hub.paths();
                for (key, served) in part {
                    if *served {
                        // The session keeps to the same limit, so that one is never exceeded here.
                        let _ = paths.serve(number, key.clone());
                    } else {
                        paths.withdraw(number, key);
                    }
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
        sessions.chain(self.hub.fleet().poll_timeout()).chain(self.next_look()).min()
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
        self.attempts.drain().for_each(|(_, known)| known.cancel.cancel());
        let now = clock::now();
        let end = SessionEnd::Closed(CloseCode::SHUTDOWN);
        for known in self.known.values() {
            known.handle.with(|session| session.end_with(now, end.clone(), CloseCode::SHUTDOWN));
        }
        let all: Vec<_> = self.known.keys().copied().collect();
        all.into_iter().for_each(|session| self.listen_to(session));
        self.carry_out();
        hub.incoming.close();
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
            SessionEvent::CarrierRequested { number, code, deadline } => {
                SessionFact::CarrierRequested { carrier: number, code, deadline }
            }
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

/// Dial tasks wait when so many of their reports have not been heard.
const REPORTS: usize = 64;

/// Destinations changed or looked at under one lock, which opens of streams wait for: some ten microseconds.
const PATHS_AT_ONCE: usize = 64;

/// A supervisor with nothing due looks up all the same, rarely.
const IDLE: Duration = Duration::from_secs(3600);

/// How long the carriers of a plane that ends at once may take to say so: what their drivers' linger needs.
const FAREWELL: Duration = Duration::from_millis(1500);
