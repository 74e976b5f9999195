//! A TCP relay on the way of the link, for the sake of being cut.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

/// Relays connections to a port of this host, until they end or are cut.
pub(crate) struct Relay {
    port: u16,
    cut: broadcast::Sender<()>,
}

impl Relay {
    /// Starts relaying from a free port to `target`.
    pub(crate) async fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (cut, _) = broadcast::channel(1);
        let cuts = cut.clone();
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tasks.spawn(relay(client, target, cuts.subscribe()));
            }
        });
        Ok(Self { port, cut })
    }

    /// Where it takes connections.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection that is being relayed. New ones are relayed as before.
    pub(crate) fn cut(&self) {
        // Fails only when there is none.
        let _ = self.cut.send(());
    }
}

async fn relay(mut client: TcpStream, target: u16, mut cut: broadcast::Receiver<()>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    tokio::select! {
        _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER) => {}
        _ = cut.recv() => {
            for end in [&client, &server] {
                // Closed like this it is a reset, and what was under way is lost.
                let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
            }
        }
    }
}

/// Large enough that the relay is not what is measured.
const BUFFER: usize = 128 << 10;
