//! The plane: this router's half of the link data plane.

use std::sync::Arc;
use std::time::Duration;

use crate::api::access::{Access, AccessSpec};
use crate::api::events::Events;
use crate::api::open::{Incoming, OpenRequest};
use crate::api::secrets::LinkSecrets;
use crate::api::stream::LinkStream;
use crate::error::{CredentialsError, OpenError, PlaneError};
use crate::event::{Destination, EventKind};
use crate::id::{Cost, Instance, LinkId, LinkRole, RouterRole, RoutingKey, SessionNumber};
use crate::net::fanout::Streams;
use crate::net::hub::{Dialing, Hub};
use crate::net::stream_watch::StreamWatch;
use crate::net::{clock, opening};
use crate::proto::dial::Target;
use crate::proto::link::LinkWanted;
use crate::resource::link::LinkSpec;
use crate::resource::secret::ProxySpec;
use crate::resource::status::LinkStatus;
use crate::snapshot::{CandidateView, PlaneStatus};
use crate::tls::config::{DialerIdentity, client_config, server_config};
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
    /// # Errors
    /// [`PlaneError::Credentials`] when the credentials given cannot be used to dial; [`PlaneError::ShutDown`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn link(&self, spec: LinkSpec, secrets: impl Into<LinkSecrets>) -> Result<LinkId, PlaneError> {
        self.apply(None, &spec, &secrets.into())
    }

    /// Changes a link to a newer document or other credentials by the smallest change that does it: a new cost
    /// touches no connection, a new list of endpoints dials what is new and drains what is gone.
    ///
    /// # Errors
    /// As [`Plane::link`], and [`PlaneError::Unknown`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn relink(
        &self,
        link: LinkId,
        spec: LinkSpec,
        secrets: impl Into<LinkSecrets>,
    ) -> Result<(), PlaneError> {
        self.known(link)?;
        self.apply(Some(link), &spec, &secrets.into()).map(|_| ())
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
    /// # Errors
    /// [`PlaneError::Bind`], [`PlaneError::Credentials`], [`PlaneError::ShutDown`], and [`PlaneError::Setting`] on
    /// an edge plane, which has no link access.
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "needs a runtime; being async says so")]
    pub async fn listen(&self, spec: AccessSpec, credentials: Credentials) -> Result<Access, PlaneError> {
        self.open_for_business()?;
        if self.hub().local.role == RouterRole::Edge {
            let problem = "an edge router has no link access".into();
            return Err(PlaneError::Setting { setting: "access", problem });
        }
        let tls = server_config(&credentials, spec.client_auth, None)?;
        self.announce(&credentials);
        let (id, address) =
            self.hub().listen(spec.address, spec.role, spec.cost, tls, credentials.ordinal())?;
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

    /// Opens a stream by the path of least cost, and waits for the acceptor's verdict: one round trip.
    ///
    /// # Errors
    /// As [`OpenError`] says. A refusal for want of a server is tried at the next candidate first, each at most
    /// once; an open that may have arrived is never repeated unless the request says that it may.
    ///
    /// # Cancel safety
    /// Cancel safe: a stream that was asked for is reset.
    pub async fn open(&self, request: OpenRequest) -> Result<LinkStream, OpenError> {
        let wanted = request.into_wanted()?;
        let destination = wanted.destination.clone();
        let opening::Opened { session, key, tally } = Box::pin(opening::open(self.hub(), wanted)).await?;
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
        crate::net::link_status::of(&self.hub().status(), link)
    }

    /// Changes this end's cost of a link, on live sessions too; no stream is touched.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn set_cost(&self, link: LinkId, cost: Cost) -> Result<(), PlaneError> {
        self.known(link)?;
        self.hub().fleet().handle_cost(clock::now(), link, cost);
        self.hub().stir.notify_one();
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

    /// Whether a stream to the destination would find a path now.
    #[must_use]
    pub fn has_path(&self, destination: &Destination) -> bool {
        self.hub().paths().is_reachable(destination)
    }

    /// The candidates for a destination, with their scores, in the order that decides ties.
    #[must_use]
    pub fn explain(&self, destination: &Destination) -> Vec<CandidateView> {
        self.hub().paths().explain(destination)
    }

    /// This run of the router, as its hellos name it.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.hub().local.instance
    }

    /// Ends the plane in good order: takes no new links and no new streams, lets the others end within the grace,
    /// then listens no more and closes all sessions, telling the peers. Returns when every task has ended. Calling it again waits for
    /// the same end.
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

    fn hub(&self) -> &Arc<Hub> {
        &self.owner.hub
    }

    fn open_for_business(&self) -> Result<(), PlaneError> {
        if self.hub().closing.is_cancelled() { Err(PlaneError::ShutDown) } else { Ok(()) }
    }

    fn known(&self, link: LinkId) -> Result<(), PlaneError> {
        if self.hub().fleet().has_link(link) { Ok(()) } else { Err(PlaneError::Unknown) }
    }

    fn announce(&self, credentials: &Credentials) {
        let leaf = credentials.leaf();
        self.hub().fanout.publish(EventKind::CredentialsLoaded {
            name: Arc::clone(credentials.name()),
            ordinal: credentials.ordinal(),
            serial: leaf.map(|leaf| Arc::clone(&leaf.serial)),
            not_after: leaf.map(|leaf| leaf.not_after),
        });
    }

    fn apply(
        &self,
        known: Option<LinkId>,
        spec: &LinkSpec,
        secrets: &LinkSecrets,
    ) -> Result<LinkId, PlaneError> {
        self.open_for_business()?;
        let refused = |name: &Arc<str>, error: &CredentialsError| {
            let (name, error) = (Arc::clone(name), error.clone());
            self.hub().fanout.publish(EventKind::CredentialsRefused { name, error });
        };
        let identity = if spec.no_client_auth { DialerIdentity::Withheld } else { DialerIdentity::Shown };
        let dialing = match &secrets.credentials {
            Some(Ok(credentials)) => {
                let tls = client_config(credentials, identity, None)
                    .inspect_err(|error| refused(credentials.name(), error))?;
                self.announce(credentials);
                let (ordinal, settings) = (credentials.ordinal(), spec.settings.clone());
                Some(Dialing { tls, ordinal, settings, proxy: proxy(spec, secrets) })
            }
            Some(Err(error)) => {
                if let Some(name) = &spec.tls_credentials {
                    refused(name, error);
                }
                None
            }
            None => None,
        };
        let role = self.hub().local.role.link_role();
        Ok(self.hub().link(known, wanted(spec, role, secrets), dialing))
    }
}

/// What a document asks of the fleet.
fn wanted(spec: &LinkSpec, role: LinkRole, secrets: &LinkSecrets) -> LinkWanted {
    let target = |host: String, port: u16| Target { host: host.into(), port };
    let groups = spec.by_group(role).into_iter().map(|(group, endpoints)| {
        let targets = endpoints.into_iter().map(|endpoint| target(endpoint.host.to_string(), endpoint.port));
        (group, targets.collect())
    });
    let credentials = secrets.credentials.as_ref().and_then(|found| found.as_ref().ok());
    LinkWanted {
        name: spec.key.name.clone(),
        namespace: Arc::clone(&spec.key.namespace),
        generation: spec.generation,
        cost: spec.cost,
        groups: groups.collect(),
        credentials: credentials.map(|credentials| (Arc::clone(credentials.name()), credentials.ordinal())),
        settings: spec.settings.clone(),
        proxy: proxy(spec, secrets),
        usable: usable(spec, role, secrets),
    }
}

/// The proxy to dial through: one that was found or given is used only by a Link that names one.
fn proxy(spec: &LinkSpec, secrets: &LinkSecrets) -> Option<ProxySpec> {
    secrets.proxy.clone().filter(|_| spec.settings.proxy_configuration.is_some())
}

/// Whether a link can be dialed as it is; if not, why, for its `Configured` condition.
fn usable(spec: &LinkSpec, role: LinkRole, secrets: &LinkSecrets) -> Result<(), Arc<str>> {
    spec.dialable(role)?;
    match (&secrets.credentials, &spec.tls_credentials) {
        (Some(Ok(_)), _) => {}
        (None, None) => return Err("no TLS credentials".into()),
        (Some(Err(CredentialsError::NotFound(_))) | None, Some(name)) => {
            return Err(format!("TLS credentials {name:?} not found").into());
        }
        (Some(Err(error)), _) => return Err(format!("TLS credentials: {error}").into()),
    }
    match &spec.settings.proxy_configuration {
        // Never a direct connection in its place: the proxy may be there to see what leaves the site.
        Some(name) if secrets.proxy.is_none() => {
            Err(format!("proxy configuration: no usable Secret {name:?}").into())
        }
        _ => Ok(()),
    }
}
