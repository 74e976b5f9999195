//! The handles a router holds. No logic: each call is handed to the floor below.

pub mod access;
pub mod builder;
mod credentials;
pub mod events;
pub mod open;
pub mod plane;
pub mod secrets;
pub mod stream;
