//! Carries bytes between a TCP connection and a stream, both ways, with every way either can end.
//!
//! ```text
//!   FIN of the client          ──▶ finish of our half            and back: finish of the peer ──▶ FIN
//!   RST of the client          ──▶ reset and stop                and back: reset, stop or loss ──▶ RST
//!   half closed and then still ──▶ after HALF_CLOSED_IDLE: both are reset
//! ```
//!
//! Only a finish becomes a FIN: a stream that was cut short never looks complete to a client.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use sitelink::{LinkStream, ReadHalf, StreamCode, StreamError, WriteHalf};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;

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
pub(super) async fn carry(tcp: TcpStream, stream: LinkStream) {
    if let Err(error) = prepare(&tcp) {
        tracing::debug!(%error, "socket options not set");
    }
    let (mut reader, mut writer) = stream.into_split();
    if let Err(cut) = both_ways(&tcp, &mut reader, &mut writer).await {
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

async fn both_ways(tcp: &TcpStream, reader: &mut ReadHalf, writer: &mut WriteHalf) -> Result<(), Cut> {
    // Counts what was moved, so that a half that waits can be told from one that moves.
    let moved = AtomicU64::new(0);
    let mut up = pin!(to_stream(tcp, writer, &moved));
    let mut down = pin!(to_tcp(tcp, reader, &moved));
    // Noticed even while both halves wait for credit, or have nothing to read.
    let mut failure = pin!(tcp_failure(tcp));
    let up_is_left = tokio::select! {
        done = &mut up => { done?; false }
        done = &mut down => { done?; true }
        error = &mut failure => return Err(Cut::Tcp(error)),
    };
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::select! {
            done = &mut up, if up_is_left => return done,
            done = &mut down, if !up_is_left => return done,
            error = &mut failure => return Err(Cut::Tcp(error)),
            () = tokio::time::sleep(HALF_CLOSED_IDLE) => if moved.load(Ordering::Relaxed) == before { return Err(Cut::Idle) },
        }
    }
}

/// TCP to stream, until the client's FIN.
async fn to_stream(tcp: &TcpStream, writer: &mut WriteHalf, moved: &AtomicU64) -> Result<(), Cut> {
    // Empty while there is nothing to read: an idle connection holds no memory.
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() == 0 {
            tokio::select! {
                biased;
                readable = tcp.readable() => readable.map_err(Cut::Tcp)?,
                // The far client is gone, and there may never be anything to write that would tell.
                error = writer.stopped() => return Err(Cut::Stream(error)),
            }
        }
        buffer.reserve(READ_SIZE);
        match tcp.try_read_buf(&mut buffer) {
            Ok(0) => {
                writer.finish();
                return Ok(());
            }
            Ok(count) => {
                writer.send(piece(&mut buffer)).await.map_err(Cut::Stream)?;
                moved.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => buffer = BytesMut::new(),
            Err(error) => return Err(Cut::Tcp(error)),
        }
    }
}

/// What was read, in memory of about its size: it is kept until the peer has acknowledged it.
fn piece(buffer: &mut BytesMut) -> Bytes {
    if buffer.len() >= READ_SIZE / 4 {
        return buffer.split().freeze();
    }
    let small = Bytes::copy_from_slice(buffer);
    buffer.clear();
    small
}

/// Stream to TCP, until the peer's finish.
async fn to_tcp(tcp: &TcpStream, reader: &mut ReadHalf, moved: &AtomicU64) -> Result<(), Cut> {
    let mut chunks = VecDeque::new();
    loop {
        let Some(first) = reader.recv().await.map_err(Cut::Stream)? else { break };
        chunks.push_back(first);
        let finished = gather(reader, &mut chunks).await?;
        tokio::select! {
            biased;
            written = write_all(tcp, &mut chunks, moved) => written.map_err(Cut::Tcp)?,
            // The client takes nothing, and what it is to take was cut short: it is told now.
            error = reader.failed() => return Err(Cut::Stream(error)),
        }
        if finished {
            break;
        }
    }
    SockRef::from(tcp).shutdown(Shutdown::Write).map_err(Cut::Tcp)
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

/// Writes and removes the chunks.
async fn write_all(tcp: &TcpStream, chunks: &mut VecDeque<Bytes>, moved: &AtomicU64) -> io::Result<()> {
    while !chunks.is_empty() {
        tcp.writable().await?;
        let mut slices = [IoSlice::new(&[]); WRITE_PARTS];
        for (slice, chunk) in slices.iter_mut().zip(&*chunks) {
            *slice = IoSlice::new(chunk);
        }
        let mut written = match tcp.try_write_vectored(&slices[..chunks.len().min(WRITE_PARTS)]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        moved.fetch_add(written as u64, Ordering::Relaxed);
        while let Some(chunk) = chunks.front_mut() {
            if written < chunk.len() {
                chunk.advance(written);
                break;
            }
            written -= chunk.len();
            chunks.pop_front();
        }
    }
    Ok(())
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

/// How long the other half of a half-closed connection may move nothing before both are reset: some clients
/// vanish after their FIN. Looked at once per period, so it is cut after one to two of them.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(300);

/// One read: the four TLS records that follow it still fit the second-level cache.
const READ_SIZE: usize = 64 << 10;

/// One write: beyond this, a system call's share of the cost is no longer seen.
const WRITE_SIZE: usize = 128 << 10;

/// Chunks of one write: as many full records as make up [`WRITE_SIZE`], twice over.
const WRITE_PARTS: usize = 16;
