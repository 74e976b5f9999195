//! Which policies a peer has to satisfy: the plane's, and that of the access or link it comes by.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::certificate::LeafSummary;
use crate::id::{AccessId, LinkId, Principal, RoutingKey};
use crate::policy::{PeerPolicy, Shown, is_same_peer};

/// The policies in force.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    plane: PeerPolicy,
    /// None for a door that adds nothing to the plane's.
    doors: BTreeMap<Door, PeerPolicy>,
}

/// What a session came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    /// It was accepted.
    Access(AccessId),
    /// It was dialed.
    Link(LinkId),
}

/// For whom a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All peers.
    Plane,
    /// Those that come by it.
    Door(Door),
}

impl Trust {
    /// Puts a policy in force in place of the one before.
    pub(crate) fn set(&mut self, scope: Scope, policy: PeerPolicy) {
        match scope {
            Scope::Plane => self.plane = policy,
            Scope::Door(door) if policy == PeerPolicy::any() => drop(self.doors.remove(&door)),
            Scope::Door(door) => drop(self.doors.insert(door, policy)),
        }
    }

    /// Forgets the policies of doors that nobody comes by any more.
    pub(crate) fn retain(&mut self, known: impl Fn(Door) -> bool) {
        self.doors.retain(|door, _| known(*door));
    }

    /// Whether the peer may link.
    pub(crate) fn admits(&self, door: Door, shown: Shown<'_>) -> bool {
        self.policies(door).all(|policy| policy.admits(shown))
    }

    /// Whether the peer may serve the key.
    pub(crate) fn may_serve(&self, door: Door, shown: Shown<'_>, key: &RoutingKey) -> bool {
        self.policies(door).all(|policy| policy.may_serve(shown, key))
    }

    /// Whether two certificates are one peer's, by all that the doors know of pins: those of one are not to be got round
    /// through another that has none.
    pub(crate) fn is_same(&self, doors: &[Door], one: Shown<'_>, other: Shown<'_>) -> bool {
        let of_doors = doors.iter().filter_map(|door| self.doors.get(door));
        is_same_peer(std::iter::once(&self.plane).chain(of_doors), one, other)
    }

    /// Whether there is none but the plane's.
    #[cfg(test)]
    pub(crate) fn is_plain(&self) -> bool {
        self.doors.is_empty()
    }

    fn policies(&self, door: Door) -> impl Iterator<Item = &PeerPolicy> + Clone {
        std::iter::once(&self.plane).chain(self.doors.get(&door))
    }
}

/// What a peer shows by its principal and its leaf.
pub(crate) fn shown<'a>(principal: &'a Principal, certificate: Option<&Arc<LeafSummary>>) -> Shown<'a> {
    Shown { principal, key: certificate.map(|leaf| leaf.key) }
}
