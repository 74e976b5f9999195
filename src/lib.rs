//! sitelink: the data plane of a site-to-site link.

pub mod api;
pub mod config;
pub mod error;
pub mod event;
pub mod id;
pub(crate) mod net;
pub mod resource;
mod proto;
pub mod snapshot;
mod net;
pub mod stats;
pub mod tls;
pub mod wire;
