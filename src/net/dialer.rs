//! Dials one carrier in two stages: it is reached (connect, TLS), then greeted; each phase has its own deadline and
//! error.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls::ClientConfig;
use socket2::SockRef;
use tokio_rustls::TlsConnector;

use crate::config::Deadlines;
use crate::error::{DialError, Phase, Violation};
use crate::net::connect::{Route, connect, within};
use crate::net::greeting::{Failure, Secured, linger};
use crate::tls::config::server_name;
use crate::tls::proof::EXPORTER_LEN;
use crate::tls::reason::reason_of_io;
use crate::wire::code::CloseCode;
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

/// A connection through TLS, whose peer has not been greeted yet.
#[derive(Debug)]
pub(crate) struct Reached {
    connection: Secured,
    /// For the hello.
    deadline: Duration,
}

/// Dials up to the end of TLS. Takes at most the sum of the four deadlines, or of three without a proxy.
///
/// The addresses of the host are raced, as [`connect`] says, and only the winner gets as far as TLS.
///
/// # Errors
/// The phase and cause of the failure. Nothing is tried a second time.
///
/// # Cancel safety
/// Dropping the future closes every socket it holds; it has no tasks of its own.
pub(crate) async fn reach(spec: DialSpec) -> Result<Reached, DialError> {
    let DialSpec { host, port, route, tls, deadlines } = spec;
    let name = server_name(&host).map_err(DialError::Tls)?;
    let (tcp, remote) = connect(&host, port, &route, &deadlines).await?;
    let handshake = Box::pin(TlsConnector::from(tls).connect(name, tcp));
    let connection = within(Phase::Tls, deadlines.tls, async {
        let (tcp, tls) = handshake.await.map_err(|error| tls_failure(&error))?.into_inner();
        Secured::new(tcp, tls.into(), remote).map_err(|failure| failed(Phase::Tls, failure))
    });
    Ok(Reached { connection: connection.await?, deadline: deadlines.hello })
}

impl Reached {
    /// Waits for the peer to end it before it is greeted: an acceptor keeps a silent dialer for as long as a hello may
    /// take, and one that refuses our certificate says so now. Returns in every case, at the latest at the deadline of
    /// a hello.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn lapse(&mut self) -> DialError {
        let deadline = self.deadline;
        let spoken = within(Phase::Hello, deadline, async {
            match self.connection.hello().await {
                Ok(_) => Err(DialError::Violation(Violation::Unexpected)),
                Err(failure) => Err::<(), _>(failed(Phase::Hello, failure)),
            }
        });
        spoken.await.err().unwrap_or(DialError::TimedOut { phase: Phase::Hello, after: deadline })
    }

    /// Sends our hello and awaits the peer's. The carrier is up when that has arrived and not before: in TLS 1.3 a
    /// dialer's handshake succeeds before the acceptor has judged its certificate. Once that was said, a second call
    /// would say it again.
    ///
    /// # Errors
    /// The cause. A peer that has broken the protocol was told so; otherwise it was told nothing, and
    /// [`Reached::give_up`] does that.
    ///
    /// # Cancel safety
    /// When dropped, the hello may have been sent: [`Reached::give_up`] tells the peer that it counts no more.
    pub(crate) async fn greet(&mut self, hello: MakeHello) -> Result<Hello, DialError> {
        let deadline = self.deadline;
        within(Phase::Hello, deadline, async {
            let connection = &mut self.connection;
            let exporter = connection.exporter().map_err(|failure| failed(Phase::Hello, failure))?;
            let ours = Frame::Hello(Box::new(hello(&exporter)?));
            connection.queue(&ours).map_err(|failure| failed(Phase::Hello, failure))?;
            let answer = connection.hello().await.and_then(|theirs| match &ours {
                Frame::Hello(ours) if answers(ours, &theirs) => Ok(theirs),
                _ => Err(Failure::Violation(Violation::BadHello)),
            });
            if let Err(Failure::Violation(violation)) = &answer {
                let detail = violation.to_string();
                connection.say_close(CloseScope::Carrier, (*violation).into(), &detail, Duration::ZERO);
            }
            answer.map_err(|failure| failed(Phase::Hello, failure))
        })
        .await
    }

    /// The carrier, once it is up.
    pub(crate) fn up(self, hello: Hello) -> Dialed {
        Dialed { connection: self.connection, hello }
    }

    /// Tells a peer that was greeted and has not answered that nothing will come of it: what it may have begun for the
    /// hello is over, and does not wait for its resume window. `scope` is the session for a hello that was to begin one.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection at once.
    pub(crate) async fn give_up(mut self, scope: CloseScope) {
        self.connection.say_close(scope, CloseCode::NORMAL, "given up", Duration::ZERO);
        // A peer that has not closed by then may not have got the hello either; it is not to get it half a minute later,
        // when it would take the place of what was begun since.
        let _ = SockRef::from(&self.connection.tcp).set_linger(Some(Duration::ZERO));
        linger(self.connection.tcp).await;
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
