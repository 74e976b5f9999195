//! The network between two sites: a TCP relay that can be cut, and mended.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Relays connections to a port of this host.
pub(crate) struct Relay {
    port: u16,
    whole: watch::Sender<bool>,
}

impl Relay {
    /// Starts relaying from a free port to `target`.
    pub(crate) async fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (whole, is_whole) = watch::channel(true);
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tasks.spawn(relay(client, target, is_whole.clone()));
            }
        });
        Ok(Self { port, whole })
    }

    /// Where it takes connections.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection, and each new one, until it is mended.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// New connections are relayed again.
    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn relay(mut client: TcpStream, target: u16, mut is_whole: watch::Receiver<bool>) {
    let carry = async {
        let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            // Closed before its time, it is a reset.
            SockRef::from(end).set_linger(Some(Duration::ZERO))?;
        }
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        biased;
        // Fails only when the relay is gone.
        _ = is_whole.wait_for(|whole| !whole) => {}
        // What became of it is its two ends' business.
        _ = carry => {}
    }
}
