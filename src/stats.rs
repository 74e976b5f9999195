//! Counters, as events and status carry them.

use std::time::Duration;

/// What went over a carrier, session or stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes sent: of a carrier its frames, of a stream its data.
    pub sent_bytes: u64,
    /// Bytes received, likewise.
    pub received_bytes: u64,
    /// Bytes sent a second time after the loss of a carrier.
    pub resent_bytes: u64,
}

/// What is known of the way to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RoundTrip {
    /// Smoothed round-trip time (RFC 6298); `None` before the first sample.
    pub smoothed: Option<Duration>,
    /// Its mean deviation.
    pub variation: Duration,
    /// The least of the last ten seconds.
    pub minimum: Option<Duration>,
}
