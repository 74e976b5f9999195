//! sitelink: two planes and a link between them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ::sitelink::config::Carriers;
use ::sitelink::{
    AccessSpec, Endpoint, GroupName, Host, LinkName, LinkRole, LinkSpec, LinkStream, OpenRequest, Plane,
    PlaneConfig, RoutingKey, Site,
};
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::answer::Answers;
use crate::io_stream::IoStream;
use crate::peer::{Last, Peer, Received, Stream};
use crate::pki::Pki;

/// The dialing end, over that many carriers: one, as the others have one connection, or two, as a link has unless told
/// otherwise.
#[derive(Debug)]
pub(crate) struct Sitelink<const CARRIERS: u16> {
    plane: Plane,
    key: RoutingKey,
}

impl<const CARRIERS: u16> Peer for Sitelink<CARRIERS> {
    type Stream = LinkStream;

    async fn listen(pki: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        serve::<CARRIERS>(pki, on, move |stream| answers.take(stream)).await
    }

    async fn connect(pki: &Pki, _: &Handle, to: SocketAddr) -> Self {
        let plane = plane::<CARRIERS>("west").await;
        let group = GroupName::new("").expect("it may be empty");
        let endpoint = Endpoint::new(LinkRole::InterRouter, Host::Ip(to.ip()), to.port(), group);
        let link = LinkSpec::new(LinkName::new("east").expect("it is a name"), vec![endpoint]);
        plane.link(link, Some(pki.credentials("west"))).await.expect("the credentials fit");
        Self { plane, key: key() }
    }

    async fn open(&self, first: Bytes, last: Last) -> io::Result<Self::Stream> {
        let mut request = OpenRequest::to_key(self.key.clone()).initial_data(first).wait_for_path(PATIENCE);
        if last == Last::Yes {
            request = request.finish();
        }
        self.plane.open(request).await.map_err(io::Error::other)
    }
}

impl Stream for LinkStream {
    async fn send(&mut self, block: &Bytes) -> io::Result<()> {
        Ok(Self::send(self, block.clone()).await?)
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<Option<Received>> {
        Ok(self.recv().await?.and_then(|chunk| Received::of(&chunk)))
    }

    async fn finish(&mut self) -> io::Result<()> {
        Self::finish(self);
        Ok(())
    }
}

/// The same through `AsyncRead` and `AsyncWrite`, which copy.
#[derive(Debug)]
pub(crate) struct SitelinkIo(Sitelink<1>);

impl Peer for SitelinkIo {
    type Stream = IoStream<LinkStream>;

    async fn listen(pki: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        serve::<1>(pki, on, move |stream| answers.take(IoStream::new(stream))).await
    }

    async fn connect(pki: &Pki, on: &Handle, to: SocketAddr) -> Self {
        Self(Sitelink::connect(pki, on, to).await)
    }

    async fn open(&self, first: Bytes, last: Last) -> io::Result<Self::Stream> {
        self.0.open(first, last).await.map(IoStream::new)
    }
}

async fn serve<const CARRIERS: u16>(
    pki: &Pki,
    on: &Handle,
    take: impl Fn(LinkStream) + Send + 'static,
) -> SocketAddr {
    let plane = plane::<CARRIERS>("east").await;
    let spec = AccessSpec::new((Ipv4Addr::LOCALHOST, 0).into(), LinkRole::InterRouter);
    let access = plane.listen(spec, pki.credentials("east")).await.expect("loopback has a free port");
    plane.serve(&key()).expect("one key");
    let address = access.address();
    on.spawn(async move {
        let _access = access;
        while let Some(incoming) = plane.accept().await {
            // An opener may have gone meanwhile.
            if let Ok(stream) = incoming.accept() {
                take(stream);
            }
        }
    });
    address
}

async fn plane<const CARRIERS: u16>(name: &str) -> Plane {
    let mut config = PlaneConfig::default();
    config.carriers = Carriers(usize::from(CARRIERS));
    let site = Site::new(name, name).expect("it is a name");
    Plane::builder(site).config(config).start().await.expect("the settings hold")
}

fn key() -> RoutingKey {
    RoutingKey::new("bench").expect("it is a name")
}

/// How long the first stream waits for the link.
const PATIENCE: Duration = Duration::from_secs(10);
