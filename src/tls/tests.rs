//! In-memory handshakes.
