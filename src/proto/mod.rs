//! The machines: what to dial, who may link, which path a stream takes.
//!
//! No I/O and no clock: `handle_*` takes what happened, with the time of it as an argument, `poll_*` gives what
//! follows from it. The same inputs with the same seed give the same outputs.

pub(crate) mod carrier;
pub(crate) mod dial;
pub(crate) mod drained;
pub(crate) mod expiry;
pub(crate) mod facts;
pub(crate) mod fleet;
pub(crate) mod gate;
pub(crate) mod group;
pub(crate) mod hold;
pub(crate) mod later;
pub(crate) mod ledger;
pub(crate) mod link;
pub(crate) mod orders;
pub(crate) mod paths;
pub(crate) mod race;
pub(crate) mod registry;
pub(crate) mod roster;
pub(crate) mod session;
pub(crate) mod trust;
pub(crate) mod uplink;

/// An arbitrary origin for the time of a test; nothing depends on which.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an `Instant` cannot be made in any other way")]
pub(crate) fn some_moment() -> std::time::Instant {
    std::time::Instant::now()
}
