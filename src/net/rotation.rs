//! Rotation: what credentials an end uses, and how many times they were changed.
//!
//! An end is one link's or one access's: each counts for itself, since each is what a peer sees. The count is the
//! ordinal in this end's hellos.

use std::sync::Arc;

use crate::event::EventKind;
use crate::id::{AccessId, LinkId, Ordinal};
use crate::snapshot::CredentialsView;
use crate::tls::credentials::Credentials;

/// The credentials an end uses for new handshakes.
#[derive(Clone, Debug)]
pub(crate) struct InUse {
    /// The bundle.
    pub(crate) credentials: Credentials,
    /// Which rotation of this end's it is.
    pub(crate) ordinal: Ordinal,
}

/// Whose credentials they are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// A link's; `None` before it has an id.
    Link(Option<LinkId>),
    /// An access's.
    Access(AccessId),
}

impl InUse {
    /// What an end uses once it was given `new`, and what is to be told of it: nothing, if it is the bundle already
    /// in use.
    ///
    /// The first bundle begins with the ordinal it brings. Each later one counts on by one, or takes the ordinal it
    /// brings if that is larger: an ordinal never goes back.
    pub(crate) fn succeed(before: Option<&Self>, new: &Credentials, end: End) -> (Self, Option<EventKind>) {
        let using = |ordinal| Self { credentials: new.clone(), ordinal };
        match before {
            None => {
                let first = using(new.ordinal());
                let told = first.loaded();
                (first, Some(told))
            }
            Some(before) if before.credentials.is_same_bundle(new) => (using(before.ordinal), None),
            Some(before) => {
                let next = using(Ordinal(before.ordinal.0.saturating_add(1)).max(new.ordinal()));
                let told = next.rotated(end);
                (next, Some(told))
            }
        }
    }

    /// What status tells of them.
    pub(crate) fn view(&self) -> Arc<CredentialsView> {
        let certificate = self.credentials.leaf().cloned().map(Arc::new);
        let lists = self.credentials.revocation_lists().to_vec();
        let name = Arc::clone(self.credentials.name());
        Arc::new(CredentialsView::new(name, self.ordinal, certificate, lists))
    }

    fn loaded(&self) -> EventKind {
        let leaf = self.credentials.leaf();
        EventKind::CredentialsLoaded {
            name: Arc::clone(self.credentials.name()),
            ordinal: self.ordinal,
            serial: leaf.map(|leaf| Arc::clone(&leaf.serial)),
            not_after: leaf.map(|leaf| leaf.not_after),
        }
    }

    fn rotated(&self, end: End) -> EventKind {
        let leaf = self.credentials.leaf();
        let (link, access) = match end {
            End::Link(link) => (link, None),
            End::Access(access) => (None, Some(access)),
        };
        EventKind::CredentialsRotated {
            link,
            access,
            name: Arc::clone(self.credentials.name()),
            ordinal: self.ordinal,
            serial: leaf.map(|leaf| Arc::clone(&leaf.serial)),
            not_after: leaf.map(|leaf| leaf.not_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing;
    use crate::tls::testing::TestCa;

    fn bundle(ca: &TestCa, ordinal: u64) -> Credentials {
        let parts = testing::parts(&ca.client("west"));
        Credentials::from_pem("west", &parts, Ordinal(ordinal)).unwrap()
    }

    #[test]
    fn an_ordinal_counts_the_bundles_of_one_end_and_never_goes_back() {
        let ca = TestCa::new("ca");
        let end = End::Link(Some(LinkId(7)));
        let (first, told) = InUse::succeed(None, &bundle(&ca, 3), end);
        assert!(matches!(told, Some(EventKind::CredentialsLoaded { ordinal: Ordinal(3), .. })));
        let (second, told) = InUse::succeed(Some(&first), &bundle(&ca, 1), end);
        let Some(EventKind::CredentialsRotated { link, access, ordinal, serial, .. }) = told else {
            panic!("{told:?}")
        };
        assert_eq!((link, access, ordinal), (Some(LinkId(7)), None, Ordinal(4)));
        assert_eq!(serial, second.credentials.leaf().map(|leaf| Arc::clone(&leaf.serial)));
        let (third, _) = InUse::succeed(Some(&second), &bundle(&ca, 9), End::Access(AccessId(1)));
        assert_eq!(third.ordinal, Ordinal(9));
    }

    #[test]
    fn the_bundle_in_use_given_again_is_no_rotation() {
        let ca = TestCa::new("ca");
        let (first, _) = InUse::succeed(None, &bundle(&ca, 1), End::Link(None));
        let (again, told) = InUse::succeed(Some(&first), &first.credentials, End::Link(None));
        assert_eq!((again.ordinal, told), (Ordinal(1), None));
    }
}
