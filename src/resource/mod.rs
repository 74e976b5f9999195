//! Documents in, specs out; facts in, status documents out.
//!
//! [`Manifest`](manifest::Manifest) reads Link and Secret documents as Skupper writes them, and says of
//! each that it does not take why not. [`LinkStatus`](status::LinkStatus) renders what became of a Link in
//! Skupper's own words. Nothing here waits, dials or knows a certificate beyond its PEM envelope.

mod document;
#[cfg(any(test, feature = "__entries"))]
#[doc(hidden)]
pub mod entries;
mod fields;
pub mod host;
mod legacy;
pub mod link;
pub mod manifest;
mod node;
pub(crate) mod reconcile;
pub mod report;
pub mod secret;
pub mod settings;
mod split;
pub mod status;
