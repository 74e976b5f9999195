//! Whom and what events are about, and why.

use std::sync::Arc;

use crate::id::{
    AccessId, CarrierNumber, Instance, LinkId, Principal, RouterName, RoutingKey, SessionNumber, SiteId,
    SiteName,
};
use crate::wire::code::CloseCode;

/// A peer, as its hello and its certificate name it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Peer {
    /// Its site.
    pub site_id: SiteId,
    /// Its site, for people.
    pub site_name: SiteName,
    /// The router within the site.
    pub router: RouterName,
    /// This run of the router.
    pub instance: Instance,
    /// Who its certificate says it is.
    pub principal: Principal,
}

impl Peer {
    /// Puts together what hello and certificate say.
    #[must_use]
    pub fn new(
        site_id: SiteId,
        site_name: SiteName,
        router: RouterName,
        instance: Instance,
        principal: Principal,
    ) -> Self {
        Self { site_id, site_name, router, instance, principal }
    }
}

/// Whose certificate it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CertificateOwner {
    /// This end's, where it listens.
    Access {
        /// The access.
        access: AccessId,
        /// The name of its credentials.
        name: Arc<str>,
    },
    /// This end's, where it dials.
    Link {
        /// The link.
        link: LinkId,
        /// The name of its credentials.
        name: Arc<str>,
    },
    /// The peer's.
    Peer {
        /// The session.
        session: SessionNumber,
        /// The carrier on which it was shown.
        carrier: CarrierNumber,
    },
}

/// Why a carrier that works is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ReplaceCause {
    /// The acceptor at the other end asks for it, with that code.
    Asked(CloseCode),
    /// The certificate that the peer showed on it has expired.
    Expired,
    /// The link is to be dialed another way: through another proxy or none, or its group does not list the endpoint any more.
    Rerouted,
    /// This end's credentials were rotated.
    Rotated,
    /// It has been silent for suspiciously long while another is trusted, and the peer, who dials, may not have
    /// noticed.
    Suspect,
}

impl ReplaceCause {
    /// What the peer is told.
    pub(crate) fn code(self) -> CloseCode {
        match self {
            Self::Asked(code) => code,
            Self::Expired => CloseCode::EXPIRED,
            Self::Rerouted | Self::Rotated | Self::Suspect => CloseCode::REPLACED,
        }
    }
}

/// Why routing keys of a peer are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum KeysRefusedReason {
    /// The peer showed no certificate.
    Anonymous,
    /// No policy lets the peer serve them.
    NotAllowed,
}

/// Where a stream is to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Destination {
    /// Any site that serves the routing key.
    Key(RoutingKey),
    /// That site.
    Site(SiteId),
}
