//! The fleet: what to dial, who may link, what is up.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::error::DialError;
use crate::event::EventKind;
use crate::id::{AccessId, LinkId, LinkRole, SessionNumber};
use crate::proto::dial::AttemptId;
use crate::proto::facts::{Admission, Arrival, DialedFacts, FleetAction, FleetConfig, SessionFact, Verdict};
use crate::proto::link::LinkWanted;
use crate::snapshot::PlaneStatus;
use crate::wire::hello::SessionSecret;

/// All links, accesses and sessions of a plane. STUB: bodies follow.
#[derive(Debug)]
pub(crate) struct Fleet {
    config: FleetConfig,
    actions: VecDeque<FleetAction>,
    events: VecDeque<EventKind>,
}

#[expect(unused_variables, clippy::needless_pass_by_ref_mut, reason = "bodies follow")]
impl Fleet {
    /// An empty fleet. The seed decides all jitter.
    pub(crate) fn new(config: FleetConfig, seed: u64) -> Self {
        Self { config, actions: VecDeque::new(), events: VecDeque::new() }
    }

    /// Adds a link, or changes it by the smallest change that does it.
    pub(crate) fn handle_link(&mut self, now: Instant, link: LinkId, wanted: LinkWanted) {}

    /// Gives a link up: its sessions drain, and are ended when the grace is over.
    pub(crate) fn handle_unlink(&mut self, now: Instant, link: LinkId, grace: Duration) {}

    /// An attempt has ended, one way or the other. A `Verdict` for an error is `Close` and means nothing.
    pub(crate) fn handle_dialed(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        result: Result<DialedFacts, DialError>,
    ) -> Verdict {
        unimplemented!()
    }

    /// A dialer's hello has arrived. `proof_ok` says whether a joining proof holds for the session's secret.
    pub(crate) fn handle_arrival(
        &mut self,
        now: Instant,
        arrival: Arrival,
        proof_ok: impl FnOnce(&SessionSecret) -> bool,
    ) -> Admission {
        unimplemented!()
    }

    /// A session has something to tell.
    pub(crate) fn handle_session(&mut self, now: Instant, session: SessionNumber, fact: SessionFact) {}

    /// An access listens.
    pub(crate) fn handle_access_up(&mut self, now: Instant, access: AccessId, address: SocketAddr, role: LinkRole) {}

    /// An access listens no more. Its sessions go on.
    pub(crate) fn handle_access_down(&mut self, now: Instant, access: AccessId) {}

    /// Ends one session, for its operator.
    pub(crate) fn handle_disconnect(&mut self, now: Instant, session: SessionNumber) {}

    /// The plane shuts down: every link is given up, every session drains and is ended when the grace is over;
    /// nobody new is let in.
    pub(crate) fn handle_shutdown(&mut self, now: Instant, grace: Duration) {}

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {}

    /// When [`Fleet::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What is to be done next; ask until `None` after every input.
    pub(crate) fn poll_action(&mut self) -> Option<FleetAction> {
        self.actions.pop_front()
    }

    /// What has happened; ask until `None` after every input.
    pub(crate) fn poll_event(&mut self) -> Option<EventKind> {
        self.events.pop_front()
    }

    /// Whether no link and no session is left: a shutdown is complete.
    pub(crate) fn is_idle(&self) -> bool {
        true
    }

    /// What the fleet knows. `now_micros` is the wall clock at `now`, in Unix microseconds. Traffic and round trips
    /// of sessions and carriers, and a session's streams, are left at their defaults for the caller to fill.
    pub(crate) fn snapshot(&self, now: Instant, now_micros: u64, as_of: u64) -> PlaneStatus {
        PlaneStatus::default()
    }
}
