//! The floor that waits, spawns, touches files and sockets, and reads time.
//!
//! What is decided is decided below, in `proto`; here it is carried out.

pub(crate) mod bundle;
pub(crate) mod carrier;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod dialer;
pub(crate) mod fanout;
pub(crate) mod greeting;
pub(crate) mod handshake;
pub(crate) mod hub;
pub(crate) mod inbox;
pub(crate) mod incoming;
pub(crate) mod joining;
pub(crate) mod link_status;
pub(crate) mod listener;
pub(crate) mod names;
pub(crate) mod opening;
pub(crate) mod proxy;
pub(crate) mod resolve;
pub(crate) mod secret;
pub(crate) mod shared;
pub(crate) mod slots;
pub(crate) mod socket;
pub(crate) mod stream_watch;
pub(crate) mod supervisor;
pub(crate) mod tally;
#[cfg(test)]
mod testing;
