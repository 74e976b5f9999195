//! The floor that waits, spawns, touches files and sockets, and reads time.

pub(crate) mod bundle;
