//! The hello: the first frame of a carrier, both ways.

use std::fmt;
use std::time::Duration;

use crate::id::{
    CarrierNumber, Cost, GroupName, Instance, LinkName, LinkRole, Ordinal, RouterName, SessionId, SiteId,
    SiteName,
};

/// Who a peer is and what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Optional abilities, one bit each; those that both ends name are used.
    pub features: u64,
    /// The sender's site.
    pub site_id: SiteId,
    /// The sender's site, for people.
    pub site_name: SiteName,
    /// The sender's router within its site.
    pub router: RouterName,
    /// This run of it.
    pub instance: Instance,
    /// The role of this link.
    pub role: LinkRole,
    /// The dialer's name of the link; empty from an acceptor.
    pub link: LinkName,
    /// The group dialed; empty from an acceptor.
    pub group: GroupName,
    /// The sender's cost of this link; the larger of both ends' is in force.
    pub cost: Cost,
    /// How many streams the receiver of this hello may open at first.
    pub max_streams: u64,
    /// How many bytes the receiver of this hello may send on a new stream at first; at least 16,384.
    pub initial_window: u64,
    /// The sender's credentials ordinal.
    pub ordinal: Ordinal,
    /// How long the sender keeps a session without a carrier; the smaller of both ends' is in force.
    pub resume_window: Duration,
    /// The carrier's number, chosen by the dialer and repeated by the acceptor.
    pub carrier: CarrierNumber,
    /// The session this carrier is of.
    pub session: SessionClaim,
    /// The carriers of the session that the sender holds dead.
    pub dead: Vec<DeadCarrier>,
}

/// Which session a hello is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "crate-internal vocabulary: every match must see every kind"
)]
pub enum SessionClaim {
    /// Dialer: begin a new session.
    New,
    /// Dialer: join this session.
    Join {
        /// The session.
        session: SessionId,
        /// HMAC-SHA-256 over the connection's exporter and the carrier's number.
        proof: [u8; 32],
    },
    /// Acceptor: the session begun now.
    Begun {
        /// Its id.
        session: SessionId,
        /// The secret that joining proofs are keyed with.
        secret: SessionSecret,
    },
    /// Acceptor: the session joined.
    Joined {
        /// Its id.
        session: SessionId,
    },
}

/// The 256-bit secret of a session. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret(pub [u8; 32]);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

/// A carrier its sender holds dead, and how far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadCarrier {
    /// The carrier.
    pub number: CarrierNumber,
    /// Its logged bytes that the sender of this hello received into the session.
    pub received: u64,
}
