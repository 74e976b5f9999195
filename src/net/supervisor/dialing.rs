//! Dialing: starts the tasks the fleet orders, and hears what became of them.

use std::sync::Arc;

use tracing::Instrument;

use crate::error::DialError;
use crate::id::{CarrierNumber, SessionNumber, Side};
use crate::net::connect::Route;
use crate::net::dialer::{self, DialSpec, Dialed};
use crate::net::greeting::Secured;
use crate::net::hub::{Dialing, HelloParts, lock};
use crate::net::joining::Joining;
use crate::net::socket::Tuning;
use crate::net::supervisor::{DialReport, Known, Supervisor};
use crate::net::{clock, log, secret};
use crate::proto::dial::{AttemptId, Purpose};
use crate::proto::facts::{DialOrder, DialedFacts, Verdict};
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
        let spec =
            DialSpec { host: order.target.host, port: order.target.port, route, tls, deadlines, hello };
        let cancel = self.hub.cancel.child_token();
        self.attempts.insert(attempt, cancel.clone());
        let reports = self.dial_reports.clone();
        self.hub.tasks.spawn(async move {
            let dialing = Box::pin(dialer::dial(spec)).instrument(span);
            if let Some(outcome) = cancel.run_until_cancelled(dialing).await {
                let outcome = outcome.map(Box::new);
                // A supervisor that is gone wants no report: the connection closes.
                let _ = reports.send(DialReport { attempt, outcome, joining: joined }).await;
            }
        });
    }

    /// Answers an order that cannot be carried out.
    pub(super) fn abandon(&self, attempt: AttemptId, why: &str) {
        let error = DialError::Local(why.into());
        self.hub.fleet().handle_dialed(clock::now(), attempt, Err(error));
    }

    pub(super) fn handle_dialed(&mut self, report: DialReport) {
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
            certificate: connection.certificate.clone(),
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
