//! The handles a router holds. No logic: each call is handed to the floor below.

pub mod events;
pub mod stream;
