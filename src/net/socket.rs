//! Socket options: what a carrier and a listener ask of the kernel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::resource::settings::Settings;

/// What a carrier's socket is asked to be, over what every carrier's is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// The silence after which a carrier is given up: [`Liveness::dead`](crate::config::Liveness::dead).
    pub(crate) dead: Duration,
    /// Dial from this local address; `None` leaves the choice to the routing table.
    pub(crate) bind_address: Option<IpAddr>,
    /// Silence until a keepalive probe, and between two; `None` is a third of `dead`.
    pub(crate) keepalive: Option<Duration>,
    /// How long the kernel waits for the acknowledgement of data; `None` is `dead`.
    pub(crate) user_timeout: Option<Duration>,
    /// Bytes of the kernel's send buffer; `None` lets it tune itself.
    pub(crate) send_buffer: Option<u32>,
    /// Bytes of the kernel's receive buffer; `None` lets it tune itself.
    pub(crate) receive_buffer: Option<u32>,
}

impl Tuning {
    /// What a carrier is without settings.
    pub(crate) fn new(dead: Duration) -> Self {
        Self::of(&Settings::default(), dead)
    }

    /// What the settings of a Link ask for.
    pub(crate) fn of(settings: &Settings, dead: Duration) -> Self {
        Self {
            dead,
            bind_address: settings.bind_address,
            keepalive: settings.keepalive,
            user_timeout: settings.tcp_user_timeout,
            send_buffer: settings.send_buffer,
            receive_buffer: settings.receive_buffer,
        }
    }
}

/// Sets a connected socket up as a carrier without settings of its own.
pub(crate) fn tune_carrier(tcp: &TcpStream, dead: Duration) {
    tune(tcp, &Tuning::new(dead));
}

/// Sets a connected socket up as a carrier.
///
/// The kernel gives up unacknowledged data after [`Tuning::dead`], so that a socket whose driver is gone does not linger
/// for a quarter of an hour. Not earlier: at the *suspect* threshold the kernel would kill peers that are paused but
/// healthy.
///
/// Best effort: an option that the system refuses is logged and left, for a carrier works without any of them,
/// and a connection that is already lost says so at the next read.
pub(crate) fn tune(tcp: &TcpStream, tuning: &Tuning) {
    let socket = SockRef::from(tcp);
    let probe = tuning.keepalive.unwrap_or(tuning.dead / KEEPALIVE_PROBES).max(KEEPALIVE_FLOOR);
    note("TCP_NODELAY", socket.set_tcp_nodelay(true));
    note("SO_KEEPALIVE", socket.set_tcp_keepalive(&keepalive(probe)));
    #[cfg(target_os = "linux")]
    {
        let timeout = tuning.user_timeout.unwrap_or(tuning.dead);
        note("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(timeout)));
        note("TCP_NOTSENT_LOWAT", socket.set_tcp_notsent_lowat(NOTSENT_LOWAT));
    }
}

/// A socket that is to be connected to `address`. Its buffers are set, for the window's scale goes with the first
/// packet; it is not bound.
///
/// # Errors
/// What the system said to socket. A buffer size it refuses is logged and left.
pub(crate) fn dialing(address: SocketAddr, tuning: &Tuning) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = tuning.send_buffer {
        note("SO_SNDBUF", socket.set_send_buffer_size(bytes));
    }
    if let Some(bytes) = tuning.receive_buffer {
        note("SO_RCVBUF", socket.set_recv_buffer_size(bytes));
    }
    Ok(socket)
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
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_dialed_carrier_has_what_its_settings_say() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Settings {
            keepalive: Some(Duration::from_secs(7)),
            tcp_user_timeout: Some(Duration::from_millis(12_500)),
            send_buffer: Some(65_536),
            receive_buffer: Some(32_768),
            ..Settings::default()
        };
        let tuning = Tuning::of(&settings, Duration::from_secs(30));
        let tcp = dialing(address, &tuning).unwrap().connect(address).await.unwrap();
        tune(&tcp, &tuning);
        let socket = SockRef::from(&tcp);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(12_500)));
        // Linux doubles what it is asked for, to have room for its own bookkeeping.
        assert_eq!(socket.send_buffer_size().unwrap(), 2 * 65_536);
        assert_eq!(socket.recv_buffer_size().unwrap(), 2 * 32_768);
    }
}
