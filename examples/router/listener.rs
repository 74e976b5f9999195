//! A TCP listener: each connection it takes becomes a stream to its routing key.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sitelink::{Destination, EventKind, Events, OpenRequest, Plane, RoutingKey};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::events::{Fact, Reporter};
use super::{Keyed, copy};

/// A listener that listens only while its key has a path, so that clients without one are refused at once.
///
/// Its address stays bound in between: a bound socket that does not listen refuses connections.
pub(super) struct Listener {
    plane: Plane,
    events: Events,
    reporter: Reporter,
    key: RoutingKey,
    address: SocketAddr,
    /// Bound, not listening; `None` while listening.
    reserved: Option<TcpSocket>,
}

/// Why a period of listening ended.
enum Pause {
    NoPath,
    Stopped,
}

impl Listener {
    /// Takes the address; nothing is accepted yet.
    pub(super) fn bind(bind: &Keyed, plane: &Plane, reporter: &Reporter) -> io::Result<Self> {
        let asked = bind.address.parse().map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {error}", bind.address))
        })?;
        let socket =
            reserve(asked).map_err(|error| io::Error::new(error.kind(), format!("{asked}: {error}")))?;
        let address = socket.local_addr()?;
        reporter.fact(&Fact::TcpListenerBound { key: &bind.key, address });
        Ok(Self {
            plane: plane.clone(),
            events: plane.events(),
            reporter: reporter.clone(),
            key: bind.key.clone(),
            address,
            reserved: Some(socket),
        })
    }

    /// Listens whenever there is a path, until stopped.
    pub(super) async fn run(mut self, stop: CancellationToken, tasks: TaskTracker) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                has_path = self.path(true) => if !has_path { return },
            }
            let listener = match self.listen() {
                Ok(listener) => listener,
                Err(error) => {
                    // Another process took the address in the moment it was free.
                    tracing::warn!(address = %self.address, %error, "cannot listen");
                    tokio::time::sleep(PATIENCE).await;
                    continue;
                }
            };
            self.reporter.fact(&Fact::TcpListenerUp { key: &self.key, address: self.address });
            let pause = self.accept(&listener, &stop, &tasks).await;
            drop(listener);
            self.reporter.fact(&Fact::TcpListenerDown { key: &self.key, address: self.address });
            match pause {
                Pause::NoPath => self.reserved = reserve(self.address).ok(),
                Pause::Stopped => return,
            }
        }
    }

    fn listen(&mut self) -> io::Result<TcpListener> {
        let socket = match self.reserved.take() {
            Some(socket) => socket,
            None => reserve(self.address)?,
        };
        // Its connections inherit it, and so let the address be bound while they linger.
        socket.set_reuseaddr(true)?;
        socket.listen(BACKLOG)
    }

    /// Accepts until the key has had no path for [`PATIENCE`].
    async fn accept(
        &mut self,
        listener: &TcpListener,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Pause {
        let (plane, key) = (self.plane.clone(), self.key.clone());
        let no_path = async {
            loop {
                if !self.path(false).await {
                    return Pause::Stopped;
                }
                match tokio::time::timeout(PATIENCE, self.path(true)).await {
                    Ok(true) => {}
                    Ok(false) => return Pause::Stopped,
                    Err(_) => return Pause::NoPath,
                }
            }
        };
        tokio::pin!(no_path);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return Pause::Stopped,
                pause = &mut no_path => return pause,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, _)) => {
                    tasks.spawn(carry(client, plane.clone(), key.clone()));
                }
                // Out of descriptors, mostly: those that end give theirs back.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until the key has a path, or has none; false when the plane has shut down.
    async fn path(&mut self, wanted: bool) -> bool {
        let destination = Destination::Key(self.key.clone());
        while self.plane.has_path(&destination) != wanted {
            // The event is only the reason to look again: a lost one does no harm.
            loop {
                match self.events.next().await.map(|event| event.kind) {
                    None => return false,
                    Some(
                        EventKind::PathSelected { .. }
                        | EventKind::PathLost { .. }
                        | EventKind::Lagged { .. },
                    ) => break,
                    Some(_) => {}
                }
            }
        }
        true
    }
}

async fn carry(client: TcpStream, plane: Plane, key: RoutingKey) {
    let request = OpenRequest::to_key(key).wait_for_path(PATIENCE);
    // Opening needs more room than carrying, and not for long.
    match Box::pin(plane.open(request)).await {
        Ok(stream) => {
            drop(plane);
            copy::carry(client, stream).await;
        }
        Err(error) => {
            tracing::debug!(%error, "no stream for a connection");
            copy::reset(&client);
        }
    }
}

/// Binds the address for this listener alone, without listening.
///
/// With SO_REUSEADDR on both, Linux binds any number of sockets that do not listen to one address, and all but the first
/// then fail to listen, late and for ever. So the option is off while the address is only held. It is needed only to
/// bind beside the lingering connections of before, and these do not mind that it is switched off again.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let bind = |reuse| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(reuse)?;
        socket.bind(address)?;
        socket.set_reuseaddr(false)?;
        io::Result::Ok(socket)
    };
    bind(false).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse => bind(true),
        _ => Err(error),
    })
}

/// How long a key may be without a path before its clients are refused: a link that comes back within it goes unseen.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long accepting rests after a failure, so that it neither spins nor ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections waiting to be accepted; the system's usual bound is 4096.
const BACKLOG: u32 = 4096;
