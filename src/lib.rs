//! sitelink: the data plane of a site-to-site link.

pub mod api;
pub mod config;
pub mod error;
pub mod event;
pub mod id;
mod net;
mod proto;
pub mod resource;
pub mod snapshot;
pub mod stats;
pub mod tls;
pub mod wire;

pub use crate::api::access::{Access, AccessSpec};
pub use crate::api::builder::{PlaneBuilder, Site};
pub use crate::api::events::Events;
pub use crate::api::open::{Incoming, OpenRequest};
pub use crate::api::plane::Plane;
pub use crate::api::stream::{LinkStream, ReadHalf, WriteHalf};
pub use crate::config::PlaneConfig;
pub use crate::error::*;
pub use crate::event::{Destination, Event, EventKind, Peer};
pub use crate::id::*;
pub use crate::resource::host::Host;
pub use crate::resource::link::{Endpoint, LinkKey, LinkSpec};
pub use crate::resource::manifest::{LinkNotFound, Manifest};
pub use crate::resource::report::{Refusal, Warning};
pub use crate::resource::secret::{SecretKind, SecretSpec};
pub use crate::resource::status::LinkStatus;
pub use crate::snapshot::{CandidateView, PlaneStatus};
pub use crate::stats::{RoundTrip, Traffic};
pub use crate::tls::credentials::{Credentials, CredentialsParts};
pub use crate::wire::code::{CloseCode, StreamCode};
