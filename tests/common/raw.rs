//! A peer that speaks TLS and frames by hand, and so may break every rule.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a setup that fails fails its test")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use hmac::{Hmac, Mac};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::Sha256;
use sitelink::wire::decoder::Decoder;
use sitelink::wire::frame::{CloseScope, Frame};
use sitelink::wire::hello::{Hello, SessionClaim, SessionSecret};
use sitelink::wire::{ALPN, MIN_WINDOW};
use sitelink::{
    CarrierNumber, CloseCode, Cost, GroupName, Instance, LinkName, LinkRole, Ordinal, RouterName, SessionId,
    SiteId, SiteName,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::pki::Bundle;
use super::within;

/// One connection, after TLS.
pub(crate) struct RawPeer {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) decoder: Decoder,
    pub(crate) received: BytesMut,
}

impl RawPeer {
    /// Dials; TLS is done when it returns, at this end.
    pub(crate) async fn dial(to: SocketAddr, tls: ClientConfig) -> io::Result<Self> {
        let tcp = within(TcpStream::connect(to)).await?;
        let name = ServerName::IpAddress(to.ip().into());
        let stream = within(TlsConnector::from(Arc::new(tls)).connect(name, tcp)).await?;
        Ok(Self::new(stream.into()))
    }

    /// Accepts one connection.
    pub(crate) async fn accept(listener: &TcpListener, tls: ServerConfig) -> io::Result<Self> {
        let (tcp, _) = within(listener.accept()).await?;
        let stream = within(TlsAcceptor::from(Arc::new(tls)).accept(tcp)).await?;
        Ok(Self::new(stream.into()))
    }

    fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, decoder: Decoder::new(), received: BytesMut::new() }
    }

    /// Sends whatever it is, as far as the other end takes it.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    pub(crate) async fn send(&mut self, frames: &[Frame]) {
        self.send_bytes(&encoded(frames)).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection, however it came.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut input = &self.received[..];
            let decoded = self.decoder.decode(&mut input).unwrap();
            let left = input.len();
            self.received.advance(self.received.len() - left);
            if let Some(decoded) = decoded {
                return Some(decoded.frame);
            }
            match within(self.stream.read_buf(&mut self.received)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The close that ends the connection, and that it does: nothing comes behind it.
    pub(crate) async fn closed(&mut self) -> Option<(CloseScope, CloseCode)> {
        while let Some(frame) = self.next().await {
            if let Frame::Close { scope, code, .. } = frame {
                assert_eq!(self.next().await, None, "behind {code:?}");
                return Some((scope, code));
            }
        }
        None
    }

    /// Says hello and reads the answer: a hello, or a close.
    pub(crate) async fn greet(&mut self, hello: Hello) -> Result<Hello, Option<(CloseScope, CloseCode)>> {
        self.send(&[Frame::Hello(Box::new(hello))]).await;
        match self.next().await {
            Some(Frame::Hello(hello)) => Ok(*hello),
            Some(Frame::Close { scope, code, .. }) => Err(Some((scope, code))),
            other => panic!("{other:?} instead of a hello"),
        }
    }

    /// Whether the session behind it lives: it answers a ping.
    pub(crate) async fn is_answered(&mut self, token: u64) -> bool {
        self.send(&[Frame::Ping { token }]).await;
        while let Some(frame) = self.next().await {
            if frame == (Frame::Pong { token }) {
                return true;
            }
        }
        false
    }

    /// What a joining proof is bound to.
    pub(crate) fn exporter(&self) -> [u8; 32] {
        let (label, context) = (b"EXPORTER-sitelink-join", None);
        let exported = match &self.stream {
            TlsStream::Client(stream) => stream.get_ref().1.export_keying_material([0; 32], label, context),
            TlsStream::Server(stream) => stream.get_ref().1.export_keying_material([0; 32], label, context),
        };
        exported.unwrap()
    }
}

/// A dialer's hello of a site, of whose sessions nothing is left when their carrier is gone.
pub(crate) fn hello(site: &str, carrier: u32, session: SessionClaim) -> Hello {
    Hello {
        features: 0,
        site_id: SiteId::new(site).unwrap(),
        site_name: SiteName::new(site).unwrap(),
        router: RouterName::new("router").unwrap(),
        instance: Instance([7; 16]),
        role: LinkRole::InterRouter,
        link: LinkName::new("raw").unwrap(),
        group: GroupName::new("").unwrap(),
        cost: Cost::DEFAULT,
        max_streams: 100,
        initial_window: MIN_WINDOW,
        ordinal: Ordinal(1),
        resume_window: Duration::ZERO,
        carrier: CarrierNumber(carrier),
        session,
        dead: Vec::new(),
    }
}

/// The proof by which a carrier joins a session, as the specification has it.
pub(crate) fn proof(
    secret: &SessionSecret,
    exporter: &[u8; 32],
    session: SessionId,
    carrier: u32,
) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&secret.0).unwrap();
    mac.update(b"sitelink/1 join");
    mac.update(exporter);
    mac.update(&session.0);
    mac.update(&carrier.to_be_bytes());
    mac.finalize().into_bytes().into()
}

pub(crate) fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes.to_vec()
}

/// TLS of a dialer with that identity, as the protocol wants it.
pub(crate) fn client(bundle: &Bundle) -> ClientConfig {
    client_of(bundle, &rustls::version::TLS13)
}

pub(crate) fn client_of(bundle: &Bundle, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&bundle.ca));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&bundle.cert), key(&bundle.key))
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// TLS of an acceptor with that identity, which asks its dialers for none.
pub(crate) fn server(bundle: &Bundle) -> ServerConfig {
    server_of(bundle, &rustls::version::TLS13)
}

pub(crate) fn server_of(bundle: &Bundle, version: &'static SupportedProtocolVersion) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates(&bundle.cert), key(&bundle.key))
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// TLS of an acceptor with that identity, which wants to see a certificate of its own authority.
pub(crate) fn server_asking(bundle: &Bundle) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&bundle.ca));
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&bundle.cert), key(&bundle.key))
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}
