//! A link access at work: accepts connections and carries each to its hello, off the accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{AccessLimits, Deadlines};
use crate::error::{PeerRefusal, Phase};
use crate::id::{AccessId, Ordinal};
use crate::net::handshake::{Arrival, receive};
use crate::net::slots::{Slot, Slots};
use crate::net::socket;

/// What a listener needs to work.
#[derive(Clone, Debug)]
pub(crate) struct ListenerSpec {
    /// Which access it is.
    pub(crate) access: AccessId,
    /// What each new handshake is done with.
    pub(crate) presented: watch::Receiver<Presented>,
    /// Of TLS and hello.
    pub(crate) deadlines: Deadlines,
    /// How many unfinished handshakes there may be.
    pub(crate) limits: AccessLimits,
    /// [`Liveness::dead`](crate::config::Liveness::dead), for the sockets.
    pub(crate) dead: Duration,
    /// Where arrivals and refusals are told. While it is full, handshakes keep their places.
    pub(crate) reports: mpsc::Sender<AccessReport>,
    /// Owns the tasks of the handshakes.
    pub(crate) tasks: TaskTracker,
    /// Ends the listener and its unfinished handshakes.
    pub(crate) cancel: CancellationToken,
}

/// What an access presents to dialers, until its credentials are rotated.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    /// Made from the access's credentials.
    pub(crate) tls: Arc<ServerConfig>,
    /// Their rotation, which the hello of a carrier must say whose handshake they were used for.
    pub(crate) ordinal: Ordinal,
}

/// What an access tells.
#[derive(Debug)]
pub(crate) enum AccessReport {
    /// A dialer has said hello and waits to be admitted.
    Arrived(Box<Arrival>),
    /// A connection was given up before that.
    Refused { access: AccessId, address: SocketAddr, phase: Phase, refusal: PeerRefusal },
}

/// Accepts until cancelled. The socket is closed when it returns.
///
/// A system out of file descriptors or memory is waited for, 100 ms at first and up to a second: the loop neither
/// spins nor ends. A connection that is gone before it was accepted is nobody's business.
///
/// # Cancel safety
/// Dropping the future closes the socket; handshakes under way go on until the token is cancelled.
pub(crate) async fn run(listener: TcpListener, spec: ListenerSpec) {
    let slots = Slots::new(spec.limits);
    let mut pause = Pause::default();
    let spec = Arc::new(spec);
    let accepting = async {
        loop {
            let (tcp, remote) = next(&mut pause, || listener.accept()).await;
            let slot = slots.take(remote.ip());
            let spec = Arc::clone(&spec);
            spec.tasks.clone().spawn(async move {
                let cancel = spec.cancel.clone();
                cancel.run_until_cancelled(Box::pin(handshake(tcp, remote, slot, &spec))).await;
            });
        }
    };
    spec.cancel.run_until_cancelled(accepting).await;
}

/// Carries one connection to its report.
async fn handshake(tcp: TcpStream, remote: SocketAddr, slot: Slot, spec: &ListenerSpec) {
    // A dual-stack socket shows IPv4 peers in IPv6 clothes.
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    socket::tune_carrier(&tcp, spec.dead);
    let Presented { tls, ordinal } = spec.presented.borrow().clone();
    let received = receive(tcp, remote, tls, &spec.deadlines, slot.evicted()).await;
    // Whoever loses its place waits for nobody any more: neither until it is heard, nor until its peer has heard.
    let evicted = slot.evicted();
    match received {
        Ok((connection, hello)) => {
            let arrival = Arrival { access: spec.access, ordinal, connection, hello };
            // A plane that takes no reports any more is gone: so is the connection then.
            if let Err(TrySendError::Full(report)) =
                spec.reports.try_send(AccessReport::Arrived(Box::new(arrival)))
            {
                evicted.run_until_cancelled(spec.reports.send(report)).await;
            }
        }
        Err(refused) => {
            let report = AccessReport::Refused {
                access: spec.access,
                address: remote,
                phase: refused.phase,
                refusal: refused.refusal.clone(),
            };
            // Where too much is told, of the evicted nothing is.
            if let Err(TrySendError::Full(report)) = spec.reports.try_send(report) {
                evicted.run_until_cancelled(spec.reports.send(report)).await;
            }
            if refused.refusal == PeerRefusal::Evicted {
                // It does not wait.
                refused.part().await;
            } else {
                evicted.run_until_cancelled(Box::pin(refused.part())).await;
            }
        }
    }
    // The place was held to the very end, so that those who part slowly are counted too.
    drop(slot);
}

/// The next connection, however long the system has none to give.
async fn next<T, A: Future<Output = io::Result<T>>>(pause: &mut Pause, mut accept: impl FnMut() -> A) -> T {
    loop {
        match accept().await {
            Ok(connection) => {
                pause.reset();
                return connection;
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                let wait = pause.next();
                tracing::warn!(%error, ?wait, "cannot accept connections");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Whether the error is that of a connection that was to be accepted, and not of the listener: Linux hands over
/// what has already befallen the connection (accept(2)).
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
    )
}

/// Waits that double from [`PAUSE_FIRST`] to [`PAUSE_CAP`].
#[derive(Debug, Default)]
struct Pause {
    last: Option<Duration>,
}

impl Pause {
    fn next(&mut self) -> Duration {
        let wait = self.last.map_or(PAUSE_FIRST, |last| (last * 2).min(PAUSE_CAP));
        self.last = Some(wait);
        wait
    }

    fn reset(&mut self) {
        self.last = None;
    }
}

/// The first wait of a listener without file descriptors: ten attempts a second cost nothing.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest: a freed descriptor is found within it.
const PAUSE_CAP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
