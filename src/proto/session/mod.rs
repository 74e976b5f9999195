//! The session: streams that live on carriers and outlive them. Moves bytes; decides nothing else.
//!
//! Sans-IO. Its callers stand under one lock and follow this order:
//!
//! - carriers come and go: [`Session::prepare_join`], [`Session::handle_carrier_up`], [`Session::handle_join`],
//!   [`Session::handle_carrier_lost`], [`Session::retire_carrier`];
//! - a carrier's driver feeds it: [`Session::handle_bytes`] of what was read, before the frames of it,
//!   [`Session::handle_frames`], [`Session::frames_wait`], [`Session::handle_timeout`], and takes from it:
//!   [`Session::poll_transmit`], [`Session::poll_timeout`];
//! - the application: [`Session::open`], [`Session::accept`], [`Session::poll_read`], [`Session::poll_reserve`], …;
//! - then anyone: [`Session::poll_event`], [`Session::poll_incoming`], and at last [`Session::take_wakers`], whose
//!   wakers are woken after the lock is let go.
//!
//! `now` never runs backward between calls. Nothing here waits, allocates without bound, or panics on what a peer
//! sends.

mod acks;
mod age;
mod application;
#[cfg(test)]
mod audit;
mod carrier;
mod chunks;
mod control;
mod drain;
#[cfg(any(test, feature = "__entries"))]
pub(crate) mod entries;
mod fault;
mod flood;
mod key;
mod log;
mod look;
#[cfg(test)]
mod model;
mod moves;
mod pace;
mod pool;
mod receive;
mod recover;
mod refusals;
mod retiring;
mod schedule;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transmit;
mod wakers;
mod window;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use slab::Slab;

pub(crate) use self::application::OpenFailure;
use self::carrier::{Carrier, Closing};
use self::flood::Flood;
pub(crate) use self::key::StreamKey;
use self::key::{Keyed, Slots};
pub(crate) use self::log::Piece;
pub(crate) use self::look::StreamLook;
pub(crate) use self::pool::ProcessPool;
use self::pool::SessionPool;
use self::recover::Fallen;
use self::refusals::Refusals;
pub(crate) use self::stream::OpenRequest;
use self::stream::Stream;
pub(crate) use self::transmit::Transmit;
pub(crate) use self::wakers::Wakers;
use self::window::Grown;
use crate::config::{Liveness, SessionLimits};
use crate::error::{CarrierEnd, SessionEnd};
use crate::id::{CarrierNumber, Cost, RoutingKey, Side};
use crate::stats::{RoundTrip, Traffic};
use crate::wire::code::CloseCode;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    params: SessionParams,
    /// When it began: what its streams' moments count from.
    origin: Instant,
    state: State,
    /// By slot; see [`StreamKey`].
    streams: Slab<Stream>,
    slots: Slots,
    /// Streams opened here. `opened <= peer_max_streams`
    opened: u64,
    /// How many the peer lets us open in the life of the session.
    peer_max_streams: u64,
    /// One more than the highest index (id / 2) of a stream the peer has opened.
    peer_opened: u64,
    /// Lower indices whose opens have not come: they may be on another carrier. Since an id is never used again,
    /// `late.len() + live streams of the peer <= limits.max_streams`.
    late: BTreeSet<u64>,
    /// Streams of the peer that are over and let go.
    released: u64,
    /// Streams of the peer that were refused, by whomever.
    turned_down: u64,
    /// How many the peer was told it may open.
    announced_streams: u64,
    /// Streams of the peer that nobody has accepted, oldest first, with their deadlines; may name some that were
    /// accepted since.
    waiting: VecDeque<(Instant, StreamKey)>,
    /// How many of them still wait. `unaccepted <= limits.unaccepted`
    unaccepted: usize,
    /// Streams of the peer that the application has not been told of. A part of those that wait.
    incoming: VecDeque<StreamKey>,
    /// Live carriers, by number.
    carriers: Vec<Carrier>,
    /// Carriers that were closed in good order and whose drivers still have to say so.
    farewells: Vec<(CarrierNumber, Closing)>,
    /// Dead carriers whose counts are not settled.
    fallen: Vec<Fallen>,
    /// Carriers being tried: their joining hello is out, no answer yet.
    attempted: Vec<CarrierNumber>,
    /// The distance of the peer that the carrier lost last had shown.
    last_trip: Duration,
    /// The highest carrier number seen or given.
    last_number: Option<CarrierNumber>,
    outgoing: control::Outgoing,
    /// Whether this end takes no new streams.
    draining: bool,
    /// Whether the fleet was told that draining is done.
    drained: bool,
    peer: control::Incoming,
    flood: Flood,
    refusals: Refusals,
    pool: SessionPool,
    /// Streams whose windows have grown.
    grown: Grown,
    /// The least round trip of the farthest carrier, as it was when one of them measured last; nothing before that.
    least_trip: Duration,
    events: VecDeque<SessionEvent>,
    wakers: Wakers,
    traffic: Traffic,
    /// For encoding small frames; empty between calls.
    scratch: BytesMut,
    random: fastrand::Rng,
}

/// What a session is made with.
#[derive(Clone, Debug)]
pub(crate) struct SessionParams {
    /// Which end this is.
    pub(crate) side: Side,
    /// Windows and bounds of this end.
    pub(crate) limits: SessionLimits,
    /// Signs of life.
    pub(crate) liveness: Liveness,
    /// How long an opened stream may wait to be accepted.
    pub(crate) accept_deadline: Duration,
    /// From the peer's hello: how many streams it takes at first.
    pub(crate) peer_max_streams: u64,
    /// From the peer's hello: how much it takes on a new stream at first.
    pub(crate) peer_window: u64,
    /// The smaller of both ends'.
    pub(crate) resume_window: Duration,
    /// The process's pool.
    pub(crate) pool: ProcessPool,
    /// For jitter.
    pub(crate) seed: u64,
}

/// The life of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Has a carrier.
    Up,
    /// Has none since then, and waits. A new session begins here.
    Recovering { since: Instant, begun: bool },
    /// Over.
    Ended(SessionEnd),
}

/// What happened to a session, for the fleet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SessionEvent {
    /// A carrier ended. For each that came up, exactly one.
    CarrierDown {
        number: CarrierNumber,
        end: CarrierEnd,
        last_received_ago: Duration,
        traffic: Traffic,
        round_trip: RoundTrip,
    },
    /// An answer is overdue.
    CarrierSuspect { number: CarrierNumber, last_received_ago: Duration, round_trip: RoundTrip },
    /// A suspect carrier gave a sign of life.
    CarrierTrusted { number: CarrierNumber },
    /// The acceptor wants a carrier in the place of that one, which it will cut `deadline` from now. Once for each.
    CarrierRequested { number: CarrierNumber, code: CloseCode, deadline: Duration },
    /// The session drains, its last stream is over, and the peer has received everything.
    Drained,
    /// The session ended for good. The last event.
    Ended { end: SessionEnd, traffic: Traffic },
    /// The peer's cost, draining or standby changed: ask for them.
    PeerChanged,
    /// No carrier is left; the session waits.
    Recovering { resume_window: Duration },
    /// There is a carrier again.
    Resumed { after: Duration, resent_bytes: u64 },
}

/// A carrier as status shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CarrierView {
    pub(crate) number: CarrierNumber,
    pub(crate) round_trip: RoundTrip,
    pub(crate) traffic: Traffic,
    pub(crate) last_received_ago: Duration,
    pub(crate) in_flight: u64,
}

impl Session {
    /// A session that waits for its first carrier.
    pub(crate) fn new(now: Instant, params: SessionParams) -> Self {
        Self {
            origin: now,
            state: State::Recovering { since: now, begun: false },
            streams: Slab::new(),
            slots: Slots::with_hasher(Keyed::new(params.seed)),
            opened: 0,
            peer_max_streams: params.peer_max_streams,
            peer_opened: 0,
            late: BTreeSet::new(),
            released: 0,
            turned_down: 0,
            announced_streams: params.limits.max_streams,
            waiting: VecDeque::new(),
            unaccepted: 0,
            incoming: VecDeque::new(),
            carriers: Vec::new(),
            farewells: Vec::new(),
            fallen: Vec::new(),
            attempted: Vec::new(),
            last_number: None,
            last_trip: Duration::ZERO,
            outgoing: control::Outgoing::new(now),
            draining: false,
            drained: false,
            peer: control::Incoming::default(),
            flood: Flood::new(now),
            refusals: Refusals::new(now),
            pool: SessionPool::new(params.pool.clone(), params.limits.pool),
            grown: Grown::default(),
            least_trip: Duration::ZERO,
            events: VecDeque::new(),
            wakers: Wakers::default(),
            traffic: Traffic::default(),
            scratch: BytesMut::new(),
            random: fastrand::Rng::with_seed(params.seed),
            params,
        }
    }

    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// A routing key the peer began or ceased to serve.
    pub(crate) fn poll_key(&mut self) -> Option<(RoutingKey, bool)> {
        self.peer.poll_key()
    }

    /// Tells all keys that the peer serves once more.
    pub(crate) fn review_keys(&mut self) {
        self.peer.review_keys();
    }

    /// Whether the fleet has something to look at.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty() || self.peer.has_keys()
    }

    /// Who is to be woken once the lock is let go.
    #[must_use]
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        if self.wakers.is_empty() { Wakers::default() } else { std::mem::take(&mut self.wakers) }
    }

    /// Serves a routing key towards the peer, or no more.
    pub(crate) fn serve(&mut self, key: &RoutingKey, served: bool) {
        self.outgoing.serve(key, served);
        self.wake_drivers();
    }

    /// Tells the peer this end's cost.
    pub(crate) fn announce_cost(&mut self, cost: Cost) {
        self.outgoing.cost(cost);
        self.wake_drivers();
    }

    /// Tells the peer that this end is active, or on standby; on standby it refuses streams that come all the same.
    /// Every end is active at first.
    pub(crate) fn set_active(&mut self, active: bool) {
        self.outgoing.stand_by(!active);
        self.wake_drivers();
    }

    /// Ends the session for good, telling the peer with `code`.
    #[cfg(any(test, feature = "__entries"))]
    pub(crate) fn close(&mut self, now: Instant, code: CloseCode) {
        self.end(now, SessionEnd::Closed(code), Some(code));
    }

    /// Ends the session for good for a reason the fleet found; the peer, if it is still there, is told `code`.
    pub(crate) fn end_with(&mut self, now: Instant, end: SessionEnd, code: CloseCode) {
        self.end(now, end, Some(code));
    }

    /// Why the session ended, if it has.
    pub(crate) fn ended(&self) -> Option<&SessionEnd> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Up | State::Recovering { .. } => None,
        }
    }

    /// Whether the session has no carrier and waits for one.
    pub(crate) fn is_recovering(&self) -> bool {
        matches!(self.state, State::Recovering { .. })
    }

    /// Whether nothing is under way: no stream is left, and the peer has received everything.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.is_empty()
            && self.carriers.iter().all(|carrier| carrier.log.is_empty())
            && self.fallen.is_empty()
    }

    /// How many streams have an entry.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Bytes by which windows have grown beyond their minimum.
    pub(crate) fn pool_used(&self) -> u64 {
        self.pool.used()
    }

    /// Whether the peer drains.
    pub(crate) fn peer_draining(&self) -> bool {
        self.peer.draining
    }

    /// Whether the peer's end is on standby.
    pub(crate) fn peer_standby(&self) -> bool {
        self.peer.standby
    }

    /// The peer's cost, if it changed it since its hello.
    pub(crate) fn peer_cost(&self) -> Option<Cost> {
        self.peer.cost
    }

    /// What went over the session so far: data bytes of streams, and all that was sent again.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The live carriers.
    pub(crate) fn carriers(&self, now: Instant) -> Vec<CarrierView> {
        let view = |carrier: &Carrier| CarrierView {
            number: carrier.number,
            round_trip: carrier.pace.round_trip(),
            traffic: carrier.traffic,
            last_received_ago: carrier.life.silence(now),
            in_flight: carrier.log.in_flight(),
        };
        self.carriers.iter().map(view).collect()
    }

    /// When [`Session::handle_timeout`] wants to be called next, for the session as a whole.
    pub(crate) fn poll_session_timeout(&self) -> Option<Instant> {
        let resume = match &self.state {
            State::Recovering { since, .. } => Some(*since + self.params.resume_window),
            State::Up | State::Ended(_) => None,
        };
        let accept = self.waiting.front().map(|(deadline, _)| *deadline);
        [resume, accept, self.grown.poll_timeout(), self.keys_due()].into_iter().flatten().min()
    }

    /// When more key changes may be told; of a session that has ended, never.
    fn keys_due(&self) -> Option<Instant> {
        if self.ended().is_some() { None } else { self.outgoing.due() }
    }

    /// When [`Session::handle_timeout`] wants to be called next, for a carrier or the session.
    pub(crate) fn poll_timeout(&self, number: CarrierNumber) -> Option<Instant> {
        let carrier = self.carriers.iter().find(|carrier| carrier.number == number)?;
        let life = carrier.life.poll_timeout(carrier.pace.usual_wait());
        let next = carrier.acks.due.map_or(life, |due| due.min(life));
        Some(self.poll_session_timeout().map_or(next, |at| at.min(next)))
    }

    fn find(&self, number: CarrierNumber) -> Option<usize> {
        self.carriers.iter().position(|carrier| carrier.number == number)
    }

    fn wake_drivers(&mut self) {
        for carrier in &mut self.carriers {
            self.wakers.take(&mut carrier.driver);
        }
    }
}
