//! A relay that resets all its connections when told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Relays connections until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
}

impl Relay {
    /// Listens on a free port of the loopback and connects to `to` for each connection.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let relay =
            Self { address: listener.local_addr().expect("it is bound"), cuts: watch::Sender::new(0) };
        let cuts = relay.cuts.subscribe();
        Handle::current().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                Handle::current().spawn(carry(near, to, cuts.clone()));
            }
        });
        relay
    }

    /// Where to dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections at both ends.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(mut near: TcpStream, to: SocketAddr, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    for tcp in [&near, &far] {
        // One that has ended already needs no settings.
        let _ = tcp.set_nodelay(true);
        // No time to linger makes closing a reset.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
    let carried = io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER);
    tokio::select! {
        // The last bytes of an end in good order may be lost with this: nobody here counts on them.
        _ = carried => {}
        // The relay may have been dropped: that is a cut as well.
        _ = cuts.changed() => {}
    }
}

/// One read.
const BUFFER: usize = 64 << 10;
