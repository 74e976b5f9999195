//! Draining: letting go of a link, a group or a session without cutting a stream.

use std::time::Duration;

use crate::api::plane::Plane;
use crate::error::PlaneError;
use crate::id::{GroupName, LinkId, SessionNumber};
use crate::net::clock;

impl Plane {
    /// Drains a link: neither end opens streams on its sessions any more, the open ones go on until they end or the grace
    /// is over. Then the sessions are closed, and the link rests: it stays with all its settings, but dials nothing until
    /// [`Plane::resume`]. A changed document does not wake it; a restarted router knows nothing of it.
    ///
    /// Returns at once. Both ends tell [`SessionDraining`](crate::EventKind::SessionDraining) for each session and then
    /// `SessionDown`: with [`CloseCode::DRAINED`](crate::CloseCode::DRAINED) if every stream ended in time; if not, the
    /// streams that are left end with [`CloseCode::DISCONNECTED`](crate::CloseCode::DISCONNECTED) as their reason. Drained
    /// again, the earlier end of the two stands; a grace of zero ends everything now.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`], also for a link that was given up.
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn drain(&self, link: LinkId, grace: Duration) -> Result<(), PlaneError> {
        self.drained(self.hub().fleet().handle_drain(clock::now(), link, None, grace))
    }

    /// Drains one group of a link, which is one router of the remote site, as [`Plane::drain`] does all: the way to take a
    /// router out of a site in high availability.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`], also for a group that the link's document does not list for this router's role.
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn drain_group(
        &self,
        link: LinkId,
        group: &GroupName,
        grace: Duration,
    ) -> Result<(), PlaneError> {
        self.drained(self.hub().fleet().handle_drain(clock::now(), link, Some(group), grace))
    }

    /// Drains one session, dialed or accepted, as [`Plane::drain`] does those of a link. When it has ended its dialer
    /// begins another one, unless that link or group is drained as well; for [`Plane::disconnect`] without a cut stream.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn drain_session(&self, session: SessionNumber, grace: Duration) -> Result<(), PlaneError> {
        self.drained(self.hub().fleet().handle_drain_session(clock::now(), session, grace))
    }

    /// Keeps a drained link again, with all its groups: they are dialed at once. A session that drains yet is let end
    /// first; another begins after it. For a link that is not drained this does nothing.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn resume(&self, link: LinkId) -> Result<(), PlaneError> {
        self.drained(self.hub().fleet().handle_resume(clock::now(), link, None))
    }

    /// Keeps one group of a drained link again, or a drained group.
    ///
    /// # Errors
    /// As [`Plane::drain_group`].
    ///
    /// # Cancel safety
    /// Done at the first poll.
    #[expect(clippy::unused_async, reason = "changing a plane may wait for it in time to come")]
    pub async fn resume_group(&self, link: LinkId, group: &GroupName) -> Result<(), PlaneError> {
        self.drained(self.hub().fleet().handle_resume(clock::now(), link, Some(group)))
    }

    fn drained(&self, known: bool) -> Result<(), PlaneError> {
        self.hub().stir.notify_one();
        if known { Ok(()) } else { Err(PlaneError::Unknown) }
    }
}
