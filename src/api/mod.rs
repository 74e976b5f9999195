//! The handles a router holds. No logic: each call is handed to the floor below.

pub mod access;
pub mod builder;
mod draining;
pub mod events;
pub mod following;
pub mod open;
pub mod plane;
pub mod stream;
