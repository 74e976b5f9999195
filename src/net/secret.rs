//! Random ids and secrets, from the crypto provider's generator.

use crate::id::{Instance, SessionId};
use crate::tls::provider::random;
use crate::wire::hello::{SessionClaim, SessionSecret};

/// The length of a TLS exporter here, in bytes.
pub(crate) const EXPORTER: usize = crate::tls::proof::EXPORTER_LEN;

/// A session's id and secret; `None` if the system has no randomness to give.
pub(crate) fn fresh() -> Option<(SessionId, SessionSecret)> {
    let (mut id, mut secret) = ([0; 16], [0; 32]);
    random(&mut id)?;
    random(&mut secret)?;
    Some((SessionId(id), SessionSecret(secret)))
}

/// This run's id; `None` if the system has no randomness to give.
pub(crate) fn instance() -> Option<Instance> {
    let mut id = [0; 16];
    random(&mut id)?;
    Some(Instance(id))
}

/// A seed for jitter, of which nothing secret depends.
pub(crate) fn seed() -> u64 {
    fastrand::u64(..)
}

/// What the acceptor said of a session that it began, for carriers that join it later.
pub(crate) fn remember(session: SessionId, secret: SessionSecret) -> SessionClaim {
    SessionClaim::Begun { session, secret }
}
