//! HTTP/2 (the h2 crate) over one tokio-rustls connection: a request per stream, its two bodies the two directions.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use ::h2::client::{self, ResponseFuture, SendRequest};
use ::h2::{RecvStream, SendStream, server};
use bytes::Bytes;
use http::{Request, Response};
use tokio::runtime::Handle;

use crate::answer::Answers;
use crate::peer::{Last, Peer, Received, Stream};
use crate::pki::Pki;
use crate::tls::{self, Connector};

/// The dialing end.
#[derive(Debug)]
pub(crate) struct H2 {
    requests: SendRequest<Bytes>,
}

impl Peer for H2 {
    type Stream = H2Stream;

    async fn listen(pki: &Pki, on: &Handle, answers: Answers<Self::Stream>) -> SocketAddr {
        tls::listen_once(pki, on, |stream| async move {
            let handshake = server::Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME)
                .max_send_buffer_size(SEND_BUFFER)
                .max_concurrent_streams(STREAMS)
                .handshake::<_, Bytes>(stream);
            let mut connection = handshake.await.expect("the other end is h2, too");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if let Ok(sending) = respond.send_response(Response::new(()), false) {
                    answers.take(H2Stream { sending, receiving: Receiving::Body(request.into_body()) });
                }
            }
        })
        .await
    }

    async fn connect(pki: &Pki, on: &Handle, to: SocketAddr) -> Self {
        let stream = Connector::new(pki).dial(to).await.expect("the certificates fit");
        let handshake = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .initial_max_send_streams(STREAMS as usize)
            .handshake::<_, Bytes>(stream);
        let (requests, connection) = handshake.await.expect("the other end is h2, too");
        on.spawn(connection);
        Self { requests }
    }

    async fn open(&self, first: Bytes, last: Last) -> io::Result<Self::Stream> {
        let mut requests = self.requests.clone().ready().await.map_err(io::Error::other)?;
        let request = Request::post("https://127.0.0.1/").body(()).expect("it is complete");
        let (response, mut sending) = requests.send_request(request, false).map_err(io::Error::other)?;
        sending.send_data(first, last == Last::Yes).map_err(io::Error::other)?;
        Ok(H2Stream { sending, receiving: Receiving::Response(response) })
    }
}

/// A stream.
#[derive(Debug)]
pub(crate) struct H2Stream {
    sending: SendStream<Bytes>,
    receiving: Receiving,
}

#[derive(Debug)]
enum Receiving {
    /// The head of the answer has not been asked for.
    Response(ResponseFuture),
    Body(RecvStream),
}

impl Stream for H2Stream {
    async fn send(&mut self, block: &Bytes) -> io::Result<()> {
        let mut rest = block.clone();
        while !rest.is_empty() {
            self.sending.reserve_capacity(rest.len());
            let capacity = match self.sending.capacity() {
                0 => poll_fn(|cx| self.sending.poll_capacity(cx))
                    .await
                    .ok_or_else(gone)?
                    .map_err(io::Error::other)?,
                capacity => capacity,
            };
            let part = rest.split_to(capacity.min(rest.len()));
            self.sending.send_data(part, false).map_err(io::Error::other)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<Option<Received>> {
        let body = match &mut self.receiving {
            Receiving::Body(body) => body,
            Receiving::Response(response) => {
                let body = response.await.map_err(io::Error::other)?.into_body();
                self.receiving = Receiving::Body(body);
                let Receiving::Body(body) = &mut self.receiving else { return Err(gone()) };
                body
            }
        };
        loop {
            let Some(chunk) = body.data().await else { return Ok(None) };
            let chunk = chunk.map_err(io::Error::other)?;
            body.flow_control().release_capacity(chunk.len()).map_err(io::Error::other)?;
            // The frame that ends a stream may be empty.
            if let Some(received) = Received::of(&chunk) {
                return Ok(Some(received));
            }
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.sending.send_data(Bytes::new(), true).map_err(io::Error::other)
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// A stream's window.
const STREAM_WINDOW: u32 = 16 << 20;

/// The connection's window: 16 streams that are not read do not use it up.
const CONNECTION_WINDOW: u32 = 512 << 20;

/// The largest frame.
const FRAME: u32 = 64 << 10;

/// What one stream may have queued at its sender.
const SEND_BUFFER: usize = 1 << 20;

/// Streams at once.
const STREAMS: u32 = 20_000;
