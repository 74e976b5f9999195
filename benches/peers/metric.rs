//! What is measured, and what sitelink must reach.

use crate::names::PeerName;

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Bulk1,
    Bulk64,
    Processor,
    Ping,
    LoadedPing,
    LoadedBulk,
    LoadedRate,
    Opens,
    Memory,
    Stalled,
    StalledRate,
    Wan1,
    Wan10,
}

/// Which figures are the better ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// What sitelink must reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// That figure.
    Figure(f64),
    /// So many times what a peer reaches in the same rounds.
    Of(f64, PeerName),
    /// What the best peer reaches.
    Best,
    /// It is there to be looked at.
    None,
}

impl Metric {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 13] = [
        Self::Bulk1,
        Self::Bulk64,
        Self::Processor,
        Self::Ping,
        Self::LoadedPing,
        Self::LoadedBulk,
        Self::LoadedRate,
        Self::Opens,
        Self::Memory,
        Self::Stalled,
        Self::StalledRate,
        Self::Wan1,
        Self::Wan10,
    ];

    /// What it is, for the table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk, 1 stream, GB/s",
            Self::Bulk64 => "bulk, 64 streams, GB/s",
            Self::Processor => "CPU per GB, bulk 1 stream, s",
            Self::Ping => "ping-pong 100 B, p50, µs",
            Self::LoadedPing => "ping-pong 100 B beside 8 bulk streams, p50, ms",
            Self::LoadedBulk => "that bulk, of bulk without the ping-pong",
            Self::LoadedRate => "that bulk, GB/s",
            Self::Opens => "open + 100 B echo + close, 32 at a time, k/s",
            Self::Memory => "memory per idle stream, both ends, B",
            Self::Stalled => "bulk beside 16 stalled streams, of undisturbed",
            Self::StalledRate => "that bulk, GB/s",
            Self::Wan1 => "bulk, 1 stream, 50 ms, 1 Gbit/s, GB/s",
            Self::Wan10 => "bulk, 1 stream, 50 ms, 10 Gbit/s, GB/s",
        }
    }

    /// What it is called in the JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Bulk1 => "bulk1_gb_per_s",
            Self::Bulk64 => "bulk64_gb_per_s",
            Self::Processor => "bulk1_cpu_s_per_gb",
            Self::Ping => "ping_p50_us",
            Self::LoadedPing => "loaded_ping_p50_ms",
            Self::LoadedBulk => "loaded_bulk_of_alone",
            Self::LoadedRate => "loaded_bulk_gb_per_s",
            Self::Opens => "opens_k_per_s",
            Self::Memory => "idle_stream_bytes",
            Self::Stalled => "stalled_bulk_of_undisturbed",
            Self::StalledRate => "stalled_bulk_gb_per_s",
            Self::Wan1 => "wan_1_gbit_gb_per_s",
            Self::Wan10 => "wan_10_gbit_gb_per_s",
        }
    }

    /// Which figures are the better ones.
    pub(crate) fn better(self) -> Better {
        match self {
            Self::Processor | Self::Ping | Self::LoadedPing | Self::Memory => Better::Lower,
            _ => Better::Higher,
        }
    }

    /// What sitelink must reach.
    pub(crate) fn target(self) -> Target {
        match self {
            Self::Bulk1 | Self::Wan1 | Self::Wan10 => Target::Of(0.9, PeerName::Tls),
            Self::Bulk64 => Target::Of(1.3, PeerName::Tls),
            Self::Processor => Target::Of(1.15, PeerName::Tls),
            Self::Ping => Target::Of(1.05, PeerName::Tcp),
            Self::LoadedPing => Target::Figure(0.4),
            Self::LoadedBulk => Target::Figure(0.8),
            Self::Opens => Target::Best,
            Self::Memory => Target::Figure(1024.0),
            Self::Stalled => Target::Figure(0.9),
            Self::LoadedRate | Self::StalledRate => Target::None,
        }
    }
}
