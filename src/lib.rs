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
