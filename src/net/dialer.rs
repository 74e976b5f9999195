//! Dials one carrier: connect, TLS, hello; each phase with its own deadline and error.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use crate::config::Deadlines;
use crate::error::{DialError, Phase, Violation};
use crate::net::connect::{Route, connect, within};
use crate::net::greeting::{Failure, Secured};
use crate::tls::config::server_name;
use crate::tls::proof::EXPORTER_LEN;
use crate::tls::reason::reason_of_io;
use crate::wire::frame::{CloseScope, Frame};
use crate::wire::hello::{Hello, SessionClaim};

/// What to dial, and with what.
pub(crate) struct DialSpec {
    /// A DNS name, or an address without brackets. Also the name the peer's certificate must show.
    pub(crate) host: Arc<str>,
    /// The TCP port.
    pub(crate) port: u16,
    /// How to get there.
    pub(crate) route: Route,
    /// Made from the link's credentials.
    pub(crate) tls: Arc<ClientConfig>,
    /// One for each phase.
    pub(crate) deadlines: Deadlines,
    /// Makes the hello just before it is sent.
    pub(crate) hello: MakeHello,
}

impl fmt::Debug for DialSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialSpec").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Makes a hello for a connection whose exporter is given.
///
/// It is called once TLS is done and not before, because only then a joining proof can be computed, and because the
/// list of dead carriers must be that of this very moment. An error of it ends the attempt.
pub(crate) type MakeHello = Box<dyn FnOnce(&[u8; EXPORTER_LEN]) -> Result<Hello, DialError> + Send>;

/// A carrier whose hellos are exchanged: it is up.
#[derive(Debug)]
pub(crate) struct Dialed {
    /// For the driver.
    pub(crate) connection: Secured,
    /// The peer's hello. It repeats our carrier's number and answers our claim; whether it is the right
    /// instance is not judged here.
    pub(crate) hello: Hello,
}

/// Dials. Takes at most the sum of the five deadlines, or of four without a proxy.
///
/// The addresses of the host are raced, as [`connect`] says, and only the winner gets as far as TLS. The carrier is up when the peer's hello has arrived and not before: in TLS 1.3 a dialer's handshake
/// succeeds before the acceptor has judged its certificate.
///
/// # Errors
/// The phase and cause of the failure. Nothing is tried a second time.
///
/// # Cancel safety
/// Dropping the future closes every socket it holds; it has no tasks of its own.
pub(crate) async fn dial(spec: DialSpec) -> Result<Dialed, DialError> {
    let DialSpec { host, port, route, tls, deadlines, hello } = spec;
    let name = server_name(&host).map_err(DialError::Tls)?;
    let (tcp, remote) = connect(&host, port, &route, &deadlines).await?;
    let handshake = Box::pin(TlsConnector::from(tls).connect(name, tcp));
    let connection = within(Phase::Tls, deadlines.tls, async {
        let (tcp, tls) = handshake.await.map_err(|error| tls_failure(&error))?.into_inner();
        Secured::new(tcp, tls.into(), remote).map_err(|failure| failed(Phase::Tls, failure))
    });
    let connection = connection.await?;
    within(Phase::Hello, deadlines.hello, greet(connection, hello)).await
}

/// Sends our hello and awaits the answer to it.
async fn greet(mut connection: Secured, hello: MakeHello) -> Result<Dialed, DialError> {
    let exporter = connection.exporter().map_err(|failure| failed(Phase::Hello, failure))?;
    let ours = Frame::Hello(Box::new(hello(&exporter)?));
    connection.queue(&ours).map_err(|failure| failed(Phase::Hello, failure))?;
    let answer = connection.hello().await.and_then(|theirs| match &ours {
        Frame::Hello(ours) if answers(ours, &theirs) => Ok(theirs),
        _ => Err(Failure::Violation(Violation::BadHello)),
    });
    match answer {
        Ok(hello) => Ok(Dialed { connection, hello }),
        Err(failure) => {
            if let Failure::Violation(violation) = failure {
                let detail = violation.to_string();
                connection.say_close(CloseScope::Carrier, violation.into(), &detail, Duration::ZERO);
            }
            Err(failed(Phase::Hello, failure))
        }
    }
}

/// Whether a hello is an answer to ours: of the same carrier, and to what we claimed.
fn answers(ours: &Hello, theirs: &Hello) -> bool {
    let claim = match (&ours.session, &theirs.session) {
        (SessionClaim::New, SessionClaim::Begun { .. }) => true,
        (SessionClaim::Join { session: asked, .. }, SessionClaim::Joined { session }) => asked == session,
        _ => false,
    };
    claim && ours.carrier == theirs.carrier
}

/// What tokio-rustls says: a failure of TLS, or of the connection below it.
fn tls_failure(error: &io::Error) -> DialError {
    match reason_of_io(error) {
        Some(reason) => DialError::Tls(reason),
        None => DialError::Lost { phase: Phase::Tls, kind: error.kind() },
    }
}

fn failed(phase: Phase, failure: Failure) -> DialError {
    match failure {
        Failure::Closed { code, detail, retry_after } => {
            DialError::Closed { code, detail: detail.into(), retry_after }
        }
        Failure::Lost(kind) => DialError::Lost { phase, kind },
        Failure::Tls(reason) => DialError::Tls(reason),
        Failure::Violation(violation) => DialError::Violation(violation),
    }
}

#[cfg(test)]
mod tests;
