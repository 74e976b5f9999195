//! Plain TCP, a connection per stream: the floor under all others.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::answer::Answers;
use crate::io_stream::IoStream;
use crate::peer::{Last, Peer};
use crate::pki::Pki;

/// Where the connections go.
#[derive(Debug)]
pub(crate) struct Tcp {
    to: SocketAddr,
}

impl Peer for Tcp {
    type Stream = IoStream<TcpStream>;

    async fn listen(_: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        let (listener, address) = bind().await;
        on.spawn(async move {
            while let Some(tcp) = next(&listener).await {
                answers.take(IoStream::new(tcp));
            }
        });
        address
    }

    async fn connect(_: &Pki, _: &Handle, to: SocketAddr) -> Self {
        Self { to }
    }

    async fn open(&self, first: Bytes, last: Last) -> io::Result<Self::Stream> {
        IoStream::opened(dial(self.to).await?, &first, last).await
    }
}

/// A listener on a free port of the loopback.
pub(crate) async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// The next connection, without Nagle's delay; `None` when the listener is of no use any more.
pub(crate) async fn next(listener: &TcpListener) -> Option<TcpStream> {
    let (tcp, _) = listener.accept().await.ok()?;
    tcp.set_nodelay(true).ok()?;
    Some(tcp)
}

/// A connection without Nagle's delay.
pub(crate) async fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
