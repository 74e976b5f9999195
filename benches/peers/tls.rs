//! tokio-rustls, a connection per stream: what the others are measured against.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::answer::Answers;
use crate::io_stream::IoStream;
use crate::peer::{Last, Peer};
use crate::pki::Pki;
use crate::tcp;

/// Where the connections go.
#[derive(Debug)]
pub(crate) struct Tls {
    to: SocketAddr,
    connector: Connector,
}

impl Peer for Tls {
    type Stream = IoStream<TlsStream<TcpStream>>;

    async fn listen(pki: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        let (listener, address) = tcp::bind().await;
        let acceptor = TlsAcceptor::from(Arc::new(pki.server()));
        let tasks = on.clone();
        on.spawn(async move {
            while let Some(tcp) = tcp::next(&listener).await {
                let (acceptor, answers) = (acceptor.clone(), answers.clone());
                tasks.spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        answers.take(IoStream::new(stream.into()));
                    }
                });
            }
        });
        address
    }

    async fn connect(pki: &Pki, _: &Handle, to: SocketAddr) -> Self {
        Self { to, connector: Connector::new(pki) }
    }

    async fn open(&self, first: Bytes, last: Last) -> io::Result<Self::Stream> {
        IoStream::opened(self.connector.dial(self.to).await?, &first, last).await
    }
}

/// Makes TLS connections.
#[derive(Clone)]
pub(crate) struct Connector(TlsConnector);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// With the leaf of that authority.
    pub(crate) fn new(pki: &Pki) -> Self {
        Self(TlsConnector::from(Arc::new(pki.client())))
    }

    /// A connection whose handshake is done at this end.
    pub(crate) async fn dial(&self, to: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let tcp = tcp::dial(to).await?;
        Ok(self.0.connect(ServerName::from(to.ip()), tcp).await?.into())
    }
}

/// A listener that gives the first connection's stream to `serve`, as the muxes need it.
pub(crate) async fn listen_once<F: Future<Output = ()> + Send>(
    pki: &Pki,
    on: &Handle,
    serve: impl FnOnce(TlsStream<TcpStream>) -> F + Send + 'static,
) -> SocketAddr {
    let (listener, address) = tcp::bind().await;
    let acceptor = TlsAcceptor::from(Arc::new(pki.server()));
    on.spawn(async move {
        let Some(tcp) = tcp::next(&listener).await else { return };
        let stream = acceptor.accept(tcp).await.expect("the certificates fit");
        serve(stream.into()).await;
    });
    address
}
