//! What is measured: a link, and a plain TLS connection for each stream.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use sitelink::{
    AccessSpec, Endpoint, GroupName, Host, LinkName, LinkRole, LinkSpec, LinkStream, OpenRequest, Plane,
    RoutingKey, Site,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::pki::Pki;

/// Bytes that arrived, by the stream's second byte.
#[derive(Debug)]
pub(crate) struct Counters([AtomicU64; 256]);

impl Counters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self([const { AtomicU64::new(0) }; 256]))
    }

    /// What arrived on the streams of that name.
    pub(crate) fn of(&self, name: u8) -> u64 {
        self.0[usize::from(name)].load(Ordering::Relaxed)
    }

    /// What arrived in all.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Two ends that can be connected.
pub(crate) trait Subject: Sized + Send + Sync + 'static {
    type Stream: Stream;

    /// Listens, and answers every stream as [`answer`] does.
    fn listen(pki: &Pki, counters: Arc<Counters>) -> impl Future<Output = SocketAddr> + Send;

    /// Makes ready to open streams.
    fn connect(pki: &Pki, to: SocketAddr) -> impl Future<Output = Self> + Send;

    /// A stream whose far end is told what to do by these bytes.
    fn open(&self, first: [u8; 2]) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A stream by its native calls.
pub(crate) trait Stream: Send + 'static {
    fn send(&mut self, block: &Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads what is there; the first byte and how many. `None` at the end.
    fn receive(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// The far end of a stream: counts what comes, or sends it back.
async fn answer(mut stream: impl Stream, counters: Arc<Counters>) -> io::Result<()> {
    let mut first = Vec::new();
    while first.len() < 2 {
        let Some(chunk) = stream.receive().await? else { return Ok(()) };
        first.extend_from_slice(&chunk);
    }
    let (echo, count) = (first[0] == ECHO, &counters.0[usize::from(first[1])]);
    if echo && first.len() > 2 {
        stream.send(&Bytes::from(first.split_off(2))).await?;
    }
    while let Some(chunk) = stream.receive().await? {
        if echo {
            stream.send(&chunk).await?;
        } else {
            count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Plain TLS.
pub(crate) struct Tls {
    connector: TlsConnector,
    to: SocketAddr,
}

/// A connection and what it is read into.
pub(crate) struct Connection(TlsStream<TcpStream>, Box<[u8]>);

impl Connection {
    fn new(tls: impl Into<TlsStream<TcpStream>>) -> Self {
        Self(tls.into(), vec![0; READ].into_boxed_slice())
    }
}

impl Subject for Tls {
    type Stream = Connection;

    async fn listen(pki: &Pki, counters: Arc<Counters>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let acceptor = TlsAcceptor::from(Arc::new(pki.server()));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, counters) = (acceptor.clone(), Arc::clone(&counters));
                tokio::spawn(async move {
                    tcp.set_nodelay(true)?;
                    answer(Connection::new(acceptor.accept(tcp).await?), counters).await
                });
            }
        });
        address
    }

    async fn connect(pki: &Pki, to: SocketAddr) -> Self {
        Self { connector: TlsConnector::from(Arc::new(pki.client())), to }
    }

    async fn open(&self, first: [u8; 2]) -> io::Result<Connection> {
        let tcp = TcpStream::connect(self.to).await?;
        tcp.set_nodelay(true)?;
        let tls = self.connector.connect(ServerName::from(self.to.ip()), tcp).await?;
        let mut stream = Connection::new(tls);
        stream.send(&Bytes::copy_from_slice(&first)).await?;
        Ok(stream)
    }
}

impl Stream for Connection {
    async fn send(&mut self, block: &Bytes) -> io::Result<()> {
        self.0.write_all(block).await?;
        self.0.flush().await
    }

    async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        let read = self.0.read(&mut self.1).await?;
        Ok((read > 0).then(|| Bytes::copy_from_slice(&self.1[..read])))
    }
}

/// A link.
pub(crate) struct Sitelink {
    plane: Plane,
    key: RoutingKey,
}

impl Subject for Sitelink {
    type Stream = LinkStream;

    async fn listen(pki: &Pki, counters: Arc<Counters>) -> SocketAddr {
        let plane = plane("east").await;
        let spec = AccessSpec::new((Ipv4Addr::LOCALHOST, 0).into(), LinkRole::InterRouter);
        let access = plane.listen(spec, pki.credentials("east")).await.expect("loopback has a free port");
        plane.serve(&key()).expect("one key");
        let address = access.address();
        Handle::current().spawn(async move {
            let _access = access;
            while let Some(incoming) = plane.accept().await {
                // An opener may have gone meanwhile.
                let Ok(stream) = incoming.accept() else { continue };
                tokio::spawn(answer(stream, Arc::clone(&counters)));
            }
        });
        address
    }

    async fn connect(pki: &Pki, to: SocketAddr) -> Self {
        let plane = plane("west").await;
        let group = GroupName::new("").expect("it may be empty");
        let endpoint = Endpoint::new(LinkRole::InterRouter, Host::Ip(to.ip()), to.port(), group);
        let link = LinkSpec::new(LinkName::new("east").expect("it is a name"), vec![endpoint]);
        plane.link(link, Some(pki.credentials("west"))).await.expect("the credentials fit");
        Self { plane, key: key() }
    }

    async fn open(&self, first: [u8; 2]) -> io::Result<LinkStream> {
        let request = OpenRequest::to_key(self.key.clone())
            .initial_data(Bytes::copy_from_slice(&first))
            .wait_for_path(PATIENCE);
        self.plane.open(request).await.map_err(io::Error::other)
    }
}

impl Stream for LinkStream {
    async fn send(&mut self, block: &Bytes) -> io::Result<()> {
        Ok(Self::send(self, block.clone()).await?)
    }

    async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.recv().await?)
    }
}

async fn plane(name: &str) -> Plane {
    Plane::builder(Site::new(name, name).expect("it is a name")).start().await.expect("the defaults hold")
}

fn key() -> RoutingKey {
    RoutingKey::new("bench").expect("it is a name")
}

/// The far end counts what comes.
pub(crate) const SINK: u8 = 0;

/// The far end sends back what comes.
pub(crate) const ECHO: u8 = 1;

/// One read of plain TLS.
const READ: usize = 64 << 10;

/// How long the first stream waits for the link.
const PATIENCE: Duration = Duration::from_secs(10);
