//! Streams: application connections over a session.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::StreamError;
use crate::event::Peer;
use crate::id::{SessionNumber, StreamId};
use crate::net::clock;
use crate::net::shared::SessionHandle;
use crate::net::stream_watch::StreamWatch;
use crate::net::tally::Tally;
use crate::proto::session::StreamKey;
use crate::stats::Traffic;
use crate::wire::code::StreamCode;

/// One application connection to or from a peer.
///
/// Bytes written arrive in order, once, whatever happens to the TCP connections beneath; a stream ends only by
/// one of its ends or with its session. What it reports:
///
/// - the peer finished: reading gives what came and then end of file;
/// - the peer reset, or the session is lost: reading gives an error ([`StreamError`], also inside the
///   [`io::Error`] of `AsyncRead`), never end of file;
/// - the peer reads no more: writing fails with [`StreamError::Stopped`].
///
/// [`AsyncWrite::poll_shutdown`] is [`LinkStream::finish`]; flushing is a no-op, since what was written is on its
/// way already. Dropping the stream resets what was not finished and stops reading.
///
/// Two ways to move bytes: `AsyncRead`/`AsyncWrite` copy once between the caller's buffer and the link;
/// [`LinkStream::send`] and [`LinkStream::recv`] hand `Bytes` over without a copy.
#[derive(Debug)]
pub struct LinkStream {
    held: Arc<Held>,
    /// Taken from the session and not read yet.
    unread: Bytes,
}

/// The reading half of a [`LinkStream`]. Dropping it stops reading.
#[derive(Debug)]
pub struct ReadHalf {
    held: Arc<Held>,
    unread: Bytes,
}

/// The writing half of a [`LinkStream`]. Dropping it resets what was not finished.
#[derive(Debug)]
pub struct WriteHalf {
    held: Arc<Held>,
}

/// What both halves hold on to; the stream is let go of with the last.
#[derive(Debug)]
struct Held {
    session: SessionHandle,
    key: StreamKey,
    /// Counts the stream for the choice of paths.
    _tally: Option<Tally>,
    /// For subscribers that asked.
    watch: Option<Box<StreamWatch>>,
}

impl LinkStream {
    pub(crate) fn new(
        session: SessionHandle,
        key: StreamKey,
        tally: Option<Tally>,
        watch: Option<Box<StreamWatch>>,
    ) -> Self {
        Self { held: Arc::new(Held { session, key, _tally: tally, watch }), unread: Bytes::new() }
    }

    /// The next bytes, or `None` after the peer's finish.
    ///
    /// # Errors
    /// The peer reset or refused the stream, or the session is lost. Bytes that came before the loss of the
    /// session are read first.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken by a call that does not return it.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.held.poll_recv(cx, &mut self.unread)).await
    }

    /// Queues bytes without copying them (but joins up to 256 to small ones that wait), once there is room; they may exceed the room that is there.
    ///
    /// # Errors
    /// The peer stopped reading, the half was finished or reset here, or the session is lost.
    ///
    /// # Cancel safety
    /// Cancel safe: of a call that does not return, nothing is sent.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.held.send(bytes).await
    }

    /// Ends the writing half in good order: the peer reads end of file after what was written.
    pub fn finish(&mut self) {
        self.held.finish();
    }

    /// Abandons the writing half: what was not sent is dropped, and the peer's reading fails with `code`.
    pub fn reset(&mut self, code: StreamCode) {
        self.held.reset(code);
    }

    /// Stops reading: what was not read is dropped, and the peer's writing fails with `code`.
    pub fn stop(&mut self, code: StreamCode) {
        self.unread = Bytes::new();
        self.held.stop(code);
    }

    /// Waits until the peer or the session gives the writing half up, whether or not anything is being written.
    /// Never returns for a half that ends in good order. At most one task waits, here or in a write.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn stopped(&mut self) -> StreamError {
        self.held.stopped().await
    }

    /// Waits until the peer resets its half or the session is lost, whether or not anything is being read. Never
    /// returns for a half that ends in good order. At most one task waits, here or in a read.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&mut self) -> StreamError {
        self.held.failed().await
    }

    /// The stream's id within its session.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.held.key.id
    }

    /// The session it goes over, as events and status name it.
    #[must_use]
    pub fn session(&self) -> SessionNumber {
        self.held.session.number()
    }

    /// The router at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.held.session.peer()
    }

    /// What went over the stream so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.held.traffic()
    }

    /// Parts the stream into halves that two tasks can own.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf { held: Arc::clone(&self.held), unread: self.unread }, WriteHalf { held: self.held })
    }
}

impl ReadHalf {
    /// As [`LinkStream::recv`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.held.poll_recv(cx, &mut self.unread)).await
    }

    /// As [`LinkStream::stop`].
    pub fn stop(&mut self, code: StreamCode) {
        self.unread = Bytes::new();
        self.held.stop(code);
    }

    /// As [`LinkStream::failed`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&mut self) -> StreamError {
        self.held.failed().await
    }

    /// What went over the stream so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.held.traffic()
    }
}

impl WriteHalf {
    /// As [`LinkStream::send`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.held.send(bytes).await
    }

    /// As [`LinkStream::finish`].
    pub fn finish(&mut self) {
        self.held.finish();
    }

    /// As [`LinkStream::reset`].
    pub fn reset(&mut self, code: StreamCode) {
        self.held.reset(code);
    }

    /// As [`LinkStream::stopped`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn stopped(&mut self) -> StreamError {
        self.held.stopped().await
    }
}

impl Held {
    fn poll_recv(&self, cx: &Context<'_>, unread: &mut Bytes) -> Poll<Result<Option<Bytes>, StreamError>> {
        if !unread.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(unread))));
        }
        let now = clock::now();
        self.session.with(|session| session.poll_read(now, self.key, cx.waker()))
    }

    fn poll_read(
        &self,
        cx: &Context<'_>,
        unread: &mut Bytes,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if unread.is_empty() {
            match ready!(self.poll_recv(cx, unread))? {
                Some(chunk) => *unread = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..len]);
        unread.advance(len);
        if unread.is_empty() {
            // An empty slice of a chunk would keep all of it.
            *unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Copies outside the lock: what is small before it is known that there is room, so that one lock does.
    fn poll_write(&self, cx: &Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let want = parts.iter().map(|part| part.len()).sum::<usize>().min(COPIED_AT_ONCE);
        if want == 0 {
            return Poll::Ready(Ok(0));
        }
        if want <= COPIED_BEFORE {
            let mut bytes = gather(parts, want);
            let written =
                ready!(self.session.with(|session| session.poll_write(self.key, &mut bytes, cx.waker())))?;
            return Poll::Ready(Ok(written));
        }
        let room = ready!(self.session.with(|session| session.poll_reserve(self.key, want, cx.waker())))?;
        let bytes = gather(parts, room);
        self.session.with(|session| session.write(self.key, bytes))?;
        Poll::Ready(Ok(room))
    }

    async fn send(&self, mut bytes: Bytes) -> Result<(), StreamError> {
        poll_fn(|cx| self.session.with(|session| session.poll_send(self.key, &mut bytes, cx.waker()))).await
    }

    fn finish(&self) {
        self.session.with(|session| session.finish(self.key));
    }

    fn reset(&self, code: StreamCode) {
        self.session.with(|session| session.reset(self.key, code));
    }

    fn stop(&self, code: StreamCode) {
        self.session.with(|session| session.stop(self.key, code));
    }

    async fn stopped(&self) -> StreamError {
        poll_fn(|cx| self.session.with(|session| session.poll_send_failure(self.key, cx.waker()))).await
    }

    async fn failed(&self) -> StreamError {
        poll_fn(|cx| self.session.with(|session| session.poll_recv_failure(self.key, cx.waker()))).await
    }

    fn traffic(&self) -> Traffic {
        self.session.with(|session| session.stream_traffic(self.key)).unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            let error = self.session.with(|session| session.stream_error(self.key));
            watch.end(self.traffic(), error);
        }
        self.session.with(|session| session.release(self.key));
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        self.held.stop(StreamCode::CANCELLED);
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.held.session.with(|session| session.abandon(self.held.key, StreamCode::CANCELLED));
    }
}

/// `AsyncRead` of a type with `held` and `unread`.
macro_rules! async_read {
    ($name:ident) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let this = self.get_mut();
                this.held.poll_read(cx, &mut this.unread, buffer)
            }
        }
    };
}
async_read!(LinkStream);
async_read!(ReadHalf);

/// `AsyncWrite` of a type with `held`.
macro_rules! async_write {
    ($name:ident) => {
        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.held.poll_write(cx, &[IoSlice::new(bytes)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                parts: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.held.poll_write(cx, parts)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.held.finish();
                Poll::Ready(Ok(()))
            }
        }
    };
}
async_write!(LinkStream);
async_write!(WriteHalf);

/// Copies the first `len` bytes of the parts into one chunk.
fn gather(parts: &[IoSlice<'_>], len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len);
    for part in parts {
        let rest = len - bytes.len();
        bytes.extend_from_slice(&part[..part.len().min(rest)]);
    }
    Bytes::from(bytes)
}

/// What one write copies at most: half a carrier's batch. Larger chunks would come from fresh pages each time.
const COPIED_AT_ONCE: usize = 64 << 10;

/// Up to this size a copy costs less than a second lock, even if it turns out to be in vain.
const COPIED_BEFORE: usize = 2 << 10;
