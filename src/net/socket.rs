//! Socket options: what a carrier and a listener ask of the kernel.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// Sets a connected socket up as a carrier.
///
/// `dead` is the silence after which a carrier is given up ([`Liveness::dead`]): the kernel gives up unacknowledged
/// data after the same time, so that a socket whose driver is gone does not linger for a quarter of an hour.
/// Not earlier: at the *suspect* threshold the kernel would kill peers that are paused but healthy.
///
/// Best effort: an option that the system refuses is logged and left, for a carrier works without any of them,
/// and a connection that is already lost says so at the next read.
///
/// [`Liveness::dead`]: crate::config::Liveness::dead
pub(crate) fn tune_carrier(tcp: &TcpStream, dead: Duration) {
    let socket = SockRef::from(tcp);
    let probe = (dead / KEEPALIVE_PROBES).max(KEEPALIVE_FLOOR);
    note("TCP_NODELAY", socket.set_tcp_nodelay(true));
    note("SO_KEEPALIVE", socket.set_tcp_keepalive(&keepalive(probe)));
    #[cfg(target_os = "linux")]
    {
        note("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(dead)));
        note("TCP_NOTSENT_LOWAT", socket.set_tcp_notsent_lowat(NOTSENT_LOWAT));
    }
}

/// A listening socket on `address`, ready to accept.
///
/// Must be called within a tokio runtime. Port 0 takes a free port; `local_addr` tells which. Whether `[::]` takes
/// IPv4 too is left to the system, as every other daemon leaves it.
///
/// # Errors
/// What the system said to socket, bind or listen.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Unix this lets a restarted router bind while old connections are in TIME_WAIT; on Windows it would let a
    // second process steal the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
fn keepalive(probe: Duration) -> TcpKeepalive {
    TcpKeepalive::new().with_time(probe).with_interval(probe)
}

/// These have no interval of their own per socket.
#[cfg(any(target_os = "openbsd", target_os = "haiku"))]
fn keepalive(_probe: Duration) -> TcpKeepalive {
    TcpKeepalive::new()
}

fn note(option: &'static str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(option, %error, "socket option not taken");
    }
}

/// Three keepalive probes fit into the time until a carrier is dead: two may be lost.
const KEEPALIVE_PROBES: u32 = 3;

/// The kernel counts keepalive in whole seconds and refuses 0.
const KEEPALIVE_FLOOR: Duration = Duration::from_secs(1);

/// How much unsent data the kernel takes before a socket counts as full, in bytes: one write of a carrier (128 KiB).
/// More would wait where no schedule can put a small request before it.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 128 << 10;

/// Connections the kernel completes ahead of `accept`: as many as handshakes may be under way at once by default.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_is_a_real_port() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }

    #[tokio::test]
    async fn a_taken_address_is_refused() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_carrier_has_every_option() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune_carrier(&tcp, Duration::from_secs(30));
        let socket = SockRef::from(&tcp);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_LOWAT);
    }
}
