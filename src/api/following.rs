//! Following documents at run time.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::DropGuard;

use crate::net::followed::FollowingStatus;

/// Documents that a plane follows. Made by [`Plane::follow`](crate::Plane::follow).
///
/// Dropping it ends the following, and leaves the links as they are: the plane goes on keeping them. To give them up,
/// [`unlink`](crate::Plane::unlink) those its status lists.
#[derive(Debug)]
#[must_use = "dropping it ends the following"]
pub struct Following {
    status: watch::Receiver<Arc<FollowingStatus>>,
    _stop: DropGuard,
}

impl Following {
    pub(crate) fn new(status: watch::Receiver<Arc<FollowingStatus>>, stop: DropGuard) -> Self {
        Self { status, _stop: stop }
    }

    /// What is in force, refused and warned of at this moment. Waits for nobody.
    #[must_use]
    pub fn status(&self) -> Arc<FollowingStatus> {
        Arc::clone(&self.status.borrow())
    }
}
