//! The machines: what to dial, who may link, which path a stream takes.
//!
//! No I/O and no clock: `handle_*` takes what happened, with the time of it as an argument, `poll_*` gives what
//! follows from it. The same inputs with the same seed give the same outputs.

pub(crate) mod dial;
pub(crate) mod facts;
pub(crate) mod fleet;
pub(crate) mod group;
pub(crate) mod link;
pub(crate) mod paths;
pub(crate) mod session;
pub(crate) mod registry;
pub(crate) mod roster;
