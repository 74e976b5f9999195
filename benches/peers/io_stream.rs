//! Streams that are read and written through `AsyncRead` and `AsyncWrite`.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::peer::{Last, Received, Stream};

/// A stream and the buffer it is read into.
#[derive(Debug)]
pub(crate) struct IoStream<S> {
    stream: S,
    /// Large once a small one was filled.
    buffer: Vec<u8>,
    /// How much the last read filled of it.
    filled: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> IoStream<S> {
    /// Over a stream on which nothing was sent.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), filled: 0 }
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
        if self.filled == self.buffer.len() {
            let size = if self.buffer.is_empty() { SMALL_BUFFER } else { BUFFER };
            self.buffer.resize(size, 0);
        }
        let len = self.stream.read(&mut self.buffer).await?;
        self.filled = len;
        Ok(Received::of(&self.buffer[..len]))
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// The first read of a stream, which may be its only one.
const SMALL_BUFFER: usize = 1 << 10;

/// One read: more leaves the processor's cache, less costs more calls.
const BUFFER: usize = 64 << 10;
