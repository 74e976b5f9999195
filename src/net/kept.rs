//! What a plane keeps of its links and accesses, to change and rotate them.

use std::net::SocketAddr;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::id::{Cost, LinkRole};
use crate::net::listener::Presented;
use crate::net::rotation::InUse;
use crate::net::secrets::LinkSecrets;
use crate::policy::PeerPolicy;
use crate::resource::link::LinkSpec;
use crate::tls::config::ClientAuth;

/// A link as it was asked for.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its document.
    pub(crate) spec: LinkSpec,
    /// What it was to be dialed with.
    pub(crate) secrets: LinkSecrets,
    /// The last credentials it dialed with; they stay here while it cannot be dialed, so that the count goes on.
    pub(crate) in_use: Option<InUse>,
    /// Ends the watch over its credentials, if there is one.
    pub(crate) watch: Option<DropGuard>,
}

/// What an access listens with.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// What kind of links it takes.
    pub(crate) role: LinkRole,
    /// The cost it asks of links.
    pub(crate) cost: Cost,
    /// Ends it, and the watch over its credentials.
    pub(crate) cancel: CancellationToken,
    /// Whether dialers must show a certificate.
    pub(crate) client_auth: ClientAuth,
    /// What it accepts with.
    pub(crate) in_use: InUse,
    /// The same, for new handshakes.
    pub(crate) presented: watch::Sender<Presented>,
}

/// Where and how to listen.
#[derive(Clone, Debug)]
pub(crate) struct AccessWanted {
    /// Port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// What kind of links it takes.
    pub(crate) role: LinkRole,
    /// The cost it asks of links.
    pub(crate) cost: Cost,
    /// Whether dialers must show a certificate.
    pub(crate) client_auth: ClientAuth,
    /// Who may link through it.
    pub(crate) policy: PeerPolicy,
}
