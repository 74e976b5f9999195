//! The floor that waits, spawns, touches files and sockets, and reads time.
//!
//! What is decided is decided below, in `proto`; here it is carried out.

pub(crate) mod bundle;
pub(crate) mod bundle_watch;
pub(crate) mod carrier;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod credentials;
pub(crate) mod dialer;
pub(crate) mod fanout;
pub(crate) mod follow;
pub(crate) mod followed;
pub(crate) mod greeting;
pub(crate) mod handshake;
pub(crate) mod hub;
pub(crate) mod inbox;
pub(crate) mod incoming;
pub(crate) mod joining;
pub(crate) mod keeping;
pub(crate) mod kept;
pub(crate) mod link_status;
pub(crate) mod listener;
pub(crate) mod log;
pub(crate) mod names;
#[cfg(feature = "watch")]
pub(crate) mod notices;
pub(crate) mod opening;
pub(crate) mod proxy;
pub(crate) mod resolve;
pub(crate) mod rotation;
pub(crate) mod secret;
pub(crate) mod secrets;
pub(crate) mod settling;
pub(crate) mod shared;
pub(crate) mod slots;
pub(crate) mod socket;
pub(crate) mod stamp;
pub(crate) mod status;
pub(crate) mod stream_look;
pub(crate) mod stream_watch;
pub(crate) mod supervisor;
pub(crate) mod tally;
#[cfg(test)]
mod testing;
pub(crate) mod trusting;
pub(crate) mod watch;
