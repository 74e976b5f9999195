//! The accepting side of a carrier's first moments: TLS, then the dialer's hello.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Deadlines;
use crate::error::{PeerRefusal, Phase, Violation};
use crate::id::{AccessId, Ordinal, SessionId};
use crate::net::greeting::{Failure, Secured, linger};
use crate::tls::proof::verify_join_proof;
use crate::tls::reason::reason_of_io;
use crate::wire::code::CloseCode;
use crate::wire::frame::CloseScope;
use crate::wire::hello::{Hello, SessionClaim, SessionSecret};

/// A dialer that has said hello and waits to be admitted.
///
/// Admitting it is writing our hello: the driver's first deed. Refusing it is [`Secured::refuse`].
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The access it came through.
    pub(crate) access: AccessId,
    /// The rotation of this end's credentials that the handshake was done with.
    pub(crate) ordinal: Ordinal,
    /// For the driver.
    pub(crate) connection: Secured,
    /// The dialer's hello. Its claim is `New` or `Join`; whether it may is not judged here.
    pub(crate) hello: Hello,
}

impl Arrival {
    /// Whether the hello proves that its sender was told this session's secret, for this very connection.
    ///
    /// `false` for a hello that joins no session or another one. Compared in constant time.
    pub(crate) fn proves(&self, session: SessionId, secret: &SessionSecret) -> bool {
        let SessionClaim::Join { session: claimed, proof } = &self.hello.session else {
            return false;
        };
        let Ok(exporter) = self.connection.exporter() else {
            return false;
        };
        *claimed == session && verify_join_proof(secret, &exporter, session, self.hello.carrier, proof)
    }
}

/// Why a connection did not get as far as a hello.
#[derive(Debug)]
pub(crate) struct Refused {
    /// How far it had come.
    pub(crate) phase: Phase,
    /// Why.
    pub(crate) refusal: PeerRefusal,
    /// What is left of the connection, for [`Refused::part`].
    parting: Parting,
}

#[derive(Debug)]
enum Parting {
    /// Dropping the socket says all there is to say.
    Gone,
    /// An alert was written: it must arrive.
    Alerted(TcpStream),
    /// The peer speaks TLS and is told why.
    Coded(Box<Secured>, CloseCode, Duration),
    /// It is told as well, but has no place any more in which to wait until the words have arrived.
    Evicted(Box<Secured>),
}

impl Refused {
    /// Ends the connection: tells the peer why, where it can be told, and sees to it that the words arrive, unless it was
    /// evicted.
    ///
    /// Takes at most [`LINGER`](crate::net::greeting::LINGER).
    ///
    /// # Cancel safety
    /// Dropping it closes the connection at once.
    pub(crate) async fn part(self) {
        match self.parting {
            Parting::Gone => {}
            Parting::Alerted(tcp) => linger(tcp).await,
            Parting::Coded(connection, code, retry_after) => {
                connection.refuse(code, &self.refusal.to_string(), retry_after).await;
            }
            Parting::Evicted(mut connection) => {
                let detail = self.refusal.to_string();
                connection.say_close(CloseScope::Carrier, CloseCode::BUSY, &detail, EVICTED_RETRY);
            }
        }
    }

    fn new(phase: Phase, refusal: PeerRefusal) -> Self {
        Self { phase, refusal, parting: Parting::Gone }
    }
}

/// Accepts TLS on a connection and reads the dialer's hello, each within its deadline.
///
/// `evicted` ends it when its place is needed for another.
///
/// # Errors
/// The phase and the cause; the caller reports it and lets the connection [part](Refused::part).
///
/// # Cancel safety
/// Dropping the future closes the connection; it has no tasks of its own.
pub(crate) async fn receive(
    tcp: TcpStream,
    remote: SocketAddr,
    tls: Arc<ServerConfig>,
    deadlines: &Deadlines,
    evicted: &CancellationToken,
) -> Result<(Secured, Hello), Refused> {
    let handshake = Box::pin(secure(tcp, remote, tls));
    let secured = match in_time(Phase::Tls, deadlines.tls, evicted, handshake).await {
        Ok(outcome) => outcome?,
        Err(refusal) => return Err(Refused::new(Phase::Tls, refusal)),
    };
    greet(secured, deadlines.hello, evicted).await
}

async fn secure(tcp: TcpStream, remote: SocketAddr, tls: Arc<ServerConfig>) -> Result<Secured, Refused> {
    match TlsAcceptor::from(tls).accept(tcp).into_fallible().await {
        Ok(stream) => {
            let (tcp, tls) = stream.into_inner();
            Secured::new(tcp, tls.into(), remote)
                .map_err(|failure| Refused::new(Phase::Tls, refusal(Phase::Tls, failure)))
        }
        Err((error, tcp)) => Err(match reason_of_io(&error) {
            Some(reason) => Refused {
                phase: Phase::Tls,
                refusal: PeerRefusal::Tls(reason),
                parting: Parting::Alerted(tcp),
            },
            None => Refused::new(Phase::Tls, PeerRefusal::Lost { phase: Phase::Tls, kind: error.kind() }),
        }),
    }
}

async fn greet(
    mut secured: Secured,
    after: Duration,
    evicted: &CancellationToken,
) -> Result<(Secured, Hello), Refused> {
    let greeting = async {
        let hello = secured.hello().await?;
        match hello.session {
            SessionClaim::New | SessionClaim::Join { .. } => Ok(hello),
            SessionClaim::Begun { .. } | SessionClaim::Joined { .. } => {
                Err(Failure::Violation(Violation::BadHello))
            }
        }
    };
    let refusal = match in_time(Phase::Hello, after, evicted, greeting).await {
        Ok(Ok(hello)) => return Ok((secured, hello)),
        Ok(Err(failure)) => refusal(Phase::Hello, failure),
        Err(refusal) => refusal,
    };
    let parting = match &refusal {
        PeerRefusal::Evicted => Parting::Evicted(Box::new(secured)),
        PeerRefusal::TimedOut { .. } => {
            Parting::Coded(Box::new(secured), CloseCode::HELLO_TIMEOUT, Duration::ZERO)
        }
        PeerRefusal::Violation(violation) => {
            Parting::Coded(Box::new(secured), (*violation).into(), Duration::ZERO)
        }
        // An alert is on its way already.
        PeerRefusal::Tls(_) => Parting::Alerted(secured.tcp),
        _ => Parting::Gone,
    };
    Err(Refused { phase: Phase::Hello, refusal, parting })
}

/// Awaits `work` unless its time is over or its place is needed.
async fn in_time<T>(
    phase: Phase,
    after: Duration,
    evicted: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, PeerRefusal> {
    tokio::select! {
        biased;
        outcome = work => Ok(outcome),
        () = evicted.cancelled() => Err(PeerRefusal::Evicted),
        () = tokio::time::sleep(after) => Err(PeerRefusal::TimedOut { phase, after }),
    }
}

fn refusal(phase: Phase, failure: Failure) -> PeerRefusal {
    match failure {
        // A dialer that says why it leaves has left: it asked for nothing that could be refused.
        Failure::Closed { .. } => PeerRefusal::Lost { phase, kind: io::ErrorKind::ConnectionAborted },
        Failure::Lost(kind) => PeerRefusal::Lost { phase, kind },
        Failure::Tls(reason) => PeerRefusal::Tls(reason),
        Failure::Violation(violation) => PeerRefusal::Violation(violation),
    }
}

/// When a dialer whose handshake made room for another may come back: when the crowd has had time to pass.
const EVICTED_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
