//! The data plane of a site-to-site link.
//!
//! sitelink reads a Skupper `Link` document, dials the remote site over mutual TLS, keeps the link alive, and carries
//! application connections over it that outlive each of the TCP connections beneath. A router embeds it; the far end is
//! sitelink, too.
//!
//! # The words
//!
//! A **site** is a place on the network, with an id and a name; it runs one or more **routers**, each run of which is
//! an **instance**. A router's half of the link data plane is its [`Plane`]. A **link** is what a Link document asks
//! for: to be connected to one remote site. It names **endpoints**; those of one **group** reach one and the same remote
//! router. The listening side is a link **access**. Per group there is a **session** with the remote router; it runs
//! over **carriers** (TCP and TLS connections), and **streams** (application connections) run over it. A **path** is a
//! session that leads to a destination: to a site, or to a **routing key** that sites serve. Its **cost** is in units of
//! open streams. **Credentials** are a bundle of `ca.crt`, `tls.crt` and `tls.key`; a **principal** is who a certificate
//! says that a peer is.
//!
//! # The way of a byte
//!
//! ```text
//!  write / send ─▶ stream ─▶ schedule ─▶ carrier log ─▶ rustls ─▶ TCP ═══▶ TCP ─▶ rustls ─▶ decoder ─▶ stream ─▶ read / recv
//!                 (credit)              (kept until acknowledged)                                  (bounded by credit)
//! ```
//!
//! # An example
//!
//! ```
//! use sitelink::{Destination, Host, LinkRole, Manifest, OpenError, OpenRequest, Plane, RoutingKey, Site};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let west = Plane::builder(Site::new("9c40-west", "west")?).start().await?;
//!
//! let manifest = Manifest::parse(
//!     r#"
//!     apiVersion: skupper.io/v2alpha1
//!     kind: Link
//!     metadata: { name: east }
//!     spec:
//!       cost: 3
//!       tlsCredentials: east
//!       endpoints:
//!       - { name: inter-router, host: east.example.com, port: "55671", group: skupper-router }
//!     "#,
//!     "east.yaml",
//! );
//! let spec = manifest.link("east")?.clone();
//! assert_eq!(spec.by_group(LinkRole::InterRouter).len(), 1);
//!
//! // Its Secret is not among the documents, so the link is taken on and says what it lacks.
//! let link = west.link(spec, None).await?;
//! let status = west.link_status(link).expect("the link is this plane's");
//! assert_eq!(status.message, "TLS credentials secret \"east\" not found");
//!
//! let key = RoutingKey::new("backend")?;
//! assert!(!west.has_path(&Destination::Key(key.clone())));
//! assert_eq!(west.open(OpenRequest::to_key(key)).await.unwrap_err(), OpenError::NoPath);
//! west.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/embed.rs` links two sites in one process; `examples/router` is the shape of a router.
//!
//! # What is promised
//!
//! - Bytes of a stream arrive in order, once, whatever happens to the connections beneath it while its session lives.
//! - A stream that ends in any way but its peer's finish reads as an error, never as end of file.
//! - A link is up when the peer's hello has arrived, never before; what is not working says its phase, its cause, its
//!   endpoint and its next attempt, in a type.
//! - Trust is the bundle's `ca.crt` and nothing else, the host name is always verified, and neither can be switched off.
//! - Whatever a peer sends, memory stays within the budgets of [`PlaneConfig`], and other sessions go on.

pub mod api;
pub mod certificate;
pub mod config;
#[cfg(any(test, feature = "__entries"))]
#[doc(hidden)]
pub mod entries;
pub mod error;
pub mod event;
pub mod id;
mod moment;
mod net;
pub mod policy;
mod proto;
pub mod resource;
#[cfg(test)]
mod sim;
pub mod snapshot;
pub mod stats;
pub mod tls;
pub mod wire;

pub use crate::api::access::{Access, AccessSpec};
pub use crate::api::builder::{PlaneBuilder, Site};
pub use crate::api::events::Events;
pub use crate::api::following::Following;
pub use crate::api::open::{Incoming, OpenRequest};
pub use crate::api::plane::Plane;
pub use crate::api::stream::{LinkStream, ReadHalf, WriteHalf};
pub use crate::certificate::{LeafSummary, PUBLIC_ROOTS, RevocationList};
pub use crate::config::PlaneConfig;
pub use crate::error::*;
pub use crate::event::{
    CertificateOwner, Destination, Event, EventKind, KeysRefusedReason, Peer, ReplaceCause,
};
pub use crate::id::*;
pub use crate::moment::Moment;
pub use crate::net::credentials::CredentialsSource;
pub use crate::net::followed::{FollowedLink, FollowingStatus, Resources};
pub use crate::net::resolve::{Addresses, Resolver, SystemResolver};
pub use crate::net::secrets::LinkSecrets;
pub use crate::policy::{Allow, PeerIdentity, PeerPolicy};
pub use crate::resource::host::Host;
pub use crate::resource::link::{Endpoint, LinkKey, LinkSpec};
pub use crate::resource::manifest::{LinkNotFound, Manifest};
pub use crate::resource::report::{Refusal, Warning};
pub use crate::resource::secret::{ProxySpec, SecretKind, SecretSpec};
pub use crate::resource::status::LinkStatus;
pub use crate::snapshot::{CandidateView, PathView, PlaneStatus};
pub use crate::stats::{RoundTrip, Traffic};
pub use crate::tls::config::ClientAuth;
pub use crate::tls::credentials::{Credentials, CredentialsParts};
pub use crate::wire::code::{CloseCode, StreamCode};
