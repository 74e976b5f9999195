//! Streams that are read and written through `AsyncRead` and `AsyncWrite`.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::peer::{Last, Received, Stream};

/// A stream and the buffer it is read into.
#[derive(Debug)]
pub(crate) struct IoStream<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> IoStream<S> {
    /// Over a stream on which nothing was sent.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The same, with the first bytes sent.
    pub(crate) async fn opened(stream: S, first: &Bytes, last: Last) -> io::Result<Self> {
        let mut this = Self::new(stream);
        this.send(first).await?;
        match last {
            Last::Yes => this.finish().await?,
            Last::No => this.flush().await?,
        }
        Ok(this)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for IoStream<S> {
    async fn send(&mut self, block: &Bytes) -> io::Result<()> {
        self.stream.write_all(block).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    async fn receive(&mut self) -> io::Result<Option<Received>> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        let len = self.stream.read(&mut self.buffer).await?;
        Ok(Received::of(&self.buffer[..len]))
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// One read: more leaves the processor's cache, less costs more calls.
const BUFFER: usize = 64 << 10;
