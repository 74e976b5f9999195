//! What a plane trusts and for how long: policies, and the ends of the certificates in use.

use std::sync::Arc;

use crate::event::CertificateOwner;
use crate::id::{AccessId, LinkId};
use crate::net::clock;
use crate::net::hub::{Hub, lock};
use crate::policy::PeerPolicy;
use crate::proto::trust::Scope;
use crate::snapshot::CredentialsView;

impl Hub {
    /// A link is gone, and its private key with it.
    pub(crate) fn forget_link(&self, link: LinkId) {
        // First, and so after a change of it that is under way, which would leave the rest behind.
        lock(&self.kept).remove(&link);
        lock(&self.dialing).remove(&link);
        self.expect_end_of_link(link, None);
    }

    /// A policy takes the place of the one before.
    pub(crate) fn set_policy(&self, scope: Scope, policy: PeerPolicy) {
        self.fleet().handle_policy(clock::now(), scope, policy);
        self.stir.notify_one();
    }

    /// The end of what a link dials with is to be told ahead; of nothing any more with `None`.
    pub(crate) fn expect_end_of_link(&self, link: LinkId, credentials: Option<&CredentialsView>) {
        let is_other = |owner: &CertificateOwner| !matches!(owner, CertificateOwner::Link { link: of, .. } if *of == link);
        self.expect_end(is_other, credentials, |name| CertificateOwner::Link { link, name });
    }

    /// The same of what an access shows.
    pub(crate) fn expect_end_of_access(&self, access: AccessId, credentials: Option<&CredentialsView>) {
        let is_other = |owner: &CertificateOwner| !matches!(owner, CertificateOwner::Access { access: of, .. } if *of == access);
        self.expect_end(is_other, credentials, |name| CertificateOwner::Access { access, name });
    }

    /// Watches these credentials in place of all that are not another's.
    fn expect_end(
        &self,
        is_other: impl Fn(&CertificateOwner) -> bool,
        credentials: Option<&CredentialsView>,
        owner: impl FnOnce(Arc<str>) -> CertificateOwner,
    ) {
        let mut expiry = self.expiry();
        let Some(credentials) = credentials else { return expiry.retain(is_other) };
        let (now, owner) = (clock::unix_seconds(), owner(Arc::clone(&credentials.name)));
        // What is watched already is not told again: any change of a link comes by here.
        let stays = credentials.certificate.is_some();
        expiry.retain(|of| is_other(of) || stays && *of == owner);
        expiry.handle_lists(now, &owner, &credentials.revocation_lists);
        if let Some(certificate) = &credentials.certificate {
            expiry.handle_certificate(now, owner, Arc::clone(certificate));
        }
    }
}
