//! QUIC (the quinn crate), over UDP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

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

/// The dialing end.
#[derive(Debug)]
pub(crate) struct Quinn {
    connection: Connection,
    /// Without it the connection would go on, but not its socket.
    _endpoint: Endpoint,
}

impl Peer for Quinn {
    type Stream = QuinnStream;

    async fn listen(pki: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        let crypto =
            QuicServerConfig::with_initial(Arc::new(pki.server()), initial()).expect("the suite is QUIC's");
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport());
        let endpoint = endpoint(Some(config));
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
        config.transport_config(transport());
        let endpoint = endpoint(None);
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

fn endpoint(server: Option<ServerConfig>) -> Endpoint {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let buffers = socket2::SockRef::from(&socket);
    // As much as the system allows.
    buffers.set_recv_buffer_size(SOCKET_BUFFER).expect("the socket is open");
    buffers.set_send_buffer_size(SOCKET_BUFFER).expect("the socket is open");
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(DATAGRAM).expect("it is in range");
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).expect("the socket is bound")
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(20_000))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(SEND_WINDOW))
        .initial_rtt(Duration::from_millis(1))
        .initial_mtu(DATAGRAM)
        .mtu_discovery_config(None::<MtuDiscoveryConfig>)
        .max_idle_timeout(None);
    Arc::new(config)
}

/// QUIC's first packets are sealed with this suite, whatever is negotiated.
fn initial() -> Suite {
    TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite()).expect("aws-lc-rs has it")
}

/// A datagram's payload: as large as the loopback's largest packet allows.
const DATAGRAM: u16 = 65_000;

/// A stream's window.
const STREAM_WINDOW: u32 = 16 << 20;

/// The connection's window: 16 streams that are not read do not use it up.
const CONNECTION_WINDOW: u32 = 512 << 20;

/// What may be in flight.
const SEND_WINDOW: u32 = 16 << 20;

/// What is asked of the system for each direction.
const SOCKET_BUFFER: usize = 4 << 20;
