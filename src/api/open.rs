//! Opening streams, and taking those that peers open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::stream::LinkStream;
use crate::error::{OpenError, StreamError};
use crate::event::{Destination, Peer};
use crate::id::{RoutingKey, SiteId};
use crate::net::hub::Hub;
use crate::net::opening::Wanted;
use crate::net::shared::Arrived;
use crate::net::stream_watch::StreamWatch;
use crate::wire::MAX_METADATA;
use crate::wire::code::StreamCode;
use crate::wire::frame::OpenTo;

/// What stream to open.
///
/// ```
/// # use sitelink::{OpenRequest, RoutingKey};
/// # use std::time::Duration;
/// let request = OpenRequest::to_key(RoutingKey::new("backend")?).wait_for_path(Duration::from_secs(1));
/// # Ok::<(), sitelink::IdError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OpenRequest {
    wanted: Wanted,
}

impl OpenRequest {
    /// To any site that serves the routing key, by the path that [`PlaneConfig::selection`](crate::PlaneConfig::selection)
    /// chooses: of least (open streams + cost), unless it says otherwise.
    pub fn to_key(key: RoutingKey) -> Self {
        Self::to(Destination::Key(key))
    }

    /// To that site.
    pub fn to_site(site: SiteId) -> Self {
        Self::to(Destination::Site(site))
    }

    /// To either.
    pub fn to(destination: Destination) -> Self {
        let wanted = Wanted {
            destination,
            metadata: Bytes::new(),
            initial: Bytes::new(),
            finished: false,
            wait: Duration::ZERO,
            idempotent: false,
        };
        Self { wanted }
    }

    /// Bytes for the acceptor, who sees them before it accepts: at most 4096. Default none.
    pub fn metadata(mut self, metadata: Bytes) -> Self {
        self.wanted.metadata = metadata;
        self
    }

    /// The first bytes of the stream, which travel with the open and spare a round trip: at most 16,384. They go
    /// to every candidate that is asked. Default none.
    pub fn initial_data(mut self, data: Bytes) -> Self {
        self.wanted.initial = data;
        self
    }

    /// Ends the writing half with the open: after the initial data the acceptor reads end of file. A request and its
    /// answer then take a single round trip. Default not.
    pub fn finish(mut self) -> Self {
        self.wanted.finished = true;
        self
    }

    /// Waits that long for a path if there is none, or none but those that refused the stream because they drain or
    /// stand by. Default zero: fails with [`OpenError::NoPath`] at once.
    pub fn wait_for_path(mut self, wait: Duration) -> Self {
        self.wanted.wait = wait;
        self
    }

    /// Opening it twice does no harm: if its session dies before a verdict, the next candidate is asked. Without
    /// this such an open ends as [`OpenError::OutcomeUnknown`].
    pub fn idempotent(mut self) -> Self {
        self.wanted.idempotent = true;
        self
    }

    /// Checks the lengths.
    pub(crate) fn into_wanted(self) -> Result<Wanted, OpenError> {
        let too_long = |what, limit| Err(OpenError::TooLong { what, limit });
        if self.wanted.metadata.len() > MAX_METADATA {
            return too_long("metadata", MAX_METADATA);
        }
        if self.wanted.initial.len() > MAX_INITIAL {
            return too_long("initial data", MAX_INITIAL);
        }
        Ok(self.wanted)
    }
}

/// A stream that a peer opened and that nobody has accepted. Dropping it refuses it with [`StreamCode::REFUSED`], so that
/// its opener asks nobody else.
#[derive(Debug)]
pub struct Incoming {
    /// `None` once accepted or refused.
    arrived: Option<Arrived>,
    hub: Arc<Hub>,
    routing_key: Option<RoutingKey>,
    metadata: Bytes,
}

impl Incoming {
    pub(crate) fn new(mut arrived: Arrived, hub: Arc<Hub>) -> Self {
        let metadata = std::mem::take(&mut arrived.request.metadata);
        let routing_key = match &arrived.request.to {
            OpenTo::Key(key) => Some(key.clone()),
            OpenTo::Site => None,
        };
        Self { arrived: Some(arrived), hub, routing_key, metadata }
    }

    /// The key it was opened to; `None` when it was opened to this site.
    #[must_use]
    pub fn routing_key(&self) -> Option<&RoutingKey> {
        self.routing_key.as_ref()
    }

    /// What the opener says of it: free bytes of its own making, at most 4096.
    #[must_use]
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    /// The router that opened it. `None` never happens before it is accepted or refused.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.arrived.as_ref().map(|arrived| arrived.session.peer())
    }

    /// Accepts it.
    ///
    /// # Errors
    /// It waited for too long, or its session has ended. One that its opener has reset meanwhile is accepted all the same,
    /// and reading it tells of the reset.
    pub fn accept(mut self) -> Result<LinkStream, StreamError> {
        let Some(arrived) = self.arrived.take() else { return Err(StreamError::Closed) };
        let verdict = arrived.session.with(|session| {
            if session.accept(arrived.key) {
                return Ok(());
            }
            let lost = session.ended().cloned().map(StreamError::SessionLost);
            session.release(arrived.key);
            Err(lost.unwrap_or(StreamError::TimedOut))
        });
        verdict?;
        let key = self.routing_key.take();
        let destination =
            || key.map_or_else(|| Destination::Site(self.hub.local.site_id.clone()), Destination::Key);
        let (session, id) = (arrived.session.number(), arrived.key.id);
        let watch = StreamWatch::begin(&self.hub.fanout, session, id, destination, true);
        Ok(LinkStream::new(arrived.session, arrived.key, None, watch))
    }

    /// Refuses it with a code. The opener tries the next site for the codes that say that there is nobody to serve
    /// it here ([`StreamCode::UNREACHABLE`], [`StreamCode::BUSY`], …), and gives up for any other.
    pub fn refuse(mut self, code: StreamCode) {
        if let Some(arrived) = self.arrived.take() {
            arrived.session.with(|session| {
                session.refuse(arrived.key, code);
                session.release(arrived.key);
            });
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(arrived) = self.arrived.take() {
            arrived.turn_away();
        }
    }
}

/// The most that travels with an open: the window that every stream is guaranteed (`wire::MIN_WINDOW`).
const MAX_INITIAL: usize = 16_384;
