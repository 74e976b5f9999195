//! The floor that waits: sockets, tasks, timers, time.
//!
//! What is decided is decided below, in `proto`; here it is carried out.

pub(crate) mod clock;
pub(crate) mod fanout;
pub(crate) mod socket;
