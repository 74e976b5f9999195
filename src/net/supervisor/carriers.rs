//! Sessions and carriers as they begin, dialed or accepted, and those that never come up.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::error::{CarrierEnd, Violation};
use crate::event::{CertificateOwner, Peer};
use crate::id::{CarrierNumber, SessionNumber, Side};
use crate::net::greeting::{Secured, linger};
use crate::net::shared::SessionHandle;
use crate::net::supervisor::{FAREWELL, Known, Supervisor};
use crate::net::{carrier, clock, log, secret};
use crate::proto::facts::SessionFact;
use crate::proto::session::{Session, SessionParams};
use crate::stats::{RoundTrip, Traffic};
use crate::wire::code::CloseCode;
use crate::wire::frame::CloseScope;
use crate::wire::hello::{Hello, SessionClaim};

impl Supervisor {
    /// A carrier that the fleet counts as up and the session does not take: it is down again at once. One that its peer had given
    /// up is answered with `given_up`.
    pub(super) fn never_up(
        &self,
        session: SessionNumber,
        carrier: CarrierNumber,
        connection: Secured,
        why: Violation,
        given_up: CloseCode,
    ) {
        let known = self.known.get(&session);
        let (alone, ended) = known.map_or((false, true), |known| {
            known.handle.with(|session| (session.is_recovering(), session.ended().is_some()))
        });
        let (end, code) = match why {
            // Nobody's fault: the session has ended meanwhile, or its peer had given the carrier up before its answer was read.
            Violation::Unexpected if ended => {
                (CarrierEnd::Closed(CloseCode::SESSION_GONE), CloseCode::SESSION_GONE)
            }
            Violation::Unexpected => (CarrierEnd::Replaced, given_up),
            why => (CarrierEnd::Violation(why), why.into()),
        };
        let down = SessionFact::CarrierDown {
            carrier,
            end,
            last_received_ago: Duration::ZERO,
            traffic: Traffic::default(),
            round_trip: RoundTrip::default(),
        };
        let now = clock::now();
        {
            let mut fleet = self.hub.fleet();
            fleet.handle_session(now, session, down);
            if alone {
                fleet.handle_session(now, session, SessionFact::Recovering);
            }
        }
        self.turn_away(connection, CloseScope::Carrier, code, "");
    }

    pub(super) fn new_session(
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

    pub(super) fn admit(
        &mut self,
        number: SessionNumber,
        handle: SessionHandle,
        claim: Option<SessionClaim>,
    ) {
        self.hub.admit(handle.clone());
        let known = Known { handle, claim, due: None, told_draining: false, told_standby: false };
        self.known.insert(number, known);
    }

    pub(super) fn drive(&self, handle: SessionHandle, number: CarrierNumber, connection: Secured) {
        if let Some(certificate) = &connection.certificate {
            let owner = CertificateOwner::Peer { session: handle.number(), carrier: number };
            self.hub.expiry().handle_certificate(clock::unix_seconds(), owner, Arc::clone(certificate));
        }
        let span = log::carrier_span(handle.span(), number, connection.remote);
        let driving = carrier::drive(handle, number, connection).instrument(span);
        let cancel = self.hub.cancel.clone();
        self.hub.tasks.spawn(async move {
            // A plane that ends at once has closed its sessions; their farewells get a moment.
            tokio::select! {
                () = driving => {}
                () = async { cancel.cancelled().await; tokio::time::sleep(FAREWELL).await } => {}
            }
        });
    }

    pub(super) fn turn_away(
        &self,
        mut connection: Secured,
        scope: CloseScope,
        code: CloseCode,
        detail: &str,
    ) {
        connection.say_close(scope, code, detail, Duration::ZERO);
        self.hub.tasks.spawn(linger(connection.tcp));
    }

    pub(super) fn refuse(&self, connection: Secured, code: CloseCode, detail: &str, retry_after: Duration) {
        let detail = detail.to_owned();
        self.hub.tasks.spawn(async move { connection.refuse(code, &detail, retry_after).await });
    }
}
