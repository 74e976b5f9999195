//! An attempt to join a session: from its hello to its outcome, whatever becomes of the task.

use std::sync::Mutex;

use crate::error::Violation;
use crate::id::CarrierNumber;
use crate::net::clock;
use crate::net::hub::lock;
use crate::net::shared::SessionHandle;
use crate::tls::proof::{EXPORTER_LEN, join_proof};
use crate::wire::hello::{DeadCarrier, SessionClaim};

/// One attempt. Dropped without [`Joining::done`], it tells the session that the attempt came to nothing.
#[derive(Debug)]
pub(crate) struct Joining {
    session: SessionHandle,
    /// `Begun`, as the acceptor said it: the session's id and secret.
    begun: SessionClaim,
    /// The carrier, once its hello was made.
    carrier: Mutex<Option<CarrierNumber>>,
}

impl Joining {
    /// An attempt to join the session that `begun` names.
    pub(crate) fn new(session: SessionHandle, begun: SessionClaim) -> Self {
        Self { session, begun, carrier: Mutex::new(None) }
    }

    /// What the joining hello says, for a connection with that exporter. To be called once, when the hello is about
    /// to be sent: the carriers it lists as dead are fenced from then on.
    pub(crate) fn claim(
        &self,
        exporter: &[u8; EXPORTER_LEN],
    ) -> (CarrierNumber, SessionClaim, Vec<DeadCarrier>) {
        let (number, dead) = self.session.with(crate::proto::session::Session::prepare_join);
        *lock(&self.carrier) = Some(number);
        let claim = match &self.begun {
            SessionClaim::Begun { session, secret } => {
                let proof = join_proof(secret, exporter, *session, number);
                SessionClaim::Join { session: *session, proof }
            }
            other => other.clone(),
        };
        (number, claim, dead)
    }

    /// The acceptor's hello came, with what it says of dead carriers: the carrier is up.
    ///
    /// # Errors
    /// [`Violation::Unexpected`] if the session has ended, or the acceptor had given the carrier up before; any other if the
    /// hello contradicts what is known.
    pub(crate) fn done(&self, dead: &[DeadCarrier]) -> Result<(), Violation> {
        let number = lock(&self.carrier).take().ok_or(Violation::Unexpected)?;
        let now = clock::now();
        self.session.with(|session| session.handle_carrier_up(now, number, dead))
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        if let Some(number) = lock(&self.carrier).take() {
            let now = clock::now();
            self.session.with(|session| session.handle_join_failed(now, number));
        }
    }
}
