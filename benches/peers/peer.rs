//! What a peer must be able to do to be compared.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::answer::Answers;
use crate::pki::Pki;

/// A way to carry many streams to another end. The value is the dialing end.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    /// One of its streams.
    type Stream: Stream;

    /// The size of one send of bulk: full records, and still in the processor's cache.
    const BLOCK: usize = 64 << 10;

    /// Binds to a free port of the loopback and gives every stream that arrives to `answers`, in tasks of `on`.
    fn listen(
        pki: &Pki,
        on: &Handle,
        answers: Answers<Self::Stream>,
    ) -> impl Future<Output = SocketAddr> + Send;

    /// Connects. Called on the dialing end's runtime, which is `on`.
    fn connect(pki: &Pki, on: &Handle, to: SocketAddr) -> impl Future<Output = Self> + Send;

    /// Opens a stream and sends its first bytes; `last` says that no others follow.
    fn open(&self, first: Bytes, last: Last) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// One stream, by the calls that are native to its peer and cost it least.
pub(crate) trait Stream: Send + 'static {
    /// Sends a block.
    fn send(&mut self, block: &Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Gets what was sent on its way, where sending does not.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes the next bytes that came; `None` at the end of the stream.
    fn receive(&mut self) -> impl Future<Output = io::Result<Option<Received>>> + Send;

    /// Ends the sending half in good order.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Whether more follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// The sending half is finished with these bytes.
    Yes,
    /// More may follow.
    No,
}

/// Bytes that were taken: what the scenarios want to know of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// How many; never none.
    pub(crate) len: usize,
    /// The first of them.
    pub(crate) first: u8,
}

impl Received {
    /// Of a chunk; `None` for an empty one.
    pub(crate) fn of(chunk: &[u8]) -> Option<Self> {
        chunk.first().map(|first| Self { len: chunk.len(), first: *first })
    }
}
