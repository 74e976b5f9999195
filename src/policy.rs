//! Who may link, and which routing keys each peer may serve: values that an access, a link or a whole plane is given.
//!
//! The bundle's `ca.crt` says whose certificates are believed; a policy says who of them is wanted. Without one
//! everybody is whom the CA knows. What is judged is the verified leaf alone: its subject, or its public key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{KeyPin, Principal, RoutingKey};

/// Who may link, and which routing keys each peer may serve.
///
/// The default lets everybody in whose certificate holds, and lets everybody serve whatever it likes but for
/// anonymous peers, who never serve. Where several policies apply (the plane's and the access's, say), all must allow.
///
/// ```
/// use sitelink::{KeyPin, PeerIdentity, PeerPolicy, RoutingKey};
///
/// let west = PeerIdentity::subject("CN=west");
/// let north = PeerIdentity::key("5f".repeat(32).parse::<KeyPin>()?);
/// // Both may link; west alone serves, and that key alone.
/// let policy = PeerPolicy::only([west.clone(), north]).serving(west, [RoutingKey::new("backend")?]);
/// # Ok::<(), sitelink::IdError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct PeerPolicy {
    allow: Allow,
    /// `None`: all may serve all.
    serving: Option<BTreeMap<PeerIdentity, BTreeSet<RoutingKey>>>,
}

/// Which peers are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allow {
    /// All whose certificate `ca.crt` vouches for, and anonymous ones where an access takes those.
    #[default]
    Any,
    /// These and nobody else; no anonymous peer.
    Only(BTreeSet<PeerIdentity>),
}

/// What a peer is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerIdentity {
    /// The subject of its leaf, as RFC 4514 text: what [`LeafSummary::subject`](crate::LeafSummary::subject) shows.
    ///
    /// Whichever authority of `ca.crt` issued it. Bundles made by a command-line tool often share one subject: those
    /// are told apart by their keys.
    Subject(Arc<str>),
    /// One of these public keys: more than one for a peer whose key is being changed.
    ///
    /// Certificates of one such set are one principal, whatever their subjects; those of two sets are two, even with
    /// the same subject, so that neither can take the place of the other.
    Keys(BTreeSet<KeyPin>),
}

impl PeerIdentity {
    /// Known by the subject of its leaf.
    pub fn subject(subject: impl Into<Arc<str>>) -> Self {
        Self::Subject(subject.into())
    }

    /// Known by its public key.
    #[must_use]
    pub fn key(pin: KeyPin) -> Self {
        Self::Keys(BTreeSet::from([pin]))
    }

    /// Whether that is who showed itself.
    fn is(&self, shown: Shown<'_>) -> bool {
        match (self, shown.principal) {
            (Self::Subject(wanted), Principal::Certificate { subject, .. }) => wanted == subject,
            (Self::Subject(_), _) => false,
            (Self::Keys(pins), _) => shown.key.is_some_and(|key| pins.contains(&key)),
        }
    }
}

impl PeerPolicy {
    /// Lets everybody in whom `ca.crt` vouches for. The default.
    pub fn any() -> Self {
        Self::default()
    }

    /// Lets these in and nobody else. Of an empty list, nobody.
    pub fn only(peers: impl IntoIterator<Item = PeerIdentity>) -> Self {
        Self { allow: Allow::Only(peers.into_iter().collect()), serving: None }
    }

    /// Lets this peer serve these routing keys. Once this was said of one peer, a peer of whom it was not said serves
    /// none; said twice of one, it may serve both.
    ///
    /// It says nothing of who may link.
    pub fn serving(mut self, peer: PeerIdentity, keys: impl IntoIterator<Item = RoutingKey>) -> Self {
        self.serving.get_or_insert_default().entry(peer).or_default().extend(keys);
        self
    }

    /// Who is let in.
    #[must_use]
    pub fn allow(&self) -> &Allow {
        &self.allow
    }

    /// Whether the peer may link.
    pub(crate) fn admits(&self, shown: Shown<'_>) -> bool {
        match &self.allow {
            Allow::Any => true,
            Allow::Only(peers) => peers.iter().any(|peer| peer.is(shown)),
        }
    }

    /// Whether the peer may serve the key. An anonymous one never may, which is not this policy's to say.
    pub(crate) fn may_serve(&self, shown: Shown<'_>, key: &RoutingKey) -> bool {
        let Some(serving) = &self.serving else { return true };
        serving.iter().any(|(peer, keys)| keys.contains(key) && peer.is(shown))
    }

    /// The set of pins that knows a key.
    pub(crate) fn pinned(&self, key: KeyPin) -> Option<&BTreeSet<KeyPin>> {
        let listed = match &self.allow {
            Allow::Any => None,
            Allow::Only(peers) => Some(peers.iter()),
        };
        let serving = self.serving.iter().flat_map(BTreeMap::keys);
        listed.into_iter().flatten().chain(serving).find_map(|peer| match peer {
            PeerIdentity::Keys(pins) if pins.contains(&key) => Some(pins),
            _ => None,
        })
    }
}

/// What a peer has shown of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// Who its leaf says it is.
    pub(crate) principal: &'a Principal,
    /// The leaf's public key.
    pub(crate) key: Option<KeyPin>,
}

/// Whether two certificates are one peer's: of the same set of pins where one of the policies pins either, else of
/// the same issuer and subject.
pub(crate) fn is_same_peer<'a>(
    policies: impl Iterator<Item = &'a PeerPolicy> + Clone,
    one: Shown<'_>,
    other: Shown<'_>,
) -> bool {
    let pinned = |shown: Shown<'_>| {
        let key = shown.key?;
        policies.clone().find_map(|policy| policy.pinned(key))
    };
    match (pinned(one), pinned(other)) {
        (None, None) => one.principal == other.principal,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(subject: &str) -> Principal {
        Principal::Certificate { issuer: "CN=ca".into(), subject: subject.into() }
    }

    fn pin(byte: u8) -> KeyPin {
        KeyPin([byte; 32])
    }

    fn key(text: &str) -> RoutingKey {
        RoutingKey::new(text).unwrap()
    }

    #[test]
    fn a_list_lets_in_whom_it_names_by_subject_or_by_key_and_nobody_else() {
        let policy =
            PeerPolicy::only([PeerIdentity::subject("CN=west"), PeerIdentity::Keys([pin(1), pin(2)].into())]);
        let (west, other) = (principal("CN=west"), principal("CN=other"));
        let cases = [
            (&west, Some(pin(9)), true),
            (&other, Some(pin(1)), true),
            (&other, Some(pin(2)), true),
            (&other, Some(pin(3)), false),
            (&other, None, false),
            (&Principal::Anonymous, None, false),
        ];
        for (principal, key, admitted) in cases {
            let shown = Shown { principal, key };
            assert_eq!(policy.admits(shown), admitted, "{shown:?}");
            assert!(PeerPolicy::any().admits(shown));
            assert!(!PeerPolicy::only([]).admits(shown));
        }
    }

    #[test]
    fn once_serving_is_said_of_one_peer_nobody_else_serves() {
        let (west, other) = (principal("CN=west"), principal("CN=other"));
        let (west, other) = (Shown { principal: &west, key: None }, Shown { principal: &other, key: None });
        assert!(PeerPolicy::any().may_serve(other, &key("backend")));
        let policy = PeerPolicy::any()
            .serving(PeerIdentity::subject("CN=west"), [key("backend")])
            .serving(PeerIdentity::subject("CN=west"), [key("frontend")]);
        assert!(policy.may_serve(west, &key("backend")) && policy.may_serve(west, &key("frontend")));
        assert!(!policy.may_serve(west, &key("database")));
        assert!(!policy.may_serve(other, &key("backend")));
    }

    #[test]
    fn pins_tell_apart_who_shares_a_subject_and_join_the_keys_of_one_peer() {
        let shared = principal("CN=cli");
        let renamed = principal("CN=renamed");
        let shown = |principal, byte| Shown { principal, key: Some(pin(byte)) };
        let policies = [
            PeerPolicy::any(),
            PeerPolicy::only([PeerIdentity::Keys([pin(1), pin(2)].into()), PeerIdentity::key(pin(3))]),
        ];
        let same = |one, other| is_same_peer(policies.iter(), one, other);
        assert!(same(shown(&shared, 1), shown(&renamed, 2)), "old and new key of one");
        assert!(!same(shown(&shared, 1), shown(&shared, 3)), "two sets");
        assert!(!same(shown(&shared, 1), shown(&shared, 9)), "pinned and not");
        assert!(same(shown(&shared, 8), shown(&shared, 9)), "neither pinned: the names decide");
        assert!(!same(shown(&shared, 8), shown(&renamed, 8)), "not pinned, and other names");
    }
}
