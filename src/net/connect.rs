//! From a host and a port to a TCP connection: name, race of addresses, tunnel; each phase with its own deadline.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::config::Deadlines;
use crate::error::{DialError, Phase};
use crate::net::names::Names;
use crate::net::proxy;
use crate::net::socket::{self, Tuning};
use crate::resource::secret::ProxySpec;

/// How a link gets to its endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Who looks names up.
    pub(crate) names: Names,
    /// Through which HTTP proxy; `None` connects directly.
    pub(crate) proxy: Option<ProxySpec>,
    /// What its sockets are asked to be.
    pub(crate) tuning: Tuning,
}

/// Connects to `host:port`, tuned as a carrier. Returns the connection and the address at the other end of it, which
/// is the proxy's if there is one. Takes at most the sum of the three deadlines, or two without a proxy.
///
/// The addresses of the host are raced (RFC 8305): the next one starts 250 ms after the one before, or as soon as
/// one fails, families in turn. The first connection wins; the others are closed. The host is looked up anew by every
/// call. A proxy is looked up and raced in the same way, and looks the host up itself.
///
/// # Errors
/// The phase and cause of the failure. Nothing is tried a second time, and nothing directly if there is a proxy.
///
/// # Cancel safety
/// Dropping the future closes every socket it holds.
pub(crate) async fn connect(
    host: &Arc<str>,
    port: u16,
    route: &Route,
    deadlines: &Deadlines,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let Some(proxy) = &route.proxy else {
        return reach(host, port, route, deadlines).await;
    };
    let (tcp, address) = reach(&proxy.host.to_string().into(), proxy.port, route, deadlines).await?;
    within(Phase::Proxy, deadlines.proxy, proxy::tunnel(&tcp, proxy, host, port)).await?;
    Ok((tcp, address))
}

/// Does the work of one phase, or fails with it when it has taken `after`.
pub(crate) async fn within<T>(
    phase: Phase,
    after: Duration,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    let outcome = tokio::time::timeout(after, work).await;
    outcome.unwrap_or(Err(DialError::TimedOut { phase, after }))
}

/// A direct connection.
async fn reach(
    host: &Arc<str>,
    port: u16,
    route: &Route,
    deadlines: &Deadlines,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let addresses = within(Phase::Resolve, deadlines.resolve, async {
        let found = route.names.addresses(host, port).await;
        found.map_err(|kind| DialError::Resolve { host: Arc::clone(host), kind })
    });
    let addresses = match route.tuning.bind_address {
        None => addresses.await?,
        Some(local) => of_family(local, addresses.await?)?,
    };
    let connected = within(Phase::Connect, deadlines.connect, race(addresses, route.tuning)).await?;
    socket::tune(&connected.0, &route.tuning);
    Ok(connected)
}

/// The addresses that can be reached from `local`; at least one.
fn of_family(local: IpAddr, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, DialError> {
    addresses.retain(|address| address.is_ipv4() == local.is_ipv4());
    match addresses.is_empty() {
        true => Err(DialError::Bind { address: local, kind: io::ErrorKind::Unsupported }),
        false => Ok(addresses),
    }
}

/// Connects to the addresses, each started [`STAGGER`] after the one before or once one has failed.
async fn race(addresses: Vec<SocketAddr>, tuning: Tuning) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut waiting = addresses.into_iter();
    let mut attempts = Vec::new();
    let mut failure = DialError::Lost { phase: Phase::Connect, kind: io::ErrorKind::AddrNotAvailable };
    loop {
        match waiting.next() {
            Some(address) => attempts.push((address, Box::pin(attempt(address, tuning)))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            (address, outcome) = first_done(&mut attempts) => match outcome {
                Ok(tcp) => return Ok((tcp, address)),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

async fn attempt(address: SocketAddr, tuning: Tuning) -> Result<TcpStream, DialError> {
    let failed = |error: io::Error| DialError::Connect { address, kind: error.kind() };
    let socket = socket::dialing(address, &tuning).map_err(failed)?;
    if let Some(local) = tuning.bind_address {
        let refused = |error: io::Error| DialError::Bind { address: local, kind: error.kind() };
        socket.bind(SocketAddr::new(local, 0)).map_err(refused)?;
    }
    let tcp = socket.connect(address).await.map_err(failed)?;
    // A dialer that keeps trying a free local port is given that very port one day, and TCP then connects it to
    // itself (simultaneous open).
    match tcp.local_addr().map_err(failed)? == address {
        true => Err(failed(io::ErrorKind::ConnectionRefused.into())),
        false => Ok(tcp),
    }
}

/// Waits for the first of the attempts to end, and takes it out.
async fn first_done<T>(
    attempts: &mut Vec<(SocketAddr, Pin<Box<impl Future<Output = T>>>)>,
) -> (SocketAddr, T) {
    poll_fn(|cx| {
        for index in 0..attempts.len() {
            if let Poll::Ready(outcome) = attempts[index].1.as_mut().poll(cx) {
                return Poll::Ready((attempts.swap_remove(index).0, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

/// How long an address is waited for before the next one starts beside it: RFC 8305 §5 recommends 250 ms.
const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
