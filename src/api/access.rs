//! Link access: the listening side.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::PlaneError;
use crate::id::{AccessId, Cost, LinkRole, Ordinal};
use crate::net::hub::Hub;
use crate::net::kept::AccessWanted;
use crate::policy::PeerPolicy;
use crate::proto::trust::{Door, Scope};
use crate::tls::config::ClientAuth;
use crate::tls::credentials::Credentials;

/// Where to listen, and for what.
#[derive(Clone, Debug)]
#[must_use]
pub struct AccessSpec {
    pub(crate) address: SocketAddr,
    pub(crate) role: LinkRole,
    pub(crate) cost: Cost,
    pub(crate) client_auth: ClientAuth,
    pub(crate) policy: PeerPolicy,
}

impl AccessSpec {
    /// Listens on `address` (port 0 takes a free one) for links of `role`, and asks no more than cost 1 of them.
    pub fn new(address: SocketAddr, role: LinkRole) -> Self {
        Self {
            address,
            role,
            cost: Cost::DEFAULT,
            client_auth: ClientAuth::Required,
            policy: PeerPolicy::any(),
        }
    }

    pub(crate) fn wanted(self) -> AccessWanted {
        let Self { address, role, cost, client_auth, policy } = self;
        AccessWanted { address, role, cost, client_auth, policy }
    }

    /// What links through this access cost at least: the larger of both ends' cost is in force. Default 1.
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// Whether dialers without a certificate are let in. Default: required, so they are not. Such a peer is marked
    /// anonymous everywhere; it may open streams, but not serve keys, claim a site that is live, or displace anyone.
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// Who may link through this access and which keys they may serve, beyond what the plane's policy says. Default:
    /// all whose certificate holds.
    pub fn policy(mut self, policy: PeerPolicy) -> Self {
        self.policy = policy;
        self
    }
}

/// A link access at work. It goes on listening when this handle is dropped; [`Access::close`] ends it.
#[derive(Clone, Debug)]
pub struct Access {
    hub: Arc<Hub>,
    id: AccessId,
    address: SocketAddr,
}

impl Access {
    pub(crate) fn new(hub: Arc<Hub>, id: AccessId, address: SocketAddr) -> Self {
        Self { hub, id, address }
    }

    /// Its id in events and status.
    #[must_use]
    pub fn id(&self) -> AccessId {
        self.id
    }

    /// The bound address, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives it other credentials: handshakes that begin after this use them, and so count one ordinal on, which is
    /// returned. Dialers are asked to replace the carriers they have, and no stream notices; the event `RotationCompleted`
    /// tells when the last one made with older credentials is gone. After 30 s those are closed that have others beside
    /// them, and the rest stays in force, which `RotationDelayed` tells; [`Access::revoke_older_than`] ends them. The bundle
    /// in use given again changes nothing.
    ///
    /// # Errors
    /// [`PlaneError::Credentials`] for a bundle that cannot be used to accept, which an event tells as well, and the one in
    /// use stays; [`PlaneError::Unknown`] for an access that was closed.
    pub fn rotate(&self, credentials: Credentials) -> Result<Ordinal, PlaneError> {
        self.hub.rotate_access(self.id, &credentials)
    }

    /// Closes at once every carrier that came through this access whose handshake used credentials of a rotation before
    /// `ordinal`, as [`Access::rotate`] returned it. Their streams go on on the others, or when their dialer has come back.
    /// An ordinal beyond that of the credentials in use counts as theirs. Returns how many carriers are closed.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`] for an access that was closed.
    pub fn revoke_older_than(&self, ordinal: Ordinal) -> Result<usize, PlaneError> {
        self.hub.revoke_access(self.id, ordinal)
    }

    /// Changes what links through this access cost at least, for live sessions too; no stream is touched.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`] for an access that was closed; its sessions keep the cost they have.
    pub fn set_cost(&self, cost: Cost) -> Result<(), PlaneError> {
        self.hub.set_access_cost(self.id, cost)
    }

    /// Changes who may link through this access and which keys they may serve; it works at once. Sessions that began here
    /// of peers that may not link any more end with [`CloseCode::NOT_AUTHORIZED`](crate::CloseCode::NOT_AUTHORIZED) at both
    /// ends; of those that began at another access, the carriers that came through this one are closed. Keys that a peer
    /// may not serve any more, by the access its session began at, are taken for withdrawn, and come back when it may.
    pub fn set_policy(&self, policy: PeerPolicy) {
        self.hub.set_policy(Scope::Door(Door::Access(self.id)), policy);
    }

    /// Stops listening. Links that came through it go on, but cannot come back through it when they are lost.
    pub fn close(&self) {
        self.hub.close_access(self.id);
    }
}
