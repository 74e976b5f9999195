//! Dialing: starts the tasks the fleet orders, and hears what became of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::{DialError, Violation};
use crate::id::{CarrierNumber, SessionNumber, Side};
use crate::net::connect::Route;
use crate::net::dialer::{self, DialSpec, Dialed, MakeHello};
use crate::net::greeting::{Secured, linger};
use crate::net::hub::{Dialing, HelloParts, lock};
use crate::net::joining::Joining;
use crate::net::socket::Tuning;
use crate::net::supervisor::{Attempt, DialReport, Known, Supervisor};
use crate::net::{clock, log, secret};
use crate::proto::dial::{AttemptId, Purpose};
use crate::proto::facts::{DialOrder, DialedFacts, Verdict};
use crate::wire::code::CloseCode;
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
        let Dialing { tls, ordinal, settings, proxy, .. } = dialing;
        if settings.proxy_configuration.is_some() && proxy.is_none() {
            // Such a link is not configured and never ordered; were it, a direct connection is what must not be.
            return self.abandon(attempt, "the proxy to dial through is not known");
        }
        let mut deadlines = self.hub.config.deadlines;
        deadlines.connect = settings.connect_timeout.unwrap_or(deadlines.connect);
        let tuning = Tuning::of(&settings, self.hub.config.liveness.dead);
        let route = Route { names: self.hub.names.clone(), proxy, tuning };
        let (hub, joining) = (Arc::clone(&self.hub), joined.clone());
        let span = log::group_span(order.link, &order.name, &order.group, &order.target);
        let (name, group, cost) = (order.name, order.group, order.cost);
        let hello = Box::new(move |exporter: &[u8; secret::EXPORTER]| {
            let (carrier, session, dead) = match &joining {
                None => (CarrierNumber(0), SessionClaim::New, Vec::new()),
                Some(joining) => joining.claim(exporter),
            };
            let role = hub.local.role.link_role();
            Ok(hub.hello(HelloParts { role, link: name, group, cost, ordinal, carrier, session, dead }))
        });
        let spec = DialSpec { host: order.target.host, port: order.target.port, route, tls, deadlines };
        let scope = match order.purpose {
            Purpose::Begin => CloseScope::Session,
            Purpose::Join { .. } => CloseScope::Carrier,
        };
        let cancel = self.hub.cancel.child_token();
        let (go, may_greet) = oneshot::channel();
        self.attempts.insert(attempt, Attempt { cancel: cancel.clone(), go: Some(go) });
        let task = DialTask { attempt, cancel, may_greet, hello, scope, reports: self.dial_reports.clone() };
        self.hub.tasks.spawn(task.run(spec, joined).instrument(span));
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
            certificate: connection.certificate.clone(),
            local: connection.local,
            remote: connection.remote,
        };
        let verdict = self.hub.fleet().handle_dialed(now, attempt, Ok(facts));
        match verdict {
            Verdict::Begin { session } => self.begin_dialed(session, hello, connection),
            Verdict::Join { session } => {
                let up = joining.map_or(Err(Violation::Unexpected), |joining| joining.done(&hello.dead));
                let handle = self.known.get(&session).map(|known| known.handle.clone());
                match up.and_then(|()| handle.ok_or(Violation::Unexpected)) {
                    Ok(handle) => self.drive(handle, hello.carrier, connection),
                    Err(why) => self.never_up(session, hello.carrier, connection, why, CloseCode::REPLACED),
                }
            }
            Verdict::Close { scope, code, detail } => self.turn_away(connection, scope, code, &detail),
        }
    }

    /// The plane has ended, and this was not heard before: what its peer began is over.
    pub(super) fn unheard(&self, report: DialReport) {
        let DialReport::Over { outcome: Ok(dialed), .. } = report else { return };
        let scope = match dialed.hello.session {
            SessionClaim::Begun { .. } => CloseScope::Session,
            _ => CloseScope::Carrier,
        };
        self.turn_away(dialed.connection, scope, CloseCode::SHUTDOWN, "");
    }

    pub(super) fn begin_dialed(&mut self, number: SessionNumber, hello: Hello, connection: Secured) {
        let SessionClaim::Begun { session: id, secret } = hello.session.clone() else { return };
        let handle = self.new_session(number, Side::Dialer, &hello, &connection);
        let now = clock::now();
        // A new session has no carrier that could contradict the hello.
        let _ = handle.with(|session| session.handle_carrier_up(now, hello.carrier, &[]));
        let claim = Some(secret::remember(id, secret));
        self.admit(number, handle.clone(), claim);
        // What the fleet wants of it holds before its first byte is read: on standby it takes no stream of its peer.
        self.carry_out();
        self.drive(handle, hello.carrier, connection);
    }
}

/// A dial task.
struct DialTask {
    attempt: AttemptId,
    cancel: CancellationToken,
    /// The fleet's word that it is this attempt's turn.
    may_greet: oneshot::Receiver<()>,
    hello: MakeHello,
    /// What is over at the peer when it was greeted in vain.
    scope: CloseScope,
    reports: mpsc::Sender<DialReport>,
}

impl DialTask {
    /// Reaches, reports that, waits to be let, greets, reports what came of it. Once cancelled it reports nothing more.
    async fn run(self, spec: DialSpec, joining: Option<Arc<Joining>>) {
        let Self { attempt, cancel, may_greet, hello, scope, reports } = self;
        // What a supervisor that is gone does not hear of any more comes back.
        let over = async |outcome| match reports.send(DialReport::Over { attempt, outcome, joining }).await {
            Err(SendError(DialReport::Over { outcome: Ok(dialed), .. })) => Some(dialed),
            _ => None,
        };
        let mut reached = match cancel.run_until_cancelled(Box::pin(dialer::reach(spec))).await {
            None => return,
            Some(Err(error)) => {
                over(Err(error)).await;
                return;
            }
            Some(Ok(reached)) => reached,
        };
        let _ = reports.send(DialReport::Reached { attempt }).await;
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            Ok(()) = may_greet => {}
            error = reached.lapse() => {
                over(Err(error)).await;
                return;
            }
        }
        match cancel.run_until_cancelled(Box::pin(reached.greet(hello))).await {
            Some(Ok(hello)) => {
                if let Some(mut dialed) = over(Ok(Box::new(reached.up(hello)))).await {
                    dialed.connection.say_close(scope, CloseCode::NORMAL, "given up", Duration::ZERO);
                    linger(dialed.connection.tcp).await;
                }
            }
            Some(Err(error @ DialError::TimedOut { .. })) => {
                over(Err(error)).await;
                reached.give_up(scope).await;
            }
            Some(Err(error)) => drop(over(Err(error)).await),
            None => {
                // The session learns at once that the attempt came to nothing.
                drop(over);
                reached.give_up(scope).await;
            }
        }
    }
}
