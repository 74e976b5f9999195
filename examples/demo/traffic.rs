//! The applications at both ends: one that sends, one that takes and counts, one that echoes.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::screen::Screen;
use crate::support::Outcome;

/// What a transfer came to.
pub(crate) struct Transfer {
    /// Bytes that arrived, all of them as they were sent.
    pub(crate) bytes: u64,
    /// Bytes per second, from the first byte to the answer.
    pub(crate) rate: f64,
}

/// Round trips.
pub(crate) struct Latency {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

/// A server that reads to the end and answers with the count and the SHA-256 of what came.
pub(crate) async fn sink() -> io::Result<u16> {
    serve(|mut client| async move {
        let (mut hash, mut count, mut buffer) = (Sha256::new(), 0_u64, vec![0; BLOCK]);
        loop {
            match client.read(&mut buffer).await? {
                0 => break,
                read => {
                    hash.update(&buffer[..read]);
                    count += read as u64;
                }
            }
        }
        client.write_all(&count.to_be_bytes()).await?;
        client.write_all(&hash.finalize()).await?;
        client.shutdown().await
    })
    .await
}

/// A server that sends back what comes.
pub(crate) async fn echo() -> io::Result<u16> {
    serve(|mut client| async move {
        client.set_nodelay(true)?;
        let (mut reader, mut writer) = client.split();
        tokio::io::copy(&mut reader, &mut writer).await?;
        writer.shutdown().await
    })
    .await
}

/// Sends random bytes, `least` or more: half way `meanwhile` begins, and sending goes on at least until that is over.
/// Compares count and SHA-256 with what the sink answers.
pub(crate) async fn push<T>(
    sink: SocketAddr,
    least: u64,
    screen: &Screen,
    meanwhile: impl Future<Output = Outcome<T>>,
) -> Outcome<(Transfer, T)> {
    let (half_way, over) = (Notify::new(), Cell::new(false));
    let sending = async {
        let mut stream = TcpStream::connect(sink).await?;
        let mut progress = screen.progress(least);
        let mut random = fastrand::Rng::new();
        let (mut hash, mut sent, mut block) = (Sha256::new(), 0_u64, vec![0; BLOCK]);
        let began = now();
        while sent < least || !over.get() {
            random.fill(&mut block);
            hash.update(&block);
            stream.write_all(&block).await?;
            sent += BLOCK as u64;
            progress.at(sent.min(least));
            if sent >= least / 2 {
                half_way.notify_one();
            }
        }
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let elapsed = now() - began;
        let expected = [&sent.to_be_bytes()[..], &hash.finalize()].concat();
        if answer != expected {
            return Err("what arrived is not what was sent".into());
        }
        Ok(Transfer { bytes: sent, rate: sent as f64 / elapsed.as_secs_f64() })
    };
    let meanwhile = async {
        half_way.notified().await;
        let told = meanwhile.await?;
        over.set(true);
        Ok(told)
    };
    tokio::try_join!(sending, meanwhile)
}

/// Sends 100 bytes and waits for them, many times over.
pub(crate) async fn ping_pong(echo: SocketAddr) -> Outcome<Latency> {
    let mut stream = TcpStream::connect(echo).await?;
    stream.set_nodelay(true)?;
    let mut round_trips = Vec::with_capacity(ROUNDS);
    let (ball, mut back) = ([7; 100], [0; 100]);
    for _ in 0..ROUNDS {
        let began = now();
        stream.write_all(&ball).await?;
        stream.read_exact(&mut back).await?;
        round_trips.push(now() - began);
    }
    round_trips.sort_unstable();
    Ok(Latency { median: round_trips[ROUNDS / 2], p99: round_trips[ROUNDS * 99 / 100] })
}

/// Serves every connection to a free port in a task of its own.
async fn serve<F>(application: impl Fn(TcpStream) -> F + Send + 'static) -> io::Result<u16>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tasks.spawn(application(client));
        }
    });
    Ok(port)
}

#[expect(clippy::disallowed_methods, reason = "a program that measures reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// One write of the sender, and one read of the sink.
const BLOCK: usize = 256 << 10;

/// Enough that a p99 stands on twenty measurements.
const ROUNDS: usize = 2000;
