//! The peers by name, and which rows each is in.

use clap::ValueEnum;

use crate::end::Flavor;
use crate::pki::Pki;
use crate::row::{Pace, Row, Samples};
use crate::{h2, quinn, sitelink, tcp, tls, yamux};

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum PeerName {
    Tcp,
    Tls,
    Yamux,
    H2,
    Quinn,
    QuinnEthernet,
    Sitelink,
    SitelinkTwo,
    SitelinkIo,
}

impl PeerName {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::Tcp,
        Self::Tls,
        Self::Yamux,
        Self::H2,
        Self::Quinn,
        Self::QuinnEthernet,
        Self::Sitelink,
        Self::SitelinkTwo,
        Self::SitelinkIo,
    ];

    /// What it is called.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Yamux => "yamux",
            Self::H2 => "h2",
            Self::Quinn => "quinn",
            Self::QuinnEthernet => "quinn (1452)",
            Self::Sitelink => "sitelink",
            Self::SitelinkTwo => "sitelink (2 carriers)",
            Self::SitelinkIo => "sitelink (io)",
        }
    }

    /// Whether it is one that sitelink is compared with as the best: the same crypto, and not itself.
    pub(crate) fn is_rival(self) -> bool {
        matches!(self, Self::Tls | Self::Yamux | Self::H2 | Self::Quinn)
    }

    /// Whether the row says anything of it: connections are no idle streams, the relay carries no UDP, and the two
    /// sizes of datagrams and the two ways into sitelink differ where there are many bytes.
    pub(crate) fn is_in(self, row: Row) -> bool {
        match (self, row) {
            (Self::Tcp | Self::Tls, Row::Memory) | (Self::Quinn, Row::Wan1 | Row::Wan10) => false,
            (Self::QuinnEthernet | Self::SitelinkIo, row) => matches!(row, Row::Bulk1 | Row::Bulk64),
            _ => true,
        }
    }

    /// Does a row once.
    pub(crate) fn measure(self, row: Row, pki: &Pki, flavor: Flavor, pace: &Pace) -> Samples {
        match self {
            Self::Tcp => row.measure::<tcp::Tcp>(pki, flavor, pace),
            Self::Tls => row.measure::<tls::Tls>(pki, flavor, pace),
            Self::Yamux => row.measure::<yamux::Yamux>(pki, flavor, pace),
            Self::H2 => row.measure::<h2::H2>(pki, flavor, pace),
            Self::Quinn => row.measure::<quinn::Quinn<{ quinn::LOOPBACK }>>(pki, flavor, pace),
            Self::QuinnEthernet => row.measure::<quinn::Quinn<{ quinn::ETHERNET }>>(pki, flavor, pace),
            Self::Sitelink => row.measure::<sitelink::Sitelink<1>>(pki, flavor, pace),
            Self::SitelinkTwo => row.measure::<sitelink::Sitelink<2>>(pki, flavor, pace),
            Self::SitelinkIo => row.measure::<sitelink::SitelinkIo>(pki, flavor, pace),
        }
    }
}
