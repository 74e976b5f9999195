//! Dialing: starts the tasks the fleet orders, and hears what became of them.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::DialError;
use crate::id::{CarrierNumber, SessionNumber, Side};
use crate::net::dialer::{self, DialSpec, Dialed, MakeHello};
use crate::net::greeting::Secured;
use crate::net::hub::{HelloParts, lock};
use crate::net::joining::Joining;
use crate::net::supervisor::{Attempt, DialReport, Known, Supervisor};
use crate::net::{clock, secret};
use crate::proto::dial::{AttemptId, Purpose};
use crate::proto::facts::{DialOrder, DialedFacts, Verdict};
use crate::wire::frame::CloseScope;
use crate::wire::hello::{Hello, SessionClaim};

impl Supervisor {
    /// Starts a dial task.
    pub(super) fn dial(&mut self, order: DialOrder) {
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
        if dialing.proxy.is_some() {
            return self.abandon(attempt, "dialing through a proxy is not built yet");
        }
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
        };
        let scope = match order.purpose {
            Purpose::Begin => CloseScope::Session,
            Purpose::Join { .. } => CloseScope::Carrier,
        };
        let cancel = self.hub.cancel.child_token();
        let (go, may_greet) = oneshot::channel();
        self.attempts.insert(attempt, Attempt { cancel: cancel.clone(), go: Some(go) });
        let dialing =
            Dialing { attempt, cancel, may_greet, hello, scope, reports: self.dial_reports.clone() };
        self.hub.tasks.spawn(dialing.run(spec, joined));
    }

    /// Lets an attempt say hello. It is reached, so that it waits for this.
    pub(super) fn greet(&mut self, attempt: AttemptId) {
        if let Some(go) = self.attempts.get_mut(&attempt).and_then(|known| known.go.take()) {
            // One that has failed meanwhile has reported that.
            let _ = go.send(());
        }
    }

    /// Answers an order that cannot be carried out.
    pub(super) fn abandon(&self, attempt: AttemptId, why: &str) {
        let error = DialError::Local(why.into());
        self.hub.fleet().handle_dialed(clock::now(), attempt, Err(error));
    }

    pub(super) fn handle_dialed(&mut self, report: DialReport) {
        let now = clock::now();
        let (attempt, outcome, joining) = match report {
            DialReport::Reached { attempt } => return self.hub.fleet().handle_reached(now, attempt),
            DialReport::Over { attempt, outcome, joining } => (attempt, outcome, joining),
        };
        self.attempts.remove(&attempt);
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

    pub(super) fn begin_dialed(&mut self, number: SessionNumber, hello: Hello, connection: Secured) {
        let SessionClaim::Begun { session: id, secret } = hello.session.clone() else { return };
        let handle = self.new_session(number, Side::Dialer, &hello, &connection);
        let now = clock::now();
        // A new session has no carrier that could contradict the hello.
        let _ = handle.with(|session| session.handle_carrier_up(now, hello.carrier, &[]));
        let claim = Some(secret::remember(id, secret));
        self.admit(number, handle.clone(), claim);
        self.drive(handle, hello.carrier, connection);
    }
}

/// A dial task.
struct Dialing {
    attempt: AttemptId,
    cancel: CancellationToken,
    /// The fleet's word that it is this attempt's turn.
    may_greet: oneshot::Receiver<()>,
    hello: MakeHello,
    /// What is over at the peer when it was greeted in vain.
    scope: CloseScope,
    reports: mpsc::Sender<DialReport>,
}

impl Dialing {
    /// Reaches, reports that, waits to be let, greets, reports what came of it. Once cancelled it reports nothing more.
    async fn run(self, spec: DialSpec, joining: Option<Arc<Joining>>) {
        let Self { attempt, cancel, may_greet, hello, scope, reports } = self;
        // A supervisor that is gone wants no report: the connection closes.
        let over = async |outcome| {
            let _ = reports.send(DialReport::Over { attempt, outcome, joining }).await;
        };
        let mut reached = match cancel.run_until_cancelled(Box::pin(dialer::reach(spec))).await {
            None => return,
            Some(Err(error)) => return over(Err(error)).await,
            Some(Ok(reached)) => reached,
        };
        let _ = reports.send(DialReport::Reached { attempt }).await;
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            Ok(()) = may_greet => {}
            error = reached.lapse() => return over(Err(error)).await,
        }
        match cancel.run_until_cancelled(Box::pin(reached.greet(hello))).await {
            Some(Ok(hello)) => over(Ok(Box::new(reached.up(hello)))).await,
            Some(Err(error @ DialError::TimedOut { .. })) => {
                over(Err(error)).await;
                reached.give_up(scope).await;
            }
            Some(Err(error)) => over(Err(error)).await,
            None => {
                // The session learns at once that the attempt came to nothing.
                drop(over);
                reached.give_up(scope).await;
            }
        }
    }
}
