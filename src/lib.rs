//! sitelink: the data plane of a site-to-site link.

pub mod config;
pub mod error;
pub mod event;
pub mod id;
mod proto;
pub mod snapshot;
pub mod stats;
pub mod wire;
