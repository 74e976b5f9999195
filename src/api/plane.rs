//! The plane: this router's half of the link data plane.

use std::sync::Arc;
use std::time::Duration;

use crate::api::access::{Access, AccessSpec};
use crate::api::events::Events;
use crate::api::following::Following;
use crate::api::open::{Incoming, OpenRequest};
use crate::api::stream::LinkStream;
use crate::error::{OpenError, PlaneError};
use crate::event::Destination;
use crate::id::{Cost, Instance, LinkId, Ordinal, RouterName, RouterRole, RoutingKey, SessionNumber, SiteId};
use crate::net::bundle_watch::BundleWatch;
use crate::net::credentials::CredentialsSource;
use crate::net::fanout::Streams;
use crate::net::follow::Follow;
use crate::net::followed::Resources;
use crate::net::hub::Hub;
use crate::net::secrets::LinkSecrets;
use crate::net::stream_watch::StreamWatch;
use crate::net::{clock, opening};
use crate::policy::PeerPolicy;
use crate::proto::trust::{Door, Scope};
use crate::resource::link::LinkSpec;
use crate::resource::status::LinkStatus;
use crate::snapshot::{PathView, PlaneStatus, StreamView};
use crate::tls::credentials::Credentials;

/// This router's half of the link data plane. Cheap to clone; all clones are the same plane.
///
/// When the last clone is dropped the plane ends at once: links and streams are closed without grace. Call
/// [`Plane::shutdown`] to let streams end first.
#[derive(Clone, Debug)]
pub struct Plane {
    owner: Arc<Owner>,
}

/// Ends the plane with the last handle.
#[derive(Debug)]
struct Owner {
    hub: Arc<Hub>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.hub.cancel.cancel();
    }
}

impl Plane {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { owner: Arc::new(Owner { hub }) }
    }

    /// Keeps a link, until it is unlinked: dials the endpoints of this router's role, a session per group, and never
    /// gives up. A document that has no endpoint for the role, or names credentials or a proxy that `secrets` lack,
    /// is taken on as not configured, which its status and an event tell; it is not dialed then.
    ///
    /// Credentials in a folder ([`CredentialsSource::Directory`]) are watched for as long as the link is kept with them.
    ///
    /// # Errors
    /// [`PlaneError::Credentials`] when the credentials given cannot be used to dial; [`PlaneError::ShutDown`].
    ///
    /// # Cancel safety
    /// Done at the first poll, unless a folder is to be looked at; dropped before that is done, nothing is taken on.
    pub async fn link(&self, spec: LinkSpec, secrets: impl Into<LinkSecrets>) -> Result<LinkId, PlaneError> {
        self.apply(None, spec, secrets.into()).await
    }

    /// Changes a link to a newer document or other credentials by the smallest change that does it: a new cost
    /// touches no connection, a new list of endpoints dials what is new and drains what is gone, for other credentials or
    /// another proxy carriers are replaced one by one, and a session that is to show a certificate, or none, drains and begins
    /// anew.
    ///
    /// # Errors
    /// As [`Plane::link`], and [`PlaneError::Unknown`], also for a link that was given up and drains.
    ///
    /// # Cancel safety
    /// As [`Plane::link`].
    pub async fn relink(
        &self,
        link: LinkId,
        spec: LinkSpec,
        secrets: impl Into<LinkSecrets>,
    ) -> Result<(), PlaneError> {
        self.known(link)?;
        self.apply(Some(link), spec, secrets.into()).await.map(|_| ())
    }

    /// Gives a link other credentials: handshakes that begin after this use them, and so count one ordinal on, which is
    /// returned. Carriers of live sessions are replaced, each only when another is up, and no stream notices; the event
    /// `RotationCompleted` tells when the last one made with older credentials is gone. Those stay in force while the peer
    /// takes no new one, which `RotationDelayed` tells after 30 s; [`Plane::revoke_older_than`] ends them. The bundle in
    /// use given again changes nothing.
    ///
    /// Credentials of another principal (another subject or issuer, and not the same peer by the other end's policy) give
    /// no session of the first one a carrier: such a session takes no new streams, those that it has are let end over the
    /// carriers it has for at most 30 s, and a successor begins beside it at once.
    ///
    /// # Errors
    /// [`PlaneError::Credentials`] for a bundle that cannot be used to dial, which an event tells as well, and the one
    /// in use stays; [`PlaneError::Unknown`]; [`PlaneError::ShutDown`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn rotate(&self, link: LinkId, credentials: Credentials) -> Result<Ordinal, PlaneError> {
        self.hub().rotate_link(link, credentials)
    }

    /// Closes at once every carrier of a link whose handshake used credentials of a rotation before `ordinal`, as
    /// [`Plane::rotate`] returned it. Their streams go on on the others, or on those that are dialed now. An ordinal beyond
    /// that of the credentials in use counts as theirs. Returns how many carriers are closed.
    ///
    /// For a key that others may have. What only changes in its time needs no more than the rotation.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    pub fn revoke_older_than(&self, link: LinkId, ordinal: Ordinal) -> Result<usize, PlaneError> {
        self.known(link)?;
        self.hub().revoke_link(link, ordinal)
    }

    /// Follows documents on the disk: takes on the Links they hold, with the Secrets and bundle folders they name, and
    /// keeps to them as they change. Returns once the first reading is taken in.
    ///
    /// A changed document is applied as the smallest change that does it ([`Plane::relink`]), a new one is taken on, a
    /// link whose document is gone drains. One that is broken is told of ([`EventKind::LinkRefused`],
    /// [`EventKind::DocumentRefused`]) while the last good one stays in force, and so do links whose file cannot be
    /// understood. Of two Links of one name that stands which was there first. Changed credentials are rotated; broken or
    /// vanished ones are told of, and the last good ones stay in use. Nothing is taken before two looks agree.
    ///
    /// [`PlaneConfig::watch`](crate::PlaneConfig::watch) says how often it looks. A disk that hangs holds up the
    /// following alone.
    ///
    /// [`EventKind::LinkRefused`]: crate::EventKind::LinkRefused
    /// [`EventKind::DocumentRefused`]: crate::EventKind::DocumentRefused
    ///
    /// # Errors
    /// [`PlaneError::Setting`] for a path that cannot be read at all; [`PlaneError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing was taken on.
    pub async fn follow(&self, resources: Resources) -> Result<Following, PlaneError> {
        self.open_for_business()?;
        let (mut follow, status) = Follow::new(self.hub(), resources);
        let closing = self.hub().closing.clone();
        closing.run_until_cancelled(follow.begin()).await.unwrap_or(Err(PlaneError::ShutDown))?;
        let stop = self.hub().cancel.child_token();
        let stopped = stop.clone();
        self.hub().tasks.spawn(async move {
            tokio::select! {
                () = follow.run() => {}
                () = stopped.cancelled() => {}
                () = closing.cancelled() => {}
            }
        });
        Ok(Following::new(status, stop.drop_guard()))
    }

    /// Gives a link up: its sessions take no new streams, and are closed when their streams have ended or the grace
    /// is over. Returns at once; the event `LinkRemoved` tells the end.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn unlink(&self, link: LinkId, grace: Duration) -> Result<(), PlaneError> {
        self.known(link)?;
        self.hub().unlink(link, grace);
        Ok(())
    }

    /// Listens for links. Client certificates issued by the credentials' `ca.crt` are required, unless the spec says
    /// otherwise.
    ///
    /// Credentials in a folder ([`CredentialsSource::Directory`]) are watched until the access is closed.
    ///
    /// # Errors
    /// [`PlaneError::Bind`], [`PlaneError::Credentials`], [`PlaneError::ShutDown`], and [`PlaneError::Setting`] on
    /// an edge plane, which has no link access.
    ///
    /// # Cancel safety
    /// Done at the first poll, unless a folder is to be looked at; dropped before that is done, nothing listens.
    pub async fn listen(
        &self,
        spec: AccessSpec,
        credentials: impl Into<CredentialsSource>,
    ) -> Result<Access, PlaneError> {
        self.open_for_business()?;
        if self.hub().local.role == RouterRole::Edge {
            let problem = "an edge router has no link access".into();
            return Err(PlaneError::Setting { setting: "access", problem });
        }
        let (credentials, watch) = match credentials.into() {
            CredentialsSource::Fixed(credentials) => (credentials, None),
            CredentialsSource::Directory { name, path } => {
                let mut watch = BundleWatch::new(self.hub(), name, path);
                let found = self.hub().closing.run_until_cancelled(watch.changed()).await;
                let found = found.ok_or(PlaneError::ShutDown)?;
                let credentials = found.inspect_err(|error| self.hub().refuse(watch.name(), error))?;
                (credentials, Some(watch))
            }
        };
        let (id, address, cancel) = self.hub().listen(spec.wanted(), &credentials)?;
        if let Some(watch) = watch {
            let watching = async move { cancel.run_until_cancelled(watch.serve_access(id)).await };
            self.hub().tasks.spawn(watching);
        }
        Ok(Access::new(Arc::clone(self.hub()), id, address))
    }

    /// Serves a routing key: peers learn it within a round trip and may open streams to it. Serving a key that is
    /// served changes nothing.
    ///
    /// # Errors
    /// [`PlaneError::TooManyKeys`].
    pub fn serve(&self, key: &RoutingKey) -> Result<(), PlaneError> {
        if self.hub().serve(key, true) {
            return Ok(());
        }
        Err(PlaneError::TooManyKeys { limit: self.hub().config.session.keys })
    }

    /// Serves a key no more: new streams to it are refused, open ones go on.
    pub fn withdraw(&self, key: &RoutingKey) {
        self.hub().serve(key, false);
    }

    /// Opens a stream by the path of least cost plus open streams ([`Selection`](crate::config::Selection)), and waits for the acceptor's verdict: one round trip.
    ///
    /// # Errors
    /// As [`OpenError`] says. A refusal for want of a server is tried at the next candidate first, each at most
    /// once, but for those that stood by, which are asked again when paths have changed within
    /// [`OpenRequest::wait_for_path`]; an open that may have arrived is never repeated unless the request says that it may.
    ///
    /// # Cancel safety
    /// Cancel safe: a stream that was asked for is reset.
    pub async fn open(&self, request: OpenRequest) -> Result<LinkStream, OpenError> {
        let wanted = request.into_wanted().inspect_err(|error| self.hub().opens.count::<()>(Err(error)))?;
        let destination = wanted.destination.clone();
        let outcome = Box::pin(opening::open(self.hub(), wanted)).await;
        self.hub().opens.count(outcome.as_ref());
        let opening::Opened { session, key, tally } = outcome?;
        let watch = StreamWatch::begin(&self.hub().fanout, session.number(), key.id, || destination, false);
        Ok(LinkStream::new(session, key, Some(tally), watch))
    }

    /// The next stream that a peer opens to a key this plane serves, or to this site. `None` when the plane has
    /// ended. Several tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: a stream is taken only by the call that returns it.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let session = self.hub().incoming.next().await?;
            if let Some(arrived) = session.take_incoming() {
                return Some(Incoming::new(arrived, Arc::clone(self.hub())));
            }
        }
    }

    /// Subscribes to what happens from now on, without streams.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.hub().fanout.subscribe(Streams::Left))
    }

    /// As [`Plane::events`], with an event for each stream that is opened and one when it is over. Streams cost
    /// nothing extra while nobody has subscribed so.
    #[must_use]
    pub fn events_with_streams(&self) -> Events {
        Events::new(self.hub().fanout.subscribe(Streams::Included))
    }

    /// Everything at this moment. Waits for nobody.
    #[must_use]
    pub fn status(&self) -> PlaneStatus {
        self.hub().status()
    }

    /// A link's status in Skupper's own words; `None` for a link that is not (or no longer) one of this plane.
    #[must_use]
    pub fn link_status(&self, link: LinkId) -> Option<LinkStatus> {
        LinkStatus::of(&self.hub().status(), link)
    }

    /// The streams of a session that have waited longest for a reader or a carrier, then others, at most `most`;
    /// `None` for a session that is not (or no longer) one of this plane. Looks at every stream of the session, a
    /// part at a time.
    #[must_use]
    pub fn streams(&self, session: SessionNumber, most: usize) -> Option<Vec<StreamView>> {
        self.hub().streams(session, most)
    }

    /// Changes this end's cost of a link, on live sessions too; no stream is touched. It stands until the link is given
    /// another document.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`], of one that was given up as well.
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn set_cost(&self, link: LinkId, cost: Cost) -> Result<(), PlaneError> {
        if !self.hub().fleet().keeps_link(link) {
            return Err(PlaneError::Unknown);
        }
        self.hub().set_cost(link, cost);
        Ok(())
    }

    /// Changes who may link with this router, by whichever access or link, and which keys they may serve; it works at
    /// once. Sessions of peers that may not link any more end with
    /// [`CloseCode::NOT_AUTHORIZED`](crate::CloseCode::NOT_AUTHORIZED) at both ends; keys that a peer may not serve any
    /// more are taken for withdrawn, and come back when it may. What accesses and links demand beyond it stays.
    pub fn set_policy(&self, policy: PeerPolicy) {
        self.hub().set_policy(Scope::Plane, policy);
    }

    /// Changes which routers may answer a link and which keys they may serve, as [`Plane::set_policy`] does for all.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    pub fn set_link_policy(&self, link: LinkId, policy: PeerPolicy) -> Result<(), PlaneError> {
        self.known(link)?;
        self.hub().set_policy(Scope::Door(Door::Link(link)), policy);
        Ok(())
    }

    /// Ends a session at once, with its streams. A link that is still wanted is dialed anew.
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn disconnect(&self, session: SessionNumber) {
        self.hub().fleet().handle_disconnect(clock::now(), session);
        self.hub().stir.notify_one();
    }

    /// Ends all sessions with a router, or without a name with all routers of the site, as [`Plane::disconnect`]
    /// does one; returns how many.
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn disconnect_peer(&self, site: &SiteId, router: Option<&RouterName>) -> usize {
        let ended = self.hub().fleet().handle_disconnect_peer(clock::now(), site, router);
        self.hub().stir.notify_one();
        ended
    }

    /// Whether a stream to the destination would find a path now.
    #[must_use]
    pub fn has_path(&self, destination: &Destination) -> bool {
        self.hub().paths().is_reachable(destination)
    }

    /// Why a stream to the destination would take the way it does: by which rule, which sessions lead there, what each costs
    /// and carries, and why some cannot be chosen.
    #[must_use]
    pub fn explain(&self, destination: &Destination) -> PathView {
        self.hub().paths().explain(destination)
    }

    /// This run of the router, as its hellos name it.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.hub().local.instance
    }

    /// Ends the plane in good order: takes no new links and no new streams, lets the others end within the grace,
    /// then listens no more and closes all sessions, telling the peers. Returns when every task has ended. Calling it again waits for
    /// the same end, or brings it forward: of two graces the one that is over earlier stands.
    ///
    /// # Cancel safety
    /// The shutdown goes on when the future is dropped.
    pub async fn shutdown(&self, grace: Duration) {
        let hub = self.hub();
        hub.fleet().handle_shutdown(clock::now(), grace);
        hub.closing.cancel();
        hub.stir.notify_one();
        hub.tasks.wait().await;
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.owner.hub
    }

    fn open_for_business(&self) -> Result<(), PlaneError> {
        if self.hub().closing.is_cancelled() { Err(PlaneError::ShutDown) } else { Ok(()) }
    }

    fn known(&self, link: LinkId) -> Result<(), PlaneError> {
        if self.hub().fleet().has_link(link) { Ok(()) } else { Err(PlaneError::Unknown) }
    }

    async fn apply(
        &self,
        known: Option<LinkId>,
        spec: LinkSpec,
        mut secrets: LinkSecrets,
    ) -> Result<LinkId, PlaneError> {
        let watch = match &secrets.source {
            Some(CredentialsSource::Directory { name, path }) => {
                let mut watch = BundleWatch::new(self.hub(), Arc::clone(name), path.clone());
                // One that is no bundle yet is a link that is not configured yet.
                let found = self.hub().closing.run_until_cancelled(watch.changed()).await;
                secrets.credentials = Some(found.ok_or(PlaneError::ShutDown)?);
                Some(watch)
            }
            _ => None,
        };
        let stop = self.hub().cancel.child_token();
        let link = self.hub().keep(known, spec, secrets, watch.is_some().then(|| stop.clone()))?;
        if let Some(watch) = watch {
            let watching = async move { stop.run_until_cancelled(watch.serve_link(link, &stop)).await };
            self.hub().tasks.spawn(watching);
        }
        Ok(link)
    }
}
