//! Counters, as events and status carry them.

use std::time::Duration;

/// What went over a carrier, session or stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes sent: of a carrier its frames, of a session or a stream its data, counted once.
    pub sent_bytes: u64,
    /// Bytes received, likewise.
    pub received_bytes: u64,
    /// Bytes sent a second time after the loss of a carrier, framing included. Of a session; 0 of a carrier or a stream.
    pub resent_bytes: u64,
}

/// What is known of the way to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RoundTrip {
    /// Smoothed round-trip time (RFC 6298); `None` before the first sample.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::optional_seconds"))]
    pub smoothed: Option<Duration>,
    /// Its mean deviation.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::seconds"))]
    pub variation: Duration,
    /// The least of the last ten seconds.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::optional_seconds"))]
    pub minimum: Option<Duration>,
}

/// Serializes a time span as a number of seconds, exact to the nanosecond for a day and to the microsecond for years.
#[cfg(feature = "serde")]
pub(crate) fn seconds<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_secs_f64())
}

/// As [`seconds`], with `null` for none.
#[cfg(feature = "serde")]
pub(crate) fn optional_seconds<S: serde::Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => seconds(span, serializer),
        None => serializer.serialize_none(),
    }
}
