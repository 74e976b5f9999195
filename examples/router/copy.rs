//! Carries bytes between a TCP connection and a stream, both ways, with every way either can end.
//!
//! ```text
//!   FIN of the client          ──▶ finish of our half            and back: finish of the peer ──▶ FIN
//!   RST of the client          ──▶ reset and stop                and back: reset, stop or loss ──▶ RST
//!   half closed and then still ──▶ after HALF_CLOSED_IDLE: both are reset
//! ```
//!
//! Only a finish becomes a FIN: a stream that was cut short never looks complete to a client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use sitelink::{LinkStream, ReadHalf, StreamCode, StreamError, WriteHalf};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf as TcpReadHalf, WriteHalf as TcpWriteHalf};
use tokio_util::io::poll_read_buf;

/// Why carrying ended early.
#[derive(Debug, thiserror::Error)]
enum Cut {
    /// The TCP connection was reset or failed.
    #[error("{0}")]
    Tcp(io::Error),
    /// The stream was reset or lost, or nobody reads it any more.
    #[error("{0}")]
    Stream(StreamError),
    /// One half has ended and nothing moves on the other.
    #[error("nothing moves on a half-closed connection")]
    Idle,
}

/// Carries until both halves have ended, or either side is cut.
pub(super) async fn carry(mut tcp: TcpStream, stream: LinkStream) {
    if let Err(error) = prepare(&tcp) {
        tracing::debug!(%error, "socket options not set");
    }
    let (mut reader, mut writer) = stream.into_split();
    if let Err(cut) = both_ways(&mut tcp, &mut reader, &mut writer).await {
        tracing::debug!(%cut, "connection cut");
        let code =
            if matches!(cut, Cut::Idle) { StreamCode::TIMED_OUT } else { StreamCode::APPLICATION_RESET };
        writer.reset(code);
        reader.stop(code);
        reset(&tcp);
    }
}

/// Makes the closing of a connection a reset.
pub(super) fn reset(tcp: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

async fn both_ways(tcp: &mut TcpStream, reader: &mut ReadHalf, writer: &mut WriteHalf) -> Result<(), Cut> {
    // Counts what was moved, so that a half that waits can be told from one that moves.
    let moved = AtomicU64::new(0);
    let (from, into) = tcp.split();
    let mut up = pin!(to_stream(from, writer, &moved));
    let mut down = pin!(to_tcp(into, reader, &moved));
    let from = tokio::select! {
        from = &mut up => from?,
        done = &mut down => {
            done?;
            // Few connections come to be half closed: the rest need no room for the timer.
            return tokio::select! {
                from = up => from.map(drop),
                () = Box::pin(stillness(&moved)) => Err(Cut::Idle),
            };
        }
    };
    tokio::select! {
        done = down => done,
        // Nobody reads any more, which would tell.
        error = tcp_failure(from.as_ref()) => Err(Cut::Tcp(error)),
        () = Box::pin(stillness(&moved)) => Err(Cut::Idle),
    }
}

/// Resolves when nothing has moved for a whole period.
async fn stillness(moved: &AtomicU64) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::time::sleep(HALF_CLOSED_IDLE).await;
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// TCP to stream, until the client's FIN; what was read from is given back.
async fn to_stream<'a>(
    mut from: TcpReadHalf<'a>,
    writer: &mut WriteHalf,
    moved: &AtomicU64,
) -> Result<TcpReadHalf<'a>, Cut> {
    loop {
        let piece = tokio::select! {
            biased;
            piece = poll_fn(|context| poll_piece(&mut from, context)) => piece.map_err(Cut::Tcp)?,
            // The far client is gone, and there may never be anything to write that would tell.
            error = writer.stopped() => return Err(Cut::Stream(error)),
        };
        if piece.is_empty() {
            writer.finish();
            return Ok(from);
        }
        let count = piece.len();
        tokio::select! {
            biased;
            sent = writer.send(piece) => sent.map_err(Cut::Stream)?,
            // While there is no room nobody reads, which would tell.
            error = tcp_failure(from.as_ref()) => return Err(Cut::Tcp(error)),
        }
        moved.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Reads what is there, at most [`READ_SIZE`]; empty at the end.
fn poll_piece(from: &mut TcpReadHalf<'_>, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    BUFFERS.with_borrow_mut(|buffers| {
        ready!(poll_read_buf(Pin::new(from), context, buffers.empty()))?;
        Poll::Ready(Ok(buffers.piece()))
    })
}

/// Stream to TCP, until the peer's finish.
async fn to_tcp(mut into: TcpWriteHalf<'_>, reader: &mut ReadHalf, moved: &AtomicU64) -> Result<(), Cut> {
    let mut chunks = VecDeque::new();
    loop {
        let Some(first) = reader.recv().await.map_err(Cut::Stream)? else { break };
        chunks.push_back(first);
        let finished = gather(reader, &mut chunks).await?;
        while !chunks.is_empty() {
            tokio::select! {
                biased;
                written = poll_fn(|context| poll_write(&mut into, context, &mut chunks)) => {
                    moved.fetch_add(written.map_err(Cut::Tcp)? as u64, Ordering::Relaxed);
                }
                // The client takes nothing, and what it is to take was cut short: it is told now.
                error = reader.failed() => return Err(Cut::Stream(error)),
            }
        }
        if finished {
            break;
        }
    }
    SockRef::from(into.as_ref()).shutdown(Shutdown::Write).map_err(Cut::Tcp)
}

/// Takes what else is there already, so that one write moves it all. True when the stream has ended.
async fn gather(reader: &mut ReadHalf, chunks: &mut VecDeque<Bytes>) -> Result<bool, Cut> {
    let mut size = chunks.iter().map(Bytes::len).sum::<usize>();
    while size < WRITE_SIZE && chunks.len() < WRITE_PARTS {
        let next = {
            let mut receive = pin!(reader.recv());
            // `recv` is cancel safe: one look at it loses nothing.
            poll_fn(|context| Poll::Ready(receive.as_mut().poll(context))).await
        };
        match next {
            Poll::Ready(Ok(Some(chunk))) => {
                size += chunk.len();
                chunks.push_back(chunk);
            }
            Poll::Ready(Ok(None)) => return Ok(true),
            Poll::Ready(Err(error)) => return Err(Cut::Stream(error)),
            Poll::Pending => break,
        }
    }
    Ok(false)
}

/// Writes chunks and removes what was written.
fn poll_write(
    into: &mut TcpWriteHalf<'_>,
    context: &mut Context<'_>,
    chunks: &mut VecDeque<Bytes>,
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); WRITE_PARTS];
    for (slice, chunk) in slices.iter_mut().zip(&*chunks) {
        *slice = IoSlice::new(chunk);
    }
    let slices = &slices[..chunks.len().min(WRITE_PARTS)];
    let written = ready!(Pin::new(into).poll_write_vectored(context, slices))?;
    let mut left = written;
    while let Some(chunk) = chunks.front_mut() {
        if left < chunk.len() {
            chunk.advance(left);
            break;
        }
        left -= chunk.len();
        chunks.pop_front();
    }
    Poll::Ready(Ok(written))
}

/// Resolves when the connection has failed, without reading from it.
async fn tcp_failure(tcp: &TcpStream) -> io::Error {
    match tcp.ready(Interest::ERROR).await {
        Ok(_) => match tcp.take_error() {
            Ok(Some(error)) | Err(error) => error,
            // Reading or writing has met the error first, and reports it.
            Ok(None) => pending().await,
        },
        Err(error) => error,
    }
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // A client whose host has vanished is noticed within two minutes.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// What all connections of a thread read into, so that one that is idle holds none.
///
/// Large pieces are handed on in the memory they were read into. A handle to it is kept, by which it is used again once
/// nobody else holds it: the system's allocator would give blocks of this size back and fetch them anew, zeroed.
#[derive(Default)]
struct Buffers {
    /// What the next read goes into; empty between reads.
    next: BytesMut,
    /// Handed on, longest ago first; at most [`LENT`].
    lent: VecDeque<BytesMut>,
}

impl Buffers {
    /// An empty buffer with room for [`READ_SIZE`].
    fn empty(&mut self) -> &mut BytesMut {
        let tries = if self.next.capacity() == 0 { self.lent.len().min(TRIES) } else { 0 };
        for _ in 0..tries {
            let Some(mut lent) = self.lent.pop_front() else { break };
            if lent.try_reclaim(READ_SIZE) {
                self.next = lent;
                break;
            }
            self.lent.push_back(lent);
        }
        self.next.reserve(READ_SIZE);
        &mut self.next
    }

    /// What was read, in memory of about its size: it is kept until the peer has acknowledged it.
    fn piece(&mut self) -> Bytes {
        if self.next.len() < READ_SIZE / 4 {
            let small = Bytes::copy_from_slice(&self.next);
            self.next.clear();
            return small;
        }
        let piece = self.next.split().freeze();
        if self.lent.len() >= LENT {
            // Its reader is slow: the memory is the reader's alone from now on.
            self.lent.pop_front();
        }
        self.lent.push_back(std::mem::take(&mut self.next));
        piece
    }
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// How long the other half of a half-closed connection may move nothing before both are reset: some clients
/// vanish after their FIN. Looked at once per period, so it is cut after one to two of them.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(300);

/// One read: the four TLS records that follow it still fit the second-level cache.
const READ_SIZE: usize = 64 << 10;

/// One write: beyond this, a system call's share of the cost is no longer seen.
const WRITE_SIZE: usize = 128 << 10;

/// Chunks of one write: as many full records as make up [`WRITE_SIZE`], twice over.
const WRITE_PARTS: usize = 16;

/// Buffers remembered by a thread at most, 1 MiB: as much as a link takes that keeps up.
const LENT: usize = 16;

/// Buffers looked at before a new one is made: one slow connection's must not hide those of the others.
const TRIES: usize = 4;
