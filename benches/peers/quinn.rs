//! QUIC (the quinn crate), over UDP.
//!
//! Twice: with the largest datagrams that the loopback takes, which suits it best here, and with those that Ethernet takes,
//! as there are no others outside of a machine. TCP has no such choice to make: the kernel splits for it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use ::quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use ::quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use bytes::Bytes;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::Suite;
use tokio::runtime::Handle;

use crate::answer::Answers;
use crate::peer::{Last, Peer, Received, Stream};
use crate::pki::Pki;

/// The dialing end. Its datagrams carry at most so many bytes.
#[derive(Debug)]
pub(crate) struct Quinn<const DATAGRAM: u16> {
    connection: Connection,
    /// Without it the connection would go on, but not its socket.
    _endpoint: Endpoint,
}

impl<const DATAGRAM: u16> Peer for Quinn<DATAGRAM> {
    type Stream = QuinnStream;

    async fn listen(pki: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        let crypto =
            QuicServerConfig::with_initial(Arc::new(pki.server()), initial()).expect("the suite is QUIC's");
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport(DATAGRAM));
        let endpoint = endpoint(DATAGRAM, Some(config));
        let address = endpoint.local_addr().expect("it is bound");
        on.spawn(async move {
            let incoming = endpoint.accept().await.expect("the endpoint is not closed");
            let connection = incoming.await.expect("the certificates fit");
            while let Ok((sending, receiving)) = connection.accept_bi().await {
                answers.take(QuinnStream { sending, receiving });
            }
        });
        address
    }

    async fn connect(pki: &Pki, _: &Handle, to: SocketAddr) -> Self {
        let crypto =
            QuicClientConfig::with_initial(Arc::new(pki.client()), initial()).expect("the suite is QUIC's");
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport(DATAGRAM));
        let endpoint = endpoint(DATAGRAM, None);
        let connecting = endpoint.connect_with(config, to, "127.0.0.1").expect("the configuration holds");
        Self { connection: connecting.await.expect("the certificates fit"), _endpoint: endpoint }
    }

    async fn open(&self, first: Bytes, last: Last) -> io::Result<Self::Stream> {
        let (sending, receiving) = self.connection.open_bi().await?;
        let mut stream = QuinnStream { sending, receiving };
        stream.send(&first).await?;
        if last == Last::Yes {
            stream.finish().await?;
        }
        Ok(stream)
    }
}

/// A stream.
#[derive(Debug)]
pub(crate) struct QuinnStream {
    sending: SendStream,
    receiving: RecvStream,
}

impl Stream for QuinnStream {
    async fn send(&mut self, block: &Bytes) -> io::Result<()> {
        Ok(self.sending.write_chunk(block.clone()).await?)
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<Option<Received>> {
        let chunk = self.receiving.read_chunk(usize::MAX, true).await?;
        Ok(chunk.and_then(|chunk| Received::of(&chunk.bytes)))
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(self.sending.finish()?)
    }
}

fn endpoint(datagram: u16, server: Option<ServerConfig>) -> Endpoint {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let buffers = socket2::SockRef::from(&socket);
    // As much as the system allows.
    buffers.set_recv_buffer_size(SOCKET_BUFFER).expect("the socket is open");
    buffers.set_send_buffer_size(SOCKET_BUFFER).expect("the socket is open");
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(datagram).expect("it is in range");
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).expect("the socket is bound")
}

fn transport(datagram: u16) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    // Before it knows the peer's address to be true, a server sends little, and nothing where datagrams are large: they
    // grow after the handshake.
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(datagram);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(20_000))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(SEND_WINDOW))
        .mtu_discovery_config(Some(discovery))
        // The kernel splits no more than 64 KiB at once, which is one large datagram; quinn would try with ten.
        .enable_segmentation_offload(datagram == ETHERNET)
        .max_idle_timeout(None);
    Arc::new(config)
}

/// QUIC's first packets are sealed with this suite, whatever is negotiated.
fn initial() -> Suite {
    TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite()).expect("aws-lc-rs has it")
}

/// As large as the loopback's largest packet allows.
pub(crate) const LOOPBACK: u16 = 65_000;

/// As large as Ethernet's packets allow.
pub(crate) const ETHERNET: u16 = 1_452;

/// A stream's window: on the loopback smaller ones are faster, until they hold up the sender.
const STREAM_WINDOW: u32 = 1 << 20;

/// The connection's window, which bounds nothing here.
const CONNECTION_WINDOW: u32 = 512 << 20;

/// What may be in flight: as a stream's window.
const SEND_WINDOW: u32 = 1 << 20;

/// What is asked of the system for each direction.
const SOCKET_BUFFER: usize = 4 << 20;
