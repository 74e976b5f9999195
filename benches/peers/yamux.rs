//! yamux over one tokio-rustls connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::yamux::{Config, Connection, Mode};
use bytes::Bytes;
use futures_core::Stream as _;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsStream;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use crate::answer::Answers;
use crate::peer::{Last, Peer, Received, Stream};
use crate::pki::Pki;
use crate::tls::{self, Connector};

/// The dialing end: asks the task that drives the connection for streams.
#[derive(Debug)]
pub(crate) struct Yamux {
    wanted: mpsc::Sender<oneshot::Sender<::yamux::Stream>>,
}

type Driven = Connection<Compat<TlsStream<TcpStream>>>;

impl Peer for Yamux {
    type Stream = YamuxStream;

    const BLOCK: usize = 128 << 10;

    async fn listen(pki: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        tls::listen_once(pki, on, |stream| async move {
            let mut connection = Connection::new(stream.compat(), config(), Mode::Server);
            while let Some(Ok(stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
                answers.take(YamuxStream::new(stream));
            }
        })
        .await
    }

    async fn connect(pki: &Pki, on: &Handle, to: SocketAddr) -> Self {
        let stream = Connector::new(pki).dial(to).await.expect("the certificates fit");
        let connection = Connection::new(stream.compat(), config(), Mode::Client);
        let (wanted, asked) = mpsc::channel(QUEUE);
        let mut driver = Driver { connection, asked, next: None };
        on.spawn(async move { poll_fn(|cx| driver.poll(cx)).await });
        Self { wanted }
    }

    async fn open(&self, first: Bytes, last: Last) -> io::Result<Self::Stream> {
        let (give, given) = oneshot::channel();
        self.wanted.send(give).await.map_err(|_| gone())?;
        let mut stream = YamuxStream::new(given.await.map_err(|_| gone())?);
        stream.send(&first).await?;
        match last {
            Last::Yes => stream.finish().await?,
            Last::No => stream.flush().await?,
        }
        Ok(stream)
    }
}

/// Drives the dialing end's connection.
struct Driver {
    connection: Driven,
    asked: mpsc::Receiver<oneshot::Sender<::yamux::Stream>>,
    /// Waits for a stream; the connection has a bound on those that the peer has not acknowledged.
    next: Option<oneshot::Sender<::yamux::Stream>>,
}

impl Driver {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.next.is_none()
                && let Poll::Ready(Some(give)) = self.asked.poll_recv(cx)
            {
                self.next = Some(give);
            }
            if self.next.is_none() {
                break;
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    let give = self.next.take().expect("looked at above");
                    // Who does not want it any more drops it.
                    let _ = give.send(stream);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        loop {
            match self.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A stream: read as packets, which spares a copy, and written through `AsyncWrite`, as there is no other way.
#[derive(Debug)]
pub(crate) struct YamuxStream(Compat<::yamux::Stream>);

impl YamuxStream {
    fn new(stream: ::yamux::Stream) -> Self {
        Self(stream.compat())
    }
}

impl Stream for YamuxStream {
    async fn send(&mut self, block: &Bytes) -> io::Result<()> {
        self.0.write_all(block).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn receive(&mut self) -> io::Result<Option<Received>> {
        match poll_fn(|cx| Pin::new(self.0.get_mut()).poll_next(cx)).await {
            Some(packet) => Ok(Received::of(packet?.as_ref())),
            None => Ok(None),
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// Windows without a bound, and as many streams as any row opens. Frames are of 16 KiB, the default: each is a copy in
/// memory of its own, and larger ones take more time.
fn config() -> Config {
    let mut config = Config::default();
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(20_000);
    config
}

/// Asks for streams that may wait.
const QUEUE: usize = 64;
